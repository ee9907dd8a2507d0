//! Options for opening a log.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{Codec, Decoder, Encoder};
use crate::error::{Error, Result};
use crate::format::block::BLOCK_HEADER;
use crate::format::record::LABELLED_HEADER;
use crate::format::{DATA_START, PAGE, align_up};
use crate::observe::{Observed, Observer};
use crate::size::{in_header, in_memory};

/// What `open` does in the one case that no evidence decides: the newest block is damaged, and nothing written after
/// it says whether it was durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TailPolicy {
    /// Treat it as a write that the crash interrupted: cut it off and report it. A device that keeps its promise
    /// damages nothing after acknowledging it, so what is cut was never acknowledged.
    #[default]
    Truncate,
    /// Refuse to open.
    Refuse,
}

/// The settings of a log. They are checked when it is opened.
#[derive(Clone)]
pub struct Options {
    segment_size: u64,
    block_align: u32,
    max_record_size: Option<u32>,
    max_staged: u64,
    spare_segments: usize,
    tail_policy: TailPolicy,
    idle_marker: Duration,
    mmap: bool,
    owner: Option<u64>,
    create: bool,
    slow_sync: Duration,
    threads: bool,
    observed: Observed,
    codec: Option<Arc<dyn Codec>>,
    /// In addition to `codec`.
    decoders: Vec<Arc<dyn Codec>>,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("segment_size", &self.segment_size)
            .field("block_align", &self.block_align)
            .field("max_record_size", &self.max_record_size)
            .field("max_staged", &self.max_staged)
            .field("spare_segments", &self.spare_segments)
            .field("tail_policy", &self.tail_policy)
            .field("idle_marker", &self.idle_marker)
            .field("mmap", &self.mmap)
            .field("owner", &self.owner)
            .field("create", &self.create)
            .field("slow_sync", &self.slow_sync)
            .field("observed", &self.observed)
            .field("codec", &self.codec.as_ref().map(|codec| codec.id()))
            .finish()
    }
}

/// The sizes that a segment can have, in bytes.
const SEGMENT_SIZES: RangeInclusive<u64> = (16 << 10)..=(4 << 30);

/// What blocks begin at multiples of, by default.
const BLOCK_ALIGN: u32 = 4096;

impl Options {
    /// The defaults: 64 MiB segments, blocks at multiples of 4096, records up to 16 MiB.
    #[must_use]
    pub const fn new() -> Self {
        Options {
            segment_size: 64 << 20,
            block_align: BLOCK_ALIGN,
            max_record_size: None,
            max_staged: 16 << 20,
            spare_segments: 2,
            tail_policy: TailPolicy::Truncate,
            idle_marker: Duration::from_millis(5),
            mmap: true,
            owner: None,
            create: true,
            slow_sync: Duration::from_millis(500),
            threads: true,
            observed: Observed::by_nobody(),
            codec: None,
            decoders: Vec::new(),
        }
    }

