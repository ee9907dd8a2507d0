//! Checks that everything a node has promised is on its disk.
//!
//! A vote, a request for votes, an accepted append, a leader's own match, a committed entry handed to the state
//! machine, a saved snapshot: each implies that something is durable. It is compared
//!
//! * at each output with what the log reports as durable, by the addresses at which the states were submitted;
//! * at some or all outputs with what is found if the disk crashes at this moment, loses everything that was not
//!   synced, and is opened;
//! * at each restart with what the restart found.

use std::collections::VecDeque;

use raft::Storage as _;
use raft::eraftpb::{Message, MessageType};
use seawall::Lsn;
use seawall::raft::{Apply, GroupStorage, NodeStatus, Output, Role};

/// What one node has promised in one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    /// The highest term that it used.
    term: u64,
    /// Its vote in that term, for itself included; 0 if it promised none.
    vote: u64,
    /// The highest index that it acknowledged in that term, or counts itself for as leader.
    acked: u64,
    /// The highest entry, and its term, handed to the state machine.
    applied: (u64, u64),
    /// The newest snapshot that was saved.
    snapshot: u64,
}

impl Promises {
    fn speaks_in(&mut self, term: u64) -> bool {
        if term > self.term {
            (self.term, self.vote, self.acked) = (term, 0, 0);
        }
        term == self.term
    }

    /// Records a message that left the node.
    pub fn said(&mut self, m: &Message) {
        let kind = m.get_msg_type();
        // A pre-candidate asks in a term that is not its own, and the answers have no term.
        let hypothetical = [MessageType::MsgRequestPreVote, MessageType::MsgRequestPreVoteResponse];
        if hypothetical.contains(&kind) || !self.speaks_in(m.term) {
            return;
        }
        match kind {
            MessageType::MsgRequestVote => self.vote = m.from,
            MessageType::MsgRequestVoteResponse if !m.reject => self.vote = m.to,
            MessageType::MsgAppendResponse if !m.reject => self.acked = self.acked.max(m.index),
            _ => {}
        }
    }

    /// Records the output of a call, and the node's own match after it.
    pub fn gave(&mut self, out: &Output) {
        out.messages.iter().for_each(|m| self.said(m));
        out.apply.iter().map(Apply::last).for_each(|at| self.applied = self.applied.max(at));
    }

    pub fn counts(&mut self, status: &NodeStatus) {
        if status.role == Role::Leader
            && self.speaks_in(status.term)
            && let Some(own) = status.peers.iter().find(|p| p.id == status.id)
        {
            self.acked = self.acked.max(own.matched);
        }
    }

    pub fn saved_snapshot(&mut self, index: u64) {
        self.snapshot = self.snapshot.max(index);
    }

    /// Whether a log holds what was promised; if not, what is missing.
    pub fn kept_by(&self, found: &GroupStorage) -> Result<(), String> {
        let r = found.recover();
        self.term_and_vote(r.term, r.vote)?;
        // In a later term another leader may have replaced what was acknowledged to this one.
        if r.term == self.term && r.last_index < self.acked {
            return Err(format!("acknowledged {self:?}, found up to {}", r.last_index));
        }
        let (index, term) = self.applied;
        match found.term(index) {
            _ if index == 0 => {}
            Ok(t) if t == term => {}
            Err(raft::Error::Store(raft::StorageError::Compacted)) => {}
            other => return Err(format!("applied {self:?}, found {other:?}")),
        }
        if r.snapshot.map_or(0, |(index, _)| index) < self.snapshot {
            return Err(format!("saved {self:?}, found {:?}", r.snapshot));
        }
        Ok(())
    }

    fn term_and_vote(&self, term: u64, vote: u64) -> Result<(), String> {
        if term < self.term || (term == self.term && self.vote != 0 && vote != self.vote) {
            return Err(format!("spoke and voted as {self:?}, found term {term}, vote {vote}"));
        }
        Ok(())
    }
}

/// Which term and vote were in the log up to which address: the newest of those below the durable one is durable.
#[derive(Clone, Debug, Default)]
pub struct Submitted(VecDeque<(Lsn, u64, u64)>);

impl Submitted {
    /// After a call: everything now in memory was submitted below `end`.
    pub fn note(&mut self, end: Lsn, storage: &GroupStorage) {
        let hs = storage.hard_state();
        if self.0.back().is_none_or(|(_, term, vote)| (*term, *vote) != (hs.term, hs.vote)) {
            self.0.push_back((end, hs.term, hs.vote));
        }
    }

    /// Whether what was promised is below the log's own durable address. `false` if the log does not know, because a
    /// snapshot that is not durable yet has replaced it.
    pub fn covers(&mut self, promises: &Promises, storage: &GroupStorage) -> Result<bool, String> {
        let durable = storage.log().wal().durable_lsn();
        while self.0.get(1).is_some_and(|(end, ..)| *end <= durable) {
            self.0.pop_front();
        }
        let Some((_, term, vote)) = self.0.front().filter(|(end, ..)| *end <= durable) else {
            return Err("nothing was submitted".to_owned());
        };
        promises.term_and_vote(*term, *vote)?;
        let known = storage.durable_index();
        if storage.hard_state().term != promises.term || known >= promises.acked {
            return Ok(true);
        }
        if known == 0 { Ok(false) } else { Err(format!("acknowledged {promises:?}, durable up to {known}")) }
    }
}
