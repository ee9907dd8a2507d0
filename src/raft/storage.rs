//! One group, as raft reads it.
//!
//! Raft 0.7 gives a meaning to three errors of its `Storage`: `Compacted`, `Unavailable` and
//! `SnapshotTemporarilyUnavailable`; any other stops it (`raft_log.rs`). So the methods here answer from memory, but for
//! `entries` and `snapshot`, which read what they return and can meet damage.

use std::ops::Range;
use std::sync::Arc;

use ::raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use ::raft::{GetEntriesContext, RaftState, Storage, StorageError};
use parking_lot::RwLockReadGuard;

use super::codec::{Kind, entry};
use super::error::{Error, Result};
use super::group::{Cell, Group};
use super::log::RaftLog;
use super::snapshot::{SnapshotReceiver, SnapshotSink, SnapshotSource};
use crate::error::{Corruption, CorruptionReason};
use crate::{Lsn, Reader, Record, StreamRange};

/// So many positions are looked up under one lock.
const STRIDE: usize = 256;

/// So many entries before its turn an entry's record is fetched from memory: where groups interleave, each lies on a page
/// of its own.
const AHEAD: usize = 4;

/// What a group was when it was last written: what a node starts raft and its state machine with.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recovered {
    /// The last entry known to be applied; for `raft::Config::applied`. Entries after it are applied again.
    pub applied: u64,
    /// Its term.
    pub applied_term: u64,
    /// The commit index of the HardState.
    pub commit: u64,
    /// The term of the HardState.
    pub term: u64,
    /// The vote of the HardState.
    pub vote: u64,
    /// The first index that has an entry, or would have.
    pub first_index: u64,
    /// The last index; one below the first when there are no entries.
    pub last_index: u64,
    /// The members.
    pub conf_state: ConfState,
    /// The index from which that ConfState holds: changes of members up to it are applied in it.
    pub conf_state_index: u64,
    /// Index and term of the newest snapshot.
    pub snapshot: Option<(u64, u64)>,
}

impl Recovered {
    pub(crate) fn of(group: &Group) -> Recovered {
        let full = &group.full;
        Recovered {
            applied: full.applied.index,
            applied_term: full.applied.term,
            commit: full.hard.commit,
            term: full.hard.term,
            vote: full.hard.vote,
            first_index: group.first_index(),
            last_index: group.last().index,
            conf_state: ConfState::clone(&full.conf),
            conf_state_index: full.conf_index,
            snapshot: full.snapshot.map(|s| (s.at.index, s.at.term)),
        }
    }
}

/// One group of a [`RaftLog`]; raft's `Storage`.
///
/// A clone is another handle on the same group. When the group is removed, its handles answer
/// [`Error::NoSuchGroup`] (or empty values where nothing can fail), also when the id is used anew. So they do, with
/// [`OtherProcess`](crate::Error::OtherProcess), in a process that did not open the log.
#[derive(Clone, Debug)]
pub struct GroupStorage {
    log: RaftLog,
    cell: Arc<Cell>,
}

impl GroupStorage {
    pub(crate) fn new(log: RaftLog, cell: Arc<Cell>) -> Self {
        GroupStorage { log, cell }
    }

