//! Giving up the groups that need something unreadable, and no other.
//!
//! A cut ([`crate::repair`]) gives up everything behind the first damage, of all groups. Often less is enough: where a
//! segment has a good footer, its summary says what every group had there, and only those that still need a record that
//! cannot be read have lost something. The same holds for a snapshot's file: one group refers to it.
//!
//! ```text
//!  segment 4   |7: e e|8: e|9: e|########|8: e|  footer: which group has which entry where
//!                               \_ 9: e e, 7: e (compacted since)
//!              group 9 is dropped; 7 and 8 stay, with all they have
//! ```
//!
//! What a group has besides entries (HardState, ConfState, applied index, the snapshot that it refers to) stands in the
//! summary itself, so a record of it that cannot be read costs nothing. **Without a good footer nothing is guessed**: what
//! cannot be read there may have been anybody's vote, so [`DropPlan::of`] refuses and says what else there is.
//!
//! ```text
//!  DropPlan::of ──> what would be dropped; nothing is changed
//!     |
//!   apply:  lock ── look again ── copies and manifest, synced ── open, lock held ── one record a group: removed ── close
//!           \____________ the log as it was ___________________________________/ \_ some or all of the groups dropped _/
//! ```
//!
//! The log is opened below the Raft layer, so that neither an entry nor a snapshot of a dropped group has to be read; the
//! record that removes a group is the one that [`RaftLog::remove_group`](super::RaftLog::remove_group) writes. Nothing of
//! the damage itself is changed: `verify` tells it until purging has released the segment, which relocates only what is
//! live. Interrupted anywhere, it is finished by doing it again; [`undo`](crate::repair::undo) gives back every byte.
//!
//! **A replica that was dropped must not go on under its old id**: it has acknowledged entries and given votes that nobody
//! remembers. Remove it from the group, and add this node again under a new one.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use seawall::Options;
//! use seawall::raft::RaftOptions;
//! use seawall::raft::repair::DropPlan;
//!
//! let disk = Options::new().create_if_missing(false).disk("/var/lib/node-1".as_ref())?;
//! let plan = DropPlan::of(&disk, &RaftOptions::new())?;
//! for dropped in plan.dropped() {
//!     println!("group {} cannot go on: {:?} {:?}", dropped.group, dropped.entries, dropped.snapshot);
//! }
//! let done = plan.apply(None)?;
//! println!("the copies are in {:?}", done.aside);
//! # Ok(())
//! # }
//! ```

mod attribute;
mod losses;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::Result;
use super::options::RaftOptions;
use super::snapshot;
use super::storage::Recovered;
use crate::error::{Corruption, CorruptionReason, Error as LogError, RepairProblem};
use crate::format::DATA_START;
use crate::format::superblock::Superblock;
use crate::groups::Position;
use crate::groups::codec::{Kind, label};
use crate::groups::slots::{GroupSummarizer, Slots};
use crate::io::{Disk, Lock};
use crate::repair::{Layer, Repaired, set_aside};
use crate::segment::SuperblockFile;
use crate::verify::damage_on;
use crate::wal::take_lock;
use crate::{Batch, LogView, Lsn, Options, SegmentReader};

/// What dropping groups would do. Making one changes nothing.
#[derive(Debug)]
pub struct DropPlan {
    disk: Arc<dyn Disk>,
    options: RaftOptions,
    superblock: Superblock,
    end: Lsn,
    /// How new segments are to be made: as those are that are there.
    segment_size: u64,
    block_align: u32,
    problems: Vec<Corruption>,
    /// The files that neither this repair nor a later life of the log writes to.
    untouched: Vec<String>,
    dropped: Vec<Dropped>,
    survivors: BTreeMap<u64, Recovered>,
    accepted: bool,
}

/// A group that needs something unreadable. All else that it has goes as well.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Dropped {
    /// The group.
    pub group: u64,
    /// What is known of it.
    pub state: Recovered,
    /// The entries that it needs and that cannot be read, ascending.
    pub entries: Vec<LostEntries>,
    /// Its snapshot, if that cannot be read.
    pub snapshot: Option<LostSnapshot>,
}

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

