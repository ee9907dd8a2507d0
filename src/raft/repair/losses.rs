//! What each group needs and cannot be read.
//!
//! Only what is live counts: an entry at its newest place, and the snapshot that the group refers to. An entry is asked
//! for as a reader would ask for it, by its own checksums, so a block of which a part is damaged costs those entries only
//! that lie in that part.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::check;
use super::super::codec::fields;
use super::super::error::Result;
use super::super::snapshot::SnapshotFiles;
use super::{LostEntries, LostSnapshot};
use crate::error::{Corruption, Error as LogError};
use crate::format::superblock::Superblock;
use crate::groups::codec::Kind;
use crate::groups::contents::Contents;
use crate::groups::replay::of_segments;
use crate::io::Disk;
use crate::{LogView, Lsn, SegmentReader, StoredRecord};

/// The groups as an open would find them, by their ids.
pub(super) fn groups_of(view: &LogView) -> Result<BTreeMap<u64, Contents>> {
    let groups: BTreeMap<u64, Contents> = of_segments(view.segments())?.into_iter().collect();
    for (id, group) in &groups {
        group.verify_whole(*id)?;
        check::verify_whole(*id, group)?;
    }
    Ok(groups)
}

/// The entries that a group has in these segments and that cannot be read, ascending.
pub(super) fn lost_entries(id: u64, group: &Contents, damaged: &[SegmentReader]) -> Result<Vec<LostEntries>> {
    let mut lost: BTreeMap<u64, u64> = BTreeMap::new();
    for segment in damaged {
        for (index, lsn) in group.positions.within(&(segment.first_lsn()..segment.end_lsn())) {
            let term = group.terms.get(index).unwrap_or(0);
            if !is_readable(segment, lsn, (id, index, term))? {
                lost.insert(index, term);
            }
        }
    }
    let mut ranges: Vec<LostEntries> = Vec::new();
    for (index, term) in lost {
        match ranges.last_mut() {
            Some(range) if range.last.checked_add(1) == Some(index) && range.term == term => {
                range.last = index
            }
            _ => ranges.push(LostEntries { first: index, last: index, term }),
        }
    }
    Ok(ranges)
}

fn is_readable(segment: &SegmentReader, lsn: Lsn, entry: (u64, u64, u64)) -> Result<bool> {
    match segment.read_stored(lsn) {
        Ok(record) => Ok(is_entry(&record, entry)),
        Err(LogError::Corruption(_) | LogError::NotFound { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether this record is the entry with this group, index and term.
fn is_entry(record: &StoredRecord, entry: (u64, u64, u64)) -> bool {
    record.label().is_some_and(|label| {
        (label.stream, label.sequence, label.extra) == entry
            && matches!(Kind::of(label), Some(Kind::Entry(_) | Kind::Relocated(_)))
    })
}

/// A snapshot that a group refers to and that cannot be read.
pub(super) struct Unreadable {
    pub(super) what: LostSnapshot,
    pub(super) problem: Corruption,
    /// Whether an open of the log takes the file for whole, as it reads the beginning only.
    pub(super) opens: bool,
}

/// The snapshots that cannot be read, by group. All others were read to their end.
pub(super) fn lost_snapshots(
    disk: &Arc<dyn Disk>,
    superblock: &Superblock,
    groups: &BTreeMap<u64, Contents>,
) -> Result<BTreeMap<u64, Unreadable>> {
    let referred: Vec<_> = groups.iter().filter_map(|(id, g)| Some((*id, fields::fixed_of(&g.root.state).snapshot?))).collect();
    let mut lost = BTreeMap::new();
    if referred.is_empty() {
        return Ok(lost);
    }
    let snapshots = SnapshotFiles::of(disk, superblock.uuid)?;
    for (id, file) in referred {
        match snapshots.verify(id, file) {
            Ok(()) => {}
            Err(LogError::Corruption(problem)) => {
                let what = LostSnapshot { index: file.at.index, term: file.at.term, reason: problem.reason };
                let opens = snapshots.opens(id, file);
                lost.insert(id, Unreadable { what, problem: *problem, opens });
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(lost)
}
