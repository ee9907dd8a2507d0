//! One group, as raft reads it.
//!
//! Raft 0.7 gives a meaning to three errors of its `Storage`: `Compacted`, `Unavailable` and
//! `SnapshotTemporarilyUnavailable`; any other stops it (`raft_log.rs`). So these methods answer from memory, except
//! `entries` and `snapshot`, which read what they return and can encounter damage.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use ::raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use ::raft::{GetEntriesContext, RaftState, Storage, StorageError};
use parking_lot::RwLockReadGuard;

use super::check::compacted;
use super::codec::{entry, fields};
use super::error::{Error, Result};
use super::receiver::SnapshotReceiver;
use super::sink::SnapshotSink;
use super::snapshot::SnapshotSource;
use super::state::{Fixed, SnapshotRef};
use super::store::Shared;
use crate::groups::contents::{Contents, Slot};
use crate::groups::entries::Entries;

/// Initial capacity for entries to be read; it grows as they come.
const CAPACITY: usize = 256;

/// The state of a group as last written: what a node needs to start raft and its state machine.
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
    /// The first index that has or would have an entry.
    pub first_index: u64,
    /// The last index; one below the first if there are no entries.
    pub last_index: u64,
    /// The members.
    pub conf_state: ConfState,
    /// The index from which that ConfState holds: membership changes up to it are included.
    pub conf_state_index: u64,
    /// Index and term of the newest snapshot.
    pub snapshot: Option<(u64, u64)>,
}

impl Recovered {
    /// For a group whose fields were checked.
    pub(crate) fn of(contents: &Contents) -> Recovered {
        let state = &contents.root.state;
        let Fixed { hard, applied, conf_index, snapshot } = fields::fixed_of(state);
        Recovered {
            applied: applied.index,
            applied_term: applied.term,
            commit: hard.commit,
            term: hard.term,
            vote: hard.vote,
            first_index: contents.first_index(),
            last_index: contents.last().unwrap_or_default().index,
            conf_state: fields::checked_conf_of(state),
            conf_state_index: conf_index,
            snapshot: snapshot.map(|s| (s.at.index, s.at.term)),
        }
    }
}

/// A group of a [`RaftLog`](super::RaftLog); raft's `Storage`.
///
/// A clone is another handle on the same group. Once the group is removed, its handles return [`Error::NoSuchGroup`]
/// (or empty values where nothing can fail), even if the id is used again. In a process that did not open the log
/// they return [`OtherProcess`](crate::Error::OtherProcess).
#[derive(Clone, Debug)]
pub struct GroupStorage {
    shared: Shared,
    slot: Arc<Slot>,
}

impl GroupStorage {
    pub(crate) fn new(shared: Shared, slot: Arc<Slot>) -> Self {
        GroupStorage { shared, slot }
    }

    /// The group's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.slot.id
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What a node needs to start with this group.
    #[must_use]
    pub fn recover(&self) -> Recovered {
        self.here().map_or_else(|| Recovered::of(&Contents::default()), |group| Recovered::of(&group))
    }

