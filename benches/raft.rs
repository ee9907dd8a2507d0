//! The Raft layer: a batch of many groups with one sync, a group's entries in order, and one random entry.
#![allow(clippy::useless_conversion)]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use raft::eraftpb::{ConfState, Entry};
use raft::{GetEntriesContext, Storage};
use seawall::raft::{RaftLog, RaftOptions};
use support::{Pick, RECORD, payload};
use tempfile::TempDir;

const GROUPS: u64 = 100;
const ENTRIES: u64 = 8;
/// Batches in the log that is read: 100,000 entries.
const BATCHES: u64 = 125;

fn new_log() -> (RaftLog, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    for group in 1..=GROUPS {
        log.create_group(group, ConfState::from((vec![1, 2, 3], vec![]))).unwrap();
    }
    (log, dir)
}

fn open(dir: &TempDir) -> RaftLog {
    RaftOptions::new().node_id(1).open(dir.path()).unwrap()
}

/// Eight entries for each group, starting at `first`.
fn entries(first: u64) -> Vec<Entry> {
    let entry = |index| {
        let mut e = Entry::default();
        (e.index, e.term) = (index, 1);
        e.data = payload(RECORD, index).into();
        e
    };
    (first..first + ENTRIES).map(entry).collect()
}

fn commit(log: &RaftLog, entries: &[Entry]) {
    let mut batch = log.batch();
    for group in 1..=GROUPS {
        batch.append(group, entries).unwrap();
    }
    log.commit(batch).unwrap();
}

fn batch(c: &mut Criterion) {
    let mut group = c.benchmark_group("raft");
    let elements = GROUPS * ENTRIES;
    group.throughput(Throughput::ElementsAndBytes { elements, bytes: elements * RECORD as u64 });
    group.bench_function("batch_100_groups_x_8", |b| {
        b.iter_custom(|batches| {
            // A new log for each 256 batches, some 60 MiB.
            let mut taken = Duration::ZERO;
            for part in 0..batches.div_ceil(256) {
                let (log, _dir) = new_log();
                for n in 0..(batches - part * 256).min(256) {
                    let list = entries(n * ENTRIES + 1);
                    let start = Instant::now();
                    commit(&log, &list);
                    taken += start.elapsed();
                }
            }
            taken
        });
    });
    group.finish();
}

fn read(c: &mut Criterion) {
    let (log, dir) = new_log();
    (0..BATCHES).for_each(|n| commit(&log, &entries(n * ENTRIES + 1)));
    drop(log);
    // As after a restart: sealed, with its index in the footers.
    let log = open(&dir);
    let (last, mut pick) = (BATCHES * ENTRIES, Pick::new());
    let mut group = c.benchmark_group("raft");
    group.throughput(Throughput::ElementsAndBytes { elements: 256, bytes: 256 * RECORD as u64 });
    group.bench_function("entries_in_order_256", |b| {
        b.iter(|| {
            let storage = log.group(pick.below(GROUPS) + 1).unwrap();
            let low = pick.below(last - 256) + 1;
            black_box(storage.entries(low, low + 256, None, GetEntriesContext::empty(false)).unwrap());
        });
    });
    group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: RECORD as u64 });
    group.bench_function("one_random_entry", |b| {
        b.iter(|| {
            let storage = log.group(pick.below(GROUPS) + 1).unwrap();
            let at = pick.below(last) + 1;
            black_box(storage.entries(at, at + 1, None, GetEntriesContext::empty(false)).unwrap());
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = batch, read }
criterion_main!(benches);
