//! A Raft log whose process is killed: the operations, the state of a group after them, the process that executes
//! them, and the parent's knowledge of what must be there afterwards.
#![allow(dead_code)]

pub mod child;
pub mod known;
pub mod ops;

use std::time::Duration;

use raft::Storage as _;
use seawall::Options;
use seawall::raft::{GroupStorage, RaftOptions};

use crate::raft_support::{entries, entry, state_at};

/// Segments of about fifteen commits, and marker blocks without delay.
pub fn options() -> RaftOptions {
    let wal = Options::new().segment_size(64 << 10).idle_marker(Duration::from_millis(1));
    RaftOptions::new().node_id(1).wal(wal).snapshot_chunk(4096)
}

/// Everything visible of a group. The bytes of its entries and of its snapshot follow from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct View {
    pub first: u64,
    /// From the index before the first.
    pub terms: Vec<u64>,
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
    pub applied: u64,
    pub snapshot: Option<(u64, u64)>,
}

impl View {
    /// Reads everything of a group.
    ///
    /// # Panics
    /// If the bytes of an entry or of the snapshot are wrong.
    pub fn of(group: &GroupStorage) -> View {
        let r = group.recover();
        let view = View {
            first: r.first_index,
            terms: (r.first_index - 1..=r.last_index).map(|i| group.term(i).unwrap()).collect(),
            term: r.term,
            vote: r.vote,
            commit: r.commit,
            applied: r.applied,
            snapshot: r.snapshot,
        };
        let expected: Vec<_> = (r.first_index..=r.last_index).map(|i| entry(i, view.at(i))).collect();
        assert!(
            entries(group, r.first_index, r.last_index + 1, None).unwrap() == expected,
            "group {}: its entries are not those that were written: {view:?}",
            group.id()
        );
        if let Some(snapshot) = group.snapshot_data().unwrap() {
            let meta = snapshot.get_metadata();
            assert_eq!(Some((meta.index, meta.term)), view.snapshot, "group {}", group.id());
            assert!(snapshot.get_data() == state_at(meta.index), "group {}: {view:?}", group.id());
        }
        view
    }

    pub fn last(&self) -> u64 {
        self.first + self.terms.len() as u64 - 2
    }

    /// The term of an index, from the one before the first on.
    pub fn at(&self, index: u64) -> u64 {
        self.terms[(index + 1 - self.first) as usize]
    }
}
