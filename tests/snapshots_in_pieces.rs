//! A snapshot written piece by piece is durable and the newest when `finish` returns, and does not exist before:
//! whatever crashes or fails, the older one stays, and nothing is left behind. One read piece by piece can be read to
//! its end, whatever happens to it meanwhile.
#![cfg(feature = "raft")]

mod raft_support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use raft::Storage as _;
use raft_support::{Node, conf, entry, hard, snapshot, state_at};
use seawall::Options;
use seawall::io::sim::{Call, CrashStyle, Fault, FaultPlan, SimDisk, SyncFailure, Trigger};
use seawall::raft::{Error, GroupStorage, RaftLog, RaftOptions, Result, SnapshotSink};

fn open(disk: &SimDisk) -> Result<RaftLog> {
    let wal = Options::new().segment_size(24 << 10).mmap(false).threads(false);
    let wal = wal.idle_marker(Duration::from_secs(3600));
    RaftOptions::new().node_id(1).wal(wal).snapshot_chunk(1000).open_on(Arc::new(disk.clone()))
}

/// A group with twenty entries, all applied, and a snapshot at 10.
fn with_a_snapshot(disk: &SimDisk) -> RaftLog {
    let log = open(disk).unwrap();
    let group = log.create_group(1, conf(&[1, 2])).unwrap();
    let mut batch = log.batch();
    batch.append(1, &(1..=20).map(|index| entry(index, 1)).collect::<Vec<_>>()).unwrap();
    batch.set_hard_state(1, &hard(1, 1, 20)).unwrap();
    batch.set_applied(1, 20, 1).unwrap();
    log.commit(batch).unwrap();
    group.save_snapshot(10, conf(&[1, 2]), state_at(10)).unwrap();
    log
}

fn group(log: &RaftLog) -> GroupStorage {
    log.group(1).unwrap()
}

fn begin(log: &RaftLog, index: u64) -> SnapshotSink {
    group(log).snapshot_sink(index, &conf(&[1, 2])).unwrap()
}

/// Saves the snapshot at 20 in pieces of 700 bytes.
fn stream(log: &RaftLog) -> std::io::Result<()> {
    let mut sink = group(log).snapshot_sink(20, &conf(&[1, 2])).map_err(std::io::Error::from)?;
    for piece in state_at(20).chunks(700) {
        sink.write_all(piece)?;
    }
    sink.finish().map_err(std::io::Error::from)
}

fn snapshot_files(disk: &SimDisk) -> usize {
    disk.files().iter().filter(|name| name.starts_with("snapshots/")).count()
}

/// The index of the present snapshot; its data matches that index, and there is no other file.
fn index_of(log: &RaftLog, disk: &SimDisk) -> u64 {
    let mut source = group(log).snapshot_source().unwrap().unwrap();
    let (index, mut data) = (source.index(), Vec::new());
    source.read_to_end(&mut data).unwrap();
    assert!(data == state_at(index) && source.conf_state() == &conf(&[1, 2]), "snapshot at {index}");
    assert_eq!(snapshot_files(disk), 1, "{:?}", disk.files());
    index
}

#[test]
fn a_crash_at_any_call_of_a_snapshot_in_pieces_leaves_the_old_one_or_the_new_one() {
    let disk = SimDisk::new();
    let log = with_a_snapshot(&disk);
    disk.plan(FaultPlan::none());
    disk.keep_history();
    stream(&log).unwrap();
    let cuts = disk.history();
    assert!(cuts.len() > 12, "a file of several chunks: {}", cuts.len());
    let mut seen = [0; 2];
    for cut in cuts {
        let before = disk.before(cut).unwrap();
        let chaos = (0..12).map(|n| CrashStyle::Chaos(cut * 100 + n));
        for style in [CrashStyle::LoseAll, CrashStyle::KeepAll].into_iter().chain(chaos) {
            let found = before.crash(style);
            let log = open(&found).unwrap_or_else(|e| panic!("cut at {cut}, {style:?}: {e}"));
            seen[usize::from(index_of(&log, &found) == 20)] += 1;
            // And it can be written again.
            if group(&log).recover().snapshot == Some((10, 1)) {
                stream(&log).unwrap();
            }
            assert_eq!(index_of(&log, &found), 20);
        }
    }
    assert!(seen[0] > 100 && seen[1] > 0, "{seen:?}");
    let log = open(&disk.crash(CrashStyle::LoseAll)).unwrap();
    assert_eq!(group(&log).recover().snapshot, Some((20, 1)), "it was acknowledged");
}

