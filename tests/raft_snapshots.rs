//! Snapshots: durable before anything refers to them, never mixed up, never incomplete; and their space is freed.
#![cfg(feature = "raft")]

mod raft_support;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use raft::Storage;
use raft_support::*;
use seawall::raft::{Error, RaftLog};

fn files(node: &Node) -> Vec<PathBuf> {
    let dir = node.dir.path().join("snapshots");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

fn open(node: &Node) -> seawall::raft::Result<RaftLog> {
    options().open(node.dir.path())
}

fn corruption(error: Error) -> seawall::error::Corruption {
    match error {
        Error::Log(seawall::Error::Corruption(c)) => *c,
        other => panic!("{other}"),
    }
}

#[test]
fn a_newer_snapshot_replaces_the_older_one_and_its_file() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 100, 1);
    for index in [10, 20, 9 * 10, 100] {
        node.snapshot_at(1, index);
        assert_eq!(files(&node).len(), 1);
        node.in_both_lives(|node| {
            assert_eq!(node.group(1).snapshot_data().unwrap(), Some(snapshot(index, 1, &[1, 2, 3])));
        });
    }
}

#[test]
fn snapshots_of_several_groups_at_the_same_index_are_told_apart() {
    let mut node = Node::new();
    for id in [1, 2, 3] {
        node.create(id);
        node.append_committed(id, 1, 10, 1);
        node.commit(|batch| batch.set_applied(id, 10, 1));
        node.group(id).save_snapshot(10, conf(&[id]), vec![id as u8; 10_000 * id as usize]).unwrap();
    }
    node.in_both_lives(|node| {
        for id in [1, 2, 3] {
            let s = node.group(id).snapshot(10, 9).unwrap();
            assert_eq!(s.data, vec![id as u8; 10_000 * id as usize]);
            assert_eq!(s.get_metadata().get_conf_state(), &conf(&[id]));
        }
    });
}

#[test]
fn an_empty_snapshot_is_a_snapshot() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 10, 1);
    node.commit(|batch| batch.set_applied(1, 10, 1));
    node.group(1).save_snapshot(10, conf(&[1]), b"").unwrap();
    node.in_both_lives(|node| assert!(node.group(1).snapshot(10, 2).unwrap().data.is_empty()));
}

#[test]
fn a_batch_that_is_dropped_leaves_neither_a_snapshot_nor_in_the_end_a_file() {
    let mut node = Node::new();
    node.create(1);
    let mut batch = node.log().batch();
    batch.install_snapshot(1, &snapshot(50, 2, &[1])).unwrap();
    assert_eq!(files(&node).len(), 1, "the file is there before the record is");
    drop(batch);
    assert_eq!(node.group(1).snapshot_data().unwrap(), None);
    node.log().purge().unwrap();
    assert_eq!(files(&node).len(), 0);
    // The same without a purge: the next open does it.
    let mut batch = node.log().batch();
    batch.install_snapshot(1, &snapshot(50, 2, &[1])).unwrap();
    drop(batch);
    assert_eq!(files(&node).len(), 1);
    node.reopen();
    assert_eq!(files(&node).len(), 0);
}

#[test]
fn an_installed_snapshot_removes_the_file_of_the_one_before_once_it_is_durable() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 10, 1);
    node.snapshot_at(1, 10);
    node.commit(|batch| batch.install_snapshot(1, &snapshot(50, 2, &[1])));
    node.commit(|batch| batch.install_snapshot(1, &snapshot(60, 2, &[1])));
    node.log().purge().unwrap();
    assert_eq!(files(&node).len(), 1);
    node.in_both_lives(|node| {
        assert_eq!(node.group(1).snapshot_data().unwrap(), Some(snapshot(60, 2, &[1])));
    });
}

#[test]
fn two_installs_in_one_batch_leave_the_second() {
    let mut node = Node::new();
    node.create(1);
    node.commit(|batch| {
        batch.install_snapshot(1, &snapshot(50, 2, &[1]))?;
        batch.install_snapshot(1, &snapshot(60, 2, &[1]))?;
        batch.append(1, &[entry(61, 2)])
    });
    node.log().purge().unwrap();
    assert_eq!(files(&node).len(), 1);
    node.in_both_lives(|node| assert_eq!(shape(&node.group(1)), (61, 61, vec![2, 2])));
}

