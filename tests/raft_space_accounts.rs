//! The report of `space` is correct at any moment, and a recount can run beside a purge.
#![cfg(feature = "raft")]

mod raft_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use raft_support::{conf, entry, hard};
use seawall::io::sim::SimDisk;
use seawall::raft::{RaftLog, RaftOptions};
use seawall::{Options, Ticket};

fn big(index: u64) -> raft::eraftpb::Entry {
    let mut big = entry(index, 1);
    big.data = vec![7; 9000].into();
    big
}

fn submit(log: &RaftLog, group: u64, index: u64) -> Ticket {
    let mut batch = log.batch();
    batch.append(group, &[big(index)]).unwrap();
    batch.set_hard_state(group, &hard(1, 1, index)).unwrap();
    batch.set_applied(group, index, 1).unwrap();
    log.submit(batch).unwrap()
}

/// Nothing is flushed until a caller waits: three segments are in use by then, and one of them is known to the log.
#[test]
fn what_is_not_durable_is_counted_to_the_segment_that_it_goes_to() {
    let wal = Options::new().segment_size(64 << 10).threads(false).mmap(false);
    let log = RaftOptions::new().node_id(1).wal(wal).open_on(Arc::new(SimDisk::new())).unwrap();
    for group in 1..=2 {
        log.create_group(group, conf(&[1])).unwrap();
    }
    let tickets: Vec<_> = (1..=8).flat_map(|n| [submit(&log, 1, n), submit(&log, 2, n)]).collect();
    let before = log.space().unwrap();
    assert_eq!(before.segments.len(), 1);
    let capacity = (64 << 10) - 8192;
    assert!(before.segments[0].live_bytes < capacity, "{before:?}");
    assert!(before.pending_bytes > capacity, "{before:?}");
    assert_eq!(before.live_bytes, before.segments[0].live_bytes + before.pending_bytes);
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    let after = log.space().unwrap();
    assert!(after.segments.len() >= 3 && after.pending_bytes == 0, "{after:?}");
    assert_eq!(after.segments[0].live_bytes, before.segments[0].live_bytes);
    assert_eq!(after, log.recount_space().unwrap());
    let by_segment = |space: &seawall::raft::Space| {
        let mut sums = BTreeMap::new();
        for (segment, bytes) in space.groups.iter().flat_map(|g| g.pins.iter().copied()) {
            *sums.entry(segment).or_insert(0) += bytes;
        }
        sums
    };
    assert_eq!(by_segment(&after).len(), after.segments.len());
}

#[test]
fn counting_anew_beside_a_purge_sees_no_segment_go() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Options::new().segment_size(32 << 10);
    let log = RaftOptions::new().node_id(1).wal(wal).open(dir.path()).unwrap();
    for group in 1..=3 {
        log.create_group(group, conf(&[1])).unwrap();
    }
    let (stop, counts) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                log.recount_space().unwrap();
                counts.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut freed = 0;
        for n in 1..=300u64 {
            for group in 1..=3 {
                submit(&log, group, n).wait().unwrap();
            }
            if n % 4 == 0 {
                for group in 1..=3 {
                    let storage = log.group(group).unwrap();
                    storage.save_snapshot(n, conf(&[1]), b"state").unwrap();
                    let mut batch = log.batch();
                    batch.compact(group, n).unwrap();
                    log.commit(batch).unwrap();
                }
                freed += log.purge().unwrap().segments_freed;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(freed > 100, "{freed}");
    });
    assert!(counts.load(Ordering::Relaxed) > 20);
}
