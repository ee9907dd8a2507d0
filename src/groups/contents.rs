//! One group in memory, and the only functions that change it.
//!
//! Submitted batches and segments replayed at open use the same methods, so a restart finds the same state. Nothing
//! is checked here: a batch is checked before it is staged (`draft`), and the result of a replay is checked as a
//! whole at the end ([`Contents::verify_whole`]).

use std::sync::Arc;

use parking_lot::RwLock;

use super::codec::Kind;
use super::error::{Error, Missing, Result};
use super::index::{Positions, SegmentPositions, Slice, Written};
use super::state::{Field, Position, Root, State};
use super::stored::Stored;
use super::summary::EntryRange;
use super::terms::Terms;
use crate::{Lsn, RecordHead};

/// One group, shared by the log, its batches and its handles.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: u64,
    pub(crate) contents: RwLock<Contents>,
}

impl Slot {
    pub(crate) fn new(id: u64, contents: Contents) -> Arc<Slot> {
        Arc::new(Slot { id, contents: RwLock::new(contents) })
    }
}

/// A side of a group: the unit of conflicts between batches. See [`Field`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Entries, and the first four fields.
    Log,
    /// Purging, and the next four.
    Purge,
    /// The last four.
    Rest,
}

impl Side {
    pub(crate) fn of(field: Field) -> Side {
        match field.number() / 4 {
            0 => Side::Log,
            1 => Side::Purge,
            _ => Side::Rest,
        }
    }
}

/// A version number for each side of a group, which rises when the side changes. Creating, resetting and removing
/// change all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions([u64; 3]);

impl Versions {
    pub(crate) fn raise(&mut self, touched: Touched) {
        for (version, touched) in self.0.iter_mut().zip(touched.0) {
            *version += u64::from(touched);
        }
    }

    /// Whether any touched side has a different version.
    pub(crate) fn differ(self, other: Versions, touched: Touched) -> bool {
        self.0.iter().zip(other.0).zip(touched.0).any(|((a, b), touched)| touched && *a != b)
    }
}

/// The sides of a group that a batch changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched([bool; 3]);

impl Touched {
    pub(crate) const ALL: Touched = Touched([true; 3]);

    /// What a batch that leaves nothing of the group depends on: the last four fields do not matter then.
    pub(crate) const LOG_AND_PURGE: Touched = Touched([true, true, false]);

    pub(crate) fn side(side: Side) -> Touched {
        Touched([side == Side::Log, side == Side::Purge, side == Side::Rest])
    }

    pub(crate) fn add(&mut self, other: Touched) {
        for (touched, more) in self.0.iter_mut().zip(other.0) {
            *touched |= more;
        }
    }

    pub(crate) fn any(self) -> bool {
        self.0 != [false; 3]
    }
}

/// The contents of a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) root: Root,
    pub(crate) terms: Terms,
    pub(crate) positions: Positions,
    /// The newest State record; `None` while replay has seen only later records.
    pub(crate) record: Option<Stored>,
    /// Where the log was reset, if that was since it was opened.
    pub(crate) reset_lsn: Option<Lsn>,
    /// Entries below this index were durable before they were relocated. Their new place may not be durable yet, but
    /// the old one is kept until it is.
    pub(crate) durable_below: u64,
    pub(crate) versions: Versions,
    /// The group was removed; there may still be handles on it.
    pub(crate) gone: bool,
}

impl Contents {
    /// A group that begins with this State.
    pub(crate) fn created(root: Root, record: Stored) -> Contents {
        Contents { root, record: Some(record), reset_lsn: Some(record.lsn), ..Contents::default() }
    }

    /// A State record repeats the present state.
    pub(crate) fn restate(&mut self, root: Root, record: Stored) {
        self.root = root;
        self.record = Some(record);
        self.trim();
    }

    /// The log begins again with this State.
    pub(crate) fn reset(&mut self, root: Root, record: Stored) {
        self.terms.clear();
        self.positions.clear();
        self.durable_below = 0;
        self.root = root;
        self.record = Some(record);
        self.reset_lsn = Some(record.lsn);
    }