    /// The HardState.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.here()
            .map_or_else(HardState::default, |group| fields::fixed_of(&group.root.state).hard.to_raft())
    }

    /// The members.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        self.here().map_or_else(ConfState::default, |group| fields::checked_conf_of(&group.root.state))
    }

    /// Index and term of the last entry known to be applied.
    #[must_use]
    pub fn applied(&self) -> (u64, u64) {
        let applied =
            self.here().map(|group| fields::fixed_of(&group.root.state).applied).unwrap_or_default();
        (applied.index, applied.term)
    }

    /// The last index whose entry is on the device together with all before it; at most the last index. It is 0 while
    /// a snapshot that replaced the log is not durable itself.
    #[must_use]
    pub fn durable_index(&self) -> u64 {
        let durable = self.shared.wal().durable_lsn();
        self.here().map_or(0, |group| group.durable_end(durable).saturating_sub(1))
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

    /// Starts a snapshot of the application's state at an applied index, written piece by piece; for one that does
    /// not or should not fit into memory. [`SnapshotSink::finish`] makes it durable and the group's newest.
    ///
    /// # Errors
    /// As [`GroupStorage::save_snapshot`]; nothing is changed.
    pub fn snapshot_sink(&self, index: u64, conf_state: &ConfState) -> Result<SnapshotSink> {
        self.shared.check_opener()?;
        SnapshotSink::begin(&self.shared, &self.slot, index, conf_state)
    }

    /// Starts receiving a leader's snapshot whose data comes piece by piece, separately from the message with this
    /// metadata. [`WriteBatch::ready_received`](super::WriteBatch::ready_received) installs the result.
    ///
    /// # Errors
    /// As [`WriteBatch::install_snapshot`](super::WriteBatch::install_snapshot); nothing is changed.
    pub fn snapshot_receiver(&self, metadata: &SnapshotMetadata) -> Result<SnapshotReceiver> {
        self.shared.check_opener()?;
        SnapshotReceiver::begin(&self.shared, &self.slot, metadata)
    }

    /// The newest snapshot, to be read piece by piece; `None` if the group has none.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::Log`] when the file cannot be opened, or its header is damaged.
    pub fn snapshot_source(&self) -> Result<Option<SnapshotSource>> {
        loop {
            let Some(file) = self.snapshot_ref()? else { return Ok(None) };
            match self.shared.snapshots().open(self.slot.id, file) {
                Ok(source) => return Ok(Some(source)),
                // A newer one has replaced it, and the file is gone or about to be removed.
                Err(_) if self.snapshot_ref()? != Some(file) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The newest snapshot with its data, for restoring the state machine at start; `None` if the group has none.
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

    /// The group, for methods that cannot fail: `None` in a process that did not open the log.
    fn here(&self) -> Option<RwLockReadGuard<'_, Contents>> {
        self.shared.is_here().then(|| self.slot.contents.read())
    }

    fn read(&self) -> Result<RwLockReadGuard<'_, Contents>> {
        self.shared.check_opener()?;
        let group = self.slot.contents.read();
        if group.gone {
            return Err(Error::NoSuchGroup { group: self.slot.id });
        }
        Ok(group)
    }

    /// The snapshot that the group refers to.
    fn snapshot_ref(&self) -> Result<Option<SnapshotRef>> {
        Ok(fields::fixed_of(&self.read()?.root.state).snapshot)
    }

    /// Entries of a range in the log, as many as raft's limit allows.
    fn collect(&self, range: Range<u64>, max_size: Option<u64>) -> Result<Vec<Entry>> {
        let mut limit = SizeLimit::new(max_size);
        let most = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(CAPACITY).min(CAPACITY);
        let mut entries = Vec::with_capacity(most);
        Entries::of(self.shared.store(), &self.slot).read(range, |read| {
            let (index, lsn) = (read.index, read.record.lsn());
            let content = |problem| Error::Content { group: self.slot.id, index, lsn, problem };
            let shape = entry::Shape::of_kind(read.kind).map_err(content)?;
            let entry = entry::decode(shape, index, read.term, read.record.into_bytes()).map_err(content)?;
            if !limit.admits(&entry) {
                return Ok(ControlFlow::Break(()));
            }
            entries.push(entry);
            Ok::<_, Error>(ControlFlow::Continue(()))
        })?;
        Ok(entries)
    }
}

/// Selects the entries that raft wants, counted as in `util.rs`, `limit_size`: always the first, then as long as the
/// sum of their protobuf sizes stays within the limit.
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
        let hard = fields::fixed_of(&group.root.state).hard;
        Ok(RaftState::new(hard.to_raft(), fields::checked_conf_of(&group.root.state)))
    }

    /// `Compacted` below the first index. A `high` beyond the last index plus one violates the caller's contract and
    /// returns `Unavailable`. Entries are read immediately, never asynchronously.
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
        if high > group.end_index() {
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
        let group = self.read()?;
        Ok(group.last().unwrap_or(compacted(&group)).index)
    }

    /// The newest snapshot. If the group has none, or only one below `request_index`, the application must save one
    /// first ([`GroupStorage::save_snapshot`]); raft asks again.
    fn snapshot(&self, request_index: u64, _to: u64) -> ::raft::Result<Snapshot> {
        let newest = self.snapshot_ref()?;
        if newest.is_none_or(|s| s.at.index < request_index) {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        match self.snapshot_data()? {
            Some(snapshot) => Ok(snapshot),
            None => Err(StorageError::SnapshotTemporarilyUnavailable.into()),
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::groups::index::Written;
    use crate::groups::summary::builder;
    use crate::raft::{RaftLog, RaftOptions};

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
        log.group(1)
            .unwrap()
            .shared
            .store()
            .slots
            .all()
            .iter()
            .map(|slot| slot.contents.read().positions.in_memory().1)
            .sum()
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
        panic!("the footers were not written");
    }

    #[test]
    fn positions_of_sealed_segments_are_not_kept_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        fill(&log, 5, 2000);
        wait_for_footers(&log);
        // The summarizer is called after the footer is written, so the last segment's call may still be pending.
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
            let made = builder::summarize(&log.wal().segment_reader(segment.id).unwrap()).unwrap().encode();
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
            log.group(2).unwrap().slot.contents.read().positions.lsn(10).unwrap(),
            group.slot.contents.read().positions.lsn(3).unwrap(),
            group.slot.contents.read().record.unwrap().lsn,
        ];
        for lsn in elsewhere {
            let mut state = group.slot.contents.write();
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
