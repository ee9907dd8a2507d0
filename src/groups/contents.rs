//! One group in memory, and the one set of functions that changes it.
//!
//! A batch that was submitted and a segment that is replayed at open go through the same methods, so what a restart
//! finds is what was there before. Nothing is checked here: a batch is checked before it is staged (`check`), and what
//! replay built is checked as a whole when it is done ([`Group::verify_whole`]).
//!
//! ```text
//!            compacted            applied        commit          last
//!   - - - - - - -|--------------------|--------------|--------------|
//!     gone        first index                          may be overwritten
//! ```

use std::sync::Arc;

use ::raft::eraftpb::ConfState;
use parking_lot::RwLock;

use super::codec::Kind;
use super::error::{Error, Missing, Result};
use super::index::{Positions, SegmentPositions, Slice, Written};
use super::state::{EntryId, FullState, Hard, SnapshotRef};
use super::summary::EntryRange;
use super::terms::Terms;
use crate::{Lsn, RecordHead};

/// One group, shared by the log, its batches and its handles.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) id: u64,
    pub(crate) group: RwLock<Group>,
}

impl Cell {
    pub(crate) fn new(id: u64, group: Group) -> Arc<Cell> {
        Arc::new(Cell { id, group: RwLock::new(group) })
    }
}

/// Which changes a batch must not have missed.
///
/// Raft's own loop and the thread that applies entries work on a group at the same time. What one writes never makes
/// wrong what the other checked (commit, applied and the snapshot only rise, and committed entries stay), so each has a
/// version of its own; creating, installing and removing count in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    /// Entries and HardState.
    pub(crate) log: u64,
    /// Applied index, ConfState, compaction.
    pub(crate) apply: u64,
}

/// The state of one group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) full: FullState,
    pub(crate) terms: Terms,
    pub(crate) positions: Positions,
    /// Where the newest State record lies; none while replay has seen only what came after it.
    pub(crate) state_lsn: Option<Lsn>,
    /// Where the log began anew, if that was since it was opened.
    pub(crate) reset_lsn: Option<Lsn>,
    /// Entries below this index were durable before they were relocated. Where they lie now may not be yet, but their
    /// old place is kept until it is.
    pub(crate) durable_below: u64,
    pub(crate) versions: Versions,
    /// The group was removed; handles on it may still be about.
    pub(crate) gone: bool,
}

impl Group {
    /// A group that begins with this State, whose record lies at `lsn`.
    pub(crate) fn created(full: FullState, lsn: Lsn) -> Group {
        Group { full, state_lsn: Some(lsn), reset_lsn: Some(lsn), ..Group::default() }
    }

    /// A State record says again how things are.
    pub(crate) fn restate(&mut self, full: FullState, lsn: Lsn) {
        self.full = full;
        self.state_lsn = Some(lsn);
        self.trim();
    }

    /// A snapshot takes the place of the whole log.
    pub(crate) fn install(&mut self, full: FullState, lsn: Lsn) {
        self.terms.clear();
        self.positions.clear();
        self.durable_below = 0;
        self.full = full;
        self.state_lsn = Some(lsn);
        self.reset_lsn = Some(lsn);
    }

    /// Entries from `first` on take the place of what was there from `first` on. The entries follow, one by one.
    pub(crate) fn cut_for(&mut self, first: u64) {
        self.positions.cut_from(first);
        self.terms.cut_from(first);
        self.durable_below = self.durable_below.min(first);
    }

    /// One more entry at the end.
    pub(crate) fn push(&mut self, term: u64, entry: Written) {
        self.positions.push(entry);
        self.terms.push(entry.index, term);
    }

    /// More entries at the end, whose positions a segment's summary holds. In replay they may leave a gap: what was
    /// between went with released segments, and was relocated further on, or a compaction that covers it is to come.
    pub(crate) fn push_mapped(&mut self, range: &EntryRange, from: &Arc<SegmentPositions>) {
        self.positions.push_mapped(range.slice, from);
        for (index, term) in &range.terms {
            self.terms.push(*index, *term);
        }
    }

    /// Entries that the group has lie there now. They ascend by index as far as they come from one segment.
    pub(crate) fn relocate(&mut self, entries: &[Written]) {
        self.positions.relocate(entries);
        if let Some(highest) = entries.iter().map(|entry| entry.index).max() {
            self.durable_below = self.durable_below.max(highest.saturating_add(1));
        }
    }

