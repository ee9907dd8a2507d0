//! The flush: what its owner does with a block, and how ownership is passed on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::buffer::Buffer;
use super::pipeline::{Pipeline, marker_len};
use super::staging::{Flight, Rest, StagedBlock, State};
use super::waiter::Waiters;
use crate::error::{Error, Result};
use crate::format::PAGE;
use crate::format::block::BlockKind;
use crate::format::segment::SegmentHeader;
use crate::io::write_all_at;
use crate::lsn::Lsn;
use crate::mutation::or_fault;
use crate::observe::{Flushed, News};
use crate::segment::{Segment, Tip};
use crate::sync::MutexGuard;
use crate::trace::{event, span};

/// A block on its way to disk.
struct Departure {
    segment: Arc<Segment>,
    lsn: Lsn,
    kind: BlockKind,
    bytes: Arc<Buffer>,
    records: u32,
    batches: u32,
    /// When its first batch was staged.
    staged: Instant,
    /// End of the log before the block.
    before: Tip,
    /// End of the log once the block is durable.
    after: Tip,
}

impl Departure {
    /// Whether this is its segment's first block.
    fn starts_segment(&self) -> bool {
        self.before.segment != self.after.segment
    }

    fn flushed(&self, written: &Written) -> Flushed {
        Flushed {
            lsn: self.lsn,
            end: self.after.end,
            bytes: self.bytes.block().len() as u64,
            records: self.records,
            batches: self.batches,
            write: written.write,
            sync: written.sync,
            commit: written.at.duration_since(self.staged),
        }
    }
}

/// How long it took to make a block durable, and when.
struct Written {
    write: Duration,
    sync: Duration,
    at: Instant,
}

