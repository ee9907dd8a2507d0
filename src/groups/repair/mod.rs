//! Drops the groups that need something unreadable, and no others.
//!
//! A cut ([`crate::repair`]) gives up everything after the first damage, for all groups. Often less is enough: if a
//! segment has a good footer, its summary says what every group had there, and only groups that still need an
//! unreadable record have lost something.
//!
//! ```text
//!  segment 4   |7: e e|8: e|9: e|########|8: e|  footer: which group has which entry where
//!                               \_ 9: e e, 7: e (purged since)
//!              group 9 is dropped; 7 and 8 stay, with everything they have
//! ```
//!
//! What a group has besides entries is in the summary itself, so an unreadable record of that kind costs nothing.
//! **Without a good footer nothing is guessed**: the unreadable part may have belonged to any group, so
//! [`DropPlan::of`] refuses and names the alternatives.
//!
//! ```text
//!  DropPlan::of ──> what would be dropped; nothing is changed
//!     |
//!   apply:  lock ── check again ── copies and manifest, synced ── open, lock held ── one record a group: removed ── close
//!           \____________ the log as it was ___________________________________/ \_ some or all of the groups dropped _/
//! ```
//!
//! The log is opened below this layer, so that no entry of a dropped group has to be read. The record that removes a
//! group is the one that [`WriteBatch::remove_group`](super::WriteBatch::remove_group) writes. The damage itself is
//! not changed: `verify` reports it until a purge has released the segment, and relocation touches only live records.
//! After an interruption, run it again; [`undo`](crate::repair::undo) restores every byte.

mod attribute;
mod losses;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::codec::{Kind, label};
use super::contents::Contents;
use super::error::Result;
use super::slots::{GroupSummarizer, Slots};
use super::state::Position;
use crate::error::{Corruption, CorruptionReason, Error as LogError, RepairProblem};
use crate::io::Disk;
use crate::repair::{Layer, OfflineLog, Repaired};
use crate::{Batch, LogView, Lsn, Options, SegmentReader, verify_on};

pub use losses::LostEntries;

/// What dropping groups would do. Making a plan changes nothing.
#[derive(Debug)]
pub struct DropPlan {
    damage: Damage,
}

impl DropPlan {
    /// Examines the log of groups in `disk` and determines which groups would be dropped. Takes no lock and changes
    /// nothing. Uses the owner and the codecs of `options`.
    ///
    /// # Errors
    /// [`Error::Log`](super::Error::Log) with [`LogError::Repair`] when the affected groups cannot be determined: its
    /// problem says why, and what else can be done. With `Corruption` when both slots of the superblock are damaged,
    /// with `Io` when something cannot be read: copy the directory to a healthy device, and repair the copy.
    /// [`Error::Incomplete`](super::Error::Incomplete) when a group lacks something that is not damaged but missing,
    /// as after a cut; [`Error::Content`](super::Error::Content).
    pub fn of(disk: &Arc<dyn Disk>, options: &Options) -> Result<DropPlan> {
        Ok(DropPlan { damage: Damage::of(disk, options)? })
    }

    /// Whether no group would be dropped: nothing is damaged, or nothing that a group still needs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.damage.lost.is_empty()
    }

    /// The indexes of a group's entries, readable or not; `None` if the group does not exist.
    #[must_use]
    pub fn indexes(&self, group: u64) -> Option<Range<u64>> {
        self.damage.groups.get(&group).map(|contents| contents.first_index()..contents.end_index())
    }

    /// Where the log ends. Dropping groups gives up nothing after the damage.
    #[must_use]
    pub fn end_lsn(&self) -> Lsn {
        self.damage.view.end_lsn()
    }

    /// What does not verify.
    #[must_use]
    pub fn problems(&self) -> &[Corruption] {
        &self.damage.problems
    }

    /// The groups that would be dropped, with their unreadable entries, ascending.
    #[must_use]
    pub fn dropped(&self) -> &BTreeMap<u64, Vec<LostEntries>> {
        &self.damage.lost
    }

    /// The groups that would stay, with everything they have, ascending.
    pub fn survivors(&self) -> impl Iterator<Item = u64> + '_ {
        self.damage.groups.keys().copied().filter(|id| !self.damage.lost.contains_key(id))
    }

    /// Performs the repair: copies files into `undo_dir`, which must be empty, or into a new directory `repair-<n>`
    /// in the log's directory, then removes the groups. [`undo`](crate::repair::undo) restores the earlier state, as
    /// long as the log has not released anything that was not copied.
    ///
    /// # Errors
    /// [`LogError::Locked`] beside a writer; [`LogError::Repair`] when the log has changed since the plan was made,
    /// or `undo_dir` is in use: nothing was changed. [`LogError::Io`]: run it again, or undo it; nothing was changed
    /// if the copies were not complete yet.
    pub fn apply(&self, undo_dir: Option<&Arc<dyn Disk>>) -> Result<Repaired> {
        let log = OfflineLog::lock(&self.damage.disk)?;
        let again = Damage::of(&self.damage.disk, &self.damage.options)?;
        if !again.is_same(&self.damage) {
            return Err(again.changed().into());
        }
        again.drop_groups(log, undo_dir, &[], again.lost.keys().copied())
    }
}

