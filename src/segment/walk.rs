//! Walks through an ended segment record by record, for readers and for the summaries of a higher layer.

use std::ops::Range;
use std::sync::Arc;

use super::{Record, RecordHead, Salvage, Segment, StoredRecord, Summary};
use crate::codec::Decoder;
use crate::error::Result;
use crate::format::block::BLOCK_HEADER;
use crate::lsn::{Lsn, SegmentId};

/// A segment that is no longer appended to.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    segment: Arc<Segment>,
    end: Lsn,
    pub(crate) decoder: Decoder,
}

/// Makes the summaries stored in footers. See [`Summary`].
pub trait Summarizer: Send + Sync + 'static {
    /// The summary of a segment. Called by a background thread after the last append to the segment, when all of it
    /// is durable; also after a crash, if a footer is missing.
    ///
    /// # Errors
    /// The segment is then left without a footer and read whole at the next open.
    fn summarize(&self, segment: &SegmentReader) -> Result<Summary>;

    /// The footer of `segment` is durable; `summary.body` is the mapping.
    fn sealed(&self, segment: SegmentId, summary: &Summary);
}

impl SegmentReader {
    /// The segment up to `end`.
    pub(crate) fn new(segment: Arc<Segment>, end: Lsn, decoder: Decoder) -> Self {
        assert!(segment.first_lsn() <= end, "a segment that begins at {} ends at {end}", segment.first_lsn());
        SegmentReader { segment, end, decoder }
    }

    /// The segment's number.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.segment.id()
    }

    /// The address of its first byte.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        self.segment.first_lsn()
    }

    /// The address after its last block.
    #[must_use]
    pub fn end_lsn(&self) -> Lsn {
        self.end
    }

    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> &str {
        &self.segment.name
    }

    /// Path of its file, for messages.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.segment.path
    }

    /// Bytes of the file in use: without the footer and without space that was prepared but not used.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.segment.offset(self.end)
    }

    /// Bytes of blocks that its file was made for.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.segment.generation.capacity
    }

    /// Alignment of its blocks in bytes.
    #[must_use]
    pub fn block_align(&self) -> u32 {
        self.segment.generation.block_align
    }

    /// The summary in its footer; `None` if it had no footer when the log was opened, or one with any byte that does
    /// not verify. It describes what the segment held even where that can no longer be read.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        self.segment.footer().filter(|f| f.is_whole()).map(|f| f.summary.clone())
    }

    /// The headers of all records, oldest first; payloads are neither read nor verified.
    #[must_use]
    pub fn heads(&self) -> Heads<'_> {
        Heads { blocks: Blocks::new(&self.segment, self.segment.first_lsn(), self.end), in_block: None }
    }

    /// Like [`SegmentReader::heads`], starting with the block at this address.
    #[must_use]
    pub fn heads_from(&self, block: Lsn) -> Heads<'_> {
        Heads { blocks: Blocks::new(&self.segment, block.max(self.first_lsn()), self.end), in_block: None }
    }

    /// Like [`SegmentReader::heads`], in the blocks of one of the [`pieces`](SegmentReader::pieces).
    #[must_use]
    pub fn heads_within(&self, blocks: &Range<Lsn>) -> Heads<'_> {
        Heads {
            blocks: Blocks::new(&self.segment, blocks.start.max(self.first_lsn()), blocks.end.min(self.end)),
            in_block: None,
        }
    }

    /// Splits the segment into at most `most` pieces of whole blocks, in order, each but the last of at least `least`
    /// bytes. Only block headers are read.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) when a block header does not verify.
    pub fn pieces(&self, most: usize, least: u64) -> Result<Vec<Range<Lsn>>> {
        let (first, end) = (self.first_lsn(), self.end);
        let span = end.since(first);
        let per = span.div_ceil(most.max(1) as u64).max(least);
        let mut pieces = Vec::new();
        let (mut start, mut blocks) = (first, Blocks::new(&self.segment, first, end));
        while per < span && blocks.position() < end {
            let at = blocks.position();
            if at.distance_from(start).is_some_and(|len| len >= per) {
                pieces.push(start..at);
                start = at;
            }
            if let Some(Err(e)) = blocks.next() {
                return Err(e);
            }
        }
        pieces.push(start..end);
        Ok(pieces)
    }

    /// Like [`SegmentReader::heads`], but skips damage: each stretch that does not verify yields one error, followed
    /// by the next valid block.
    #[must_use]
    pub fn salvage(&self) -> Salvage<'_> {
        Salvage::new(&self.segment, self.end)
    }

    /// A record of this segment, verified.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) when none starts there, [`Error::Corruption`](crate::Error::Corruption)
    /// when it does not verify, [`Error::UnknownCodec`](crate::Error::UnknownCodec) and
    /// [`Error::Undecodable`](crate::Error::Undecodable) when it cannot be decoded, [`Error::Io`](crate::Error::Io).
    pub fn read(&self, lsn: Lsn) -> Result<Record> {
        self.segment.read_record(lsn, self.end, &self.decoder)
    }

    /// Like [`SegmentReader::read`], but not decoded.
    ///
    /// # Errors
    /// As [`SegmentReader::read`], except for decoding.
    pub fn read_stored(&self, lsn: Lsn) -> Result<StoredRecord> {
        self.segment.read_stored(lsn, self.end)
    }

    /// The header of a record of this segment; its payload is neither read nor verified.
    ///
    /// # Errors
    /// As [`SegmentReader::read`], except for the payload.
    pub fn head(&self, lsn: Lsn) -> Result<RecordHead> {
        self.segment.read_head(lsn, self.end).map(|(head, _)| head)
    }

    /// The numbers of blocks and records; block headers are verified, records are not examined.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) when a block header does not verify.
    pub fn count(&self) -> Result<(u64, u64)> {
        let mut total = (0, 0);
        for block in Blocks::new(&self.segment, self.segment.first_lsn(), self.end) {
            total = (total.0 + 1, total.1 + u64::from(block?.records));
        }
        Ok(total)
    }
}

