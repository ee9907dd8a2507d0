//! Summaries: the effect of a segment on each group, in one value.
//!
//! A [`SegmentSummary`] is the net effect of a segment's records. It is made once, when the segment is sealed, kept
//! in the segment's footer, and applied at every open instead of reading the segment. If a segment lost its footer,
//! the summary is made again from its record headers, so there is only one way to replay.
//!
//! ```text
//! head   version u16 = 1 | width u8 (4 or 8) | 0 u8 | groups u32 | first LSN u64 | end LSN u64
//!        then for each group, ascending:
//!          group u64 | flags u16 | ranges u32
//!          [ROOT]       its record: LSN u64, bytes u32 | length u32 | State   (`codec::root`)
//!          [CUT]        first index u64
//!          [PURGED]     index u64 | term u64
//!          [FIELDS]     length u32 | the fields that changed        (`state`)
//!          each range:  flags u8 | first index u64 | entries u32 | number of the first position u32
//!                       [SIZED] bytes of the records u64
//!                       term runs u32 | { first index u64 | term u64 } ...
//! body   positions: u32 or u64 each, the distance of the record from the segment's first LSN
//! ```
//!
//! Flags say which fields are present, and what happens to the content of older segments (FRESH: all of it is
//! dropped; RESET: its entries are). The fields apply in the order State, ranges or cut, purged, fields; all but the
//! first describe what happened after the State.
//!
//! A group's ranges are disjoint and ascend. The last one may have the flag CUTS: its entries were appended in the
//! segment, and existing entries from its first index on are gone. There is only one such range, because within a
//! segment an append either continues the range or cuts into it. If nothing was appended after a truncation, there is
//! no such range; instead the group has the flag CUT with the first removed index. All other ranges are of relocated
//! entries: they replace the same entries in older segments and nothing else. They lie below the appended range,
//! because what is relocated into a segment comes from an older one and existed before any append in this one.

pub(crate) mod builder;
mod decode;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bytes::Put;
use super::codec::root::encode_root;
use super::index::{SegmentPositions, Slice, Width};
use super::state::{Position, Root, State};
use super::stored::Stored;
use crate::Summary;

pub(crate) use decode::Effects;

const VERSION: u16 = 1;

const ROOT: u16 = 1;
const CUT: u16 = 2;
const PURGED: u16 = 4;
const FIELDS: u16 = 8;
const FRESH: u16 = 16;
const RESET: u16 = 32;
const REMOVED: u16 = 64;
const ALL_FLAGS: u16 = 127;

/// Existing entries from this range's first index on are gone.
const RANGE_CUTS: u8 = 1;
/// The size of the records is known.
const RANGE_SIZED: u8 = 2;

/// What happens to a group's content in older segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Before {
    /// It stays.
    #[default]
    Stands,
    /// Its entries are gone.
    EntriesGone,
    /// All of it is gone.
    Gone,
}

/// The effect of a segment on the end of a group's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Suffix {
    /// None: older entries stay.
    #[default]
    Stands,
    /// Older entries from this index on are gone.
    Cut(u64),
    /// These were appended; older entries from the first of them on are gone.
    Replaced(EntryRange),
}

/// The net effect of a segment on one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) before: Before,
    /// The group does not exist after this segment; nothing else is set then.
    pub(crate) removed: bool,
    pub(crate) root: Option<(Stored, Root)>,
    pub(crate) purged: Option<Position>,
    /// The fields that changed.
    pub(crate) state: State,
    /// The entries relocated into the segment, ascending.
    pub(crate) relocated: Vec<EntryRange>,
    pub(crate) suffix: Suffix,
}

impl Effect {
    /// All entries of the group in the segment.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = &EntryRange> {
        let appended = match &self.suffix {
            Suffix::Replaced(range) => Some(range),
            Suffix::Stands | Suffix::Cut(_) => None,
        };
        self.relocated.iter().chain(appended)
    }
}

/// Consecutive entries of one group in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryRange {
    /// Their positions in the segment's array, and the size of their records.
    pub(crate) slice: Slice,
    /// The term runs: first index, term.
    pub(crate) terms: Vec<(u64, u64)>,
}

/// The net effect of a segment.
#[derive(Clone, Debug)]
pub(crate) struct SegmentSummary {
    pub(crate) effects: BTreeMap<u64, Effect>,
    pub(crate) positions: Arc<SegmentPositions>,
}

