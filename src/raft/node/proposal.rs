//! Proposals: from `propose` to "applied", or to a definite statement of their fate.
//!
//! ```text
//!   propose ──NotLeader, Dropped──> never accepted (the caller gets the error; there is no handle)
//!      │
//!      v                 another term's entry committed at its index
//!   appended at (index, term) ────────────────────────────────────────> Dropped   certainly not applied
//!      │   │      a snapshot passed its index
//!      │   ├──────────────────────────────────────────────────────────> Unknown   may have been applied
//!      │   │      deadline passed
//!      │   ├──────────────────────────────────────────────────────────> TimedOut  may still be applied
//!      │   └──the node failed or was dropped──────────────────────────> Failed    may still be applied
//!      v
//!   committed with its own term and context, handed out, reported as applied ──> Applied
//! ```
//!
//! Losing leadership decides nothing: the next leader may commit the entry or overwrite it. The proposal stays open
//! until its index is committed here with one term or another, or until the deadline.
//!
//! The entry's `context` is reserved for the node: 24 bytes that no other proposal of any node or any run of this
//! node has. An entry is recognised by index, term *and* context.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use ::raft::eraftpb::Entry;
use parking_lot::{Condvar, Mutex};

use super::error::NodeError;
use crate::io::Process;

/// The proposal took effect: its entry is committed and the state machine has applied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entry's index.
    pub index: u64,
    /// The entry's term.
    pub term: u64,
}

/// Why an accepted proposal did not complete.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// An entry of another leader was committed in its place. It had no effect and never will.
    #[error(
        "group {group}: another leader's entry was committed at index {index} in its place; propose it again{}",
        leader.map_or_else(String::new, |id| format!(" at node {id}"))
    )]
    Dropped {
        /// The group.
        group: u64,
        /// The proposal's index.
        index: u64,
        /// The leader, if known.
        leader: Option<u64>,
    },
    /// The configuration change was committed, but every node rejects it because it does not fit the configuration.
    #[error(
        "group {group}: the configuration change at index {index} was rejected and has no effect: {why}; check \
         `Node::conf_state`, and propose a change that fits it"
    )]
    Rejected {
        /// The group.
        group: u64,
        /// The change's index.
        index: u64,
        /// Raft's reason.
        why: String,
    },
    /// A snapshot replaced its index. Whether it took effect is unknown here.
    #[error(
        "group {group}: a snapshot replaced index {index}, so whether the proposal took effect is unknown here: check \
         the state machine before proposing it again"
    )]
    Unknown {
        /// The group.
        group: u64,
        /// The proposal's index.
        index: u64,
    },
    /// The deadline passed. Whether it takes effect is unknown: it still may.
    #[error(
        "group {group}: no outcome within the deadline, but the proposal may still take effect: check the state machine \
         before proposing it again"
    )]
    TimedOut {
        /// The group.
        group: u64,
    },
    /// The node failed. Whether it takes effect is unknown: it still may.
    #[error(
        "the proposal's node failed, but the proposal may still take effect: check the state machine before \
         proposing it again. {0}"
    )]
    Failed(NodeError),
    /// The node was dropped. Whether it takes effect is unknown: it still may.
    #[error(
        "group {group}: the node was dropped, but the proposal may still take effect: check the state machine before \
         proposing it again"
    )]
    NodeGone {
        /// The group.
        group: u64,
    },
}

type Outcome = Result<Applied, ProposalError>;

#[derive(Debug, Default)]
struct Slot {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    decided: Condvar,
}

/// A pending proposal. Block on it with [`Proposal::wait`], or await it.
///
/// Neither waits beyond the deadline: `wait` enforces it itself; a future is ended by the node's
/// [`tick`](super::Node::tick). It may be dropped without affecting the entry.
#[derive(Debug)]
#[must_use]
pub struct Proposal {
    shared: Arc<Shared>,
    group: u64,
    deadline: Instant,
    at: Applied,
}

impl Proposal {
    /// The entry's index in this node's log, and its term there.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        (self.at.index, self.at.term)
    }

    /// When it is abandoned.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The outcome, if known.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<Applied, ProposalError>> {
        self.shared.slot.lock().outcome.clone()
    }

    /// Waits for the outcome, at most until the deadline. Must not be called on the thread that drives the node.
    ///
    /// # Errors
    /// [`ProposalError`] with its fate.
    pub fn wait(self) -> Result<Applied, ProposalError> {
        let mut slot = self.shared.slot.lock();
        loop {
            if let Some(outcome) = &slot.outcome {
                return outcome.clone();
            }
            if self.shared.decided.wait_until(&mut slot, self.deadline).timed_out() {
                return match &slot.outcome {
                    Some(outcome) => outcome.clone(),
                    None => Err(ProposalError::TimedOut { group: self.group }),
                };
            }
        }
    }
}

