//! What each group needs but cannot be read.
//!
//! Only live records count: an entry at its newest place. It is read as a reader would read it, with its own
//! checksums, so a partly damaged block costs only the entries in the damaged part.

use std::collections::BTreeMap;

use super::super::codec::Kind;
use super::super::contents::Contents;
use super::super::error::{Error, Result};
use super::super::replay::of_segments;
use crate::error::Error as LogError;
use crate::{LogView, Lsn, SegmentReader, StoredRecord};

/// Consecutive entries of one term that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostEntries {
    /// The first index.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Their term.
    pub term: u64,
}

/// The groups as an open would find them, by id.
pub(super) fn groups_of(view: &LogView) -> Result<BTreeMap<u64, Contents>> {
    let groups: BTreeMap<u64, Contents> = of_segments(view.segments())?.into_iter().collect();
    for (id, group) in &groups {
        group.verify_whole(*id)?;
    }
    Ok(groups)
}

/// The unreadable entries of a group in these segments, ascending.
pub(super) fn lost_entries(id: u64, group: &Contents, damaged: &[SegmentReader]) -> Result<Vec<LostEntries>> {
    let mut lost: BTreeMap<u64, u64> = BTreeMap::new();
    for segment in damaged {
        for (index, lsn) in group.positions.within(&(segment.first_lsn()..segment.end_lsn())) {
            let Some(term) = group.term(index) else {
                return Err(Error::internal("an entry has a position but no term"));
            };
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
