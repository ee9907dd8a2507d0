//! Ten thousand Raft groups in one log: one sync for all groups with new entries.
//!
//! `cargo run --release --example multi_raft`

use std::error::Error;
use std::time::Instant;

use raft::Storage as _;
use raft::eraftpb::{ConfState, Entry, HardState};
use seawall::raft::{RaftLog, RaftOptions};

const GROUPS: u64 = 10_000;
const ROUNDS: u64 = 5;
const DATA: usize = 100;

/// Prints the cost of `work`: time, bytes of log, syncs.
fn measured<T>(
    log: &RaftLog,
    what: &str,
    work: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<u64, Box<dyn Error>> {
    let (before, start) = (log.wal().stats(), Instant::now());
    work()?;
    let (after, took) = (log.wal().stats(), start.elapsed());
    let (bytes, syncs) = (after.written_bytes - before.written_bytes, after.syncs - before.syncs);
    println!("{what:<44} {:>7.0} ms {:>6} KiB {syncs:>5} syncs", took.as_secs_f64() * 1e3, bytes / 1024);
    Ok(syncs)
}

/// Creating a group waits for the disk, so many threads do it: those that wait at the same time share a sync.
fn create(log: &RaftLog) -> Result<(), Box<dyn Error>> {
    let members = ConfState::from((vec![1, 2, 3], vec![]));
    std::thread::scope(|scope| {
        let create = |first: u64| {
            let members = members.clone();
            move || {
                (first..=GROUPS)
                    .step_by(32)
                    .try_for_each(|id| log.create_group(id, members.clone()).map(drop))
            }
        };
        let threads: Vec<_> = (1..=32).map(|first| scope.spawn(create(first))).collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })
}

/// One entry and the commit index for each of these groups, in one batch. `seawall::raft::drive_all` does the same
/// with the Readys of nodes.
fn append(log: &RaftLog, groups: impl Iterator<Item = u64>, index: u64) -> Result<(), Box<dyn Error>> {
    let mut batch = log.batch();
    for id in groups {
        let mut entry = Entry::default();
        (entry.index, entry.term) = (index, 1);
        entry.data = vec![id.to_le_bytes()[0]; DATA].into();
        let mut hard = HardState::default();
        (hard.term, hard.vote, hard.commit) = (1, 1, index);
        batch.append(id, &[entry])?;
        batch.set_hard_state(id, &hard)?;
    }
    log.commit(batch)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let open = || RaftOptions::new().node_id(1).open(dir.path());
    let log = open()?;
    measured(&log, "10,000 groups created by 32 threads", || create(&log))?;

    for round in 1..=ROUNDS {
        let what = format!("round {round}: an entry for each, in one batch");
        let syncs = measured(&log, &what, || append(&log, 1..=GROUPS, round))?;
        assert!(syncs <= 3, "one sync, and those of marker blocks that fall into the same moment: {syncs}");
    }
    // For comparison: a sync for each group.
    measured(&log, "an entry for 100 of them, a batch for each", || {
        (1..=100).try_for_each(|id| append(&log, id..=id, ROUNDS + 1))
    })?;

    measured(&log, "the applied index of each, in one batch", || {
        let mut batch = log.batch();
        (1..=GROUPS).try_for_each(|id| batch.set_applied(id, ROUNDS, 1))?;
        Ok(log.commit(batch)?)
    })?;
    let space = log.space()?;
    println!("{} KiB live, in files of {} KiB", space.live_bytes / 1024, space.disk_bytes / 1024);
    log.close()?;
    drop(log);

    let start = Instant::now();
    let log = open()?;
    println!("reopened in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    assert_eq!(log.groups().len() as u64, GROUPS);
    for id in log.groups() {
        let group = log.group(id).ok_or("a group is missing")?;
        let last = if id <= 100 { ROUNDS + 1 } else { ROUNDS };
        assert_eq!(group.last_index()?, last, "group {id}");
        assert_eq!(group.hard_state().commit, last);
    }
    println!("every group is as before");
    Ok(())
}
