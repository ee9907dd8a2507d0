//! Walks through a segment, skipping damaged parts.
//!
//! Checksums are independent of each other, so the next valid block after a damaged one can be found: a block's
//! checksum is sealed with its position, and nothing else verifies there.

use super::blocks::{Sighting, look_around};
use super::{RecordHead, Segment};
use crate::error::{Error, Result};
use crate::format::block::BLOCK_HEADER;
use crate::lsn::Lsn;

/// The headers of a segment's records, with an error for each damaged stretch. See
/// [`SegmentReader::salvage`](super::SegmentReader::salvage).
#[derive(Debug)]
pub struct Salvage<'a> {
    segment: &'a Segment,
    limit: Lsn,
    at: Lsn,
    in_block: Option<(Lsn, Lsn)>,
    /// The valid blocks after the first damage, ascending; searched for once.
    good: Option<Vec<Lsn>>,
    blocks: u64,
}

impl<'a> Salvage<'a> {
    pub(crate) fn new(segment: &'a Segment, limit: Lsn) -> Self {
        Salvage { segment, limit, at: segment.first_lsn(), in_block: None, good: None, blocks: 0 }
    }

    /// Number of blocks so far with a valid header.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The first valid block after `from`, or the end.
    fn next_good(&mut self, from: Lsn) -> Result<Lsn> {
        let good = match self.good.take() {
            Some(good) => good,
            None => good_blocks(self.segment, from)?.into_iter().map(|(at, _)| at).collect(),
        };
        let next = good.get(good.partition_point(|at| *at <= from)).copied();
        self.good = Some(good);
        Ok(next.unwrap_or(self.limit).min(self.limit))
    }

    /// Advances to the next block. An error stands for a stretch that did not verify and was skipped.
    fn next_block(&mut self) -> Result<()> {
        let from = self.at;
        match self.segment.read_block_header(from, self.limit) {
            Ok(header) => {
                let start = from.plus(BLOCK_HEADER as u64);
                self.in_block = Some((start, start.plus(u64::from(header.body_len))));
                self.blocks += 1;
                self.at = from.plus(header.padded_len(self.segment.generation.block_align));
                Ok(())
            }
            Err(Error::Corruption(c)) => {
                self.at = self.limit;
                self.at = self.next_good(from)?;
                Err(self.segment.damage(from, self.at, c.reason).into())
            }
            Err(e) => {
                self.at = self.limit;
                Err(e)
            }
        }
    }
}

/// Start and end of the valid blocks from `from` on.
pub(crate) fn good_blocks(segment: &Segment, from: Lsn) -> Result<Vec<(Lsn, Lsn)>> {
    let mut good = Vec::new();
    look_around(&*segment.file, &segment.generation, from, |seen| {
        if let Sighting::Block(header) = seen {
            good.push((header.lsn, header.lsn.plus(header.padded_len(segment.generation.block_align))));
        }
    })
    .map_err(|e| Error::io("read", &segment.path, e))?;
    Ok(good)
}

/// The end of the last valid block of the segment, whatever lies before it.
pub(crate) fn last_block_end(segment: &Segment) -> Result<Lsn> {
    let first = segment.first_lsn();
    let ends = good_blocks(segment, first)?.into_iter().map(|(_, end)| end);
    Ok(ends.max().unwrap_or(first).min(segment.limit()))
}

impl Iterator for Salvage<'_> {
    type Item = Result<RecordHead>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // After the first invalid record header in a block, it is unknown where records start in it.
            if let Some((at, end)) = self.in_block.take().filter(|(at, end)| at < end) {
                return Some(self.segment.read_head(at, end).map(|(head, next)| {
                    self.in_block = Some((next, end));
                    head
                }));
            }
            if self.at >= self.limit {
                return None;
            }
            if let Err(e) = self.next_block() {
                return Some(Err(e));
            }
        }
    }
}
