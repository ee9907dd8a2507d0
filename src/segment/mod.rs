//! Segment files: the one being written, the sealed ones, and the next one that is ready.
//!
//! ```text
//!            prepare                first block            rotation           footer
//! (nothing) --------> ready, empty -------------> active ------------> ended ---------> sealed --> removed
//!      ^                                                                                   |
//!      +------------------------------------ recycled -------------------------------------+
//! ```
//!
//! [`Segment`] is the file and what never changes about it, shared by all readers. The right to write belongs first
//! to [`prepare`], before the file is part of the log; then to the owner of the flush, at rising addresses; then,
//! after the last append, to [`seal`], beyond the end.
//!
//! Everything that reads a record is always inlined, from the header's checksum to the record. Passing results
//! between functions in memory would take a quarter of the time of reading entries.

mod blocks;
mod fill;
mod prepare;
mod progress;
mod reserve;
mod salvage;
mod seal;
mod superblock;
mod supply;
mod walk;

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::codec::{Decoder, Refused};
use crate::error::{Corruption, CorruptionReason, Error, Result};
use crate::format::block::{BLOCK_HEADER, BlockHeader, BlockKind};
use crate::format::footer::Footer;
use crate::format::record::{LABELLED_HEADER, PLAIN_HEADER, RecordHeader};
use crate::format::segment::{Generation, Predecessor};
use crate::format::{DATA_START, Identity, Invalid, crc32};
use crate::io::mapping::{Mapping, UseCount, Watch};
use crate::io::{File, read_full_at};
use crate::lsn::{Label, Lsn, SegmentId};
use crate::mutation::or_fault;
use crate::size::{at_most, in_header, in_memory};
use crate::trace::event;

pub(crate) use blocks::{
    BlockDamage, Sighting, Window, check_block, find_streams, look_around, look_within, records_end,
    room_behind,
};
pub(crate) use prepare::{Plan, Unprepared, prepare, size_of};
pub(crate) use progress::Progress;
pub(crate) use reserve::{RESERVE_FILE, SpacePool, make_reserve};
pub use salvage::Salvage;
pub(crate) use salvage::{good_blocks, last_block_end};
pub(crate) use seal::{SealInput, clear_footer, load_footer, seal};
pub(crate) use superblock::{FoundSuperblock, SuperblockFile};
pub(crate) use supply::Supply;
pub(crate) use walk::Blocks;
pub use walk::{Heads, SegmentReader, Summarizer};

/// The end of the log after the last flushed block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tip {
    /// The segment of that block; `None` before the first block of the log.
    pub(crate) segment: Option<SegmentId>,
    /// The address after it.
    pub(crate) end: Lsn,
    /// Its digest.
    pub(crate) digest: u32,
}

impl Tip {
    /// The tip in the form stored in the next segment's header.
    pub(crate) fn predecessor(&self) -> Option<Predecessor> {
        self.segment.map(|id| Predecessor { id, end: self.end, digest: self.digest })
    }
}

/// One record of the log, verified.
#[derive(Clone, Debug)]
pub struct Record {
    lsn: Lsn,
    label: Option<Label>,
    payload: Bytes,
    stored_len: u32,
}

impl Record {
    /// The record's address.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The record's label, if it was written with one.
    #[must_use]
    pub fn label(&self) -> Option<Label> {
        self.label
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload without a copy. In a mapped log the bytes are part of the mapping and keep it alive, unless a
    /// codec decoded them.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.payload
    }

    /// Bytes that the log stores for the payload: its length, unless a codec encoded it.
    #[must_use]
    pub fn stored_len(&self) -> u32 {
        self.stored_len
    }
}

/// One record of the log as stored: verified, but not decoded.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    pub(crate) lsn: Lsn,
    pub(crate) label: Option<Label>,
    pub(crate) codec: Option<NonZeroU16>,
    pub(crate) bytes: Bytes,
}

impl StoredRecord {
    /// The record's address.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The record's label, if it was written with one.
    #[must_use]
    pub fn label(&self) -> Option<Label> {
        self.label
    }

    /// The codec that encoded the payload; `None` if it is stored unchanged.
    #[must_use]
    pub fn codec(&self) -> Option<NonZeroU16> {
        self.codec
    }

