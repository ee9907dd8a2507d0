//! `Node`: drives one member of one Raft group so that the usual mistakes cannot be written.
//!
//! tikv/raft leaves the sequence of steps to its user: write a Ready, wait until it is durable, only then advance,
//! send these messages before and those after, apply, report. Each step can be forgotten or swapped, and raft notices
//! late or never. A `Node` owns the `RawNode`, never lends it, and performs all of these steps itself:
//!
//! ```text
//!     tick, step, propose, campaign, read_index, transfer_leader, report_applied
//!        │                    (only change what raft wants to do next)
//!        v
//!     drive ──> Ready ──> entries + HardState + snapshot + ConfState + applied ──> one batch, submitted
//!        ^        │           (Readys of any number of groups in one batch: drive_all)     │
//!        │        │                                                                        │ ticket, kept by the node
//!        │        ├──> a leader's appends and heartbeats ─────────────────────> Output     │
//!        │        └──> committed entries, for the state machine ──────────────> Output     v
//!        └──── durable, in order: on_persist_ready, votes and acknowledgements ─> Output <─┘
//! ```
//!
//! * Between a Ready and its submission nothing can interfere: it is a single call with `&mut self`.
//! * Whatever depends on durability (an acknowledgement, a vote, a leader's own match) stays inside the node until
//!   the ticket is durable. There is no handle that a caller could drop, forget or resolve too early.
//! * A failed write ends the node: nothing is sent any more, and every later call returns the reason
//!   ([`NodeError::Failed`]).
//! * The caller runs the state machine, on any thread, and reports progress with [`Node::report_applied`]. Nothing
//!   here waits for it.
//!
//! # States
//!
//! ```text
//!   new ──> running ──(a write failed, or the store refused a Ready)──> failed ──> dropped, started again
//! ```
//!
//! A `Node` has no thread and no clock of its own. A process with thousands of groups owns thousands of nodes, ticks
//! them, and calls [`drive_all`] over those that have something to do.
//!
//! # What does not compile
//!
//! Advancing before the disk, or doing something in between: the `RawNode` is private.
//!
//! ```compile_fail,E0616
//! fn early(node: &mut seawall::raft::Node) {
//!     node.raw.on_persist_ready(1);
//! }
//! ```
//!
//! Proposing, ticking or stepping between a Ready and its submission: there is no intermediate value to hold, and
//! nodes are borrowed while they are driven.
//!
//! ```compile_fail,E0499
//! fn between(a: &mut seawall::raft::Node) {
//!     let nodes = [&mut *a].into_iter().inspect(|_| a.tick().unwrap());
//!     drop(seawall::raft::drive_all(nodes));
//! }
//! ```
//!
//! # A group of one
//!
//! ```
//! # use std::time::Duration;
//! # use raft::eraftpb::ConfState;
//! use seawall::raft::{Node, NodeConfig, RaftOptions};
//!
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let log = RaftOptions::new().node_id(1).open(dir)?;
//! let storage = log.create_group(7, ConfState::from((vec![1], vec![])))?;
//! let mut node = Node::new(NodeConfig::new(1), storage)?;
//! node.campaign()?;
//! let mut outcome = None;
//! loop {
//!     let out = node.wait_durable()?; // or drive(), and a waker
//!     assert!(out.messages.is_empty(), "would be sent to the other members");
//!     for apply in out.apply {
//!         for command in apply.commands() {
//!             println!("{}", String::from_utf8_lossy(&command.data));
//!         }
//!         node.report_applied(apply.last().0)?;
//!     }
//!     if node.is_leader() && outcome.is_none() {
//!         outcome = Some(node.propose(b"hello".to_vec(), Duration::from_secs(5))?);
//!     }
//!     if let Some(Some(done)) = outcome.as_ref().map(|proposal| proposal.outcome()) {
//!         println!("{:?}", done?);
//!         break;
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod apply;
mod config;
mod drive;
mod error;
mod inbound;
mod membership;
mod persist;
mod proposal;
mod reads;
mod seen;
mod snapshot;
mod status;
mod trace;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use ::raft::eraftpb::{Message, MessageType};
use ::raft::{RawNode, SnapshotStatus, StateRole, Storage as _};

