//! What the tests of the Raft layer share.
// Each test file uses a part of it, and none exports it.
#![allow(dead_code, unreachable_pub)]
// The codecs of the raft crate differ in the hidden fields of its messages, so none is built as a literal.
#![allow(clippy::field_reassign_with_default, clippy::cast_possible_truncation, clippy::unwrap_used)]

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, Storage};
use seawall::Options;
use seawall::raft::{GroupStorage, RaftLog, RaftOptions};

/// Small, so that a few hundred entries fill several segments.
pub const SEGMENT: u64 = 64 << 10;

pub fn options() -> RaftOptions {
    RaftOptions::new().node_id(1).wal(Options::new().segment_size(SEGMENT)).snapshot_chunk(4096)
}

/// A log in a directory of its own, which can be closed and opened again.
pub struct Node {
    pub dir: tempfile::TempDir,
    log: Option<RaftLog>,
}

impl Node {
    pub fn new() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let log = Some(options().open(dir.path()).unwrap());
        Node { dir, log }
    }

    pub fn log(&self) -> &RaftLog {
        self.log.as_ref().unwrap()
    }

    /// Drops every handle and opens the log again. Handles that the test kept would keep the log locked.
    pub fn reopen(&mut self) {
        self.log = None;
        self.log = Some(options().open(self.dir.path()).unwrap());
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

    /// Makes the same observation now and after reopening.
    pub fn in_both_lives(&mut self, look: impl Fn(&Node)) {
        look(self);
        self.reopen();
        look(self);
    }
}

pub fn state_at(index: u64) -> Vec<u8> {
    format!("state at {index};").repeat(600).into_bytes()
}

/// An entry whose data tells its index and term, of a length that varies.
pub fn entry(index: u64, term: u64) -> Entry {
    let mut e = Entry::default();
    e.index = index;
    e.term = term;
    e.data = format!("{index}@{term};").repeat(1 + (index % 40) as usize).into_bytes().into();
    e
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
