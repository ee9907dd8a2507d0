//! Bytes and values: what the Raft layer writes into records, summaries and snapshot files.
//!
//! All integers are little-endian. Every record carries a [`Label`](crate::Label) in its header, where the log below
//! keeps it under a checksum of its own; the payload adds only what does not fit there.
//!
//! ```text
//! kind  record             stream  sequence         extra           payload
//! 0x01  entry, normal      group   index            term            data
//! 0x02  entry, ConfChange  group   index            term            data
//! 0x03  entry, ..V2        group   index            term            data
//! 0x41..0x43  the same     group   index            term            context length u32, context, data
//! 0x81..0x83, 0xc1..0xc3   group   index            term            as the entry: it was relocated, see `relocate`
//! 0x10  HardState          group   commit           term            24 bytes, see `state`
//! 0x11  applied            group   index            term            none
//! 0x12  compacted          group   last index gone  its term        none
//! 0x13  ConfState          group   index            0               see `state`
//! 0x14  snapshot saved     group   index            term            serial u64
//! 0x20  State              group   compacted index  compacted term  see `state`
//! 0x21  created            group   compacted index  compacted term  as State; whatever the id meant before is gone
//! 0x22  installed          group   compacted index  compacted term  as State; the entries before are gone
//! 0x23  removed            group   0                0               none
//! ```
//!
//! A State record says everything about a group but its entries. Records 0x10 to 0x14 each change a part of it.
//! The bytes are the same whichever codec of the raft crate is compiled in.

pub(crate) mod entry;
pub(crate) mod state;

use byteorder::{ByteOrder as _, LittleEndian};

use super::error::ContentProblem;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An entry; the type and whether a context precedes the data.
    Entry(entry::Shape),
    /// An entry written again as it is, to let its old segment go. It replaces nothing.
    Relocated(entry::Shape),
    HardState,
    Applied,
    Compacted,
    ConfState,
    Snapshot,
    /// A whole State, and what it does to what was before.
    State(StateKind),
    Removed,
}

/// What a whole State does to what was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateKind {
    /// Says again what is so; written to let old segments go.
    Restated,
    /// Begins a group; whatever the id meant before is gone.
    Created,
    /// A snapshot replaces the log; entries before it are gone.
    Installed,
}

const HARD_STATE: u8 = 0x10;
const APPLIED: u8 = 0x11;
const COMPACTED: u8 = 0x12;
const CONF_STATE: u8 = 0x13;
const SNAPSHOT: u8 = 0x14;
const RESTATED: u8 = 0x20;
const CREATED: u8 = 0x21;
const INSTALLED: u8 = 0x22;
const REMOVED: u8 = 0x23;

impl Kind {
    pub(crate) fn to_u8(self) -> u8 {
        match self {
            Kind::Entry(shape) => shape.to_u8(),
            Kind::Relocated(shape) => shape.to_u8() | entry::RELOCATED,
            Kind::HardState => HARD_STATE,
            Kind::Applied => APPLIED,
            Kind::Compacted => COMPACTED,
            Kind::ConfState => CONF_STATE,
            Kind::Snapshot => SNAPSHOT,
            Kind::State(StateKind::Restated) => RESTATED,
            Kind::State(StateKind::Created) => CREATED,
            Kind::State(StateKind::Installed) => INSTALLED,
            Kind::Removed => REMOVED,
        }
    }

    pub(crate) fn from_u8(raw: u8) -> Result<Kind, ContentProblem> {
        if let Some(shape) = entry::Shape::from_u8(raw) {
            return Ok(Kind::Entry(shape));
        }
        if raw & entry::RELOCATED != 0
            && let Some(shape) = entry::Shape::from_u8(raw & !entry::RELOCATED)
        {
            return Ok(Kind::Relocated(shape));
        }
        Ok(match raw {
            HARD_STATE => Kind::HardState,
            APPLIED => Kind::Applied,
            COMPACTED => Kind::Compacted,
            CONF_STATE => Kind::ConfState,
            SNAPSHOT => Kind::Snapshot,
            RESTATED => Kind::State(StateKind::Restated),
            CREATED => Kind::State(StateKind::Created),
            INSTALLED => Kind::State(StateKind::Installed),
            REMOVED => Kind::Removed,
            other => return Err(ContentProblem::UnknownKind(other)),
        })
    }
}