/// A snapshot that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostSnapshot {
    /// The index of the last entry in it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// What is wrong with its file.
    pub reason: CorruptionReason,
}

impl DropPlan {
    /// Looks at the Raft log in `disk` and says which groups would be dropped. Takes no lock and changes nothing.
    /// Of `options`, the node id is compared, and the codecs are used.
    ///
    /// # Errors
    /// [`Error::Log`](super::Error::Log) with [`LogError::Repair`] when there is damage of which nobody can know whom it
    /// hits: its problem says why, and what else can be done. With `Corruption` when both slots of the superblock are damaged,
    /// with `Io` when something cannot be read: copy the directory to a device that can be read, and repair the copy.
    /// With `OwnerMismatch` for another node's directory.
    /// [`Error::Incomplete`](super::Error::Incomplete) when a group lacks something that is not damaged but gone, as after
    /// a cut; [`Error::Content`](super::Error::Content).
    pub fn of(disk: &Arc<dyn Disk>, options: &RaftOptions) -> Result<DropPlan> {
        let below = options.below()?;
        let superblock = SuperblockFile::read(disk)?;
        check_owner(disk, options.node(), superblock.owner)?;
        let mut problems = damage_on(disk)?;
        let view = below.codecs().fold(LogView::open_damaged_on(disk), |view, codec| {
            view.map(|view| view.decode_with(Arc::clone(codec)))
        });
        let (view, damaged) = attribute::damaged_segments(disk, view, &problems)?;
        let groups = losses::groups_of(&view)?;
        let snapshots = losses::lost_snapshots(disk, &superblock, &groups)?;
        let mut plan = DropPlan {
            disk: Arc::clone(disk),
            options: options.clone(),
            superblock,
            end: view.end_lsn(),
            segment_size: segment_size(&view),
            block_align: view.segments().last().map_or(DEFAULT_ALIGN, SegmentReader::block_align),
            untouched: untouched(&view, &damaged),
            problems: Vec::new(),
            dropped: Vec::new(),
            survivors: BTreeMap::new(),
            accepted: snapshots.values().all(|lost| lost.opens),
        };
        for (id, group) in &groups {
            let entries = losses::lost_entries(*id, group, &damaged)?;
            let snapshot = snapshots.get(id).map(|lost| lost.what);
            let state = Recovered::of(group);
            if entries.is_empty() && snapshot.is_none() {
                plan.survivors.insert(*id, state);
            } else {
                plan.dropped.push(Dropped { group: *id, state, entries, snapshot });
            }
        }
        problems.extend(snapshots.into_values().map(|lost| lost.problem));
        plan.problems = problems;
        Ok(plan)
    }

