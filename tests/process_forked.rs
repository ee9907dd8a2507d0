//! W13: a handle belongs to the process that opened it.
//!
//! In a forked child each call returns a typed error and dropping does nothing; the lock ends when the opener closes
//! or dies, even if other processes have inherited a descriptor.

mod process_support;

use std::future::Future as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use process_support::{alone, fork_and, in_forked_child, is_alive, kill};
use seawall::{Batch, Error, Lsn, Options, Wal, verify};

const DIR: &str = "SEAWALL_TEST_FORKED_DIR";

fn options() -> Options {
    Options::new().segment_size(64 << 10)
}

#[track_caller]
fn refused<T>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::OtherProcess { .. })), "{:?}", result.err());
}

/// All files of a directory, by name.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.file_type().unwrap().is_file())
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
        .collect();
    all.sort();
    all
}

fn payloads(wal: &Wal) -> Vec<Vec<u8>> {
    wal.iter().map(|r| r.unwrap().payload().to_vec()).collect()
}

#[test]
fn w13_every_call_of_an_inherited_handle_is_an_error_and_dropping_it_does_nothing() {
    if !alone("w13_every_call_of_an_inherited_handle_is_an_error_and_dropping_it_does_nothing") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let wal = options().idle_marker(Duration::from_secs(600)).open(dir.path()).unwrap();
    let mut written: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 3000]).collect();
    let lsns: Vec<Lsn> = written.iter().map(|p| wal.append(p).unwrap()).collect();
    let ticket = wal.submit(Batch::new()).unwrap();
    let handles =
        (wal.clone(), ticket, wal.reader(), wal.iter(), wal.follow(Lsn::ZERO), wal.capture().unwrap());
    let unfinished = wal.capture().unwrap().copy_to(Options::new().disk(copy.path()).unwrap()).unwrap();
    // The background thread has finished the work from the appends.
    while wal.segments().iter().any(|s| s.sealed && s.footer_bytes == 0) {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(50));
    let before = contents(dir.path());
    let (lsn, last) = (lsns[0], lsns[99]);
    type Handles = (Wal, seawall::Ticket, seawall::Reader, seawall::Iter, seawall::Follow, seawall::Capture);
    let child = |(wal, handles, unfinished): (Wal, Handles, seawall::UnfinishedBackup)| {
        let (clone, mut ticket, mut reader, mut iter, mut follow, capture) = handles;
        refused(wal.append(b"over the parent's record"));
        refused(wal.commit(Batch::new()));
        refused(wal.submit(Batch::new()).map(drop));
        refused(wal.submit_from_reserve(Batch::new()).map(drop));
        refused(wal.read(lsn).map(drop));
        refused(wal.read(last).map(drop));
        refused(wal.release(last));
        refused(wal.segment_reader(seawall::SegmentId::new(1)).map(drop));
        refused(wal.summary(seawall::SegmentId::new(1)).map(drop));
        refused(wal.capture().map(drop));
        refused(wal.backup("/nowhere").map(drop));
        refused(wal.iter().next().unwrap().map(drop));
        refused(wal.iter_from(last).next().unwrap().map(drop));
        refused(wal.follow(last).next().unwrap().map(drop));
        refused(wal.reader().read(lsn).map(drop));
        refused(wal.background_error().map_or(Ok(()), Err));
        refused(reader.read(lsn).map(drop));
        refused(iter.next().unwrap().map(drop));
        refused(follow.next().unwrap().map(drop));
        refused(capture.copy_to(Options::new().disk(Path::new("/tmp")).unwrap()).map(drop));
        refused(unfinished.finish().map(drop));
        refused(ticket.try_wait().map(drop));
        match Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => refused(outcome),
            Poll::Pending => panic!("a ticket of another process is pending"),
        }
        refused(ticket.wait());
        // Calls that cannot fail answer like an empty log, and take no lock.
        assert_eq!((wal.first_lsn(), wal.next_lsn()), (wal.durable_lsn(), wal.durable_lsn()));
        assert!(wal.segments().is_empty() && wal.stats().syncs > 0);
        refused(wal.close());
        drop((clone, reader, iter, follow));
        drop(wal);
    };
    let (wal, handles, unfinished) = in_forked_child((wal, handles, unfinished), child);
    assert!(contents(dir.path()) == before, "the child changed a file");
    // The parent works as before.
    wal.append(b"after").unwrap();
    written.push(b"after".to_vec());
    assert_eq!(payloads(&wal), written);
    unfinished.finish().unwrap();
    drop(handles);
    wal.close().unwrap();
    drop(wal);
    assert!(verify(dir.path()).unwrap().is_ok());
    assert_eq!(payloads(&options().open(dir.path()).unwrap()), written);
}

