//! Configuration of a [`Node`](super::Node), checked before it starts.

use std::ops::Range;

use ::raft::{Config, ReadOnlyOption};

use super::error::{NodeError, NodeResult};
use crate::Wal;

/// Bytes that a batch needs in addition to an entry: its record's header, and the records of a HardState, an applied
/// index and a ConfState with a hundred members.
const BESIDE_AN_ENTRY: u64 = 1024;

/// Bytes before an entry's context and data in its record.
const CONTEXT_LENGTH: u64 = 4;

/// Configuration of a [`Node`](super::Node).
///
/// Times are in ticks; the interval between calls of [`Node::tick`](super::Node::tick) defines the length of a tick.
/// All members of a group should have the same values.
#[derive(Clone, Debug)]
#[must_use]
pub struct NodeConfig {
    pub(super) id: u64,
    pub(super) applied: Option<(u64, u64)>,
    election_tick: usize,
    election_timeout: Range<usize>,
    heartbeat_tick: usize,
    pre_vote: bool,
    check_quorum: bool,
    priority: i64,
    max_message_size: u64,
    max_inflight_messages: usize,
    max_uncommitted_size: u64,
    max_apply_size: u64,
    pub(super) max_entry_size: u64,
    pub(super) max_unwritten_size: u64,
    pub(super) max_unapplied_size: u64,
    /// Bytes of the log that entries waiting to be written may take.
    pub(super) room: u64,
}

impl NodeConfig {
    /// The configuration of the node with this id, which must be the one that the log's directory is pinned to.
    ///
    /// Defaults: elections after 10 to 20 ticks, a heartbeat each tick, pre-vote and check-quorum on.
    pub fn new(id: u64) -> Self {
        NodeConfig {
            id,
            applied: None,
            election_tick: 10,
            election_timeout: 0..0,
            heartbeat_tick: 1,
            pre_vote: true,
            check_quorum: true,
            priority: 0,
            max_message_size: 1 << 20,
            max_inflight_messages: 256,
            max_uncommitted_size: 256 << 20,
            max_apply_size: 16 << 20,
            max_entry_size: 8 << 20,
            max_unwritten_size: 32 << 20,
            max_unapplied_size: 64 << 20,
            room: u64::MAX,
        }
    }

    /// The index and term of the last entry in the state machine: committed entries above it are handed out.
    ///
    /// An in-memory state machine starts from the newest snapshot and passes the snapshot's index and term. Without
    /// this, the node continues from the last index that was reported by
    /// [`Node::report_applied`](super::Node::report_applied) and stored; as the report is stored with a later batch,
    /// the state machine may receive entries again after a crash.
    pub fn applied(mut self, index: u64, term: u64) -> Self {
        self.applied = Some((index, term));
        self
    }

    /// Ticks without hearing from a leader before an election; the actual number is random, from this to twice this.
    /// At least ten heartbeats.
    pub fn election_tick(mut self, ticks: usize) -> Self {
        self.election_tick = ticks;
        self
    }

    /// The range from which the number of ticks before each election is drawn; by default from one to two times
    /// [`NodeConfig::election_tick`], and never less. A range of one tick is deterministic, for simulations; the
    /// members must then have different ones.
    pub fn election_timeout(mut self, ticks: Range<usize>) -> Self {
        self.election_timeout = ticks;
        self
    }

    /// Ticks between a leader's heartbeats.
    pub fn heartbeat_tick(mut self, ticks: usize) -> Self {
        self.heartbeat_tick = ticks;
        self
    }

    /// Whether a node asks whether it could win before it raises the term (Raft thesis, 9.6). On by default.
    pub fn pre_vote(mut self, on: bool) -> Self {
        self.pre_vote = on;
        self
    }

    /// Whether a leader that does not hear from a quorum for an election timeout steps down. On by default.
    pub fn check_quorum(mut self, on: bool) -> Self {
        self.check_quorum = on;
        self
    }

