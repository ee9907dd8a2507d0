//! Reading a summary, one group after another.
//!
//! A footer may hold hundreds of thousands of groups, so an open looks at them in place, in the mapping, without making a
//! tree of them first. What is read is checked as it comes: ids ascend, and whatever readers rely on holds for every range.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    ALL_FLAGS, APPLIED, Before, COMPACTED, CONF, Effect, EntryRange, FRESH, HARD, RANGE_CUTS, RANGE_SIZED,
    REMOVED, RESET, SNAPSHOT, STATE, SegmentSummary, UNSIZED, VERSION,
};
use crate::raft::codec::Cursor;
use crate::raft::codec::state::{decode_conf, decode_state, take_hard, take_id, take_snapshot};
use crate::raft::error::ContentProblem;
use crate::raft::index::{SegmentPositions, Slice, Width};
use crate::{Lsn, SegmentId, Summary};

/// What a summary says of each group, by ascending id. Ends after the first problem.
#[derive(Debug)]
pub(crate) struct Effects<'a> {
    cursor: Cursor<'a>,
    version: u16,
    /// How many positions the segment's array has.
    positions: usize,
    /// How many groups are still to come.
    left: u32,
    last: Option<u64>,
}

impl<'a> Effects<'a> {
    /// Begins to read the summary of this segment: its array, and the effects.
    pub(crate) fn of(
        segment: SegmentId,
        summary: &'a Summary,
    ) -> Result<(Arc<SegmentPositions>, Effects<'a>), ContentProblem> {
        let mut cursor = Cursor::new(&summary.head);
        let version = cursor.u16()?;
        if version != VERSION && version != UNSIZED {
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
        Ok((Arc::new(array), Effects { cursor, version, positions, left, last: None }))
    }

    /// The group that was read last, or is being read.
    pub(crate) fn group(&self) -> Option<u64> {
        self.last
    }

    fn take(&mut self) -> Result<(u64, Effect), ContentProblem> {
        let group = self.cursor.u64()?;
        if self.last.is_some_and(|last| group <= last) {
            return Err(ContentProblem::Field("group"));
        }
        self.last = Some(group);
        let effect = take_effect(&mut self.cursor, self.version, self.positions)?;
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
    /// All of a summary at once.
    pub(crate) fn decode(segment: SegmentId, summary: &Summary) -> Result<SegmentSummary, ContentProblem> {
        let (positions, effects) = Effects::of(segment, summary)?;
        let effects: BTreeMap<u64, Effect> = effects.collect::<Result<_, _>>()?;
        Ok(SegmentSummary { effects, positions })
    }
}

fn take_effect(cursor: &mut Cursor<'_>, version: u16, positions: usize) -> Result<Effect, ContentProblem> {
    let flags = cursor.u16()?;
    let ranges = if version == UNSIZED { u32::from(cursor.u16()?) } else { cursor.u32()? };
    let before = match flags & (FRESH | RESET) {
        0 => Before::Stands,
        RESET => Before::EntriesGone,
        FRESH => Before::Gone,
        _ => return Err(ContentProblem::Field("flags")),
    };
    if flags & !ALL_FLAGS != 0 || (version == UNSIZED && ranges > 1) {
        return Err(ContentProblem::Field("flags"));
    }
    let mut effect = Effect { before, removed: flags & REMOVED != 0, ..Effect::default() };
    if flags & STATE != 0 {
        let lsn = Lsn::new(cursor.u64()?);
        effect.state = Some((lsn, decode_state(sized(cursor)?)?));
    }
    if flags & HARD != 0 {
        effect.hard = Some(take_hard(cursor)?);
    }
    if flags & APPLIED != 0 {
        effect.applied = Some(take_id(cursor)?);
    }
    if flags & COMPACTED != 0 {
        effect.compacted = Some(take_id(cursor)?);
    }
    if flags & CONF != 0 {
        let index = cursor.u64()?;
        effect.conf = Some((index, Arc::new(decode_conf(sized(cursor)?)?)));
    }
    if flags & SNAPSHOT != 0 {
        effect.snapshot = Some(take_snapshot(cursor)?);
    }
    take_ranges(cursor, version, ranges, positions, &mut effect)?;
    Ok(effect)
}

/// The ranges ascend, are disjoint, and only the last one may have been appended; readers rely on it.
fn take_ranges(
    cursor: &mut Cursor<'_>,
    version: u16,
    ranges: u32,
    positions: usize,
    effect: &mut Effect,
) -> Result<(), ContentProblem> {
    let mut end = 0;
    for _ in 0..ranges {
        let flags = cursor.u8()?;
        let known = if version == UNSIZED { RANGE_CUTS } else { RANGE_CUTS | RANGE_SIZED };
        let must = if version == UNSIZED { RANGE_CUTS } else { 0 };
        if flags & !known != 0 || flags & must != must || effect.appended.is_some() {
            return Err(ContentProblem::Field("range flags"));
        }
        let range = take_range(cursor, flags & RANGE_SIZED != 0, positions)?;
        if range.slice.first < end {
            return Err(ContentProblem::Field("ranges"));
        }
        end = range.slice.first.saturating_add(u64::from(range.slice.count));
        if flags & RANGE_CUTS != 0 {
            effect.appended = Some(range);
        } else {
            effect.relocated.push(range);
        }
    }
    Ok(())
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
    // Every index of the range has a position and a term, and the terms rise; readers rely on it.
    let end = first.checked_add(u64::from(count)).ok_or(ContentProblem::Field("entries"))?;
    let inside = at.checked_add(count).is_some_and(|e| e as usize <= positions);
    let covered =
        terms.first().map(|run| run.0) == Some(first) && terms.last().is_some_and(|run| run.0 < end);
    let rising = terms.iter().zip(terms.iter().skip(1)).all(|(a, b)| a.0 < b.0 && a.1 <= b.1);
    if first == 0 || count == 0 || !inside || !covered || !rising {
        return Err(ContentProblem::Field("entries"));
    }
    Ok(EntryRange { slice: Slice { first, count, at, bytes }, terms })
}
