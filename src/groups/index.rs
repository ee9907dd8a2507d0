//! The positions of a group's entries.
//!
//! They are kept as a sequence of runs, ascending by index:
//!
//! ```text
//!   index   101 .. 180  | 181 .. 350 | 351 .. 360 | 361 ..
//!           mapped        mapped       memory       memory
//!           segment 7     segment 5    \__ segments without a summary yet __/
//!           (relocated)
//! ```
//!
//! Within a memory run the LSNs rise. From run to run they need not: relocated entries lie after younger ones. During
//! replay there may be gaps between runs, which later relocated entries close.
//!
//! A *mapped* run is a slice of the position array in a sealed segment's summary, used in place: it costs the same
//! whatever it covers. A *memory* run keeps four bytes per entry. When a segment's summary becomes available, a
//! mapped run replaces what memory runs hold of that segment ([`Positions::adopt`]); entries that were overwritten or
//! purged in the meantime are in no run any more and stay out.
//!
//! A run knows the total size of its records unless it was cut since; then the sizes are read from the record
//! headers, once ([`Positions::measure`]).
//!
//! Mapped bytes are not trusted: the label of a record read at a position is compared with what was looked up.

use std::ops::Range;
use std::sync::Arc;

use thin_vec::ThinVec;

use super::run::Run;
pub(crate) use super::run::{SegmentPositions, Slice, Width, Written};
use crate::Lsn;

/// The positions of a group's entries, from its first index to its last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Positions {
    runs: ThinVec<Run>,
}