    /// Removes entries from `first` on; replacements may follow one by one.
    pub(crate) fn cut_for(&mut self, first: u64) {
        self.positions.cut_from(first);
        self.terms.cut_from(first);
        self.durable_below = self.durable_below.min(first);
    }

    /// Adds an entry at the end.
    pub(crate) fn push(&mut self, term: u64, entry: Written) {
        self.positions.push(entry);
        self.terms.push(entry.index, term);
    }

    /// Adds entries at the end whose positions are in a segment's summary. During replay they may leave a gap: the
    /// missing entries were in released segments and were relocated to later ones, or a purge that covers them
    /// follows.
    pub(crate) fn push_mapped(&mut self, range: &EntryRange, from: &Arc<SegmentPositions>) {
        self.positions.push_mapped(range.slice, from);
        for (index, term) in &range.terms {
            self.terms.push(*index, *term);
        }
    }

    /// Records the new positions of existing entries. Within one segment they ascend by index.
    pub(crate) fn relocate(&mut self, entries: &[Written]) {
        self.positions.relocate(entries);
        if let Some(highest) = entries.iter().map(|entry| entry.index).max() {
            self.durable_below = self.durable_below.max(highest.saturating_add(1));
        }
    }

    /// Existing entries, or entries lost with released segments, are now where a segment's summary says. An entry
    /// present with a different term was never relocated: `Err` has its index.
    pub(crate) fn replay_relocated(
        &mut self,
        range: &EntryRange,
        from: &Arc<SegmentPositions>,
    ) -> std::result::Result<(), u64> {
        let Slice { first, count, .. } = range.slice;
        let end = first.saturating_add(u64::from(count));
        let mut terms = Terms::default();
        terms.put(first, end, &range.terms);
        // Terms are stored as runs, so it is enough to compare the beginnings of runs.
        let begins: Vec<u64> = self.terms.runs().chain(terms.runs()).map(|(index, _)| index).collect();
        for held in self.positions.overlaps(first, end) {
            let looked_at = begins.iter().copied().filter(|index| held.contains(index)).chain([held.start]);
            for index in looked_at {
                if self.terms.get(index) != terms.get(index) {
                    return Err(index);
                }
            }
        }
        self.positions.place_mapped(range.slice, from);
        self.terms.put(first, end, &range.terms);
        // A run that extended beyond the last of them starts again there, even if that is the end of the log.
        if let Some(end) = self.positions.end() {
            self.terms.cut_from(end);
        }
        Ok(())
    }

    /// Sets the fields that are set in `changed`.
    pub(crate) fn change(&mut self, changed: &State) {
        self.root.state.merge(changed);
    }

    /// Removes entries up to and including `to`, even if that is beyond the last one.
    pub(crate) fn purge(&mut self, to: Position) {
        self.root.start = super::state::Start::after(Some(to));
        self.trim();
    }

    /// Drops positions and terms of purged entries.
    pub(crate) fn trim(&mut self) {
        let first = self.first_index();
        self.positions.drop_below(first);
        if self.positions.first().is_none() {
            self.terms.clear();
        } else {
            self.terms.drop_below(first);
        }
    }

    pub(crate) fn first_index(&self) -> u64 {
        self.root.start.first
    }

    /// The index after the last one.
    pub(crate) fn end_index(&self) -> u64 {
        self.positions.end().unwrap_or(self.root.start.first)
    }

    /// The last entry, or the last removed one if there are no entries; `None` in an empty log that begins at index
    /// 0.
    pub(crate) fn last(&self) -> Option<Position> {
        debug_assert_eq!(
            self.positions.end().is_some(),
            self.terms.last().is_some(),
            "an entry has a position and a term"
        );
        match self.positions.end().zip(self.terms.last()) {
            Some((end, term)) => Some(Position { index: end - 1, term }),
            None => self.root.start.before(),
        }
    }

