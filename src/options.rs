//! How a log is opened.

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

/// What `open` does with the one case that no evidence decides: the newest block is damaged, and nothing that was
/// written after it says whether it was durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TailPolicy {
    /// Take it for a write that the crash interrupted, cut it off, and report it. A device that keeps its promise
    /// damages nothing after acknowledging it, so what is cut was never acknowledged.
    #[default]
    Truncate,
    /// Refuse to open.
    Refuse,
}

/// The settings of a log that are checked when it is opened.
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
    /// Besides `codec`.
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

    /// The size of a segment file in bytes, footer not counted; 16 KiB to 4 GiB. Existing segments keep theirs. In a Raft
    /// log an entry that is larger than a segment of this size cannot be relocated: [`Error::BatchTooLarge`], until the log
    /// is opened with larger ones again.
    #[must_use]
    pub const fn segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes;
        self
    }

    /// What blocks begin at multiples of, in bytes: a power of two from 8 to 4096. At the default, 4096, no sector that
    /// holds acknowledged bytes is ever written again, so nothing rests on the device keeping them while it does.
    /// Below the device's sector size it does rest on that; what it saves is space when commits are small and rare.
    #[must_use]
    pub const fn block_align(mut self, bytes: u32) -> Self {
        self.block_align = bytes;
        self
    }

    /// The largest payload in bytes; by default 16 MiB, or what fits into a segment. What is in the log already may be
    /// larger.
    #[must_use]
    pub const fn max_record_size(mut self, bytes: u32) -> Self {
        self.max_record_size = Some(bytes);
        self
    }

    /// How many bytes may be submitted and not yet written before `submit` waits. A single batch may be larger.
    #[must_use]
    pub const fn max_staged_bytes(mut self, bytes: u64) -> Self {
        self.max_staged = bytes;
        self
    }

    /// How many released segment files are kept for use again, beside the one that is always made ready.
    #[must_use]
    pub const fn spare_segments(mut self, files: usize) -> Self {
        self.spare_segments = files;
        self
    }

    /// What to do with a damaged newest block of which nothing says whether it was durable.
    #[must_use]
    pub const fn tail_policy(mut self, policy: TailPolicy) -> Self {
        self.tail_policy = policy;
        self
    }

    /// How long the log must be idle before a marker block is written that proves its last commit durable.
    #[must_use]
    pub const fn idle_marker(mut self, after: Duration) -> Self {
        self.idle_marker = after;
        self
    }

    /// Whether records are read through a memory mapping (the default) or by `pread`. A device that fails while a mapped
    /// page is read ends the process with `SIGBUS`; with `pread` it is an error.
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

    /// Whether a log is made when the directory holds none (the default).
    #[must_use]
    pub const fn create_if_missing(mut self, yes: bool) -> Self {
        self.create = yes;
        self
    }

    /// From which duration on an `fdatasync` is counted as slow, and reported as an event; and from which duration on any
    /// call to the disk that has not returned is reported while it hangs ([`Observer::stalled`]) and makes the log busy
    /// ([`Wal::health`](crate::Wal::health)), though that not before 5 ms. 500 ms by default.
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

    /// What payloads of new records go through on their way into the log, and those that it encoded on their way back:
    /// compression (`Lz4`, with the feature `lz4`) or encryption. Only the payload of a record, each by itself: labels,
    /// lengths, payloads of no bytes, summaries in footers, and files beside the log are as they are.
    ///
    /// In the Raft layer entries' data and contexts go through it and are nowhere else. As they are: group, index, term and
    /// kind of each record; term, vote, commit, applied index and members of each group, which the footers repeat; and
    /// **the files of snapshots**.
    ///
    /// Batches for the log are made by [`Wal::batch`](crate::Wal::batch), by the caller's thread as ever. Records that are
    /// in the log stay as they are stored, whichever codec is given; those that the Raft layer relocates are decoded, and
    /// encoded by the present one. So a log changes from one codec to another, or to none, by and by, as long as the
    /// earlier one is given to [`Options::decode_with`]. The exception is a record that would not fit into a segment then, or
    /// is over a limit that was lowered: it is relocated as it is stored.
    ///
    /// [`Options::max_record_size`] is on what is given. A codec that makes it longer needs a segment with room for that: a
    /// record that does not fit is [`Error::BatchTooLarge`].
    ///
    /// A record that was encoded and is longer than [`Options::max_record_size`], and than 16 MiB, is not decoded.
    #[must_use]
    pub fn codec(mut self, codec: Arc<dyn Codec>) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Another codec that records in the log were encoded by. New ones do not go through it.
    #[must_use]
    pub fn decode_with(mut self, codec: Arc<dyn Codec>) -> Self {
        self.decoders.push(codec);
        self
    }

    /// Whether the log has threads of its own (the default). Without, what they do is done by the calling threads: the
    /// next segment is made when it is needed, and a submitted batch is flushed when somebody waits for it or for a later
    /// one. With one calling thread everything then happens in one order, which is what a simulation needs.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub const fn threads(mut self, yes: bool) -> Self {
        self.threads = yes;
        self
    }

    /// Whether the log has threads of its own. Only a simulation does without.
    #[must_use]
    pub const fn has_threads(&self) -> bool {
        self.threads
    }

    /// For a log as it is: segments of this size, or the nearest that can be, and of this alignment; no limit on records but
    /// what fits; read without a mapping; and never a new log.
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

    /// All codecs that records may have gone through.
    pub(crate) fn codecs(&self) -> impl Iterator<Item = &Arc<dyn Codec>> {
        self.codec.iter().chain(&self.decoders)
    }

    pub(crate) fn check(&self) -> Result<Checked> {
        let refuse = |what: String| Err(Error::InvalidOptions { what });
        if !self.block_align.is_power_of_two() || !(8..=4096).contains(&self.block_align) {
            return refuse(format!(
                "block_align is {}: a power of two from 8 to 4096 is needed",
                self.block_align
            ));
        }
        if !SEGMENT_SIZES.contains(&self.segment_size) {
            return refuse(format!("segment_size is {}: 16 KiB to 4 GiB is needed", self.segment_size));
        }
        let align = u64::from(self.block_align);
        let capacity = (self.segment_size - DATA_START) & !(align - 1);
        // A block's length is a u32; one record fills a block at most.
        let max_body = (capacity - BLOCK_HEADER as u64).min(u64::from(u32::MAX) & !7);
        let fits = in_header(in_memory((max_body - LABELLED_HEADER as u64) & !7));
        let max_record = match self.max_record_size {
            None => fits.min(16 << 20),
            Some(max) if max <= fits => max,
            Some(max) => {
                return refuse(format!(
                    "max_record_size is {max}, a segment of {} bytes has room for {fits}: make it smaller, or segment_size larger",
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

/// What is decoded is no longer than this, or than the longest record; also a record from before the limit was lowered.
pub(crate) const MOST_DECODED: usize = 16 << 20;

/// A commit that frees room takes a block; this is enough for a few hundred of them.
const MIN_RESERVE_BYTES: u64 = 1 << 20;

/// Options that can work.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// Bytes of blocks that a new segment has room for.
    pub(crate) capacity: u64,
    pub(crate) block_align: u32,
    /// The largest payload.
    pub(crate) max_record: u32,
    /// The largest body of a block.
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
    /// The size of the reserve's file: room for the largest block that is staged, and no more than a segment.
    pub(crate) reserve: u64,
}
