//! Shared by the tests of the Raft layer.
// Each test file uses a part of it.
#![allow(dead_code)]

pub mod model;
pub mod watched;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, Storage};
use seawall::Options;
use seawall::raft::{GroupStorage, RaftLog, RaftOptions};

/// Small, so that a few hundred entries fill several segments.
pub const SEGMENT: u64 = 64 << 10;

pub fn options() -> RaftOptions {
    RaftOptions::new().node_id(1).wal(Options::new().segment_size(SEGMENT)).snapshot_chunk(4096)
}

/// A log in its own directory, which can be closed and reopened.
pub struct Node {
    pub dir: tempfile::TempDir,
    log: Option<RaftLog>,
    options: RaftOptions,
}

impl Node {
    pub fn new() -> Node {
        Node::with(options())
    }

    pub fn with(options: RaftOptions) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let log = Some(options.clone().open(dir.path()).unwrap());
        Node { dir, log, options }
    }

    pub fn log(&self) -> &RaftLog {
        self.log.as_ref().unwrap()
    }

    /// Drops every handle and reopens the log. Handles kept by the test would keep the log locked.
    pub fn reopen(&mut self) {
        self.log = None;
        self.log = Some(self.options.clone().open(self.dir.path()).unwrap());
    }

    pub fn close(&mut self) {
        self.log = None;
    }

    pub fn group(&self, id: u64) -> GroupStorage {
        self.log().group(id).unwrap()
    }

    pub fn create(&self, id: u64) {
        self.log().create_group(id, conf(&[1, 2, 3])).unwrap();
    }

    pub fn append(&self, id: u64, entries: &[Entry]) {
        self.commit(|batch| batch.append(id, entries));
    }

    /// Entries `[from, to]` of a term, committed up to `to`.
    pub fn append_committed(&self, id: u64, from: u64, to: u64, term: u64) {
        let entries: Vec<Entry> = (from..=to).map(|index| entry(index, term)).collect();
        self.commit(|batch| {
            batch.append(id, &entries)?;
            batch.set_hard_state(id, &hard(term, 1, to))
        });
    }

    pub fn commit(&self, stage: impl FnOnce(&mut seawall::raft::WriteBatch) -> seawall::raft::Result<()>) {
        let mut batch = self.log().batch();
        stage(&mut batch).unwrap();
        self.log().commit(batch).unwrap();
    }

    /// Records that everything up to `index` is applied, and saves a snapshot there.
    pub fn snapshot_at(&self, id: u64, index: u64) {
        let group = self.group(id);
        let term = group.term(index).unwrap();
        self.commit(|batch| batch.set_applied(id, index, term));
        group.save_snapshot(index, conf(&[1, 2, 3]), state_at(index)).unwrap();
    }

    pub fn compact(&self, id: u64, index: u64) {
        self.commit(|batch| batch.compact(id, index));
    }

    /// Makes the same observation now and after a reopen.
    pub fn in_both_lives(&mut self, look: impl Fn(&Node)) {
        look(self);
        self.reopen();
        look(self);
    }
}

/// Group 7: entries 11..=40 (terms 2 up to 20, then 3), commit 25, applied 20, snapshot at 15, compacted to 10.
pub fn seasoned() -> Node {
    let node = Node::new();
    node.create(7);
    node.append_committed(7, 1, 20, 2);
    node.snapshot_at(7, 15);
    node.compact(7, 10);
    let tail: Vec<_> = (21..=40).map(|i| entry(i, 3)).collect();
    node.commit(|batch| {
        batch.append(7, &tail)?;
        batch.set_hard_state(7, &hard(3, 2, 25))?;
        batch.set_conf_state(7, 18, &conf(&[1, 2, 3]))?;
        batch.set_applied(7, 20, 2)
    });
    node
}

pub fn state_at(index: u64) -> Vec<u8> {
    format!("state at {index};").repeat(600).into_bytes()
}

/// An entry whose data contains its index and term, of varying length.
pub fn entry(index: u64, term: u64) -> Entry {
    let mut e = Entry::default();
    e.index = index;
    e.term = term;
    e.data = format!("{index}@{term};").repeat(1 + (index % 40) as usize).into_bytes().into();
    e
}

