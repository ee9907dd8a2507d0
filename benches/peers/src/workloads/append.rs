//! (a) Blocking writers, and (b) many records with one wait at the end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Plan;
use crate::measure::{Pool, Row, payload};
use crate::subject::{Log, Subject};
use crate::subjects::{Device, LOGS, padded};

const WRITERS: [usize; 4] = [1, 8, 64, 256];
const SIZES: [usize; 4] = [64, 256, 4 << 10, 64 << 10];

/// (a): thousands of records per second. The device writes as many records at once as there are writers.
pub fn blocking(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    for writers in WRITERS {
        for size in SIZES {
            if plan.quick && size != 256 {
                continue;
            }
            let mut row = Row::new("a", format!("{writers} writers, {size} B"), "k records/s", true);
            for _ in 0..plan.rounds {
                row.add("device", device(plan, writers, size));
                for subject in LOGS.iter().filter(|s| s.shared || writers == 1) {
                    row.add(subject.name, subject_rate(plan, subject, writers, size));
                }
            }
            rows.push(row);
        }
    }
    rows
}

fn device(plan: &Plan, records: usize, size: usize) -> f64 {
    let place = plan.place();
    let mut device = Device::open(place.path());
    let bytes = payload(padded(records * size), 1);
    plan.rate(|| {
        device.write(&bytes);
        records as u64
    })
}

fn subject_rate(plan: &Plan, subject: &Subject, writers: usize, size: usize) -> f64 {
    let place = plan.place();
    let log = (subject.open)(place.path());
    // Until the first segments are made and the threads are started.
    let pool = Pool::new(size);
    (0..20).for_each(|n| log.append(0, pool.record(n)));
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (log, pool, stop, done) = (&log, &pool, &stop, &done);
            scope.spawn(move || {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    log.append(writer, pool.record(n * 1009 + writer as u64));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut seen = 0;
        let rate = plan.rate(|| {
            std::thread::sleep(plan.span / 20);
            log.forget();
            let before = std::mem::replace(&mut seen, done.load(Ordering::Relaxed));
            seen - before
        });
        stop.store(true, Ordering::Relaxed);
        rate
    })
}

/// (b): one thread, 256 B records, a wait after every 4096 of them; millions of records and megabytes per second. The
/// device writes 1 MiB at a time.
pub fn pipelined(plan: &Plan) -> Vec<Row> {
    const WAIT_EVERY: usize = 4096;
    let mut records = Row::new("b", "256 B, a wait for every 4096", "M records/s", true);
    let mut bytes = Row::new("b", "the same, payload", "MB/s", true);
    let mut ahead = Row::new("b", "256 B, a wait for every 4096, others on their way", "M records/s", true);
    for _ in 0..plan.rounds {
        let place = plan.place();
        let mut device = Device::open(place.path());
        let chunk = payload(1 << 20, 1);
        let rate = plan.rate(|| {
            device.write(&chunk);
            chunk.len() as u64
        });
        bytes.add("device", rate / 1000.0);
        records.add("device", rate / 256.0 / 1000.0);
        ahead.add("device", rate / 256.0 / 1000.0);
        for subject in LOGS {
            let place = plan.place();
            let log = (subject.open)(place.path());
            records.add(subject.name, many(plan, &*log, WAIT_EVERY, 1));
            let rate = many(plan, &*log, WAIT_EVERY, 64);
            ahead.add(subject.name, rate);
            bytes.add(subject.name, rate * 256.0);
        }
    }
    vec![records, ahead, bytes]
}

fn many(plan: &Plan, log: &dyn Log, count: usize, rounds: usize) -> f64 {
    let pool = Pool::new(256);
    let records: Vec<&[u8]> = (0..count as u64).map(|n| pool.record(n)).collect();
    let rate = plan.rate(|| {
        log.append_rounds(&records, rounds);
        log.forget();
        (count * rounds) as u64
    });
    rate / 1000.0
}