#[test]
fn a_removed_group_takes_its_snapshot_along() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 10, 1);
    node.snapshot_at(1, 10);
    node.log().remove_group(1).unwrap();
    assert_eq!(files(&node).len(), 0);
    node.reopen();
    assert_eq!(node.log().groups(), [0u64; 0]);
}

#[test]
fn orphans_and_half_written_files_go_at_open_and_strangers_stay() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 10, 1);
    node.snapshot_at(1, 10);
    let [kept] = files(&node).try_into().unwrap();
    node.close();
    let dir = node.dir.path().join("snapshots");
    std::fs::copy(&kept, dir.join(format!("{0:016x}-{0:016x}-{0:016x}-{0:016x}.snap", 77))).unwrap();
    std::fs::write(dir.join(format!("{0:016x}-{0:016x}-{0:016x}-{0:016x}.snap.tmp", 78)), b"half").unwrap();
    std::fs::write(dir.join("README"), b"mine").unwrap();
    node.reopen();
    let left = files(&node);
    assert_eq!(left, [kept, dir.join("README")]);
}

#[test]
fn a_missing_or_cut_snapshot_is_corruption_at_open_and_nothing_is_changed() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 10, 1);
    node.snapshot_at(1, 10);
    let [file] = files(&node).try_into().unwrap();
    node.close();
    let good = std::fs::read(&file).unwrap();

    std::fs::remove_file(&file).unwrap();
    let missing = corruption(open(&node).unwrap_err());
    assert_eq!(missing.file, file);
    assert_eq!((missing.hit[0].stream, missing.hit[0].first), (1, 10));

    std::fs::write(&file, &good[..good.len() - 1]).unwrap();
    assert_eq!(corruption(open(&node).unwrap_err()).file, file);
    assert_eq!(std::fs::read(&file).unwrap(), good[..good.len() - 1]);

    let mut header = good.clone();
    header[41] ^= 1;
    std::fs::write(&file, &header).unwrap();
    assert_eq!(corruption(open(&node).unwrap_err()).file, file);

    // The control: with the file as it was, the log opens.
    std::fs::write(&file, &good).unwrap();
    node.reopen();
    assert_eq!(node.group(1).snapshot_data().unwrap(), Some(snapshot(10, 1, &[1, 2, 3])));
}

#[test]
fn a_damaged_snapshot_is_never_handed_out() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 10, 1);
    node.snapshot_at(1, 10);
    let [file] = files(&node).try_into().unwrap();
    let good = std::fs::read(&file).unwrap();
    for at in [200, 4500, good.len() - 30, good.len() - 3] {
        node.close();
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        std::fs::write(&file, &bad).unwrap();
        node.reopen();
        let damaged = corruption(node.group(1).snapshot_data().unwrap_err());
        assert_eq!(damaged.file, file);
        assert!(matches!(
            node.group(1).snapshot(1, 2),
            Err(raft::Error::Store(raft::StorageError::Other(_)))
        ));
    }
}

#[test]
fn compaction_and_purge_give_the_segments_back() {
    let mut node = Node::new();
    node.create(1);
    for first in (1..3000).step_by(100) {
        node.append_committed(1, first, first + 99, 1);
    }
    let full = node.log().wal().segments().len();
    assert!(full > 5, "{full} segments");
    let report = node.log().purge().unwrap();
    assert_eq!(report.segments_freed, 0, "everything is live");
    assert_eq!(report.pinned_by.first().map(|pin| pin.group), Some(1));
    node.snapshot_at(1, 2990);
    node.compact(1, 2990);
    let report = node.log().purge().unwrap();
    assert!(report.segments_freed >= full - 3, "{report:?}");
    assert!(node.log().wal().segments().len() <= 3);
    node.in_both_lives(|node| {
        let group = node.group(1);
        assert_eq!(shape(&group).0, 2991);
        assert_eq!(entries(&group, 2991, 3001, None).unwrap().len(), 10);
        assert_eq!(group.snapshot(2990, 2).unwrap(), snapshot(2990, 1, &[1, 2, 3]));
    });
}

