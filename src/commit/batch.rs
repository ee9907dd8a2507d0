//! Batches: records framed and checksummed on the caller's thread, before their addresses are known.

use std::num::NonZeroU16;

use crate::codec::Encoder;
use crate::format::record::{RECORD_ALIGN, encode_unsealed, record_len};
use crate::lsn::{Label, Lsn};
use crate::segment::StoredRecord;

/// Records that are committed together: after a crash either all of them are there or none.
///
/// Building a batch takes no lock. A batch can be submitted by value or by reference, and a reference more than once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Whole records; their header checksums are not yet bound to an address.
    body: Vec<u8>,
    records: usize,
    /// The largest payload pushed.
    largest: u64,
    /// Encodes payloads: the codec of the log that the batch is for.
    encoder: Encoder,
    /// The encoded payload, before its length is known.
    encoded: Vec<u8>,
}

/// The position of a record within a batch, relative to its first record. See
/// [`Ticket::lsn_of`](crate::Ticket::lsn_of).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordOffset(u64);

impl RecordOffset {
    /// The distance in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The record's address if the batch's first record has address `first`.
    #[must_use]
    pub const fn from_first(self, first: Lsn) -> Lsn {
        first.plus(self.0)
    }
}

impl Batch {
    /// An empty batch for a log without a codec; [`Wal::batch`](crate::Wal::batch) makes one for any log.
    #[must_use]
    pub const fn new() -> Self {
        Batch::through(Encoder::none())
    }

    pub(crate) const fn through(encoder: Encoder) -> Self {
        Batch { body: Vec::new(), records: 0, largest: 0, encoder, encoded: Vec::new() }
    }

    /// As [`Batch::new`], with room for `bytes` of payload and headers.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut batch = Batch::new();
        batch.body.reserve(bytes);
        batch
    }

    /// Adds a record.
    pub fn push(&mut self, payload: impl AsRef<[u8]>) -> RecordOffset {
        self.add(None, &[payload.as_ref()])
    }

    /// Adds a record with a label; its payload is the concatenation of `parts`.
    pub fn push_labelled(&mut self, label: Label, parts: &[&[u8]]) -> RecordOffset {
        self.add(Some(label), parts)
    }

    /// Adds an existing record of a log again under another label, with its payload as stored: neither decoded nor
    /// encoded. So its size does not change, whatever codec the log has by now. As it was accepted before,
    /// [`Options::max_record_size`](crate::Options::max_record_size) does not apply again.
    ///
    /// The batch must be for the log that the record comes from, or for one that has the record's codec.
    pub fn push_stored(&mut self, label: Label, record: &StoredRecord) -> RecordOffset {
        let offset = RecordOffset(self.body.len() as u64);
        self.records += 1;
        frame(&mut self.body, Some(label), record.codec(), &[record.bytes()]);
        offset
    }

    fn add(&mut self, label: Option<Label>, parts: &[&[u8]]) -> RecordOffset {
        let offset = RecordOffset(self.body.len() as u64);
        self.records += 1;
        // The limit applies to the payload before encoding. A larger encoded form matters only if no log could hold
        // it.
        let given = match self.encoder.encode(parts, &mut self.encoded) {
            Some(codec) => match frame(&mut self.body, label, Some(codec), &[&self.encoded]) {
                stored if stored > u64::from(u32::MAX) => stored,
                _ => total(parts),
            },
            None => frame(&mut self.body, label, None, parts),
        };
        self.largest = self.largest.max(given);
        offset
    }

    /// Number of records.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records
    }

    /// Whether the batch has no records.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes that the batch takes in the log, not counting the block that it becomes part of.
    #[must_use]
    pub fn size_in_log(&self) -> u64 {
        self.body.len() as u64
    }

    /// Removes all records but keeps the allocated memory.
    pub fn clear(&mut self) {
        self.body.clear();
        self.records = 0;
        self.largest = 0;
    }

    /// Size in the log of one record with `payload` stored bytes.
    #[must_use]
    pub fn record_size(payload: u64, labelled: bool) -> u64 {
        record_len(payload, labelled)
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    pub(crate) fn encoder(&self) -> &Encoder {
        &self.encoder
    }
}

fn total(parts: &[&[u8]]) -> u64 {
    parts.iter().map(|p| p.len() as u64).sum()
}

/// Appends a record to `body`. A payload too large for any log is not copied: submitting the batch reports its
/// length.
fn frame(body: &mut Vec<u8>, label: Option<Label>, codec: Option<NonZeroU16>, parts: &[&[u8]]) -> u64 {
    let len = total(parts);
    if let Ok(len) = u32::try_from(len) {
        encode_unsealed(body, label, codec, parts, len);
    }
    len
}

impl AsRef<Batch> for Batch {
    fn as_ref(&self) -> &Batch {
        self
    }
}

// Batches are copied back to back, so each must end where a record may begin.
const _: () = assert!(RECORD_ALIGN.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_where_the_records_lie() {
        let mut batch = Batch::new();
        assert!(batch.is_empty());
        let a = batch.push(b"12345");
        let b = batch.push_labelled(Label::default(), &[b"1", b"23"]);
        let c = batch.push(b"");
        assert_eq!((a.get(), b.get(), c.get()), (0, 24, 24 + 48));
        assert_eq!(batch.len(), 3);
        assert_eq!(batch.size_in_log(), 24 + 48 + 16);
        assert_eq!(c.from_first(Lsn::new(40)), Lsn::new(40 + 72));
        batch.clear();
        assert_eq!((batch.len(), batch.size_in_log(), batch.largest()), (0, 0, 0));
    }
}
