//! Many batches per sync: blocking writers that share it, and tickets that are waited for only at the end.

mod support;

use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use seawall::Batch;
use support::{Log, RECORD, payload};

/// Number of submissions that are waited for together and then released.
const WINDOW: u64 = 16 << 10;

fn blocking_writers(c: &mut Criterion) {
    let mut group = c.benchmark_group("group_commit/writers");
    group.throughput(Throughput::Elements(1));
    for writers in [8u64, 64] {
        let mut log = Log::new();
        let record = payload(RECORD, 1);
        group.bench_function(BenchmarkId::from_parameter(writers), |b| {
            b.iter_custom(|appends| {
                let each = appends.div_ceil(writers);
                let start = Instant::now();
                std::thread::scope(|scope| {
                    for _ in 0..writers {
                        scope.spawn(|| {
                            for _ in 0..each {
                                log.wal.append(&record).unwrap();
                            }
                        });
                    }
                });
                let taken = start.elapsed();
                log.trim(each * writers);
                // More were made than requested; the time is scaled to the requested number.
                taken.mul_f64(appends as f64 / (each * writers) as f64)
            });
        });
    }
    group.finish();
}

fn tickets(c: &mut Criterion) {
    let mut group = c.benchmark_group("group_commit/tickets");
    for records in [1u64, 64] {
        group.throughput(Throughput::ElementsAndBytes { elements: records, bytes: records * RECORD as u64 });
        let mut log = Log::new();
        let record = payload(RECORD, 1);
        let mut batch = Batch::new();
        for _ in 0..records {
            batch.push(&record);
        }
        group.bench_function(BenchmarkId::new("records_in_batch", records), |b| {
            b.iter_custom(|batches| {
                let start = Instant::now();
                let mut left = batches;
                while left > 0 {
                    let now = left.min(WINDOW / records);
                    (1..now).for_each(|_| drop(log.wal.submit(&batch).unwrap()));
                    log.wal.submit(&batch).unwrap().wait().unwrap();
                    log.trim(now);
                    left -= now;
                }
                start.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = blocking_writers, tickets }
criterion_main!(benches);
