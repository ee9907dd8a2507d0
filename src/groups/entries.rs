//! Reads the entries of a group.
//!
//! A position may come from a mapped summary, of which only the head was verified. So the label of each record must
//! confirm group, index and term, and a wrong address is reported as damage to the index it came from.

use std::ops::{ControlFlow, Range};

use super::codec::Kind;
use super::contents::{Contents, Slot};
use super::error::{Error, Result};
use super::state::EntryKind;
use super::store::Store;
use crate::error::{Corruption, CorruptionReason};
use crate::{Lsn, Reader, Record, StreamRange};

/// Number of positions looked up under one lock.
const STRIDE: usize = 256;

/// Number of entries by which records are prefetched: where groups interleave, each lies on a different page.
const AHEAD: usize = 4;

/// An entry whose record was verified.
#[derive(Clone, Debug)]
pub(crate) struct ReadEntry {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) kind: EntryKind,
    pub(crate) record: Record,
}

/// A reader for one group.
pub(crate) struct Entries<'a> {
    store: &'a Store,
    slot: &'a Slot,
}

impl<'a> Entries<'a> {
    pub(crate) fn of(store: &'a Store, slot: &'a Slot) -> Entries<'a> {
        Entries { store, slot }
    }

    /// Passes the existing entries of `range` to `each`, one by one, until `each` stops it.
    #[inline]
    pub(crate) fn read<E: From<Error>>(
        &self,
        range: Range<u64>,
        mut each: impl FnMut(ReadEntry) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let (mut lsns, mut terms) = (Vec::new(), Vec::new());
        let mut reader = self.store.wal.reader();
        let mut next = range.start;
        while next < range.end {
            self.look_up(next..range.end, &mut lsns, &mut terms)?;
            for (n, (lsn, term)) in lsns.iter().zip(&terms).enumerate() {
                if let Some(ahead) = lsns.get(n + AHEAD) {
                    reader.prefetch(*ahead);
                }
                let entry = self.entry_at(&mut reader, next, *term, *lsn)?;
                if each(entry)?.is_break() {
                    return Ok(());
                }
                next += 1;
            }
        }
        Ok(())
    }

    /// Positions and terms of the next entries of `range`: up to one stride, at least one entry.
    fn look_up(&self, range: Range<u64>, lsns: &mut Vec<Lsn>, terms: &mut Vec<u64>) -> Result<()> {
        lsns.clear();
        terms.clear();
        let contents = self.slot.contents.read();
        let end = range.end.min(range.start.saturating_add(STRIDE as u64));
        contents.positions.copy(range.start, end, lsns);
        terms.extend((range.start..end).map_while(|index| contents.terms.get(index)));
        self.check_range(range.start, &contents)?;
        if lsns.len() as u64 != end - range.start || terms.len() != lsns.len() {
            let index = range.start + lsns.len() as u64;
            let lowest = contents.positions.lowest().unwrap_or_default();
            drop(contents);
            return Err(self.corruption(index, lowest, None));
        }
        Ok(())
    }

    fn check_range(&self, index: u64, contents: &Contents) -> Result<()> {
        let (group, first) = (self.slot.id, contents.first_index());
        if contents.gone {
            return Err(Error::NoSuchGroup { group });
        }
        if index < first { Err(Error::BelowFirst { group, index, first }) } else { Ok(()) }
    }

    /// The error if the record at `lsn` is not the entry `index` that an index promises. It names the file of that
    /// index, because a damaged one may give any address; if the file is unknown, the log's directory.
    fn corruption(&self, index: u64, lsn: Lsn, summary: Option<Lsn>) -> Error {
        misplaced(self.store, self.slot.id, index, lsn, summary)
    }

    /// Whether `lsn` lies in the segment that begins at `first`, as every address in its summary must.
    fn lies_in(&self, first: Lsn, lsn: Lsn) -> bool {
        self.store.wal.segments().iter().any(|s| s.first_lsn == first && (first..s.end_lsn).contains(&lsn))
    }

    /// The entry at `index`, whose record should be at `lsn`.
    #[inline]
    fn entry_at(&self, reader: &mut Reader, index: u64, term: u64, lsn: Lsn) -> Result<ReadEntry> {
        match reader.read(lsn) {
            Ok(record) => self.confirmed(index, term, record),
            Err(e) => self.moved(reader, index, term, lsn, e),
        }
    }

    /// The entry in this record, if its label confirms it.
    #[inline]
    fn confirmed(&self, index: u64, term: u64, record: Record) -> Result<ReadEntry> {
        match entry_kind(&record, self.slot.id, index, term) {
            Some(kind) => Ok(ReadEntry { index, term, kind, record }),
            None => Err(self.not_the_entry(index, record.lsn())),
        }
    }

    #[cold]
    fn not_the_entry(&self, index: u64, lsn: Lsn) -> Error {
        let summary = self.slot.contents.read().positions.summarized_in(index);
        self.corruption(index, lsn, summary)
    }

    /// Handles an entry whose record was at `lsn` a moment ago and cannot be read there, for this reason.
    #[cold]
    fn moved(
        &self,
        reader: &mut Reader,
        index: u64,
        term: u64,
        mut lsn: Lsn,
        mut error: crate::Error,
    ) -> Result<ReadEntry> {
        loop {
            let contents = self.slot.contents.read();
            self.check_range(index, &contents)?;
            match contents.positions.lsn(index) {
                // It was relocated, and its old place released, since the position was looked up.
                Some(now) if now != lsn && contents.terms.get(index) == Some(term) => lsn = now,
                Some(now) if now == lsn => {
                    let summary = contents.positions.summarized_in(index);
                    drop(contents);
                    // An address outside its segment is the summary's fault, whatever was found there.
                    let astray = summary.is_some_and(|first| !self.lies_in(first, lsn));
                    let nothing =
                        matches!(error, crate::Error::NotFound { .. } | crate::Error::Released { .. });
                    let wrong = astray || nothing;
                    return Err(if wrong { self.corruption(index, lsn, summary) } else { error.into() });
                }
                // It was overwritten in the meantime.
                _ => return Err(error.into()),
            }
            drop(contents);
            match reader.read(lsn) {
                Ok(record) => return self.confirmed(index, term, record),
                Err(e) => error = e,
            }
        }
    }
}

/// The kind of the entry if the record's label identifies it as this entry.
#[inline]
pub(crate) fn entry_kind(record: &Record, group: u64, index: u64, term: u64) -> Option<EntryKind> {
    let label = record.label()?;
    let is_it = (label.stream, label.sequence, label.extra) == (group, index, term);
    if is_it { Kind::entry(label.kind) } else { None }
}

/// The error if the record at `lsn` is not the entry that an index promises; `summary` is the beginning of the
/// segment whose mapped summary was used, if any.
/// was a mapped one.
pub(crate) fn misplaced(store: &Store, group: u64, index: u64, lsn: Lsn, summary: Option<Lsn>) -> Error {
    let wal = &store.wal;
    let place = summary.unwrap_or(lsn);
    let segment = wal.segments().into_iter().find(|s| (s.first_lsn..s.end_lsn).contains(&place));
    let file = wal.file_at(place);
    let offset =
        segment.filter(|s| lsn < s.end_lsn).and_then(|s| lsn.distance_from(s.first_lsn)).unwrap_or(0);
    let hit = StreamRange { stream: group, first: index, last: index };
    Error::Log(Corruption::new(file, offset, lsn..lsn, CorruptionReason::Content).hitting(vec![hit]).into())
}
