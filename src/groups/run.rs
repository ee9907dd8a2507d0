//! A run: positions of consecutive entries of one group, mapped or in memory. See `index`.

use std::ops::Range;
use std::sync::Arc;

use byteorder::{ByteOrder as _, LittleEndian};
use bytes::Bytes;

use crate::size::{in_header, in_memory};
use crate::{Lsn, SegmentId};

/// Entries per allocation of a memory run; bounds both the copying when it grows and the wasted space.
const CHUNK: usize = 1024;

/// Width of the positions of a segment: four bytes, unless the segment is too long for that.
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
    pub(super) fn get(&self, n: usize) -> Option<Lsn> {
        let width = self.width.bytes();
        let at = n.checked_mul(width)?;
        let bytes = self.body.get(at..at.checked_add(width)?)?;
        let distance = match self.width {
            Width::Four => u64::from(LittleEndian::read_u32(bytes)),
            Width::Eight => LittleEndian::read_u64(bytes),
        };
        Some(self.first_lsn.plus(distance))
    }

    /// Appends the positions `range` of the array to `out`; nothing if the array is shorter.
    fn copy(&self, range: Range<usize>, out: &mut Vec<Lsn>) {
        let width = self.width.bytes();
        let bytes = range.start.checked_mul(width).zip(range.end.checked_mul(width));
        let Some(bytes) = bytes.and_then(|(from, to)| self.body.get(from..to)) else { return };
        let lsn = |distance| self.first_lsn.plus(distance);
        match self.width {
            Width::Four => {
                out.extend(bytes.chunks_exact(4).map(|b| lsn(u64::from(LittleEndian::read_u32(b)))));
            }
            Width::Eight => out.extend(bytes.chunks_exact(8).map(|b| lsn(LittleEndian::read_u64(b)))),
        }
    }

    fn holds(&self, lsn: Lsn) -> bool {
        (self.first_lsn..self.end_lsn).contains(&lsn)
    }
}

/// A part of a segment's position array: `count` positions from number `at` on, of the entries from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) at: u32,
    /// Bytes of the records, if known.
    pub(crate) bytes: Option<u64>,
}

/// A written entry and its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) index: u64,
    pub(crate) lsn: Lsn,
    /// Size of its record in bytes.
    pub(crate) size: u64,
}

/// Entries of one group with consecutive indexes.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) first: u64,
    /// Bytes of its records; `None` if it was cut since that was known.
    pub(crate) bytes: Option<u64>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// `count` positions from number `at` of a segment's array.
    Mapped { count: u32, at: u32, from: Arc<SegmentPositions> },
    /// Rising distances from `base`, the LSN of the first entry when the run was started.
    Memory { base: Lsn, distances: Vec<u32> },
}

impl Run {
    pub(crate) fn mapped(slice: Slice, from: &Arc<SegmentPositions>) -> Run {
        let Slice { first, count, at, bytes } = slice;
        Run { first, bytes, place: Place::Mapped { count, at, from: Arc::clone(from) } }
    }

    /// Whether the positions are those of this array.
    pub(crate) fn is_mapped_from(&self, array: &Arc<SegmentPositions>) -> bool {
        matches!(&self.place, Place::Mapped { from, .. } if Arc::ptr_eq(from, array))
    }

    pub(crate) fn begin(entry: Written) -> Run {
        let place = Place::Memory { base: entry.lsn, distances: vec![0] };
        Run { first: entry.index, bytes: Some(entry.size), place }
    }

    /// Adds one more entry if it is the next one and there is room.
    pub(crate) fn take(&mut self, entry: Written) -> bool {
        let follows = entry.index == self.end();
        let Place::Memory { base, distances } = &mut self.place else { return false };
        let distance = entry.lsn.distance_from(*base).and_then(|d| u32::try_from(d).ok());
        match distance.filter(|d| distances.last().is_some_and(|last| last < d)) {
            Some(distance) if follows && distances.len() < CHUNK => distances.push(distance),
            _ => return false,
        }
        self.bytes = self.bytes.and_then(|bytes| bytes.checked_add(entry.size));
        true
    }

