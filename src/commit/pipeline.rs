//! The commit path of one log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::codec::Decoder;
use crate::error::{Error, Result};
use crate::format::align_up;
use crate::format::block::BLOCK_HEADER;
use crate::io::Opener;
use crate::lsn::Lsn;
use crate::monitor::Monitor;
use crate::options::Checked;
use crate::segment::{Progress, Record, Segment, SpacePool, Supply, Tip};
use crate::stats::Counters;

use super::batch::Batch;
use super::panic_guard::PanicGuard;
use super::staging::{BlockSeq, Next, Rest, StagedBlock, State};
use super::submission::{Flush, Placement, SubmitOptions};
use super::waiter::Outcome;
use crate::sync::atomic::AtomicBool;
use crate::sync::thread::JoinHandle;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The commit path of one log.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(super) state: Mutex<State>,
    /// Signalled when something changes that threads outside the waiter lists may wait for: space, the next segment,
    /// the durable LSN, the end.
    pub(super) changed: Condvar,
    /// Signalled when the committer has something to do.
    pub(super) work: Condvar,
    pub(super) progress: Arc<Progress>,
    pub(super) committer_started: AtomicBool,
    pub(super) committer: Mutex<Option<JoinHandle<()>>>,
    pub(super) options: Checked,
    pub(super) opener: Opener,
    pub(crate) counters: Arc<Counters>,
    pub(super) monitor: Arc<Monitor>,
    /// The segment manager, held and run here: see [`Supply`].
    pub(super) segments: Arc<dyn Supply>,
    pub(super) manager: Mutex<Option<JoinHandle<()>>>,
}

/// The place of a batch, and the block that it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) seq: BlockSeq,
    pub(super) at: Placement,
}

/// The starting state of a commit path.
pub(crate) struct PipelineParts {
    pub(crate) options: Checked,
    pub(crate) opener: Opener,
    pub(crate) counters: Arc<Counters>,
    pub(crate) monitor: Arc<Monitor>,
    /// Has the same durable LSN as `tip`.
    pub(crate) progress: Arc<Progress>,
    pub(crate) segments: Arc<dyn Supply>,
    /// Where the log continues: in `current`, if recovery left a writable segment, otherwise in the next one.
    pub(crate) tip: Tip,
    pub(crate) current: Option<Arc<Segment>>,
}

impl Pipeline {
    pub(crate) fn new(parts: PipelineParts) -> Self {
        let PipelineParts { options, opener, counters, monitor, progress, segments, tip, current } = parts;
        Pipeline {
            state: Mutex::new(State {
                tip,
                flight: None,
                queue: VecDeque::new(),
                open: None,
                current,
                tail: tip.end,
                submitted: tip.end,
                next: Next::Wanted,
                next_seq: BlockSeq(1),
                staged: 0,
                flushing: false,
                unwitnessed: false,
                poison: None,
                closed: false,
                stopping: false,
                committer: Rest::Short,
                arrived: Instant::now(),
                segment_missed: None,
                buffers: Vec::new(),
            }),
            changed: Condvar::new(),
            work: Condvar::new(),
            progress,
            committer_started: AtomicBool::new(false),
            committer: Mutex::new(None),
            options,
            opener,
            counters,
            monitor,
            segments,
            manager: Mutex::new(None),
        }
    }

    /// Everything below is durable.
    #[inline]
    pub(crate) fn durable(&self) -> Lsn {
        self.progress.durable()
    }

    /// The maximum payload size.
    pub(crate) fn max_record_size(&self) -> u64 {
        u64::from(self.options.max_record)
    }

    /// The maximum size of a batch in the log.
    pub(crate) fn max_batch_size(&self) -> u64 {
        self.options.max_body
    }

    /// The next record goes here or above.
    pub(crate) fn end(&self) -> Lsn {
        if self.opener.is_here() { self.state.lock().end() } else { self.durable() }
    }

    /// Bytes submitted and not yet written.
    pub(crate) fn staged_bytes(&self) -> u64 {
        self.state.lock().staged
    }