    /// Whether no group would be dropped: nothing is damaged, or nothing that a group still needs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty()
    }

    /// What does not verify, in segments and in the snapshots that groups refer to.
    #[must_use]
    pub fn problems(&self) -> &[Corruption] {
        &self.problems
    }

    /// The groups that would be dropped, by ascending id.
    #[must_use]
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// The groups that would stay, with all they have, and what is known of each.
    #[must_use]
    pub fn survivors(&self) -> &BTreeMap<u64, Recovered> {
        &self.survivors
    }

    /// Whether an open takes the log as it is, and only reading what is damaged fails.
    #[must_use]
    pub fn opens_as_it_is(&self) -> bool {
        self.accepted
    }

    /// Where the log ends. Dropping groups gives up nothing behind the damage.
    #[must_use]
    pub fn end_lsn(&self) -> Lsn {
        self.end
    }

    /// Does it: copies into `aside`, which must be empty, or into a new directory `repair-<n>` in the log's, and then removes
    /// the groups. [`undo`](crate::repair::undo) puts back what was there, as long as the log has released nothing that was
    /// not copied.
    ///
    /// # Errors
    /// [`LogError::Locked`] beside a writer; [`LogError::Repair`] when the log has changed since, or `aside` is in use:
    /// nothing was changed then. [`LogError::Io`]: do it again, or undo it; until the copies are complete, nothing was changed.
    pub fn apply(&self, aside: Option<&Arc<dyn Disk>>) -> Result<Repaired> {
        let lock = take_lock(&self.disk)?;
        let again = DropPlan::of(&self.disk, &self.options)?;
        if !again.is_same(self) {
            let path = self.disk.path().to_owned();
            return Err(LogError::Repair { path, problem: RepairProblem::Changed }.into());
        }
        let mut done = Repaired::nothing();
        if !again.is_empty() {
            let (at, copied) = again.save(aside)?;
            (done.aside, done.copied) = (Some(at), copied);
            again.remove(lock)?;
        }
        Ok(done)
    }

    /// Whether both were made of the same log, and say the same of it.
    fn is_same(&self, other: &DropPlan) -> bool {
        let places = |plan: &DropPlan| -> Vec<(PathBuf, u64)> {
            plan.problems.iter().map(|p| (p.file.clone(), p.offset)).collect()
        };
        (self.superblock, self.end) == (other.superblock, other.end)
            && self.dropped == other.dropped
            && self.survivors == other.survivors
            && self.untouched == other.untouched
            && places(self) == places(other)
    }

    /// Copies also the damaged segments: nobody writes to them, but they may be released once the groups are dropped, and
    /// what is left of those groups goes with them.
    fn save(&self, aside: Option<&Arc<dyn Disk>>) -> Result<(PathBuf, Vec<String>)> {
        let untouched: Vec<&str> = self.untouched.iter().map(String::as_str).collect();
        let (directory, ending) = (snapshot::DIRECTORY.to_owned(), snapshot::SUFFIX.to_owned());
        let directories = [Layer { directory, ending }];
        Ok(set_aside(&self.disk, aside, self.superblock.uuid, &untouched, &directories)?)
    }

    /// From here on the log is changed. A log with nobody's groups in memory: footers that are still to be written are made
    /// of records, and there is nothing that would purge.
    fn remove(&self, lock: Box<dyn Lock>) -> Result<()> {
        let options: Options = self.options.below()?.as_found(self.segment_size, self.block_align);
        let summarizer = GroupSummarizer::new(Arc::new(Slots::to_fill()));
        let wal = options.open_locked(Arc::clone(&self.disk), lock, Arc::new(summarizer))?;
        let mut batch = wal.batch();
        for dropped in &self.dropped {
            if batch.size_in_log() + Batch::record_size(0, true) > wal.max_batch_size() {
                wal.submit_from_reserve(&batch)?.wait()?;
                batch = wal.batch();
            }
            batch.push_labelled(label(Kind::Removed, dropped.group, Position::default()), &[]);
        }
        wal.submit_from_reserve(&batch)?.wait()?;
        Ok(wal.close()?)
    }
}

/// Found out before anything is copied; opening would only tell after that.
fn check_owner(disk: &Arc<dyn Disk>, expected: Option<u64>, found: Option<u64>) -> Result<()> {
    match (expected, found) {
        (Some(expected), Some(found)) if expected != found => {
            Err(LogError::OwnerMismatch { dir: disk.path().to_owned(), expected, found }.into())
        }
        _ => Ok(()),
    }
}

const DEFAULT_ALIGN: u32 = 4096;

/// As large as the largest file that is there: some may have been made of the reserve.
fn segment_size(view: &LogView) -> u64 {
    let largest = view.segments().iter().map(SegmentReader::capacity).max().unwrap_or(0);
    largest.saturating_add(DATA_START).clamp(16 << 10, 4 << 30)
}

/// The segments that ended whole and with a good footer: nobody writes to them any more.
fn untouched(view: &LogView, damaged: &[SegmentReader]) -> Vec<String> {
    let ended = view.segments().split_last().map_or(&[][..], |(_, ended)| ended);
    let is_whole = |s: &&SegmentReader| s.summary().is_some() && !damaged.iter().any(|d| d.id() == s.id());
    ended.iter().filter(is_whole).map(|s| s.file_name().to_owned()).collect()
}
