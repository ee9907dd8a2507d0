//! Finds all damage in a segment, not only the first, and counts what verifies.
//!
//! Checksums are independent of each other: after a damaged block the next valid one can be found, and in a block
//! with one damaged record the others can be read.

use crate::cores::Cores;
use crate::error::{Corruption, CorruptionReason, Error, Result, Witness};
use crate::format::block::{BLOCK_HEADER, BlockHeader};
use crate::format::record::RecordHeader;
use crate::format::{crc32, is_zero};
use crate::lsn::{Lsn, StreamRange};
use crate::segment::{Segment, Window, good_blocks};
use crate::size::in_memory;

use super::scan::scan;
use super::survey::streams;

/// The contents of a segment.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Blocks that verify completely.
    pub(crate) blocks: u64,
    /// Records that verify, including those in damaged blocks.
    pub(crate) records: u64,
    /// Everything that does not verify, ascending.
    pub(crate) damage: Vec<Corruption>,
}

/// Reads the segment from its first block up to `end`; `previous` is the digest of the preceding block, if known. All
/// of it was durable according to `witness`.
pub(crate) fn walk(
    segment: &Segment,
    previous: Option<u32>,
    end: Lsn,
    witness: Option<Witness>,
) -> Result<Walk> {
    let mut walker = Walker { segment, witness, found: Walk::default() };
    let io = |e| Error::io("read", &segment.path, e);
    let file_end = segment.file.len().map_err(io)?;
    let mut window = Window::new(&*segment.file, file_end.min(segment.offset(end)));
    let (mut at, mut previous, mut good) = (segment.first_lsn(), previous, None);
    while at < end {
        let head = window.get(segment.offset(at), BLOCK_HEADER).map_err(io)?;
        let decoded = head
            .first_chunk::<BLOCK_HEADER>()
            .map(|head| (BlockHeader::decode(head, &segment.identity, at), BlockHeader::digest(head)));
        let Some((Ok(header), digest)) = decoded else {
            let good = match good.take() {
                Some(good) => good,
                None => good_blocks(segment, at)?,
            };
            let next = good.iter().map(|(start, _)| *start).find(|start| *start > at);
            let next = next.unwrap_or(end).min(end);
            let short = segment.offset(at) >= file_end;
            let reason = if short { CorruptionReason::ShortFile } else { CorruptionReason::BlockHeader };
            walker.stretch(at, next, reason)?;
            (at, previous) = (next, None);
            continue;
        };
        let len = in_memory(header.padded_len(segment.generation.block_align));
        let bytes = window.get(segment.offset(at), len).map_err(io)?;
        let damaged = walker.found.damage.len();
        if previous.is_some_and(|previous| header.previous != previous) {
            walker.add(segment.damage(at, at.plus(len as u64), CorruptionReason::BlockChain));
        }
        walker.block(bytes, &header, len)?;
        walker.found.blocks += u64::from(walker.found.damage.len() == damaged);
        (at, previous) = (at.plus(len as u64), Some(digest));
    }
    Ok(walker.found)
}

struct Walker<'a> {
    segment: &'a Segment,
    witness: Option<Witness>,
    found: Walk,
}

impl Walker<'_> {
    fn add(&mut self, damage: Corruption) {
        self.found.damage.push(damage.witnessed(self.witness));
    }

    /// Bytes that no header describes.
    fn stretch(&mut self, from: Lsn, to: Lsn, reason: CorruptionReason) -> Result<()> {
        let hit = streams(self.segment, from, to)?;
        self.add(self.segment.damage(from, to, reason).hitting(hit));
        Ok(())
    }

    /// The records of a block, which begin after its header. If the file ends before the block does, that is reported
    /// once.
    fn block(&mut self, bytes: &[u8], header: &BlockHeader, len: usize) -> Result<()> {
        let (start, body_end) = (header.lsn, BLOCK_HEADER + header.body_len as usize);
        let (behind, is_short) = (start.plus(len as u64), bytes.len() < len);
        let mut at = BLOCK_HEADER;
        for _ in 0..header.records {
            let lsn = start.plus(at as u64);
            let rest = bytes.get(at..body_end.min(bytes.len())).unwrap_or_default();
            match RecordHeader::decode(rest, &self.segment.identity, lsn) {
                Ok(record) => {
                    self.record(rest, &record, lsn);
                    at = at.saturating_add(in_memory(record.padded_len()));
                }
                Err(_) if is_short => break,
                // Without a record's header it is unknown where the next one begins.
                Err(_) => return self.stretch(lsn, behind, CorruptionReason::RecordHeader),
            }
        }
        if is_short {
            return self.stretch(start.plus(bytes.len() as u64), behind, CorruptionReason::ShortFile);
        }
        if at != body_end {
            let at = start.plus(at.min(body_end) as u64);
            return self.stretch(at, behind, CorruptionReason::RecordHeader);
        }
        if !bytes.get(body_end..).is_none_or(is_zero) {
            return self.stretch(start.plus(body_end as u64), behind, CorruptionReason::Padding);
        }
        Ok(())
    }

    /// A record with a valid header.
    fn record(&mut self, bytes: &[u8], record: &RecordHeader, lsn: Lsn) {
        let start = record.header_len();
        let end = start + record.payload_len as usize;
        let next = in_memory(record.padded_len());
        let (at, reason) = match (bytes.get(start..end), bytes.get(end..next)) {
            (Some(payload), _) if crc32(payload) != record.payload_crc => (start, CorruptionReason::Payload),
            (Some(_), Some(padding)) if !is_zero(padding) => (end, CorruptionReason::Padding),
            (Some(_), Some(_)) => {
                self.found.records += 1;
                return;
            }
            // The file ends in it.
            _ => return,
        };
        let hit = record.label.map(|l| StreamRange { stream: l.stream, first: l.sequence, last: l.sequence });
        let mut damage = self.segment.damage(lsn, lsn.plus(record.padded_len()), reason);
        damage.offset = damage.offset.saturating_add(at as u64);
        self.add(damage.hitting(hit.into_iter().collect()));
    }
}

/// The highest address that anything in the segment proves durable.
pub(crate) fn proven_by(segment: &Segment, previous: Option<u32>) -> Result<Lsn> {
    // If the preceding block is unknown, the scan may stop at the first one; what follows is evidence all the same.
    let found = scan(segment, previous.unwrap_or(0), None, Cores::ONE)?;
    Ok(found.witness.map_or(Lsn::ZERO, |w| w.durable))
}
