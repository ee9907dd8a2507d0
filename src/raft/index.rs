//! Where a group's entries lie.
//!
//! The positions of a group are a row of runs, consecutive by index and rising by LSN:
//!
//! ```text
//!   index   101 .. 180 | 181 .. 350 | 351 .. 360 | 361 ..
//!           mapped       mapped       memory       memory
//!           segment 4    segment 5    \__ segments without a summary yet __/
//! ```
//!
//! A *mapped* run is a slice of the position array in a sealed segment's summary, used in place: it costs the same
//! whatever it covers. A *memory* run keeps four bytes an entry. When a segment's summary becomes available, what
//! memory runs hold of that segment is replaced by a mapped run ([`Positions::adopt`]); entries that were overwritten or
//! compacted away in between are no longer in any run and stay out.
//!
//! Mapped bytes are not trusted: whoever reads a record at a position compares its label with what was looked for.

use std::collections::VecDeque;
use std::sync::Arc;

use byteorder::{ByteOrder as _, LittleEndian};
use bytes::Bytes;

use crate::{Lsn, SegmentId};

/// So many entries share one allocation of a memory run; bounds both the copying when it grows and what it wastes.
const CHUNK: usize = 1024;

/// How wide the positions of a segment are: four bytes unless the segment is longer than they reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Four,
    Eight,
}

impl Width {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Width::Four => 4,
            Width::Eight => 8,
        }
    }
}

/// The position array of one segment: for each entry the distance of its record from the segment's first LSN.
#[derive(Clone, Debug)]
pub(crate) struct SegmentPositions {
    pub(crate) segment: SegmentId,
    pub(crate) first_lsn: Lsn,
    pub(crate) end_lsn: Lsn,
    pub(crate) width: Width,
    pub(crate) body: Bytes,
}

impl SegmentPositions {
    /// Position number `n` of the array.
    fn get(&self, n: usize) -> Option<Lsn> {
        let width = self.width.bytes();
        let at = n.checked_mul(width)?;
        let bytes = self.body.get(at..at.checked_add(width)?)?;
        let distance = match self.width {
            Width::Four => u64::from(LittleEndian::read_u32(bytes)),
            Width::Eight => LittleEndian::read_u64(bytes),
        };
        Some(self.first_lsn.plus(distance))
    }

    fn holds(&self, lsn: Lsn) -> bool {
        (self.first_lsn..self.end_lsn).contains(&lsn)
    }
}

#[derive(Clone, Debug)]
enum Run {
    /// `count` positions from number `at` of a segment's array.
    Mapped { first: u64, count: u32, at: u32, from: Arc<SegmentPositions> },
    /// Distances from `base`, the first entry's own LSN when the run was begun.
    Memory { first: u64, base: Lsn, distances: Vec<u32> },
}

impl Run {
    fn first(&self) -> u64 {
        match self {
            Run::Mapped { first, .. } | Run::Memory { first, .. } => *first,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Run::Mapped { count, .. } => u64::from(*count),
            Run::Memory { distances, .. } => distances.len() as u64,
        }
    }

    fn end(&self) -> u64 {
        self.first().saturating_add(self.len())
    }

    fn lsn(&self, index: u64) -> Option<Lsn> {
        let n = usize::try_from(index.checked_sub(self.first())?).ok()?;
        match self {
            Run::Mapped { count, at, from, .. } => {
                if n >= *count as usize {
                    return None;
                }
                from.get(*at as usize + n)
            }
            Run::Memory { base, distances, .. } => Some(base.plus(u64::from(*distances.get(n)?))),
        }
    }

    /// The part of the run with indexes in `[lo, hi)`, if any.
    fn part(&self, lo: u64, hi: u64) -> Option<Run> {
        let lo = lo.max(self.first());
        let hi = hi.min(self.end());
        if lo >= hi {
            return None;
        }
        // Both fit: they lie inside a run, which has at most u32::MAX positions.
        let skip = u32::try_from(lo - self.first()).ok()?;
        let count = u32::try_from(hi - lo).ok()?;
        Some(match self {
            Run::Mapped { at, from, .. } => {
                Run::Mapped { first: lo, count, at: at.checked_add(skip)?, from: Arc::clone(from) }
            }
            Run::Memory { base, distances, .. } => Run::Memory {
                first: lo,
                base: *base,
                distances: distances.get(skip as usize..(skip + count) as usize)?.to_vec(),
            },
        })
    }
}

/// Where the entries of one group lie, from its first index to its last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Positions {
    runs: VecDeque<Run>,
}