    /// Hands over the requested segment, or the error that it could not be made.
    pub(super) fn offer(&self, segment: Result<Arc<Segment>>) {
        let mut state = self.state.lock();
        state.next = match segment {
            Ok(segment) => Next::Ready(segment),
            Err(e) => Next::Failed(e),
        };
        state.segment_missed = None;
        self.monitor.note_oldest_write(state.oldest_write());
        self.changed.notify_all();
    }

    /// Fixes the order of a batch and makes it readable. On a full disk it may use the reserve if `how` says so.
    ///
    /// `admit` is asked before the batch gets its place, and `place` is told of that place, both under the lock that
    /// orders batches: no other batch gets a place in between.
    pub(super) fn submit_placed<E: From<Error>>(
        self: &Arc<Self>,
        batch: &Batch,
        how: SubmitOptions,
        mut admit: impl FnMut() -> Result<(), E>,
        place: impl FnOnce(&Placement),
    ) -> Result<Placed, E> {
        self.check(batch)?;
        self.start_committer()?;
        let mut state = self.state.lock();
        let placed = self.stage(&mut state, batch, how.pool(), &mut admit)?;
        place(&placed.at);
        if how.who_flushes() == Flush::Now && !state.flushing && state.has_work() {
            self.work.notify_one();
        }
        drop(state);
        self.run_inline();
        Ok(placed)
    }

    /// Makes a batch durable and returns the address of its first record.
    pub(crate) fn commit(self: &Arc<Self>, batch: &Batch) -> Result<Lsn> {
        self.check(batch)?;
        self.start_committer()?;
        let mut state = self.state.lock();
        let placed = self.stage::<Error>(&mut state, batch, SpacePool::Ordinary, &mut || Ok(()))?;
        self.wait_staged(state, placed.seq, placed.at.end)?;
        self.run_inline();
        Ok(placed.at.first)
    }

    fn run_inline(&self) {
        if !self.options.threads {
            self.manage_pending();
        }
    }

    /// The record at `lsn`, if it is submitted and not yet durable.
    pub(crate) fn find_staged(&self, lsn: Lsn) -> Result<Option<Record>> {
        // Decoded after the lock is released: a codec is foreign code.
        self.opener.check()?;
        let found = self.state.lock().find(lsn);
        found.map(|(record, segment)| record.decode(&segment, &self.options.decoder)).transpose()
    }

    /// An empty batch for the log's codec.
    pub(crate) fn batch(&self) -> Batch {
        Batch::through(self.options.encoder.clone())
    }

    pub(crate) fn decoder(&self) -> &Decoder {
        &self.options.decoder
    }

    /// Blocks until something at or above `lsn` is durable. `false` if the log was closed first.
    pub(crate) fn wait_durable_beyond(&self, lsn: Lsn) -> Result<bool> {
        self.opener.check()?;
        let mut state = self.state.lock();
        loop {
            if self.durable() > lsn {
                return Ok(true);
            }
            if let Some(poison) = &state.poison {
                return Err(poison.clone());
            }
            if state.closed && !state.has_work() && state.flight.is_none() {
                return Ok(false);
            }
            self.changed.wait(&mut state);
        }
    }

    /// Whether this handle can still be written to.
    pub(crate) fn check_usable(&self) -> Result<()> {
        self.opener.check()?;
        usable(&self.state.lock())
    }

    /// Announces work by a thread other than the committer: one of the log's threads must notice if it hangs.
    pub(crate) fn watch(&self) {
        let state = self.state.lock();
        if state.committer == Rest::Endless {
            self.work.notify_one();
        } else {
            // It checks again by itself, unless it hangs.
            self.segments.watch();
        }
    }

    /// Guard for a thread that others wait for: if the thread panics, the log is poisoned and all waiters are
    /// informed. So an assertion about the commit path's own state poisons the log.
    ///
    /// Must be created before the commit lock is taken, so that it is dropped after the lock.
    pub(super) fn panic_guard(&self, thread: &'static str) -> PanicGuard<impl FnMut()> {
        PanicGuard { panicked: move || self.abandon(thread) }
    }

