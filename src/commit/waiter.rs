//! Those who wait for a block to be durable.
//!
//! Each has a flag of its own, so that a flush wakes those it made durable and nobody else. A blocked thread can also be
//! woken to lead: it then owns the flush, and must flush or pass it on.
//!
//! ```text
//!            flush covered it
//! WAITING ---------------------> DONE
//!    |    \-- log poisoned ----> FAILED
//!    \------- chosen ----------> LEAD      (owns the flush)
//! ```

use std::sync::Arc;
use std::task::Waker;

use super::sync::atomic::{AtomicU8, Ordering};
use super::sync::thread::{self, Thread};
use super::sync::{Mutex, thread_local};

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

const WAITING: u8 = 0;

impl Outcome {
    const fn code(self) -> u8 {
        match self {
            Outcome::Done => 1,
            Outcome::Failed => 2,
            Outcome::Lead => 3,
        }
    }
}

/// A blocked thread. One a thread is enough, used again for each wait.
#[derive(Debug)]
pub(super) struct ThreadWaiter {
    state: AtomicU8,
    thread: Thread,
}

thread_local! {
    static THIS: Arc<ThreadWaiter> =
        Arc::new(ThreadWaiter { state: AtomicU8::new(WAITING), thread: thread::current() });
}

impl ThreadWaiter {
    /// This thread's waiter, ready to be put into one list. It must be waited on before it is asked for again.
    pub(super) fn this_thread() -> Arc<Self> {
        THIS.with(|this| {
            this.state.store(WAITING, Ordering::Relaxed);
            Arc::clone(this)
        })
    }

    /// Blocks until [`ThreadWaiter::wake`].
    pub(super) fn wait(&self) -> Outcome {
        loop {
            // Acquire pairs with the release in `wake`: what the waker did before is seen after.
            match self.state.load(Ordering::Acquire) {
                1 => return Outcome::Done,
                2 => return Outcome::Failed,
                3 => return Outcome::Lead,
                _ => thread::park(),
            }
        }
    }

    /// Ends the wait. Called once for each time the waiter was put into a list.
    pub(super) fn wake(&self, outcome: Outcome) {
        // Taken first: once the state is set the thread may go on, and away.
        let thread = self.thread.clone();
        self.state.store(outcome.code(), Ordering::Release);
        thread.unpark();
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

/// Somebody who waits for a block.
#[derive(Debug)]
pub(super) enum Waiter {
    Thread(Arc<ThreadWaiter>),
    Task(Arc<TaskSlot>),
}

impl Waiter {
    /// A task is woken to look for itself, whatever the outcome.
    pub(super) fn wake(self, outcome: Outcome) {
        match self {
            Waiter::Thread(thread) => thread.wake(outcome),
            Waiter::Task(slot) => slot.wake(),
        }
    }
}

/// Takes a blocked thread out of `waiters`, if there is one.
pub(super) fn take_thread(waiters: &mut Vec<Waiter>) -> Option<Arc<ThreadWaiter>> {
    let at = waiters.iter().position(|w| matches!(w, Waiter::Thread(_)))?;
    match waiters.swap_remove(at) {
        Waiter::Thread(thread) => Some(thread),
        Waiter::Task(_) => None,
    }
}