use self::apply::{Applying, Configurations, check_conf_state};
use self::inbound::Inbound;
use self::persist::Persists;
use self::proposal::{Contexts, EntryContext, Proposals};
use super::store::Drive;
use super::{GroupStorage, RaftLog};

pub use self::apply::Apply;
pub use self::config::NodeConfig;
pub use self::drive::{Driven, Output, drive_all};
pub use self::error::{NodeError, NodeResult};
pub use self::proposal::{Applied, Proposal, ProposalError};
pub use self::snapshot::SnapshotWriter;
pub use self::status::{NodeStatus, PeerState, PeerStatus, Role};

/// Maximum size of a record in addition to an entry's data and context: header, length of the context, padding.
const RECORD: u64 = 40 + 4 + 7;

/// Identifies a request of [`Node::read_index`] until its answer is returned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReadId(EntryContext);

/// One member of one group. See the [module](self).
pub struct Node {
    raw: RawNode<GroupStorage>,
    storage: GroupStorage,
    log: RaftLog,
    group: u64,
    id: u64,
    config: NodeConfig,
    persists: Persists,
    applying: Applying,
    configurations: Configurations,
    proposals: Proposals,
    contexts: Contexts,
    /// Role, leader, term, vote and commit as of the last Ready.
    last: seen::Seen,
    failed: Option<Arc<NodeError>>,
    /// Given up when the node is dropped.
    _drive: Drive,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Node").field(&self.status()).finish()
    }
}

impl Node {
    /// Starts the node on its group's storage.
    ///
    /// # Errors
    /// [`NodeError::Config`], [`NodeError::WrongDirectory`], [`NodeError::AlreadyDriven`], [`NodeError::AppliedOutOfRange`],
    /// [`NodeError::AppliedTermMismatch`], and errors of the store.
    pub fn new(config: NodeConfig, storage: GroupStorage) -> NodeResult<Node> {
        storage.shared().check_opener()?;
        let group = storage.id();
        config.validate(group)?;
        let log = storage.log();
        let config = config.fitting(log.wal());
        if log.node_id() != Some(config.id) {
            return Err(NodeError::WrongDirectory { group, configured: config.id, log: log.node_id() });
        }
        let drive = storage.shared().drive(group).ok_or(NodeError::AlreadyDriven { group })?;
        let recovered = storage.recover();
        check_conf_state(&recovered.conf_state).map_err(|why| {
            let what = format!("the group cannot be started: {why}; create it with its members");
            NodeError::Config { group, what }
        })?;
        let (applied, _) = config.applied.unwrap_or((recovered.applied, recovered.applied_term));
        check_applied(&config, &storage, applied)?;
        raise_commit(&storage, applied)?;
        let raw = RawNode::new(&config.to_raft(applied), storage.clone(), &trace::logger(group))
            .map_err(|e| NodeError::of_raft(group, &e))?;
        let mut node = Node {
            last: seen::Seen::of(&raw),
            id: config.id,
            raw,
            log,
            group,
            persists: Persists::default(),
            applying: Applying::new(applied),
            configurations: Configurations::new(recovered.conf_state_index, recovered.conf_state),
            proposals: Proposals::new(group),
            contexts: Contexts::new(config.id),
            storage,
            config,
            failed: None,
            _drive: drive,
        };
        node.recover_configuration(recovered.applied)?;
        Ok(node)
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The group's id.
    #[must_use]
    pub fn group(&self) -> u64 {
        self.group
    }

    /// The group's storage, for reading.
    #[must_use]
    pub fn storage(&self) -> &GroupStorage {
        &self.storage
    }

    /// Whether this node leads its group, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.failed.is_none() && self.raw.raft.state == StateRole::Leader
    }