#[test]
fn whatever_call_fails_the_error_says_which_and_the_old_snapshot_stays() {
    let full = |call| (call, Fault::Error(ErrorKind::StorageFull), ErrorKind::StorageFull);
    let io = |call| (call, Fault::Sync(SyncFailure::DropsPages), ErrorKind::Other);
    let failures =
        [full(Call::Create), full(Call::Write), full(Call::Rename), io(Call::Sync), io(Call::SyncDir)];
    for (call, fault, kind) in failures {
        let mut failed = 0;
        for n in 0.. {
            let disk = SimDisk::new();
            let log = with_a_snapshot(&disk);
            disk.plan(FaultPlan::none().with(Trigger::Nth(call, n), fault));
            let Err(e) = stream(&log) else { break };
            let inside = e.get_ref().and_then(|e| e.downcast_ref::<Error>()).unwrap();
            match inside {
                Error::Log(below @ seawall::Error::Io { path, .. })
                    if path.to_string_lossy().contains("snapshots") =>
                {
                    assert!(
                        kind != ErrorKind::StorageFull || below.is_full() && e.kind() == kind,
                        "{call:?} {n}: {e}"
                    );
                    // Nothing is poisoned, nothing is left, and it can be retried.
                    assert_eq!(index_of(&log, &disk), 10);
                    stream(&log).unwrap();
                    assert_eq!(index_of(&log, &disk), 20);
                }
                // The record's own write or sync.
                _ => {
                    let found = disk.kill();
                    let log = open(&found).unwrap();
                    assert!([10, 20].contains(&index_of(&log, &found)));
                }
            }
            failed += 1;
        }
        assert!(failed >= if call == Call::Write { 10 } else { 1 }, "{call:?}: {failed}");
    }
}

#[test]
fn after_an_error_a_sink_takes_nothing_more() {
    let disk = SimDisk::new();
    let log = with_a_snapshot(&disk);
    let mut sink = begin(&log, 20);
    sink.write_all(&[1; 1500]).unwrap();
    disk.plan(FaultPlan::none().with(Trigger::Nth(Call::Write, 0), Fault::Error(ErrorKind::StorageFull)));
    let first = sink.write_all(&[1; 1500]).unwrap_err();
    assert!(first.to_string().contains("free space"), "{first}");
    assert_eq!(sink.write(&[1]).unwrap_err().to_string(), first.to_string());
    assert_eq!(sink.finish().unwrap_err().to_string(), first.to_string());
    assert_eq!(index_of(&log, &disk), 10);
}

#[test]
fn a_sink_that_is_dropped_leaves_nothing() {
    let disk = SimDisk::new();
    let log = with_a_snapshot(&disk);
    let mut sink = begin(&log, 20);
    sink.write_all(&state_at(20)).unwrap();
    assert_eq!((sink.index(), sink.written()), (20, state_at(20).len() as u64));
    assert_eq!(snapshot_files(&disk), 2);
    drop(sink);
    assert_eq!(index_of(&log, &disk), 10);
}

#[test]
fn what_is_refused_is_refused_before_anything_is_written() {
    let disk = SimDisk::new();
    let log = with_a_snapshot(&disk);
    disk.plan(FaultPlan::none());
    let refused = |index, voters: &[u64]| group(&log).snapshot_sink(index, &conf(voters)).unwrap_err();
    assert!(matches!(refused(21, &[1]), Error::SnapshotBeyondApplied { index: 21, applied: 20, .. }));
    assert!(matches!(refused(10, &[1]), Error::SnapshotNotNewer { index: 10, current: 10, .. }));
    assert!(matches!(refused(20, &[]), Error::EmptyConfState { index: 20, .. }));
    assert_eq!(disk.calls(), 0);
}

