//! The state of a group: everything except its entries.
//!
//! A protocol keeps what it must remember in a group's [`State`]: up to twelve numbered fields, each a position and a
//! few bytes that only the protocol interprets. A field is replaced as a whole. So this layer can carry a state
//! along, assemble it from the records that changed it, and show it, without knowing the protocol.
//!
//! ```text
//!  packed, by ascending number:   number u8 | index varint | term varint | length varint | bytes
//! ```

use std::fmt;

use thin_vec::ThinVec;

use super::bytes::{Cursor, Put};
use super::error::ContentProblem;

/// An entry's position in its group: its index, and the term of the leader that created it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The index.
    pub index: u64,
    /// The term; always 0 in a protocol that has none.
    pub term: u64,
}

/// The kind of an entry: a number from 0 to 31 defined by the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKind(u8);

impl EntryKind {
    /// Kind 0.
    pub const ZERO: EntryKind = EntryKind(0);

    /// The kind with this number, if it is below 32.
    #[must_use]
    pub const fn new(number: u8) -> Option<EntryKind> {
        if number < 32 { Some(EntryKind(number)) } else { None }
    }

    /// The kind whose number is the low five bits of this one.
    #[must_use]
    pub const fn from_low_bits(number: u8) -> EntryKind {
        EntryKind(number & 31)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// A field of a group's state.
///
/// There are twelve, in three sets of four. Two batches built concurrently conflict if both change fields of one set:
/// the first set belongs with the entries (appending, truncating), the second with purging, the third is independent.
/// So threads with separate concerns do not get in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(u8);

const FIELDS: u8 = 12;

impl Field {
    /// All fields: 0 to 3 change with the entries, 4 to 7 with purging, 8 to 11 independently.
    pub const ALL: [Field; FIELDS as usize] = [
        Field(0),
        Field(1),
        Field(2),
        Field(3),
        Field(4),
        Field(5),
        Field(6),
        Field(7),
        Field(8),
        Field(9),
        Field(10),
        Field(11),
    ];

    /// The field with this number, if it is below 12.
    #[must_use]
    pub const fn new(number: u8) -> Option<Field> {
        if number < FIELDS { Some(Field(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// The state of a group: what its protocol keeps in each [`Field`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Encoded as above; every change preserves that.
    packed: ThinVec<u8>,
}

/// The location of a field in `packed`.
struct Found<'a> {
    field: Field,
    at: Position,
    bytes: &'a [u8],
    /// Its encoding.
    range: std::ops::Range<usize>,
}

impl State {
    /// A state without fields.
    #[must_use]
    pub fn new() -> State {
        State::default()
    }

    /// The same state with this field set.
    #[must_use]
    pub fn with(mut self, field: Field, at: Position, bytes: &[u8]) -> State {
        self.set(field, at, bytes);
        self
    }

    /// The content of a field.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<(Position, &[u8])> {
        self.walk().find(|found| found.field == field).map(|found| (found.at, found.bytes))
    }

    /// The fields that are set, by ascending number.
    pub fn fields(&self) -> impl Iterator<Item = (Field, Position, &[u8])> {
        self.walk().map(|found| (found.field, found.at, found.bytes))
    }

    /// Whether no field is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// Sets a field.
    pub fn set(&mut self, field: Field, at: Position, bytes: &[u8]) {
        self.put(field, Head::of(field, at, bytes.len()).as_bytes(), bytes);
    }

    /// Sets a field whose encoding is `head` followed by `bytes`.
    fn put(&mut self, field: Field, head: &[u8], bytes: &[u8]) {
        let (mut from, mut to) = (self.packed.len(), self.packed.len());
        for found in self.walk() {
            if found.field >= field {
                from = found.range.start;
                to = if found.field == field { found.range.end } else { from };
                break;
            }
        }
        let len = head.len() + bytes.len();
        if to - from == len {
            let (start, rest) = self.packed.split_at_mut(from).1.split_at_mut(head.len());
            start.copy_from_slice(head);
            rest.split_at_mut(bytes.len()).0.copy_from_slice(bytes);
            return;
        }
        let (before, after) = (self.packed.split_at(from).0, self.packed.split_at(to).1);
        let mut packed = ThinVec::with_capacity(before.len() + len + after.len());
        for part in [before, head, bytes, after] {
            packed.extend_from_slice(part);
        }
        self.packed = packed;
    }

    /// Sets all fields that are set in `later`.
    pub(crate) fn merge(&mut self, later: &State) {
        if self.is_empty() {
            self.clone_from(later);
            return;
        }
        for found in later.walk() {
            let (_, encoded) = later.packed.split_at(found.range.start);
            self.put(found.field, encoded.split_at(found.range.len()).0, &[]);
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.packed
    }

    /// Decodes a state. Numbers ascend, and every number has a single encoding.
    pub(crate) fn decode(bytes: &[u8]) -> Result<State, ContentProblem> {
        let (mut cursor, mut last) = (Cursor::new(bytes), None);
        while !cursor.is_empty() {
            let field = take(&mut cursor)?.0;
            if last.is_some_and(|last| last >= field) {
                return Err(ContentProblem::Field("field"));
            }
            last = Some(field);
        }
        let mut packed = ThinVec::new();
        packed.reserve_exact(bytes.len());
        packed.extend_from_slice(bytes);
        Ok(State { packed })
    }

    fn walk(&self) -> impl Iterator<Item = Found<'_>> {
        let (mut cursor, len) = (Cursor::new(&self.packed), self.packed.len());
        std::iter::from_fn(move || {
            let start = len - cursor.left();
            if start == len {
                return None;
            }
            let taken = take(&mut cursor);
            debug_assert!(taken.is_ok(), "a state is packed by `set` or checked by `decode`");
            let (field, at, bytes) = taken.ok()?;
            Some(Found { field, at, bytes, range: start..len - cursor.left() })
        })
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields()).finish()
    }
}

/// The encoding of a field before its bytes.
struct Head {
    buffer: [u8; Head::MOST],
    len: usize,
}

impl Head {
    /// A number and three varints.
    const MOST: usize = 1 + 3 * 10;

    fn of(field: Field, at: Position, len: usize) -> Head {
        let mut head = Head { buffer: [0; Head::MOST], len: 0 };
        head.put(&[field.0]);
        head.put_varint(at.index);
        head.put_varint(at.term);
        head.put_varint(len as u64);
        head
    }

    fn as_bytes(&self) -> &[u8] {
        self.buffer.split_at(self.len).0
    }
}

impl Put for Head {
    fn put(&mut self, bytes: &[u8]) {
        let (_, free) = self.buffer.split_at_mut(self.len);
        free.split_at_mut(bytes.len()).0.copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

fn take<'a>(cursor: &mut Cursor<'a>) -> Result<(Field, Position, &'a [u8]), ContentProblem> {
    let field = Field::new(cursor.u8()?).ok_or(ContentProblem::Field("field"))?;
    let at = Position { index: cursor.varint()?, term: cursor.varint()? };
    let len = usize::try_from(cursor.varint()?).map_err(|_| ContentProblem::Short)?;
    Ok((field, at, cursor.bytes(len)?))
}

/// Where a group's log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// The first index that has or would have an entry.
    pub(crate) first: u64,
    /// The term of the entry before it; 0 if there is none.
    pub(crate) term_before: u64,
}

impl Start {
    /// Right after this entry, or at index 0 if there is none. The entry's index is not the highest number.
    pub(crate) fn after(last: Option<Position>) -> Start {
        last.map_or_else(Start::default, |last| Start {
            first: last.index.saturating_add(1),
            term_before: last.term,
        })
    }

    /// The last removed entry.
    pub(crate) fn before(self) -> Option<Position> {
        self.first.checked_sub(1).map(|index| Position { index, term: self.term_before })
    }

    /// Its form in a label.
    pub(crate) fn as_position(self) -> Position {
        Position { index: self.first, term: self.term_before }
    }
}

/// Everything about a group except its entries; the content of a State record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) start: Start,
    pub(crate) state: State,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn config() -> ProptestConfig {
        ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn fields_are_what_was_set_last(
            sets in proptest::collection::vec(
                (0u8..FIELDS, any::<u64>(), 0u64..300, proptest::collection::vec(any::<u8>(), 0..200)), 0..40),
        ) {
            let (mut state, mut model) = (State::new(), BTreeMap::new());
            for (number, index, term, bytes) in sets {
                let (field, at) = (Field::new(number).unwrap(), Position { index, term });
                state.set(field, at, &bytes);
                model.insert(field, (at, bytes));
                let shown: Vec<_> = state.fields().map(|(f, at, b)| (f, (at, b.to_vec()))).collect();
                prop_assert_eq!(shown, model.clone().into_iter().collect::<Vec<_>>());
                prop_assert_eq!(State::decode(state.as_bytes()).unwrap(), state.clone());
            }
            for field in Field::ALL {
                prop_assert_eq!(state.get(field).map(|(at, b)| (at, b.to_vec())), model.get(&field).cloned());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_what_decodes_encodes_to_the_same(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(state) = State::decode(&bytes) {
                let mut again = State::new();
                for (field, at, value) in state.fields() {
                    again.set(field, at, value);
                }
                prop_assert_eq!(again.as_bytes(), &bytes[..]);
            }
        }
    }
}