    /// The leader known to this node, if any.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        Some(self.raw.raft.leader_id).filter(|id| *id != 0)
    }

    /// One tick of the clock: elections, heartbeats, deadlines.
    ///
    /// # Errors
    /// [`NodeError::Failed`], also when the log was poisoned by another group.
    pub fn tick(&mut self) -> NodeResult<()> {
        self.check_log()?;
        self.proposals.expire();
        // A leader's ticks are heartbeats and must continue. A follower's ticks lead to an election, in which raft
        // 0.7.0 panics while the log is unsettled; so its clock stops for the duration of an fsync.
        if self.raw.raft.state == StateRole::Leader || self.may_campaign() {
            self.raw.tick();
            self.note_role();
        }
        Ok(())
    }

    /// Processes a message from a peer.
    ///
    /// # Errors
    /// A message that is not for this node, that no correct peer sends, or that would make raft panic;
    /// [`NodeError::Busy`] when too much is waiting to be written. The message is then dropped, which raft can
    /// handle.
    pub fn step(&mut self, message: Message) -> NodeResult<()> {
        self.alive()?;
        let inbound = Inbound {
            group: self.group,
            raw: &self.raw,
            max_entry_size: self.config.max_entry_size,
            log_unsettled: self.log_unsettled(),
        };
        inbound.check(&message)?;
        let bytes: u64 = message.entries.iter().map(|e| e.data.len() as u64).sum();
        self.check_room(bytes, message.entries.len())?;
        if message.get_msg_type() == MessageType::MsgTimeoutNow && !self.may_campaign() {
            return Err(NodeError::NotNow {
                group: self.group,
                why: "the log is being written; drive the node and try again",
            });
        }
        trace::event!(
            trace,
            group = self.group,
            from = message.from,
            kind = message.get_msg_type() as i32,
            term = message.term,
            index = message.index,
            entries = message.entries.len(),
            "message in"
        );
        let done = self.raw.step(message).map_err(|e| self.raft_error(&e));
        self.note_role();
        done
    }

    /// Proposes a command. The handle completes when this node's state machine has applied it, within `timeout`.
    ///
    /// The entry's data is the caller's; its `context` is reserved for the node.
    ///
    /// # Errors
    /// Nothing was appended: [`NodeError::NotLeader`], [`NodeError::Dropped`], [`NodeError::EntryTooLarge`],
    /// [`NodeError::Busy`], [`NodeError::Failed`].
    pub fn propose(&mut self, data: Vec<u8>, timeout: Duration) -> NodeResult<Proposal> {
        self.check_leader()?;
        let context = self.contexts.next();
        let size = (data.len() + context.as_bytes().len()) as u64;
        if size > self.config.max_entry_size {
            return Err(NodeError::EntryTooLarge {
                group: self.group,
                size,
                max: self.config.max_entry_size,
            });
        }
        self.check_room(size, 1)?;
        if let Err(e) = self.raw.propose(context.as_bytes().to_vec(), data) {
            return Err(self.not_taken(&e));
        }
        Ok(self.open_proposal(context, timeout))
    }

    /// Starts an election now.
    ///
    /// # Errors
    /// [`NodeError::NotNow`] while entries or a snapshot are being written, or if this node is not a voter.
    pub fn campaign(&mut self) -> NodeResult<()> {
        self.alive()?;
        if self.raw.raft.state == StateRole::Leader {
            return Ok(());
        }
        if !self.raw.raft.promotable() {
            return Err(NodeError::NotNow {
                group: self.group,
                why: "this node is not a voter; add it as one first",
            });
        }
        if !self.may_campaign() {
            return Err(NodeError::NotNow {
                group: self.group,
                why: "the log is being written; drive the node and try again",
            });
        }
        let done = self.raw.campaign().map_err(|e| self.raft_error(&e));
        self.note_role();
        done
    }

    /// Transfers leadership to another voter. Proposals are refused until the transfer completes or is abandoned.
    ///
    /// # Errors
    /// [`NodeError::NotLeader`], [`NodeError::UnknownPeer`].
    pub fn transfer_leader(&mut self, to: u64) -> NodeResult<()> {
        self.check_leader()?;
        if self.raw.raft.prs().get(to).is_none() {
            return Err(NodeError::UnknownPeer { group: self.group, peer: to });
        }
        self.raw.transfer_leader(to);
        Ok(())
    }

    /// Reports that a message to this peer could not be delivered.
    ///
    /// # Errors
    /// [`NodeError::UnknownPeer`], [`NodeError::Failed`].
    pub fn report_unreachable(&mut self, peer: u64) -> NodeResult<()> {
        self.check_peer(peer)?;
        self.raw.report_unreachable(peer);
        Ok(())
    }

    /// Reports whether a snapshot (a message of type `MsgSnapshot`) was delivered to this peer. Without this report
    /// nothing more is sent to the peer.
    ///
    /// # Errors
    /// [`NodeError::UnknownPeer`], [`NodeError::Failed`].
    pub fn report_snapshot(&mut self, peer: u64, delivered: bool) -> NodeResult<()> {
        self.check_peer(peer)?;
        let status = if delivered { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(peer, status);
        Ok(())
    }

    /// Reports that the state machine has applied everything up to `index`. Proposals up to there complete, and
    /// configuration changes among the entries take effect.
    ///
    /// # Errors
    /// [`NodeError::AppliedOutOfOrder`] for an index below the last report or beyond what was handed out.
    pub fn report_applied(&mut self, index: u64) -> NodeResult<()> {
        self.alive()?;
        let Applying { applied, handed_out, .. } = self.applying;
        if index < applied || index > handed_out {
            return Err(NodeError::AppliedOutOfOrder { group: self.group, index, applied, handed_out });
        }
        while let Some(entry) = self.applying.next_change(index) {
            self.change_configuration(&entry);
        }
        self.applying.report(index);
        // After a snapshot raft may already know a higher one.
        if index > self.raw.raft.raft_log.applied {
            self.raw.advance_apply_to(index);
        }
        self.proposals.applied(index);
        Ok(())
    }

    /// Wakes `waker` each time a batch of this node becomes durable or fails: then [`Node::drive`] has something new.
    /// It stays set.
    pub fn set_waker(&mut self, waker: &Waker) {
        if self.log.is_here() {
            self.persists.set_waker(waker);
        }
    }

    /// The present state of the node. Works on a failed node, too. In a process that did not open the log, values
    /// read from the log are 0.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let (raft, here) = (&self.raw.raft, self.log.is_here());
        let visible = self.storage.last_index().unwrap_or_default();
        let mut peers = Vec::new();
        if raft.state == StateRole::Leader {
            peers.extend(raft.prs().iter().map(|(id, p)| PeerStatus {
                id: *id,
                matched: p.matched,
                next: p.next_idx,
                state: p.state.into(),
                paused: p.is_paused(),
                recent_active: p.recent_active || *id == self.id,
                pending_snapshot: p.pending_snapshot,
            }));
            peers.sort_by_key(|p| p.id);
        }
        NodeStatus {
            id: self.id,
            group: self.group,
            role: raft.state.into(),
            leader: self.leader(),
            term: raft.term,
            vote: Some(raft.vote).filter(|id| *id != 0),
            commit: raft.raft_log.committed,
            applied: self.applying.applied,
            handed_out: self.applying.handed_out,
            first: if here { raft.raft_log.first_index() } else { 0 },
            last: if here { raft.raft_log.last_index() } else { 0 },
            visible,
            durable: self.storage.durable_index(),
            pending_proposals: self.proposals.len(),
            in_flight: self.persists.len(),
            failed: self.failed.is_some(),
            peers,
        }
    }

    fn alive(&self) -> NodeResult<()> {
        self.log.check_opener()?;
        match &self.failed {
            None => Ok(()),
            Some(cause) => Err(NodeError::Failed { group: self.group, cause: Arc::clone(cause) }),
        }
    }

    /// As [`Node::alive`]. A poisoned log fails the node, whichever group on it met the error: it could go on sending heartbeats
    /// as a leader, and would never acknowledge anything again.
    pub(super) fn check_log(&mut self) -> NodeResult<()> {
        self.alive()?;
        match self.log.wal().poisoned() {
            Some(cause) => Err(self.fail(super::Error::Log(cause).into())),
            None => Ok(()),
        }
    }

    /// Fails the node; returns the error for this and all later calls.
    fn fail(&mut self, cause: NodeError) -> NodeError {
        trace::event!(error, group = self.group, node = self.id, "node failed");
        let error = NodeError::Failed {
            group: self.group,
            cause: Arc::clone(self.failed.get_or_insert(Arc::new(cause))),
        };
        self.proposals.fail(&error);
        self.persists.clear();
        error
    }

    fn check_leader(&self) -> NodeResult<()> {
        self.alive()?;
        if self.raw.raft.state == StateRole::Leader {
            Ok(())
        } else {
            Err(NodeError::NotLeader { group: self.group, leader: self.leader() })
        }
    }

    fn check_peer(&self, peer: u64) -> NodeResult<()> {
        self.alive()?;
        match self.raw.raft.prs().get(peer) {
            Some(_) if peer != self.id => Ok(()),
            _ => Err(NodeError::UnknownPeer { group: self.group, peer }),
        }
    }

    /// Whether there is room for `more` bytes in this many entries, besides those waiting for the next Ready.
    fn check_room(&self, more: u64, entries: usize) -> NodeResult<()> {
        let waiting = self.raw.raft.raft_log.unstable();
        let unwritten = waiting.entries_size as u64;
        let bytes = unwritten.saturating_add(more);
        let in_log = bytes.saturating_add(RECORD.saturating_mul((waiting.entries.len() + entries) as u64));
        let too_much = bytes > self.config.max_unwritten_size || in_log > self.config.room;
        if more > 0 && unwritten > 0 && too_much {
            return Err(NodeError::Busy { group: self.group, bytes: unwritten });
        }
        Ok(())
    }

    /// Whether entries or a snapshot are waiting to be written or to become durable.
    fn log_unsettled(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        self.persists.any_log_change()
            || !log.unstable_entries().is_empty()
            || log.unstable_snapshot().is_some()
    }

    /// Whether raft may start an election now without panicking.
    ///
    /// `Raft::hup` reads the committed entries above `applied`, which are missing until an incoming snapshot is
    /// durable and known to raft. `Raft::become_leader` asserts that all entries are durable; with several voters
    /// that holds because the vote requests wait for them, but a single voter elects itself immediately.
    fn may_campaign(&self) -> bool {
        if self.persists.any_snapshot() || self.raw.raft.raft_log.unstable_snapshot().is_some() {
            return false;
        }
        !(self.raw.raft.prs().is_singleton() && self.log_unsettled())
    }

    fn open_proposal(&mut self, context: EntryContext, timeout: Duration) -> Proposal {
        let raft = &self.raw.raft;
        self.proposals.open((raft.raft_log.last_index(), raft.term), context, timeout)
    }

    /// Why raft did not accept a leader's proposal (`Raft::step_leader`).
    fn not_taken(&self, e: &::raft::Error) -> NodeError {
        let raft = &self.raw.raft;
        let why = match e {
            ::raft::Error::ProposalDropped if raft.lead_transferee.is_some() => {
                "leadership is being transferred; propose it again afterwards, at the leader at that time"
            }
            ::raft::Error::ProposalDropped if raft.prs().get(self.id).is_none() => {
                "this leader was removed; propose it again at the next one"
            }
            ::raft::Error::ProposalDropped => {
                "too many bytes are waiting to be committed (`NodeConfig::max_uncommitted_size`); propose it again later"
            }
            other => return self.raft_error(other),
        };
        NodeError::Dropped { group: self.group, why }
    }

    fn raft_error(&self, e: &::raft::Error) -> NodeError {
        NodeError::of_raft(self.group, e)
    }

    fn note_role(&mut self) {
        if self.last.note_role(&self.raw) {
            let raft = &self.raw.raft;
            trace::event!(
                info,
                group = self.group,
                node = self.id,
                role = Role::from(raft.state) as u8,
                term = raft.term,
                leader = raft.leader_id,
                "role changed"
            );
        }
    }
}

