//! Those who wait for a block to be durable.
//!
//! Blocked threads wait at the block's *gate*, one word that all of them look at, so that one system call wakes all that a
//! flush made durable, and nobody else. A gate can also let one of them through to lead: that thread then owns the flush,
//! and must flush or pass it on.
//!
//! ```text
//!              flush covered it
//!  WAITING ---------------------> DONE      all of them go on
//!   |   ^  \--- log poisoned ---> FAILED    all of them go on
//!   |   |
//!   v   |  taken by exactly one, which owns the flush
//!   LEAD
//! ```
//!
//! **Invariant.** `LEAD` is stored by the owner of the flush only, for a block with a thread at its gate that nobody was told
//! to lead before: it is taken, because no thread leaves a gate but by one of the three.

use std::sync::Arc;
use std::task::Waker;

use crate::sync::{Mutex, Word};

/// What a blocked thread was woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its block is durable.
    Done,
    /// The log is poisoned.
    Failed,
    /// It owns the flush now.
    Lead,
}

const WAITING: u32 = 0;
const LEAD: u32 = 1;
const DONE: u32 = 2;
const FAILED: u32 = 3;

/// Where threads wait for one block.
#[derive(Debug, Default)]
pub(super) struct Gate(Word);

impl Gate {
    /// Blocks until the gate opens, or this thread is the one that is to lead.
    pub(super) fn wait(&self) -> Outcome {
        loop {
            match self.0.load() {
                DONE => return Outcome::Done,
                FAILED => return Outcome::Failed,
                LEAD if self.0.replace(LEAD, WAITING) => return Outcome::Lead,
                LEAD => {}
                _ => self.0.wait_while(WAITING),
            }
        }
    }

    /// Lets one thread through, as the owner of the flush.
    pub(super) fn lead(&self) {
        self.0.store(LEAD);
        self.0.wake_one();
    }

    fn open(&self, state: u32) {
        self.0.store(state);
        self.0.wake_all();
    }
}

/// The place of a future's waker; registered once, filled at each poll.
#[derive(Debug, Default)]
pub(super) struct TaskSlot(Mutex<Option<Waker>>);

impl TaskSlot {
    pub(super) fn set(&self, waker: &Waker) {
        let mut slot = self.0.lock();
        match &mut *slot {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn wake(&self) {
        // Taken out first: a waker is somebody else's code, and may poll at once.
        let waker = self.0.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Everybody who waits for one block.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// There once a thread waits.
    gate: Option<Arc<Gate>>,
    /// How many threads wait at the gate and were not told to lead.
    threads: usize,
    tasks: Vec<Arc<TaskSlot>>,
}

impl Waiters {
    /// A thread is going to wait at the gate.
    pub(super) fn enter(&mut self) -> Arc<Gate> {
        self.threads += 1;
        Arc::clone(self.gate.get_or_insert_default())
    }

    pub(super) fn add_task(&mut self, slot: Arc<TaskSlot>) {
        self.tasks.push(slot);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.threads == 0 && self.tasks.is_empty()
    }

    /// The gate at which a thread waits that can be told to lead, if there is one. The caller must tell it.
    pub(super) fn heir(&mut self) -> Option<Arc<Gate>> {
        self.threads = self.threads.checked_sub(1)?;
        self.gate.clone()
    }

    /// Wakes them all. A task is woken to look for itself, whatever the outcome.
    fn wake(mut self, state: u32) {
        self.wake_threads(state);
        self.tasks.iter().for_each(|task| task.wake());
    }

    fn wake_threads(&mut self, state: u32) {
        let gate = self.gate.take().filter(|_| self.threads > 0);
        self.threads = 0;
        if let Some(gate) = gate {
            gate.open(state);
        }
    }

    /// The block of the threads is durable; tasks are not told yet.
    pub(super) fn threads_done(&mut self) {
        self.wake_threads(DONE);
    }

    /// Their block is durable.
    pub(super) fn done(self) {
        self.wake(DONE);
    }

    /// The log is poisoned.
    pub(super) fn failed(self) {
        self.wake(FAILED);
    }
}
