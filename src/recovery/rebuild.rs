//! Rebuilds a lost superblock from the segments.
//!
//! | field | source |
//! |---|---|
//! | log identity | the first page of every segment; all must agree |
//! | newest segment | the highest number with a valid header, if a witness proves its first block |
//! | oldest segment | the end of the chain of predecessors, starting from the newest |
//! | durable LSN | the highest witness: headers, blocks, footers |
//! | owner | none: the operator provides it |
//!
//! **The oldest segment** can be wrong. In a log that released segments, the predecessor of the first one is gone; a
//! log that lost a segment looks the same. So the chain is followed as far as there are files. A segment that was
//! released but not yet removed comes back: that resurrects records that the log gave up, but loses none. If the
//! chain ends and there are older segments before the gap, either choice would be a guess: it is refused unless the
//! operator says which segment is the oldest.
//!
//! If the newest segment was lost together with the superblock, this is noticed only if another segment shows that it
//! existed. Nothing is changed here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::{Candidate, Catalog, open_candidate, segment_names};
use super::damage::proven_by;
use super::prefix::holds_something;
use crate::error::{Error, LogUuid, RepairProblem, Result};
use crate::format::PAGE;
use crate::format::segment::{Generation, Predecessor};
use crate::format::superblock::Superblock;
use crate::io::{Access, Disk, read_full_at};
use crate::lsn::{Lsn, SegmentId};
use crate::segment::Segment;

/// What the segments reveal.
#[derive(Clone, Debug)]
pub(crate) struct Rebuilt {
    pub(crate) superblock: Superblock,
    /// The segment before the oldest one: either released or lost.
    pub(crate) before: Option<SegmentId>,
}

/// Builds a superblock. See the module's documentation.
///
/// # Errors
/// [`Error::Repair`] when the segments do not reveal enough or contradict each other.
pub(crate) fn rebuild(
    disk: &Arc<dyn Disk>,
    oldest: Option<SegmentId>,
    owner: Option<u64>,
) -> Result<Rebuilt> {
    let Some(uuid) = identity(disk)? else {
        return refuse(disk, "", RepairProblem::NoSegment);
    };
    let base = Superblock { owner, ..Superblock::of_new_log(uuid) };
    let mut files = files(disk, &Superblock { oldest: oldest.unwrap_or(base.oldest), ..base })?;
    let Some(newest) = files.iter().rev().find(|(_, c)| c.header.is_ok()).map(|(id, _)| *id) else {
        return refuse(disk, "", RepairProblem::NoSegment);
    };
    let mut wanted: Option<(SegmentId, Option<Predecessor>)> = Some((newest, None));
    let (mut first, mut last, mut before, mut predecessor) = (newest, None, None, None);
    while let Some((id, end)) = wanted.take() {
        if oldest.is_some_and(|oldest| id < oldest) {
            before = Some(id);
            break;
        }
        let Some(candidate) = files.remove(&id) else {
            before = Some(id);
            break;
        };
        let name = candidate.name.clone();
        let (Ok(generation), Ok(header)) = (candidate.generation, candidate.header) else {
            return refuse(disk, &name, RepairProblem::UnknownBefore);
        };
        let path = disk.path().join(&name);
        let segment = Segment::new(generation, candidate.file, name, path, false)?;
        if end.is_none() {
            let proven = proven_by(&segment, header.predecessor.map(|p| p.digest))?.max(header.durable);
            last = Some((header.predecessor, proven, proven > segment.first_lsn()));
        }
        (first, predecessor) = (id, header.predecessor);
        wanted = predecessor.map(|p| (p.id, Some(p)));
    }
    match oldest {
        Some(oldest) if first != oldest => {
            return refuse(disk, "", RepairProblem::UnknownBefore);
        }
        Some(_) => {}
        None => {
            // A file that the oldest segment replaced is not older than it.
            files.retain(|_, c| c.header.is_err() || c.header.is_ok_and(|h| h.predecessor != predecessor));
            no_older(disk, files, first)?;
        }
    }
    let mut superblock = Superblock { oldest: first, ..base };
    if let Some((predecessor, proven, is_proven)) = last {
        superblock.durable = proven.max(predecessor.map_or(Lsn::ZERO, |p| p.end));
        let before = predecessor.map(|p| p.id).filter(|id| *id >= first);
        superblock.newest = if is_proven { Some(newest) } else { before };
    }
    match Catalog::read(disk, &superblock, Access::Read, false) {
        Err(Error::Corruption(c)) => {
            Err(Error::Repair { path: c.file, problem: RepairProblem::UnknownBefore })
        }
        read => read.map(|_| Rebuilt { superblock, before }),
    }
}

/// The minimum needed to examine the segments of a log without a superblock; `None` if no file says which log it
/// belongs to.
pub(crate) fn assumed(disk: &Arc<dyn Disk>) -> Result<Option<Superblock>> {
    match rebuild(disk, None, None) {
        Ok(rebuilt) => Ok(Some(rebuilt.superblock)),
        Err(Error::Repair { .. }) => Ok(identity(disk)?.map(Superblock::of_new_log)),
        Err(e) => Err(e),
    }
}

/// The one log that the files say they belong to.
fn identity(disk: &Arc<dyn Disk>) -> Result<Option<LogUuid>> {
    let mut found: Option<LogUuid> = None;
    for (.., name) in segment_names(disk)? {
        let path = disk.path().join(&name);
        let file = disk.open(&name, Access::Read).map_err(|e| Error::io("open", &path, e))?;
        let mut page = [0; PAGE];
        read_full_at(&*file, &mut page, 0).map_err(|e| Error::io("read", &path, e))?;
        let Ok(generation) = Generation::decode(&page) else { continue };
        match found {
            Some(known) if known != generation.uuid => {
                return Err(Error::Foreign { path, expected: known, found: generation.uuid });
            }
            _ => found = Some(generation.uuid),
        }
    }
    Ok(found)
}

/// By number. A file whose header belongs to another name was being given another generation.
fn files(disk: &Arc<dyn Disk>, sb: &Superblock) -> Result<BTreeMap<SegmentId, Candidate>> {
    let mut files = BTreeMap::new();
    for (id, first_lsn, name) in segment_names(disk)? {
        match open_candidate(disk, sb, id, first_lsn, &name, Access::Read) {
            Ok(candidate) => drop(files.insert(id, candidate)),
            Err(Error::Corruption(_)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(files)
}

/// Older files that hold something may be released segments, or segments that the chain should lead to.
fn no_older(disk: &Arc<dyn Disk>, files: BTreeMap<SegmentId, Candidate>, first: SegmentId) -> Result<()> {
    for (_, candidate) in files.into_iter().filter(|(id, _)| *id < first).rev() {
        let (name, path) = (candidate.name.clone(), disk.path().join(&candidate.name));
        let holds = match (candidate.generation, candidate.header.is_ok()) {
            (_, true) => true,
            (Err(_), _) => false,
            (Ok(generation), _) => {
                holds_something(&Segment::new(generation, candidate.file, name.clone(), path, false)?)?
            }
        };
        if holds {
            return refuse(disk, &name, RepairProblem::OlderSegments);
        }
    }
    Ok(())
}

fn refuse<T>(disk: &Arc<dyn Disk>, name: &str, problem: RepairProblem) -> Result<T> {
    Err(Error::Repair { path: disk.path().join(name), problem })
}