    pub(crate) fn len(&self) -> u64 {
        match &self.place {
            Place::Mapped { count, .. } => u64::from(*count),
            Place::Memory { distances, .. } => distances.len() as u64,
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(self.len())
    }

    pub(crate) fn lsn(&self, index: u64) -> Option<Lsn> {
        let n = usize::try_from(index.checked_sub(self.first)?).ok()?;
        match &self.place {
            Place::Mapped { count, at, from } => {
                if n >= *count as usize {
                    return None;
                }
                from.get(*at as usize + n)
            }
            Place::Memory { base, distances } => Some(base.plus(u64::from(*distances.get(n)?))),
        }
    }

    /// Appends the positions of the run's entries in `[lo, hi)` to `out`; returns their number.
    pub(crate) fn copy(&self, lo: u64, hi: u64, out: &mut Vec<Lsn>) -> u64 {
        let (lo, hi) = (lo.max(self.first), hi.min(self.end()));
        let (from, to) = (in_memory(lo.saturating_sub(self.first)), in_memory(hi.saturating_sub(self.first)));
        let before = out.len();
        match &self.place {
            Place::Mapped { at, from: array, .. } => {
                let at = *at as usize;
                array.copy(at.saturating_add(from)..at.saturating_add(to), out);
            }
            Place::Memory { base, distances } => {
                out.extend(distances.iter().take(to).skip(from).map(|d| base.plus(u64::from(*d))));
            }
        }
        (out.len() - before) as u64
    }

    /// The first address of the segment whose summary is the run's index, if any.
    pub(crate) fn summarized_in(&self) -> Option<Lsn> {
        match &self.place {
            Place::Mapped { from, .. } => Some(from.first_lsn),
            Place::Memory { .. } => None,
        }
    }

    /// An address at or below all of the run's records, in the segment of the lowest.
    pub(crate) fn lowest(&self) -> Option<Lsn> {
        match &self.place {
            // The array itself is not verified, but the segment it belongs to is.
            Place::Mapped { from, .. } => Some(from.first_lsn),
            Place::Memory { .. } => self.lsn(self.first),
        }
    }

    /// The part of the run with indexes in `[lo, hi)`, if any.
    pub(crate) fn part(&self, lo: u64, hi: u64) -> Option<Run> {
        let lo = lo.max(self.first);
        let hi = hi.min(self.end());
        if lo >= hi {
            return None;
        }
        if lo == self.first && hi == self.end() {
            return Some(self.clone());
        }
        // Both fit: they lie inside a run, which has at most u32::MAX positions.
        let skip = u32::try_from(lo - self.first).ok()?;
        let count = u32::try_from(hi - lo).ok()?;
        let place = match &self.place {
            Place::Mapped { at, from, .. } => {
                Place::Mapped { count, at: at.checked_add(skip)?, from: Arc::clone(from) }
            }
            Place::Memory { base, distances } => Place::Memory {
                base: *base,
                distances: distances.get(skip as usize..(skip + count) as usize)?.to_vec(),
            },
        };
        Some(Run { first: lo, bytes: None, place })
    }

    /// Whether some of its records may lie in `lsns`.
    pub(crate) fn touches(&self, lsns: &Range<Lsn>) -> bool {
        match &self.place {
            Place::Mapped { from, .. } => from.first_lsn < lsns.end && lsns.start < from.end_lsn,
            Place::Memory { .. } => {
                let last = self.end().checked_sub(1).and_then(|last| self.lsn(last));
                self.lowest().is_some_and(|lsn| lsn < lsns.end) && last.is_some_and(|lsn| lsns.start <= lsn)
            }
        }
    }

    /// The first index whose record lies at or after `lsn`, if the run has records on both sides.
    pub(crate) fn crossing(&self, lsn: Lsn) -> Option<u64> {
        let Place::Memory { base, distances } = &self.place else { return None };
        let below = distances.partition_point(|d| base.plus(u64::from(*d)) < lsn);
        (0 < below && below < distances.len()).then_some(self.first + below as u64)
    }

    /// The indexes whose records lie in the segment of `from`: one range, because LSNs rise within a memory run.
    pub(crate) fn indexes_in(&self, from: &SegmentPositions) -> Option<(u64, u64)> {
        match &self.place {
            Place::Mapped { from: old, .. } => {
                (old.segment == from.segment).then_some((self.first, self.end()))
            }
            Place::Memory { base, distances } => {
                let lsn = |d: &u32| base.plus(u64::from(*d));
                let lo = distances.partition_point(|d| lsn(d) < from.first_lsn) as u64;
                let hi = distances.partition_point(|d| lsn(d) < from.end_lsn) as u64;
                debug_assert!(lo >= hi || self.lsn(self.first + lo).is_none_or(|l| from.holds(l)));
                (lo < hi).then_some((self.first + lo, self.first + hi))
            }
        }
    }

    /// Removes `index`, which is in the run but not its first, and everything after it.
    pub(crate) fn cut_from(&mut self, index: u64) {
        self.bytes = None;
        let keep = index.saturating_sub(self.first);
        match &mut self.place {
            Place::Mapped { count, .. } => {
                debug_assert!(keep < u64::from(*count), "the cut lies inside the run");
                *count = in_header(in_memory(keep));
            }
            Place::Memory { distances, .. } => distances.truncate(in_memory(keep)),
        }
    }

    /// Joins a mapped run that continues this one in the same array.
    pub(crate) fn join(&mut self, next: &Run) -> bool {
        if let Place::Mapped { count, at, from } = &next.place
            && self.end() == next.first
            && let Place::Mapped { count: c, at: a, from: before } = &mut self.place
            && Arc::ptr_eq(before, from)
            && a.checked_add(*c) == Some(*at)
            && let Some(sum) = c.checked_add(*count)
        {
            *c = sum;
            self.bytes = self.bytes.zip(next.bytes).and_then(|(a, b)| a.checked_add(b));
            return true;
        }
        false
    }

    /// Number of positions kept in memory; `None` if they are mapped.
    #[cfg(test)]
    pub(crate) fn in_memory(&self) -> Option<usize> {
        match &self.place {
            Place::Memory { distances, .. } => Some(distances.len()),
            Place::Mapped { .. } => None,
        }
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        match &self.place {
            Place::Memory { distances, .. } => distances.capacity(),
            Place::Mapped { .. } => 0,
        }
    }
}