    /// Entries that the group has, or had in segments that were released, lie where a segment's summary says. An entry
    /// that is there with another term was never relocated: `Err` is its index.
    pub(crate) fn replay_relocated(
        &mut self,
        range: &EntryRange,
        from: &Arc<SegmentPositions>,
    ) -> std::result::Result<(), u64> {
        let Slice { first, count, .. } = range.slice;
        let end = first.saturating_add(u64::from(count));
        let mut terms = Terms::default();
        terms.put(first, end, &range.terms);
        // Terms are runs, so looking at where runs begin is looking at all.
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
        Ok(())
    }

    pub(crate) fn set_hard(&mut self, hard: Hard) {
        self.full.hard = hard;
    }

    pub(crate) fn set_applied(&mut self, applied: EntryId) {
        self.full.applied = applied;
    }

    pub(crate) fn set_conf(&mut self, index: u64, conf: Arc<ConfState>) {
        self.full.conf_index = index;
        self.full.conf = conf;
    }

    pub(crate) fn set_snapshot(&mut self, snapshot: SnapshotRef) {
        self.full.snapshot = Some(snapshot);
    }

    /// Entries up to and including `to` go.
    pub(crate) fn compact(&mut self, to: EntryId) {
        self.full.compacted = to;
        self.trim();
    }