#[test]
fn idle_groups_do_not_pin_segments() {
    let mut node = Node::new();
    for id in 1..=300 {
        node.log().create_group(id, conf(&[id])).unwrap();
        node.commit(|batch| batch.set_hard_state(id, &hard(id, 1, 0)));
    }
    for round in 0..10u64 {
        for first in (1..1000).step_by(100) {
            node.append_committed(300, 1000 * round + first, 1000 * round + first + 99, 300);
        }
        node.snapshot_at(300, 1000 * round + 990);
        node.compact(300, 1000 * round + 990);
        let report = node.log().purge().unwrap();
        assert!(round > 0 || report.states_rewritten >= 299, "{report:?}");
        let left = node.log().wal().segments().len();
        assert!(left <= 5, "round {round}: {left} segments, {report:?}");
    }
    node.in_both_lives(|node| {
        assert_eq!(node.log().groups().len(), 300);
        for id in 1..300 {
            assert_eq!(node.group(id).hard_state(), hard(id, 1, 0));
            assert_eq!(node.group(id).conf_state(), conf(&[id]));
        }
    });
}

/// Five entries of group 2, then several segments of entries of group 1, which are compacted.
fn with_a_group_that_lags(relocate: u64) -> Node {
    let node = Node::with(options().relocate_bytes(relocate).group_limit(300));
    node.create(1);
    node.create(2);
    node.append_committed(2, 1, 5, 1);
    for first in (1..3000).step_by(100) {
        node.append_committed(1, first, first + 99, 1);
    }
    node.snapshot_at(1, 3000);
    node.compact(1, 3000);
    // Ended segments are truncated in the background; their sizes are compared.
    while node.log().wal().segments().iter().any(|s| s.sealed && s.footer_bytes == 0) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    node
}

#[test]
fn a_lagging_group_does_not_pin_segments() {
    let mut node = with_a_group_that_lags(1 << 20);
    let report = node.log().purge().unwrap();
    assert!(report.segments_freed > 5 && report.pinned_by.is_empty(), "{report:?}");
    assert!(report.entries_relocated == 5 && report.bytes_relocated < 2000, "{report:?}");
    assert!(report.bytes_freed > 5 * SEGMENT && report.disk_bytes <= 2 * SEGMENT, "{report:?}");
    node.in_both_lives(|node| {
        let got = entries(&node.group(2), 1, 6, None).unwrap();
        assert_eq!(got, (1..6).map(|index| entry(index, 1)).collect::<Vec<_>>());
        assert_eq!((node.group(2).durable_index(), node.group(1).durable_index()), (5, 3000));
    });
}

#[test]
fn a_lagging_group_is_named_with_what_it_pins() {
    let node = with_a_group_that_lags(0);
    let report = node.log().purge().unwrap();
    assert_eq!((report.segments_freed, report.bytes_relocated), (0, 0), "{report:?}");
    let pin = report.pinned_by.iter().find(|pin| pin.group == 2).unwrap();
    assert!(pin.bytes > 5 * SEGMENT && pin.live_bytes > 200, "{report:?}");
    let over: Vec<_> = report.over_limit.iter().map(|group| group.group).collect();
    assert_eq!(over, [2], "{report:?}");
    let space = node.log().space().unwrap();
    let oldest = space.segments[0];
    assert_eq!(oldest.live_bytes, report.pinned_by.iter().map(|pin| pin.live_bytes).sum::<u64>());
    assert_eq!(space.groups[0].group, 2);
    assert_eq!(space.groups[0].pins, [(oldest.id, pin.live_bytes)]);
    assert_eq!((space.live_bytes, space.disk_bytes), (report.live_bytes, report.disk_bytes));
}

#[test]
fn a_removed_group_pins_nothing_and_stays_removed_when_parts_of_it_are_left() {
    let mut node = Node::new();
    node.create(1);
    node.create(2);
    for first in (1..1500).step_by(100) {
        node.append_committed(1, first, first + 99, 1);
        node.append_committed(2, first, first + 99, 1);
    }
    // Group 2 keeps its last entries, so segments with entries of group 1 remain; its State record does not.
    node.snapshot_at(2, 1200);
    node.compact(2, 1200);
    node.log().remove_group(1).unwrap();
    assert!(node.log().purge().unwrap().segments_freed > 3);
    node.in_both_lives(|node| {
        assert_eq!(node.log().groups(), [2]);
        assert_eq!(shape(&node.group(2)).0, 1201);
    });
    node.log().create_group(1, conf(&[8])).unwrap();
    node.append(1, &[entry(1, 7)]);
    node.in_both_lives(|node| assert_eq!(shape(&node.group(1)), (1, 1, vec![0, 7])));
}