    /// The payload as stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The record with its payload, decoded if necessary. `segment` is the segment that holds it.
    #[inline(always)]
    pub(crate) fn decode(self, segment: &Segment, decoder: &Decoder) -> Result<Record> {
        let stored_len = in_header(self.bytes.len());
        let payload = match self.codec {
            None => self.bytes,
            Some(id) => match decoder.decode(id, &self.bytes) {
                Ok(payload) => payload.into(),
                Err(refused) => return Err(segment.refused(self.lsn, id, refused)),
            },
        };
        Ok(Record { lsn: self.lsn, label: self.label, payload, stored_len })
    }
}

/// A record's header, without the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// The record's address.
    pub lsn: Lsn,
    /// The record's label, if it was written with one.
    pub label: Option<Label>,
    /// The codec that encoded the payload, if any.
    pub codec: Option<NonZeroU16>,
    /// The length of the stored payload in bytes.
    pub payload_len: u32,
}

/// What a higher layer keeps in a segment's footer so that opening the log need not read the segment.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Read and verified when the log is opened.
    pub head: Bytes,
    /// Mapped and used in place. Not verified at open, so each use must be checked against the data it leads to.
    pub body: Bytes,
}

/// A footer read from disk.
#[derive(Clone, Debug)]
pub(crate) struct LoadedFooter {
    pub(crate) footer: Footer,
    pub(crate) summary: Summary,
}

impl LoadedFooter {
    /// Whether the summary is intact and the footer's counts match what the segment was found to hold.
    pub(crate) fn agrees_with(&self, blocks: u64, records: u64) -> bool {
        self.footer.blocks == blocks && self.footer.records == records && self.is_whole()
    }

    /// Whether the part of the summary that is used in place verifies.
    pub(crate) fn is_whole(&self) -> bool {
        crc32(&self.summary.body) == self.footer.body_crc
    }
}

/// A segment's file and its known properties.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) generation: Generation,
    pub(crate) identity: Identity,
    pub(crate) file: Arc<dyn File>,
    pub(crate) name: String,
    /// The file's full path, for messages.
    pub(crate) path: PathBuf,
    /// The space that the file was made from.
    pub(crate) pool: SpacePool,
    map: Option<Mapping>,
    /// Held by this value and by everything mapped from the file, footer included.
    uses: UseCount,
    /// `u64::MAX` until the segment has ended.
    end: AtomicU64,
    /// As of the last change or query by the log.
    file_len: AtomicU64,
    footer: OnceLock<LoadedFooter>,
}

fn tell_unmapped(path: &Path, e: &std::io::Error) {
    event!(
        warn,
        file = path.display().to_string(),
        error = e.to_string(),
        "cannot be mapped; it is read by pread"
    );
}

impl Segment {
    /// A segment over an open file that has at least the two pages. Maps it if `mmap` is set; if mapping fails, it is
    /// read with `pread`.
    pub(crate) fn new(
        generation: Generation,
        file: Arc<dyn File>,
        name: String,
        path: PathBuf,
        mmap: bool,
    ) -> Result<Self> {
        let file_len = file.len().map_err(|e| Error::io("stat", &path, e))?;
        let uses = UseCount::default();
        let mapped = file.as_std().filter(|_| mmap).map(|std| {
            let len = file_len.min(generation.file_len());
            Mapping::new(std, 0, in_memory(len), &uses)
        });
        let map = mapped.and_then(|mapped| mapped.inspect_err(|e| tell_unmapped(&path, e)).ok());
        Ok(Segment {
            file_len: AtomicU64::new(file_len),
            identity: generation.identity(),
            generation,
            file,
            name,
            path,
            pool: SpacePool::Ordinary,
            map,
            uses,
            end: AtomicU64::new(u64::MAX),
            footer: OnceLock::new(),
        })
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.generation.id
    }

    pub(crate) fn first_lsn(&self) -> Lsn {
        self.generation.first_lsn
    }

    /// The end of the address range that the file has space for.
    pub(crate) fn limit(&self) -> Lsn {
        self.generation.first_lsn.plus(self.generation.capacity)
    }

    /// Whether the byte at `lsn` belongs to this segment and not to a later one.
    #[inline]
    pub(crate) fn holds(&self, lsn: Lsn) -> bool {
        // Until the segment has ended nothing lies beyond it; afterwards another segment may begin at its end.
        self.first_lsn() <= lsn && lsn.get() < self.end.load(Ordering::Acquire).min(self.limit().get())
    }

