//! What was submitted and is not yet durable: blocks in memory, in log order.
//!
//! ```text
//!            flight              queue                     open
//!   file <-- [block k] <-- [k+1, ends a segment] ... <-- [block n] <-- batches are copied here
//!            being written   only around a rotation       one at most
//! ```
//!
//! A block is closed and gets its header when its flush begins, because the header states what is durable at that
//! moment.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::batch::Batch;
use super::buffer::Buffer;
use super::waiter::Waiters;
use crate::error::Error;
use crate::format::align_up;
use crate::format::block::{BLOCK_HEADER, BlockHeader, BlockKind};
use crate::format::record::{RecordHeader, reseal};
use crate::lsn::Lsn;
use crate::segment::{Segment, StoredRecord, Tip};
use crate::size::{in_header, in_memory};

/// Numbers blocks in log order; exists only in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlockSeq(pub(super) u64);

/// A block that is being filled or waits for its flush.
#[derive(Debug)]
pub(super) struct StagedBlock {
    pub(super) seq: BlockSeq,
    pub(super) kind: BlockKind,
    pub(super) segment: Arc<Segment>,
    pub(super) lsn: Lsn,
    pub(super) records: u32,
    pub(super) batches: u32,
    /// When the block was opened for its first batch.
    pub(super) staged: Instant,
    /// Space for the header, then the records.
    pub(super) bytes: Buffer,
    pub(super) waiters: Waiters,
}

impl StagedBlock {
    /// A block with its first batch, and the batch's address; `None` as in [`StagedBlock::append`]. A data block
    /// always has records: an open would take an empty one for damage.
    pub(super) fn of(
        seq: BlockSeq,
        segment: Arc<Segment>,
        lsn: Lsn,
        buffer: Buffer,
        batch: &Batch,
    ) -> Option<(Self, Lsn)> {
        let mut block = StagedBlock::new(seq, BlockKind::Data, segment, lsn, buffer);
        let first = block.append(batch)?;
        Some((block, first))
    }

    /// A block without records that states what is durable.
    pub(super) fn marker(seq: BlockSeq, segment: Arc<Segment>, lsn: Lsn, buffer: Buffer) -> Self {
        StagedBlock::new(seq, BlockKind::Marker, segment, lsn, buffer)
    }

    fn new(seq: BlockSeq, kind: BlockKind, segment: Arc<Segment>, lsn: Lsn, mut bytes: Buffer) -> Self {
        bytes.begin();
        let staged = Instant::now();
        StagedBlock {
            seq,
            kind,
            segment,
            lsn,
            records: 0,
            batches: 0,
            staged,
            bytes,
            waiters: Waiters::default(),
        }
    }

    /// Total size of the records in bytes.
    pub(super) fn body_len(&self) -> usize {
        self.bytes.end() - BLOCK_HEADER
    }

    /// The address after the last record.
    pub(super) fn end(&self) -> Lsn {
        self.lsn.plus(self.bytes.end() as u64)
    }

    /// The address of the block after this one.
    pub(super) fn padded_end(&self) -> Lsn {
        self.lsn.plus(self.padded_len())
    }

    fn padded_len(&self) -> u64 {
        align_up(self.bytes.end() as u64, u64::from(self.segment.generation.block_align))
    }

    /// Whether a batch of `len` bytes still fits, in the segment and in a block of `max_body` bytes.
    pub(super) fn has_room(&self, len: u64, max_body: u64) -> bool {
        self.body_len() as u64 + len <= max_body && self.end().plus(len) <= self.segment.limit()
    }

    /// Copies a batch in and binds its records to their addresses. Returns the address of the first one.
    ///
    /// The caller has checked [`StagedBlock::has_room`]. `None` if the batch does not hold as many records as it
    /// counts: then the block must not be written.
    pub(super) fn append(&mut self, batch: &Batch) -> Option<Lsn> {
        let first = self.end();
        self.batches += 1;
        let identity = self.segment.identity;
        let records = reseal(self.bytes.append(batch.body()), first, |lsn| identity.seal(lsn));
        self.records += records;
        (records as usize == batch.len()).then_some(first)
    }

    /// Writes the header and the padding; returns the digest that the next block stores.
    pub(super) fn close(&mut self, durable: Lsn, previous: u32) -> u32 {
        assert_eq!(self.kind == BlockKind::Data, self.records > 0, "a block of {} records", self.records);
        let header = BlockHeader {
            kind: self.kind,
            lsn: self.lsn,
            durable,
            // `has_room` has kept it within `Checked::max_body`.
            body_len: in_header(self.body_len()),
            records: self.records,
            previous,
        };
        let encoded = header.encode(&self.segment.identity);
        self.bytes.finish(&encoded, in_memory(self.padded_len()));
        BlockHeader::digest(&encoded)
    }
}

/// The block that is being written and synced.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) seq: BlockSeq,
    pub(super) segment: Arc<Segment>,
    pub(super) lsn: Lsn,
    pub(super) bytes: Arc<Buffer>,
    /// When its first batch was staged.
    pub(super) staged: Instant,
    pub(super) waiters: Waiters,
}

/// The segment that comes after the current one.
#[derive(Debug)]
pub(super) enum Next {
    /// It is being prepared.
    Wanted,
    /// It is ready.
    Ready(Arc<Segment>),
    /// It could not be made. Nothing is damaged; the commit that needs it gets the error, and it will be tried again.
    Failed(Error),
}

/// How the committer sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Not at all, or only briefly while blocks keep coming: it need not be woken.
    Short,
    /// Longer, but it checks again before a call is overdue: a thread that begins or ends a flush wakes it.
    Long,
    /// Without limit, or longer than that: a thread that begins anything that may hang wakes it, too.
    Endless,
}

