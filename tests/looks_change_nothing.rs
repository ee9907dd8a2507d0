//! Read-only use changes nothing: no file, no name, no directory, no lock, and not even what a disk's fingerprint
//! does not show, such as a new empty directory.
#![cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]

mod watched_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use raft::eraftpb::{ConfState, Entry, HardState};
use seawall::io::Disk;
use seawall::io::sim::SimDisk;
use seawall::raft::RaftOptions;
use seawall::raft::repair::DropPlan;
use seawall::repair::{Choice, Plan};
use seawall::{LogView, Options, verify_on};
use watched_support::WatchedDisk;

fn options() -> RaftOptions {
    RaftOptions::new().node_id(3).wal(Options::new().segment_size(32 << 10).threads(false))
}

/// A closed log of one group, with and without a snapshot; and how to read it and count.
fn logs() -> Vec<(SimDisk, Arc<dyn Disk>, Arc<AtomicUsize>)> {
    [false, true]
        .map(|with_snapshot| {
            let disk = SimDisk::new();
            let log = options().open_on(Arc::new(disk.clone())).unwrap();
            let members = ConfState::from((vec![3], vec![]));
            let group = log.create_group(7, members.clone()).unwrap();
            let mut batch = log.batch();
            batch.append(7, &[Entry { index: 1, term: 1, ..Entry::default() }]).unwrap();
            batch.set_hard_state(7, &HardState { term: 1, commit: 1, ..HardState::default() }).unwrap();
            batch.set_applied(7, 1, 1).unwrap();
            log.commit(batch).unwrap();
            if with_snapshot {
                group.save_snapshot(1, members, b"state").unwrap();
            }
            log.close().unwrap();
            drop((group, log));
            let changes = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&changes);
            let watched = WatchedDisk::watch(Arc::new(disk.clone()), move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
            });
            (disk, watched, changes)
        })
        .into()
}

#[test]
fn looks_and_plans_of_repairs_change_nothing() {
    for (sim, disk, changes) in logs() {
        let whole = sim.contents("superblock").unwrap();
        for superblock in [whole.clone(), vec![0x55; whole.len()]] {
            sim.put("superblock", superblock);
            let before = sim.fingerprint();
            let choices = [
                Choice::Cut,
                Choice::RebuildFooters,
                Choice::RebuildSuperblock { owner: None, oldest: None },
            ];
            choices.into_iter().for_each(|choice| drop(Plan::of(&disk, choice)));
            drop((DropPlan::of(&disk, &options()), verify_on(&disk), LogView::open_on(&disk)));
            drop(LogView::open_damaged_on(&disk));
            assert_eq!(changes.load(Ordering::Relaxed), 0);
            assert_eq!(sim.fingerprint(), before);
        }
        // The control: what is carried out is seen.
        Plan::of(&disk, Choice::RebuildSuperblock { owner: Some(3), oldest: None })
            .unwrap()
            .apply(None)
            .unwrap();
        assert!(changes.load(Ordering::Relaxed) > 5);
    }
}
