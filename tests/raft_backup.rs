//! A backup of a Raft log opens with all groups as they were at one moment, including their snapshots, although
//! batches, snapshots, compactions and purges continued.
#![cfg(feature = "raft")]

mod raft_support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use raft::Storage;
use raft_support::*;
use seawall::raft::{GroupStorage, RaftLog};

const GROUPS: u64 = 12;

/// Tells the writers to stop, even if a check fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Appends to a group, and now and then saves a snapshot and compacts.
fn write(log: &RaftLog, id: u64, stop: &AtomicBool, acknowledged: &AtomicU64) {
    let group = log.group(id).unwrap();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let first = group.last_index().unwrap() + 1;
        let entries: Vec<_> = (first..first + 8).map(|index| entry(index, 1)).collect();
        let mut batch = log.batch();
        batch.append(id, &entries).unwrap();
        batch.set_hard_state(id, &hard(1, id, first + 7)).unwrap();
        batch.set_applied(id, first + 7, 1).unwrap();
        log.commit(batch).unwrap();
        acknowledged.store(first + 7, Ordering::Release);
        if round % 6 == id % 6 {
            group.save_snapshot(first + 3, conf(&[1, 2, 3]), state_at(first + 3)).unwrap();
            let mut batch = log.batch();
            batch.compact(id, first).unwrap();
            log.commit(batch).unwrap();
        }
    }
}

/// A group of the copy: complete, at least up to what was acknowledged before, and with the right content.
fn check(group: &GroupStorage, acknowledged: u64) {
    let (first, last, _) = shape(group);
    let commit = group.recover().commit;
    assert!(last >= acknowledged && commit <= last, "{acknowledged} acknowledged, {last} there");
    for e in entries(group, first, last + 1, None).unwrap() {
        assert_eq!(e, entry(e.index, 1));
    }
    if first > 1 {
        let snapshot = group.snapshot(0, 0).unwrap();
        assert!(snapshot.get_metadata().index >= first - 1);
        assert_eq!(snapshot.data, state_at(snapshot.get_metadata().index));
    }
}

#[test]
fn a_backup_under_load_has_every_group_as_it_was_at_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let log = options().purge_in_background(SEGMENT).open(dir.path().join("log")).unwrap();
    (1..=GROUPS).for_each(|id| drop(log.create_group(id, conf(&[1, 2, 3])).unwrap()));
    let stop = AtomicBool::new(false);
    let acknowledged: Vec<AtomicU64> = (0..=GROUPS).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for id in 1..=GROUPS {
            let (log, stop, acknowledged) = (&log, &stop, &acknowledged[id as usize]);
            scope.spawn(move || write(log, id, stop, acknowledged));
        }
        for round in 0..10 {
            std::thread::sleep(Duration::from_millis(60));
            let before: Vec<u64> = acknowledged.iter().map(|a| a.load(Ordering::Acquire)).collect();
            let target = dir.path().join(format!("backup-{round}"));
            log.backup(&target).unwrap();
            let copy = options().open(&target).unwrap();
            assert_eq!(copy.groups(), log.groups());
            (1..=GROUPS).for_each(|id| check(&copy.group(id).unwrap(), before[id as usize]));
            check_space(&copy);
        }
    });
    assert!(log.background_purge_error().is_none());
    assert!(log.wal().stats().segments_recycled > 3, "nothing was purged meanwhile");
}

#[test]
fn a_snapshot_that_is_replaced_while_it_is_copied_is_in_the_backup() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 40, 1);
    node.snapshot_at(1, 20);
    let target = node.dir.path().join("backup");
    let copying = std::thread::scope(|scope| {
        let log = node.log().clone();
        let copying = scope.spawn(|| node.log().backup(&target));
        for _ in 0..200 {
            log.group(1).unwrap().save_snapshot(30, conf(&[1, 2, 3]), state_at(30)).ok();
            log.purge().unwrap();
        }
        copying.join().unwrap()
    });
    copying.unwrap();
    let copy = options().open(&target).unwrap();
    check(&copy.group(1).unwrap(), 40);
    assert!(matches!(copy.group(1).unwrap().snapshot(0, 0).unwrap().get_metadata().index, 20 | 30));
    drop(copy);
    // Files that became obsolete meanwhile are gone once the copy is done.
    node.log().purge().unwrap();
    let files = std::fs::read_dir(node.dir.path().join("snapshots")).unwrap().count();
    assert_eq!(files, 1);
    node.reopen();
}