    /// The group's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.cell.id
    }

    /// The log that the group is in.
    #[must_use]
    pub fn log(&self) -> &RaftLog {
        &self.log
    }

    /// What a node needs to know to start on this group.
    #[must_use]
    pub fn recover(&self) -> Recovered {
        self.here().map_or_else(|| Recovered::of(&Group::default()), |group| Recovered::of(&group))
    }

    /// The HardState.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.here().map_or_else(HardState::default, |group| group.full.hard.to_raft())
    }

    /// The members.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        self.here().map_or_else(ConfState::default, |group| ConfState::clone(&group.full.conf))
    }

    /// Index and term of the last entry known to be applied.
    #[must_use]
    pub fn applied(&self) -> (u64, u64) {
        self.here().map_or((0, 0), |group| (group.full.applied.index, group.full.applied.term))
    }

    /// The last index whose entry, and all before it, is on the device; at most the last index. It is 0 while a
    /// snapshot that replaced the log is not durable itself.
    #[must_use]
    pub fn durable_index(&self) -> u64 {
        let durable = self.log.wal().durable_lsn();
        let Some(group) = self.here() else { return 0 };
        if group.reset_lsn.is_some_and(|reset| reset >= durable) {
            return 0;
        }
        // A record lies whole below the durable address or whole above it. Addresses rise with the index among entries
        // that stayed where they were appended, and those that did not were durable before they were relocated.
        let (mut lo, mut hi) = (group.full.compacted.index, group.last().index);
        lo = lo.max(group.durable_below.saturating_sub(1)).min(hi);
        while lo < hi {
            let middle = lo + (hi - lo).div_ceil(2);
            if group.positions.lsn(middle).is_some_and(|lsn| lsn < durable) {
                lo = middle;
            } else {
                hi = middle - 1;
            }
        }
        lo
    }

    /// Saves a snapshot of the application's state at an applied index; it is durable when this returns. Older
    /// snapshots of the group are removed. Afterwards the log can be compacted up to `index`.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::EmptyConfState`], [`Error::SnapshotBeyondApplied`],
    /// [`Error::SnapshotNotNewer`]; [`Error::Log`] when it cannot be written.
    pub fn save_snapshot(&self, index: u64, conf_state: ConfState, data: impl AsRef<[u8]>) -> Result<()> {
        let mut sink = self.snapshot_sink(index, &conf_state)?;
        sink.take_all(data.as_ref())?;
        sink.finish()
    }

    /// Begins a snapshot of the application's state at an applied index that is written piece by piece, for one that
    /// does not fit into memory or should not. [`SnapshotSink::finish`] makes it durable and the group's newest.
    ///
    /// # Errors
    /// As [`GroupStorage::save_snapshot`]; nothing is changed then.
    pub fn snapshot_sink(&self, index: u64, conf_state: &ConfState) -> Result<SnapshotSink> {
        self.log.check_opener()?;
        SnapshotSink::begin(&self.log, &self.cell, index, conf_state)
    }

    /// Begins a leader's snapshot whose data come piece by piece, beside the message with this metadata. What comes of it
    /// is installed by [`WriteBatch::ready_received`](super::WriteBatch::ready_received).
    ///
    /// # Errors
    /// As [`WriteBatch::install_snapshot`](super::WriteBatch::install_snapshot); nothing is changed then.
    pub fn snapshot_receiver(&self, metadata: &SnapshotMetadata) -> Result<SnapshotReceiver> {
        self.log.check_opener()?;
        SnapshotReceiver::begin(&self.log, &self.cell, metadata)
    }

    /// The newest snapshot, to be read piece by piece; none when the group has none.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::Log`] when the file cannot be opened, or its header is damaged.
    pub fn snapshot_source(&self) -> Result<Option<SnapshotSource>> {
        loop {
            let Some(file) = self.read()?.full.snapshot else { return Ok(None) };
            match self.log.snapshots().open(self.cell.id, file) {
                Ok(source) => return Ok(Some(source)),
                // A newer one has taken its place, and the file is gone or about to go.
                Err(_) if self.read()?.full.snapshot != Some(file) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The newest snapshot with its data, to restore the state machine from at start; none when the group has none.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::Log`] when the file cannot be read or is damaged.
    pub fn snapshot_data(&self) -> Result<Option<Snapshot>> {
        let Some(mut source) = self.snapshot_source()? else { return Ok(None) };
        let mut snapshot = Snapshot::default();
        #[allow(clippy::useless_conversion)] // `Bytes` under one codec, `Vec<u8>` under the other
        let data = source.read_rest()?.into();
        snapshot.data = data;
        let meta = snapshot.mut_metadata();
        meta.index = source.index();
        meta.term = source.term();
        meta.set_conf_state(source.conf_state().clone());
        Ok(Some(snapshot))
    }

    /// The group, for what cannot fail: `None` in a process that did not open the log.
    fn here(&self) -> Option<RwLockReadGuard<'_, Group>> {
        self.log.is_here().then(|| self.cell.group.read())
    }

    fn read(&self) -> Result<RwLockReadGuard<'_, Group>> {
        self.log.check_opener()?;
        let group = self.cell.group.read();
        if group.gone {
            return Err(Error::NoSuchGroup { group: self.cell.id });
        }
        Ok(group)
    }

    /// The positions and terms of the next entries of `range`, as many as fit into a stride.
    fn look_up(&self, range: Range<u64>, lsns: &mut Vec<Lsn>, terms: &mut Vec<u64>) -> Result<()> {
        lsns.clear();
        terms.clear();
        let group = self.read()?;
        let end = range.end.min(range.start.saturating_add(STRIDE as u64));
        group.positions.copy(range.start, end, lsns);
        terms.extend((range.start..end).map_while(|index| group.terms.get(index)));
        if range.start < group.first_index() {
            return Err(self.below_first(range.start, &group));
        }
        if lsns.len() as u64 != end - range.start || terms.len() != lsns.len() {
            let index = range.start + lsns.len() as u64;
            return Err(self.corruption(index, group.positions.lowest().unwrap_or_default(), None));
        }
        Ok(())
    }

    fn below_first(&self, index: u64, group: &Group) -> Error {
        Error::BelowFirst { group: self.cell.id, index, first: group.first_index() }
    }

    /// What is at `lsn` is not the entry at `index` that an index says is there. The file named is the index's own, for
    /// the address that a damaged one gives may lie anywhere.
    fn corruption(&self, index: u64, lsn: Lsn, summary: Option<Lsn>) -> Error {
        let wal = self.log.wal();
        let place = summary.unwrap_or(lsn);
        let segment = wal.segments().into_iter().find(|s| (s.first_lsn..s.end_lsn).contains(&place));
        let offset =
            segment.filter(|s| lsn < s.end_lsn).and_then(|s| lsn.distance_from(s.first_lsn)).unwrap_or(0);
        let file = wal.file_at(place);
        let hit = StreamRange { stream: self.cell.id, first: index, last: index };
        let corruption =
            Corruption::new(file, offset, lsn..lsn, CorruptionReason::Content).hitting(vec![hit]);
        Error::Log(corruption.into())
    }

    /// Whether `lsn` lies in the segment that begins at `first`, as everything does that its summary leads to.
    fn lies_in(&self, first: Lsn, lsn: Lsn) -> bool {
        self.log.wal().segments().iter().any(|s| s.first_lsn == first && (first..s.end_lsn).contains(&lsn))
    }

    /// The record of the entry at `index`, which lay at `lsn` a moment ago, and where it lies.
    fn record_at(&self, reader: &mut Reader, index: u64, term: u64, mut lsn: Lsn) -> Result<(Record, Lsn)> {
        loop {
            let error = match reader.read(lsn) {
                Ok(record) => return Ok((record, lsn)),
                Err(e) => e,
            };
            let group = self.read()?;
            match group.positions.lsn(index) {
                // Relocated, and its old place released, since the position was looked up.
                Some(now) if now != lsn && group.terms.get(index) == Some(term) => lsn = now,
                // The same, but for compaction.
                _ if index < group.first_index() => return Err(self.below_first(index, &group)),
                Some(now) if now == lsn => {
                    let summary = group.positions.summarized_in(index);
                    drop(group);
                    // An address outside its segment is the summary's fault, whatever was found there.
                    let astray = summary.is_some_and(|first| !self.lies_in(first, lsn));
                    let nothing =
                        matches!(error, crate::Error::NotFound { .. } | crate::Error::Released { .. });
                    let wrong = astray || nothing;
                    return Err(if wrong { self.corruption(index, lsn, summary) } else { error.into() });
                }
                // It was overwritten meanwhile.
                _ => return Err(error.into()),
            }
        }
    }

    /// The entry at `index`, whose record should lie at `lsn`. The address may come from a mapped summary, so the label
    /// has to confirm it.
    fn entry_at(&self, reader: &mut Reader, index: u64, term: u64, lsn: Lsn) -> Result<Entry> {
        let (record, lsn) = self.record_at(reader, index, term, lsn)?;
        let label = record.label().unwrap_or_default();
        let shape = match Kind::from_u8(label.kind) {
            Ok(Kind::Entry(shape) | Kind::Relocated(shape)) => shape,
            _ => return Err(self.corruption(index, lsn, self.read()?.positions.summarized_in(index))),
        };
        if (label.stream, label.sequence, label.extra) != (self.cell.id, index, term) {
            return Err(self.corruption(index, lsn, self.read()?.positions.summarized_in(index)));
        }
        entry::decode(shape, index, term, record.into_bytes()).map_err(|problem| Error::Content {
            group: self.cell.id,
            index,
            lsn,
            problem,
        })
    }

    /// Entries of a range that is in the log, as many as raft's limit lets through.
    fn collect(&self, range: Range<u64>, max_size: Option<u64>) -> Result<Vec<Entry>> {
        let mut limit = SizeLimit::new(max_size);
        let (mut lsns, mut terms) = (Vec::new(), Vec::new());
        let most = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(STRIDE).min(STRIDE);
        let mut entries = Vec::with_capacity(most);
        let mut reader = self.log.wal().reader();
        let mut next = range.start;
        while next < range.end {
            self.look_up(next..range.end, &mut lsns, &mut terms)?;
            for (n, (lsn, term)) in lsns.iter().zip(&terms).enumerate() {
                if let Some(ahead) = lsns.get(n + AHEAD) {
                    reader.prefetch(*ahead);
                }
                let entry = self.entry_at(&mut reader, next, *term, *lsn)?;
                if !limit.admits(&entry) {
                    return Ok(entries);
                }
                entries.push(entry);
                next += 1;
            }
        }
        Ok(entries)
    }
}

/// Which entries raft wants of those it asked for, as `util.rs`, `limit_size`, counts them: the first one always, and
/// then as long as the sum of their protobuf sizes stays within the limit.
#[derive(Debug)]
struct SizeLimit {
    max: u64,
    size: u64,
}

impl SizeLimit {
    fn new(max: Option<u64>) -> Self {
        SizeLimit { max: max.unwrap_or(::raft::NO_LIMIT), size: 0 }
    }

    fn admits(&mut self, entry: &Entry) -> bool {
        if self.max == ::raft::NO_LIMIT {
            return true;
        }
        let first = self.size == 0;
        self.size = self.size.saturating_add(entry::wire_size(entry));
        first || self.size <= self.max
    }
}

impl Storage for GroupStorage {
    fn initial_state(&self) -> ::raft::Result<RaftState> {
        let group = self.read()?;
        Ok(RaftState::new(group.full.hard.to_raft(), ConfState::clone(&group.full.conf)))
    }

    /// `Compacted` below the first index. A `high` beyond the last index plus one is a broken promise of the caller, and
    /// is answered with `Unavailable`. Entries are read at once, never asynchronously.
    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> ::raft::Result<Vec<Entry>> {
        let group = self.read()?;
        if low < group.first_index() {
            return Err(StorageError::Compacted.into());
        }
        if high > group.last().index.saturating_add(1) {
            return Err(StorageError::Unavailable.into());
        }
        drop(group);
        Ok(self.collect(low..high, max_size.into())?)
    }

    fn term(&self, idx: u64) -> ::raft::Result<u64> {
        let group = self.read()?;
        match group.term(idx) {
            Some(term) => Ok(term),
            None if idx < group.first_index() => Err(StorageError::Compacted.into()),
            None => Err(StorageError::Unavailable.into()),
        }
    }

    fn first_index(&self) -> ::raft::Result<u64> {
        Ok(self.read()?.first_index())
    }

    fn last_index(&self) -> ::raft::Result<u64> {
        Ok(self.read()?.last().index)
    }

    /// The newest snapshot. If the group has none, or only one below `request_index`, the application has to save one
    /// first ([`GroupStorage::save_snapshot`]); raft asks again.
    fn snapshot(&self, request_index: u64, _to: u64) -> ::raft::Result<Snapshot> {
        let newest = self.read()?.full.snapshot;
        if newest.is_none_or(|s| s.at.index < request_index) {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        match self.snapshot_data()? {
            Some(snapshot) => Ok(snapshot),
            None => Err(StorageError::SnapshotTemporarilyUnavailable.into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::raft::RaftOptions;
    use crate::raft::fold;
    use crate::raft::index::Written;

    fn log(dir: &tempfile::TempDir) -> RaftLog {
        RaftOptions::new().wal(Options::new().segment_size(64 << 10)).open(dir.path()).unwrap()
    }

    fn fill(log: &RaftLog, groups: u64, entries: u64) {
        for id in 1..=groups {
            log.create_group(id, ConfState::default()).unwrap();
        }
        for first in (1..entries).step_by(10) {
            let mut batch = log.batch();
            for id in 1..=groups {
                let list: Vec<Entry> = (first..first + 10)
                    .map(|index| {
                        let mut e = Entry::default();
                        e.index = index;
                        e.term = 1;
                        e.data = vec![id as u8; 100].into();
                        e
                    })
                    .collect();
                batch.append(id, &list).unwrap();
            }
            log.commit(batch).unwrap();
        }
    }

    fn in_memory(log: &RaftLog) -> usize {
        log.groups_in_memory().all().iter().map(|cell| cell.group.read().positions.in_memory().1).sum()
    }

    fn all_footers(log: &RaftLog) -> bool {
        let sealed = log.wal().segments().into_iter().filter(|s| s.sealed);
        sealed.map(|s| log.wal().summary(s.id).unwrap()).all(|summary| summary.is_some())
    }

    /// Footers are written in the background.
    fn wait_for_footers(log: &RaftLog) {
        for _ in 0..1000 {
            if all_footers(log) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("the footers are not written");
    }

    #[test]
    fn positions_of_sealed_segments_are_not_kept_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        fill(&log, 5, 2000);
        wait_for_footers(&log);
        // The summarizer is told after the footer is there, so the last segment's may still be on its way.
        let open_ended = 3 * (64 << 10) / 100;
        assert!(in_memory(&log) < open_ended, "{} of 10000", in_memory(&log));
        drop(log);
        let log = super::tests::log(&dir);
        assert_eq!(in_memory(&log), 0);
        for id in 1..=5 {
            let got = log.group(id).unwrap().collect(1..2001, None).unwrap();
            assert!(got.iter().zip(1..).all(|(e, index)| e.index == index && e.data == vec![id as u8; 100]));
            assert_eq!(got.len(), 2000);
        }
    }

    #[test]
    fn a_footer_says_what_the_segment_says() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        fill(&log, 3, 1000);
        wait_for_footers(&log);
        let sealed: Vec<_> = log.wal().segments().into_iter().filter(|s| s.sealed).collect();
        assert!(sealed.len() > 3);
        for segment in sealed {
            let kept = log.wal().summary(segment.id).unwrap().unwrap();
            let made = fold::summarize(&log.wal().segment_reader(segment.id).unwrap()).unwrap().encode();
            assert_eq!((kept.head, kept.body), (made.head, made.body));
        }
    }

    #[test]
    fn a_position_that_leads_to_another_record_is_corruption() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        fill(&log, 2, 10);
        let group = log.group(1).unwrap();
        let elsewhere = [
            log.group(2).unwrap().cell.group.read().positions.lsn(10).unwrap(),
            group.cell.group.read().positions.lsn(3).unwrap(),
            group.cell.group.read().state_lsn.unwrap(),
        ];
        for lsn in elsewhere {
            let mut state = group.cell.group.write();
            state.cut_for(10);
            state.push(1, Written { index: 10, lsn, size: 48 });
            drop(state);
            let error = group.collect(1..11, None).unwrap_err();
            let Error::Log(crate::Error::Corruption(c)) = &error else { panic!("{error}") };
            assert_eq!((c.hit[0].stream, c.hit[0].first, c.lsns.start), (1, 10, lsn));
            group.collect(1..10, None).unwrap();
        }
    }
}
