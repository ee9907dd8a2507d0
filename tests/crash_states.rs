//! W1, W2, W3, W5: whatever a crash leaves, the log holds what was acknowledged, whole batches, and nothing else; and
//! what it then shows is on the device.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // outside #[test] functions too

mod common;

use common::sweep::{Tally, sweep_seed, work};
use common::{Oracle, Wrong, open, options};
use seawall::Options;
use seawall::io::sim::{Call, CrashStyle, Fault, FaultPlan, Rng, SimDisk, SyncFailure, Trigger};

fn sweep(options: &Options, seeds: std::ops::Range<u64>) -> Tally {
    let mut total = Tally::default();
    let seeds: Vec<u64> = seeds.collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let parts: Vec<_> = seeds
            .chunks(seeds.len().div_ceil(threads))
            .map(|part| scope.spawn(move || part.iter().map(|s| sweep_seed(options, *s)).collect::<Vec<_>>()))
            .collect();
        for part in parts {
            for (tally, finding) in part.join().unwrap() {
                assert!(finding.is_none(), "{}", finding.unwrap());
                total += tally;
            }
        }
    });
    total
}

#[test]
fn w1_w2_w3_power_failure_at_every_call() {
    let tally = sweep(&options(), 1..106);
    assert!(tally.states > 300_000, "{tally:?}");
    // The sweep goes where it is meant to go.
    assert!(tally.cut > 100 && tally.rewritten > 100 && tally.double_crashes > 100, "{tally:?}");
}

#[test]
fn w1_w2_w3_power_failure_at_every_call_in_larger_segments() {
    let options = options().segment_size(40 << 10);
    assert!(sweep(&options, 100..103).states > 5000);
}

/// W5: after a kill the cache holds bytes that no sync covered; what an open shows of them it has made durable.
#[test]
fn w5_what_is_recovered_is_durable() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new();
        let mut oracle = Oracle::default();
        let wal = open(&options(), &disk).unwrap();
        work(&wal, &mut oracle, &mut rng, 6);
        // One more batch is written and its sync fails: it is in the cache, and a later sync would do nothing for it.
        let failure = if seed % 2 == 0 { SyncFailure::DropsPages } else { SyncFailure::KeepsDirty };
        disk.plan(FaultPlan::none().with(Trigger::Nth(Call::Sync, 0), Fault::Sync(failure)));
        assert!(oracle.append(&wal, &mut rng).is_err());
        drop(wal);
        let disk = disk.kill();
        let wal = open(&options(), &disk).unwrap();
        oracle.check(&wal).unwrap();
        let shown = oracle.acknowledged;
        let lost = disk.crash(CrashStyle::LoseAll);
        let wal = open(&options(), &lost).unwrap();
        oracle.check(&wal).unwrap();
        assert_eq!(oracle.acknowledged, shown);
    }
}

/// The negative control: on a disk that says "synced" and is not, the same check finds what was lost.
#[test]
fn a_lying_sync_is_found() {
    let mut found = 0;
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new();
        let mut oracle = Oracle::default();
        let wal = open(&options(), &disk).unwrap();
        disk.plan(FaultPlan::none().with(Trigger::From(Call::Sync, 0), Fault::Lie));
        work(&wal, &mut oracle, &mut rng, 5);
        let disk = disk.crash(CrashStyle::LoseAll);
        match open(&options(), &disk).map(|wal| oracle.check(&wal)) {
            Ok(Ok(())) => {}
            Ok(Err(Wrong::Lost { .. })) | Err(_) => found += 1,
            Ok(Err(other)) => panic!("{other:?}"),
        }
    }
    assert_eq!(found, 20);
}
