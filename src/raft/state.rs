//! What is known of a group apart from its entries.

use std::sync::Arc;

use ::raft::eraftpb::{ConfState, HardState};

/// An entry's place in its group: two logs that have the same pair hold the same entries up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EntryId {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// Raft's `HardState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hard {
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) commit: u64,
}

impl Hard {
    pub(crate) fn of(hs: &HardState) -> Self {
        Hard { term: hs.term, vote: hs.vote, commit: hs.commit }
    }

    pub(crate) fn to_raft(self) -> HardState {
        let mut hs = HardState::default();
        hs.term = self.term;
        hs.vote = self.vote;
        hs.commit = self.commit;
        hs
    }

    /// The HardState once a snapshot at `at` is in place: what the snapshot holds is committed, and its term has been
    /// seen. A vote belongs to its term, so it goes when the term rises.
    pub(crate) fn raised_to(self, at: EntryId) -> Self {
        Hard {
            term: self.term.max(at.term),
            vote: if at.term > self.term { 0 } else { self.vote },
            commit: self.commit.max(at.index),
        }
    }
}

/// Which file holds a group's snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SnapshotRef {
    pub(crate) at: EntryId,
    /// Never used twice in a log, so two snapshots of the same index are two files.
    pub(crate) serial: u64,
}

/// Everything about a group but its entries; what a State record holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FullState {
    /// Tells the lives of a group id apart: rises each time the id is created.
    pub(crate) incarnation: u64,
    pub(crate) hard: Hard,
    pub(crate) applied: EntryId,
    /// The last entry that is gone; the one before the first index.
    pub(crate) compacted: EntryId,
    /// The index from which `conf` holds.
    pub(crate) conf_index: u64,
    pub(crate) snapshot: Option<SnapshotRef>,
    pub(crate) conf: Arc<ConfState>,
}

impl FullState {
    /// The state of a group whose log begins behind this entry, without a snapshot of it. Its incarnation is still to be
    /// given.
    pub(crate) fn behind(at: EntryId, conf: Arc<ConfState>) -> Self {
        FullState {
            incarnation: 0,
            hard: Hard::default().raised_to(at),
            applied: at,
            compacted: at,
            conf_index: at.index,
            snapshot: None,
            conf,
        }
    }

    /// The state of a group that starts over from a snapshot.
    pub(crate) fn from_snapshot(
        incarnation: u64,
        hard: Hard,
        snapshot: SnapshotRef,
        conf: Arc<ConfState>,
    ) -> Self {
        FullState {
            incarnation,
            hard: hard.raised_to(snapshot.at),
            applied: snapshot.at,
            compacted: snapshot.at,
            conf_index: snapshot.at.index,
            snapshot: Some(snapshot),
            conf,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_a_later_term_takes_the_vote_away() {
        let hard = Hard { term: 4, vote: 2, commit: 10 };
        assert_eq!(hard.raised_to(EntryId { index: 20, term: 5 }), Hard { term: 5, vote: 0, commit: 20 });
        assert_eq!(hard.raised_to(EntryId { index: 20, term: 3 }), Hard { term: 4, vote: 2, commit: 20 });
    }
}
