//! The state of a node, for people and for monitoring.

use std::fmt;

use ::raft::{ProgressState, StateRole};

/// A node's role in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes entries from a leader.
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

impl From<StateRole> for Role {
    fn from(role: StateRole) -> Self {
        match role {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Follower => "follower",
            Role::PreCandidate => "pre-candidate",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        })
    }
}

/// How a leader replicates to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerState {
    /// One message at a time, to find out what the peer has.
    Probe,
    /// A stream of entries.
    Replicate,
    /// A snapshot is on its way.
    Snapshot,
}

impl From<ProgressState> for PeerState {
    fn from(state: ProgressState) -> Self {
        match state {
            ProgressState::Probe => PeerState::Probe,
            ProgressState::Replicate => PeerState::Replicate,
            ProgressState::Snapshot => PeerState::Snapshot,
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PeerState::Probe => "probe",
            PeerState::Replicate => "replicate",
            PeerState::Snapshot => "snapshot",
        })
    }
}

/// A leader's information about one member, itself included.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The member's id.
    pub id: u64,
    /// The highest index that it is known to have durably.
    pub matched: u64,
    /// The next index to send.
    pub next: u64,
    /// How entries are sent to it.
    pub state: PeerState,
    /// Whether sending to it is paused.
    pub paused: bool,
    /// Whether it was heard from within the last election timeout.
    pub recent_active: bool,
    /// The index of the snapshot being sent to it; 0 if there is none.
    pub pending_snapshot: u64,
}

/// The state of a node; displays as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// The node's id.
    pub id: u64,
    /// The group's id.
    pub group: u64,
    /// Its role.
    pub role: Role,
    /// The leader known to it.
    pub leader: Option<u64>,
    /// The current term.
    pub term: u64,
    /// The node it voted for in this term.
    pub vote: Option<u64>,
    /// The last index known to be committed.
    pub commit: u64,
    /// The last index that the state machine reported as applied.
    pub applied: u64,
    /// The last index handed out for application.
    pub handed_out: u64,
    /// The first index still in the log.
    pub first: u64,
    /// The last index in raft's log, passed to the log or not.
    pub last: u64,
    /// The last index readable from the log.
    pub visible: u64,
    /// The last index that is on the device.
    pub durable: u64,
    /// Proposals without an outcome.
    pub pending_proposals: usize,
    /// Batches submitted and not known to be durable.
    pub in_flight: usize,
    /// Whether it has failed and is inactive.
    pub failed: bool,
    /// Information about the members, if it is the leader.
    pub peers: Vec<PeerStatus>,
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |id: Option<u64>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        write!(
            f,
            "node {} group {}: {}{} term {} leader {} vote {} | commit {} applied {} handed out {} | \
             log {}..{} visible {} durable {} | proposals {} in flight {}",
            self.id,
            self.group,
            self.role,
            if self.failed { " (failed)" } else { "" },
            self.term,
            known(self.leader),
            known(self.vote),
            self.commit,
            self.applied,
            self.handed_out,
            self.first,
            self.last,
            self.visible,
            self.durable,
            self.pending_proposals,
            self.in_flight,
        )?;
        for peer in &self.peers {
            write!(
                f,
                "\n  peer {:>3}  {:<9}  matched {:>8}  next {:>8}{}{}",
                peer.id,
                peer.state,
                peer.matched,
                peer.next,
                if peer.paused { "  paused" } else { "" },
                if peer.recent_active { "" } else { "  silent" },
            )?;
            if peer.pending_snapshot != 0 {
                write!(f, "  snapshot {}", peer.pending_snapshot)?;
            }
        }
        Ok(())
    }
}