/// Reads fields one after another, never beyond the end.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], ContentProblem> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(ContentProblem::Short)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ContentProblem> {
        self.bytes(1)?.first().copied().ok_or(ContentProblem::Short)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ContentProblem> {
        Ok(LittleEndian::read_u16(self.bytes(2)?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ContentProblem> {
        Ok(LittleEndian::read_u32(self.bytes(4)?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ContentProblem> {
        Ok(LittleEndian::read_u64(self.bytes(8)?))
    }

    /// A flag byte, which is 0 or 1.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, ContentProblem> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ContentProblem::Field(field)),
        }
    }

    /// A count of items of `size` bytes each that follow; no more than there are bytes for, so that a count can be
    /// trusted with an allocation.
    pub(crate) fn count(&mut self, size: usize) -> Result<usize, ContentProblem> {
        let count = self.u32()? as usize;
        match count.checked_mul(size) {
            Some(bytes) if bytes <= self.rest.len() => Ok(count),
            _ => Err(ContentProblem::Short),
        }
    }

    /// A run of numbers with its count before it.
    pub(crate) fn u64_list(&mut self) -> Result<Vec<u64>, ContentProblem> {
        let count = self.count(8)?;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(self.u64()?);
        }
        Ok(list)
    }

    /// What is left, all of it.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn finish(&self) -> Result<(), ContentProblem> {
        if self.rest.is_empty() { Ok(()) } else { Err(ContentProblem::Trailing) }
    }
}

/// Appends fields to a buffer.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u16(&mut self, v: u16) {
        self.put(&v.to_le_bytes());
    }

    fn put_u32(&mut self, v: u32) {
        self.put(&v.to_le_bytes());
    }

    fn put_u64(&mut self, v: u64) {
        self.put(&v.to_le_bytes());
    }

    /// A length or count. What is longer than 4 GiB fits in no record, and the log below refuses it.
    fn put_len(&mut self, len: usize) {
        self.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    }

    fn put_u64_list(&mut self, list: &[u64]) {
        self.put_len(list.len());
        for v in list {
            self.put_u64(*v);
        }
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_number_and_unknown_ones_are_refused() {
        let mut known = 0;
        for raw in 0..=u8::MAX {
            match Kind::from_u8(raw) {
                Ok(kind) => {
                    assert_eq!(kind.to_u8(), raw);
                    known += 1;
                }
                Err(problem) => assert_eq!(problem, ContentProblem::UnknownKind(raw)),
            }
        }
        assert_eq!(known, 6 + 6 + 9);
    }

    #[test]
    fn the_numbers_of_the_kinds_never_change() {
        use ::raft::eraftpb::EntryType::{EntryConfChange, EntryConfChangeV2, EntryNormal};
        let entry = |kind, has_context| Kind::Entry(entry::Shape { kind, has_context });
        let relocated = |kind, has_context| Kind::Relocated(entry::Shape { kind, has_context });
        let pinned = [
            (0x01, entry(EntryNormal, false)),
            (0x02, entry(EntryConfChange, false)),
            (0x03, entry(EntryConfChangeV2, false)),
            (0x41, entry(EntryNormal, true)),
            (0x42, entry(EntryConfChange, true)),
            (0x43, entry(EntryConfChangeV2, true)),
            (0x81, relocated(EntryNormal, false)),
            (0x82, relocated(EntryConfChange, false)),
            (0x83, relocated(EntryConfChangeV2, false)),
            (0xc1, relocated(EntryNormal, true)),
            (0xc2, relocated(EntryConfChange, true)),
            (0xc3, relocated(EntryConfChangeV2, true)),
            (0x10, Kind::HardState),
            (0x11, Kind::Applied),
            (0x12, Kind::Compacted),
            (0x13, Kind::ConfState),
            (0x14, Kind::Snapshot),
            (0x20, Kind::State(StateKind::Restated)),
            (0x21, Kind::State(StateKind::Created)),
            (0x22, Kind::State(StateKind::Installed)),
            (0x23, Kind::Removed),
        ];
        for (raw, kind) in pinned {
            assert_eq!((kind.to_u8(), Kind::from_u8(raw)), (raw, Ok(kind)));
        }
    }

    #[test]
    fn a_count_larger_than_the_input_is_refused_before_anything_is_allocated() {
        let mut bytes = Vec::new();
        bytes.put_u32(u32::MAX);
        bytes.put_u64(7);
        assert_eq!(Cursor::new(&bytes).u64_list(), Err(ContentProblem::Short));
    }
}