    /// The term at an index between the one before the first and the last.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        match self.root.start.before() {
            Some(before) if index == before.index => Some(before.term),
            _ if index < self.first_index() || index >= self.end_index() => None,
            _ => self.terms.get(index),
        }
    }

    /// An address at or below everything that this group still needs, in the segment of the lowest.
    pub(crate) fn lowest_lsn(&self) -> Option<Lsn> {
        let entries = self.positions.lowest();
        self.record.map(|record| record.lsn).into_iter().chain(entries).min()
    }

    /// Whether the group needs this record: an entry at its newest place, or the newest State.
    pub(crate) fn needs(&self, head: &RecordHead) -> bool {
        let Some(label) = head.label.filter(|_| !self.gone) else { return false };
        match Kind::of(label) {
            Some(Kind::Entry(_) | Kind::Relocated(_)) => self.positions.lsn(label.sequence) == Some(head.lsn),
            Some(Kind::State(_)) => self.record.is_some_and(|record| record.lsn == head.lsn),
            _ => false,
        }
    }

    /// Checks that replay produced a complete group.
    ///
    /// Remnants of released segments are dropped first: entries below the first index, and changes made before the
    /// State record. A release frees a prefix of the log below everything live. So either a State record, every entry
    /// from the first index on, and all later changes are there, or something promised is missing.
    pub(crate) fn verify_whole(&self, group: u64) -> Result<()> {
        let missing = |index, what| Err(Error::Incomplete { group, index, what });
        if self.record.is_none() {
            return missing(self.last().map_or(0, |last| last.index), Missing::State);
        }
        if self.positions.first().is_some_and(|first| first != self.first_index()) {
            return missing(self.first_index(), Missing::Entries);
        }
        match self.positions.gap() {
            Some(index) => missing(index, Missing::Entries),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::Start;
    use super::*;

    fn written(index: u64, lsn: u64) -> Written {
        Written { index, lsn: Lsn::new(lsn), size: 48 }
    }

    fn stored(lsn: u64) -> Stored {
        Stored { lsn: Lsn::new(lsn), bytes: 64 }
    }

    fn root(first: u64) -> Root {
        Root { start: Start { first, term_before: 1 }, state: State::new() }
    }

    fn with_entries(first: u64, entries: std::ops::Range<u64>) -> Contents {
        let mut group = Contents::created(root(first), stored(1));
        for i in entries {
            group.push(1, written(i, i * 10));
        }
        group
    }

    #[test]
    fn a_group_that_lacks_something_is_named_with_what_it_lacks() {
        with_entries(5, 5..9).verify_whole(1).unwrap();
        with_entries(0, 0..3).verify_whole(1).unwrap();

        let gap = with_entries(5, 7..9).verify_whole(1).unwrap_err();
        assert!(matches!(gap, Error::Incomplete { group: 1, index: 5, what: Missing::Entries }), "{gap}");

        let mut headless = with_entries(5, 5..9);
        headless.record = None;
        let headless = headless.verify_whole(1).unwrap_err();
        assert!(matches!(headless, Error::Incomplete { what: Missing::State, .. }), "{headless}");
    }

    #[test]
    fn a_gap_left_by_released_segments_closes_when_the_purge_comes() {
        let mut group = with_entries(5, 5..9);
        group.cut_for(20);
        group.push(2, written(20, 900));
        group.verify_whole(1).unwrap_err();
        group.purge(Position { index: 19, term: 1 });
        group.verify_whole(1).unwrap();
        assert_eq!(group.last(), Some(Position { index: 20, term: 2 }));
    }

    #[test]
    fn a_log_may_begin_at_0_and_may_be_purged_beyond_its_end() {
        let mut group = Contents::created(Root::default(), stored(1));
        assert_eq!((group.first_index(), group.end_index(), group.last(), group.term(0)), (0, 0, None, None));
        group.push(3, written(0, 10));
        assert_eq!((group.last(), group.term(0)), (Some(Position { index: 0, term: 3 }), Some(3)));
        let to = Position { index: 9, term: 4 };
        group.purge(to);
        assert_eq!((group.first_index(), group.end_index(), group.last()), (10, 10, Some(to)));
        assert_eq!((group.term(9), group.term(8), group.term(10)), (Some(4), None, None));
        group.push(5, written(10, 20));
        group.verify_whole(1).unwrap();
    }

    #[test]
    fn a_conflicting_append_drops_the_suffix() {
        let mut group = with_entries(1, 1..10);
        group.cut_for(6);
        assert_eq!(group.last(), Some(Position { index: 5, term: 1 }));
        group.push(2, written(6, 500));
        assert_eq!(group.last(), Some(Position { index: 6, term: 2 }));
        assert_eq!(group.term(5), Some(1));
        assert_eq!(group.term(7), None);
        assert_eq!(group.positions.lsn(6), Some(Lsn::new(500)));
    }

    fn range(first: u64, count: u32, terms: &[(u64, u64)]) -> EntryRange {
        EntryRange { slice: Slice { first, count, at: 0, bytes: None }, terms: terms.to_vec() }
    }

    fn array() -> Arc<SegmentPositions> {
        Arc::new(SegmentPositions {
            segment: crate::SegmentId::new(9),
            first_lsn: Lsn::new(9000),
            end_lsn: Lsn::new(9999),
            width: super::super::index::Width::Four,
            body: vec![0; 64].into(),
        })
    }

    #[test]
    fn relocated_entries_close_the_gap_that_released_segments_left() {
        let mut group = with_entries(5, 9..12);
        let gap = group.verify_whole(1).unwrap_err();
        assert!(matches!(gap, Error::Incomplete { index: 5, what: Missing::Entries, .. }), "{gap}");
        group.replay_relocated(&range(5, 2, &[(5, 1)]), &array()).unwrap();
        let gap = group.verify_whole(1).unwrap_err();
        assert!(matches!(gap, Error::Incomplete { index: 7, what: Missing::Entries, .. }), "{gap}");
        group.replay_relocated(&range(7, 4, &[(7, 1)]), &array()).unwrap();
        group.verify_whole(1).unwrap();
        assert_eq!((group.last().unwrap().index, group.positions.lsn(11)), (11, Some(Lsn::new(110))));
        assert_eq!(group.lowest_lsn(), Some(Lsn::new(1)));
    }

    /// The released segments held entries 5 and 6 of term 1; entry 5 of term 2 replaced them and was relocated.
    #[test]
    fn the_last_entry_has_its_own_term_whatever_was_said_before_it() {
        let mut group = with_entries(1, 1..5);
        group.replay_relocated(&range(5, 1, &[(5, 2)]), &array()).unwrap();
        assert_eq!(group.last(), Some(Position { index: 5, term: 2 }));
        group.push(3, written(6, 700));
        assert_eq!(group.last(), Some(Position { index: 6, term: 3 }));
        assert_eq!(group.terms.runs().collect::<Vec<_>>(), [(1, 1), (5, 2), (6, 3)]);
    }

    #[test]
    fn a_relocated_entry_of_another_term_is_a_contradiction() {
        let mut group = with_entries(1, 1..10);
        group.cut_for(6);
        group.push(2, written(6, 500));
        group.replay_relocated(&range(4, 3, &[(4, 1), (6, 2)]), &array()).unwrap();
        assert_eq!(group.replay_relocated(&range(4, 3, &[(4, 1)]), &array()), Err(6));
        assert_eq!(group.replay_relocated(&range(3, 3, &[(3, 1), (5, 2)]), &array()), Err(5));
    }

    #[test]
    fn entries_below_a_relocated_one_stay_durable_until_they_are_replaced() {
        let mut group = with_entries(1, 1..10);
        group.relocate(&[written(2, 900), written(3, 910)]);
        assert_eq!((group.durable_below, group.lowest_lsn()), (4, Some(Lsn::new(1))));
        group.cut_for(3);
        assert_eq!(group.durable_below, 3);
        group.reset(root(1), stored(1000));
        assert_eq!(group.durable_below, 0);
    }

    /// The remains of several segments are relocated together, and an older segment may hold the later entry.
    #[test]
    fn entries_relocated_in_any_order_stay_durable() {
        let mut group = with_entries(1, 1..10);
        group.relocate(&[written(8, 900), written(2, 910)]);
        assert_eq!(group.durable_below, 9);
    }
}