/// The position of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockSpan {
    /// The address of its first record.
    pub(crate) start: Lsn,
    /// The address after its last record.
    pub(crate) end: Lsn,
    /// Number of its records.
    pub(crate) records: u32,
}

/// The blocks of a segment, starting with a given one.
#[derive(Debug)]
pub(crate) struct Blocks<'a> {
    segment: &'a Segment,
    at: Lsn,
    limit: Lsn,
}

impl<'a> Blocks<'a> {
    /// The blocks from the one at `at` up to `limit`.
    pub(crate) fn new(segment: &'a Segment, at: Lsn, limit: Lsn) -> Self {
        Blocks { segment, at, limit }
    }

    /// The address of the next block.
    pub(crate) fn position(&self) -> Lsn {
        self.at
    }
}

impl Iterator for Blocks<'_> {
    type Item = Result<BlockSpan>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.limit {
            return None;
        }
        match self.segment.read_block_header(self.at, self.limit) {
            Ok(header) => {
                let start = self.at.plus(BLOCK_HEADER as u64);
                self.at = self.at.plus(header.padded_len(self.segment.generation.block_align));
                Some(Ok(BlockSpan {
                    start,
                    end: start.plus(u64::from(header.body_len)),
                    records: header.records,
                }))
            }
            Err(e) => {
                self.at = self.limit;
                Some(Err(e))
            }
        }
    }
}

/// The headers of a segment's records. See [`SegmentReader::heads`].
#[derive(Debug)]
pub struct Heads<'a> {
    blocks: Blocks<'a>,
    in_block: Option<(Lsn, Lsn)>,
}

impl Iterator for Heads<'_> {
    type Item = Result<RecordHead>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((at, end)) = self.in_block.take().filter(|(at, end)| at < end) {
                return Some(self.blocks.segment.read_head(at, end).map(|(head, next)| {
                    self.in_block = Some((next, end));
                    head
                }));
            }
            match self.blocks.next()? {
                Ok(span) => self.in_block = Some((span.start, span.end)),
                Err(e) => return Some(Err(e)),
            }
        }
    }
}
