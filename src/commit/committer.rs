//! The committer: a thread that flushes what nobody waits for, and marks the log when it falls idle.

use std::sync::Arc;

use super::Pipeline;
use super::staging::State;
use super::sync::MutexGuard;
use super::sync::atomic::Ordering;
use super::sync::thread::{Builder, JoinHandle};
use crate::error::{Error, Result};

const COMMITTER: &str = "seawall-commit";

/// Held by a thread that others wait for: if it panics, they are told.
struct Ends<'a> {
    pipeline: &'a Pipeline,
    thread: &'static str,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.pipeline.abandon(self.thread);
        }
    }
}

impl Pipeline {
    /// Starts the committer unless it runs.
    pub(super) fn start_committer(self: &Arc<Self>) -> Result<()> {
        if self.committer_started.load(Ordering::Acquire) || !self.options.threads {
            return Ok(());
        }
        let mut handle = self.committer.lock();
        if handle.is_none() {
            let pipeline = Arc::clone(self);
            let spawned = Builder::new().name(COMMITTER.into()).spawn(move || pipeline.run());
            *handle = Some(spawned.map_err(|e| Error::io("start a thread for", "the committer", e))?);
            self.committer_started.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn run(&self) {
        // Before the lock, so that it goes after it.
        let _ends = Ends { pipeline: self, thread: COMMITTER };
        let mut state = self.state.lock();
        while !state.stopping {
            let usable = state.poison.is_none() && !state.flushing;
            if usable && state.has_work() {
                state.flushing = true;
                state = self.flush_all(state);
            } else if usable && state.unwitnessed {
                self.await_idle(&mut state);
            } else {
                state.committer_asleep = true;
                self.work.wait(&mut state);
                state.committer_asleep = false;
            }
        }
    }

    /// Flushes until nothing is staged, as the owner, and gives the flush up.
    fn flush_all<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while state.has_work() && state.poison.is_none() {
            let (done, mut news);
            news = Vec::new();
            (state, done) = self.flush_front(state, &mut news);
            if !done.is_empty() || !news.is_empty() {
                MutexGuard::unlocked(&mut state, || {
                    done.done();
                    self.options.observed.tell_all(news);
                });
            }
        }
        self.release_flush(&mut state);
        state
    }

    /// Sleeps for the idle time; stages a mark if nothing was staged meanwhile.
    fn await_idle(&self, state: &mut MutexGuard<'_, State>) {
        let seen = state.next_seq;
        let timed_out = self.work.wait_for(state, self.options.idle_mark).timed_out();
        let idle = timed_out && seen == state.next_seq && !state.flushing && state.poison.is_none();
        if idle && !state.closed {
            self.stage_mark(state);
        }
    }

    /// Flushes what is staged, marks the end, and stops the committer. Later calls find nothing to do.
    pub(crate) fn close(&self) -> Result<()> {
        self.opener.check()?;
        let _ends = Ends { pipeline: self, thread: "the thread that closed the log" };
        let mut state = self.state.lock();
        state.closed = true;
        self.changed.notify_all();
        while state.poison.is_none() {
            if state.flushing {
                self.changed.wait(&mut state);
                continue;
            }
            if !state.has_work() && !self.stage_mark(&mut state) {
                break;
            }
            state.flushing = true;
            state = self.flush_all(state);
        }
        state.stopping = true;
        self.work.notify_all();
        let result = state.poison.clone().map_or(Ok(()), Err);
        drop(state);
        let handle: Option<JoinHandle<()>> = self.committer.lock().take();
        if let Some(handle) = handle {
            // A panic of the committer would be a defect here; it has been reported by the thread itself.
            drop(handle.join());
        }
        result
    }
}
