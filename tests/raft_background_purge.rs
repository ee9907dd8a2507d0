//! A log that purges in the background frees what can be freed, keeps the space bound, and ends its thread before it
//! closes.
#![cfg(feature = "raft")]

mod raft_support;

use std::time::{Duration, Instant};

use raft_support::*;
use seawall::raft::{Error, RaftLog, RaftOptions};

fn purging() -> RaftOptions {
    options().purge_in_background(SEGMENT)
}

/// Waits for something that happens in the background.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One more kilobyte or so of group `id`, committed.
fn grow(node: &Node, id: u64) {
    let next = node.group(id).recover().last_index + 1;
    node.append_committed(id, next, next + 5, 1);
}

fn disk_and_live(log: &RaftLog) -> (u64, u64) {
    let space = log.space().unwrap();
    (space.disk_bytes, space.live_bytes)
}

#[test]
fn the_bound_holds_and_nobody_calls_purge() {
    let mut node = Node::with(purging());
    (1..=3).for_each(|id| node.create(id));
    grow(&node, 1);
    for round in 0..300 {
        grow(&node, 2 + round % 2);
        if round % 20 == 19 {
            for id in 2..=3 {
                let last = node.group(id).recover().last_index;
                node.snapshot_at(id, last - 5);
                node.compact(id, last - 5);
            }
        }
    }
    // Three segments, and one that is appended from purge to purge.
    eventually("the bound", || {
        let (disk, live) = disk_and_live(node.log());
        disk <= 2 * live + 4 * SEGMENT
    });
    assert!(node.log().wal().stats().segments_removed + node.log().wal().stats().segments_recycled > 10);
    assert!(node.log().background_purge_error().is_none());
    // The lagging group has everything it had, before and after a reopen.
    node.in_both_lives(|node| {
        let (first, last, terms) = shape(&node.group(1));
        assert_eq!((first, last, terms.len()), (1, 6, 7));
        assert_eq!(entries(&node.group(1), 1, 7, None).unwrap()[5], entry(6, 1));
    });
}

#[test]
fn a_compaction_frees_space_though_nothing_is_appended_after_it() {
    let node = Node::with(purging());
    node.create(1);
    for _ in 0..200 {
        grow(&node, 1);
    }
    eventually("quiet", || node.log().wal().segments().len() > 5);
    let last = node.group(1).recover().last_index;
    node.snapshot_at(1, last);
    node.compact(1, last);
    eventually("segments freed", || node.log().wal().segments().len() <= 2);
}

/// The negative control: without the option, nothing is freed.
#[test]
fn without_the_option_nobody_purges() {
    let node = Node::new();
    node.create(1);
    for _ in 0..200 {
        grow(&node, 1);
    }
    let last = node.group(1).recover().last_index;
    node.snapshot_at(1, last);
    node.compact(1, last);
    std::thread::sleep(Duration::from_millis(900));
    assert!(node.log().wal().segments().len() > 5);
}

#[test]
fn the_last_handle_ends_the_thread_and_the_log_can_be_opened_at_once() {
    let mut node = Node::with(purging());
    node.create(1);
    for round in 0..40 {
        for _ in 0..4 {
            grow(&node, 1);
        }
        // A purge is due or under way. Opening would fail if the log were still locked.
        match round % 2 {
            0 => node.reopen(),
            _ => {
                node.log().close().unwrap();
                node.reopen();
            }
        }
    }
    assert_eq!(node.group(1).recover().last_index, 40 * 4 * 6);
}

#[test]
fn what_goes_wrong_is_told_and_appends_go_on() {
    let mut node = Node::new();
    (1..=2).for_each(|id| node.create(id));
    grow(&node, 1);
    for _ in 0..200 {
        grow(&node, 2);
    }
    node.log().close().unwrap();
    node.close();
    damage(&node, &entry(1, 1).data);
    // The segment has a footer, so opening does not read it.
    let log = purging().open(node.dir.path()).unwrap();
    let group = log.group(2).unwrap();
    let last = group.recover().last_index;
    let term = 1;
    let mut batch = log.batch();
    batch.set_applied(2, last, term).unwrap();
    log.commit(batch).unwrap();
    group.save_snapshot(last, conf(&[1, 2, 3]), b"state").unwrap();
    let mut batch = log.batch();
    batch.compact(2, last).unwrap();
    log.commit(batch).unwrap();
    // Group 1's records there cannot be relocated, and are not given up either.
    eventually("an error", || log.background_purge_error().is_some());
    let error = log.background_purge_error().unwrap();
    assert!(matches!(error, Error::Log(seawall::Error::Corruption(_))), "{error}");
    let mut batch = log.batch();
    batch.append(2, &[entry(last + 1, 1)]).unwrap();
    log.commit(batch).unwrap();
}

/// Changes a byte of the record that holds this.
fn damage(node: &Node, content: &[u8]) {
    let mut damaged = 0;
    for file in std::fs::read_dir(node.dir.path()).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap_or_default();
        if let Some(at) = bytes.windows(content.len()).position(|w| w == content) {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
}

/// A commit during a purge waits for at most one relocated batch at the device, not for everything that is relocated.
#[test]
fn no_more_than_a_batch_is_relocated_ahead_of_commits() {
    let wal = seawall::Options::new().segment_size(256 << 10).threads(false);
    let node = Node::with(RaftOptions::new().node_id(1).wal(wal));
    (1..=2).for_each(|id| node.create(id));
    for _ in 0..150 {
        grow(&node, 1);
    }
    // Group 2 repeatedly replaces what it has, so that nearly all of the rest is dead.
    for term in 1..2000 {
        node.append(2, &[entry(1, term)]);
    }
    let before = node.log().wal().stats();
    let report = node.log().purge().unwrap();
    let after = node.log().wal().stats();
    assert!(report.bytes_relocated > 100 << 10, "{report:?}");
    let batches = report.bytes_relocated / (32 << 10);
    assert!(
        after.blocks - before.blocks >= batches,
        "{} blocks for {batches} batches",
        after.blocks - before.blocks
    );
    assert!(after.block_bytes.max() <= 36 << 10, "a block of {} bytes", after.block_bytes.max());
}
