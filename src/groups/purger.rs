//! The thread that purges, for programs that do not call `purge` themselves.
//!
//! ```text
//!   submit ── a segment's worth appended since the last purge ─────────────> purge
//!        └─── the batch purges or removes: space can be freed ─── DELAY ───> purge
//!   close, or the last handle is dropped ──> stop, join
//! ```
//!
//! **Invariants.** Every handle of the program keeps the [`Purger`]; the thread has a handle without one. So the
//! thread does not keep the log open, and it has ended before the last handle closes the log: the next open does not
//! find it locked. Appends never wait for it: a submit compares two numbers and, if a purge is due, sets a flag.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::error::Result;
use crate::io::Opener;
use crate::trace::event;
use crate::{Lsn, Wal};

/// Delay between a batch that frees space and the purge it triggers; batches in between share the purge.
const DELAY: Duration = Duration::from_millis(500);

/// The thread, as seen by appenders. It ends when this is dropped. `E` is the error of a purge.
#[derive(Debug)]
pub(crate) struct Purger<E> {
    opener: Opener,
    schedule: Arc<Schedule<E>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// When to purge.
#[derive(Debug)]
struct Schedule<E> {
    /// Bytes appended between two purges.
    step: u64,
    /// The address at which the next one is due; the maximum while one is already due.
    due: AtomicU64,
    state: Mutex<State<E>>,
    wake: Condvar,
}

#[derive(Debug)]
struct State<E> {
    stop: bool,
    /// Enough was appended.
    appended: bool,
    /// Something was purged or removed: free its space at this time.
    freed: Option<Instant>,
    last_error: Option<E>,
}

impl<E: Clone + fmt::Display + Send + 'static> Purger<E> {
    /// Starts a thread that purges this log with `purge` each time `step` bytes were appended.
    pub(crate) fn start(
        wal: &Wal,
        step: u64,
        purge: impl Fn() -> std::result::Result<(), E> + Send + 'static,
    ) -> Result<Purger<E>> {
        let schedule = Arc::new(Schedule {
            step: step.max(1),
            due: AtomicU64::new(wal.next_lsn().get().saturating_add(step)),
            state: Mutex::new(State { stop: false, appended: false, freed: None, last_error: None }),
            wake: Condvar::new(),
        });
        let (opener, dir) = (wal.opener().clone(), wal.disk().path().to_owned());
        let wal = wal.clone();
        let of_thread = Arc::clone(&schedule);
        let spawned = std::thread::Builder::new().name("seawall-purge".into());
        let thread = spawned
            .spawn(move || of_thread.run(&wal, &purge))
            .map_err(|e| crate::Error::io("start a thread for", dir, e))?;
        Ok(Purger { opener, schedule, thread: Mutex::new(Some(thread)) })
    }
}

impl<E> Purger<E> {
    /// Reports the new end of the log; `frees` says whether the submitted batch frees space.
    pub(crate) fn submitted(&self, end: Lsn, frees: bool) {
        let schedule = &*self.schedule;
        let appended = end.get() >= schedule.due.load(Ordering::Relaxed);
        if !appended && !frees {
            return;
        }
        let mut state = schedule.state.lock();
        if appended {
            schedule.due.store(u64::MAX, Ordering::Relaxed);
            state.appended = true;
        }
        if frees && state.freed.is_none() {
            state.freed = Some(Instant::now() + DELAY);
        }
        drop(state);
        schedule.wake.notify_one();
    }

    /// Stops the thread after its current purge.
    pub(crate) fn stop(&self) {
        self.schedule.state.lock().stop = true;
        self.schedule.wake.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread would be a defect here; the thread itself has reported it.
            drop(thread.join());
        }
    }

    /// Why the last purge failed, if it did.
    pub(crate) fn last_error(&self) -> Option<E>
    where
        E: Clone,
    {
        self.schedule.state.lock().last_error.clone()
    }
}

impl<E> Drop for Purger<E> {
    fn drop(&mut self) {
        if self.opener.is_here() {
            self.stop();
        } else {
            // The thread belongs to the opener; in this process there is nothing to join or release.
            std::mem::forget(self.thread.get_mut().take());
        }
    }
}

impl<E: fmt::Display> Schedule<E> {
    fn run(&self, wal: &Wal, purge: &dyn Fn() -> std::result::Result<(), E>) {
        while self.wait_until_due() {
            let purged = purge();
            if let Err(e) = &purged {
                event!(warn, target: "seawall::groups", error = e.to_string(), "purge failed; nothing is lost");
            }
            let mut state = self.state.lock();
            let next = wal.next_lsn().get().saturating_add(self.step);
            self.due.store(next, Ordering::Relaxed);
            state.last_error = purged.err();
        }
    }

    /// Waits for something to do; `false` when the thread should end.
    fn wait_until_due(&self) -> bool {
        let mut state = self.state.lock();
        while !state.stop {
            let now = Instant::now();
            if state.appended || state.freed.is_some_and(|at| at <= now) {
                (state.appended, state.freed) = (false, None);
                return true;
            }
            match state.freed {
                Some(at) => drop(self.wake.wait_until(&mut state, at)),
                None => self.wake.wait(&mut state),
            }
        }
        false
    }
}