#[test]
fn a_snapshot_that_was_overtaken_while_it_was_written_is_refused_and_leaves_nothing() {
    let disk = SimDisk::new();
    let log = with_a_snapshot(&disk);
    let begun = |index| {
        let mut sink = begin(&log, index);
        sink.write_all(b"too late").unwrap();
        sink
    };
    let (same, older) = (begun(20), begun(15));
    stream(&log).unwrap();
    assert!(matches!(same.finish().unwrap_err(), Error::SnapshotNotNewer { index: 20, current: 20, .. }));
    assert!(matches!(older.finish().unwrap_err(), Error::SnapshotNotNewer { index: 15, current: 20, .. }));
    assert_eq!(index_of(&log, &disk), 20);
}

#[test]
fn a_snapshot_of_a_group_that_is_removed_meanwhile_does_not_come_to_the_next_one_with_its_id() {
    let disk = SimDisk::new();
    let log = with_a_snapshot(&disk);
    let mut sink = begin(&log, 20);
    sink.write_all(b"of the first").unwrap();
    log.remove_group(1).unwrap();
    log.create_group(1, conf(&[1])).unwrap();
    assert!(matches!(sink.finish().unwrap_err(), Error::NoSuchGroup { group: 1 }));
    assert!(group(&log).snapshot_source().unwrap().is_none());
    assert_eq!(snapshot_files(&disk), 0);
}

/// Reads a little, lets something happen to the snapshot, and reads the rest.
fn read_through(node: &mut Node, meanwhile: impl FnOnce(&mut Node)) {
    node.create(1);
    node.append_committed(1, 1, 100, 1);
    node.snapshot_at(1, 10);
    let mut source = node.group(1).snapshot_source().unwrap().unwrap();
    let mut data = vec![0; 50];
    source.read_exact(&mut data).unwrap();
    meanwhile(node);
    source.read_to_end(&mut data).unwrap();
    assert!(data == state_at(10) && source.remaining() == 0);
}

#[test]
fn a_snapshot_can_be_read_to_its_end_whatever_becomes_of_it() {
    read_through(&mut Node::new(), |node| {
        for index in [50, 100] {
            node.snapshot_at(1, index);
            node.compact(1, index);
            node.log().purge().unwrap();
        }
    });
    read_through(&mut Node::new(), |node| {
        node.commit(|batch| batch.install_snapshot(1, &snapshot(200, 2, &[1])));
        node.log().purge().unwrap();
    });
    read_through(&mut Node::new(), |node| node.log().remove_group(1).unwrap());
    read_through(&mut Node::new(), Node::close);
    read_through(&mut Node::new(), Node::reopen);
}

/// The same on the simulated disk, which should behave like the real one.
#[test]
fn the_simulated_disk_keeps_an_open_file_that_lost_its_name() {
    let disk = SimDisk::new();
    let log = with_a_snapshot(&disk);
    let mut source = group(&log).snapshot_source().unwrap().unwrap();
    stream(&log).unwrap();
    assert_eq!(snapshot_files(&disk), 1);
    let mut data = Vec::new();
    source.read_to_end(&mut data).unwrap();
    assert_eq!(data, state_at(10));
}

#[test]
fn what_came_in_pieces_is_what_raft_is_given() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 100, 1);
    node.commit(|batch| batch.set_applied(1, 100, 1));
    let mut sink = node.group(1).snapshot_sink(60, &conf(&[1, 2, 3])).unwrap();
    state_at(60).iter().for_each(|byte| sink.write_all(&[*byte]).unwrap());
    sink.finish().unwrap();
    node.in_both_lives(|node| {
        assert_eq!(node.group(1).snapshot(60, 2).unwrap(), snapshot(60, 1, &[1, 2, 3]));
        assert_eq!(node.group(1).snapshot_data().unwrap(), Some(snapshot(60, 1, &[1, 2, 3])));
    });
    node.compact(1, 60);
}
