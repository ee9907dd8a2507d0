//! Writes submitted and not yet durable, and the queue of what must wait for them.
//!
//! ```text
//!   raft's Ready ──> one batch, submitted ──> InFlight { its number, the messages that must wait, the ticket }
//!                                                │ in order: the front only
//!                                                v
//!                              ticket durable ──> on_persist_ready(number), messages go out
//!                              ticket failed  ──> the node fails; the messages are never seen
//! ```
//!
//! The queue belongs to the node. There is no value that a caller could drop, forget or resolve too early.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use ::raft::eraftpb::{Message, Snapshot};
use parking_lot::Mutex;

use crate::{Error, Result, Ticket};

/// A ticket shared by all groups whose Readys went into one batch.
#[derive(Debug)]
pub(super) struct SharedTicket {
    state: Mutex<TicketState>,
    /// The wakers to wake when the ticket resolves.
    wakers: Mutex<Vec<Waker>>,
}

enum TicketState {
    Waiting(Ticket),
    Done(Result<()>),
}

impl std::fmt::Debug for TicketState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TicketState::Waiting(_) => f.write_str("Waiting"),
            TicketState::Done(outcome) => f.debug_tuple("Done").field(outcome).finish(),
        }
    }
}

impl Wake for SharedTicket {
    fn wake(self: Arc<Self>) {
        self.notify();
    }
}

impl SharedTicket {
    pub(super) fn new(ticket: Ticket) -> Arc<Self> {
        Arc::new(SharedTicket { state: Mutex::new(TicketState::Waiting(ticket)), wakers: Mutex::default() })
    }

    fn notify(&self) {
        let wakers = std::mem::take(&mut *self.wakers.lock());
        for waker in wakers {
            waker.wake();
        }
    }

    /// Wakes `waker` once, when the outcome is known.
    fn register(self: &Arc<Self>, waker: &Waker) {
        {
            let mut wakers = self.wakers.lock();
            if !wakers.iter().any(|w| w.will_wake(waker)) {
                wakers.push(waker.clone());
            }
        }
        // If it was resolved before the push, this waker was missed.
        if self.outcome().is_some() {
            self.notify();
        }
    }

    /// The outcome, if known. Does not block.
    fn outcome(self: &Arc<Self>) -> Option<Result<()>> {
        // Only held by a thread that polls, or by one that waits and will notify: "not yet" is a correct answer.
        let mut state = self.state.try_lock()?;
        let done = match &mut *state {
            TicketState::Done(outcome) => return Some(outcome.clone()),
            TicketState::Waiting(ticket) if ticket.is_durable() => Ok(()),
            TicketState::Waiting(ticket) => {
                let waker = Waker::from(Arc::clone(self));
                match Pin::new(ticket).poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(outcome) => outcome.map(|_| ()),
                    Poll::Pending => return None,
                }
            }
        };
        *state = TicketState::Done(done.clone());
        Some(done)
    }

    /// Blocks until there is an outcome.
    fn wait(&self) -> Result<()> {
        let mut state = self.state.lock();
        let waiting = std::mem::replace(&mut *state, TicketState::Done(Err(Error::Closed)));
        let outcome = match waiting {
            TicketState::Done(outcome) => outcome,
            TicketState::Waiting(ticket) => ticket.wait().map(|_| ()),
        };
        *state = TicketState::Done(outcome.clone());
        drop(state);
        self.notify();
        outcome
    }
}

/// One batch's content for one group, and what waits for it.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The Ready's number; `None` if only the node's own bookkeeping was written.
    pub(super) number: Option<u64>,
    /// Messages that state or imply that the written data is durable.
    pub(super) messages: Vec<Message>,
    /// The installed snapshot, for the state machine to restore.
    pub(super) snapshot: Option<Snapshot>,
    /// Whether it holds entries or a snapshot.
    pub(super) changes_log: bool,
    /// Whether it changes term or vote.
    pub(super) changes_vote: bool,
    /// Bytes of entries and snapshot.
    pub(super) bytes: u64,
    /// When it was submitted.
    pub(super) since: Instant,
    /// `None` if nothing had to be written: as durable as what came before.
    pub(super) ticket: Option<Arc<SharedTicket>>,
}

/// The queue, oldest first.
#[derive(Debug, Default)]
pub(super) struct Persists {
    queue: VecDeque<InFlight>,
    waker: Option<Waker>,
}

impl Persists {
    pub(super) fn push(&mut self, item: InFlight) {
        if let (Some(ticket), Some(waker)) = (&item.ticket, &self.waker) {
            ticket.register(waker);
        }
        self.queue.push_back(item);
    }

    pub(super) fn set_waker(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
        for ticket in self.queue.iter().filter_map(|item| item.ticket.as_ref()) {
            ticket.register(waker);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Takes the oldest one if it is durable; an error if its write failed.
    pub(super) fn pop_durable(&mut self) -> Result<Option<InFlight>> {
        match self.queue.front() {
            None => Ok(None),
            Some(InFlight { ticket: None, .. }) => Ok(self.queue.pop_front()),
            Some(InFlight { ticket: Some(ticket), .. }) => match ticket.outcome() {
                None => Ok(None),
                Some(Ok(())) => Ok(self.queue.pop_front()),
                Some(Err(e)) => Err(e),
            },
        }
    }

    /// Blocks until the oldest one is durable or has failed.
    pub(super) fn wait_oldest(&self) -> Result<()> {
        match self.queue.front().and_then(|item| item.ticket.as_ref()) {
            Some(ticket) => ticket.wait(),
            None => Ok(()),
        }
    }

    pub(super) fn any_log_change(&self) -> bool {
        self.queue.iter().any(|item| item.changes_log)
    }

    pub(super) fn any_vote_change(&self) -> bool {
        self.queue.iter().any(|item| item.changes_vote)
    }

    pub(super) fn any_snapshot(&self) -> bool {
        self.queue.iter().any(|item| item.snapshot.is_some())
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }
}
