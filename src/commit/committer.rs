//! The committer: a thread that flushes blocks no caller waits for, and writes a marker block when the log falls
//! idle.

use std::sync::Arc;
use std::time::Duration;

use super::pipeline::Pipeline;
use super::staging::{BlockSeq, Rest, State};
use crate::error::Result;
use crate::sync::atomic::Ordering;
use crate::sync::thread::{Builder, JoinHandle};
use crate::sync::{Mutex, MutexGuard};

const COMMITTER: &str = "seawall-commit";

/// While blocks keep coming, the committer checks no more often than this.
const LEAST_REST: Duration = Duration::from_millis(1);

impl Pipeline {
    /// Starts the committer unless it is running.
    pub(super) fn start_committer(self: &Arc<Self>) -> Result<()> {
        if self.committer_started.load(Ordering::Acquire) || !self.options.threads {
            return Ok(());
        }
        let mut handle = self.committer.lock();
        if handle.is_none() {
            let pipeline = Arc::clone(self);
            let spawned = Builder::new().name(COMMITTER.into()).spawn(move || pipeline.run());
            *handle = Some(spawned.map_err(|e| self.no_thread(e))?);
            self.committer_started.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn run(&self) {
        // Before the lock, so that it is dropped after it.
        let _guard = self.panic_guard(COMMITTER);
        let mut state = self.state.lock();
        let mut seen = None;
        while !state.stopping {
            if state.poison.is_none() && !state.flushing && state.has_work() {
                state.flushing = true;
                let _at_work = self.monitor.at_work();
                self.segments.watch();
                state = self.flush_all(state);
            } else if self.monitor.next_look() == Some(Duration::ZERO) {
                MutexGuard::unlocked(&mut state, || self.monitor.tell_overdue());
            } else {
                self.rest(&mut state, &mut seen);
            }
        }
    }

    /// Flushes until nothing is staged, as the owner, then gives up the flush.
    fn flush_all<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while state.poison.is_none()
            && let Some(block) = state.take_front()
        {
            let (done, mut news);
            news = Vec::new();
            (state, done) = self.flush_block(state, block, &mut news);
            if !done.is_empty() || !news.is_empty() || self.monitor.has_returned() {
                MutexGuard::unlocked(&mut state, || {
                    done.done();
                    self.options.observed.tell_all(news);
                    self.monitor.tell_returned();
                });
            }
        }
        self.release_flush(&mut state);
        state
    }

    /// Sleeps while there is nothing to do; stages a marker block if the log has been idle long enough. `seen` is the
    /// block that was in flight when the committer last fell asleep.
    ///
    /// ```text
    ///  situation                         how long it sleeps
    ///  idle log, no marker due           without limit, until woken
    ///  blocks keep coming                slightly longer than the idle time, not woken by blocks
    ///  one block takes longer            until that block is overdue or arrives
    ///  a marker may be due               the rest of the idle time
    ///  other threads at work             until one of their calls is overdue
    /// ```
    fn rest(&self, state: &mut MutexGuard<'_, State>, seen: &mut Option<BlockSeq>) {
        let (before, flight) = (state.next_seq, state.flight.as_ref().map(|f| f.seq));
        let lasts = flight.is_some() && *seen == flight;
        *seen = flight;
        let (idle, limit) = (self.options.idle_marker, self.monitor.limit());
        // A sync that takes an eighth of the idle time then still causes no extra wake-up before the marker block.
        let soon = idle.max(LEAST_REST).saturating_add(idle / 8).min(limit);
        let due = state.unwitnessed && state.poison.is_none() && !state.closed;
        let time = match state.flushing {
            true if !lasts => Some(soon),
            // The call may not have begun yet.
            true => Some(self.monitor.next_look().unwrap_or(limit)),
            false => {
                let marker = due.then(|| idle.saturating_sub(state.arrived.elapsed()).max(LEAST_REST));
                marker.into_iter().chain(self.monitor.next_look()).min()
            }
        };
        state.committer = match time {
            Some(time) if time <= soon => Rest::Short,
            Some(time) if time <= limit => Rest::Long,
            _ => Rest::Endless,
        };
        let timed_out = match time {
            Some(time) => self.work.wait_for(state, time).timed_out(),
            None => {
                self.work.wait(state);
                false
            }
        };
        state.committer = Rest::Short;
        let quiet = timed_out && before == state.next_seq && state.arrived.elapsed() >= idle;
        if quiet && !state.flushing && state.poison.is_none() && !state.closed {
            self.stage_marker(state);
        }
    }

    /// Flushes what is staged, writes a final marker block, and ends the threads; the segment manager first finishes
    /// what was asked of it. Later calls find nothing to do.
    pub(crate) fn close(&self) -> Result<()> {
        self.opener.check()?;
        let _guard = self.panic_guard("the thread that closed the log");
        let mut state = self.state.lock();
        state.closed = true;
        self.changed.notify_all();
        while state.poison.is_none() {
            if state.flushing {
                self.changed.wait(&mut state);
                continue;
            }
            if !state.has_work() && !self.stage_marker(&mut state) {
                break;
            }
            state.flushing = true;
            state = self.flush_all(state);
        }
        state.stopping = true;
        self.work.notify_all();
        let result = state.poison.clone().map_or(Ok(()), Err);
        drop(state);
        join(&self.committer);
        self.segments.stop();
        join(&self.manager);
        result
    }
}

fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    let handle = thread.lock().take();
    if let Some(handle) = handle {
        // If it panicked, `PanicGuard` has already informed all waiters.
        drop(handle.join());
    }
}