/// Checks the state machine's applied index against what the log can continue from.
fn check_applied(config: &NodeConfig, storage: &GroupStorage, applied: u64) -> NodeResult<()> {
    let group = storage.id();
    let recovered = storage.recover();
    let lowest = recovered.first_index.saturating_sub(1);
    // What a state machine applied was committed, and durable here before it was handed out. The commit index in the
    // log may be older.
    let highest = recovered.last_index;
    if applied < lowest || applied > highest {
        return Err(NodeError::AppliedOutOfRange { group, index: applied, lowest, highest });
    }
    if let Some((index, given)) = config.applied {
        let found = storage.term(index).map_err(|e| NodeError::of_raft(group, &e))?;
        if found != given {
            return Err(NodeError::AppliedTermMismatch { group, index, given, found });
        }
    }
    Ok(())
}

/// Raises the stored commit index to a state machine that is ahead of it, so that raft accepts `applied`.
fn raise_commit(storage: &GroupStorage, applied: u64) -> NodeResult<()> {
    let mut state = storage.hard_state();
    if applied <= state.commit {
        return Ok(());
    }
    state.commit = applied;
    let mut batch = storage.log().batch();
    batch.set_hard_state(storage.id(), &state)?;
    storage.log().commit(batch)?;
    Ok(())
}
