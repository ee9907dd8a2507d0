//! What a [`Node`](super::Node) refuses, and why.

use std::sync::Arc;

use ::raft::StorageError;
use ::raft::eraftpb::MessageType;

use crate::raft::Error;

/// The result of what a [`Node`](super::Node) does.
pub type NodeResult<T> = std::result::Result<T, NodeError>;

/// Everything a [`Node`](super::Node) can refuse. Unless it says otherwise, nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The store refused.
    #[error(transparent)]
    Storage(#[from] Error),

    /// A value in the configuration cannot work.
    #[error("group {group}: invalid node configuration: {what}")]
    Config {
        /// The group.
        group: u64,
        /// Which value, and what would work.
        what: String,
    },

    /// The directory is not this node's.
    #[error(
        "group {group}: node {configured} was started over a directory that {}. Pin the id with \
         `RaftOptions::node_id` and check which directory this process was given",
        log.map_or_else(|| "is pinned to no node".to_owned(), |id| format!("belongs to node {id}"))
    )]
    WrongDirectory {
        /// The group.
        group: u64,
        /// The id in the configuration.
        configured: u64,
        /// The id that the directory is pinned to.
        log: Option<u64>,
    },

    /// The state machine's applied index is not one that this log can go on from.
    #[error(
        "group {group}: the state machine says it applied up to {index}, the log can go on from \
         [{lowest}, {highest}]. Below: restore the state machine from the newest snapshot first. Above: \
         the log is older than the state machine, they do not belong together"
    )]
    AppliedOutOfRange {
        /// The group.
        group: u64,
        /// What the state machine says.
        index: u64,
        /// The lowest index that the log can go on from.
        lowest: u64,
        /// The highest.
        highest: u64,
    },

    /// The entry that the state machine applied last is another one than the log's.
    #[error(
        "group {group}: the state machine applied index {index} of term {given}, the log has term {found} \
         there: they do not belong together. Check which directory this process was given, or restore the state \
         machine from this log's newest snapshot"
    )]
    AppliedTermMismatch {
        /// The group.
        group: u64,
        /// The index in question.
        index: u64,
        /// The term that the state machine says.
        given: u64,
        /// The term in the log.
        found: u64,
    },

    /// Only the leader can do this. The request was not taken: it can be sent to the leader as it is.
    #[error(
        "group {group}: this node is not the leader: {}",
        leader.map_or_else(|| "none is known, ask again later".to_owned(), |id| format!("ask node {id}, which is"))
    )]
    NotLeader {
        /// The group.
        group: u64,
        /// The leader, when one is known.
        leader: Option<u64>,
    },

    /// The proposal was not taken; it can be tried again later.
    #[error("group {group}: the proposal was not taken: {why}")]
    Dropped {
        /// The group.
        group: u64,
        /// What stood in its way, and what to do.
        why: &'static str,
    },

    /// A change of the configuration that would be lost or do harm.
    #[error("group {group}: configuration change refused: {why}")]
    ConfChangeRefused {
        /// The group.
        group: u64,
        /// What is wrong with it, and what to do.
        why: String,
    },

    /// An entry is larger than the limit.
    #[error(
        "group {group}: an entry of {size} bytes is over the limit of {max} (`NodeConfig::max_entry_size`, and what a \
         record of the log has room for): split it, or raise the limit on every member"
    )]
    EntryTooLarge {
        /// The group.
        group: u64,
        /// The entry's size in bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },

    /// As many bytes wait for being handed to the log as the configuration allows. Drive the node and try again; a
    /// message that is lost this way is sent again by raft.
    #[error("group {group}: {bytes} bytes wait for being written: drive the node, and try again")]
    Busy {
        /// The group.
        group: u64,
        /// Bytes that wait.
        bytes: u64,
    },

    /// A message for somebody else.
    #[error("group {group}: a message for node {to} came to node {id}; check the peers' addresses")]
    WrongNode {
        /// The group.
        group: u64,
        /// Whom the message is for.
        to: u64,
        /// Who this is.
        id: u64,
    },

    /// A message that no correct peer sends, or that cannot be acted on now.
    #[error(
        "group {group}: {kind:?} from node {from} refused: {why}. Drop it; raft sends again what is needed"
    )]
    Refused {
        /// The group.
        group: u64,
        /// Who it says it is from.
        from: u64,
        /// What sort of message.
        kind: MessageType,
        /// What is wrong with it.
        why: &'static str,
    },

    /// A leader believes that this node stored entries which it does not have. The directory was exchanged or set
    /// back to an older state: the node must not go on under this id.
    #[error(
        "group {group}: leader {from} has proof that this node stored up to {commit}, its log ends at {last}: \
         acknowledged entries are gone. Remove this node from the group and add it again under a new id"
    )]
    LostEntries {
        /// The group.
        group: u64,
        /// The leader.
        from: u64,
        /// What this node once acknowledged.
        commit: u64,
        /// Where its log ends now.
        last: u64,
    },

    /// The answer of a node, or about a node, that is not in this group's configuration, or is this one.
    #[error(
        "group {group}: node {peer} is none of the other members: check the id, and drop what came from it"
    )]
    UnknownPeer {
        /// The group.
        group: u64,
        /// The node.
        peer: u64,
    },

    /// `applied` was reported out of order, or for what was never handed out.
    #[error(
        "group {group}: applied {index} reported, expected one of [{applied}, {handed_out}]: report what was handed \
         out, in its order"
    )]
    AppliedOutOfOrder {
        /// The group.
        group: u64,
        /// What was reported.
        index: u64,
        /// What is applied already.
        applied: u64,
        /// The last index that was handed out for application.
        handed_out: u64,
    },

    /// A snapshot or a compaction at an index where there can be none.
    #[error("group {group}: no {what} at index {index}: {why}")]
    BadIndex {
        /// The group.
        group: u64,
        /// "snapshot" or "compaction".
        what: &'static str,
        /// The index asked for.
        index: u64,
        /// Which bound it breaks, and what to do.
        why: String,
    },

    /// Not at this moment; nothing is wrong.
    #[error("group {group}: not now: {why}")]
    NotNow {
        /// The group.
        group: u64,
        /// Why not, and what has to happen first.
        why: &'static str,
    },

    /// The node failed earlier and does nothing any more: it sends nothing, votes for nobody, acknowledges nothing.
    #[error(
        "group {group}: the node has failed and does nothing any more: {cause}. Reopen the log and start it again"
    )]
    Failed {
        /// The group.
        group: u64,
        /// What happened.
        cause: Arc<NodeError>,
    },

    /// raft refused for a reason of its own, which nothing that goes through a node gives it. What the store says to
    /// raft comes as [`NodeError::Storage`].
    #[error("group {group}: raft refused: {what}. Nothing was taken; this is not expected, please report it")]
    Raft {
        /// The group.
        group: u64,
        /// What it says.
        what: String,
    },
}

impl NodeError {
    /// What raft says: its own word, or that of the store below it.
    pub(super) fn of_raft(group: u64, e: &::raft::Error) -> NodeError {
        if let ::raft::Error::Store(StorageError::Other(inner)) = e
            && let Some(e) = inner.downcast_ref::<Error>()
        {
            return NodeError::Storage(e.clone());
        }
        NodeError::Raft { group, what: e.to_string() }
    }
}