#[test]
fn readers_appenders_snapshots_and_purges_run_side_by_side() {
    let node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 10, 1);
    let (log, stop) = (node.log(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for first in (11..4000).step_by(20) {
                let mut batch = log.batch();
                let list: Vec<_> = (first..first + 20).map(|i| entry(i, 1)).collect();
                batch.append(1, &list).unwrap();
                batch.set_hard_state(1, &hard(1, 1, first + 19)).unwrap();
                log.commit(batch).unwrap();
            }
            stop.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            let group = log.group(1).unwrap();
            while !stop.load(Ordering::Acquire) {
                let to = group.recover().commit;
                let mut batch = log.batch();
                batch.set_applied(1, to, 1).unwrap();
                log.commit(batch).unwrap();
                if to > group.recover().snapshot.map_or(0, |s| s.0) {
                    group.save_snapshot(to, conf(&[1]), state_at(to)).unwrap();
                    let mut batch = log.batch();
                    batch.compact(1, to - 5).unwrap();
                    log.commit(batch).unwrap();
                    log.purge().unwrap();
                }
            }
        });
        scope.spawn(|| {
            let group = log.group(1).unwrap();
            while !stop.load(Ordering::Acquire) {
                let (low, high) = (group.first_index().unwrap(), group.last_index().unwrap() + 1);
                match entries(&group, low, high, None) {
                    Ok(got) => assert!(got.iter().all(|e| *e == entry(e.index, 1))),
                    Err(e) => assert_eq!(e, raft::Error::Store(raft::StorageError::Compacted)),
                }
                if let Ok(s) = group.snapshot(0, 2) {
                    assert_eq!(s.data, state_at(s.get_metadata().index));
                }
            }
        });
    });
    assert_eq!(node.group(1).last_index().unwrap(), 4010);
}

/// Entries are constantly overwritten, compacted and read while they are relocated.
#[test]
fn what_is_overwritten_while_it_is_relocated_stays_overwritten() {
    let mut node = Node::with(options().relocate_bytes(1 << 20));
    (1..=2).for_each(|id| node.create(id));
    let terms = 120;
    let (log, stop) = (node.log(), AtomicBool::new(false));
    let relocated = std::thread::scope(|scope| {
        let purger = scope.spawn(|| {
            let mut relocated = 0;
            while !stop.load(Ordering::Acquire) {
                relocated += log.purge().unwrap().entries_relocated;
            }
            relocated
        });
        scope.spawn(|| {
            let group = log.group(1).unwrap();
            while !stop.load(Ordering::Acquire) {
                let durable = group.durable_index();
                assert!(durable <= group.last_index().unwrap());
                // Never overwritten, so it must be readable at any time.
                if durable >= 10 {
                    let got = entries(&group, 1, 11, None).unwrap();
                    assert!(got.iter().zip(1..).all(|(e, index)| *e == entry(index, 1)), "{got:?}");
                }
            }
        });
        node.append(1, &(1..=60).map(|index| entry(index, 1)).collect::<Vec<_>>());
        for term in 2..terms {
            let from = 11 + term % 40;
            node.append(1, &(from..=60).map(|index| entry(index, term)).collect::<Vec<_>>());
            node.append_committed(2, term * 50 - 99, term * 50 - 50, 1);
            if term % 5 == 0 {
                node.snapshot_at(2, term * 50 - 50);
                node.compact(2, term * 50 - 50);
            }
        }
        stop.store(true, Ordering::Release);
        purger.join().unwrap()
    });
    assert!(relocated > 100, "{relocated} entries were relocated");
    // Each index has the term of the last append that reached down to it.
    let term_of = |index: u64| (2..terms).rev().find(|term| 11 + term % 40 <= index).unwrap_or(1);
    node.in_both_lives(|node| {
        let got = entries(&node.group(1), 1, 61, None).unwrap();
        assert_eq!(got, (1..=60).map(|index| entry(index, term_of(index))).collect::<Vec<_>>());
    });
}
