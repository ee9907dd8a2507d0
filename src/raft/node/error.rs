//! Errors of a [`Node`](super::Node).

use std::sync::Arc;

use ::raft::StorageError;
use ::raft::eraftpb::MessageType;

use crate::raft::Error;

/// The result of the operations of a [`Node`](super::Node).
pub type NodeResult<T> = std::result::Result<T, NodeError>;

/// Errors of a [`Node`](super::Node). Unless stated otherwise, nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The store refused or failed.
    #[error(transparent)]
    Storage(#[from] Error),

    /// A configuration value is invalid.
    #[error("group {group}: invalid node configuration: {what}")]
    Config {
        /// The group.
        group: u64,
        /// Which value, and what would be valid.
        what: String,
    },

    /// The directory does not belong to this node.
    #[error(
        "group {group}: node {configured} was started over a directory that {}. Pin the id with \
         `RaftOptions::node_id` and check which directory this process was given",
        log.map_or_else(|| "is not pinned to any node".to_owned(), |id| format!("belongs to node {id}"))
    )]
    WrongDirectory {
        /// The group.
        group: u64,
        /// The id in the configuration.
        configured: u64,
        /// The id that the directory is pinned to.
        log: Option<u64>,
    },

    /// A node of this process drives the group already.
    #[error("group {group}: a node drives it already. Drop that one first, or use it")]
    AlreadyDriven {
        /// The group.
        group: u64,
    },

    /// The log cannot continue from the state machine's applied index.
    #[error(
        "group {group}: the state machine says it applied up to {index}, but the log can continue only from \
         [{lowest}, {highest}]. If below: restore the state machine from the newest snapshot first. If above: \
         the log is older than the state machine, so they do not belong together"
    )]
    AppliedOutOfRange {
        /// The group.
        group: u64,
        /// The state machine's applied index.
        index: u64,
        /// The lowest index that the log can continue from.
        lowest: u64,
        /// The highest index that the log can continue from.
        highest: u64,
    },

    /// The entry last applied by the state machine differs from the log's.
    #[error(
        "group {group}: the state machine applied index {index} with term {given}, but the log has term {found} \
         there, so they do not belong together. Check which directory this process was given, or restore the state \
         machine from this log's newest snapshot"
    )]
    AppliedTermMismatch {
        /// The group.
        group: u64,
        /// The index in question.
        index: u64,
        /// The term according to the state machine.
        given: u64,
        /// The term in the log.
        found: u64,
    },

    /// Only the leader can do this. The request was not accepted and can be sent to the leader unchanged.
    #[error(
        "group {group}: this node is not the leader: {}",
        leader.map_or_else(|| "none is known, so ask again later".to_owned(), |id| format!("ask node {id}, which is"))
    )]
    NotLeader {
        /// The group.
        group: u64,
        /// The leader, if known.
        leader: Option<u64>,
    },

    /// The proposal was not accepted; it can be retried later.
    #[error("group {group}: the proposal was not accepted: {why}")]
    Dropped {
        /// The group.
        group: u64,
        /// The reason, and what to do.
        why: &'static str,
    },

    /// A configuration change that would be lost or do harm.
    #[error("group {group}: configuration change refused: {why}")]
    ConfChangeRefused {
        /// The group.
        group: u64,
        /// What is wrong with it, and what to do.
        why: String,
    },

    /// An entry exceeds the limit.
    #[error(
        "group {group}: an entry of {size} bytes exceeds the limit of {max} (`NodeConfig::max_entry_size`, and what fits \
         into a record of the log): split it, or raise the limit on every member"
    )]
    EntryTooLarge {
        /// The group.
        group: u64,
        /// The entry's size in bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },

    /// As many bytes are waiting to be passed to the log as the configuration allows. Drive the node and try again;
    /// raft resends a message lost this way.
    #[error("group {group}: {bytes} bytes are waiting to be written: drive the node and try again")]
    Busy {
        /// The group.
        group: u64,
        /// The number of waiting bytes.
        bytes: u64,
    },

    /// The message is for another node.
    #[error("group {group}: a message for node {to} reached node {id}; check the peers' addresses")]
    WrongNode {
        /// The group.
        group: u64,
        /// The intended recipient.
        to: u64,
        /// This node.
        id: u64,
    },

    /// A message that no correct peer sends, or that cannot be processed now.
    #[error("group {group}: {kind:?} from node {from} refused: {why}. Drop it; raft resends what is needed")]
    Refused {
        /// The group.
        group: u64,
        /// The sender named in the message.
        from: u64,
        /// The type of the message.
        kind: MessageType,
        /// What is wrong with it.
        why: &'static str,
    },

    /// A leader believes that this node stored entries that it does not have. The directory was exchanged or reset to
    /// an older state: the node must not continue under this id.
    #[error(
        "group {group}: leader {from} has proof that this node stored entries up to {commit}, but its log ends at {last}: \
         acknowledged entries are gone. Remove this node from the group and add it again under a new id"
    )]
    LostEntries {
        /// The group.
        group: u64,
        /// The leader.
        from: u64,
        /// The index that this node once acknowledged.
        commit: u64,
        /// Where its log ends now.
        last: u64,
    },

    /// A response from, or a request about, a node that is not another member of this group's configuration.
    #[error("group {group}: node {peer} is not another member: check the id, and drop messages from it")]
    UnknownPeer {
        /// The group.
        group: u64,
        /// The node.
        peer: u64,
    },

    /// `applied` was reported out of order, or for entries that were never handed out.
    #[error(
        "group {group}: applied {index} was reported, but expected one of [{applied}, {handed_out}]: report what was handed \
         out, in order"
    )]
    AppliedOutOfOrder {
        /// The group.
        group: u64,
        /// The reported index.
        index: u64,
        /// The index applied so far.
        applied: u64,
        /// The last index handed out for application.
        handed_out: u64,
    },

    /// A snapshot or a compaction at an index where it is not possible.
    #[error("group {group}: no {what} at index {index}: {why}")]
    BadIndex {
        /// The group.
        group: u64,
        /// "snapshot" or "compaction".
        what: &'static str,
        /// The index asked for.
        index: u64,
        /// The violated bound, and what to do.
        why: String,
    },

    /// Not possible at this moment; nothing is wrong.
    #[error("group {group}: not now: {why}")]
    NotNow {
        /// The group.
        group: u64,
        /// The reason, and what must happen first.
        why: &'static str,
    },

    /// The node failed earlier and is inactive: it sends nothing, votes for no one, acknowledges nothing.
    #[error("group {group}: the node has failed and is inactive: {cause}. Reopen the log and start it again")]
    Failed {
        /// The group.
        group: u64,
        /// What happened.
        cause: Arc<NodeError>,
    },

    /// Raft refused for a reason of its own, which is not expected for anything that goes through a node. Errors of
    /// the store come as [`NodeError::Storage`].
    #[error(
        "group {group}: raft refused: {what}. Nothing was accepted. This is not expected; please report it"
    )]
    Raft {
        /// The group.
        group: u64,
        /// Raft's message.
        what: String,
    },
}

impl NodeError {
    /// Converts an error of raft: its own, or one of the store below it.
    pub(super) fn of_raft(group: u64, e: &::raft::Error) -> NodeError {
        if let ::raft::Error::Store(StorageError::Other(inner)) = e
            && let Some(e) = inner.downcast_ref::<Error>()
        {
            return NodeError::Storage(e.clone());
        }
        NodeError::Raft { group, what: e.to_string() }
    }
}