/// Commits one entry of this length, with its HardState and applied index.
pub fn write_applied(log: &RaftLog, id: u64, index: u64, len: usize) {
    let mut entry = entry(index, 1);
    entry.data = vec![7; len].into();
    let mut batch = log.batch();
    batch.append(id, &[entry]).unwrap();
    batch.set_hard_state(id, &hard(1, 0, index)).unwrap();
    batch.set_applied(id, index, 1).unwrap();
    log.commit(batch).unwrap();
}

pub fn hard(term: u64, vote: u64, commit: u64) -> HardState {
    let mut hs = HardState::default();
    hs.term = term;
    hs.vote = vote;
    hs.commit = commit;
    hs
}

pub fn conf(voters: &[u64]) -> ConfState {
    let mut cs = ConfState::default();
    cs.voters = voters.to_vec();
    cs
}

pub fn snapshot(index: u64, term: u64, voters: &[u64]) -> Snapshot {
    let mut s = Snapshot::default();
    s.data = state_at(index).into();
    s.mut_metadata().index = index;
    s.mut_metadata().term = term;
    s.mut_metadata().set_conf_state(conf(voters));
    s
}

pub fn entries(
    group: &GroupStorage,
    low: u64,
    high: u64,
    max: impl Into<Option<u64>>,
) -> raft::Result<Vec<Entry>> {
    group.entries(low, high, max, GetEntriesContext::empty(false))
}

/// First index, last index, and the term of each index from the one before the first.
pub fn shape(group: &GroupStorage) -> (u64, u64, Vec<u64>) {
    let (first, last) = (group.first_index().unwrap(), group.last_index().unwrap());
    (first, last, (first - 1..=last).map(|index| group.term(index).unwrap()).collect())
}

/// The live bytes of each segment, by its first address, counted record by record: the newest record of each entry
/// from first to last index, and for each group's State its size, where the newest one lies. Everything must be
/// durable.
pub fn count_live(log: &RaftLog) -> Vec<(u64, u64)> {
    let mut newest = std::collections::HashMap::new();
    let segments = log.wal().segments();
    for segment in &segments {
        for head in log.wal().segment_reader(segment.id).unwrap().heads() {
            let head = head.unwrap();
            let Some(label) = head.label else { continue };
            let is_entry = matches!(label.kind, 0x80..=0xbf);
            let is_state = matches!(label.kind, 0xe0..=0xe2);
            if is_entry || is_state {
                let key = (label.stream, if is_state { 0 } else { label.sequence });
                newest.insert(key, (segment.first_lsn.get(), u64::from(head.payload_len)));
            }
        }
    }
    let mut live = std::collections::BTreeMap::new();
    for id in log.groups() {
        let recovered = log.group(id).unwrap().recover();
        for index in recovered.first_index..=recovered.last_index {
            let (segment, payload) = newest[&(id, index)];
            *live.entry(segment).or_insert(0) += seawall::Batch::record_size(payload, true);
        }
        let (segment, state) = newest[&(id, 0)];
        *live.entry(segment).or_insert(0) += seawall::Batch::record_size(state, true);
    }
    segments.iter().map(|s| (s.first_lsn.get(), live.get(&s.first_lsn.get()).copied().unwrap_or(0))).collect()
}

/// The log's account agrees with its records.
pub fn check_space(log: &RaftLog) {
    let space = log.space().unwrap();
    let accounted: Vec<_> = space.segments.iter().map(|s| (s.first_lsn.get(), s.live_bytes)).collect();
    assert_eq!(accounted, count_live(log));
    check_recount(log);
    assert_eq!(space.live_bytes, accounted.iter().map(|s| s.1).sum::<u64>());
}

/// The log's account agrees with a count of every record's header.
pub fn check_recount(log: &RaftLog) {
    let space = log.space().unwrap();
    let recounted = log.recount_space().unwrap();
    // Dead bytes grow with each marker block written when the log falls idle.
    let live = |s: &seawall::raft::Space| s.segments.iter().map(|s| s.live_bytes).collect::<Vec<_>>();
    assert!(space.groups == recounted.groups && live(&space) == live(&recounted), "recounted, it differs");
    assert_eq!(space.live_bytes, space.groups.iter().map(|g| g.live_bytes).sum::<u64>());
}
