//! The cost of a purge to concurrent appends: the latency of a commit with and without the purge thread.
//!
//! A hundred groups overwrite their last entry with each commit, so nearly everything is dead soon; one group keeps
//! 16 MiB that it never compacts, which must be relocated again and again. Rounds with and without the thread
//! alternate.
//!
//! `cargo bench -p seawall --bench purge -- --rounds 5 --commits 6000`

#[path = "support/rounds.rs"]
mod rounds;

use std::time::{Duration, Instant};

use raft::eraftpb::{ConfState, Entry};
use seawall::Options;
use seawall::raft::{RaftLog, RaftOptions};

use rounds::{argument, median};

const SEGMENT: u64 = 8 << 20;
const GROUPS: u64 = 100;
const LAGGARD: u64 = GROUPS + 1;
/// Bytes kept by the lagging group.
const KEPT: usize = 16 << 20;

fn main() {
    let rounds = argument("--rounds", 5);
    let commits = argument("--commits", 6000);
    let mut without = Vec::new();
    let mut with = Vec::new();
    println!(
        "{GROUPS} groups, an entry of 256 bytes of each in a commit; one group keeps {} MiB\n",
        KEPT >> 20
    );
    for _ in 0..rounds {
        without.push(round(false, commits));
        with.push(round(true, commits));
    }
    println!(
        "{:<16} {:>9} {:>9} {:>9} {:>9}   medians of {rounds} rounds of {commits} commits",
        "", "p50", "p99", "p99.9", "max"
    );
    for (name, rounds) in [("without purge", &without), ("with", &with)] {
        let at = |n: usize| median(rounds.iter().map(|r| r.at[n].as_secs_f64() * 1e3).collect());
        println!("{name:<16} {:>6.2} ms {:>6.2} ms {:>6.2} ms {:>6.2} ms", at(0), at(1), at(2), at(3));
    }
    let ratio = |n: usize| {
        median(
            with.iter().zip(&without).map(|(a, b)| a.at[n].as_secs_f64() / b.at[n].as_secs_f64()).collect(),
        )
    };
    println!(
        "{:<16} {:>9.2} {:>9.2} {:>9.2} {:>9.2}\n",
        "with / without",
        ratio(0),
        ratio(1),
        ratio(2),
        ratio(3)
    );
    let mib = |rounds: &[Round], of: fn(&Round) -> u64| {
        median(rounds.iter().map(|r| (of(r) >> 20) as f64).collect())
    };
    println!(
        "disk at the end: {:.0} MiB without, {:.0} MiB with",
        mib(&without, |r| r.disk),
        mib(&with, |r| r.disk)
    );
    println!(
        "appended {:.0} MiB, relocated {:.0} MiB",
        mib(&with, |r| r.appended),
        mib(&with, |r| r.relocated)
    );
}

/// The result of a round.
struct Round {
    /// p50, p99, p99.9 and the maximum.
    at: [Duration; 4],
    disk: u64,
    appended: u64,
    relocated: u64,
}

fn round(purge: bool, commits: usize) -> Round {
    let dir = tempfile::tempdir().unwrap();
    let options = RaftOptions::new().wal(Options::new().segment_size(SEGMENT));
    let options = if purge { options.purge_in_background(SEGMENT) } else { options };
    let log = options.open(dir.path()).unwrap();
    for id in 1..=LAGGARD {
        log.create_group(id, ConfState::from((vec![1, 2, 3], vec![]))).unwrap();
    }
    for first in (1..=KEPT as u64 >> 12).step_by(256) {
        let entries: Vec<Entry> = (first..first + 256).map(|index| entry(index, 1, 4096)).collect();
        let mut batch = log.batch();
        batch.append(LAGGARD, &entries).unwrap();
        log.commit(batch).unwrap();
    }
    let mut taken: Vec<Duration> = (1..=commits as u64).map(|term| commit(&log, term)).collect();
    taken.sort_unstable();
    let at = |share: f64| taken[((taken.len() as f64 * share) as usize).min(taken.len() - 1)];
    let disk = log.wal().stats().disk_bytes;
    let report = log.purge().unwrap();
    Round {
        at: [at(0.5), at(0.99), at(0.999), at(1.0)],
        disk,
        appended: report.total_appended,
        relocated: if purge { report.total_relocated } else { 0 },
    }
}

/// Each group replaces its only entry.
fn commit(log: &RaftLog, term: u64) -> Duration {
    let mut batch = log.batch();
    for id in 1..=GROUPS {
        batch.append(id, &[entry(1, term, 256)]).unwrap();
    }
    let start = Instant::now();
    log.commit(batch).unwrap();
    start.elapsed()
}

fn entry(index: u64, term: u64, len: usize) -> Entry {
    let mut e = Entry::default();
    (e.index, e.term) = (index, term);
    e.data = vec![term as u8; len].into();
    e
}