#[test]
fn w13_a_lock_that_the_parent_held_at_the_fork_keeps_nobody_waiting() {
    if !alone("w13_a_lock_that_the_parent_held_at_the_fork_keeps_nobody_waiting") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let lsn = wal.append([7; 5000]).unwrap();
                    wal.release(lsn).unwrap();
                }
            });
        }
        for _ in 0..100 {
            in_forked_child(wal.clone(), |wal| {
                refused(wal.append(b"x"));
                refused(wal.read(wal.durable_lsn()).map(drop));
                refused(wal.release(wal.durable_lsn()));
                assert!(wal.segments().is_empty());
                let _no_lock = (wal.stats(), wal.next_lsn(), wal.first_lsn(), wal.owner());
                refused(wal.close());
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn w13_a_child_opens_a_log_of_its_own_and_its_parents_when_that_is_closed() {
    if !alone("w13_a_child_opens_a_log_of_its_own_and_its_parents_when_that_is_closed") {
        return;
    }
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Without threads: whatever a thread has locked when the child is made, in the allocator or a library, stays
    // locked in the child, and POSIX permits it little. Here it should do more.
    let wal = options().threads(false).open(dir.path()).unwrap();
    wal.append(b"parent").unwrap();
    let wal = in_forked_child(wal, |inherited| {
        let own = options().open(other.path()).unwrap();
        own.append(b"child").unwrap();
        assert!(matches!(options().open(dir.path()), Err(Error::Locked { .. })), "the parent has it open");
        refused(inherited.append(b"x"));
        // A grandchild is another process as well.
        let own = in_forked_child(own, |own| refused(own.append(b"x")));
        own.append(b"child again").unwrap();
        own.close().unwrap();
    });
    wal.close().unwrap();
    in_forked_child((), |()| {
        let wal = options().open(dir.path()).unwrap();
        wal.append(b"child").unwrap();
        wal.close().unwrap();
    });
    assert_eq!(payloads(&options().open(dir.path()).unwrap()), [b"parent".to_vec(), b"child".to_vec()]);
    assert_eq!(
        payloads(&options().open(other.path()).unwrap()),
        [b"child".to_vec(), b"child again".to_vec()]
    );
}

#[test]
fn w13_the_lock_ends_with_the_openers_close_whoever_inherited_its_file() {
    if !alone("w13_the_lock_ends_with_the_openers_close_whoever_inherited_its_file") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    let (wal, child) = fork_and(wal, |_inherited| std::thread::sleep(Duration::from_secs(20)));
    assert!(matches!(options().open(dir.path()), Err(Error::Locked { .. })));
    wal.close().unwrap();
    options().open(dir.path()).unwrap().close().unwrap();
    drop(wal);
    // The child's end does not release what belongs to the parent.
    let wal = options().open(dir.path()).unwrap();
    child.kill();
    child.wait();
    assert!(matches!(options().open(dir.path()), Err(Error::Locked { .. })));
    wal.close().unwrap();
}

/// Not a test: opens the log, forks a child that stays, prints its number, and waits to be killed.
#[test]
fn opener() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let wal = options().open(&dir).unwrap();
    wal.append(b"acknowledged").unwrap();
    let (_wal, _child) = fork_and(wal, |_inherited| {
        // Printed by the child, which is then running: until then it has the descriptors of its parent.
        println!("child {}", std::process::id());
        std::thread::sleep(Duration::from_secs(20));
    });
    std::thread::sleep(Duration::from_secs(20));
}

#[test]
fn w13_the_lock_ends_with_the_openers_death_whoever_inherited_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut opener = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "opener", "--nocapture", "--test-threads=1"])
        .env(DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(opener.stdout.take().unwrap()).lines();
    let orphan: i32 = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("child ")?.1.trim().parse().ok())
        .expect("the opener says which child it has");
    assert!(matches!(options().open(dir.path()), Err(Error::Locked { .. })), "the opener lives");
    opener.kill().unwrap();
    opener.wait().unwrap();
    assert!(is_alive(orphan));
    let wal = options().open(dir.path()).unwrap();
    assert_eq!(payloads(&wal), [b"acknowledged".to_vec()]);
    kill(orphan);
}

