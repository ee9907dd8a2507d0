//! Waiters for the durability of a block.
//!
//! Blocked threads wait at the block's *gate*, a single word that all of them watch, so one system call wakes exactly
//! the threads whose block became durable. A gate can also let one of them through to lead: that thread then owns the
//! flush and must flush or pass it on.
//!
//! ```text
//!              flush covered it
//!  WAITING ---------------------> DONE      all of them continue
//!   |   ^  \--- log poisoned ---> FAILED    all of them continue
//!   |   |
//!   v   |  taken by exactly one, which owns the flush
//!   LEAD
//! ```
//!
//! **Invariant.** Only the owner of the flush stores `LEAD`, and only for a block that has a thread at its gate which
//! has not been told to lead. It is always taken, because a thread leaves a gate only in one of these three ways.

use std::sync::Arc;
use std::task::Waker;

use crate::sync::{Mutex, Word};

/// Why a blocked thread was woken.
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

/// The place where threads wait for one block.
#[derive(Debug, Default)]
pub(super) struct Gate(Word);

impl Gate {
    /// Blocks until the gate opens or this thread is chosen to lead.
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

    /// Lets one thread through as the owner of the flush.
    pub(super) fn lead(&self) {
        self.0.store(LEAD);
        self.0.wake_one();
    }

    fn open(&self, state: u32) {
        self.0.store(state);
        self.0.wake_all();
    }
}

/// Holds a future's waker; registered once, filled at each poll.
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
        // Taken out first: a waker is foreign code and may poll at once.
        let waker = self.0.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// All waiters for one block.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Created when the first thread waits.
    gate: Option<Arc<Gate>>,
    /// Number of threads that wait at the gate and have not been told to lead.
    threads: usize,
    tasks: Vec<Arc<TaskSlot>>,
}

impl Waiters {
    /// Registers a thread that will wait at the gate.
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

    /// The gate of a waiting thread that can lead, if there is one. The caller must then tell it to lead.
    pub(super) fn heir(&mut self) -> Option<Arc<Gate>> {
        self.threads = self.threads.checked_sub(1)?;
        self.gate.clone()
    }

    /// Wakes all waiters. A woken task checks the outcome itself.
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

    /// Wakes the threads because their block is durable; tasks are not woken yet.
    pub(super) fn threads_done(&mut self) {
        self.wake_threads(DONE);
    }

    /// Wakes everyone because the block is durable.
    pub(super) fn done(self) {
        self.wake(DONE);
    }

    /// Wakes everyone because the log is poisoned.
    pub(super) fn failed(self) {
        self.wake(FAILED);
    }
}
