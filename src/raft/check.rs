//! Raft's rules for batches, checked before anything is staged.
//!
//! A [`View`] is a group's state as a batch sees it: its state when the batch first touched the group, plus the
//! changes of the batch. Each method either refuses and changes nothing, or changes the view exactly as the group
//! will change. Questions about the group's log go to the batch's draft.

use ::raft::eraftpb::{ConfState, Entry};

use super::codec::fields;
use super::error::{ContentProblem, Error, Missing, Result};
use super::state::{Fixed, Hard, SnapshotRef};
use crate::Lsn;
use crate::groups::Position;
use crate::groups::contents::Contents;
use crate::groups::draft::Draft;
use crate::mutation::or_fault;

/// A group's state as a batch sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    group: u64,
    fixed: Fixed,
    compacted: Position,
    last: Position,
}

/// How new a snapshot must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Newer {
    /// After the commit index.
    ThanCommit,
    /// At or after the commit index. Raft itself restores a snapshot at its commit index after `request_snapshot`
    /// (`raft.rs`, `restore`: only a lower one is dropped), and its Ready must be stored.
    OrAtCommit,
}

impl View {
    pub(crate) fn of(group: u64, contents: &Contents) -> View {
        let compacted = compacted(contents);
        View {
            group,
            fixed: fields::fixed_of(&contents.root.state),
            compacted,
            last: contents.last().unwrap_or(compacted),
        }
    }

    pub(crate) fn hard(&self) -> Hard {
        self.fixed.hard
    }

    /// The installed snapshot is in this file.
    pub(crate) fn installed(&mut self, file: SnapshotRef) {
        self.fixed.snapshot = Some(file);
    }

    /// The term at an index from the compacted one to the last; `draft` is of the same group, before the operation
    /// being checked.
    fn term(&self, draft: &Draft, index: u64) -> u64 {
        let known = [self.compacted, self.last].into_iter().find(|known| known.index == index);
        known.map(|known| known.term).or_else(|| draft.term(index)).unwrap_or(0)
    }

    /// Entries must be consecutive, leave no gap, not touch what is compacted or committed, and terms must never
    /// fall.
    pub(crate) fn append(&mut self, draft: &Draft, entries: &[Entry]) -> Result<()> {
        let Some(first) = entries.first().map(|e| e.index) else { return Ok(()) };
        let group = self.group;
        let first_index = self.compacted.index.saturating_add(1);
        if first < first_index {
            return Err(Error::BelowFirst { group, index: first, first: first_index });
        }
        if first <= self.fixed.hard.commit {
            return Err(Error::OverwritesCommitted { group, index: first, commit: self.fixed.hard.commit });
        }
        let expected = self.last.index.saturating_add(1);
        if first > expected {
            return Err(Error::Gap { group, index: first, expected });
        }
        let last =
            self.check_run(Position { index: first - 1, term: self.term(draft, first - 1) }, entries)?;
        self.last = last;
        Ok(())
    }

