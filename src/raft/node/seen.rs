//! Values of the last Ready, for detecting changes.

use ::raft::{RawNode, StateRole};

use crate::raft::GroupStorage;

/// Values of the last Ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) role: StateRole,
    pub(super) leader: u64,
    pub(super) term: u64,
    pub(super) vote: u64,
    pub(super) commit: u64,
    pub(super) noted: (StateRole, u64),
}

impl Seen {
    pub(super) fn of(raw: &RawNode<GroupStorage>) -> Self {
        let raft = &raw.raft;
        let (role, leader) = (raft.state, raft.leader_id);
        Seen {
            role,
            leader,
            term: raft.term,
            vote: raft.vote,
            commit: raft.raft_log.committed,
            noted: (role, leader),
        }
    }

    /// Whether role or leader changed since the last call.
    pub(super) fn note_role(&mut self, raw: &RawNode<GroupStorage>) -> bool {
        let now = (raw.raft.state, raw.raft.leader_id);
        std::mem::replace(&mut self.noted, now) != now
    }
}