impl Positions {
    /// The index of the first entry, if any.
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.first().map(|run| run.first)
    }

    /// The index after the last entry, if any.
    pub(crate) fn end(&self) -> Option<u64> {
        self.runs.last().map(Run::end)
    }

    /// The first missing index between the first and the last entry.
    pub(crate) fn gap(&self) -> Option<u64> {
        let pairs = self.runs.iter().zip(self.runs.iter().skip(1));
        pairs.map(|(a, b)| (a.end(), b.first)).find(|(end, first)| end != first).map(|(end, _)| end)
    }

    /// The indexes in `[lo, hi)` that have an entry.
    pub(crate) fn overlaps(&self, lo: u64, hi: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let start = self.run_of(lo).unwrap_or(0);
        let runs = self.runs.iter().skip(start).take_while(move |run| run.first < hi);
        runs.map(move |run| run.first.max(lo)..run.end().min(hi)).filter(|range| !range.is_empty())
    }

    /// The position of the entry at `index`.
    pub(crate) fn lsn(&self, index: u64) -> Option<Lsn> {
        self.run_of(index).and_then(|n| self.runs.get(n)).and_then(|run| run.lsn(index))
    }

    /// The first address of the segment whose mapped summary has the position of the entry at `index`.
    pub(crate) fn summarized_in(&self, index: u64) -> Option<Lsn> {
        self.run_of(index).and_then(|n| self.runs.get(n)).and_then(Run::summarized_in)
    }

    /// An address at or below the records of all entries, in the segment of the lowest.
    pub(crate) fn lowest(&self) -> Option<Lsn> {
        self.runs.iter().filter_map(Run::lowest).min()
    }

    /// Appends to `out` the positions of the entries in `[lo, hi)`, up to the first missing one.
    pub(crate) fn copy(&self, lo: u64, hi: u64, out: &mut Vec<Lsn>) {
        let Some(start) = self.run_of(lo) else { return };
        let mut next = lo;
        for run in self.runs.iter().skip(start) {
            if next >= hi || next < run.first {
                return;
            }
            next += run.copy(next, hi, out);
            if next < hi.min(run.end()) {
                return;
            }
        }
    }

    /// The entries with records in `lsns`: index and position, ascending by index.
    pub(crate) fn within(&self, lsns: &Range<Lsn>) -> Vec<(u64, Lsn)> {
        let runs = self.runs.iter().filter(|run| run.touches(lsns));
        let all = runs.flat_map(|run| {
            (run.first..run.end()).filter_map(|index| run.lsn(index).map(|lsn| (index, lsn)))
        });
        all.filter(|(_, lsn)| lsns.contains(lsn)).collect()
    }

    /// The sizes of the records by segment: for each piece an address in its segment, and the bytes. `bounds` are the
    /// first addresses of the segments, ascending; `size` returns a record's size where no run knows it. If that does
    /// not know it either, the result is the addresses of all records whose sizes are needed.
    pub(crate) fn measure(
        &mut self,
        bounds: &[Lsn],
        size: &dyn Fn(Lsn) -> Option<u64>,
    ) -> std::result::Result<Vec<(Lsn, u64)>, Vec<Lsn>> {
        self.split_at(bounds);
        let (mut pieces, mut unknown) = (Vec::with_capacity(self.runs.len()), Vec::new());
        for run in self.runs.iter_mut() {
            if run.bytes.is_none() {
                let lsns = || (run.first..run.end()).filter_map(|index| run.lsn(index));
                match lsns().map(size).sum::<Option<u64>>() {
                    Some(bytes) => run.bytes = Some(bytes),
                    None => unknown.extend(lsns()),
                }
            }
            pieces.extend(run.lowest().zip(run.bytes));
        }
        if unknown.is_empty() { Ok(pieces) } else { Err(unknown) }
    }

    /// Splits runs that extend over the end of a segment.
    fn split_at(&mut self, bounds: &[Lsn]) {
        let crosses = |run: &Run| {
            let from = bounds.partition_point(|bound| run.lsn(run.first).is_some_and(|lsn| *bound <= lsn));
            bounds.get(from).and_then(|bound| run.crossing(*bound))
        };
        let mut n = 0;
        while let Some(run) = self.runs.get(n) {
            if let Some(index) = crosses(run)
                && let (Some(low), Some(high)) = (run.part(0, index), run.part(index, u64::MAX))
            {
                self.runs.insert(n + 1, high);
                if let Some(run) = self.runs.get_mut(n) {
                    *run = low;
                }
            }
            n += 1;
        }
    }

    /// Adds a run after the others. Most groups have one, and the spare capacity of a vector for three more would
    /// exceed everything else that a group takes.
    fn add(&mut self, run: Run) {
        if self.runs.is_empty() {
            self.runs.reserve_exact(1);
        }
        self.runs.push(run);
    }

    fn run_of(&self, index: u64) -> Option<usize> {
        self.runs.partition_point(|run| run.first <= index).checked_sub(1)
    }

    /// Adds the entry after the last one.
    pub(crate) fn push(&mut self, entry: Written) {
        if !self.runs.last_mut().is_some_and(|run| run.take(entry)) {
            self.add(Run::begin(entry));
        }
    }

    /// Adds the entries after the last one whose positions are in a segment's array.
    pub(crate) fn push_mapped(&mut self, slice: Slice, from: &Arc<SegmentPositions>) {
        if slice.count > 0 {
            self.add(Run::mapped(slice, from));
        }
    }

    /// Sets new positions of existing entries. Consecutive ones are kept together.
    pub(crate) fn relocate(&mut self, entries: &[Written]) {
        let mut run: Option<Run> = None;
        for entry in entries {
            if !run.as_mut().is_some_and(|run| run.take(*entry))
                && let Some(full) = run.replace(Run::begin(*entry))
            {
                self.place(full);
            }
        }
        if let Some(last) = run {
            self.place(last);
        }
    }

    /// Sets the positions of entries, known or not, to those in a segment's array.
    pub(crate) fn place_mapped(&mut self, slice: Slice, from: &Arc<SegmentPositions>) {
        if slice.count > 0 {
            self.place(Run::mapped(slice, from));
        }
    }

    fn place(&mut self, placed: Run) {
        let (lo, hi) = (placed.first, placed.end());
        let start = self.runs.partition_point(|run| run.end() <= lo);
        let stop = self.runs.partition_point(|run| run.first < hi).max(start);
        let covered: Vec<Run> = self.runs.drain(start..stop).collect();
        let below = covered.first().and_then(|run| run.part(0, lo));
        let above = covered.last().and_then(|run| run.part(hi, u64::MAX));
        for run in above.into_iter().chain([placed]).chain(below) {
            self.runs.insert(start, run);
        }
    }

    /// Removes `index` and everything after it.
    pub(crate) fn cut_from(&mut self, index: u64) {
        while self.runs.last().is_some_and(|run| run.first >= index) {
            self.runs.pop();
        }
        if let Some(back) = self.runs.last_mut()
            && index < back.end()
        {
            back.cut_from(index);
        }
    }

    /// Removes everything before `index`.
    pub(crate) fn drop_below(&mut self, index: u64) {
        let gone = self.runs.iter().take_while(|run| run.end() <= index).count();
        self.runs.drain(..gone);
        if let Some(front) = self.runs.first_mut()
            && front.first < index
            && let Some(part) = front.part(index, u64::MAX)
        {
            *front = part;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    /// Replaces the positions kept of one segment by a slice of the segment's own array. Positions that the array
    /// does not confirm stay as they are.
    pub(crate) fn adopt(&mut self, slice: Slice, from: &Arc<SegmentPositions>) {
        let array = Run::mapped(slice, from);
        let start = self.run_of(slice.first).unwrap_or(0);
        let stop = self.runs.partition_point(|run| run.first < array.end()).max(start);
        let mut rest = self.runs.split_off(start.min(self.runs.len()));
        let after = rest.split_off((stop - start).min(rest.len()));
        for run in rest {
            let found = run.indexes_in(from).map(|(lo, hi)| (lo.max(array.first), hi.min(array.end())));
            let Some((lo, hi)) = found.filter(|(lo, hi)| lo < hi) else {
                self.runs.push(run);
                continue;
            };
            self.runs.extend(run.part(0, lo));
            let confirmed =
                (lo..hi).all(|index| array.lsn(index).is_some() && array.lsn(index) == run.lsn(index));
            match array.part(lo, hi).filter(|_| confirmed) {
                Some(mut mapped) => {
                    if mapped.bytes.is_none() && (lo, hi) == (run.first, run.end()) {
                        mapped.bytes = run.bytes;
                    }
                    self.push_joined(mapped);
                }
                None => self.runs.extend(run.part(lo, hi)),
            }
            self.runs.extend(run.part(hi, u64::MAX));
        }
        self.runs.extend(after);
        // All of it was joined again, and the summary knows its size. Entries relocated since may form a different
        // run with the same indexes.
        if let Some(run) = self.run_of(slice.first).and_then(|n| self.runs.get_mut(n))
            && (run.first, run.len()) == (slice.first, u64::from(slice.count))
            && run.is_mapped_from(from)
        {
            run.bytes = run.bytes.or(slice.bytes);
        }
    }

    /// Adds a mapped run, joining it with the previous one if they are adjacent in the same array.
    fn push_joined(&mut self, mapped: Run) {
        if self.runs.last_mut().is_some_and(|before| before.join(&mapped)) {
            return;
        }
        self.add(mapped);
    }

    /// Number of runs that keep their positions in memory, and number of those positions.
    #[cfg(test)]
    pub(crate) fn in_memory(&self) -> (usize, usize) {
        let memory = self.runs.iter().filter_map(Run::in_memory);
        (memory.clone().count(), memory.sum())
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crate::SegmentId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn array(segment: u64, first_lsn: u64, distances: &[u32]) -> Arc<SegmentPositions> {
        let body: Vec<u8> = distances.iter().flat_map(|d| d.to_le_bytes()).collect();
        Arc::new(SegmentPositions {
            segment: SegmentId::new(segment),
            first_lsn: Lsn::new(first_lsn),
            end_lsn: Lsn::new(first_lsn + 1000),
            width: Width::Four,
            body: body.into(),
        })
    }

    fn written(index: u64, lsn: u64) -> Written {
        Written { index, lsn: Lsn::new(lsn), size: size_at(Lsn::new(lsn)) }
    }

    fn slice(first: u64, count: u32) -> Slice {
        Slice { first, count, at: 0, bytes: None }
    }

    /// The records in these tests have distinct sizes.
    fn size_at(lsn: Lsn) -> u64 {
        1 + lsn.get() % 1009
    }

    /// Checks that the measured size is the sum over the entries, in each segment of `span` bytes.
    fn check_sizes(p: &mut Positions, span: u64) {
        let bounds: Vec<Lsn> = (0..100_000 / span).map(|n| Lsn::new(n * span)).collect();
        let mut measured = BTreeMap::new();
        for (lsn, bytes) in p.measure(&bounds, &|lsn| Some(size_at(lsn))).unwrap() {
            *measured.entry(lsn.get() / span).or_insert(0) += bytes;
        }
        let mut counted = BTreeMap::new();
        for (_, lsn) in all(p) {
            *counted.entry(lsn / span).or_insert(0) += size_at(Lsn::new(lsn));
        }
        assert_eq!(measured, counted);
    }

    fn all(p: &Positions) -> Vec<(u64, u64)> {
        match (p.first(), p.end()) {
            (Some(lo), Some(hi)) => {
                let mut out = Vec::new();
                p.copy(lo, hi, &mut out);
                assert_eq!(out.len() as u64, hi - lo);
                let listed: Vec<_> = (lo..hi).zip(out.iter().map(|l| l.get())).collect();
                for (index, lsn) in &listed {
                    assert_eq!(p.lsn(*index), Some(Lsn::new(*lsn)));
                }
                listed
            }
            _ => Vec::new(),
        }
    }

    fn filled(range: std::ops::Range<u64>) -> Positions {
        let mut p = Positions::default();
        for i in range {
            p.push(written(i, i * 10));
        }
        p
    }

    #[test]
    fn adopting_a_segment_changes_where_positions_are_kept_and_not_what_they_say() {
        // Entries 95..305 at LSN 950..3050; the segment holds LSN 1000..2000, entries 100..200.
        let mut p = filled(95..305);
        let before = all(&p);
        let body: Vec<u32> = (0..100).map(|n| n * 10).collect();
        p.adopt(slice(100, 100), &array(1, 1000, &body));
        assert_eq!(all(&p), before);
        assert_eq!(p.in_memory().1, 110);
    }

    #[test]
    fn what_was_overwritten_or_compacted_before_the_summary_came_stays_out() {
        let mut p = filled(95..250);
        p.cut_from(150);
        for i in 150..160 {
            p.push(written(i, 5000 + i));
        }
        p.drop_below(110);
        let before = all(&p);
        let body: Vec<u32> = (0..100).map(|n| n * 10).collect();
        p.adopt(slice(100, 100), &array(1, 1000, &body));
        assert_eq!(all(&p), before);
        assert_eq!(p.in_memory().1, 10);
    }

    #[test]
    fn an_array_that_disagrees_is_not_taken() {
        let mut p = filled(100..200);
        let before = all(&p);
        let body: Vec<u32> = (0..100).map(|n| n * 10 + u32::from(n == 50)).collect();
        p.adopt(slice(100, 100), &array(1, 1000, &body));
        assert_eq!(all(&p), before);
        assert_eq!(p.in_memory().1, 100);
    }

    #[test]
    fn an_array_replaces_an_earlier_copy_of_itself() {
        let body: Vec<u32> = (0..100).map(|n| n * 10).collect();
        let mut p = Positions::default();
        p.push_mapped(slice(100, 100), &array(1, 1000, &body));
        p.drop_below(120);
        p.cut_from(180);
        let before = all(&p);
        let fresh = array(1, 1000, &body);
        p.adopt(slice(100, 100), &fresh);
        assert_eq!(all(&p), before);
        assert!(Arc::strong_count(&fresh) > 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Entries are appended, cut, compacted and relocated; segments end every `span` bytes, and each is adopted
        /// at some later point with what it held when it ended.
        #[test]
        fn positions_are_those_of_a_plain_list(
            ops in proptest::collection::vec((0u8..9, 0u64..40), 1..120),
            span in 100u64..700,
        ) {
            let (mut p, mut list) = (Positions::default(), BTreeMap::new());
            let (mut next, mut lsn, mut compacted) = (1u64, 1000u64, 0u64);
            let mut segments: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
            for (op, n) in ops {
                match op {
                    0..=2 => {
                        for _ in 0..n {
                            p.push(written(next, lsn));
                            list.insert(next, lsn);
                            let held = segments.entry(lsn / span).or_default();
                            held.retain(|index, _| *index < next);
                            held.insert(next, lsn);
                            next += 1;
                            lsn += 1 + n % 13;
                        }
                    }
                    3 => {
                        next = next.saturating_sub(n).max(compacted + 1);
                        p.cut_from(next);
                        list.retain(|index, _| *index < next);
                    }
                    4 => {
                        compacted = (compacted + n).min(next - 1);
                        p.drop_below(compacted + 1);
                        list.retain(|index, _| *index > compacted);
                    }
                    5 | 6 => {
                        // Some entries of the lowest segment that has any.
                        let Some(oldest) = list.values().map(|l| l / span).min() else { continue };
                        let lsns = Lsn::new(oldest * span)..Lsn::new((oldest + 1) * span);
                        lsn = lsn.max(lsns.end.get());
                        let found = p.within(&lsns);
                        let listed = list.iter().filter(|(_, l)| **l / span == oldest);
                        prop_assert_eq!(
                            found.iter().map(|(i, l)| (*i, l.get())).collect::<Vec<_>>(),
                            listed.map(|(i, l)| (*i, *l)).collect::<Vec<_>>()
                        );
                        let mut moved = Vec::new();
                        for (index, _) in found.iter().skip(n as usize % 3).take(1 + n as usize) {
                            moved.push(written(*index, lsn));
                            list.insert(*index, lsn);
                            segments.entry(lsn / span).or_default().insert(*index, lsn);
                            lsn += 1 + n % 11;
                        }
                        p.relocate(&moved);
                    }
                    7 => check_sizes(&mut p, span),
                    _ => {
                        let ended = segments.keys().copied().filter(|s| (s + 1) * span <= lsn).nth(n as usize % 3);
                        let Some((s, held)) = ended.and_then(|s| segments.remove_entry(&s)) else { continue };
                        adopt(&mut p, s, span, &held);
                    }
                }
                prop_assert_eq!(all(&p), list.iter().map(|(i, l)| (*i, *l)).collect::<Vec<_>>());
                prop_assert_eq!(p.gap(), None);
                let lowest = p.lowest().map(|l| l.get() / span);
                prop_assert_eq!(lowest, list.values().map(|l| l / span).min());
            }
            check_sizes(&mut p, span);
        }
    }

    /// The segment that holds these entries ends.
    fn adopt(p: &mut Positions, segment: u64, span: u64, held: &BTreeMap<u64, u64>) {
        let body: Vec<u8> = held.values().flat_map(|l| ((l - segment * span) as u32).to_le_bytes()).collect();
        let from = Arc::new(SegmentPositions {
            segment: SegmentId::new(segment),
            first_lsn: Lsn::new(segment * span),
            end_lsn: Lsn::new((segment + 1) * span),
            width: Width::Four,
            body: body.into(),
        });
        for slice in slices(held) {
            p.adopt(slice, &from);
        }
    }

    /// The consecutive parts of a segment's contents, as its summary lists them.
    fn slices(held: &BTreeMap<u64, u64>) -> Vec<Slice> {
        let mut slices: Vec<Slice> = Vec::new();
        for (at, (index, lsn)) in held.iter().enumerate() {
            let size = size_at(Lsn::new(*lsn));
            match slices.last_mut() {
                Some(s) if s.first + u64::from(s.count) == *index => {
                    s.count += 1;
                    s.bytes = s.bytes.map(|b| b + size);
                }
                _ => slices.push(Slice { first: *index, count: 1, at: at as u32, bytes: Some(size) }),
            }
        }
        slices
    }

    #[test]
    fn entries_placed_between_others_close_the_gap() {
        let mut p = filled(20..30);
        p.push_mapped(Slice { first: 40, count: 2, at: 0, bytes: None }, &array(1, 1000, &[0, 8]));
        assert_eq!(p.gap(), Some(30));
        p.place_mapped(Slice { first: 28, count: 12, at: 0, bytes: None }, &array(2, 3000, &[0; 12]));
        assert_eq!((p.gap(), p.lsn(27), p.lsn(28)), (None, Some(Lsn::new(270)), Some(Lsn::new(3000))));
        let overlaps: Vec<_> = p.overlaps(10, 29).collect();
        assert_eq!(overlaps, [20..28, 28..29]);
    }

    #[test]
    fn a_position_beyond_the_array_is_none() {
        let mut p = Positions::default();
        p.push_mapped(slice(1, 5), &array(1, 0, &[0, 1]));
        assert_eq!(p.lsn(2), Some(Lsn::new(1)));
        assert_eq!(p.lsn(3), None);
        assert_eq!(p.lsn(6), None);
    }

    #[test]
    fn memory_stays_within_eight_bytes_an_entry() {
        let p = filled(1..100_001);
        let bytes: usize = p.runs.iter().map(|run| run.capacity() * 4 + size_of::<Run>()).sum();
        assert!(bytes <= 8 * 100_000, "{bytes} bytes");
    }

    #[test]
    fn cutting_and_dropping_everything_leaves_nothing() {
        let mut p = filled(5..2500);
        p.drop_below(2500);
        assert_eq!(p.first(), None);
        let mut p = filled(5..2500);
        p.cut_from(5);
        assert_eq!(p.end(), None);
    }
}