impl Pipeline {
    /// Flushes until everything below `end` is durable, then passes the flush on. The caller must have become its
    /// owner, and everything up to `end` must have been staged.
    pub(super) fn lead<'a>(&'a self, state: MutexGuard<'a, State>, end: Lsn) -> Result<()> {
        let (mut done, mut news) = (Waiters::default(), Vec::new());
        let result = self.flush_until(state, end, &mut done, &mut news);
        done.done();
        self.options.observed.tell_all(news);
        self.monitor.tell_returned();
        result
    }

    /// Like [`Pipeline::lead`]; collects in `done` the tasks to wake and in `news` the events to report.
    fn flush_until<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        end: Lsn,
        done: &mut Waiters,
        news: &mut Vec<News>,
    ) -> Result<()> {
        let _guard = self.panic_guard("a caller's thread that flushed");
        let mut state = state;
        while self.durable() < end && state.poison.is_none() {
            if !done.is_empty() {
                // A waker is foreign code: it is never called under the lock.
                MutexGuard::unlocked(&mut state, || std::mem::take(done).done());
            }
            let Some(block) = state.take_front() else { break };
            (state, *done) = self.flush_block(state, block, news);
        }
        let result = match &state.poison {
            _ if self.durable() >= end => Ok(()),
            Some(poison) => Err(poison.clone()),
            None => Err(self.broken(&mut state, "everything staged is durable, but a batch is not")),
        };
        self.hand_over(state, done);
        result
    }

    /// Passes the flush to a thread that waits for the next block, else to the committer; if nothing is left, to
    /// nobody.
    ///
    /// Threads whose block is durable are woken first: what they submit next then goes into the block that the heir
    /// flushes, not into the one after, which would split the writers into two halves waiting for each other. Tasks
    /// are woken afterwards: a waker is foreign code and may take any time.
    fn hand_over(&self, mut state: MutexGuard<'_, State>, done: &mut Waiters) {
        if !done.is_empty() {
            MutexGuard::unlocked(&mut state, || done.threads_done());
        }
        let heir = state.front_waiters().and_then(Waiters::heir);
        if heir.is_none() {
            or_fault!(self.release_flush(&mut state), HandOver => ());
        }
        drop(state);
        if let Some(heir) = heir {
            heir.lead();
        }
    }

    /// Gives up the flush; if there is work, the committer must take it.
    pub(super) fn release_flush(&self, state: &mut State) {
        state.flushing = false;
        if state.has_work() && state.poison.is_none() {
            self.work.notify_one();
        }
        if state.closed {
            self.changed.notify_all();
        }
    }

    /// Flushes the next block, as the owner of the flush. Returns its waiters; after a failure none, because all have
    /// been woken. Events for an observer are added to `news`, to be reported when no lock is held.
    pub(super) fn flush_block<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        block: StagedBlock,
        news: &mut Vec<News>,
    ) -> (MutexGuard<'a, State>, Waiters) {
        self.count_block(&block);
        let departure = depart(&mut state, block, self.durable());
        if state.committer != Rest::Short {
            // The committer must notice if this hangs, and when the log falls idle.
            self.work.notify_one();
        }
        drop(state);

        let written = self.write(&departure);
        if let Ok(written) = &written {
            self.account(&departure, written, news);
        }

        let mut state = self.state.lock();
        let done = match written {
            Ok(written) => self.arrive(&mut state, departure, written.at),
            Err(e) => {
                self.options.observed.keep(news, || News::Poisoned(e.clone()));
                let failed = self.fail(&mut state, &e);
                // A waker is foreign code: it is never called under the lock.
                MutexGuard::unlocked(&mut state, || failed.into_iter().for_each(Waiters::failed));
                Waiters::default()
            }
        };
        (state, done)
    }

    /// Writes a block, preceded by its segment's header page if it is the first, and syncs.
    fn write(&self, d: &Departure) -> Result<Written> {
        let segment = &*d.segment;
        let io = |op| move |e| Error::io(op, &segment.path, e);
        let begun = Instant::now();
        let mut call = self.monitor.flush.begin("write", &segment.path, begun);
        if d.starts_segment() {
            let header = SegmentHeader {
                id: segment.id(),
                first_lsn: segment.first_lsn(),
                salt: segment.generation.salt,
                predecessor: d.before.predecessor(),
                durable: d.before.end,
            };
            let page = header.encode(segment.generation.uuid);
            write_all_at(&*segment.file, &page, PAGE as u64).map_err(io("write"))?;
        }
        write_all_at(&*segment.file, d.bytes.block(), segment.offset(d.lsn)).map_err(io("write"))?;
        let written = Instant::now();
        call.then("fdatasync", written);
        or_fault!(PublishEarly => self.progress.publish(d.after.end));
        segment.file.sync_data().map_err(io("fdatasync"))?;
        let at = Instant::now();
        Ok(Written { write: written.duration_since(begun), sync: at.duration_since(written), at })
    }

    /// Counts a durable block, and registers its segment if it is the first one there.
    fn account(&self, d: &Departure, written: &Written, news: &mut Vec<News>) {
        let flushed = d.flushed(written);
        self.counters.flushed(&flushed);
        self.options.observed.keep(news, || News::Flushed(flushed));
        if written.sync >= self.options.slow_sync {
            self.slow_sync(&d.segment, written.sync, news);
        }
        if !d.starts_segment() {
            return;
        }
        let _span = span!(DEBUG, "rotation", segment = d.segment.id().get());
        if d.before.segment.is_some() {
            self.counters.rotations.add(1);
            self.options.observed.keep(news, || News::Rotated(d.segment.id()));
        }
        self.segments.started(&d.segment, d.before);
    }

    fn count_block(&self, block: &StagedBlock) {
        self.counters.batches.add(u64::from(block.batches));
        self.counters.records.add(u64::from(block.records));
        self.counters.payload_bytes.add(block.body_len() as u64);
    }

    fn slow_sync(&self, segment: &Segment, took: Duration, news: &mut Vec<News>) {
        self.counters.slow_syncs.add(1);
        self.options.observed.keep(news, || News::SlowSync(took));
        event!(
            warn,
            file = segment.path.display().to_string(),
            milliseconds = took.as_millis(),
            "slow fdatasync"
        );
    }

    /// Publishes that the block is durable; returns its waiters.
    fn arrive(&self, state: &mut MutexGuard<'_, State>, departure: Departure, at: Instant) -> Waiters {
        let Departure { kind, bytes, after, .. } = departure;
        state.tip = after;
        state.arrived = at;
        state.unwitnessed = kind == BlockKind::Data;
        self.progress.publish(after.end);
        let Some(Flight { bytes: in_flight, waiters: done, .. }) = state.flight.take() else {
            drop(self.broken(state, "a block that was not in flight arrived"));
            return Waiters::default();
        };
        // There are two references, the flight's and the departure's; without both the memory can be reused.
        drop(in_flight);
        if let Ok(buffer) = Arc::try_unwrap(bytes) {
            state.keep_buffer(buffer);
        }
        self.monitor.note_oldest_write(state.oldest_write());
        if state.committer != Rest::Short && state.unwitnessed {
            self.work.notify_one();
        }
        self.changed.notify_all();
        done
    }

    /// Poisons the log. Returns all waiters, to be woken with the error.
    fn fail(&self, state: &mut State, e: &Error) -> Vec<Waiters> {
        self.counters.poisonings.add(1);
        event!(error, error = e.to_string(), "the log is poisoned; nothing is acknowledged any more");
        // What was submitted stays readable: `flight`, `queue` and `open` are left as they are.
        let poison = e.poison(self.opener.dir());
        self.monitor.note_poison(&poison);
        state.poison = or_fault!(Some(poison), Poison => None);
        self.changed.notify_all();
        self.work.notify_all();
        or_fault!(
            state.take_all_waiters(),
            PoisonWakesFew => state.flight.take().into_iter().map(|flight| flight.waiters).collect()
        )
    }

    /// Poisons the log after a thread that it depends on has panicked, for example in an observer or a summarizer. No
    /// one may wait for that thread.
    pub(crate) fn abandon(&self, thread: &str) {
        let mut state = self.state.lock();
        state.flushing = false;
        if state.poison.is_some() {
            self.changed.notify_all();
            return;
        }
        let panicked = std::io::Error::other(format!("{thread} panicked; the panic message says why"));
        let failed =
            self.fail(&mut state, &Error::io("continue without a thread in", self.opener.dir(), panicked));
        drop(state);
        failed.into_iter().for_each(Waiters::failed);
    }

    /// Poisons the log because an invariant of the commit path does not hold, so what is durable is no longer known.
    /// Returns the error for callers.
    #[cold]
    pub(super) fn broken(&self, state: &mut MutexGuard<'_, State>, what: &'static str) -> Error {
        if let Some(poison) = &state.poison {
            return poison.clone();
        }
        let broken = Error::internal(what);
        let failed = self.fail(state, &broken);
        // A waker is foreign code: it is never called under the lock.
        MutexGuard::unlocked(state, || failed.into_iter().for_each(Waiters::failed));
        broken.poison(self.opener.dir())
    }

    /// Stages a marker block if the newest block needs one and there is room for it. Returns whether it did.
    pub(super) fn stage_marker(&self, state: &mut State) -> bool {
        if or_fault!(!state.unwitnessed || state.has_work(), Marker => true) {
            return false;
        }
        state.unwitnessed = false;
        let segment = state.current.clone();
        assert!(segment.is_some(), "a block was written, but there is no segment");
        let Some(segment) = segment else { return false };
        if state.tail.plus(marker_len(&segment)) > segment.limit() {
            return false;
        }
        let (seq, lsn, buffer) = (state.take_seq(), state.tail, state.buffer());
        state.open = Some(StagedBlock::marker(seq, segment, lsn, buffer));
        self.monitor.note_oldest_write(state.oldest_write());
        true
    }
}

/// Closes a block and puts it in flight.
fn depart(state: &mut State, mut block: StagedBlock, durable: Lsn) -> Departure {
    let before = state.tip;
    let digest = block.close(or_fault!(durable, DurableInBlock => Lsn::ZERO), before.digest);
    let after = Tip { segment: Some(block.segment.id()), end: block.padded_end(), digest };
    let bytes = Arc::new(block.bytes);
    let (records, batches, staged) = (block.records, block.batches, block.staged);
    state.flight = Some(Flight {
        seq: block.seq,
        segment: Arc::clone(&block.segment),
        lsn: block.lsn,
        bytes: Arc::clone(&bytes),
        staged,
        waiters: block.waiters,
    });
    let (segment, lsn, kind) = (block.segment, block.lsn, block.kind);
    Departure { segment, lsn, kind, bytes, records, batches, staged, before, after }
}