/// `SEAWALL_REOPENS=10000` for more. If a closed log kept its lock until its last descriptor was closed, nearly every
/// open would be refused.
#[test]
fn w13_a_log_is_opened_directly_after_close_while_other_threads_start_processes() {
    let reopens: usize = std::env::var("SEAWALL_REOPENS").map_or(60, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (stop, started) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    Command::new("true").status().unwrap();
                    started.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut refused = 0;
        for n in 0..reopens {
            match options().open(dir.path()) {
                Ok(wal) => {
                    wal.append(n.to_le_bytes()).unwrap();
                    wal.close().unwrap();
                }
                Err(Error::Locked { .. }) => refused += 1,
                Err(e) => panic!("{e}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(
            refused,
            0,
            "of {reopens} opens, while {} processes were started",
            started.load(Ordering::Relaxed)
        );
    });
    assert!(started.load(Ordering::Relaxed) > 10);
}

#[cfg(feature = "raft")]
mod raft_layer {
    use std::io::{Read as _, Write as _};

    use raft::Storage as _;
    use raft::eraftpb::{ConfState, Entry, HardState};
    use seawall::raft::{Error as RaftError, Node, NodeConfig, NodeError, RaftOptions};

    use super::*;

    #[track_caller]
    fn raft_refused<T>(result: Result<T, RaftError>) {
        assert!(matches!(result, Err(RaftError::Log(Error::OtherProcess { .. }))), "{:?}", result.err());
    }

    #[track_caller]
    fn node_refused<T>(result: Result<T, NodeError>) {
        let other =
            |e: &NodeError| matches!(e, NodeError::Storage(RaftError::Log(Error::OtherProcess { .. })));
        assert!(result.as_ref().is_err_and(other), "{:?}", result.err());
    }

    /// The files, once the log's background thread leaves them alone.
    fn contents_at_rest(dir: &Path) -> Vec<(String, Vec<u8>)> {
        loop {
            let before = contents(dir);
            std::thread::sleep(Duration::from_millis(100));
            if contents(dir) == before {
                return before;
            }
        }
    }

    fn entry(index: u64) -> Entry {
        let mut entry = Entry::default();
        (entry.index, entry.term) = (index, 1);
        entry
    }

    #[test]
    fn w13_every_call_of_the_raft_layer_is_an_error_and_dropping_does_nothing() {
        if !alone("raft_layer::w13_every_call_of_the_raft_layer_is_an_error_and_dropping_does_nothing") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let members = ConfState::from((vec![1], vec![]));
        let log = RaftOptions::new()
            .node_id(1)
            .wal(options().idle_marker(Duration::from_secs(600)))
            .purge_in_background(1 << 30)
            .open(dir.path())
            .unwrap();
        let group = log.create_group(7, members.clone()).unwrap();
        let mut batch = log.batch();
        batch.append(7, &[entry(1), entry(2)]).unwrap();
        let mut hard = HardState::default();
        (hard.term, hard.commit) = (1, 2);
        batch.set_hard_state(7, &hard).unwrap();
        batch.set_applied(7, 2, 1).unwrap();
        log.commit(batch).unwrap();
        group.save_snapshot(1, members.clone(), b"state").unwrap();
        let other = log.create_group(8, members.clone()).unwrap();
        let mut node = Node::new(NodeConfig::new(1), other).unwrap();
        node.campaign().unwrap();
        while !node.is_leader() {
            let out = node.wait_durable().unwrap();
            assert!(out.messages.is_empty());
        }
        let proposal = node.propose(b"x".to_vec(), Duration::from_secs(5)).unwrap();
        let mut sink = group.snapshot_sink(2, &members).unwrap();
        sink.write_all(b"half").unwrap();
        let source = group.snapshot_source().unwrap().unwrap();
        let batch = log.batch();
        let (before, files) = (contents_at_rest(dir.path()), contents(&dir.path().join("snapshots")));
        let handles = (log, group, node, proposal, sink, source, batch);
        let handles =
            in_forked_child(handles, |(log, group, mut node, proposal, mut sink, mut source, mut batch)| {
                raft_refused(log.create_group(9, members.clone()).map(drop));
                assert!(log.group(7).is_none() && log.groups().is_empty());
                raft_refused(log.commit(log.batch()));
                raft_refused(log.submit(log.batch()).map(drop));
                raft_refused(log.remove_group(7));
                raft_refused(log.purge().map(drop));
                raft_refused(log.space().map(drop));
                raft_refused(log.recount_space().map(drop));
                raft_refused(log.backup("/nowhere").map(drop));
                raft_refused(log.background_purge_error().map_or(Ok(()), Err));
                raft_refused(batch.append(7, &[entry(3)]));
                raft_refused(batch.set_hard_state(7, &HardState::default()));
                raft_refused(batch.compact(7, 1));
                raft_refused(group.save_snapshot(2, members.clone(), b"x"));
                raft_refused(group.snapshot_sink(2, &members).map(drop));
                raft_refused(group.snapshot_source().map(drop));
                raft_refused(group.snapshot_data().map(drop));
                assert!(
                    group.initial_state().is_err() && group.first_index().is_err() && group.term(1).is_err()
                );
                assert_eq!((group.applied(), group.durable_index()), ((0, 0), 0));
                assert_eq!(
                    (group.hard_state(), group.conf_state()),
                    (HardState::default(), ConfState::default())
                );
                assert_eq!(group.recover().last_index, 0);
                assert!(sink.write(b"more").is_err());
                raft_refused(sink.finish());
                assert!(source.read(&mut [0; 10]).is_err());
                node_refused(node.tick());
                node_refused(node.drive().map(drop));
                node_refused(node.wait_durable().map(drop));
                node_refused(node.propose(b"x".to_vec(), Duration::from_secs(1)).map(drop));
                node_refused(node.campaign());
                node_refused(node.read_index().map(drop));
                node_refused(node.report_applied(1));
                node_refused(node.compact(1));
                node.set_waker(Waker::noop());
                assert_eq!((node.status().first, node.status().last), (0, 0));
                drop(node);
                drop(proposal);
                raft_refused(log.close());
                drop((group, batch));
                drop(log);
            });
        assert!(contents(dir.path()) == before, "the child changed a file");
        assert!(contents(&dir.path().join("snapshots")) == files, "the child changed a snapshot");
        let (log, group, mut node, proposal, sink, mut source, _batch) = handles;
        sink.finish().unwrap();
        let mut state = Vec::new();
        source.read_to_end(&mut state).unwrap();
        assert_eq!(state, b"state");
        assert_eq!(group.recover().snapshot, Some((2, 1)));
        for _ in 0..3 {
            for apply in node.wait_durable().unwrap().apply {
                node.report_applied(apply.last().0).unwrap();
            }
        }
        assert!(proposal.outcome().unwrap().is_ok());
        log.close().unwrap();
    }
}