    /// The error if a thread could not be started.
    pub(super) fn no_thread(&self, e: std::io::Error) -> Error {
        Error::io("start a thread for", self.opener.dir(), e)
    }

    fn check(&self, batch: &Batch) -> Result<()> {
        self.opener.check()?;
        let log = &self.options.encoder;
        if !batch.encoder().is(log) && !batch.is_empty() {
            return Err(Error::CodecMismatch { log: log.id(), batch: batch.encoder().id() });
        }
        let max = self.max_record_size();
        if batch.largest() > max {
            return Err(Error::RecordTooLarge { size: batch.largest(), max });
        }
        if batch.size_in_log() > self.options.max_body {
            return Err(Error::BatchTooLarge { size: batch.size_in_log(), max: self.options.max_body });
        }
        Ok(())
    }

    /// Copies a batch into the open block, opening a block or taking the next segment as needed. `admit` is called
    /// right before the copy: the lock may be released before that call, but not after it. A batch that is not admitted
    /// opens no block.
    fn stage<E: From<Error>>(
        &self,
        state: &mut MutexGuard<'_, State>,
        batch: &Batch,
        pool: SpacePool,
        admit: &mut impl FnMut() -> Result<(), E>,
    ) -> Result<Placed, E> {
        let len = batch.size_in_log();
        let mut tried = Tried::Nothing;
        loop {
            usable(state)?;
            if batch.is_empty() {
                admit()?;
                // As durable as everything submitted before: it belongs to the newest block.
                let at = Placement { first: state.end(), end: state.submitted };
                return Ok(Placed { seq: state.newest_seq(), at });
            }
            if state.staged > 0 && state.staged + len > self.options.max_staged {
                self.counters.space_waits.add(1);
                self.wait_for_space(state);
                continue;
            }
            let open = state.open.as_mut().filter(|b| pool.may_use(b.segment.pool));
            let copied = if let Some(open) = open.filter(|b| b.has_room(len, self.options.max_body)) {
                admit()?;
                open.append(batch).map(|first| (open.seq, first))
            } else if let Some(segment) = self.segment_for_a_block(state, len, pool) {
                admit()?;
                self.open_block(state, segment, batch)
            } else {
                self.next_segment(state, pool, &mut tried)?;
                continue;
            };
            let Some((seq, first)) = copied else {
                return Err(self.broken(state, "a batch does not hold as many records as it counts").into());
            };
            state.staged += len;
            state.submitted = first.plus(len);
            return Ok(Placed { seq, at: Placement { first, end: first.plus(len) } });
        }
    }

    fn wait_for_space(&self, state: &mut MutexGuard<'_, State>) {
        if self.options.threads || state.flushing {
            self.changed.wait(state);
        } else {
            state.flushing = true;
            let end = state.submitted;
            // A failure reaches the caller as poison.
            MutexGuard::unlocked(state, || drop(self.lead(self.state.lock(), end)));
        }
    }

    /// Closes the open block. Gives the current segment, if it has room for a block with `len` bytes of records.
    fn segment_for_a_block(&self, state: &mut State, len: u64, pool: SpacePool) -> Option<Arc<Segment>> {
        state.close_open();
        let end = state.tail.plus(BLOCK_HEADER as u64 + len);
        state.current.clone().filter(|segment| pool.may_use(segment.pool) && end <= segment.limit())
    }

    /// Opens a block with its first batch; says where that lies.
    fn open_block(&self, state: &mut State, segment: Arc<Segment>, batch: &Batch) -> Option<(BlockSeq, Lsn)> {
        let (seq, lsn, buffer) = (state.take_seq(), state.tail, state.buffer());
        let (block, first) = StagedBlock::of(seq, segment, lsn, buffer, batch)?;
        state.open = Some(block);
        self.monitor.note_oldest_write(state.oldest_write());
        Some((seq, first))
    }

