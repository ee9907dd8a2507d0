//! Statistics of a log in use.
//!
//! With the feature `metrics`, each counter is also a counter of that facade, named after its field of [`Stats`] with
//! the prefix `seawall_` and the suffix `_total` (`seawall_records_total`, `seawall_syncs_total`, ...); the time of
//! syncs is `seawall_sync_nanoseconds_total`. Each histogram is exported too, with times in seconds as is usual
//! there: `seawall_write_seconds`, `seawall_sync_seconds`, `seawall_commit_seconds`, `seawall_block_bytes`,
//! `seawall_block_records`. The layer `groups` has `seawall_groups_relocated_bytes_total`.
//!
//! Counting takes some twenty relaxed atomic operations for a block and none for a record.

mod histogram;

use std::time::Duration;

pub use histogram::{Bucket, Histogram};

use crate::counter::Counter;
use crate::observe::Flushed;
use crate::report::Recovery;
use histogram::Recorder;

/// A histogram; with the feature `metrics` also one of that facade.
#[derive(Debug)]
pub(crate) struct Distribution {
    values: Recorder,
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    name: &'static str,
}

impl Distribution {
    fn named(name: &'static str) -> Self {
        Distribution { values: Recorder::default(), name }
    }

    fn record(&self, value: u64) {
        self.values.record(value);
        #[cfg(feature = "metrics")]
        #[allow(clippy::cast_precision_loss)] // the facade's histograms are of f64
        metrics::histogram!(self.name).record(value as f64);
    }

    fn record_time(&self, time: Duration) {
        self.values.record(nanos(time));
        #[cfg(feature = "metrics")]
        metrics::histogram!(self.name).record(time.as_secs_f64());
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The live counters of a log.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) records: Counter,
    pub(crate) batches: Counter,
    pub(crate) payload_bytes: Counter,
    blocks: Counter,
    markers: Counter,
    written_bytes: Counter,
    syncs: Counter,
    pub(crate) slow_syncs: Counter,
    pub(crate) stalls: Counter,
    pub(crate) stalls_ended: Counter,
    sync_nanos: Counter,
    pub(crate) rotations: Counter,
    pub(crate) segment_waits: Counter,
    pub(crate) space_waits: Counter,
    pub(crate) segments_prepared: Counter,
    pub(crate) segments_recycled: Counter,
    pub(crate) segments_removed: Counter,
    pub(crate) segments_sealed: Counter,
    pub(crate) poisonings: Counter,
    pub(crate) background_errors: Counter,
    pub(crate) segments_released: Counter,
    recoveries: Counter,
    cuts: Counter,
    cut_bytes: Counter,
    block_bytes: Distribution,
    block_records: Distribution,
    write_times: Distribution,
    sync_times: Distribution,
    commit_times: Distribution,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            records: Counter::named("seawall_records_total"),
            batches: Counter::named("seawall_batches_total"),
            payload_bytes: Counter::named("seawall_batch_bytes_total"),
            blocks: Counter::named("seawall_blocks_total"),
            markers: Counter::named("seawall_markers_total"),
            written_bytes: Counter::named("seawall_written_bytes_total"),
            syncs: Counter::named("seawall_syncs_total"),
            slow_syncs: Counter::named("seawall_slow_syncs_total"),
            stalls: Counter::named("seawall_stalls_total"),
            stalls_ended: Counter::named("seawall_stalls_ended_total"),
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
            segments_released: Counter::named("seawall_segments_released_total"),
            recoveries: Counter::named("seawall_recoveries_total"),
            cuts: Counter::named("seawall_cuts_total"),
            cut_bytes: Counter::named("seawall_cut_bytes_total"),
            block_bytes: Distribution::named("seawall_block_bytes"),
            block_records: Distribution::named("seawall_block_records"),
            write_times: Distribution::named("seawall_write_seconds"),
            sync_times: Distribution::named("seawall_sync_seconds"),
            commit_times: Distribution::named("seawall_commit_seconds"),
        }
    }
}

