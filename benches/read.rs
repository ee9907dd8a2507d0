//! Reading records, each verified: one at random, and all in order. The log is in the page cache.

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use seawall::{Batch, Lsn, Options};
use support::{Log, Pick, RECORD, payload};

const RECORDS: u64 = 200_000;

/// A log and the addresses of its records.
fn filled() -> (Log, Vec<Lsn>) {
    let log = Log::with(&Options::new().segment_size(16 << 20));
    let mut lsns = Vec::new();
    for n in 0..RECORDS / 100 {
        let mut batch = Batch::new();
        let offsets: Vec<_> = (0..100).map(|m| batch.push(payload(RECORD, n * 100 + m))).collect();
        let first = log.wal.commit(&batch).unwrap();
        lsns.extend(offsets.iter().map(|o| o.from_first(first)));
    }
    (log, lsns)
}

fn read(c: &mut Criterion) {
    let (log, lsns) = filled();
    let mut pick = Pick::new();
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: RECORD as u64 });
    group.bench_function("random", |b| {
        b.iter(|| {
            let lsn = lsns[pick.below(RECORDS) as usize];
            black_box(log.wal.read(lsn).unwrap());
        });
    });
    let run = 10_000;
    group.throughput(Throughput::ElementsAndBytes { elements: run, bytes: run * RECORD as u64 });
    group.bench_function("iterate_10000", |b| {
        b.iter(|| {
            let from = lsns[pick.below(RECORDS - run) as usize];
            log.wal.iter_from(from).take(run as usize).for_each(|r| drop(black_box(r.unwrap())));
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = read }
criterion_main!(benches);
