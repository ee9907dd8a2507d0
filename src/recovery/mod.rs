//! Recovery: turns a directory in any state into a log that can be trusted, or into an error that says why not.
//!
//! ```text
//! superblock -> files -> chain -> sealed segments: footer, else scan   -> newest: scan -> X
//!                                                                         evidence     -> D
//!      X below D ------------------------------> corruption, nothing changed
//!      X at or above D, something torn there --> cut (reported), or refused: TailPolicy
//!      blocks from D to X ---------------------> rewritten into a fresh segment, synced
//! ```
//!
//! **Invariants.** Nothing is changed before the verdict. What is exposed is on the device. A crash at any point can
//! be recovered from with the same result: a single rename is the only step that changes what the log is.
//!
//! A reopened log never appends to an old tail: the segment that was newest ends after its last good block, and new
//! blocks go to another file.

mod catalog;
mod damage;
mod loose;
mod ownership;
mod prefix;
mod rebuild;
mod rewrite;
mod scan;
mod survey;
mod verdict;

use std::sync::Arc;
use std::time::Instant;

use crate::cores::Cores;
use crate::error::{Error, LogUuid, Result};
use crate::format::segment::{Predecessor, has_room};
use crate::format::superblock::Superblock;
use crate::io::{Access, Disk, sync_names};
use crate::lsn::{Lsn, SegmentId};
use crate::mutation::or_fault;
use crate::options::Checked;
use crate::report::Recovery;
use crate::segment::{Segment, SpacePool, SuperblockFile, Tip};
use crate::trace::span;

pub(crate) use catalog::{Catalog, Member};
pub(crate) use damage::{proven_by, walk};
pub(crate) use loose::{Loose, Piece, witness};
pub(crate) use ownership::{LOCK, is_foreign, is_given, is_temporary};
pub(crate) use prefix::{Beyond, Footing, KeptSegment, Prefix};
pub(crate) use rebuild::{Rebuilt, assumed, rebuild};
pub(crate) use rewrite::Rewrite;
use survey::Tail;
pub(crate) use survey::{Look, scan_sealed, survey};

/// A recovered log.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) superblock: SuperblockFile,
    /// Oldest first; all but `current` have ended.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The current end of the log.
    pub(crate) tip: Tip,
    /// The segment of the tip, if it can be appended to.
    pub(crate) current: Option<Arc<Segment>>,
    /// The next number never used by any file.
    pub(crate) next_id: SegmentId,
    pub(crate) report: Recovery,
    pub(crate) leftovers: Leftovers,
    /// The segments that a successor ends: each with its end and the digest of its last block.
    ends: Vec<(Arc<Segment>, Lsn, u32)>,
}

/// Segment files that are not part of the log. They can be dealt with later: if a crash keeps them, the next open
/// classifies them the same way.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Unused spares and released files: they can start another generation.
    pub(crate) spare: Vec<String>,
    /// Files whose header was valid: they must be removed, without being renamed first.
    pub(crate) replaced: Vec<String>,
}

impl Leftovers {
    fn all(&self) -> Vec<String> {
        self.spare.iter().chain(&self.replaced).cloned().collect()
    }
}

impl Opened {
    /// The ended segments that lack a footer and may get one: segment, end, and digest of the last block. A footer
    /// implies that the successor has a durable block, so a segment with an empty successor gets none.
    pub(crate) fn without_footer(&self) -> Vec<(SegmentId, Lsn, u32)> {
        let successors = self.segments.iter().skip(1);
        self.ends
            .iter()
            .zip(successors)
            .filter(|((segment, ..), successor)| segment.footer().is_none() && !successor.ended_empty())
            .map(|((segment, end, digest), _)| (segment.id(), *end, *digest))
            .collect()
    }
}

/// Draws the random numbers of a log. A parameter, so that tests are repeatable.
pub(crate) type Random<'a> = &'a mut dyn FnMut() -> u64;

