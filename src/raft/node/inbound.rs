//! Checks messages before raft sees them.
//!
//! raft 0.7.0 trusts its peers: a commit index beyond the log, entries with a gap, an index at the end of the number
//! range, or a snapshot without voters makes it panic (`fatal!`), which would take down every group of the process.
//! Here such a message is an error that names its sender, and raft never sees it. Where a rule follows from a place
//! in raft's source, the rule names it.

use ::raft::eraftpb::{Message, MessageType};
use ::raft::{RawNode, StateRole};

use super::apply::check_conf_state;
use super::error::{NodeError, NodeResult};
use crate::raft::GroupStorage;

/// Real indexes and terms are never above this; below it, sums do not overflow.
const HIGHEST: u64 = 1 << 62;

/// Checks one message against the state of the node that received it.
pub(super) struct Inbound<'a> {
    pub(super) group: u64,
    pub(super) raw: &'a RawNode<GroupStorage>,
    pub(super) max_entry_size: u64,
    /// Whether entries or a snapshot are not durable yet.
    pub(super) log_unsettled: bool,
}

impl Inbound<'_> {
    pub(super) fn check(&self, m: &Message) -> NodeResult<()> {
        let id = self.raw.raft.id;
        if m.to != id {
            return Err(NodeError::WrongNode { group: self.group, to: m.to, id });
        }
        // A forwarded read index request keeps its original sender and may be forwarded back to it.
        let comes_back = m.from == id && m.get_msg_type() == MessageType::MsgReadIndex;
        if m.from == 0 || (m.from == id && !comes_back) {
            return self.refuse(m, "a message must come from another node");
        }
        self.check_kind(m)?;
        self.check_numbers(m)?;
        // Raft answers or ignores messages of an older term based on the term alone.
        if m.term != 0 && m.term < self.raw.raft.term {
            return Ok(());
        }
        match m.get_msg_type() {
            MessageType::MsgAppend => self.check_append(m),
            MessageType::MsgHeartbeat => self.check_heartbeat(m),
            MessageType::MsgSnapshot => self.check_snapshot(m),
            MessageType::MsgAppendResponse => self.check_append_response(m),
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
                self.check_vote_response(m)
            }
            MessageType::MsgReadIndex | MessageType::MsgReadIndexResp if m.entries.len() != 1 => {
                self.refuse(m, "a read request must have exactly one context")
            }
            _ => Ok(()),
        }
    }

    fn refuse(&self, m: &Message, why: &'static str) -> NodeResult<()> {
        Err(NodeError::Refused { group: self.group, from: m.from, kind: m.get_msg_type(), why })
    }

    fn check_kind(&self, m: &Message) -> NodeResult<()> {
        match m.get_msg_type() {
            MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum => self.refuse(m, "this type is only used inside a node"),
            MessageType::MsgPropose => {
                self.refuse(m, "a proposal must be made at the leader; nodes do not forward it")
            }
            MessageType::MsgTransferLeader => self.refuse(m, "leadership must be transferred at the leader"),
            MessageType::MsgAppendResponse
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgHeartbeatResponse
                if self.raw.raft.prs().get(m.from).is_none() =>
            {
                Err(NodeError::UnknownPeer { group: self.group, peer: m.from })
            }
            // It is forwarded to the leader, and `RaftCore::send` panics if it has a term.
            MessageType::MsgReadIndex if m.term != 0 => {
                self.refuse(m, "a read index request must not have a term")
            }
            MessageType::MsgReadIndex => Ok(()),
            // Raft takes a message without a term for one of its own and does not compare terms.
            _ if m.term == 0 => self.refuse(m, "it has no term"),
            _ => Ok(()),
        }
    }

    fn check_numbers(&self, m: &Message) -> NodeResult<()> {
        let numbers =
            [m.term, m.index, m.log_term, m.commit, m.commit_term, m.reject_hint, m.request_snapshot];
        if numbers.iter().any(|n| *n > HIGHEST) {
            return self.refuse(m, "a term or index is out of range");
        }
        let size = |e: &::raft::eraftpb::Entry| (e.data.len() + e.context.len()) as u64;
        match m.entries.iter().map(size).max() {
            Some(size) if size > self.max_entry_size => {
                Err(NodeError::EntryTooLarge { group: self.group, size, max: self.max_entry_size })
            }
            _ => Ok(()),
        }
    }

    /// `RaftLog::maybe_append`, `Unstable::truncate_and_append`.
    fn check_append(&self, m: &Message) -> NodeResult<()> {
        if (m.index == 0) != (m.log_term == 0) || m.log_term > m.term {
            return self.refuse(m, "its previous index and term do not belong together");
        }
        let (mut index, mut term) = (m.index, m.log_term);
        for entry in m.entries.iter() {
            if entry.index != index + 1 {
                return self.refuse(m, "its entries have a gap");
            }
            if entry.term < term || entry.term == 0 || entry.term > m.term {
                return self.refuse(m, "the terms of its entries are out of order");
            }
            (index, term) = (entry.index, entry.term);
        }
        Ok(())
    }

    /// `Raft::handle_heartbeat` passes the commit index to `RaftLog::commit_to`. A leader sends at most what this
    /// node has acknowledged.
    fn check_heartbeat(&self, m: &Message) -> NodeResult<()> {
        let last = self.raw.raft.raft_log.last_index();
        if m.commit > last {
            return Err(NodeError::LostEntries { group: self.group, from: m.from, commit: m.commit, last });
        }
        Ok(())
    }

    /// `Raft::restore`, `RawNode::ready`.
    fn check_snapshot(&self, m: &Message) -> NodeResult<()> {
        let meta = m.get_snapshot().get_metadata();
        if meta.index == 0 || meta.term == 0 || meta.index > HIGHEST || meta.term > m.term {
            return self.refuse(m, "the snapshot's index or term is out of range");
        }
        let log = &self.raw.raft.raft_log;
        if meta.index == log.committed && !log.match_term(meta.index, meta.term) {
            return self.refuse(m, "the snapshot contradicts an entry committed here");
        }
        if meta.index > log.committed && log.term(log.committed).is_ok_and(|term| meta.term < term) {
            return self.refuse(m, "the snapshot's term is below that of an earlier entry committed here");
        }
        check_conf_state(meta.get_conf_state()).or_else(|why| self.refuse(m, why))
    }

    /// `Progress::maybe_update` accepts any index.
    fn check_append_response(&self, m: &Message) -> NodeResult<()> {
        let log = &self.raw.raft.raft_log;
        if self.raw.raft.state == StateRole::Leader
            && m.term == self.raw.raft.term
            && m.index > log.last_index()
        {
            return self.refuse(m, "it acknowledges an index that this leader never sent");
        }
        Ok(())
    }

    /// `Raft::become_leader` and `RawNode::ready` assert that all entries are durable. Vote requests are sent after
    /// that, so no response can arrive earlier.
    fn check_vote_response(&self, m: &Message) -> NodeResult<()> {
        // A leader ignores late votes.
        let campaigning = matches!(self.raw.raft.state, StateRole::Candidate | StateRole::PreCandidate);
        if campaigning && !m.reject && self.log_unsettled {
            return self.refuse(m, "it answers a request that has not been sent");
        }
        Ok(())
    }
}