    /// Where the segment ended, if it has.
    pub(crate) fn end(&self) -> Option<Lsn> {
        match self.end.load(Ordering::Acquire) {
            u64::MAX => None,
            end => Some(Lsn::new(end)),
        }
    }

    /// Ends the segment: nothing is appended after this.
    pub(crate) fn set_end(&self, end: Lsn) {
        self.end.store(end.get(), Ordering::Release);
    }

    /// Whether the segment ended without a block. No evidence may then claim that it has one: neither the footer of
    /// the preceding segment nor its name in the superblock.
    pub(crate) fn ended_empty(&self) -> bool {
        self.end() == Some(self.first_lsn())
    }

    pub(crate) fn footer(&self) -> Option<&LoadedFooter> {
        self.footer.get()
    }

    pub(crate) fn set_footer(&self, footer: LoadedFooter) {
        // A second footer of the same segment has the same content, so the first one stays.
        drop(self.footer.set(footer));
    }

    /// Size of the file in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_len.load(Ordering::Relaxed)
    }

    /// Queries the file's size: an operation that changed it may have failed halfway.
    pub(crate) fn note_file_len(&self) {
        if let Ok(len) = self.file.len() {
            self.file_len.store(len, Ordering::Relaxed);
        }
    }

    /// Whether it is read without a mapping although its file could have one.
    pub(crate) fn lacks_mapping(&self) -> bool {
        self.map.is_none() && self.file.as_std().is_some()
    }

    pub(crate) fn watch(&self) -> Watch {
        self.uses.watch()
    }

    /// Offset in the file of the byte at `lsn`. For an address outside the segment, the bytes there will not verify.
    #[inline]
    pub(crate) fn offset(&self, lsn: Lsn) -> u64 {
        DATA_START.saturating_add(lsn.get().saturating_sub(self.generation.first_lsn.get()))
    }

    /// Up to `len` bytes at `lsn`, fewer at the end of the file.
    #[inline]
    fn fetch(&self, lsn: Lsn, len: usize) -> Result<Bytes> {
        let offset = self.offset(lsn);
        let start = in_memory(offset);
        if let Some(map) = &self.map
            && let Some(bytes) = map.slice(start, start.saturating_add(len))
        {
            return Ok(bytes);
        }
        self.fetch_from_file(offset, len)
    }

    #[inline(never)]
    fn fetch_from_file(&self, offset: u64, len: usize) -> Result<Bytes> {
        let file_len = self.file.len().map_err(|e| Error::io("stat", &self.path, e))?;
        let have = at_most(len, file_len.saturating_sub(offset));
        let mut buf = vec![0; have];
        let got =
            read_full_at(&*self.file, &mut buf, offset).map_err(|e| Error::io("read", &self.path, e))?;
        buf.truncate(got);
        Ok(buf.into())
    }

    /// Hints that a record at `lsn` will be read soon. Fetches its header and the beginning of its payload; the
    /// processor prefetches the rest.
    #[inline]
    pub(crate) fn prefetch(&self, lsn: Lsn) {
        const BEGINNING: usize = 320;
        if let Some(map) = &self.map {
            let start = in_memory(self.offset(lsn));
            map.prefetch(start, start.saturating_add(BEGINNING));
        }
    }

    /// The header of the record at `lsn`; the record must end at or below `limit`.
    #[inline(always)]
    fn record_header(&self, lsn: Lsn, limit: Lsn) -> Result<std::result::Result<RecordHeader, Invalid>> {
        // Nothing is read beyond the limit.
        let len = at_most(LABELLED_HEADER, limit.distance_from(lsn).unwrap_or(0));
        let start = in_memory(self.offset(lsn));
        if let Some(map) = &self.map
            && let Some(bytes) = map.get(start, start.saturating_add(len))
        {
            return Ok(RecordHeader::decode(bytes, &self.identity, lsn));
        }
        let bytes = self.fetch(lsn, len)?;
        Ok(RecordHeader::decode(&bytes, &self.identity, lsn))
    }

    /// The record at `lsn`, which must end at or below `limit`.
    #[inline(always)]
    pub(crate) fn read_record(&self, lsn: Lsn, limit: Lsn, decoder: &Decoder) -> Result<Record> {
        self.read_stored(lsn, limit)?.decode(self, decoder)
    }

    /// Like [`Segment::read_record`], but not decoded.
    #[inline(always)]
    pub(crate) fn read_stored(&self, lsn: Lsn, limit: Lsn) -> Result<StoredRecord> {
        match self.record_header(lsn, limit)? {
            Ok(header) => self.read_payload(lsn, limit, &header),
            Err(_) => Err(self.explain(lsn, limit)),
        }
    }

    /// Only the header of the record at `lsn`.
    pub(crate) fn read_head(&self, lsn: Lsn, limit: Lsn) -> Result<(RecordHead, Lsn)> {
        match self.record_header(lsn, limit)? {
            Ok(h) => {
                let head = RecordHead { lsn, label: h.label, codec: h.codec, payload_len: h.payload_len };
                Ok((head, lsn.plus(h.padded_len())))
            }
            Err(_) => Err(self.explain(lsn, limit)),
        }
    }

    #[inline(always)]
    fn read_payload(&self, lsn: Lsn, limit: Lsn, header: &RecordHeader) -> Result<StoredRecord> {
        let start = lsn.plus(header.header_len() as u64);
        let len = header.payload_len as usize;
        if start.plus(len as u64) > limit {
            return Err(self
                .damage(lsn, lsn.plus(header.padded_len()), CorruptionReason::RecordHeader)
                .into());
        }
        let payload = self.fetch(start, len)?;
        if payload.len() != len || or_fault!(crc32(&payload) != header.payload_crc, Payload => false) {
            let hit = header.label.map(blocks::stream_of).into_iter().collect();
            let end = lsn.plus(header.padded_len());
            return Err(self.damage(start, end, CorruptionReason::Payload).hitting(hit).into());
        }
        Ok(StoredRecord { lsn, label: header.label, codec: header.codec, bytes: payload })
    }

    /// The header of the block at `lsn`, below `limit`.
    pub(crate) fn read_block_header(&self, lsn: Lsn, limit: Lsn) -> Result<BlockHeader> {
        let bytes = self.fetch(lsn, BLOCK_HEADER)?;
        let header = bytes
            .first_chunk::<BLOCK_HEADER>()
            .ok_or(Invalid::Checksum)
            .and_then(|b| BlockHeader::decode(b, &self.identity, lsn));
        match header {
            Ok(h) if lsn.plus(h.padded_len(self.generation.block_align)) <= limit => Ok(h),
            _ => Err(self.damage(lsn, limit, CorruptionReason::BlockHeader).into()),
        }
    }

    pub(crate) fn damage(&self, from: Lsn, to: Lsn, reason: CorruptionReason) -> Corruption {
        Corruption::new(&self.path, self.offset(from), from..to, reason)
    }

    /// The error for a payload that was not decoded.
    #[cold]
    fn refused(&self, lsn: Lsn, id: NonZeroU16, refused: Refused) -> Error {
        let file = self.path.clone();
        match refused {
            Refused::Unknown => Error::UnknownCodec { file, lsn, id },
            Refused::Failed(source) => Error::Undecodable { file, offset: self.offset(lsn), lsn, id, source },
        }
    }

    /// Why no record verifies at `lsn`: either none starts there, or one does and is damaged. Walks the segment.
    #[cold]
    fn explain(&self, lsn: Lsn, limit: Lsn) -> Error {
        let not_found = || Error::NotFound { lsn, next: limit };
        let mut block = self.first_lsn();
        while block < limit {
            let header = match self.read_block_header(block, limit) {
                Ok(h) => h,
                Err(e) => return e,
            };
            let next = block.plus(header.padded_len(self.generation.block_align));
            if lsn >= next {
                block = next;
                continue;
            }
            if header.kind == BlockKind::Marker {
                return not_found();
            }
            return self.explain_in_block(&header, lsn).unwrap_or_else(not_found);
        }
        not_found()
    }

    fn explain_in_block(&self, block: &BlockHeader, lsn: Lsn) -> Option<Error> {
        let end = block.lsn.plus(BLOCK_HEADER as u64 + u64::from(block.body_len));
        let mut at = block.lsn.plus(BLOCK_HEADER as u64);
        while at <= lsn && at.plus(PLAIN_HEADER as u64) <= end {
            match self.record_header(at, end) {
                Ok(Ok(h)) => at = at.plus(h.padded_len()),
                // After the first header that does not verify, it is unknown where records start.
                Ok(Err(_)) => return Some(self.damage(at, end, CorruptionReason::RecordHeader).into()),
                Err(e) => return Some(e),
            }
        }
        None
    }
}
