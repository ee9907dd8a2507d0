//! What can be counted while a log is in use.
//!
//! With the feature `metrics`, each counter is also one of that facade: the names of [`Stats`]' fields, with `seawall_`
//! before and `_total` behind (`seawall_records_total`, `seawall_syncs_total`, ...), the time of syncs as
//! `seawall_sync_nanoseconds_total`; and each sync is in the histogram `seawall_sync_seconds`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A counter that many threads raise. With the feature `metrics` it is also a counter of that facade.
#[derive(Debug)]
pub(crate) struct Counter {
    value: AtomicU64,
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    name: &'static str,
}

impl Counter {
    const fn named(name: &'static str) -> Self {
        Counter { value: AtomicU64::new(0), name }
    }

    pub(crate) fn add(&self, n: u64) {
        self.value.fetch_add(n, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!(self.name).increment(n);
    }

    pub(crate) fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// The live counters of a log.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) records: Counter,
    pub(crate) batches: Counter,
    pub(crate) payload_bytes: Counter,
    pub(crate) blocks: Counter,
    pub(crate) marks: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) syncs: Counter,
    pub(crate) slow_syncs: Counter,
    pub(crate) sync_nanos: Counter,
    pub(crate) rotations: Counter,
    pub(crate) segment_waits: Counter,
    pub(crate) space_waits: Counter,
    pub(crate) segments_prepared: Counter,
    pub(crate) segments_recycled: Counter,
    pub(crate) segments_removed: Counter,
    pub(crate) segments_sealed: Counter,
    pub(crate) poisonings: Counter,
    pub(crate) background_errors: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            records: Counter::named("seawall_records_total"),
            batches: Counter::named("seawall_batches_total"),
            payload_bytes: Counter::named("seawall_batch_bytes_total"),
            blocks: Counter::named("seawall_blocks_total"),
            marks: Counter::named("seawall_marks_total"),
            written_bytes: Counter::named("seawall_written_bytes_total"),
            syncs: Counter::named("seawall_syncs_total"),
            slow_syncs: Counter::named("seawall_slow_syncs_total"),
            sync_nanos: Counter::named("seawall_sync_nanoseconds_total"),
            rotations: Counter::named("seawall_rotations_total"),
            segment_waits: Counter::named("seawall_segment_waits_total"),
            space_waits: Counter::named("seawall_space_waits_total"),
            segments_prepared: Counter::named("seawall_segments_prepared_total"),
            segments_recycled: Counter::named("seawall_segments_recycled_total"),
            segments_removed: Counter::named("seawall_segments_removed_total"),
            segments_sealed: Counter::named("seawall_segments_sealed_total"),
            poisonings: Counter::named("seawall_poisonings_total"),
            background_errors: Counter::named("seawall_background_errors_total"),
        }
    }
}

/// A reading of a log's counters, all since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records whose write was begun.
    pub records: u64,
    /// Batches whose write was begun, `append` counted as one each.
    pub batches: u64,
    /// Bytes of those batches: payloads with their record headers.
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
    /// Of those, the ones that took longer than [`Options::slow_sync`](crate::Options::slow_sync).
    pub slow_syncs: u64,
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
    /// 1 once a write or sync of the commit path failed, and nothing is acknowledged any more.
    pub poisonings: u64,
    /// Failures off the commit path (footer, superblock, spare segment). None of them puts anything acknowledged at risk.
    pub background_errors: u64,
    /// What is submitted and not yet written, in bytes.
    pub staged_bytes: u64,
    /// Segments that are part of the log.
    pub segments: u64,
    /// The bytes of their files.
    pub disk_bytes: u64,
    /// Released files that wait to be used again, beside the one that is always made ready.
    pub spare_segments: u64,
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
            slow_syncs: self.slow_syncs.get(),
            poisonings: self.poisonings.get(),
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
            spare_segments: 0,
        }
    }
}
