//! What a cut gives up, as far as it can still be read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::codec::Decoder;
use crate::error::{Corruption, Error, Result};
use crate::format::superblock::Superblock;
use crate::lsn::{Lsn, StreamRange};
use crate::recovery::{Beyond, KeptSegment};
use crate::segment::{Segment, SegmentReader, last_block_end};

/// Everything that a cut gives up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loss {
    /// From the first damage to the highest address that was written.
    pub lsns: Range<Lsn>,
    /// Records in it with valid headers. There may have been more.
    pub records: u64,
    /// Total size of their payloads in bytes.
    pub bytes: u64,
    /// Their streams, ascending, with the lowest and the highest sequence number.
    pub streams: Vec<StreamRange>,
    /// The ranges in which nothing verifies.
    pub damage: Vec<Corruption>,
    /// Files of which nothing can be read, not even which log they belong to.
    pub unreadable: Vec<String>,
}

impl Loss {
    /// The contents of `last` after its end, and of `beyond`.
    pub(super) fn behind(last: &KeptSegment, beyond: &[Beyond], sb: &Superblock) -> Result<Loss> {
        let mut tally = Tally {
            from: last.end,
            loss: Loss {
                lsns: last.end..sb.durable.max(last.end),
                records: 0,
                bytes: 0,
                streams: Vec::new(),
                damage: Vec::new(),
                unreadable: Vec::new(),
            },
            streams: BTreeMap::new(),
        };
        tally.add(&last.member.segment)?;
        for file in beyond {
            match &file.segment {
                Some(segment) => tally.add(segment)?,
                None => tally.loss.unreadable.push(file.name.clone()),
            }
        }
        tally.loss.streams = tally.streams.into_values().collect();
        Ok(tally.loss)
    }
}

struct Tally {
    from: Lsn,
    loss: Loss,
    streams: BTreeMap<u64, StreamRange>,
}

impl Tally {
    fn add(&mut self, segment: &Arc<Segment>) -> Result<()> {
        let segment = SegmentReader::new(Arc::clone(segment), last_block_end(segment)?, Decoder::new(0));
        self.loss.lsns.end = self.loss.lsns.end.max(segment.end_lsn());
        for head in segment.salvage() {
            match head {
                Ok(head) if head.lsn < self.from => {}
                Ok(head) => {
                    self.loss.records += 1;
                    self.loss.bytes += u64::from(head.payload_len);
                    let Some(label) = head.label else { continue };
                    let one =
                        StreamRange { stream: label.stream, first: label.sequence, last: label.sequence };
                    let range = self.streams.entry(label.stream).or_insert(one);
                    range.first = range.first.min(one.first);
                    range.last = range.last.max(one.last);
                }
                Err(Error::Corruption(c)) => self.loss.damage.push(*c),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