    /// Checks that entries follow `before` without gaps; returns the last of them.
    fn check_run(&self, before: Position, entries: &[Entry]) -> Result<Position> {
        let group = self.group;
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
            last = Position { index: entry.index, term: entry.term };
        }
        Ok(last)
    }

    /// Term and commit must never fall, a vote must not change within its term, and committed entries must exist:
    /// raft refuses to start with a commit index beyond the last one (`raft.rs`, `load_state`).
    ///
    /// Whether the terms of entries stay at or below the HardState's is not checked: raft may return an entry and the
    /// HardState of its term in one Ready, and they arrive here one after the other.
    pub(crate) fn set_hard(&mut self, hard: Hard) -> Result<()> {
        let (group, now) = (self.group, self.fixed.hard);
        if hard.term < now.term {
            return Err(Error::HardStateTermFalls { group, term: hard.term, current: now.term });
        }
        if hard.commit < now.commit {
            return Err(Error::CommitFalls { group, index: hard.commit, current: now.commit });
        }
        let has_voted = hard.term == now.term && now.vote != 0;
        if has_voted && or_fault!(hard.vote != now.vote, VoteCheck => false) {
            return Err(Error::VoteChanges { group, term: hard.term, vote: hard.vote, current: now.vote });
        }
        if hard.commit > self.last.index {
            return Err(Error::CommitBeyondLast { group, index: hard.commit, last: self.last.index });
        }
        self.fixed.hard = hard;
        Ok(())
    }

    /// Applied must never fall or exceed commit, and must name an entry in the log.
    pub(crate) fn set_applied(&mut self, draft: &Draft, applied: Position) -> Result<()> {
        let (group, Position { index, term }) = (self.group, applied);
        if index < self.fixed.applied.index {
            return Err(Error::AppliedFalls { group, index, current: self.fixed.applied.index });
        }
        if index > self.fixed.hard.commit {
            return Err(Error::AppliedBeyondCommit { group, index, commit: self.fixed.hard.commit });
        }
        let expected = self.term(draft, index);
        if term != expected {
            return Err(Error::TermMismatch { group, index, term, expected });
        }
        self.fixed.applied = applied;
        Ok(())
    }

    pub(crate) fn set_conf(&mut self, index: u64) -> Result<()> {
        let group = self.group;
        if index < self.fixed.conf_index {
            return Err(Error::ConfStateFalls { group, index, current: self.fixed.conf_index });
        }
        if index > self.fixed.hard.commit {
            return Err(Error::ConfStateBeyondCommit { group, index, commit: self.fixed.hard.commit });
        }
        self.fixed.conf_index = index;
        Ok(())
    }

    /// The entry that becomes the last compacted one; `None` if everything is already gone.
    pub(crate) fn compact(&mut self, draft: &Draft, index: u64) -> Result<Option<Position>> {
        let group = self.group;
        if index <= self.compacted.index {
            return Ok(None);
        }
        if index > self.fixed.applied.index {
            return Err(Error::CompactBeyondApplied { group, index, applied: self.fixed.applied.index });
        }
        let snapshot = self.fixed.snapshot.map_or(0, |file| file.at.index);
        if index > snapshot {
            return Err(Error::CompactBeyondSnapshot { group, index, snapshot });
        }
        let to = Position { index, term: self.term(draft, index) };
        self.compacted = to;
        Ok(Some(to))
    }

    /// A snapshot must name members, lie beyond what is committed, and have a term that does not contradict the log.
    pub(crate) fn install(
        &mut self,
        draft: Option<&Draft>,
        at: Position,
        conf: &ConfState,
        newer: Newer,
    ) -> Result<()> {
        let (group, Position { index, term }, commit) = (self.group, at, self.fixed.hard.commit);
        if conf.voters.is_empty() {
            return Err(Error::EmptyConfState { group, index });
        }
        let previous = draft.map_or(0, |draft| self.term(draft, commit));
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
        let hard = self.fixed.hard;
        // Its file is known only when it is staged; until then only its position counts.
        self.fixed = Fixed::from_snapshot(hard, SnapshotRef { at, serial: 0 });
        self.compacted = at;
        self.last = at;
        Ok(())
    }
}

/// The last compacted entry. Raft's logs begin at index 1, so there is one.
pub(crate) fn compacted(contents: &Contents) -> Position {
    contents.root.start.before().unwrap_or_default()
}

/// Checks whether a group may begin after this entry, by the rule for installing a snapshot in an empty group.
pub(crate) fn begin_behind(id: u64, at: Position, conf: &ConfState) -> Result<()> {
    let mut empty = View::of(id, &Contents::default());
    empty.install(None, at, conf, Newer::ThanCommit)
}

/// Checks whether the application may save a snapshot here; returns the entry it stands for.
pub(crate) fn save_snapshot(id: u64, contents: &Contents, index: u64, conf: &ConfState) -> Result<Position> {
    let Fixed { applied, snapshot, .. } = fields::fixed_of(&contents.root.state);
    let current = snapshot.map_or(0, |s| s.at.index);
    if contents.gone {
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
    // Below the first index there is no term: the group began after it and has no snapshot yet.
    let below = Error::BelowFirst { group: id, index, first: contents.first_index() };
    let term = contents.term(index).ok_or(below)?;
    Ok(Position { index, term })
}

/// Checks that replay produced a group that raft can be started with.
pub(crate) fn verify_whole(group: u64, contents: &Contents) -> Result<()> {
    let missing = |index, what| Err(Error::Incomplete { group, index, what });
    let lsn = contents.record.map_or(Lsn::ZERO, |record| record.lsn);
    let content = |problem| Error::Content { group, index: 0, lsn, problem };
    let fixed = fields::check(&contents.root.state).map_err(content)?;
    let (Some(compacted), Some(last)) = (contents.root.start.before(), contents.last()) else {
        return Err(content(ContentProblem::Field("first index")));
    };
    let commit = fixed.hard.commit;
    if commit > last.index {
        return missing(last.index.saturating_add(1), Missing::Committed);
    }
    if commit < compacted.index {
        return missing(commit, Missing::Committed);
    }
    if fixed.applied.index > commit || fixed.applied.index < compacted.index {
        return missing(fixed.applied.index, Missing::Applied);
    }
    Ok(())
}
