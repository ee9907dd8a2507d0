//! Batches: records framed and checksummed by the thread that has them, before anybody knows their address.

use std::num::NonZeroU16;

use crate::codec::Encoder;
use crate::format::record::{RECORD_ALIGN, encode_unsealed, record_len};
use crate::lsn::{Label, Lsn};
use crate::segment::StoredRecord;

/// Records that are committed together: after any crash all of them are there, or none.
///
/// Building a batch takes no lock. A batch can be submitted by value or by reference, and a reference more than once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Whole records, their headers' checksums not yet bound to an address.
    body: Vec<u8>,
    records: usize,
    /// The largest payload that was pushed.
    largest: u64,
    /// What payloads go through: that of the log that the batch is for.
    encoder: Encoder,
    /// The encoded payload, before its length is known.
    encoded: Vec<u8>,
}

/// Where a record of a batch lies, counted from the batch's first record. See [`Ticket::lsn_of`](crate::Ticket::lsn_of).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordOffset(u64);

impl RecordOffset {
    /// The distance in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The record's address, when the batch's first record has address `first`.
    #[must_use]
    pub const fn from_first(self, first: Lsn) -> Lsn {
        first.plus(self.0)
    }
}

impl Batch {
    /// An empty batch, for a log that has no codec; [`Wal::batch`](crate::Wal::batch) makes one for any log.
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

    /// Adds a record with a label; its payload is the `parts`, joined.
    pub fn push_labelled(&mut self, label: Label, parts: &[&[u8]]) -> RecordOffset {
        self.add(Some(label), parts)
    }

    /// Adds a record of a log once more, under another label, its payload as it is stored there: neither decoded nor
    /// encoded. So it takes no more than it did, whatever codec the log has by now; and it was accepted before, so
    /// [`Options::max_record_size`](crate::Options::max_record_size) is not applied to it again.
    ///
    /// The batch is for the log that the record is from, or one that has the codec of the record.
    pub fn push_stored(&mut self, label: Label, record: &StoredRecord) -> RecordOffset {
        let offset = RecordOffset(self.body.len() as u64);
        self.records += 1;
        frame(&mut self.body, Some(label), record.codec(), &[record.bytes()]);
        offset
    }

    fn add(&mut self, label: Option<Label>, parts: &[&[u8]]) -> RecordOffset {
        let offset = RecordOffset(self.body.len() as u64);
        self.records += 1;
        // The limit is on what is given. That what is stored may be longer matters only where no log could hold it.
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

    /// How many records there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records
    }

    /// Whether there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// How many bytes the batch takes in the log, without the block it becomes part of.
    #[must_use]
    pub fn size_in_log(&self) -> u64 {
        self.body.len() as u64
    }

    /// Removes all records and keeps the memory.
    pub fn clear(&mut self) {
        self.body.clear();
        self.records = 0;
        self.largest = 0;
    }

    /// The size in the log of one record that stores `payload` bytes.
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

/// Appends a record to `body`. A payload that no log can hold is not copied: submitting the batch reports its length.
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

// A batch is copied behind other records, so it must end where one may begin.
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