/// A snapshot of a log's counters, all since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records whose write has begun.
    pub records: u64,
    /// Batches whose write has begun; each `append` counts as one.
    pub batches: u64,
    /// Bytes of those batches: payloads and record headers.
    pub batch_bytes: u64,
    /// Blocks written, without marker blocks. Batches per block shows how well commits are grouped.
    pub blocks: u64,
    /// Marker blocks written: blocks without records that prove the previous one durable.
    pub markers: u64,
    /// Bytes written to segments on the commit path, headers and padding included.
    pub written_bytes: u64,
    /// `fdatasync` calls on the commit path.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// Those that took longer than [`Options::slow_sync`](crate::Options::slow_sync).
    pub slow_syncs: u64,
    /// Disk calls seen to hang for [`Options::slow_sync`](crate::Options::slow_sync) or longer, on the commit path or
    /// off it. Counted by another thread while they hang.
    pub stalls: u64,
    /// Those that have returned.
    pub stalls_ended: u64,
    /// Number of switches to another segment.
    pub rotations: u64,
    /// Times a submit had to wait because the next segment was not ready.
    pub segment_waits: u64,
    /// Times a submit had to wait because too much was staged.
    pub space_waits: u64,
    /// Segment files prepared, including recycled ones and those made from the reserve.
    pub segments_prepared: u64,
    /// Segment files prepared from a released one.
    pub segments_recycled: u64,
    /// Segment files removed.
    pub segments_removed: u64,
    /// Footers written.
    pub segments_sealed: u64,
    /// 1 after a write or sync of the commit path failed: nothing is acknowledged any more.
    pub poisonings: u64,
    /// Failures off the commit path (footer, superblock, spare segment). They put nothing acknowledged at risk.
    pub background_errors: u64,
    /// Segments released because they are no longer needed ([`Wal::release`](crate::Wal::release)).
    pub segments_released: u64,
    /// 1 if this open found a log that was not closed cleanly.
    pub recoveries: u64,
    /// Pieces of an unproven tail that this open cut off; see [`Wal::recovery`](crate::Wal::recovery).
    pub cuts: u64,
    /// The bytes of those pieces.
    pub cut_bytes: u64,
    /// Bytes written for each block, header and padding included; marker blocks not counted.
    pub block_bytes: Histogram,
    /// Records in each block; marker blocks not counted.
    pub block_records: Histogram,
    /// Duration of each block's `write` in nanoseconds, marker blocks included.
    pub write_times: Histogram,
    /// Duration of each `fdatasync` on the commit path in nanoseconds.
    pub sync_times: Histogram,
    /// Time of each block from staging its first batch to the end of its sync, in nanoseconds; marker blocks not
    /// counted. It is the longest that anyone waited for the block.
    pub commit_times: Histogram,
    /// Age of the oldest disk call under way; zero if there is none.
    pub longest_call: Duration,
    /// Bytes submitted and not yet written.
    pub staged_bytes: u64,
    /// Segments that are part of the log.
    pub segments: u64,
    /// Total size of their files in bytes.
    pub disk_bytes: u64,
    /// Bytes of the log's other files: released ones, the segment that is ready, and files that could not be removed
    /// yet. Together with `disk_bytes`, `reserve_bytes` and the 8 KiB of the superblock, these are all files of the
    /// log.
    pub spare_bytes: u64,
    /// Bytes reserved for operations that free space on a full disk.
    pub reserve_bytes: u64,
    /// Segments read by `pread` because the system refused to map them, although
    /// [`Options::mmap`](crate::Options::mmap) asks for it.
    pub without_mapping: u64,
    /// Released files waiting for reuse, in addition to the one that is always ready.
    pub spare_segments: u64,
}

impl Counters {
    /// A block became durable.
    pub(crate) fn flushed(&self, block: &Flushed) {
        self.written_bytes.add(block.bytes);
        self.sync_nanos.add(nanos(block.sync));
        self.syncs.add(1);
        self.write_times.record_time(block.write);
        self.sync_times.record_time(block.sync);
        if block.records == 0 {
            self.markers.add(1);
            return;
        }
        self.blocks.add(1);
        self.block_bytes.record(block.bytes);
        self.block_records.record(u64::from(block.records));
        self.commit_times.record_time(block.commit);
    }

    /// The log was opened.
    pub(crate) fn opened(&self, found: &Recovery) {
        self.recoveries.add(u64::from(!found.created && !found.clean));
        self.cuts.add(found.cut.len() as u64);
        self.cut_bytes.add(found.cut.iter().map(|cut| cut.bytes).sum());
    }

    pub(crate) fn read(&self) -> Stats {
        Stats {
            records: self.records.get(),
            batches: self.batches.get(),
            batch_bytes: self.payload_bytes.get(),
            blocks: self.blocks.get(),
            markers: self.markers.get(),
            written_bytes: self.written_bytes.get(),
            syncs: self.syncs.get(),
            sync_time: Duration::from_nanos(self.sync_nanos.get()),
            slow_syncs: self.slow_syncs.get(),
            stalls: self.stalls.get(),
            stalls_ended: self.stalls_ended.get(),
            poisonings: self.poisonings.get(),
            rotations: self.rotations.get(),
            segment_waits: self.segment_waits.get(),
            space_waits: self.space_waits.get(),
            segments_prepared: self.segments_prepared.get(),
            segments_recycled: self.segments_recycled.get(),
            segments_removed: self.segments_removed.get(),
            segments_sealed: self.segments_sealed.get(),
            background_errors: self.background_errors.get(),
            segments_released: self.segments_released.get(),
            recoveries: self.recoveries.get(),
            cuts: self.cuts.get(),
            cut_bytes: self.cut_bytes.get(),
            block_bytes: self.block_bytes.values.read(),
            block_records: self.block_records.values.read(),
            write_times: self.write_times.values.read(),
            sync_times: self.sync_times.values.read(),
            commit_times: self.commit_times.values.read(),
            longest_call: Duration::ZERO,
            staged_bytes: 0,
            segments: 0,
            disk_bytes: 0,
            spare_bytes: 0,
            reserve_bytes: 0,
            without_mapping: 0,
            spare_segments: 0,
        }
    }
}