    /// Makes the next segment the current one, or waits until there is one.
    fn next_segment(
        &self,
        state: &mut MutexGuard<'_, State>,
        pool: SpacePool,
        tried: &mut Tried,
    ) -> Result<()> {
        match std::mem::replace(&mut state.next, Next::Wanted) {
            Next::Ready(segment) if pool.may_use(segment.pool) => {
                state.tail = segment.first_lsn();
                self.segments.want(segment.limit(), SpacePool::Ordinary);
                state.current = Some(segment);
                Ok(())
            }
            Next::Ready(segment) => {
                let full = Error::io("allocate", &segment.path, std::io::ErrorKind::StorageFull.into());
                state.next = Next::Ready(segment);
                Err(full)
            }
            Next::Failed(e) => {
                let again = tried.after(&e, pool);
                let first = state.current.as_ref().map_or(state.tip.end, |s| s.limit());
                self.segments.want(first, again.unwrap_or(SpacePool::Ordinary));
                again.map_or(Err(e), |_| Ok(()))
            }
            Next::Wanted => {
                tried.waits();
                self.counters.segment_waits.add(1);
                state.segment_missed.get_or_insert_with(Instant::now);
                self.monitor.note_oldest_write(state.oldest_write());
                if self.options.threads {
                    self.progress.set_hurry(true);
                    self.changed.wait(state);
                } else {
                    MutexGuard::unlocked(state, || self.manage_pending());
                }
                Ok(())
            }
        }
    }

    /// Blocks until block `seq`, which reaches at least to `end`, is durable; leads the flush if no thread does.
    pub(super) fn wait_for(&self, seq: BlockSeq, end: Lsn) -> Result<()> {
        self.opener.check()?;
        if self.durable() >= end {
            return Ok(());
        }
        self.wait_staged(self.state.lock(), seq, end)
    }

    fn wait_staged(&self, mut state: MutexGuard<'_, State>, seq: BlockSeq, end: Lsn) -> Result<()> {
        if self.durable() >= end {
            return Ok(());
        }
        if let Some(poison) = &state.poison {
            return Err(poison.clone());
        }
        if !state.flushing {
            state.flushing = true;
            return self.lead(state, end);
        }
        let Some(waiters) = state.waiters(seq) else {
            return Err(self.broken(&mut state, "a batch is neither durable nor in a block"));
        };
        let gate = waiters.enter();
        drop(state);
        match gate.wait() {
            Outcome::Done => Ok(()),
            Outcome::Failed => Err(self.poison_error()),
            Outcome::Lead => self.lead(self.state.lock(), end),
        }
    }

    /// Why a gate was opened as failed.
    fn poison_error(&self) -> Error {
        let mut state = self.state.lock();
        let poison = state.poison.clone();
        poison
            .unwrap_or_else(|| self.broken(&mut state, "waiters were told of a failure, but there was none"))
    }
}

/// How far the attempts to get the next segment for one batch have gone.
///
/// ```text
///  Nothing --(an old failure, or a wait)--> Ordinary --(the disk is full, and the reserve may be used)--> Reserve
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    Nothing,
    Ordinary,
    Reserve,
}

impl Tried {
    /// From now on the outcome found is from an attempt made while the batch was waiting.
    fn waits(&mut self) {
        if *self == Tried::Nothing {
            *self = Tried::Ordinary;
        }
    }

    /// The pool to try next, if any. A failure from before the batch came says nothing about the present.
    fn after(&mut self, e: &Error, pool: SpacePool) -> Option<SpacePool> {
        let (tried, next) = match *self {
            Tried::Nothing => (Tried::Ordinary, SpacePool::Ordinary),
            Tried::Ordinary if e.is_full() && pool == SpacePool::Reserve => {
                (Tried::Reserve, SpacePool::Reserve)
            }
            Tried::Ordinary | Tried::Reserve => return None,
        };
        *self = tried;
        Some(next)
    }
}

fn usable(state: &State) -> Result<()> {
    match &state.poison {
        Some(poison) => Err(poison.clone()),
        None if state.closed => Err(Error::Closed),
        None => Ok(()),
    }
}

/// Size of a marker block in bytes.
pub(super) fn marker_len(segment: &Segment) -> u64 {
    align_up(BLOCK_HEADER as u64, u64::from(segment.generation.block_align))
}
