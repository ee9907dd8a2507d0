//! Reads a summary, one group after another.
//!
//! A footer may hold hundreds of thousands of groups, so an open reads them in place in the mapping without building
//! a tree first. Values are checked as they are read: ids ascend, and everything that readers rely on holds for every
//! range.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    ALL_FLAGS, Before, CUT, Effect, EntryRange, FIELDS, FRESH, PURGED, RANGE_CUTS, RANGE_SIZED, REMOVED,
    RESET, ROOT, SegmentSummary, Suffix, VERSION,
};
use crate::groups::bytes::Cursor;
use crate::groups::codec::root::decode_root;
use crate::groups::error::ContentProblem;
use crate::groups::index::{SegmentPositions, Slice, Width};
use crate::groups::state::{Position, State};
use crate::groups::stored::Stored;
use crate::{Lsn, SegmentId, Summary};

/// The effects in a summary by group, by ascending id. Ends after the first problem.
#[derive(Debug)]
pub(crate) struct Effects<'a> {
    cursor: Cursor<'a>,
    /// Number of positions in the segment's array.
    positions: usize,
    /// Number of remaining groups.
    left: u32,
    last: Option<u64>,
}

impl<'a> Effects<'a> {
    /// Starts reading the summary of this segment: its array and the effects.
    pub(crate) fn of(
        segment: SegmentId,
        summary: &'a Summary,
    ) -> Result<(Arc<SegmentPositions>, Effects<'a>), ContentProblem> {
        let mut cursor = Cursor::new(&summary.head);
        let version = cursor.u16()?;
        if version != VERSION {
            return Err(ContentProblem::UnknownVersion(u32::from(version)));
        }
        let width = match cursor.u8()? {
            4 => Width::Four,
            8 => Width::Eight,
            _ => return Err(ContentProblem::Field("width")),
        };
        if cursor.u8()? != 0 {
            return Err(ContentProblem::Field("reserved"));
        }
        let left = cursor.u32()?;
        let array = SegmentPositions {
            segment,
            first_lsn: Lsn::new(cursor.u64()?),
            end_lsn: Lsn::new(cursor.u64()?),
            width,
            body: summary.body.clone(),
        };
        if left == 0 {
            cursor.finish()?;
        }
        let positions = array.body.len() / width.bytes();
        Ok((Arc::new(array), Effects { cursor, positions, left, last: None }))
    }

    fn take(&mut self) -> Result<(u64, Effect), ContentProblem> {
        let group = self.cursor.u64()?;
        if self.last.is_some_and(|last| group <= last) {
            return Err(ContentProblem::Field("group"));
        }
        self.last = Some(group);
        let effect = take_effect(&mut self.cursor, self.positions)?;
        if self.left == 0 {
            self.cursor.finish()?;
        }
        Ok((group, effect))
    }
}

impl Iterator for Effects<'_> {
    type Item = Result<(u64, Effect), ContentProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let taken = self.take();
        if taken.is_err() {
            self.left = 0;
        }
        Some(taken)
    }
}

impl SegmentSummary {
    /// Decodes a whole summary.
    pub(crate) fn decode(segment: SegmentId, summary: &Summary) -> Result<SegmentSummary, ContentProblem> {
        let (positions, effects) = Effects::of(segment, summary)?;
        let effects: BTreeMap<u64, Effect> = effects.collect::<Result<_, _>>()?;
        Ok(SegmentSummary { effects, positions })
    }
}

fn take_effect(cursor: &mut Cursor<'_>, positions: usize) -> Result<Effect, ContentProblem> {
    let (flags, ranges) = (cursor.u16()?, cursor.u32()?);
    let before = match flags & (FRESH | RESET) {
        0 => Before::Stands,
        RESET => Before::EntriesGone,
        FRESH => Before::Gone,
        _ => return Err(ContentProblem::Field("flags")),
    };
    if flags & !ALL_FLAGS != 0 {
        return Err(ContentProblem::Field("flags"));
    }
    let mut effect = Effect { before, removed: flags & REMOVED != 0, ..Effect::default() };
    if flags & ROOT != 0 {
        let record = Stored { lsn: Lsn::new(cursor.u64()?), bytes: cursor.u32()? };
        effect.root = Some((record, decode_root(sized(cursor)?)?));
    }
    if flags & CUT != 0 {
        effect.suffix = Suffix::Cut(cursor.u64()?);
    }
    if flags & PURGED != 0 {
        let purged = Position { index: cursor.u64()?, term: cursor.u64()? };
        if purged.index == u64::MAX {
            return Err(ContentProblem::Field("purged"));
        }
        effect.purged = Some(purged);
    }
    if flags & FIELDS != 0 {
        effect.state = State::decode(sized(cursor)?)?;
        if effect.state.is_empty() {
            return Err(ContentProblem::Field("fields"));
        }
    }
    take_ranges(cursor, ranges, positions, &mut effect)?;
    Ok(effect)
}

/// The ranges ascend, are disjoint, and only the last one may have been appended; readers rely on this.
fn take_ranges(
    cursor: &mut Cursor<'_>,
    ranges: u32,
    positions: usize,
    effect: &mut Effect,
) -> Result<(), ContentProblem> {
    let mut end = 0;
    for _ in 0..ranges {
        let flags = cursor.u8()?;
        if flags & !(RANGE_CUTS | RANGE_SIZED) != 0 || matches!(effect.suffix, Suffix::Replaced(_)) {
            return Err(ContentProblem::Field("range flags"));
        }
        let range = take_range(cursor, flags & RANGE_SIZED != 0, positions)?;
        if range.slice.first < end {
            return Err(ContentProblem::Field("ranges"));
        }
        end = range.slice.first.saturating_add(u64::from(range.slice.count));
        if flags & RANGE_CUTS == 0 {
            effect.relocated.push(range);
        } else if effect.suffix == Suffix::Stands {
            effect.suffix = Suffix::Replaced(range);
        } else {
            return Err(ContentProblem::Field("range flags"));
        }
    }
    match effect.suffix {
        Suffix::Cut(first) if first < end => Err(ContentProblem::Field("ranges")),
        _ => Ok(()),
    }
}

fn sized<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], ContentProblem> {
    let len = cursor.u32()? as usize;
    cursor.bytes(len)
}

fn take_range(
    cursor: &mut Cursor<'_>,
    is_sized: bool,
    positions: usize,
) -> Result<EntryRange, ContentProblem> {
    let (first, count, at) = (cursor.u64()?, cursor.u32()?, cursor.u32()?);
    let bytes = if is_sized { Some(cursor.u64()?) } else { None };
    let runs = cursor.count(16)?;
    let mut terms = Vec::with_capacity(runs);
    for _ in 0..runs {
        terms.push((cursor.u64()?, cursor.u64()?));
    }
    // Every index of the range has a position and a term; readers rely on this.
    let end = first.checked_add(u64::from(count)).ok_or(ContentProblem::Field("entries"))?;
    let inside = at.checked_add(count).is_some_and(|e| e as usize <= positions);
    let covered =
        terms.first().map(|run| run.0) == Some(first) && terms.last().is_some_and(|run| run.0 < end);
    let rising = terms.iter().zip(terms.iter().skip(1)).all(|(a, b)| a.0 < b.0);
    if count == 0 || !inside || !covered || !rising {
        return Err(ContentProblem::Field("entries"));
    }
    Ok(EntryRange { slice: Slice { first, count, at, bytes }, terms })
}