/// Recovers the log in `disk`, or creates one. The lock must be held.
pub(crate) fn open(disk: &Arc<dyn Disk>, options: &Checked, random: Random<'_>) -> Result<Opened> {
    let _span = span!(INFO, "recovery");
    let start = Instant::now();
    let (superblock, created) = find_superblock(disk, options, random)?;
    let sb = *superblock.content();
    check_owner(disk, options, &sb)?;
    ownership::check_reserve(disk)?;
    let catalog = Catalog::read(disk, &sb, Access::ReadWrite, options.mmap)?;
    let mut report = Recovery { created, ..Recovery::default() };
    let cores = Cores::available(options.threads);
    let look = Look { policy: options.tail_policy, mmap: options.mmap, cores, newest_only: false };
    let survey = survey(&catalog, &sb, look)?;
    // The next open treats a file below the oldest kept number as junk.
    let next_id = catalog.highest_id.next().max(sb.oldest);
    if !has_room(next_id.next(), survey.tip.end, 0) {
        return Err(Error::Exhausted { dir: disk.path().to_owned(), lsn: survey.tip.end, id: next_id });
    }
    survey.fill(&mut report, &catalog);

    // The directory is changed from here on.
    let mut opened = Opened {
        superblock,
        segments: catalog.members.iter().map(|m| Arc::clone(&m.segment)).collect(),
        tip: survey.tip,
        current: None,
        next_id,
        report,
        leftovers: Leftovers::default(),
        ends: catalog.sealed().map(|(m, p)| (Arc::clone(&m.segment), p.end, p.digest)).collect(),
    };
    if !created {
        // A killed process may have left its names in the cache only; the following steps depend on them.
        sync_names(&**disk)?;
    }
    opened.superblock.repair()?;
    remove_temporaries(disk, &catalog.temporaries)?;
    opened.leftovers = Leftovers { spare: catalog.junk, replaced: catalog.replaced };
    if let Some(name) = survey.dropped {
        opened.segments.pop();
        opened.ends.pop();
        opened.leftovers.replaced.push(name);
    }
    if let Some(tail) = survey.tail {
        tail.settle(disk, options, random, &mut opened)?;
    }
    opened.report.leftovers = opened.leftovers.all();
    let durable = opened.tip.end;
    // Only a segment with a durable block is named, because the name is evidence.
    let newest = opened.segments.last().filter(|s| !s.ended_empty()).map(|s| s.id());
    opened.superblock.update(|sb| {
        sb.durable = sb.durable.max(durable);
        sb.newest = newest.or(sb.newest);
        sb.owner = sb.owner.or(options.owner);
        sb.ready = None;
    })?;
    opened.report.time = start.elapsed();
    Ok(opened)
}

fn find_superblock(
    disk: &Arc<dyn Disk>,
    options: &Checked,
    random: Random<'_>,
) -> Result<(SuperblockFile, bool)> {
    if let Some(file) = SuperblockFile::find(disk, Access::ReadWrite)?.in_directory(disk)? {
        return Ok((file, false));
    }
    if !options.create {
        return Err(Error::io(crate::error::FIND_LOG, disk.path(), std::io::ErrorKind::NotFound.into()));
    }
    let mut uuid = [0; 16];
    let (low, high) = uuid.split_at_mut(8);
    low.copy_from_slice(&random().to_le_bytes());
    high.copy_from_slice(&random().to_le_bytes());
    let content = Superblock { owner: options.owner, ..Superblock::of_new_log(LogUuid(uuid)) };
    Ok((SuperblockFile::create(disk, content)?, true))
}

fn check_owner(disk: &Arc<dyn Disk>, options: &Checked, sb: &Superblock) -> Result<()> {
    match (options.owner, sb.owner) {
        (Some(expected), Some(found)) if expected != found => {
            Err(Error::OwnerMismatch { dir: disk.path().to_owned(), expected, found })
        }
        _ => Ok(()),
    }
}

/// Removes what an interrupted open left unfinished: the names may be needed again.
fn remove_temporaries(disk: &Arc<dyn Disk>, names: &[String]) -> Result<()> {
    if names.is_empty() { Ok(()) } else { remove_files(disk, names) }
}

fn remove_files(disk: &Arc<dyn Disk>, names: &[String]) -> Result<()> {
    for name in names {
        disk.remove(name).map_err(|e| Error::io("remove", disk.path().join(name), e))?;
    }
    sync_names(&**disk)
}

impl Tail {
    /// Ends the segment and rewrites its unproven part.
    fn settle(
        self,
        disk: &Arc<dyn Disk>,
        options: &Checked,
        random: Random<'_>,
        opened: &mut Opened,
    ) -> Result<()> {
        let unproven = or_fault!(self.unproven, TailRewrite => None, AppendBehindCut => None);
        let Some((start, previous)) = unproven else {
            or_fault!(self.segment.set_end(self.end), AppendBehindCut => opened.current = Some(self.segment));
            return Ok(());
        };
        self.segment.set_end(start);
        let predecessor = match &self.replaces {
            Some(header) => header.predecessor,
            None => Some(Predecessor { id: self.segment.id(), end: start, digest: previous }),
        };
        let rewrite = Rewrite {
            disk,
            from: &self.segment,
            start,
            end: self.end,
            predecessor,
            previous,
            id: opened.next_id,
            salt: random(),
            mmap: options.mmap,
        };
        let (segment, digest) = match rewrite.run(SpacePool::Ordinary) {
            Err(e) if e.is_full() => {
                // One of them is the segment that was ready: the next open must not miss it.
                opened.superblock.update(|sb| sb.ready = None)?;
                remove_files(disk, &std::mem::take(&mut opened.leftovers).all())?;
                match rewrite.run(SpacePool::Ordinary) {
                    // Why the reserve did not help matters less than that the disk is full.
                    Err(e) if e.is_full() => rewrite.run(SpacePool::Reserve).map_err(|_| e)?,
                    done => done?,
                }
            }
            done => done?,
        };
        opened.next_id = opened.next_id.next();
        opened.tip = Tip { segment: Some(segment.id()), end: self.end, digest };
        opened.report.rewritten = self.end.since(start);
        opened.current = Some(Arc::clone(&segment));
        if self.replaces.is_some() {
            opened.segments.pop();
            opened.leftovers.replaced.push(self.segment.name.clone());
        } else {
            opened.ends.push((Arc::clone(&self.segment), start, previous));
        }
        opened.segments.push(segment);
        Ok(())
    }
}
