//! Builds the summary of a segment from its records.
//!
//! Records are added in commit order. Only headers are read, except for the few records whose label does not say
//! everything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::super::codec::root::decode_root;
use super::super::codec::{Kind, StateKind};
use super::super::error::{ContentProblem, Error, Result};
use super::super::index::{SegmentPositions, Slice, Width};
use super::super::state::Position;
use super::super::stored::Stored;
use super::super::terms::Terms;
use super::{Before, Effect, EntryRange, SegmentSummary, Suffix};
use crate::error::Error as LogError;
use crate::mutation::or_fault;
use crate::size::{at_most, in_header};
use crate::{Batch, Label, Lsn, RecordHead, SegmentReader};

/// The summary of a sealed segment, from its records.
///
/// # Errors
/// Errors from reading; [`Error::Content`] for a record that this build cannot interpret.
pub(crate) fn summarize(segment: &SegmentReader) -> Result<SegmentSummary> {
    summarize_piece(segment, &(segment.first_lsn()..segment.end_lsn()))
}

/// The summary of some blocks of a sealed segment; several of these in sequence can stand for a segment.
///
/// # Errors
/// As [`summarize`].
pub(crate) fn summarize_piece(segment: &SegmentReader, blocks: &Range<Lsn>) -> Result<SegmentSummary> {
    let mut groups: HashMap<u64, OfGroup> = HashMap::new();
    for head in segment.heads_within(blocks) {
        add(&mut groups, segment, &head?)?;
    }
    assemble(groups, segment)
}

