//! (c) Batches over many groups, and (d, e) reading them back.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Plan;
use crate::measure::{Pool, Row, payload};
use crate::subject::Groups;
use crate::subjects::{Device, GROUP_STORES, RECYCLING, padded};

const DATA: usize = 256;

/// 35 MB each: by then files of 64 MB are freed, and raft-engine's purge threshold of 512 MB is reached.
const WARM_PERIODS: usize = 16;

/// (c): thousands of durable entries per second.
pub fn batches(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    for (groups, entries) in [(100u64, 8u64), (1000, 1)] {
        let setting = format!("{groups} groups x {entries} entries of {DATA} B a batch");
        let mut row = Row::new("c", setting, "k entries/s", true);
        for _ in 0..plan.rounds {
            let place = plan.place();
            let mut device = Device::open(place.path());
            let bytes = payload(padded((groups * entries) as usize * DATA), 1);
            let each = groups * entries;
            let rate = plan.rate(|| {
                device.write(&bytes);
                each
            });
            row.add("device", rate);
            for subject in GROUP_STORES {
                let place = plan.place();
                let store = (subject.open)(place.path(), groups);
                let ids: Vec<u64> = (1..=groups).collect();
                let (data, mut next) = (Pool::new(DATA), 1);
                let rate = plan.rate(|| {
                    store.append(&ids, next, entries, &data);
                    next += entries;
                    each
                });
                row.add(subject.name, rate);
            }
        }
        rows.push(row);
    }
    rows.push(batches_at_work(plan));
    rows
}

/// (c) again, for stores whose groups drop old entries, so that files are or could be reused. Dropping is not part of
/// the measured time: here it takes a snapshot of each group, elsewhere nothing, because there the application does
/// it.
#[allow(clippy::cast_precision_loss)]
fn batches_at_work(plan: &Plan) -> Row {
    const GROUPS: u64 = 100;
    const ENTRIES: u64 = 8;
    /// Entries of a group between two purges; a quarter of them is kept.
    const PERIOD: u64 = 1200;
    let setting = format!("{GROUPS} groups x {ENTRIES} entries of {DATA} B a batch, old entries dropped");
    let mut row = Row::new("c", setting, "k entries/s", true);
    let stores = GROUP_STORES.iter().chain(&[RECYCLING]);
    for _ in 0..plan.rounds {
        for subject in stores.clone() {
            let place = plan.place();
            let store = (subject.open)(place.path(), GROUPS);
            let ids: Vec<u64> = (1..=GROUPS).collect();
            let (data, mut next) = (Pool::new(DATA), 1);
            let mut period = || {
                let start = Instant::now();
                for _ in 0..PERIOD / ENTRIES {
                    store.append(&ids, next, ENTRIES, &data);
                    next += ENTRIES;
                }
                let took = start.elapsed();
                ids.iter().for_each(|group| store.compact(*group, next - PERIOD / 4));
                store.purge();
                took
            };
            // Until files have been filled or freed.
            for _ in 0..WARM_PERIODS {
                period();
            }
            let (mut took, mut done) = (Duration::ZERO, 0);
            while took < plan.span {
                took += period();
                done += PERIOD * GROUPS;
            }
            row.add(subject.name, done as f64 / took.as_secs_f64() / 1000.0);
        }
    }
    row
}

/// Fills a store: 100 groups whose entries interleave, 8 of a group at a time.
pub fn fill(store: &dyn Groups, groups: u64, entries: u64) {
    let (data, each) = (Pool::new(DATA), 8);
    let ids: Vec<u64> = (1..=groups).collect();
    for first in (1..=entries).step_by(each as usize) {
        for some in ids.chunks(1000) {
            store.append(some, first, each.min(entries + 1 - first), &data);
        }
    }
}

/// (d, e): a group's entries in order, 256 at a time, with warm and with cold caches; and one entry at random.
pub fn reads(plan: &Plan) -> Vec<Row> {
    const GROUPS: u64 = 100;
    let entries: u64 = if plan.quick { 2000 } else { 8000 };
    let mut warm = Row::new("d", "a group's entries in order, 256 at a time", "k entries/s", true);
    let mut cold = Row::new("d", "the same, from the device", "k entries/s", true);
    let mut random = Row::new("e", "one random entry", "k entries/s", true);
    let places: Vec<_> = GROUP_STORES
        .iter()
        .map(|subject| {
            let place = plan.place();
            let store = (subject.open)(place.path(), GROUPS);
            fill(&*store, GROUPS, entries);
            store.close();
            (subject, place)
        })
        .collect();
    for _ in 0..plan.rounds {
        for (subject, place) in &places {
            // The subject measured before emptied the page cache.
            read_files(place.path());
            let store = (subject.open)(place.path(), GROUPS);
            warm.add(subject.name, in_order(plan.span, &*store, GROUPS, entries));
            random.add(subject.name, at_random(plan.span, &*store, GROUPS, entries));
            store.close();
            if drop_caches(place.path()) {
                let store = (subject.open)(place.path(), GROUPS);
                cold.add(subject.name, one_pass(&*store, GROUPS, entries));
                store.close();
            }
        }
    }
    [warm, cold, random].into_iter().filter(|row| !row.subjects.is_empty()).collect()
}

fn in_order(span: Duration, store: &dyn Groups, groups: u64, entries: u64) -> f64 {
    let (start, mut done, mut group, mut low) = (Instant::now(), 0u64, 1, 1);
    while start.elapsed() < span {
        let high = (low + 256).min(entries + 1);
        assert_eq!(store.read(group, low, high), (high - low) as usize * DATA);
        done += high - low;
        low = high;
        if low > entries {
            (group, low) = (group % groups + 1, 1);
        }
    }
    per_second(done, start) / 1000.0
}

/// Every entry once, group by group, so that nothing read is in a cache.
fn one_pass(store: &dyn Groups, groups: u64, entries: u64) -> f64 {
    let start = Instant::now();
    for group in 1..=groups {
        for low in (1..=entries).step_by(256) {
            store.read(group, low, (low + 256).min(entries + 1));
        }
    }
    per_second(groups * entries, start) / 1000.0
}

fn at_random(span: Duration, store: &dyn Groups, groups: u64, entries: u64) -> f64 {
    let (start, mut done, mut x) = (Instant::now(), 0u64, 0x9e37_79b9_7f4a_7c15_u64);
    while start.elapsed() < span {
        for _ in 0..64 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let index = (x >> 20) % entries + 1;
            assert_eq!(store.read(x % groups + 1, index, index + 1), DATA);
        }
        done += 64;
    }
    per_second(done, start) / 1000.0
}

#[allow(clippy::cast_precision_loss)]
fn per_second(done: u64, start: Instant) -> f64 {
    done as f64 / start.elapsed().as_secs_f64()
}

/// Brings a directory's files into the page cache.
fn read_files(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("the directory") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let mut file = std::fs::File::open(path).expect("a file");
            std::io::copy(&mut file, &mut std::io::sink()).expect("read");
        }
    }
}

/// Empties the page cache if this process is allowed to.
pub fn drop_caches(_: &Path) -> bool {
    drop(std::process::Command::new("sync").status());
    std::fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}