/// The damage of a log, and the groups it affects.
#[derive(Debug)]
pub(crate) struct Damage {
    disk: Arc<dyn Disk>,
    options: Options,
    pub(crate) view: LogView,
    pub(crate) problems: Vec<Corruption>,
    /// The files that neither this repair nor later use of the log writes to.
    untouched: Vec<String>,
    /// All groups, as an open would find them.
    pub(crate) groups: BTreeMap<u64, Contents>,
    /// The unreadable entries of the affected groups.
    pub(crate) lost: BTreeMap<u64, Vec<LostEntries>>,
}

impl Damage {
    pub(crate) fn of(disk: &Arc<dyn Disk>, options: &Options) -> Result<Damage> {
        let report = verify_on(disk)?;
        check_owner(disk, options.expected_owner(), report.owner)?;
        let problems = report.problems;
        // Without a superblock it is unknown where the log begins.
        if let Some(c) = problems.iter().find(|c| c.reason == CorruptionReason::Superblock) {
            return Err(LogError::from(c.clone()).into());
        }
        let view = LogView::open_damaged_on(disk).map(|view| view.with_codecs_of(options));
        let (view, damaged) = attribute::damaged_segments(disk, view, &problems)?;
        let groups = losses::groups_of(&view)?;
        let mut lost = BTreeMap::new();
        for (id, contents) in &groups {
            let entries = losses::lost_entries(*id, contents, &damaged)?;
            if !entries.is_empty() {
                lost.insert(*id, entries);
            }
        }
        Ok(Damage {
            disk: Arc::clone(disk),
            options: options.clone(),
            untouched: untouched(&view, &damaged),
            view,
            problems,
            groups,
            lost,
        })
    }

    /// Whether both describe the same damage in the same log.
    pub(crate) fn is_same(&self, other: &Damage) -> bool {
        let places = |damage: &Damage| -> Vec<(PathBuf, u64)> {
            damage.problems.iter().map(|p| (p.file.clone(), p.offset)).collect()
        };
        let groups = |damage: &Damage| -> Vec<_> {
            let of = |(id, c): (&u64, &Contents)| (*id, c.root.clone(), c.end_index());
            damage.groups.iter().map(of).collect()
        };
        let log = |damage: &Damage| (damage.view.uuid(), damage.view.oldest(), damage.view.end_lsn());
        log(self) == log(other)
            && self.lost == other.lost
            && self.untouched == other.untouched
            && places(self) == places(other)
            && groups(self) == groups(other)
    }

    /// The error if the log is no longer the one that a plan was made for.
    pub(crate) fn changed(&self) -> LogError {
        LogError::Repair { path: self.disk.path().to_owned(), problem: RepairProblem::Changed }
    }

    /// Copies what may change, also in these `directories` beside the log, and removes these groups.
    pub(crate) fn drop_groups(
        &self,
        log: OfflineLog,
        undo_dir: Option<&Arc<dyn Disk>>,
        directories: &[Layer],
        groups: impl ExactSizeIterator<Item = u64>,
    ) -> Result<Repaired> {
        if groups.len() == 0 {
            return Ok(Repaired::nothing());
        }
        // Damaged segments are copied as well: they may be released once the groups are dropped, and the remains of
        // those groups with them.
        let untouched: Vec<&str> = self.untouched.iter().map(String::as_str).collect();
        let saved = log.save(&self.view, undo_dir, &untouched, directories)?;
        self.remove(log, groups)?;
        Ok(saved)
    }

    /// Changes the log. It has no groups in memory: footers still to be written are made from records, and nothing
    /// purges.
    fn remove(&self, log: OfflineLog, groups: impl Iterator<Item = u64>) -> Result<()> {
        let summarizer = GroupSummarizer::new(Arc::new(Slots::to_fill()));
        let wal = log.open(&self.options, &self.view, Arc::new(summarizer))?;
        let mut batch = wal.batch();
        for group in groups {
            if batch.size_in_log() + Batch::record_size(0, true) > wal.max_batch_size() {
                wal.submit_from_reserve(&batch)?.wait()?;
                batch = wal.batch();
            }
            batch.push_labelled(label(Kind::Removed, group, Position::default()), &[]);
        }
        wal.submit_from_reserve(&batch)?.wait()?;
        Ok(wal.close()?)
    }
}

/// Checked before anything is copied; an open would check it only afterwards.
fn check_owner(disk: &Arc<dyn Disk>, expected: Option<u64>, found: Option<u64>) -> Result<()> {
    match (expected, found) {
        (Some(expected), Some(found)) if expected != found => {
            Err(LogError::OwnerMismatch { dir: disk.path().to_owned(), expected, found }.into())
        }
        _ => Ok(()),
    }
}

/// The segments that ended intact and with a good footer: nothing writes to them any more.
fn untouched(view: &LogView, damaged: &[SegmentReader]) -> Vec<String> {
    let ended = view.segments().split_last().map_or(&[][..], |(_, ended)| ended);
    let is_whole = |s: &&SegmentReader| s.summary().is_some() && !damaged.iter().any(|d| d.id() == s.id());
    ended.iter().filter(is_whole).map(|s| s.file_name().to_owned()).collect()
}