    /// Size of a segment file in bytes, without the footer; 16 KiB to 4 GiB. Existing segments keep their size. A
    /// record larger than a segment cannot be rewritten ([`Error::BatchTooLarge`]) until the log is opened with
    /// larger segments again.
    #[must_use]
    pub const fn segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes;
        self
    }

    /// Alignment of blocks in bytes: a power of two from 8 to 4096. At the default, 4096, a sector that holds
    /// acknowledged bytes is never rewritten, so nothing depends on the device preserving them during a write. Below
    /// the device's sector size it does depend on that, in exchange for less space when commits are small and rare.
    #[must_use]
    pub const fn block_align(mut self, bytes: u32) -> Self {
        self.block_align = bytes;
        self
    }

    /// Maximum payload size in bytes; by default 16 MiB, or what fits into a segment. Records already in the log may
    /// be larger.
    #[must_use]
    pub const fn max_record_size(mut self, bytes: u32) -> Self {
        self.max_record_size = Some(bytes);
        self
    }

    /// Maximum number of bytes submitted and not yet written; beyond it, `submit` waits. A single batch may be
    /// larger.
    #[must_use]
    pub const fn max_staged_bytes(mut self, bytes: u64) -> Self {
        self.max_staged = bytes;
        self
    }

    /// Number of released segment files kept for reuse, in addition to the one that is always ready.
    #[must_use]
    pub const fn spare_segments(mut self, files: usize) -> Self {
        self.spare_segments = files;
        self
    }

    /// What to do with a damaged newest block when nothing says whether it was durable.
    #[must_use]
    pub const fn tail_policy(mut self, policy: TailPolicy) -> Self {
        self.tail_policy = policy;
        self
    }

    /// Idle time after which a marker block is written that proves the last commit durable.
    #[must_use]
    pub const fn idle_marker(mut self, after: Duration) -> Self {
        self.idle_marker = after;
        self
    }

    /// Whether records are read through a memory mapping (the default) or by `pread`. If the device fails while a
    /// mapped page is read, the process dies of `SIGBUS`; with `pread` it is an error.
    #[must_use]
    pub const fn mmap(mut self, yes: bool) -> Self {
        self.mmap = yes;
        self
    }

    /// What was given to [`Options::owner`].
    #[must_use]
    pub fn expected_owner(&self) -> Option<u64> {
        self.owner
    }

    /// Pins the directory to an owner, or checks that it is pinned to this one.
    #[must_use]
    pub const fn owner(mut self, owner: u64) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Whether to create a log if the directory holds none (the default).
    #[must_use]
    pub const fn create_if_missing(mut self, yes: bool) -> Self {
        self.create = yes;
        self
    }

    /// Threshold at which an `fdatasync` counts as slow and is reported as an event. A disk call that has not
    /// returned after this time is reported while it hangs ([`Observer::stalled`]) and makes the log busy
    /// ([`Wal::health`](crate::Wal::health)), but never before 5 ms. 500 ms by default.
    #[must_use]
    pub const fn slow_sync(mut self, from: Duration) -> Self {
        self.slow_sync = from;
        self
    }

    /// Sets an observer.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observed = Observed::by(observer);
        self
    }

    /// Sets the codec, for compression (`Lz4`, with the feature `lz4`) or encryption. Payloads of new records pass
    /// through it on their way into the log, and those it encoded on their way back. Each payload is encoded
    /// separately. Labels, lengths, empty payloads, summaries in footers, and files beside the log are stored as they
    /// are.
    ///
    /// A layer above may keep some of its data in those: see its documentation before relying on a codec for
    /// secrecy.
    ///
    /// Batches for the log are made by [`Wal::batch`](crate::Wal::batch), on the caller's thread as always. Records
    /// in the log stay as they are stored, whichever codec is set. Records that a layer above relocates are decoded
    /// and encoded again by the present codec. So a log moves gradually from one codec to another, or to none, as
    /// long as the earlier one is passed to [`Options::decode_with`]. Exception: a record that would then no longer
    /// fit into a segment, or that exceeds a lowered limit, is relocated as it is stored.
    ///
    /// [`Options::max_record_size`] limits the payload before encoding. If the codec makes it longer, the encoded
    /// record must still fit into a segment; otherwise it is [`Error::BatchTooLarge`].
    ///
    /// An encoded record longer than both [`Options::max_record_size`] and 16 MiB is not decoded.
    #[must_use]
    pub fn codec(mut self, codec: Arc<dyn Codec>) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Adds a codec that earlier records were encoded with. New records do not pass through it.
    #[must_use]
    pub fn decode_with(mut self, codec: Arc<dyn Codec>) -> Self {
        self.decoders.push(codec);
        self
    }

    /// Whether the log has threads of its own (the default). Without them, the calling threads do the work: the next
    /// segment is made when it is needed, and a submitted batch is flushed when a caller waits for it or for a later
    /// one. With a single calling thread everything then happens in one fixed order, as a simulation needs.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub const fn threads(mut self, yes: bool) -> Self {
        self.threads = yes;
        self
    }

    /// Whether the log has threads of its own. Only simulations turn this off.
    #[must_use]
    pub const fn has_threads(&self) -> bool {
        self.threads
    }

    /// For continuing a log as it is: segments of this size and alignment, no limit on records beyond what fits, no
    /// mapping, and never a new log.
    pub(crate) fn as_found(&self, segment_size: u64, block_align: Option<u32>) -> Self {
        Options {
            segment_size: segment_size.clamp(*SEGMENT_SIZES.start(), *SEGMENT_SIZES.end()),
            block_align: block_align.unwrap_or(BLOCK_ALIGN),
            max_record_size: None,
            mmap: false,
            create: false,
            ..self.clone()
        }
    }

    /// All codecs that records may have been encoded with.
    pub(crate) fn codecs(&self) -> impl Iterator<Item = &Arc<dyn Codec>> {
        self.codec.iter().chain(&self.decoders)
    }

    pub(crate) fn check(&self) -> Result<Checked> {
        let refuse = |what: String| Err(Error::InvalidOptions { what });
        if !self.block_align.is_power_of_two() || !(8..=4096).contains(&self.block_align) {
            return refuse(format!(
                "block_align is {}, but must be a power of two from 8 to 4096",
                self.block_align
            ));
        }
        if !SEGMENT_SIZES.contains(&self.segment_size) {
            return refuse(format!(
                "segment_size is {}, but must be from 16 KiB to 4 GiB",
                self.segment_size
            ));
        }
        let align = u64::from(self.block_align);
        let capacity = (self.segment_size - DATA_START) & !(align - 1);
        // A block's length is a u32; one record fills at most a block.
        let max_body = (capacity - BLOCK_HEADER as u64).min(u64::from(u32::MAX) & !7);
        let fits = in_header(in_memory((max_body - LABELLED_HEADER as u64) & !7));
        let max_record = match self.max_record_size {
            None => fits.min(16 << 20),
            Some(max) if max <= fits => max,
            Some(max) => {
                return refuse(format!(
                    "max_record_size is {max}, but a segment of {} bytes has room for {fits}: lower it, or raise segment_size",
                    self.segment_size
                ));
            }
        };
        Ok(Checked {
            capacity,
            block_align: self.block_align,
            max_record,
            max_body,
            max_staged: self.max_staged.max(align_up(1, align)),
            spare_segments: self.spare_segments,
            tail_policy: self.tail_policy,
            idle_marker: self.idle_marker,
            mmap: self.mmap,
            owner: self.owner,
            create: self.create,
            slow_sync: self.slow_sync,
            threads: self.threads,
            observed: self.observed.clone(),
            encoder: Encoder::new(self.codec.clone()),
            decoder: self.decoder(max_record)?,
            reserve: DATA_START
                + capacity.min(align_up(self.max_staged.max(MIN_RESERVE_BYTES) + PAGE as u64, align)),
        })
    }

    fn decoder(&self, max_record: u32) -> Result<Decoder> {
        let mut decoder = Decoder::new((max_record as usize).max(MOST_DECODED));
        for codec in self.codec.iter().chain(&self.decoders) {
            if !decoder.add(Arc::clone(codec)) {
                let what = format!("two codecs have the number {}", codec.id());
                return Err(Error::InvalidOptions { what });
            }
        }
        Ok(decoder)
    }
}

/// Limit for decoded payloads, unless the longest record is longer. It also holds for records from before the limit
/// was lowered.
pub(crate) const MOST_DECODED: usize = 16 << 20;

/// A commit that frees space takes a block; this is enough for a few hundred of them.
const MIN_RESERVE_BYTES: u64 = 1 << 20;

/// Options that passed the checks.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// Bytes for blocks in a new segment.
    pub(crate) capacity: u64,
    pub(crate) block_align: u32,
    /// Maximum payload size.
    pub(crate) max_record: u32,
    /// Maximum body size of a block.
    pub(crate) max_body: u64,
    pub(crate) max_staged: u64,
    pub(crate) spare_segments: usize,
    pub(crate) tail_policy: TailPolicy,
    pub(crate) idle_marker: Duration,
    pub(crate) mmap: bool,
    pub(crate) owner: Option<u64>,
    pub(crate) create: bool,
    pub(crate) slow_sync: Duration,
    /// Whether the log may start threads.
    pub(crate) threads: bool,
    pub(crate) observed: Observed,
    pub(crate) encoder: Encoder,
    pub(crate) decoder: Decoder,
    /// Size of the reserve's file: room for the largest block that is staged, but at most a segment.
    pub(crate) reserve: u64,
}
