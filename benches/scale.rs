//! The cost per operation and per group with many groups, and the cost of opening a long log.
//!
//! `cargo bench -p seawall --bench scale -- --groups 100000 --bytes 1000000000`: both are the largest size tried, and
//! each smaller size is a tenth. `--csv FILE` writes the curves to a file.

#[path = "support/rounds.rs"]
mod rounds;

#[path = "../tests/counting/mod.rs"]
mod counting;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use raft::eraftpb::{ConfState, Entry, HardState};
use raft::{GetEntriesContext, Storage as _};
use seawall::raft::{RaftLog, RaftOptions};

use rounds::argument;

/// Bytes of data per entry.
const DATA: usize = 256;

fn main() {
    let groups = argument("--groups", 100_000);
    let bytes = argument("--bytes", 1_000_000_000);
    let mut csv =
        String::from("kind,size,append_us,read_us,purge_ms,open_ms,heap_bytes,heap_per,heap_idle\n");
    println!("groups, each with one entry of {DATA} bytes, appended in batches of 100 groups\n");
    println!(
        "{:>9} {:>14} {:>12} {:>10} {:>10} {:>14} {:>14}",
        "groups", "append", "read", "purge", "open", "heap a group", "without entry"
    );
    for n in [1, 100, 10_000, 100_000].into_iter().filter(|n| *n <= groups) {
        many_groups(n, &mut csv);
    }
    println!("\nlog of 100 groups, entries of {DATA} bytes, after a kill\n");
    println!("{:>9} {:>12} {:>10} {:>12} {:>14}", "bytes", "entries", "open", "heap", "heap an entry");
    for bytes in [10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000].into_iter().filter(|n| *n <= bytes)
    {
        long_log(bytes, &mut csv);
    }
    let mut args = std::env::args();
    if let Some(file) = args.find(|a| a == "--csv").and_then(|_| args.next()) {
        std::fs::write(file, csv).unwrap();
    }
}

fn many_groups(groups: u64, csv: &mut String) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, groups);
    log.close().unwrap();
    drop(log);
    let idle = reopen(dir.path()).1 as f64 / groups as f64;
    let log = open(dir.path());
    let start = Instant::now();
    for first in (1..=groups).step_by(100) {
        append(&log, first..(first + 100).min(groups + 1), 1, 1);
    }
    let append_us = start.elapsed().as_secs_f64() * 1e6 / groups as f64;
    let read_us = read_all(&log, groups);
    let start = Instant::now();
    log.purge().unwrap();
    let purge_ms = start.elapsed().as_secs_f64() * 1e3;
    log.close().unwrap();
    drop(log);
    let (open_ms, held) = reopen(dir.path());
    let per = held as f64 / groups as f64;
    println!(
        "{groups:>9} {append_us:>11.2} us {read_us:>9.2} us {purge_ms:>7.2} ms {open_ms:>7.1} ms {per:>12.0} B {idle:>12.0} B"
    );
    writeln!(csv, "groups,{groups},{append_us},{read_us},{purge_ms},{open_ms},{held},{per},{idle}").unwrap();
}

fn long_log(bytes: u64, csv: &mut String) {
    const GROUPS: u64 = 100;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, GROUPS);
    let rounds = bytes / (GROUPS * 40 * (DATA as u64 + 40));
    for round in 0..rounds.max(1) {
        append(&log, 1..GROUPS + 1, 1 + round * 40, 40);
    }
    let entries = rounds.max(1) * 40 * GROUPS;
    // As left by a process that ends without closing: the present files, copied elsewhere.
    let copy = tempfile::tempdir().unwrap();
    let mut files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap()).collect();
    // The next segment is being prepared meanwhile. A file that names another is copied before that one.
    files.sort_unstable_by_key(|file| file.file_name() != "superblock");
    for file in files {
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    drop(log);
    drop(dir);
    let (open_ms, held) = reopen(copy.path());
    let per = held as f64 / entries as f64;
    println!("{bytes:>9} {entries:>12} {open_ms:>7.1} ms {:>9.1} KiB {per:>12.2} B", held as f64 / 1024.0);
    writeln!(csv, "bytes,{bytes},,,,{open_ms},{held},{per},").unwrap();
}

fn open(dir: &Path) -> RaftLog {
    RaftOptions::new().node_id(1).open(dir).unwrap()
}

/// Opens the log three times; returns the median time, and the heap held by the last one.
fn reopen(dir: &Path) -> (f64, usize) {
    let mut times = Vec::new();
    let mut held = 0;
    for _ in 0..3 {
        let before = counting::allocated();
        let start = Instant::now();
        let log = open(dir);
        times.push(start.elapsed().as_secs_f64() * 1e3);
        held = counting::allocated().saturating_sub(before);
        drop(log);
    }
    times.sort_unstable_by(f64::total_cmp);
    (times[1], held)
}

/// Creates the groups from many threads that share syncs.
fn create(log: &RaftLog, groups: u64) {
    std::thread::scope(|scope| {
        for part in 0..64 {
            scope.spawn(move || {
                for id in (1..=groups).filter(|id| id % 64 == part) {
                    log.create_group(id, ConfState::from((vec![1, 2, 3], vec![]))).unwrap();
                }
            });
        }
    });
}

fn append(log: &RaftLog, groups: std::ops::Range<u64>, first: u64, count: u64) {
    let mut batch = log.batch();
    for id in groups {
        let entries: Vec<Entry> = (first..first + count).map(entry).collect();
        batch.append(id, &entries).unwrap();
        let mut hard = HardState::default();
        (hard.term, hard.commit) = (1, first + count - 1);
        batch.set_hard_state(id, &hard).unwrap();
    }
    log.commit(batch).unwrap();
}

fn entry(index: u64) -> Entry {
    let mut e = Entry::default();
    (e.index, e.term) = (index, 1);
    e.data = vec![index as u8; DATA].into();
    e
}

/// Reads the entry of each group in a shuffled order; microseconds each.
fn read_all(log: &RaftLog, groups: u64) -> f64 {
    let reads = groups.clamp(1000, 10_000);
    let start = Instant::now();
    for n in 0..reads {
        let id = 1 + n.wrapping_mul(7_368_787) % groups;
        let read = log.group(id).unwrap().entries(1, 2, None, GetEntriesContext::empty(false)).unwrap();
        assert_eq!(read.len(), 1);
    }
    start.elapsed().as_secs_f64() * 1e6 / reads as f64
}
