//! Groups that grow until the disk is full, on a simulated disk and on a real one.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::Entry;
use seawall::Options;
use seawall::io::sim::SimDisk;
use seawall::raft::{Error, GroupStorage, RaftLog, RaftOptions, Result};

use crate::raft_support::{conf, entries, entry, hard, state_at};

pub const GROUPS: u64 = 3;

pub fn options(segment: u64) -> RaftOptions {
    let wal = Options::new()
        .segment_size(segment)
        .max_staged_bytes(16 << 10)
        .idle_marker(Duration::from_secs(3600));
    RaftOptions::new().node_id(1).wal(wal)
}

/// On the simulated disk a single thread does everything, so that the space needed is known.
pub fn simulated() -> Options {
    let wal = Options::new().segment_size(64 << 10).max_staged_bytes(8 << 10).mmap(false);
    wal.idle_marker(Duration::from_secs(3600)).threads(false)
}

pub fn open(disk: &SimDisk) -> Result<RaftLog> {
    RaftOptions::new().node_id(1).wal(simulated()).open_on(Arc::new(disk.clone()))
}

pub fn is_full(e: &Error) -> bool {
    matches!(e, Error::Log(e) if e.is_full())
}

/// One more entry for a group, committed and applied.
pub fn grow(log: &RaftLog, id: u64) -> Result<()> {
    let last = log.group(id).unwrap().recover().last_index;
    let mut big: Entry = entry(last + 1, 1);
    big.data = vec![id.to_le_bytes()[0]; 900].into();
    let mut batch = log.batch();
    batch.append(id, &[big])?;
    batch.set_hard_state(id, &hard(1, 1, last + 1))?;
    batch.set_applied(id, last + 1, 1)?;
    log.commit(batch).map(drop)
}

pub fn create(log: &RaftLog) {
    for id in 1..=GROUPS {
        log.create_group(id, conf(&[1])).unwrap();
    }
}

/// Grows the groups until the disk is full; returns the number of acknowledged entries.
pub fn fill(log: &RaftLog) -> u64 {
    for n in 0.. {
        if let Err(e) = grow(log, 1 + n % GROUPS) {
            assert!(is_full(&e), "{e}");
            return n;
        }
    }
    0
}

/// Index, term and data of every entry, copied: a slice of the mapping would keep its file's space.
pub fn all_entries(log: &RaftLog) -> Vec<Vec<(u64, u64, Vec<u8>)>> {
    let of = |group: GroupStorage| {
        let recovered = group.recover();
        let all = entries(&group, recovered.first_index, recovered.last_index + 1, None).unwrap();
        all.into_iter().map(|e| (e.index, e.term, e.data.to_vec())).collect()
    };
    log.groups().into_iter().map(|id| of(log.group(id).unwrap())).collect()
}

pub fn snapshot_of(group: &GroupStorage) -> u64 {
    group.recover().snapshot.map_or(0, |(index, _)| index)
}

/// Compacts each group to its snapshot, and frees the resulting space.
pub fn compact_and_purge(log: &RaftLog) -> usize {
    let mut batch = log.batch();
    for id in log.groups() {
        batch.compact(id, snapshot_of(&log.group(id).unwrap())).unwrap();
    }
    log.commit(batch).unwrap();
    log.purge().unwrap().segments_freed
}

/// Saves a snapshot of each group at its present index.
pub fn save(log: &RaftLog) {
    for id in log.groups() {
        let group = log.group(id).unwrap();
        let last = group.recover().last_index;
        group.save_snapshot(last, conf(&[1]), state_at(last)).unwrap();
    }
}
