//! Examines blocks in a file whose content is not trusted yet, for recovery and verification.
//!
//! Reads go through the file, not the mapping: there a failing device is an error distinct from damage.

use std::ops::Range;

use crate::error::CorruptionReason;
use crate::format::block::{BLOCK_HEADER, BlockHeader};
use crate::format::footer::{FOOTER_HEADER, Footer};
use crate::format::record::{PLAIN_HEADER, RECORD_ALIGN, RecordHeader};
use crate::format::segment::Generation;
use crate::format::{DATA_START, Identity, align_up, crc32, is_zero};
use crate::io::{File, read_full_at};
use crate::lsn::{Label, Lsn, StreamRange};
use crate::size::{at_most, in_memory};

/// A sliding view of a file, filled by large reads.
pub(crate) struct Window<'a> {
    file: &'a dyn File,
    /// Bytes at or after this offset are not examined.
    end: u64,
    start: u64,
    buf: Vec<u8>,
}

/// Minimum size of a read: what fits a processor's own cache.
const WINDOW: usize = 256 << 10;

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a dyn File, end: u64) -> Self {
        Window { file, end, start: 0, buf: Vec::new() }
    }

    /// Up to `len` bytes at `offset`; fewer only at the end of the window or the file.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> std::io::Result<&[u8]> {
        let room = in_memory(self.end.saturating_sub(offset));
        let len = len.min(room);
        let have = self.start + self.buf.len() as u64;
        if offset < self.start || offset + len as u64 > have {
            self.buf.resize(len.max(WINDOW).min(room), 0);
            self.start = offset;
            let got = read_full_at(self.file, &mut self.buf, offset)?;
            self.buf.truncate(got);
        }
        // Either it was already there, or the buffer now begins with it.
        let (_, rest) = self.buf.split_at(in_memory(offset - self.start));
        Ok(rest.split_at(len.min(rest.len())).0)
    }
}

/// Position in a block of the first byte that does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockDamage {
    /// Relative to the block's first byte.
    pub(crate) at: u64,
    pub(crate) reason: CorruptionReason,
}

/// Verifies a whole block, `bytes`, with the header `header`: the header and payload of every record, and all
/// padding.
pub(crate) fn check_block(
    bytes: &[u8],
    header: &BlockHeader,
    identity: &Identity,
) -> std::result::Result<(), BlockDamage> {
    let damage = |at: usize, reason| Err(BlockDamage { at: at as u64, reason });
    let body_end = BLOCK_HEADER + header.body_len as usize;
    let Some(block) = bytes.get(..body_end) else {
        return damage(bytes.len(), CorruptionReason::ShortFile);
    };
    let mut at = BLOCK_HEADER;
    for _ in 0..header.records {
        // After records that were found intact in it.
        let (_, rest) = block.split_at(at);
        let Ok(record) = RecordHeader::decode(rest, identity, header.lsn.plus(at as u64)) else {
            return damage(at, CorruptionReason::RecordHeader);
        };
        let start = record.header_len();
        let end = start + record.payload_len as usize;
        let next = in_memory(record.padded_len());
        match (rest.get(start..end), rest.get(end..next)) {
            (Some(payload), _) if crc32(payload) != record.payload_crc => {
                return damage(at + start, CorruptionReason::Payload);
            }
            (Some(_), Some(padding)) if is_zero(padding) => at += next,
            (Some(_), Some(_)) => return damage(at + end, CorruptionReason::Padding),
            _ => return damage(at, CorruptionReason::RecordHeader),
        }
    }
    if at != body_end {
        return damage(at, CorruptionReason::RecordHeader);
    }
    if bytes.get(body_end..).is_some_and(is_zero) {
        Ok(())
    } else {
        damage(body_end, CorruptionReason::Padding)
    }
}

/// Something valid found beyond the end of what could be read in order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sighting {
    /// A block header.
    Block(BlockHeader),
    /// A footer of a segment that ends here. If that is after the last good block, blocks are missing.
    Footer(Lsn),
}

/// Number of bytes the segment may have after `from`.
pub(crate) fn room_behind(generation: &Generation, from: Lsn) -> u64 {
    generation.capacity.saturating_sub(from.since(generation.first_lsn))
}