    /// Nodes with a higher priority are preferred as leaders.
    pub fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }

    /// Maximum bytes of entries in one append message; a message always has at least one entry. Never more than half
    /// a segment of the log.
    pub fn max_message_size(mut self, bytes: u64) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Maximum number of append messages in flight to one peer.
    pub fn max_inflight_messages(mut self, messages: usize) -> Self {
        self.max_inflight_messages = messages;
        self
    }

    /// Maximum bytes of uncommitted proposals; beyond it, proposals fail with
    /// [`NodeError::Dropped`](super::NodeError::Dropped).
    pub fn max_uncommitted_size(mut self, bytes: u64) -> Self {
        self.max_uncommitted_size = bytes;
        self
    }

    /// Maximum bytes of committed entries in one [`Apply`](super::Apply); it always has at least one entry.
    pub fn max_apply_size(mut self, bytes: u64) -> Self {
        self.max_apply_size = bytes;
        self
    }

    /// Maximum bytes of one entry, proposed here or received. 8 MiB by default, and never more than fits into a
    /// record of the log ([`Options::max_record_size`](crate::Options::max_record_size)).
    pub fn max_entry_size(mut self, bytes: u64) -> Self {
        self.max_entry_size = bytes;
        self
    }

    /// Maximum bytes of entries waiting for the next call that passes them to the log. 32 MiB by default, and never
    /// more than takes half a segment of the log, because they become one batch, which a codec may lengthen. Beyond
    /// it, calls fail with [`NodeError::Busy`](super::NodeError::Busy).
    pub fn max_unwritten_size(mut self, bytes: u64) -> Self {
        self.max_unwritten_size = bytes;
        self
    }

    /// Maximum bytes of committed entries handed out and not reported as applied. Beyond it, no more are handed out
    /// unless raft has something else to do.
    pub fn max_unapplied_size(mut self, bytes: u64) -> Self {
        self.max_unapplied_size = bytes;
        self
    }

    /// Lowers the limits to what the log can hold: a larger entry would make the node fail when it is written.
    pub(super) fn fitting(mut self, log: &Wal) -> Self {
        let record = log.max_record_size().min(log.max_batch_size().saturating_sub(BESIDE_AN_ENTRY));
        self.max_entry_size = self.max_entry_size.min(record.saturating_sub(CONTEXT_LENGTH));
        self.room = log.max_batch_size() / 2;
        self.max_message_size = self.max_message_size.min(self.room);
        self
    }

    /// The configuration for raft, once `applied` is known to be correct.
    pub(super) fn to_raft(&self, applied: u64) -> Config {
        Config {
            id: self.id,
            election_tick: self.election_tick,
            heartbeat_tick: self.heartbeat_tick,
            applied,
            max_size_per_msg: self.max_message_size,
            max_inflight_msgs: self.max_inflight_messages,
            check_quorum: self.check_quorum,
            pre_vote: self.pre_vote,
            min_election_tick: self.election_timeout.start,
            max_election_tick: self.election_timeout.end,
            read_only_option: ReadOnlyOption::Safe,
            skip_bcast_commit: false,
            batch_append: false,
            priority: self.priority,
            max_uncommitted_size: self.max_uncommitted_size,
            max_committed_size_per_ready: self.max_apply_size,
        }
    }

    pub(super) fn validate(&self, group: u64) -> NodeResult<()> {
        let refuse = |what: String| Err(NodeError::Config { group, what });
        if self.id == 0 {
            return refuse("the node id is 0, which raft reserves for \"nobody\"; ids start at 1".to_owned());
        }
        if self.heartbeat_tick == 0 {
            return refuse("heartbeat_tick is 0, but a leader must send heartbeats".to_owned());
        }
        let least = self.heartbeat_tick.saturating_mul(10);
        if self.election_tick < least {
            return refuse(format!(
                "election_tick {} is below ten heartbeats ({least}): a slow fsync or a lost packet would start elections",
                self.election_tick
            ));
        }
        // Raft doubles it for the upper bound of the random timeout.
        if self.election_tick > usize::MAX / 4 {
            return refuse(format!("election_tick {} is out of range", self.election_tick));
        }
        if self.max_unwritten_size < self.max_entry_size {
            return refuse(format!(
                "max_unwritten_size {} is below max_entry_size {}: an entry of that size could never be accepted",
                self.max_unwritten_size, self.max_entry_size
            ));
        }
        self.to_raft(0).validate().map_err(|e| NodeError::Config { group, what: e.to_string() })
    }
}
