//! What can be counted while a log is in use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A counter that many threads raise.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The live counters of a log.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: Counter,
    pub(crate) batches: Counter,
    pub(crate) payload_bytes: Counter,
    pub(crate) blocks: Counter,
    pub(crate) marks: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) syncs: Counter,
    pub(crate) sync_nanos: Counter,
    pub(crate) rotations: Counter,
    pub(crate) segment_waits: Counter,
    pub(crate) space_waits: Counter,
    pub(crate) segments_prepared: Counter,
    pub(crate) segments_recycled: Counter,
    pub(crate) segments_removed: Counter,
    pub(crate) segments_sealed: Counter,
    pub(crate) background_errors: Counter,
}

/// A reading of a log's counters, all since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records submitted.
    pub records: u64,
    /// Batches submitted, `append` counted as one each.
    pub batches: u64,
    /// Bytes of the submitted batches: payloads with their record headers.
    pub batch_bytes: u64,
    /// Blocks written, marks not counted. Batches per block is how well commits are grouped.
    pub blocks: u64,
    /// Marks written: blocks without records that prove the one before durable.
    pub marks: u64,
    /// Bytes written to segments on the commit path, headers and padding included.
    pub written_bytes: u64,
    /// `fdatasync` calls on the commit path.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// Times that the log went on to another segment.
    pub rotations: u64,
    /// Times that a submit had to wait because the next segment was not ready.
    pub segment_waits: u64,
    /// Times that a submit had to wait because too much was staged.
    pub space_waits: u64,
    /// Segment files made ready, recycled ones included.
    pub segments_prepared: u64,
    /// Segment files that were made ready out of a released one.
    pub segments_recycled: u64,
    /// Segment files removed.
    pub segments_removed: u64,
    /// Footers written.
    pub segments_sealed: u64,
    /// Failures off the commit path (footer, superblock, spare segment). None of them puts anything acknowledged at risk.
    pub background_errors: u64,
    /// What is submitted and not yet written, in bytes.
    pub staged_bytes: u64,
    /// Segments that are part of the log.
    pub segments: u64,
    /// The bytes of their files.
    pub disk_bytes: u64,
}

impl Counters {
    pub(crate) fn read(&self) -> Stats {
        Stats {
            records: self.records.get(),
            batches: self.batches.get(),
            batch_bytes: self.payload_bytes.get(),
            blocks: self.blocks.get(),
            marks: self.marks.get(),
            written_bytes: self.written_bytes.get(),
            syncs: self.syncs.get(),
            sync_time: Duration::from_nanos(self.sync_nanos.get()),
            rotations: self.rotations.get(),
            segment_waits: self.segment_waits.get(),
            space_waits: self.space_waits.get(),
            segments_prepared: self.segments_prepared.get(),
            segments_recycled: self.segments_recycled.get(),
            segments_removed: self.segments_removed.get(),
            segments_sealed: self.segments_sealed.get(),
            background_errors: self.background_errors.get(),
            staged_bytes: 0,
            segments: 0,
            disk_bytes: 0,
        }
    }
}