impl Positions {
    /// The index of the first entry, when there is any.
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.front().map(Run::first)
    }

    /// The index after the last entry, when there is any.
    pub(crate) fn end(&self) -> Option<u64> {
        self.runs.back().map(Run::end)
    }

    /// Where the entry at `index` lies.
    pub(crate) fn lsn(&self, index: u64) -> Option<Lsn> {
        self.run_of(index).and_then(|n| self.runs.get(n)).and_then(|run| run.lsn(index))
    }

    /// Appends to `out` the positions of the entries in `[lo, hi)`, stopping at the first that is not there.
    pub(crate) fn copy(&self, lo: u64, hi: u64, out: &mut Vec<Lsn>) {
        let Some(start) = self.run_of(lo) else { return };
        let mut next = lo;
        for run in self.runs.range(start..) {
            while next < hi.min(run.end()) {
                let Some(lsn) = run.lsn(next) else { return };
                out.push(lsn);
                next += 1;
            }
            if next >= hi {
                return;
            }
        }
    }

    fn run_of(&self, index: u64) -> Option<usize> {
        self.runs.partition_point(|run| run.first() <= index).checked_sub(1)
    }

    /// Adds the position of the entry at `index`, which is the one after the last.
    pub(crate) fn push(&mut self, index: u64, lsn: Lsn) {
        if let Some(Run::Memory { base, distances, .. }) = self.runs.back_mut()
            && distances.len() < CHUNK
            && let Some(distance) = lsn.distance_from(*base).and_then(|d| u32::try_from(d).ok())
        {
            distances.push(distance);
            return;
        }
        self.runs.push_back(Run::Memory { first: index, base: lsn, distances: vec![0] });
    }

    /// Adds `count` entries from `first` on, whose positions are those from number `at` of a segment's array.
    pub(crate) fn push_mapped(&mut self, first: u64, count: u32, at: u32, from: &Arc<SegmentPositions>) {
        if count > 0 {
            self.runs.push_back(Run::Mapped { first, count, at, from: Arc::clone(from) });
        }
    }

    /// Forgets `index` and all after it.
    pub(crate) fn cut_from(&mut self, index: u64) {
        while self.runs.back().is_some_and(|run| run.first() >= index) {
            self.runs.pop_back();
        }
        match self.runs.back_mut() {
            Some(Run::Mapped { first, count, .. }) => {
                *count = u32::try_from(index.saturating_sub(*first)).map_or(*count, |keep| keep.min(*count));
            }
            Some(Run::Memory { first, distances, .. }) => {
                distances.truncate(usize::try_from(index.saturating_sub(*first)).unwrap_or(usize::MAX));
            }
            None => {}
        }
    }

    /// Forgets all before `index`.
    pub(crate) fn drop_below(&mut self, index: u64) {
        while self.runs.front().is_some_and(|run| run.end() <= index) {
            self.runs.pop_front();
        }
        if let Some(front) = self.runs.front()
            && front.first() < index
            && let Some(part) = front.part(index, u64::MAX)
            && let Some(front) = self.runs.front_mut()
        {
            *front = part;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    /// Replaces what is kept of one segment by the segment's own array, in which `[first, first + count)` stands from
    /// number `at` on. Positions of the segment that the array does not confirm stay as they are.
    pub(crate) fn adopt(&mut self, first: u64, count: u32, at: u32, from: &Arc<SegmentPositions>) {
        let start = self.run_of(first).unwrap_or(0);
        if start >= self.runs.len() {
            return;
        }
        let tail = self.runs.split_off(start);
        let array = Run::Mapped { first, count, at, from: Arc::clone(from) };
        for run in tail {
            let Some((lo, hi)) = indexes_in(&run, from) else {
                self.runs.push_back(run);
                continue;
            };
            self.runs.extend(run.part(0, lo));
            let confirmed =
                (lo..hi).all(|index| array.lsn(index).is_some() && array.lsn(index) == run.lsn(index));
            match array.part(lo, hi).filter(|_| confirmed) {
                Some(mapped) => self.push_joined(mapped),
                None => self.runs.extend(run.part(lo, hi)),
            }
            self.runs.extend(run.part(hi, u64::MAX));
        }
    }

    /// Adds a mapped run, as a part of the one before it where they adjoin in the same array.
    fn push_joined(&mut self, mapped: Run) {
        if let Run::Mapped { first, count, at, from } = &mapped
            && let Some(Run::Mapped { first: f, count: c, at: a, from: before }) = self.runs.back_mut()
            && Arc::ptr_eq(before, from)
            && f.checked_add(u64::from(*c)) == Some(*first)
            && a.checked_add(*c) == Some(*at)
            && let Some(sum) = c.checked_add(*count)
        {
            *c = sum;
            return;
        }
        self.runs.push_back(mapped);
    }

    /// How many runs keep their positions in memory, and how many positions those are.
    #[cfg(test)]
    pub(crate) fn in_memory(&self) -> (usize, usize) {
        let memory = self.runs.iter().filter_map(|run| match run {
            Run::Memory { distances, .. } => Some(distances.len()),
            Run::Mapped { .. } => None,
        });
        (memory.clone().count(), memory.sum())
    }
}

/// The indexes of a run whose records lie in the segment of `from`: one range, because LSNs rise with the index.
fn indexes_in(run: &Run, from: &SegmentPositions) -> Option<(u64, u64)> {
    match run {
        Run::Mapped { from: old, .. } => (old.segment == from.segment).then_some((run.first(), run.end())),
        Run::Memory { first, base, distances } => {
            let lsn = |d: &u32| base.plus(u64::from(*d));
            let lo = distances.partition_point(|d| lsn(d) < from.first_lsn) as u64;
            let hi = distances.partition_point(|d| lsn(d) < from.end_lsn) as u64;
            debug_assert!(lo >= hi || run.lsn(first + lo).is_none_or(|l| from.holds(l)));
            (lo < hi).then_some((first + lo, first + hi))
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            p.push(i, Lsn::new(i * 10));
        }
        p
    }

    #[test]
    fn adopting_a_segment_changes_where_positions_are_kept_and_not_what_they_say() {
        // Entries 95..305 at LSN 950..3050; the segment holds LSN 1000..2000, entries 100..200.
        let mut p = filled(95..305);
        let before = all(&p);
        let body: Vec<u32> = (0..100).map(|n| n * 10).collect();
        p.adopt(100, 100, 0, &array(1, 1000, &body));
        assert_eq!(all(&p), before);
        assert_eq!(p.in_memory().1, 110);
    }

    #[test]
    fn what_was_overwritten_or_compacted_before_the_summary_came_stays_out() {
        let mut p = filled(95..250);
        p.cut_from(150);
        for i in 150..160 {
            p.push(i, Lsn::new(5000 + i));
        }
        p.drop_below(110);
        let before = all(&p);
        let body: Vec<u32> = (0..100).map(|n| n * 10).collect();
        p.adopt(100, 100, 0, &array(1, 1000, &body));
        assert_eq!(all(&p), before);
        assert_eq!(p.in_memory().1, 10);
    }

    #[test]
    fn an_array_that_disagrees_is_not_taken() {
        let mut p = filled(100..200);
        let before = all(&p);
        let body: Vec<u32> = (0..100).map(|n| n * 10 + u32::from(n == 50)).collect();
        p.adopt(100, 100, 0, &array(1, 1000, &body));
        assert_eq!(all(&p), before);
        assert_eq!(p.in_memory().1, 100);
    }

    #[test]
    fn an_array_replaces_an_earlier_copy_of_itself() {
        let body: Vec<u32> = (0..100).map(|n| n * 10).collect();
        let mut p = Positions::default();
        p.push_mapped(100, 100, 0, &array(1, 1000, &body));
        p.drop_below(120);
        p.cut_from(180);
        let before = all(&p);
        let fresh = array(1, 1000, &body);
        p.adopt(100, 100, 0, &fresh);
        assert_eq!(all(&p), before);
        assert!(Arc::strong_count(&fresh) > 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Entries are appended, cut and compacted; segments end every `span` bytes, and each is adopted at some later
        /// point, as what it held when it ended.
        #[test]
        fn positions_are_those_of_a_plain_list(
            ops in proptest::collection::vec((0u8..6, 0u64..40), 1..120),
            span in 100u64..700,
        ) {
            let (mut p, mut list) = (Positions::default(), std::collections::BTreeMap::new());
            let (mut next, mut lsn, mut compacted) = (1u64, 1000u64, 0u64);
            let mut segments: std::collections::BTreeMap<u64, Vec<(u64, u64)>> = std::collections::BTreeMap::new();
            for (op, n) in ops {
                match op {
                    0..=2 => {
                        for _ in 0..n {
                            p.push(next, Lsn::new(lsn));
                            list.insert(next, lsn);
                            let held = segments.entry(lsn / span).or_default();
                            held.retain(|(index, _)| *index < next);
                            held.push((next, lsn));
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
                    _ => {
                        let ended = segments.keys().copied().filter(|s| (s + 1) * span <= lsn).nth(n as usize % 3);
                        if let Some((s, held)) = ended.and_then(|s| segments.remove_entry(&s)) {
                            let body: Vec<u8> =
                                held.iter().flat_map(|(_, l)| ((l - s * span) as u32).to_le_bytes()).collect();
                            let from = Arc::new(SegmentPositions {
                                segment: SegmentId::new(s),
                                first_lsn: Lsn::new(s * span),
                                end_lsn: Lsn::new((s + 1) * span),
                                width: Width::Four,
                                body: body.into(),
                            });
                            p.adopt(held[0].0, held.len() as u32, 0, &from);
                        }
                    }
                }
                prop_assert_eq!(all(&p), list.iter().map(|(i, l)| (*i, *l)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_position_beyond_the_array_is_none() {
        let mut p = Positions::default();
        p.push_mapped(1, 5, 0, &array(1, 0, &[0, 1]));
        assert_eq!(p.lsn(2), Some(Lsn::new(1)));
        assert_eq!(p.lsn(3), None);
        assert_eq!(p.lsn(6), None);
    }

    #[test]
    fn memory_stays_within_eight_bytes_an_entry() {
        let p = filled(1..100_001);
        let bytes: usize = p
            .runs
            .iter()
            .map(|run| match run {
                Run::Memory { distances, .. } => distances.capacity() * 4 + size_of::<Run>(),
                Run::Mapped { .. } => size_of::<Run>(),
            })
            .sum();
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
