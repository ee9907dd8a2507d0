//! What a batch may do, judged before anything is staged.
//!
//! A [`View`] is a group as a batch sees it: as it was when the batch first touched it, changed by what the batch did
//! since. Each method either refuses, and changes nothing, or changes the view as the group will change.

use std::sync::Arc;

use ::raft::eraftpb::{ConfState, Entry};

use super::error::{Error, Result};
use super::group::{Cell, Group};
use super::state::{EntryId, FullState, Hard};
use super::terms::Terms;
use crate::mutation::{Mutation, mutated};

/// A group as a batch sees it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    cell: Arc<Cell>,
    hard: Hard,
    applied: EntryId,
    compacted: EntryId,
    conf_index: u64,
    snapshot_index: u64,
    last: EntryId,
    /// Entries from here on are the batch's own; the group itself is asked for the terms of those below.
    own_from: u64,
    own_terms: Terms,
    removed: bool,
}

/// How new a snapshot has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Newer {
    /// Beyond the commit index.
    ThanCommit,
    /// Beyond the commit index, or at it. Raft itself restores a snapshot at its commit index after
    /// `request_snapshot` (`raft.rs`, `restore`: only a lower one is dropped), and its Ready has to be stored.
    OrAtCommit,
}

impl View {
    pub(crate) fn of(cell: &Arc<Cell>, group: &Group) -> View {
        let full = &group.full;
        View {
            cell: Arc::clone(cell),
            hard: full.hard,
            applied: full.applied,
            compacted: full.compacted,
            conf_index: full.conf_index,
            snapshot_index: full.snapshot.map_or(0, |s| s.at.index),
            last: group.last(),
            own_from: u64::MAX,
            own_terms: Terms::default(),
            removed: group.gone,
        }
    }

    pub(crate) fn hard(&self) -> Hard {
        self.hard
    }

    fn group(&self) -> u64 {
        self.cell.id
    }

    pub(crate) fn exists(&self) -> Result<()> {
        if self.removed {
            return Err(Error::NoSuchGroup { group: self.group() });
        }
        Ok(())
    }

    /// The term at an index from the compacted one to the last. The group may have moved on since the batch first
    /// touched it; the answer is of no consequence then, because the batch is refused when it is submitted.
    fn term(&self, index: u64) -> u64 {
        let term = if index == self.compacted.index {
            Some(self.compacted.term)
        } else if index == self.last.index {
            Some(self.last.term)
        } else if index >= self.own_from {
            self.own_terms.get(index)
        } else {
            self.cell.group.read().term(index)
        };
        term.unwrap_or(0)
    }

