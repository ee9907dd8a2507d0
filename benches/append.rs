//! One writer, one record at a time, each durable before the next: the device's sync, and our overhead.

mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::{Log, payload};

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for size in [64, 256, 4 << 10, 64 << 10] {
        group.throughput(Throughput::Bytes(size as u64));
        let mut log = Log::new();
        let record = payload(size, 1);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                log.wal.append(&record).unwrap();
                log.trim(1);
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = append }
criterion_main!(benches);