/// The state protected by the commit lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tip: Tip,
    pub(super) flight: Option<Flight>,
    pub(super) queue: VecDeque<StagedBlock>,
    pub(super) open: Option<StagedBlock>,
    /// The segment that new blocks go to; `None` until the first one is needed.
    pub(super) current: Option<Arc<Segment>>,
    /// Where the next block begins if none is open.
    pub(super) tail: Lsn,
    /// The address after the last submitted record.
    pub(super) submitted: Lsn,
    pub(super) next: Next,
    pub(super) next_seq: BlockSeq,
    /// Total body size in bytes of the blocks in `queue` and `open`: added when a batch is staged, subtracted with
    /// its block.
    pub(super) staged: u64,
    /// The flush has an owner.
    pub(super) flushing: bool,
    /// Nothing after the newest block proves it durable yet.
    pub(super) unwitnessed: bool,
    pub(super) poison: Option<Error>,
    pub(super) closed: bool,
    pub(super) stopping: bool,
    pub(super) committer: Rest,
    /// When a block last became durable.
    pub(super) arrived: Instant,
    /// Since when a submit has been waiting for the next segment.
    pub(super) segment_missed: Option<Instant>,
    pub(super) buffers: Vec<Buffer>,
}

impl State {
    /// Whether something is waiting to be flushed.
    pub(super) fn has_work(&self) -> bool {
        self.open.is_some() || !self.queue.is_empty()
    }

    /// Since when the oldest non-durable write has waited.
    pub(super) fn oldest_write(&self) -> Option<Instant> {
        let flight = self.flight.as_ref().map(|f| f.staged);
        let staged = self.queue.front().or(self.open.as_ref()).map(|b| b.staged);
        flight.into_iter().chain(staged).chain(self.segment_missed).min()
    }

    /// An empty buffer, reused if possible.
    pub(super) fn buffer(&mut self) -> Buffer {
        self.buffers.pop().unwrap_or_default()
    }

    /// Keeps a buffer for a later block; only a few, and none that is huge, as its memory would never be returned.
    pub(super) fn keep_buffer(&mut self, bytes: Buffer) {
        if self.buffers.len() < 2 && bytes.capacity() <= 32 << 20 {
            self.buffers.push(bytes);
        }
    }

    /// The next record goes here or above.
    pub(super) fn end(&self) -> Lsn {
        self.open.as_ref().map_or(self.tail, StagedBlock::end)
    }

    /// The block opened last. A batch without records is as durable as this one.
    pub(super) fn newest_seq(&self) -> BlockSeq {
        // Numbers start at 1.
        BlockSeq(self.next_seq.0 - 1)
    }

    pub(super) fn take_seq(&mut self) -> BlockSeq {
        let seq = self.next_seq;
        self.next_seq = BlockSeq(seq.0 + 1);
        seq
    }

    /// Moves the open block into the queue; the next block begins after it.
    pub(super) fn close_open(&mut self) {
        if let Some(block) = self.open.take() {
            self.tail = block.padded_end();
            self.queue.push_back(block);
        }
    }

    /// Takes the next block.
    pub(super) fn take_front(&mut self) -> Option<StagedBlock> {
        if self.queue.is_empty() {
            self.close_open();
        }
        let block = self.queue.pop_front()?;
        let bytes = block.body_len() as u64;
        assert!(bytes <= self.staged, "a block has {bytes} bytes, but only {} are staged", self.staged);
        self.staged -= bytes;
        Some(block)
    }

    /// The waiters of the next block.
    pub(super) fn front_waiters(&mut self) -> Option<&mut Waiters> {
        self.queue.front_mut().or(self.open.as_mut()).map(|block| &mut block.waiters)
    }

    /// The waiters of block `seq`; `None` if it was flushed.
    pub(super) fn waiters(&mut self, seq: BlockSeq) -> Option<&mut Waiters> {
        if let Some(flight) = self.flight.as_mut().filter(|f| f.seq == seq) {
            return Some(&mut flight.waiters);
        }
        let queued = self.queue.iter_mut().chain(self.open.as_mut());
        queued.into_iter().find(|b| b.seq == seq).map(|b| &mut b.waiters)
    }

    /// Removes and returns all waiters.
    pub(super) fn take_all_waiters(&mut self) -> Vec<Waiters> {
        let flight = self.flight.iter_mut().map(|flight| &mut flight.waiters);
        let staged = self.queue.iter_mut().chain(&mut self.open).map(|block| &mut block.waiters);
        flight.chain(staged).map(std::mem::take).collect()
    }

    /// A copy of the record at `lsn`, if it is submitted and not yet durable, and the segment that it will lie in.
    pub(super) fn find(&self, lsn: Lsn) -> Option<(StoredRecord, Arc<Segment>)> {
        let flight = self.flight.iter().map(|f| (&f.segment, f.lsn, f.bytes.block()));
        let staged = self.queue.iter().chain(&self.open).map(|b| (&b.segment, b.lsn, b.bytes.used()));
        for (segment, start, bytes) in flight.chain(staged) {
            let Some(at) = lsn.distance_from(start).map(in_memory) else { continue };
            let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else { continue };
            let header = RecordHeader::decode(rest, &segment.identity, lsn).ok()?;
            let payload = rest.get(header.header_len()..)?.get(..header.payload_len as usize)?;
            let bytes = bytes::Bytes::copy_from_slice(payload);
            let record = StoredRecord { lsn, label: header.label, codec: header.codec, bytes };
            return Some((record, Arc::clone(segment)));
        }
        None
    }
}
