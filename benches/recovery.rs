//! Opening a log of 64 MiB: after a close, and as left by a killed process. Each open gets a separate directory.

mod support;

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use seawall::{Batch, Options};
use support::{Log, RECORD, copy, payload};
use tempfile::TempDir;

const BYTES: u64 = 64 << 20;

fn options() -> Options {
    Options::new().segment_size(16 << 20)
}

/// The directory of a log of 64 MiB of payload.
fn filled(close: bool) -> TempDir {
    let log = Log::with(&options());
    for n in 0..BYTES / (100 * RECORD as u64) {
        let mut batch = Batch::new();
        for m in 0..100 {
            batch.push(payload(RECORD, n * 100 + m));
        }
        log.wal.commit(&batch).unwrap();
    }
    if close {
        log.wal.close().unwrap();
    } else {
        // Footers and the next segment are written in the background.
        std::thread::sleep(Duration::from_millis(500));
    }
    copy(log.dir.path())
}

fn recovery(c: &mut Criterion) {
    let mut group = c.benchmark_group("recovery");
    group.sample_size(10).throughput(Throughput::Bytes(BYTES));
    for (name, close) in [("after_close", true), ("after_kill", false)] {
        let master = filled(close);
        group.bench_function(name, |b| {
            b.iter_batched(
                || copy(master.path()),
                |dir| (options().open(dir.path()).unwrap(), dir),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = recovery }
criterion_main!(benches);