impl SegmentSummary {
    pub(crate) fn encode(&self) -> Summary {
        let positions = &self.positions;
        let mut head = Vec::with_capacity(24 + 64 * self.effects.len());
        head.put_u16(VERSION);
        head.put(&[if positions.width == Width::Four { 4 } else { 8 }, 0]);
        head.put_len(self.effects.len());
        head.put_u64(positions.first_lsn.get());
        head.put_u64(positions.end_lsn.get());
        for (group, effect) in &self.effects {
            head.put_u64(*group);
            put_effect(&mut head, effect);
        }
        Summary { head: head.into(), body: positions.body.clone() }
    }
}

fn put_effect(out: &mut Vec<u8>, effect: &Effect) {
    out.put_u16(flags_of(effect));
    out.put_len(effect.ranges().count());
    if let Some((record, root)) = &effect.root {
        let root = encode_root(root);
        out.put_u64(record.lsn.get());
        out.put_u32(record.bytes);
        out.put_len(root.len());
        out.put(&root);
    }
    if let Suffix::Cut(first) = effect.suffix {
        out.put_u64(first);
    }
    if let Some(purged) = effect.purged {
        out.put_u64(purged.index);
        out.put_u64(purged.term);
    }
    if !effect.state.is_empty() {
        let fields = effect.state.as_bytes();
        out.put_len(fields.len());
        out.put(fields);
    }
    for range in &effect.relocated {
        put_range(out, 0, range);
    }
    if let Suffix::Replaced(range) = &effect.suffix {
        put_range(out, RANGE_CUTS, range);
    }
}

fn put_range(out: &mut Vec<u8>, flags: u8, range: &EntryRange) {
    let Slice { first, count, at, bytes } = range.slice;
    out.put(&[flags | if bytes.is_some() { RANGE_SIZED } else { 0 }]);
    out.put_u64(first);
    out.put_u32(count);
    out.put_u32(at);
    if let Some(bytes) = bytes {
        out.put_u64(bytes);
    }
    out.put_len(range.terms.len());
    for (first, term) in &range.terms {
        out.put_u64(*first);
        out.put_u64(*term);
    }
}

fn flags_of(effect: &Effect) -> u16 {
    let before = match effect.before {
        Before::Stands => 0,
        Before::EntriesGone => RESET,
        Before::Gone => FRESH,
    };
    [
        (effect.removed, REMOVED),
        (effect.root.is_some(), ROOT),
        (matches!(effect.suffix, Suffix::Cut(_)), CUT),
        (effect.purged.is_some(), PURGED),
        (!effect.state.is_empty(), FIELDS),
    ]
    .iter()
    .filter(|(set, _)| *set)
    .fold(before, |flags, (_, flag)| flags | flag)
}

#[cfg(test)]
mod tests {
    use super::super::error::ContentProblem;
    use super::super::state::{Field, Start};
    use super::*;
    use crate::{Lsn, SegmentId};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn range(first: u64, count: u32, at: u32, bytes: Option<u64>, terms: Vec<(u64, u64)>) -> EntryRange {
        EntryRange { slice: Slice { first, count, at, bytes }, terms }
    }

    fn sample() -> SegmentSummary {
        let root = Root { start: Start { first: 1, term_before: 0 }, state: State::new() };
        let full = Effect {
            before: Before::EntriesGone,
            root: Some((Stored { lsn: Lsn::new(70), bytes: 80 }, root)),
            state: State::new().with(Field::ALL[0], Position { index: 9, term: 3 }, &[1]),
            purged: Some(Position { index: 4, term: 2 }),
            relocated: vec![range(1, 1, 4, Some(56), vec![(1, 1)]), range(3, 2, 5, Some(120), vec![(3, 2)])],
            suffix: Suffix::Replaced(range(5, 3, 1, Some(168), vec![(5, 2), (7, 1)])),
            removed: false,
        };
        let cut = Effect { suffix: Suffix::Cut(0), ..Effect::default() };
        let removed = Effect { before: Before::Gone, removed: true, ..Effect::default() };
        let body: Vec<u8> =
            [0u32, 64, 128, 192, 256, 320, 384].iter().flat_map(|d| d.to_le_bytes()).collect();
        SegmentSummary {
            effects: BTreeMap::from([(7, full), (9, removed), (11, Effect::default()), (12, cut)]),
            positions: Arc::new(SegmentPositions {
                segment: SegmentId::new(2),
                first_lsn: Lsn::new(64),
                end_lsn: Lsn::new(640),
                width: Width::Four,
                body: body.into(),
            }),
        }
    }

    #[test]
    fn a_summary_reads_back_as_it_was() {
        let summary = sample();
        let back = SegmentSummary::decode(SegmentId::new(2), &summary.encode()).unwrap();
        assert_eq!(back.effects, summary.effects);
        assert_eq!(back.positions.end_lsn, summary.positions.end_lsn);
    }

