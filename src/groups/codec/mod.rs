//! Encoding of records and summaries.
//!
//! Every record carries a [`Label`] in its header, which the log below protects with a checksum of its own; the
//! payload adds only what does not fit there. Kinds from 0x80 on belong to this layer. Records with a lower kind or
//! without a label belong to other users of the log and are left alone.
//!
//! ```text
//! kind        record             stream  sequence           extra             payload
//! 0x80..0x9f  entry              group   index              term              the protocol's; the kind's low five bits too
//! 0xa0..0xbf  relocated entry    group   index              term              as the entry: see `relocate`
//! 0xc0..0xcb  field of the state group   the field's index  the field's term  the field's bytes
//! 0xd0        purged             group   last index gone    its term          none
//! 0xd1        truncated          group   first index gone   0                 none
//! 0xe0        State              group   first index        term before it    see `root`
//! 0xe1        created            group   first index        term before it    as State; what the id meant before is gone
//! 0xe2        reset              group   first index        term before it    as State; the entries before are gone
//! 0xe3        removed            group   0                  0                 none
//! ```
//!
//! A State record says everything about a group except its entries. Fields, purges and truncations each change a part
//! of it.

pub(crate) mod root;

use std::ops::RangeInclusive;

use super::error::ContentProblem;
use super::state::{EntryKind, Field, Position};
use crate::Label;

/// The label kinds ([`Label::kind`](crate::Label::kind)) of records of groups. Other users of the same log must use
/// lower ones, or none.
pub const LABEL_KINDS: RangeInclusive<u8> = 0x80..=0xff;

const ENTRY: u8 = 0x80;
const RELOCATED: u8 = 0xa0;
const FIELD: u8 = 0xc0;
const PURGED: u8 = 0xd0;
const TRUNCATED: u8 = 0xd1;
const RESTATED: u8 = 0xe0;
const CREATED: u8 = 0xe1;
const RESET: u8 = 0xe2;
const REMOVED: u8 = 0xe3;

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Entry(EntryKind),
    /// An entry rewritten unchanged so that its old segment can be released. It replaces nothing.
    Relocated(EntryKind),
    /// One field of the group's state.
    Field(Field),
    /// Entries up to this one are removed.
    Purged,
    /// Entries from this one on are removed.
    Truncated,
    /// A whole State, and its effect on what was before.
    State(StateKind),
    Removed,
}

/// The effect of a whole State on what was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateKind {
    /// Repeats the present state so that old segments can be released.
    Restated,
    /// Begins a group; whatever the id meant before is gone.
    Created,
    /// Restarts the group's log; earlier entries are gone.
    Reset,
}

impl Kind {
    pub(crate) fn to_u8(self) -> u8 {
        match self {
            Kind::Entry(kind) => ENTRY | kind.get(),
            Kind::Relocated(kind) => RELOCATED | kind.get(),
            Kind::Field(field) => FIELD | field.number(),
            Kind::Purged => PURGED,
            Kind::Truncated => TRUNCATED,
            Kind::State(StateKind::Restated) => RESTATED,
            Kind::State(StateKind::Created) => CREATED,
            Kind::State(StateKind::Reset) => RESET,
            Kind::Removed => REMOVED,
        }
    }

    /// The kind with this number; `None` if it does not belong to this layer.
    pub(crate) fn from_u8(raw: u8) -> Result<Option<Kind>, ContentProblem> {
        let unknown = ContentProblem::UnknownKind(raw);
        Ok(Some(match raw {
            kind if !LABEL_KINDS.contains(&kind) => return Ok(None),
            ENTRY..RELOCATED => Kind::Entry(EntryKind::from_low_bits(raw)),
            RELOCATED..FIELD => Kind::Relocated(EntryKind::from_low_bits(raw)),
            FIELD..PURGED => Kind::Field(Field::new(raw - FIELD).ok_or(unknown)?),
            PURGED => Kind::Purged,
            TRUNCATED => Kind::Truncated,
            RESTATED => Kind::State(StateKind::Restated),
            CREATED => Kind::State(StateKind::Created),
            RESET => Kind::State(StateKind::Reset),
            REMOVED => Kind::Removed,
            _ => return Err(unknown),
        }))
    }

    /// The entry's kind, if this is the number of an entry record, relocated or not.
    #[inline]
    pub(crate) fn entry(raw: u8) -> Option<EntryKind> {
        if (ENTRY..FIELD).contains(&raw) { Some(EntryKind::from_low_bits(raw)) } else { None }
    }

    /// The kind of a record with this label, if it is known and belongs to this layer.
    pub(crate) fn of(label: Label) -> Option<Kind> {
        Kind::from_u8(label.kind).ok().flatten()
    }
}

/// The label of a record about a group.
pub(crate) fn label(kind: Kind, group: u64, at: Position) -> Label {
    Label { kind: kind.to_u8(), stream: group, sequence: at.index, extra: at.term }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_number_and_unknown_ones_are_refused() {
        let (mut known, mut foreign) = (0, 0);
        for raw in 0..=u8::MAX {
            match Kind::from_u8(raw) {
                Ok(Some(kind)) => {
                    assert_eq!(kind.to_u8(), raw);
                    known += 1;
                }
                Ok(None) => foreign += 1,
                Err(problem) => assert_eq!(problem, ContentProblem::UnknownKind(raw)),
            }
        }
        assert_eq!((known, foreign), (32 + 32 + 12 + 6, 128));
    }

    #[test]
    fn the_numbers_of_the_kinds_never_change() {
        let kind = |n| EntryKind::new(n).unwrap();
        let pinned = [
            (0x80, Kind::Entry(kind(0))),
            (0x9f, Kind::Entry(kind(31))),
            (0xa0, Kind::Relocated(kind(0))),
            (0xbf, Kind::Relocated(kind(31))),
            (0xc0, Kind::Field(Field::ALL[0])),
            (0xcb, Kind::Field(Field::ALL[11])),
            (0xd0, Kind::Purged),
            (0xd1, Kind::Truncated),
            (0xe0, Kind::State(StateKind::Restated)),
            (0xe1, Kind::State(StateKind::Created)),
            (0xe2, Kind::State(StateKind::Reset)),
            (0xe3, Kind::Removed),
        ];
        for (raw, kind) in pinned {
            assert_eq!((kind.to_u8(), Kind::from_u8(raw)), (raw, Ok(Some(kind))));
        }
    }
}