    /// Lets go of positions and terms of entries that are compacted away.
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
        self.full.compacted.index.saturating_add(1)
    }

    /// The last entry, or the last one compacted when there is none.
    pub(crate) fn last(&self) -> EntryId {
        match self.positions.end().and_then(|end| end.checked_sub(1)) {
            Some(index) => EntryId { index, term: self.terms.get(index).unwrap_or(self.full.compacted.term) },
            None => self.full.compacted,
        }
    }

    /// The term at an index between the last compacted one and the last one.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index == self.full.compacted.index {
            Some(self.full.compacted.term)
        } else if index < self.full.compacted.index || index > self.last().index {
            None
        } else {
            self.terms.get(index)
        }
    }

    /// An address at or below all that this group still needs, in the segment of the lowest.
    pub(crate) fn lowest_lsn(&self) -> Option<Lsn> {
        let entries = self.positions.lowest();
        self.state_lsn.into_iter().chain(entries).min()
    }

    /// Whether this record is one that the group needs: an entry at its newest place, or the newest State.
    pub(crate) fn needs(&self, head: &RecordHead) -> bool {
        let Some(label) = head.label.filter(|_| !self.gone) else { return false };
        match Kind::from_u8(label.kind) {
            Ok(Kind::Entry(_) | Kind::Relocated(_)) => self.positions.lsn(label.sequence) == Some(head.lsn),
            Ok(Kind::State(_)) => self.state_lsn == Some(head.lsn),
            _ => false,
        }
    }

    /// Whether replay ended with a group that raft can be started on.
    ///
    /// What is left of released segments is dropped on the way: entries below the compacted index, and changes made
    /// before the State record. Releasing frees a prefix of the log below everything live, so a State record, every
    /// entry from the first index on, and all changes after them are there, or something is missing that was promised.
    pub(crate) fn verify_whole(&self, group: u64) -> Result<()> {
        let missing = |index, what| Err(Error::Incomplete { group, index, what });
        let (compacted, hard, last) = (self.full.compacted, self.full.hard, self.last());
        if self.state_lsn.is_none() {
            return missing(last.index, Missing::State);
        }
        if last.index == u64::MAX {
            return missing(last.index, Missing::Room);
        }
        if self.positions.first().is_some_and(|first| first != self.first_index()) {
            return missing(self.first_index(), Missing::Entries);
        }
        if let Some(index) = self.positions.gap() {
            return missing(index, Missing::Entries);
        }
        if hard.commit > last.index {
            return missing(last.index.saturating_add(1), Missing::Committed);
        }
        if hard.commit < compacted.index {
            return missing(hard.commit, Missing::Committed);
        }
        if self.full.applied.index > hard.commit || self.full.applied.index < compacted.index {
            return missing(self.full.applied.index, Missing::Applied);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(index: u64, lsn: u64) -> Written {
        Written { index, lsn: Lsn::new(lsn), size: 48 }
    }

    fn with_entries(compacted: u64, entries: std::ops::Range<u64>) -> Group {
        let at = EntryId { index: compacted, term: 1 };
        let full = FullState {
            compacted: at,
            applied: at,
            hard: Hard { term: 1, vote: 0, commit: compacted },
            ..FullState::default()
        };
        let mut group = Group::created(full, Lsn::new(1));
        for i in entries {
            group.push(1, written(i, i * 10));
        }
        group
    }

    #[test]
    fn a_group_that_lacks_something_is_named_with_what_it_lacks() {
        with_entries(4, 5..9).verify_whole(1).unwrap();

        let gap = with_entries(4, 7..9).verify_whole(1).unwrap_err();
        assert!(matches!(gap, Error::Incomplete { group: 1, index: 5, what: Missing::Entries }), "{gap}");

        let full = with_entries(u64::MAX, 0..0).verify_whole(1).unwrap_err();
        assert!(matches!(full, Error::Incomplete { what: Missing::Room, .. }), "{full}");

        let mut headless = with_entries(4, 5..9);
        headless.state_lsn = None;
        let headless = headless.verify_whole(1).unwrap_err();
        assert!(matches!(headless, Error::Incomplete { what: Missing::State, .. }), "{headless}");

        let mut short = with_entries(4, 5..9);
        short.full.hard.commit = 9;
        let short = short.verify_whole(1).unwrap_err();
        assert!(matches!(short, Error::Incomplete { index: 9, what: Missing::Committed, .. }), "{short}");
    }

    #[test]
    fn a_gap_left_by_released_segments_closes_when_the_compaction_comes() {
        let mut group = with_entries(4, 5..9);
        group.cut_for(20);
        group.push(2, written(20, 900));
        group.verify_whole(1).unwrap_err();
        group.compact(EntryId { index: 19, term: 1 });
        group.full.hard.commit = 19;
        group.full.applied = EntryId { index: 19, term: 1 };
        group.verify_whole(1).unwrap();
        assert_eq!(group.last(), EntryId { index: 20, term: 2 });
    }

    #[test]
    fn a_conflicting_append_drops_the_suffix() {
        let mut group = with_entries(0, 1..10);
        group.cut_for(6);
        group.push(2, written(6, 500));
        assert_eq!(group.last(), EntryId { index: 6, term: 2 });
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
        let mut group = with_entries(4, 9..12);
        let gap = group.verify_whole(1).unwrap_err();
        assert!(matches!(gap, Error::Incomplete { index: 5, what: Missing::Entries, .. }), "{gap}");
        group.replay_relocated(&range(5, 2, &[(5, 1)]), &array()).unwrap();
        let gap = group.verify_whole(1).unwrap_err();
        assert!(matches!(gap, Error::Incomplete { index: 7, what: Missing::Entries, .. }), "{gap}");
        group.replay_relocated(&range(7, 4, &[(7, 1)]), &array()).unwrap();
        group.verify_whole(1).unwrap();
        assert_eq!((group.last().index, group.positions.lsn(11)), (11, Some(Lsn::new(110))));
        assert_eq!(group.lowest_lsn(), Some(Lsn::new(1)));
    }

    #[test]
    fn a_relocated_entry_of_another_term_is_a_contradiction() {
        let mut group = with_entries(0, 1..10);
        group.cut_for(6);
        group.push(2, written(6, 500));
        group.replay_relocated(&range(4, 3, &[(4, 1), (6, 2)]), &array()).unwrap();
        assert_eq!(group.replay_relocated(&range(4, 3, &[(4, 1)]), &array()), Err(6));
        assert_eq!(group.replay_relocated(&range(3, 3, &[(3, 1), (5, 2)]), &array()), Err(5));
    }

    #[test]
    fn entries_below_a_relocated_one_stay_durable_until_they_are_replaced() {
        let mut group = with_entries(0, 1..10);
        group.relocate(&[written(2, 900), written(3, 910)]);
        assert_eq!((group.durable_below, group.lowest_lsn()), (4, Some(Lsn::new(1))));
        group.cut_for(3);
        assert_eq!(group.durable_below, 3);
        group.install(FullState::default(), Lsn::new(1000));
        assert_eq!(group.durable_below, 0);
    }

    /// What is left of several segments is relocated together, and an older segment may hold the later entry.
    #[test]
    fn entries_relocated_in_any_order_stay_durable() {
        let mut group = with_entries(0, 1..10);
        group.relocate(&[written(8, 900), written(2, 910)]);
        assert_eq!(group.durable_below, 9);
    }
}