impl Future for Proposal {
    type Output = Result<Applied, ProposalError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.shared.slot.lock();
        if let Some(outcome) = &slot.outcome {
            return Poll::Ready(outcome.clone());
        }
        if Instant::now() >= self.deadline {
            return Poll::Ready(Err(ProposalError::TimedOut { group: self.group }));
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The node's end of a proposal. If dropped without an outcome, it reports that the node is gone.
#[derive(Debug)]
struct Completer {
    shared: Arc<Shared>,
    group: u64,
    process: Process,
}

impl Completer {
    fn complete(&self, outcome: Outcome) {
        let waker = {
            let mut slot = self.shared.slot.lock();
            slot.outcome.get_or_insert(outcome);
            slot.waker.take()
        };
        self.shared.decided.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        // In another process the node is not gone; it belongs to the opener.
        if self.process.is_current() {
            self.complete(Err(ProposalError::NodeGone { group: self.group }));
        }
    }
}

#[derive(Debug)]
struct Pending {
    context: EntryContext,
    deadline: Instant,
    completer: Completer,
}

/// The context of an entry: node id, a number drawn for this run of the node, and a count; little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntryContext([u8; 24]);

impl EntryContext {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(EntryContext)
    }
}

/// Generates unique contexts.
#[derive(Debug)]
pub(super) struct Contexts {
    id: u64,
    run: u64,
    count: u64,
}

impl Contexts {
    pub(super) fn new(id: u64) -> Self {
        // The standard library keys its hasher from the system's random source once per process; the clock and a
        // fresh key distinguish two nodes of one process, and two processes with the same key.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let run = RandomState::new().hash_one((now, std::process::id(), id));
        Contexts { id, run, count: 0 }
    }

    pub(super) fn next(&mut self) -> EntryContext {
        self.count += 1;
        let mut bytes = [0; 24];
        let parts =
            self.id.to_le_bytes().into_iter().chain(self.run.to_le_bytes()).chain(self.count.to_le_bytes());
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        EntryContext(bytes)
    }
}

/// The proposals of one node without an outcome, by position.
#[derive(Debug)]
pub(super) struct Proposals {
    group: u64,
    open: BTreeMap<(u64, u64), Pending>,
}

impl Proposals {
    pub(super) fn new(group: u64) -> Self {
        Proposals { group, open: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Registers a proposal whose entry is at `at`.
    pub(super) fn open(&mut self, at: (u64, u64), context: EntryContext, timeout: Duration) -> Proposal {
        let shared = Arc::new(Shared::default());
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(86_400 * 365));
        let completer =
            Completer { shared: Arc::clone(&shared), group: self.group, process: Process::current() };
        self.open.insert(at, Pending { context, deadline, completer });
        Proposal { shared, group: self.group, deadline, at: Applied { index: at.0, term: at.1 } }
    }

    /// An entry is committed: a different proposal that waited at its index will never complete.
    pub(super) fn committed(&mut self, entry: &Entry, leader: Option<u64>) {
        let index = entry.index;
        let lost: Vec<_> = self
            .open
            .range((index, 0)..=(index, u64::MAX))
            .filter(|((_, term), p)| *term != entry.term || p.context.as_bytes() != &entry.context[..])
            .map(|(at, _)| *at)
            .collect();
        for at in lost {
            self.complete(at, Err(ProposalError::Dropped { group: self.group, index, leader }));
        }
    }

    /// Everything up to `index` is applied; the remaining proposals up to there complete.
    pub(super) fn applied(&mut self, index: u64) {
        while let Some((&(at, term), _)) = self.open.first_key_value().filter(|((at, _), _)| *at <= index) {
            self.complete((at, term), Ok(Applied { index: at, term }));
        }
    }

    /// A configuration change is committed but does not fit.
    pub(super) fn rejected(&mut self, at: (u64, u64), why: &str) {
        let outcome = ProposalError::Rejected { group: self.group, index: at.0, why: why.to_owned() };
        self.complete(at, Err(outcome));
    }

    /// A snapshot replaced everything between what was handed out and `index`.
    pub(super) fn passed(&mut self, handed_out: u64, index: u64) {
        let passed: Vec<_> = self
            .open
            .range((handed_out.saturating_add(1), 0)..=(index, u64::MAX))
            .map(|(at, _)| *at)
            .collect();
        for at in passed {
            self.complete(at, Err(ProposalError::Unknown { group: self.group, index: at.0 }));
        }
    }

    /// Ends those whose deadline has passed.
    pub(super) fn expire(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let now = Instant::now();
        let group = self.group;
        self.open.retain(|_, p| {
            let keep = p.deadline > now;
            if !keep {
                p.completer.complete(Err(ProposalError::TimedOut { group }));
            }
            keep
        });
    }

    /// The node failed.
    pub(super) fn fail(&mut self, cause: &NodeError) {
        for (_, pending) in std::mem::take(&mut self.open) {
            pending.completer.complete(Err(ProposalError::Failed(cause.clone())));
        }
    }

    fn complete(&mut self, at: (u64, u64), outcome: Outcome) {
        if let Some(pending) = self.open.remove(&at) {
            pending.completer.complete(outcome);
        }
    }
}