/// Examines every position at or after `from` where a block or a footer could be, and passes the valid ones to `see`.
/// Returns the position of the last non-zero byte.
pub(crate) fn look_around(
    file: &dyn File,
    generation: &Generation,
    from: Lsn,
    see: impl FnMut(Sighting),
) -> std::io::Result<Option<Lsn>> {
    look_within(file, generation, from..Lsn::MAX, see)
}

/// Like [`look_around`], but only at positions in `lsns`. What begins there is examined even if it ends beyond.
pub(crate) fn look_within(
    file: &dyn File,
    generation: &Generation,
    lsns: Range<Lsn>,
    mut see: impl FnMut(Sighting),
) -> std::io::Result<Option<Lsn>> {
    let identity = generation.identity();
    let mut window = Window::new(file, file.len()?);
    let mut last = None;
    let mut position = lsns.start.since(generation.first_lsn);
    while position <= generation.capacity && generation.first_lsn.plus(position) < lsns.end {
        let bytes = window.get(DATA_START + position, WINDOW)?;
        if bytes.len() < BLOCK_HEADER {
            break;
        }
        // A header cut off by the end of this piece is examined with the next one.
        const WHOLE: usize = WINDOW - FOOTER_HEADER;
        let seen = match bytes.len() {
            WINDOW => WHOLE - WHOLE % generation.block_align as usize,
            last => last,
        };
        if !is_zero(bytes) {
            let lsn = generation.first_lsn.plus(position);
            last = bytes.iter().rposition(|b| *b != 0).map(|i| lsn.plus(i as u64 + 1));
            let first = align_up(position, u64::from(generation.block_align)) - position;
            look_at(
                bytes,
                in_memory(first),
                at_most(seen, lsns.end.since(lsn)),
                generation,
                &identity,
                lsn,
                &mut see,
            );
        }
        position += seen as u64;
    }
    Ok(last)
}

/// Examines the positions from `first` up to `end` in one piece whose first byte is at `lsn`.
fn look_at(
    bytes: &[u8],
    first: usize,
    end: usize,
    generation: &Generation,
    identity: &Identity,
    lsn: Lsn,
    see: &mut impl FnMut(Sighting),
) {
    for at in (first..end).step_by(generation.block_align as usize) {
        let here = lsn.plus(at as u64);
        let (_, rest) = bytes.split_at(at);
        if let Some(b) = rest.first_chunk::<BLOCK_HEADER>()
            && let Ok(header) = BlockHeader::decode(b, identity, here)
        {
            see(Sighting::Block(header));
        } else if let Some(b) = rest.first_chunk::<FOOTER_HEADER>()
            && Footer::decode(b, identity, generation.id, here).is_ok()
        {
            see(Sighting::Footer(here));
        }
    }
}

pub(crate) fn stream_of(label: Label) -> StreamRange {
    StreamRange { stream: label.stream, first: label.sequence, last: label.sequence }
}

/// The valid record headers in `bytes`, at any position, with their addresses. `lsn` is the address of the first
/// byte.
fn records_in<'a>(
    bytes: &'a [u8],
    identity: &'a Identity,
    lsn: Lsn,
) -> impl Iterator<Item = (Lsn, RecordHeader)> + 'a {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        while at + PLAIN_HEADER <= bytes.len() {
            let here = lsn.plus(at as u64);
            let record = RecordHeader::decode(bytes.split_at(at).1, identity, here);
            let step = record.as_ref().map_or(RECORD_ALIGN as u64, RecordHeader::padded_len);
            at += in_memory(step);
            if let Ok(record) = record {
                return Some((here, record));
            }
        }
        None
    })
}

/// The address after the last record in `bytes` with a valid header: something was written there in this generation,
/// even if no block header says so.
pub(crate) fn records_end(bytes: &[u8], identity: &Identity, lsn: Lsn) -> Option<Lsn> {
    records_in(bytes, identity, lsn).last().map(|(lsn, record)| lsn.plus(record.padded_len()))
}

/// The streams of the labelled records in `bytes`.
pub(crate) fn find_streams(bytes: &[u8], identity: &Identity, lsn: Lsn) -> Vec<StreamRange> {
    let mut found: std::collections::BTreeMap<u64, StreamRange> = std::collections::BTreeMap::new();
    for label in records_in(bytes, identity, lsn).filter_map(|(_, record)| record.label) {
        let one = stream_of(label);
        let range = found.entry(label.stream).or_insert(one);
        range.first = range.first.min(one.first);
        range.last = range.last.max(one.last);
    }
    found.into_values().collect()
}
