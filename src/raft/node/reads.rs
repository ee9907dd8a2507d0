//! Linearizable reads: an index to wait for before the state machine is read.

use ::raft::StateRole;

use super::error::{NodeError, NodeResult};
use super::{Node, ReadId};

impl Node {
    /// Requests an index such that a state machine that has applied it may serve reads that start now. It is returned
    /// in [`Output::reads`](super::Output::reads). Messages may be lost, so the caller should set a time limit and ask again.
    ///
    /// # Errors
    /// [`NodeError::NotLeader`] if no leader is known; [`NodeError::NotNow`] if this leader has not committed an
    /// entry of its term yet.
    pub fn read_index(&mut self) -> NodeResult<ReadId> {
        self.check_log()?;
        let raft = &self.raw.raft;
        if raft.leader_id == 0 {
            return Err(NodeError::NotLeader { group: self.group, leader: None });
        }
        let log = &raft.raft_log;
        if raft.state == StateRole::Leader && !log.match_term(log.committed, raft.term) {
            return Err(NodeError::NotNow {
                group: self.group,
                why: "this leader has not committed an entry of its term yet; drive the node and ask again",
            });
        }
        let context = self.contexts.next();
        self.raw.read_index(context.as_bytes().to_vec());
        Ok(ReadId(context))
    }
}