    /// The bytes of a small summary, as version 1 has always written them.
    #[rustfmt::skip]
    const GOLDEN: &[u8] = &[
        1, 0, 4, 0, 3, 0, 0, 0,         // version, width, groups
        64, 0, 0, 0, 0, 0, 0, 0,        // first LSN
        128, 2, 0, 0, 0, 0, 0, 0,       // end LSN
        7, 0, 0, 0, 0, 0, 0, 0,         // group 7
        12, 0, 2, 0, 0, 0,              // PURGED | FIELDS, two ranges
        4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
        5, 0, 0, 0, 0, 9, 3, 1, 1,      // field 0: index, term, length, byte
        2,                              // relocated, sized
        3, 0, 0, 0, 0, 0, 0, 0,         // first index
        2, 0, 0, 0, 5, 0, 0, 0,         // entries, number of the first position
        120, 0, 0, 0, 0, 0, 0, 0,       // bytes
        1, 0, 0, 0,                     // term runs
        3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
        3,                              // cuts, sized
        5, 0, 0, 0, 0, 0, 0, 0,         // first index
        3, 0, 0, 0, 1, 0, 0, 0,         // entries, number of the first position
        168, 0, 0, 0, 0, 0, 0, 0,       // bytes
        2, 0, 0, 0,                     // term runs
        5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
        7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
        9, 0, 0, 0, 0, 0, 0, 0,         // group 9
        80, 0, 0, 0, 0, 0,              // FRESH | REMOVED, no range
        12, 0, 0, 0, 0, 0, 0, 0,        // group 12
        2, 0, 0, 0, 0, 0,               // CUT, no range
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn the_bytes_of_a_summary_never_change() {
        let mut summary = sample();
        summary.effects.remove(&11);
        let effect = summary.effects.get_mut(&7).unwrap();
        *effect = Effect { before: Before::Stands, root: None, ..effect.clone() };
        effect.relocated.remove(0);
        assert_eq!(summary.encode().head, GOLDEN);
        let golden = Summary { head: Bytes::from_static(GOLDEN), body: summary.positions.body.clone() };
        let back = SegmentSummary::decode(SegmentId::new(2), &golden).unwrap();
        assert_eq!(back.effects, summary.effects);
    }

    fn appended(effect: &mut Effect) -> &mut EntryRange {
        let Suffix::Replaced(range) = &mut effect.suffix else { panic!("nothing was appended") };
        range
    }

    #[test]
    fn ranges_that_overlap_or_follow_what_was_appended_are_refused() {
        type Spoil = fn(&mut Effect);
        let spoil: [Spoil; 3] = [
            |effect| effect.relocated.reverse(),
            |effect| (effect.relocated[1].slice.count, effect.relocated[1].slice.at) = (3, 4),
            |effect| {
                let slice = &mut appended(effect).slice;
                (slice.first, slice.count) = (4, 4);
            },
        ];
        for spoil in spoil {
            let mut summary = sample();
            let effect = summary.effects.get_mut(&7).unwrap();
            spoil(effect);
            let range = appended(effect);
            range.terms[0].0 = range.slice.first;
            let refused = SegmentSummary::decode(SegmentId::new(2), &summary.encode()).unwrap_err();
            assert_eq!(refused, ContentProblem::Field("ranges"));
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let whole = sample().encode();
        for cut in 0..whole.head.len() {
            let cut = Summary { head: whole.head.slice(..cut), body: whole.body.clone() };
            SegmentSummary::decode(SegmentId::new(2), &cut).unwrap_err();
        }
        let short_body = Summary { head: whole.head.clone(), body: whole.body.slice(..12) };
        let refused = SegmentSummary::decode(SegmentId::new(2), &short_body).unwrap_err();
        assert_eq!(refused, ContentProblem::Field("entries"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_mutated_head_never_panics(at in 0usize..400, byte in any::<u8>()) {
            let whole = sample().encode();
            let mut head = whole.head.to_vec();
            if let Some(b) = head.get_mut(at) {
                *b = byte;
            }
            let mutated = Summary { head: head.clone().into(), body: Bytes::new() };
            prop_assert!(SegmentSummary::decode(SegmentId::new(2), &mutated).is_err());
            let mutated = Summary { head: head.clone().into(), body: whole.body };
            if let Ok(summary) = SegmentSummary::decode(SegmentId::new(2), &mutated) {
                prop_assert_eq!(summary.encode().head.len(), head.len());
            }
        }
    }
}