    /// Entries are consecutive, neither leave a gap nor touch what is compacted or committed, and terms never fall.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> Result<()> {
        let Some(first) = entries.first().map(|e| e.index) else { return Ok(()) };
        let group = self.group();
        let first_index = self.compacted.index.saturating_add(1);
        if first < first_index {
            return Err(Error::BelowFirst { group, index: first, first: first_index });
        }
        if first <= self.hard.commit {
            return Err(Error::OverwritesCommitted { group, index: first, commit: self.hard.commit });
        }
        let expected = self.last.index.saturating_add(1);
        if first > expected {
            return Err(Error::Gap { group, index: first, expected });
        }
        let last = self.check_run(EntryId { index: first - 1, term: self.term(first - 1) }, entries)?;
        self.own_terms.cut_from(first);
        self.own_from = self.own_from.min(first);
        for entry in entries {
            self.own_terms.push(entry.index, entry.term);
        }
        self.last = last;
        Ok(())
    }

    /// Entries that follow `before` one by one; the last of them.
    fn check_run(&self, before: EntryId, entries: &[Entry]) -> Result<EntryId> {
        let group = self.group();
        let mut last = before;
        for entry in entries {
            let expected = last.index.saturating_add(1);
            if entry.index != expected {
                return Err(Error::NotContiguous { group, index: entry.index, expected });
            }
            if entry.index == u64::MAX {
                return Err(Error::IndexExhausted { group, index: entry.index });
            }
            if entry.term < last.term {
                return Err(Error::TermFalls {
                    group,
                    index: entry.index,
                    term: entry.term,
                    previous: last.term,
                });
            }
            last = EntryId { index: entry.index, term: entry.term };
        }
        Ok(last)
    }

    /// Term and commit never fall, a vote stays for its term, and what is committed is there: raft refuses to start on
    /// a commit index beyond the last one (`raft.rs`, `load_state`).
    ///
    /// Whether the terms of entries stay below the HardState's is not checked: raft may hand out an entry and the
    /// HardState of its term in one Ready, and they come here one after the other.
    pub(crate) fn set_hard(&mut self, hard: Hard) -> Result<()> {
        let (group, now) = (self.group(), self.hard);
        if hard.term < now.term {
            return Err(Error::HardStateTermFalls { group, term: hard.term, current: now.term });
        }
        if hard.commit < now.commit {
            return Err(Error::CommitFalls { group, index: hard.commit, current: now.commit });
        }
        if hard.term == now.term && now.vote != 0 && hard.vote != now.vote && !mutated(Mutation::VoteCheck) {
            return Err(Error::VoteChanges { group, term: hard.term, vote: hard.vote, current: now.vote });
        }
        if hard.commit > self.last.index {
            return Err(Error::CommitBeyondLast { group, index: hard.commit, last: self.last.index });
        }
        self.hard = hard;
        Ok(())
    }

    /// Applied never falls and never passes commit, and names an entry that the log has.
    pub(crate) fn set_applied(&mut self, applied: EntryId) -> Result<()> {
        let (group, EntryId { index, term }) = (self.group(), applied);
        if index < self.applied.index {
            return Err(Error::AppliedFalls { group, index, current: self.applied.index });
        }
        if index > self.hard.commit {
            return Err(Error::AppliedBeyondCommit { group, index, commit: self.hard.commit });
        }
        let expected = self.term(index);
        if term != expected {
            return Err(Error::TermMismatch { group, index, term, expected });
        }
        self.applied = applied;
        Ok(())
    }

    pub(crate) fn set_conf(&mut self, index: u64) -> Result<()> {
        let group = self.group();
        if index < self.conf_index {
            return Err(Error::ConfStateFalls { group, index, current: self.conf_index });
        }
        if index > self.hard.commit {
            return Err(Error::ConfStateBeyondCommit { group, index, commit: self.hard.commit });
        }
        self.conf_index = index;
        Ok(())
    }

    /// The entry that becomes the last compacted one; none when all of it is gone already.
    pub(crate) fn compact(&mut self, index: u64) -> Result<Option<EntryId>> {
        let group = self.group();
        if index <= self.compacted.index {
            return Ok(None);
        }
        if index > self.applied.index {
            return Err(Error::CompactBeyondApplied { group, index, applied: self.applied.index });
        }
        if index > self.snapshot_index {
            return Err(Error::CompactBeyondSnapshot { group, index, snapshot: self.snapshot_index });
        }
        let to = EntryId { index, term: self.term(index) };
        self.compacted = to;
        Ok(Some(to))
    }

    /// A snapshot names members, lies beyond what is committed, and its term does not contradict the log.
    pub(crate) fn install(&mut self, at: EntryId, conf: &ConfState, newer: Newer) -> Result<()> {
        let (group, EntryId { index, term }, commit) = (self.group(), at, self.hard.commit);
        if conf.voters.is_empty() {
            return Err(Error::EmptyConfState { group, index });
        }
        let previous = self.term(commit);
        let at_commit = newer == Newer::OrAtCommit && index == commit && index > 0 && term == previous;
        if index <= commit && !at_commit {
            return Err(Error::SnapshotOutOfDate { group, index, commit });
        }
        if index == u64::MAX {
            return Err(Error::IndexExhausted { group, index });
        }
        if term < previous {
            return Err(Error::SnapshotTermFalls { group, index, term, previous });
        }
        self.hard = self.hard.raised_to(at);
        self.applied = at;
        self.compacted = at;
        self.last = at;
        self.conf_index = index;
        self.snapshot_index = index;
        self.own_from = index.saturating_add(1);
        self.own_terms.clear();
        Ok(())
    }

    pub(crate) fn remove(&mut self) {
        self.removed = true;
    }
}

/// Whether a group may begin behind this entry: as an empty one may install a snapshot there.
pub(crate) fn begin_behind(id: u64, at: EntryId, conf: &ConfState) -> Result<()> {
    let empty = Cell::new(id, Group::default());
    let mut view = View::of(&empty, &Group::default());
    view.install(at, conf, Newer::ThanCommit)
}

/// Whether the application may save a snapshot here; the entry it stands for.
pub(crate) fn save_snapshot(id: u64, group: &Group, index: u64, conf: &ConfState) -> Result<EntryId> {
    let FullState { applied, snapshot, compacted, .. } = &group.full;
    let current = snapshot.map_or(0, |s| s.at.index);
    if group.gone {
        return Err(Error::NoSuchGroup { group: id });
    }
    if conf.voters.is_empty() {
        return Err(Error::EmptyConfState { group: id, index });
    }
    if index > applied.index {
        return Err(Error::SnapshotBeyondApplied { group: id, index, applied: applied.index });
    }
    if index <= current {
        return Err(Error::SnapshotNotNewer { group: id, index, current });
    }
    // Below the first index there is no term: the group began behind it, and has no snapshot yet.
    let term = group.term(index).ok_or(Error::BelowFirst {
        group: id,
        index,
        first: compacted.index.saturating_add(1),
    })?;
    Ok(EntryId { index, term })
}
