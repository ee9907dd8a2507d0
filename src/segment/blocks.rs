//! Looking at blocks in a file whose content is not trusted yet: recovery and verification.
//!
//! Reads go through the file, not the mapping: there a failing device is an error that can be told from damage.

use crate::error::CorruptionReason;
use crate::format::block::{BLOCK_HEADER, BlockHeader};
use crate::format::footer::{FOOTER_HEADER, Footer};
use crate::format::record::{PLAIN_HEADER, RECORD_ALIGN, RecordHeader};
use crate::format::segment::Life;
use crate::format::{Identity, Invalid, crc32, is_zero};
use crate::io::{File, read_full_at};
use crate::lsn::{Label, Lsn, StreamRange};

/// A sliding view of a file, filled by large reads.
pub(crate) struct Window<'a> {
    file: &'a dyn File,
    /// No byte at or behind this offset is looked at.
    end: u64,
    start: u64,
    buf: Vec<u8>,
}

/// How much is read at a time when less is asked for.
const WINDOW: usize = 1 << 20;

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a dyn File, end: u64) -> Self {
        Window { file, end, start: 0, buf: Vec::new() }
    }

    /// Up to `len` bytes at `offset`; fewer only at the window's end or the file's.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> std::io::Result<&[u8]> {
        let room = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(room);
        let have = self.start + self.buf.len() as u64;
        if offset < self.start || offset + len as u64 > have {
            self.buf.resize(len.max(WINDOW).min(room), 0);
            self.start = offset;
            let got = read_full_at(self.file, &mut self.buf, offset)?;
            self.buf.truncate(got);
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let rest = self.buf.get(from..).unwrap_or_default();
        Ok(rest.get(..len).unwrap_or(rest))
    }
}

/// Where in a block the first byte lies that does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockDamage {
    /// Counted from the block's first byte.
    pub(crate) at: u64,
    pub(crate) reason: CorruptionReason,
}

/// Verifies a whole block, `bytes`, whose header is `header`: every record's header and payload, every padding byte.
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
        let rest = block.get(at..).unwrap_or_default();
        let Ok(record) = RecordHeader::decode(rest, identity, header.lsn.plus(at as u64)) else {
            return damage(at, CorruptionReason::RecordHeader);
        };
        let start = record.header_len();
        let end = start + record.payload_len as usize;
        let next = usize::try_from(record.padded_len()).unwrap_or(usize::MAX);
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

/// The next verifying block header at or behind `from`, looking at every position where one could be.
pub(crate) fn next_header(
    window: &mut Window<'_>,
    life: &Life,
    identity: &Identity,
    from: Lsn,
) -> std::io::Result<Option<BlockHeader>> {
    let step = life.block_align as usize;
    let Some(mut position) = from.distance_from(life.first_lsn) else { return Ok(None) };
    position = crate::format::align_up(position, u64::from(life.block_align));
    while position < life.capacity {
        let bytes = window.get(crate::format::DATA_START + position, WINDOW)?;
        if bytes.len() < BLOCK_HEADER {
            return Ok(None);
        }
        let mut seen = 0usize;
        while let Some(b) = bytes.get(seen..).and_then(|rest| rest.first_chunk::<BLOCK_HEADER>()) {
            let lsn = life.first_lsn.plus(position + seen as u64);
            match BlockHeader::decode(b, identity, lsn) {
                Ok(header) => return Ok(Some(header)),
                Err(Invalid::Unwritten | Invalid::Checksum | Invalid::Field | Invalid::Version(_)) => {}
            }
            seen += step;
        }
        position += seen as u64;
    }
    Ok(None)
}

/// The end that a verifying footer at or behind `from` proves, looking at every position where one could be. It lies
/// where the blocks end, so finding one far behind the last good block means that blocks are missing in between.
pub(crate) fn find_footer(
    window: &mut Window<'_>,
    life: &Life,
    identity: &Identity,
    from: Lsn,
) -> std::io::Result<Option<Lsn>> {
    let step = u64::from(life.block_align);
    let Some(distance) = from.distance_from(life.first_lsn) else { return Ok(None) };
    let mut position = crate::format::align_up(distance, step);
    while position <= life.capacity {
        let bytes = window.get(crate::format::DATA_START + position, WINDOW)?;
        if bytes.len() < FOOTER_HEADER {
            return Ok(None);
        }
        let mut seen = 0usize;
        while let Some(b) = bytes.get(seen..).and_then(|rest| rest.first_chunk::<FOOTER_HEADER>()) {
            let end = life.first_lsn.plus(position + seen as u64);
            if Footer::decode(b, identity, life.id, end).is_ok() {
                return Ok(Some(end));
            }
            seen += life.block_align as usize;
        }
        position += seen as u64;
    }
    Ok(None)
}

pub(crate) fn stream_of(label: Label) -> StreamRange {
    StreamRange { stream: label.stream, first: label.sequence, last: label.sequence }
}

/// The streams that labelled records in `bytes` belong to, by every record header that verifies there. `lsn` is the
/// address of the first byte.
pub(crate) fn find_streams(bytes: &[u8], identity: &Identity, lsn: Lsn) -> Vec<StreamRange> {
    let mut found: std::collections::BTreeMap<u64, StreamRange> = std::collections::BTreeMap::new();
    let mut at = 0usize;
    while at + PLAIN_HEADER <= bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let record = RecordHeader::decode(rest, identity, lsn.plus(at as u64));
        let Ok(record) = record else {
            at += RECORD_ALIGN;
            continue;
        };
        if let Some(label) = record.label {
            let one = stream_of(label);
            let range = found.entry(label.stream).or_insert(one);
            range.first = range.first.min(one.first);
            range.last = range.last.max(one.last);
        }
        at = at.saturating_add(usize::try_from(record.padded_len()).unwrap_or(usize::MAX));
    }
    found.into_values().collect()
}