/// Like [`summarize`], but skips what cannot be read or contradicts earlier records: the summary of the rest, and the
/// problems, only the first for each group.
///
/// # Errors
/// Errors not caused by the segment's bytes.
pub(crate) fn summarize_rest(segment: &SegmentReader) -> Result<(SegmentSummary, Vec<Error>)> {
    let mut groups: HashMap<u64, OfGroup> = HashMap::new();
    let (mut wrong, mut hit) = (Vec::new(), HashSet::new());
    for head in segment.salvage() {
        let group = head.as_ref().ok().and_then(|head| head.label).map(|label| label.stream);
        match head.map_err(Error::from).and_then(|head| add(&mut groups, segment, &head)) {
            Ok(()) => {}
            Err(e @ (Error::Log(LogError::Corruption(_)) | Error::Content { .. })) => {
                if group.is_none_or(|group| hit.insert(group)) {
                    wrong.push(e);
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok((assemble(groups, segment)?, wrong))
}

/// Adds the effect of one record.
fn add(groups: &mut HashMap<u64, OfGroup>, segment: &SegmentReader, head: &RecordHead) -> Result<()> {
    // A record without a label, or with a lower kind, belongs to another user: the log is shared.
    let Some(label) = head.label else { return Ok(()) };
    let content =
        |problem| Error::Content { group: label.stream, index: label.sequence, lsn: head.lsn, problem };
    let Some(kind) = Kind::from_u8(label.kind).map_err(content)? else { return Ok(()) };
    let record = if has_payload(kind) { Some(segment.read(head.lsn)?) } else { None };
    let payload = record.as_ref().map_or(&[][..], |record| record.payload());
    let size = Batch::record_size(u64::from(head.payload_len), true);
    groups
        .entry(label.stream)
        .or_default()
        .add(kind, label, Place { lsn: head.lsn, size }, payload)
        .map_err(content)
}

/// Whether a summary needs more of a record than its label.
fn has_payload(kind: Kind) -> bool {
    matches!(kind, Kind::Field(_) | Kind::State(_))
}

fn assemble(groups: HashMap<u64, OfGroup>, segment: &SegmentReader) -> Result<SegmentSummary> {
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_unstable_by_key(|(group, _)| *group);
    let (first_lsn, end_lsn) = (segment.first_lsn(), segment.end_lsn());
    let within = |lsn: Lsn| {
        lsn.distance_from(first_lsn).ok_or_else(|| Error::internal("an address lies below its segment"))
    };
    let width = if u32::try_from(within(end_lsn)?).is_ok() { Width::Four } else { Width::Eight };
    let entries: usize = groups.iter().map(|(_, of)| of.appended.len() + of.relocated.len()).sum();
    if u32::try_from(entries).is_err() {
        return Err(Error::internal("a segment has more entries than a summary can number"));
    }
    let mut body = Vec::with_capacity(entries.saturating_mul(width.bytes()));
    let mut effects = BTreeMap::new();
    for (group, mut of) in groups {
        let mut at = body.len() / width.bytes();
        of.effect.relocated = of.relocated_ranges(at);
        at += of.relocated.len();
        of.effect.suffix = of.suffix(at);
        for place in of.relocated.values().map(|(place, _)| place).chain(&of.appended) {
            let distance = within(place.lsn)?.to_le_bytes();
            // The lower bytes come first, so the first four are the number if it fits into them.
            body.extend(distance.iter().take(width.bytes()));
        }
        effects.insert(group, of.effect);
    }
    let body = body.into();
    let positions = SegmentPositions { segment: segment.id(), first_lsn, end_lsn, width, body };
    Ok(SegmentSummary { effects, positions: Arc::new(positions) })
}

/// A record's position and size.
#[derive(Clone, Copy, Debug)]
struct Place {
    lsn: Lsn,
    size: u64,
}

/// The effect of a group's records so far.
#[derive(Debug, Default)]
struct OfGroup {
    effect: Effect,
    /// Older segments' entries from here on are gone; the first entry appended in this segment has this index.
    cut: Option<u64>,
    /// Terms of the appended entries.
    terms: Terms,
    appended: Vec<Place>,
    /// The entries that were relocated, with their terms.
    relocated: BTreeMap<u64, (Place, u64)>,
}

impl OfGroup {
    fn add(&mut self, kind: Kind, label: Label, place: Place, payload: &[u8]) -> Result<(), ContentProblem> {
        let at = Position { index: label.sequence, term: label.extra };
        if self.effect.removed && kind != Kind::State(StateKind::Created) {
            return Err(ContentProblem::Order);
        }
        match kind {
            Kind::Entry(_) => return self.append(at, place),
            Kind::Relocated(_) => return self.relocate(at, place),
            Kind::Field(field) => self.effect.state.set(field, at, payload),
            Kind::Purged => return self.purge(at),
            Kind::Truncated => self.truncate(at.index),
            Kind::State(state) => self.state(state, place, payload)?,
            Kind::Removed => {
                *self = OfGroup::default();
                self.effect.before = Before::Gone;
                self.effect.removed = true;
            }
        }
        Ok(())
    }

    fn append(&mut self, at: Position, place: Place) -> Result<(), ContentProblem> {
        check_index(at.index)?;
        let next = self.cut.map(|first| first.saturating_add(self.appended.len() as u64));
        if next.is_some_and(|next| at.index > next) {
            return Err(ContentProblem::Order);
        }
        if next != Some(at.index) {
            self.truncate(at.index);
        }
        self.appended.push(place);
        self.terms.push(at.index, at.term);
        Ok(())
    }

    /// Removes entries from `index` on, wherever they are.
    fn truncate(&mut self, index: u64) {
        // Entries relocated earlier are replaced like all others.
        drop(self.relocated.split_off(&index));
        match self.cut {
            Some(first) if first <= index => {
                let kept = at_most(self.appended.len(), index - first);
                or_fault!(self.appended.truncate(kept), Suffix => ());
                self.terms.cut_from(index);
            }
            _ => {
                self.appended.clear();
                self.terms.clear();
                self.cut = Some(index);
            }
        }
    }

    /// Removes entries up to `to`, even if there are none beyond.
    fn purge(&mut self, to: Position) -> Result<(), ContentProblem> {
        check_index(to.index)?;
        self.effect.purged = Some(to);
        let first_left = to.index + 1;
        self.relocated = self.relocated.split_off(&first_left);
        let Some(first) = self.cut.filter(|first| *first < first_left) else { return Ok(()) };
        let gone = at_most(self.appended.len(), first_left - first);
        self.appended.drain(..gone);
        self.cut = Some(first_left);
        if self.appended.is_empty() {
            self.terms.clear();
        } else {
            self.terms.drop_below(first_left);
        }
        Ok(())
    }

    /// A relocated entry comes from an older segment, so it was neither appended in this one nor already relocated
    /// into it.
    fn relocate(&mut self, at: Position, place: Place) -> Result<(), ContentProblem> {
        check_index(at.index)?;
        let replaced = self.cut.is_some_and(|first| at.index >= first);
        if replaced || self.relocated.insert(at.index, (place, at.term)).is_some() {
            return Err(ContentProblem::Order);
        }
        Ok(())
    }

    fn state(&mut self, kind: StateKind, place: Place, payload: &[u8]) -> Result<(), ContentProblem> {
        let root = decode_root(payload)?;
        // No record is larger: its payload length is a u32.
        let bytes = u32::try_from(place.size).map_err(|_| ContentProblem::Trailing)?;
        let record = Stored { lsn: place.lsn, bytes };
        let before = match kind {
            StateKind::Restated => self.effect.before,
            StateKind::Created => Before::Gone,
            StateKind::Reset if self.effect.before == Before::Gone => Before::Gone,
            StateKind::Reset => Before::EntriesGone,
        };
        if kind != StateKind::Restated {
            self.cut = None;
            self.appended.clear();
            self.terms.clear();
            self.relocated.clear();
        }
        self.effect = Effect { before, root: Some((record, root)), ..Effect::default() };
        Ok(())
    }

    /// The segment's effect on the end of the group's log; the positions of its entries begin at number `at`.
    /// [`assemble`] has checked that a `u32` can number all entries.
    fn suffix(&self, at: usize) -> Suffix {
        let Some(first) = self.cut else { return Suffix::Stands };
        if self.appended.is_empty() {
            return Suffix::Cut(first);
        }
        let (count, at) = (in_header(self.appended.len()), in_header(at));
        let bytes = self.appended.iter().try_fold(0u64, |sum, place| sum.checked_add(place.size));
        let slice = Slice { first, count, at, bytes };
        Suffix::Replaced(EntryRange { slice, terms: self.terms.runs().collect() })
    }

    /// The relocated entries as ranges of consecutive ones, whose positions begin at number `at`.
    fn relocated_ranges(&self, at: usize) -> Vec<EntryRange> {
        let mut ranges: Vec<EntryRange> = Vec::new();
        for (n, (index, (place, term))) in self.relocated.iter().enumerate() {
            if let Some(range) = ranges.last_mut()
                && range.slice.first.checked_add(u64::from(range.slice.count)) == Some(*index)
                && let Some((_, last)) = range.terms.last().copied()
            {
                range.slice.count += 1;
                range.slice.bytes = range.slice.bytes.and_then(|bytes| bytes.checked_add(place.size));
                if last != *term {
                    range.terms.push((*index, *term));
                }
                continue;
            }
            let slice = Slice { first: *index, count: 1, at: in_header(at + n), bytes: Some(place.size) };
            ranges.push(EntryRange { slice, terms: vec![(*index, *term)] });
        }
        ranges
    }
}

/// The highest number is not a valid index: a log needs the one after its last.
fn check_index(index: u64) -> Result<(), ContentProblem> {
    if index == u64::MAX { Err(ContentProblem::Field("index")) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::super::super::codec::root::encode_root;
    use super::super::super::state::{EntryKind, Field, Root};
    use super::*;

    const ZERO: EntryKind = EntryKind::new(0).unwrap();
    const ENTRY: Kind = Kind::Entry(ZERO);
    const MOVED: Kind = Kind::Relocated(ZERO);

    fn feed(group: &mut OfGroup, kind: Kind, index: u64, term: u64, lsn: u64) -> Result<(), ContentProblem> {
        let label = Label { kind: kind.to_u8(), stream: 1, sequence: index, extra: term };
        let payload = if matches!(kind, Kind::State(_)) { encode_root(&Root::default()) } else { Vec::new() };
        group.add(kind, label, Place { lsn: Lsn::new(lsn), size: 48 }, &payload)
    }

    fn entries(group: &OfGroup) -> Vec<(u64, u64, u64)> {
        let Suffix::Replaced(range) = group.suffix(0) else { return Vec::new() };
        let Slice { first, count, .. } = range.slice;
        (0..u64::from(count))
            .map(|n| (first + n, group.terms.get(first + n).unwrap(), group.appended[n as usize].lsn.get()))
            .collect()
    }

    fn relocated(group: &OfGroup) -> Vec<(u64, u32, u32)> {
        group.relocated_ranges(7).iter().map(|r| (r.slice.first, r.slice.count, r.slice.at)).collect()
    }

    #[test]
    fn relocated_entries_replace_nothing_and_are_replaced() {
        let mut group = OfGroup::default();
        for (n, index) in [5, 6, 1, 2, 3].into_iter().enumerate() {
            feed(&mut group, MOVED, index, 1, n as u64).unwrap();
        }
        assert_eq!(relocated(&group), [(1, 3, 7), (5, 2, 10)]);
        assert!(entries(&group).is_empty());
        feed(&mut group, ENTRY, 10, 1, 9).unwrap();
        assert_eq!(feed(&mut group, MOVED, 10, 1, 10), Err(ContentProblem::Order));
        feed(&mut group, MOVED, 9, 1, 11).unwrap();
        assert_eq!(relocated(&group), [(1, 3, 7), (5, 2, 10), (9, 1, 12)]);
        feed(&mut group, ENTRY, 6, 2, 12).unwrap();
        assert_eq!((relocated(&group), entries(&group)), (vec![(1, 3, 7), (5, 1, 10)], vec![(6, 2, 12)]));
        assert_eq!(feed(&mut group, MOVED, 2, 1, 13), Err(ContentProblem::Order));
        feed(&mut group, Kind::State(StateKind::Reset), 50, 2, 14).unwrap();
        assert_eq!((relocated(&group), entries(&group)), (vec![], vec![]));
    }

    #[test]
    fn a_conflict_inside_a_segment_leaves_one_range() {
        let mut group = OfGroup::default();
        for (n, (index, term)) in [(10, 1), (11, 1), (12, 1), (11, 2), (12, 2)].into_iter().enumerate() {
            feed(&mut group, ENTRY, index, term, n as u64).unwrap();
        }
        assert_eq!(entries(&group), [(10, 1, 0), (11, 2, 3), (12, 2, 4)]);
        feed(&mut group, ENTRY, 8, 3, 9).unwrap();
        assert_eq!(entries(&group), [(8, 3, 9)]);
        assert_eq!(feed(&mut group, ENTRY, 10, 3, 10), Err(ContentProblem::Order));
    }

    #[test]
    fn a_truncation_takes_entries_of_this_segment_and_of_older_ones() {
        let mut group = OfGroup::default();
        feed(&mut group, MOVED, 7, 1, 0).unwrap();
        feed(&mut group, Kind::Truncated, 9, 0, 1).unwrap();
        assert_eq!((group.suffix(0), relocated(&group)), (Suffix::Cut(9), vec![(7, 1, 7)]));
        assert_eq!(feed(&mut group, MOVED, 9, 1, 2), Err(ContentProblem::Order));
        assert_eq!(feed(&mut group, ENTRY, 10, 1, 3), Err(ContentProblem::Order));
        for (n, index) in [9, 10, 11].into_iter().enumerate() {
            feed(&mut group, ENTRY, index, 2, 4 + n as u64).unwrap();
        }
        feed(&mut group, Kind::Truncated, 10, 0, 7).unwrap();
        assert_eq!(entries(&group), [(9, 2, 4)]);
        feed(&mut group, Kind::Truncated, 4, 0, 8).unwrap();
        assert_eq!((group.suffix(0), relocated(&group)), (Suffix::Cut(4), vec![]));
        feed(&mut group, ENTRY, 4, 3, 9).unwrap();
        assert_eq!(entries(&group), [(4, 3, 9)]);
    }

    #[test]
    fn a_purge_takes_entries_of_this_segment_and_may_go_beyond_the_end() {
        let mut group = OfGroup::default();
        feed(&mut group, MOVED, 3, 1, 0).unwrap();
        for index in 5..9 {
            feed(&mut group, ENTRY, index, index, index).unwrap();
        }
        feed(&mut group, Kind::Purged, 6, 6, 9).unwrap();
        assert_eq!((relocated(&group), entries(&group)), (vec![], vec![(7, 7, 7), (8, 8, 8)]));
        feed(&mut group, Kind::Purged, 20, 9, 10).unwrap();
        assert_eq!(
            (group.suffix(0), group.effect.purged),
            (Suffix::Cut(21), Some(Position { index: 20, term: 9 }))
        );
        feed(&mut group, ENTRY, 21, 9, 11).unwrap();
        assert_eq!(entries(&group), [(21, 9, 11)]);
        assert_eq!(feed(&mut group, Kind::Purged, u64::MAX, 9, 12), Err(ContentProblem::Field("index")));
        assert_eq!(feed(&mut group, ENTRY, u64::MAX, 9, 12), Err(ContentProblem::Field("index")));
    }

    #[test]
    fn a_reset_forgets_entries_and_changes_before_it() {
        let mut group = OfGroup::default();
        feed(&mut group, ENTRY, 10, 1, 0).unwrap();
        feed(&mut group, Kind::Field(Field::ALL[4]), 9, 1, 1).unwrap();
        feed(&mut group, Kind::State(StateKind::Reset), 50, 2, 2).unwrap();
        assert_eq!(group.effect.before, Before::EntriesGone);
        assert!(group.effect.state.is_empty());
        feed(&mut group, ENTRY, 51, 2, 3).unwrap();
        assert_eq!(entries(&group), [(51, 2, 3)]);
    }

    #[test]
    fn a_restated_state_keeps_the_entries() {
        let mut group = OfGroup::default();
        feed(&mut group, ENTRY, 10, 1, 0).unwrap();
        feed(&mut group, Kind::State(StateKind::Restated), 0, 0, 1).unwrap();
        assert_eq!(group.effect.before, Before::Stands);
        assert_eq!(entries(&group), [(10, 1, 0)]);
    }

    #[test]
    fn after_removal_only_a_creation_may_follow() {
        let mut group = OfGroup::default();
        feed(&mut group, ENTRY, 10, 1, 0).unwrap();
        feed(&mut group, Kind::Removed, 0, 0, 1).unwrap();
        assert!(group.effect.removed);
        assert_eq!(feed(&mut group, ENTRY, 11, 1, 2), Err(ContentProblem::Order));
        feed(&mut group, Kind::State(StateKind::Created), 0, 0, 3).unwrap();
        assert!(!group.effect.removed);
        assert_eq!(group.effect.before, Before::Gone);
        assert_eq!(entries(&group), []);
    }
}
