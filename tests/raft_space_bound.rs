//! When purge is called regularly, the segments take at most twice the live bytes and three segments more, whatever the
//! groups do; and what that costs in writes is bounded too.
#![cfg(feature = "raft")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::field_reassign_with_default
)]

mod raft_support;

use raft::eraftpb::Entry;
use raft_support::*;
use seawall::raft::PurgeReport;

/// A log whose space is watched: purged whenever a segment's worth was appended.
struct Watched {
    node: Node,
    /// Appended since the last purge, roughly.
    since: u64,
    /// The worst of disk - 2 x live, in segments, and the last report.
    worst: f64,
    purges: usize,
    last: PurgeReport,
}

impl Watched {
    fn new() -> Self {
        Watched { node: Node::new(), since: 0, worst: f64::MIN, purges: 0, last: PurgeReport::default() }
    }

    /// Entries of 200 bytes for some groups in one batch, committed or not.
    fn append(&mut self, groups: impl Iterator<Item = u64>, from: u64, count: u64, term: u64, commit: bool) {
        let mut batch = self.node.log().batch();
        let mut staged = 0;
        for id in groups {
            let entries: Vec<Entry> = (from..from + count)
                .map(|index| {
                    let mut e = Entry::default();
                    (e.index, e.term) = (index, term);
                    e.data = vec![id as u8; 200].into();
                    e
                })
                .collect();
            batch.append(id, &entries).unwrap();
            if commit {
                let last = from + count - 1;
                batch.set_hard_state(id, &hard(term, 1, last)).unwrap();
                batch.set_applied(id, last, term).unwrap();
            }
            staged += count * 240 + 104;
            self.since += count * 240;
            // What fits into a segment of this size.
            if staged > SEGMENT / 3 {
                self.node.log().commit(std::mem::replace(&mut batch, self.node.log().batch())).unwrap();
                staged = 0;
            }
        }
        self.node.log().commit(batch).unwrap();
    }

    /// A small snapshot, and compaction up to it.
    fn compact(&mut self, id: u64, index: u64) {
        self.node.group(id).save_snapshot(index, conf(&[1, 2, 3]), b"state").unwrap();
        self.node.compact(id, index);
        self.since += 8192;
    }

    /// Purges when it is time to; everything is measured then.
    fn tick(&mut self) {
        if self.since < SEGMENT {
            return;
        }
        self.since = 0;
        self.last = self.node.log().purge().unwrap();
        self.purges += 1;
        let segments = self.quiet_segments();
        let disk: u64 = segments.iter().map(|s| s.file_bytes - s.footer_bytes).sum();
        let live = match self.purges % 16 {
            0 => count_live(self.node.log()).iter().map(|s| s.1).sum(),
            _ => self.last.live_bytes,
        };
        assert_eq!(live, self.last.live_bytes);
        self.worst = self.worst.max((disk as f64 - 2.0 * live as f64) / SEGMENT as f64);
        assert!(disk <= 2 * live + 3 * SEGMENT, "{disk} bytes on disk, {live} live: {:?}", self.last);
    }

    /// The segments, once those that have ended were cut to size, which is done in the background.
    fn quiet_segments(&self) -> Vec<seawall::SegmentInfo> {
        for _ in 0..500 {
            let segments = self.node.log().wal().segments();
            if segments.iter().all(|s| !s.sealed || s.footer_bytes > 0) {
                return segments;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.node.log().wal().segments()
    }

    /// Ends a scenario; `amplification` is what it may have cost at most.
    fn done(mut self, name: &str, amplification: f64) {
        self.since = SEGMENT;
        self.tick();
        let written = self.last.write_amplification();
        println!(
            "{name}: {} purges, appended {} KiB, live {} KiB, disk {} KiB, at most 2 x live + {:.2} segments, \
             {written:.2} bytes relocated for each appended",
            self.purges,
            self.last.total_appended >> 10,
            self.last.live_bytes >> 10,
            self.last.disk_bytes >> 10,
            self.worst,
        );
        assert!(self.purges > 10 && written <= amplification, "{name}: {written}");
        check_space(self.node.log());
        self.node.reopen();
        check_space(self.node.log());
    }
}

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
    // Live now: close to a megabyte, sixteen segments. Five times as much goes by.
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
        // Group 4 follows by snapshots alone.
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

/// The negative control: without relocation, one group that lags takes the disk.
#[test]
fn without_relocation_the_bound_does_not_hold() {
    let node = Node::with(options().relocate_bytes(0));
    let mut w = Watched { node, ..Watched::new() };
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
