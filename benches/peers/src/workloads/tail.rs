//! (g) The latency of the slowest appends over ten or more rotations, while old segments are freed; and (h) the bytes
//! written and kept per byte.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Plan;
use crate::measure::{Pool, Row, payload, percentile};
use crate::subject::Subject;
use crate::subjects::{Device, GROUP_STORES, LOGS, padded};

const SIZE: usize = 16 << 10;

/// This fraction passes before the slowest are recorded: a log that was just made is still filling its files.
const WARMING: usize = 4;

const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// (g): microseconds.
#[allow(clippy::cast_precision_loss)]
pub fn latency(plan: &Plan) -> Vec<Row> {
    let appends = if plan.quick { 8 << 10 } else { 48 << 10 };
    let mut rows = Vec::new();
    for writers in [1usize, 8] {
        let mut of: Vec<Row> = SHARES
            .iter()
            .map(|(name, _)| Row::new("g", format!("{writers} writers, 16 KiB: {name}"), "us", false))
            .collect();
        for _ in 0..plan.rounds {
            let mut note = |name, mut taken: Vec<u64>| {
                taken.sort_unstable();
                for (row, (_, share)) in of.iter_mut().zip(SHARES) {
                    row.add(name, percentile(&taken, share) as f64 / 1000.0);
                }
            };
            note("device", device(plan, appends / writers, writers));
            for subject in LOGS.iter().filter(|s| s.shared || writers == 1) {
                note(subject.name, appended(plan, subject, appends, writers));
            }
        }
        rows.extend(of);
    }
    rows
}

fn device(plan: &Plan, writes: usize, records: usize) -> Vec<u64> {
    let place = plan.place();
    let mut device = Device::open(place.path());
    let bytes = payload(padded(SIZE * records), 1);
    (0..writes / WARMING).for_each(|_| device.write(&bytes));
    (0..writes).map(|_| timed(|| device.write(&bytes))).collect()
}

fn appended(plan: &Plan, subject: &Subject, appends: usize, writers: usize) -> Vec<u64> {
    let place = plan.place();
    let log = (subject.open)(place.path());
    let pool = Pool::new(SIZE);
    let (taken, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..writers)
            .map(|writer| {
                let (log, taken, pool) = (&log, &taken, &pool);
                scope.spawn(move || {
                    let append = |n: usize| log.append(writer, pool.record((n * 1009 + writer) as u64));
                    (0..appends / writers / WARMING).for_each(append);
                    let own: Vec<u64> = (0..appends / writers).map(|n| timed(|| append(n))).collect();
                    taken.lock().expect("the lock").extend(own);
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
                log.forget();
            }
        });
        handles.into_iter().for_each(|h| h.join().expect("a writer"));
        stop.store(true, Ordering::Relaxed);
    });
    taken.into_inner().expect("the lock")
}

fn timed(call: impl FnOnce()) -> u64 {
    let start = Instant::now();
    call();
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// (h): bytes written to the device per byte of payload, and bytes of files per live byte.
#[allow(clippy::cast_precision_loss)]
pub fn space(plan: &Plan) -> Vec<Row> {
    const RECORDS: usize = 4096;
    let batches = if plan.quick { 100 } else { 400 };
    let pool = Pool::new(256);
    let records: Vec<&[u8]> = (0..RECORDS as u64).map(|n| pool.record(n)).collect();
    let mut deep = Row::new("h", "256 B, a wait for every 4096: written", "B/B", false);
    let mut single = Row::new("h", "256 B, a wait for each: written", "B/B", false);
    let mut kept = Row::new("h", "100 groups, a tenth of each kept: files", "B/B", false);
    for _ in 0..plan.rounds {
        for subject in LOGS {
            let (place, before) = (plan.place(), written(&plan.dir));
            let log = (subject.open)(place.path());
            for _ in 0..batches {
                log.append_many(&records);
                log.forget();
            }
            drop(log);
            deep.add(subject.name, (written(&plan.dir) - before) as f64 / (batches * RECORDS * 256) as f64);
            let place = plan.place();
            let log = (subject.open)(place.path());
            let appends = batches * 25;
            let append = |n: usize| log.append(0, pool.record(n as u64));
            // Until files filled ahead are filled.
            (0..appends).for_each(append);
            let before = written(&plan.dir);
            (0..appends).for_each(append);
            single.add(subject.name, (written(&plan.dir) - before) as f64 / (appends * 256) as f64);
        }
        for subject in GROUP_STORES {
            let place = plan.place();
            let (groups, entries) = (100, if plan.quick { 4000 } else { 20_000 });
            let store = (subject.open)(place.path(), groups);
            let ids: Vec<u64> = (1..=groups).collect();
            for (round, first) in (1..=entries).step_by(8).enumerate() {
                store.append(&ids, first, 8, &pool);
                if round % 64 == 63 && first > entries / 10 {
                    (1..=groups).for_each(|group| store.compact(group, first - entries / 10));
                    store.purge();
                }
            }
            let live = groups * (entries / 10) * 256;
            kept.add(subject.name, disk_use(place.path()) as f64 / live as f64);
        }
    }
    vec![deep, single, kept]
}

/// Bytes written to the device below this directory, by any process. The system's count for one process
/// (`/proc/self/io`) is no measure of it: writing to a page counts all of its folio, up to a mebibyte.
fn written(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let device = std::fs::metadata(dir).expect("the directory").dev();
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    let path = format!("/sys/dev/block/{major}:{minor}/stat");
    let text = std::fs::read_to_string(path).expect("a directory on a device that is counted");
    let sectors: u64 = text.split_whitespace().nth(6).and_then(|n| n.parse().ok()).expect("a count");
    sectors * 512
}

fn disk_use(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry"));
    entries
        .map(|e| match e.metadata().expect("its size") {
            m if m.is_dir() => disk_use(&e.path()),
            m => m.blocks() * 512,
        })
        .sum()
}
