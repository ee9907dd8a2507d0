//! The Raft state of a group, without its entries.

use ::raft::eraftpb::HardState;

use crate::groups::Position;

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

    /// The HardState once a snapshot at `at` is in place: the snapshot's contents are committed, and its term has
    /// been seen. A vote belongs to its term, so it is cleared when the term rises.
    pub(crate) fn raised_to(self, at: Position) -> Self {
        Hard {
            term: self.term.max(at.term),
            vote: if at.term > self.term { 0 } else { self.vote },
            commit: self.commit.max(at.index),
        }
    }
}

/// Identifies the file of a group's snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SnapshotRef {
    pub(crate) at: Position,
    /// Never reused within a log, so two snapshots at the same index are two files.
    pub(crate) serial: u64,
}

/// The fixed-size part of a group's state: everything except the ConfState.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) hard: Hard,
    pub(crate) applied: Position,
    /// The index from which the ConfState holds.
    pub(crate) conf_index: u64,
    pub(crate) snapshot: Option<SnapshotRef>,
}

impl Fixed {
    /// The state of a group whose log begins after this entry, without a snapshot of it.
    pub(crate) fn behind(at: Position) -> Self {
        Fixed { hard: Hard::default().raised_to(at), applied: at, conf_index: at.index, snapshot: None }
    }

    /// The state of a group that restarts from a snapshot.
    pub(crate) fn from_snapshot(hard: Hard, snapshot: SnapshotRef) -> Self {
        let at = snapshot.at;
        Fixed { hard: hard.raised_to(at), applied: at, conf_index: at.index, snapshot: Some(snapshot) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_a_later_term_takes_the_vote_away() {
        let hard = Hard { term: 4, vote: 2, commit: 10 };
        assert_eq!(hard.raised_to(Position { index: 20, term: 5 }), Hard { term: 5, vote: 0, commit: 20 });
        assert_eq!(hard.raised_to(Position { index: 20, term: 3 }), Hard { term: 4, vote: 2, commit: 20 });
    }
}
