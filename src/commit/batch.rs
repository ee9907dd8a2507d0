//! Batches: records framed and checksummed by the thread that has them, before anybody knows their address.

use crate::format::record::{RECORD_ALIGN, encode_unsealed, record_len};
use crate::lsn::{Label, Lsn};

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
    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        Batch { body: Vec::new(), records: 0, largest: 0 }
    }

    /// An empty batch with room for `bytes` of payload and headers.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Batch { body: Vec::with_capacity(bytes), records: 0, largest: 0 }
    }

    /// Adds a record.
    pub fn push(&mut self, payload: impl AsRef<[u8]>) -> RecordOffset {
        self.add(None, &[payload.as_ref()])
    }

    /// Adds a record with a label; its payload is the `parts`, joined.
    pub fn push_labelled(&mut self, label: Label, parts: &[&[u8]]) -> RecordOffset {
        self.add(Some(label), parts)
    }

    fn add(&mut self, label: Option<Label>, parts: &[&[u8]]) -> RecordOffset {
        let offset = RecordOffset(self.body.len() as u64);
        let len: u64 = parts.iter().map(|p| p.len() as u64).sum();
        self.records += 1;
        self.largest = self.largest.max(len);
        // A payload that no log can hold is not copied; submitting the batch reports it.
        if let Ok(len) = u32::try_from(len) {
            encode_unsealed(&mut self.body, label, parts, len);
        }
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

    /// The size in the log of one record with a payload of `payload` bytes.
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
