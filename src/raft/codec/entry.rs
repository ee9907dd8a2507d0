//! Entries.
//!
//! The layer below stores the entry's index and term. The type and the presence of a context are its kind. So the
//! payload of an entry without a context is its data, and reading it back is a slice of the mapping:
//!
//! ```text
//! kind 0..2   | data ...                                   |
//! kind 4..6   | context length u32 | context ... | data ...|
//! ```
//!
//! `Entry::sync_log` is deprecated and has no meaning in raft 0.7; it is not stored and reads back as false.

use ::raft::eraftpb::{Entry, EntryType};
use bytes::Bytes;

use crate::groups::bytes::Cursor;
use crate::groups::{Appender, ContentProblem, EntryKind, Result as GroupsResult};

/// The content of an entry's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: EntryType,
    pub(crate) has_context: bool,
}

const WITH_CONTEXT: u8 = 4;

impl Shape {
    pub(crate) fn of(entry: &Entry) -> Shape {
        Shape { kind: entry.get_entry_type(), has_context: !entry.context.is_empty() }
    }

    pub(crate) fn to_kind(self) -> EntryKind {
        let kind = match self.kind {
            EntryType::EntryNormal => 0,
            EntryType::EntryConfChange => 1,
            EntryType::EntryConfChangeV2 => 2,
        };
        EntryKind::from_low_bits(if self.has_context { kind | WITH_CONTEXT } else { kind })
    }

    pub(crate) fn of_kind(kind: EntryKind) -> Result<Shape, ContentProblem> {
        let has_context = kind.get() & WITH_CONTEXT != 0;
        let kind = match kind.get() & !WITH_CONTEXT {
            0 => EntryType::EntryNormal,
            1 => EntryType::EntryConfChange,
            2 => EntryType::EntryConfChangeV2,
            _ => return Err(ContentProblem::Field("entry kind")),
        };
        Ok(Shape { kind, has_context })
    }
}

/// Appends an entry. A context longer than 4 GiB makes the log refuse the record.
pub(crate) fn push(appender: &mut Appender<'_>, entry: &Entry) -> GroupsResult<u64> {
    let shape = Shape::of(entry);
    let kind = shape.to_kind();
    if shape.has_context {
        let len = u32::try_from(entry.context.len()).unwrap_or(u32::MAX).to_le_bytes();
        appender.push(entry.term, kind, &[&len, &entry.context, &entry.data])
    } else {
        appender.push(entry.term, kind, &[&entry.data])
    }
}

/// Decodes the entry in a record's payload, sharing the payload's memory if the codec of the raft crate allows it.
// `Bytes` under one codec of the raft crate, `Vec<u8>` under the other.
#[allow(clippy::useless_conversion)]
#[inline]
pub(crate) fn decode(shape: Shape, index: u64, term: u64, payload: Bytes) -> Result<Entry, ContentProblem> {
    let mut entry = Entry::default();
    entry.set_entry_type(shape.kind);
    entry.index = index;
    entry.term = term;
    if shape.has_context {
        let (context, data) = split(&payload)?;
        entry.context = payload.slice(context).into();
        entry.data = payload.slice(data).into();
    } else {
        entry.data = payload.into();
    }
    Ok(entry)
}

type Span = std::ops::Range<usize>;

fn split(payload: &[u8]) -> Result<(Span, Span), ContentProblem> {
    let mut cursor = Cursor::new(payload);
    let len = cursor.u32()? as usize;
    cursor.bytes(len)?;
    let data = 4 + len;
    Ok((4..data, data..payload.len()))
}

/// The size of an entry in protobuf's encoding, by which raft limits requests (`util.rs`, `limit_size`).
///
/// A field with its default value takes no bytes; others take one byte for the tag, then a varint, or a varint for
/// the length and the bytes. All tags of `Entry` are below 16, so each is one byte.
pub(crate) fn wire_size(entry: &Entry) -> u64 {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    };
    number(kind)
        + number(entry.term)
        + number(entry.index)
        + blob(entry.data.len())
        + blob(entry.context.len())
        + number(u64::from(entry.sync_log))
}

fn number(v: u64) -> u64 {
    if v == 0 { 0 } else { 1 + varint(v) }
}

fn blob(len: usize) -> u64 {
    let len = len as u64;
    if len == 0 { 0 } else { 1 + varint(len) + len }
}

fn varint(v: u64) -> u64 {
    // A seventh of the bits, rounded up, without a division: exact for all 64 possible values.
    let bits = u64::from(64 - (v | 1).leading_zeros());
    (bits * 9 + 64) / 64
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config() -> ProptestConfig {
        ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let edge = prop_oneof![Just(0u64), Just(127), Just(128), Just(1 << 35), Just(u64::MAX), any::<u64>()];
        let len = prop_oneof![0usize..4, 120usize..140, Just(16384usize), Just(16383usize)];
        (0..3u8, edge.clone(), edge, len.clone(), len, any::<bool>()).prop_map(
            |(kind, term, index, data, context, sync)| {
                let mut e = Entry::default();
                e.set_entry_type(match kind {
                    0 => EntryType::EntryNormal,
                    1 => EntryType::EntryConfChange,
                    _ => EntryType::EntryConfChangeV2,
                });
                e.term = term;
                e.index = index;
                e.data = vec![7; data].into();
                e.context = vec![9; context].into();
                e.sync_log = sync;
                e
            },
        )
    }

    fn payload_of(e: &Entry) -> Bytes {
        let mut bytes = Vec::new();
        if !e.context.is_empty() {
            bytes.extend_from_slice(&(e.context.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&e.context);
        }
        bytes.extend_from_slice(&e.data);
        bytes.into()
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        #[cfg(feature = "raft-protobuf")]
        fn wire_size_is_what_protobuf_computes(e in any_entry()) {
            prop_assert_eq!(wire_size(&e), u64::from(protobuf::Message::compute_size(&e)));
        }

        #[test]
        fn an_entry_reads_back_as_it_was_but_for_sync_log(e in any_entry()) {
            let shape = Shape::of_kind(Shape::of(&e).to_kind()).unwrap();
            let mut want = e.clone();
            want.sync_log = false;
            prop_assert_eq!(decode(shape, e.index, e.term, payload_of(&e)).unwrap(), want);
        }

        #[test]
        fn no_payload_panics_or_reads_beyond_its_end(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            let shape = Shape { kind: EntryType::EntryNormal, has_context: true };
            let len = payload.len();
            match decode(shape, 1, 1, payload.into()) {
                Ok(e) => prop_assert_eq!(4 + e.context.len() + e.data.len(), len),
                Err(problem) => prop_assert_eq!(problem, ContentProblem::Short),
            }
        }
    }

    #[test]
    #[cfg(feature = "raft-protobuf")]
    fn data_without_a_context_is_the_payload_itself() {
        let payload = Bytes::from(vec![1; 100]);
        let shape = Shape { kind: EntryType::EntryNormal, has_context: false };
        let entry = decode(shape, 1, 1, payload.clone()).unwrap();
        assert_eq!(entry.data.as_ptr(), payload.as_ptr());
    }
}
