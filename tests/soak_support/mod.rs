//! Many groups at work in one log, with a model of the expected state of each: for the test `soak`, which is quick,
//! and the example `soak`, which runs long and measures.
// Each user takes a part.
#![allow(dead_code)]

pub mod load;
pub mod model;
pub mod verify;

use std::path::Path;
use std::sync::atomic::Ordering;

use seawall::Options;
use seawall::raft::{RaftLog, RaftOptions};

use load::{Shared, Worker};

pub type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub fn open(dir: &Path, segment: u64) -> Fallible<RaftLog> {
    let wal = Options::new().segment_size(segment);
    let options = RaftOptions::new().node_id(1).wal(wal).snapshot_chunk(128 << 10);
    // By a background thread, each time a segment's worth was appended.
    Ok(options.purge_in_background(segment).open(dir)?)
}

/// Distributes groups among workers, who create them.
pub fn start(log: &RaftLog, groups: u64, workers: u64, seed: u64) -> Fallible<Vec<Worker>> {
    let ids = |n| (1..=groups).filter(move |id| id / 3 % workers == n);
    (0..workers).map(|n| Worker::new(log, ids(n), seed * workers + n)).collect()
}

/// One run of the log: the workers work until `watch` returns, or one of them finds something wrong.
pub fn live(
    log: &RaftLog,
    workers: &mut [Worker],
    shared: &Shared,
    watch: impl FnOnce() -> Fallible<()>,
) -> Fallible<()> {
    std::thread::scope(|scope| {
        let working: Vec<_> =
            workers.iter_mut().map(|worker| scope.spawn(|| worker.work(log, shared))).collect();
        let watched = watch();
        shared.stop.store(true, Ordering::Release);
        let worked: Vec<_> = working.into_iter().map(|w| w.join().map_err(|_| "a worker panicked")).collect();
        worked.into_iter().try_for_each(|done| done?)?;
        watched?;
        log.background_purge_error().map_or(Ok(()), |e| Err(e.into()))
    })
}
