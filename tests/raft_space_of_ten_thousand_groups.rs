//! The space bound holds with ten thousand groups in one log: one that never compacts among those that do, and a busy
//! one among idle ones. The segments have one mebibyte then.
//!
//! `SEAWALL_GROUPS=10000` sets that number. Without it there are a quarter as many groups, and segments of a quarter
//! of the size, so that a segment holds as many entries of each.
#![cfg(feature = "raft")]

mod raft_support;

use raft_support::watched::Watched;
use raft_support::*;

/// Number of groups.
fn groups() -> u64 {
    std::env::var("SEAWALL_GROUPS").map_or(2500, |n| n.parse().unwrap())
}

/// Creates that many groups, by several threads, so that they share syncs.
fn crowd(groups: u64) -> Watched {
    let segment = ((1 << 20) * groups / 10_000).next_multiple_of(64 << 10);
    let watched = Watched::with(options(), segment);
    let log = watched.node.log();
    std::thread::scope(|scope| {
        for part in 0..32 {
            scope.spawn(move || {
                for id in (1..=groups).filter(|id| id % 32 == part) {
                    log.create_group(id, conf(&[1, 2, 3])).unwrap();
                }
            });
        }
    });
    watched
}

#[test]
fn one_group_in_ten_thousand_never_compacts() {
    let groups = groups();
    let mut w = crowd(groups);
    for round in 0..6 {
        w.append(1..=groups, 1 + round, 1, 1, true);
        w.tick();
        if round % 3 == 2 {
            // All but group 1, many at a time, as their snapshots would cost a sync each.
            compact_all(&mut w, 2..=groups, round + 1);
        }
    }
    assert_eq!(w.node.group(1).recover().first_index, 1);
    w.done(&format!("one of {groups} lags"), 1.5);
}

#[test]
fn all_but_one_of_ten_thousand_groups_are_idle_after_one_entry() {
    let groups = groups();
    let mut w = crowd(groups);
    w.append(2..=groups, 1, 1, 1, true);
    for round in 0..100 {
        w.append(1..=1, 1 + round * 500, 500, 1, true);
        w.compact(1, 500 * (round + 1));
        w.tick();
    }
    w.done(&format!("all but one of {groups} idle"), 1.5);
}

/// Snapshots of a few bytes by several threads, and one batch that compacts.
fn compact_all(w: &mut Watched, groups: std::ops::RangeInclusive<u64>, index: u64) {
    let log = w.node.log();
    std::thread::scope(|scope| {
        for part in 0..8 {
            let groups = groups.clone();
            scope.spawn(move || {
                for id in groups.filter(|id| id % 8 == part) {
                    log.group(id).unwrap().save_snapshot(index, conf(&[1, 2, 3]), b"state").unwrap();
                }
            });
        }
    });
    for id in groups {
        w.node.compact(id, index);
        w.since += 4096;
        w.tick();
    }
}
