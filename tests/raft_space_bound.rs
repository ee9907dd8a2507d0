//! If purge is called regularly, the segments take at most twice the live bytes plus three segments, whatever the
//! groups do; and the cost in writes is bounded too.
#![cfg(feature = "raft")]

mod raft_support;

use raft_support::watched::Watched;
use raft_support::*;

#[test]
fn all_groups_even() {
    let mut w = Watched::new();
    (1..=50).for_each(|id| w.node.create(id));
    for round in 0..60 {
        w.append(1..=50, 1 + round * 5, 5, 1, true);
        if round >= 10 {
            // A group's log is between ten and twenty rounds long.
            for id in (1..=50).filter(|id| (id + round) % 10 == 0) {
                w.compact(id, 5 * (round - 9));
            }
        }
        w.tick();
    }
    w.done("all even", 1.0);
}

#[test]
fn one_group_that_never_compacts_among_many_that_do() {
    let mut w = Watched::new();
    (1..=200).for_each(|id| w.node.create(id));
    for round in 0..40 {
        w.append(1..=200, 1 + round, 1, 1, true);
        if round % 8 == 7 {
            for id in 2..=200 {
                w.compact(id, round + 1);
                w.tick();
            }
        }
        w.tick();
    }
    w.done("one of 200 lags", 1.5);
}

#[test]
fn a_large_group_that_never_compacts_beside_one_that_does() {
    let mut w = Watched::new();
    (1..=2).for_each(|id| w.node.create(id));
    for first in (1..4000).step_by(100) {
        w.append(1..=1, first, 100, 1, true);
        w.tick();
    }
    // Live now: about a megabyte, sixteen segments. Five times as much is appended.
    for round in 0..200 {
        w.append(2..=2, 1 + round * 100, 100, 1, true);
        w.compact(2, 100 * (round + 1));
        w.tick();
    }
    w.done("a large group lags", 1.5);
}

#[test]
fn many_groups_idle_after_one_entry() {
    let mut w = Watched::new();
    (1..=200).for_each(|id| w.node.create(id));
    w.append(2..=200, 1, 1, 1, true);
    for round in 0..150 {
        w.append(1..=1, 1 + round * 100, 100, 1, true);
        w.compact(1, 100 * (round + 1));
        w.tick();
    }
    w.done("199 of 200 idle", 1.5);
}

#[test]
fn groups_created_and_removed_in_a_loop() {
    let mut w = Watched::new();
    w.node.create(1);
    w.append(1..=1, 1, 10, 1, true);
    for round in 0..100u64 {
        let id = 2 + round % 7;
        if w.node.log().group(id).is_some() {
            w.node.log().remove_group(id).unwrap();
        }
        w.node.create(id);
        w.append(id..=id, 1, 40 + round % 50, 1, round % 2 == 0);
        w.since += 8192;
        w.tick();
    }
    w.done("created and removed", 1.5);
}

#[test]
fn a_suffix_overwritten_again_and_again() {
    let mut w = Watched::new();
    (1..=3).for_each(|id| w.node.create(id));
    w.append(1..=3, 1, 80, 1, true);
    for term in 2..150 {
        let last = w.node.group(1 + term % 3).recover().last_index;
        let from = (81 + term % 20).min(last + 1);
        w.append(1 + term % 3..=1 + term % 3, from, 60, term, false);
        w.tick();
    }
    w.done("overwritten", 1.5);
}

#[test]
fn large_snapshots() {
    let mut w = Watched::new();
    (1..=4).for_each(|id| w.node.create(id));
    for round in 0..60u64 {
        w.append(1..=3, 1 + round * 50, 50, 1, true);
        // Group 4 catches up only through snapshots.
        let mut snap = snapshot(10 * (round + 1), 1, &[1, 2, 3]);
        snap.data = vec![round as u8; 300 << 10].into();
        w.node.commit(|batch| batch.install_snapshot(4, &snap));
        let saved = vec![7; 300 << 10];
        w.node.group(1).save_snapshot(50 * (round + 1), conf(&[1, 2, 3]), &saved).unwrap();
        w.node.compact(1, 50 * (round + 1));
        if round > 5 {
            w.compact(2, 50 * (round - 4));
            w.compact(3, 50 * (round - 4));
        }
        w.tick();
        let files = std::fs::read_dir(w.node.dir.path().join("snapshots")).unwrap().count();
        assert!(files <= 6, "{files} snapshot files of four groups");
    }
    w.done("large snapshots", 1.5);
}

/// The negative control: without relocation, a single lagging group fills the disk.
#[test]
fn without_relocation_the_bound_does_not_hold() {
    let mut w = Watched::with(options().relocate_bytes(0), SEGMENT);
    (1..=2).for_each(|id| w.node.create(id));
    w.append(1..=1, 1, 1, 1, true);
    for round in 0..20 {
        w.append(2..=2, 1 + round * 200, 200, 1, true);
        w.compact(2, 200 * (round + 1));
    }
    let report = w.node.log().purge().unwrap();
    assert!(report.disk_bytes > 2 * report.live_bytes + 10 * SEGMENT, "{report:?}");
    assert!(report.pinned_by.iter().any(|pin| pin.group == 1));
}
