//! W1, W2, W3, W5: whatever a crash leaves, the log holds what was acknowledged, whole batches, and nothing else; and
//! what it then shows is on the device.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // outside #[test] functions too

mod common;

use common::{Oracle, Wrong, open, options};
use seawall::io::sim::{Call, CrashStyle, Fault, FaultPlan, Rng, SimDisk, SyncFailure, Trigger};
use seawall::{Options, Wal};

/// Appends, with a rotation and a release here and there; stops at the first error.
fn work(wal: &Wal, oracle: &mut Oracle, rng: &mut Rng, batches: usize) {
    for _ in 0..batches {
        if oracle.append(wal, rng).is_err() {
            return;
        }
        if rng.below(8) == 0 {
            let at = usize::try_from(rng.below(oracle.batches.len() as u64 + 1)).unwrap();
            if oracle.release(wal, at).is_err() {
                return;
            }
        }
    }
}

fn styles(rng: &mut Rng) -> Vec<CrashStyle> {
    let mut all = vec![CrashStyle::LoseAll, CrashStyle::KeepAll];
    all.extend((0..4).map(|_| CrashStyle::Chaos(rng.draw())));
    all.extend((0..3).map(|_| CrashStyle::Subset(rng.draw())));
    all
}

/// One life up to call `cut`, a crash, recovery (itself crashed at some call), another life, another crash.
fn scenario(options: &Options, seed: u64, cut: u64) -> Result<(u64, bool), String> {
    let fail = |what: &str, e: &dyn std::fmt::Debug, trace: &[String]| {
        Err(format!("seed {seed}, power off at call {cut}: {what}: {e:?}\ncalls:\n  {}", trace.join("\n  ")))
    };
    let mut rng = Rng::new(seed);
    let disk = SimDisk::new();
    let mut oracle = Oracle::default();
    disk.plan(FaultPlan::power_off_at(cut));
    if let Ok(wal) = open(options, &disk) {
        work(&wal, &mut oracle, &mut rng, 12);
    }
    let finished = disk.calls() < cut;
    let mut choice = Rng::new(seed ^ cut.wrapping_mul(0x9e37_79b9));
    let mut states = 0;
    for style in styles(&mut choice) {
        states += 1;
        let mut oracle = oracle.clone();
        let mut disk = disk.crash(style);
        // Recovery is interrupted a few times before it may finish.
        for _ in 0..choice.below(3) {
            disk.plan(FaultPlan::power_off_at(choice.below(40)));
            drop(open(options, &disk));
            disk = disk.crash(CrashStyle::Chaos(choice.draw()));
            states += 1;
        }
        let wal = match open(options, &disk) {
            Ok(wal) => wal,
            Err(e) => return fail(&format!("{style:?}: open"), &e, &disk.trace()),
        };
        if let Err(e) = oracle.check(&wal) {
            return fail(&format!("{style:?}: first life"), &e, &disk.trace());
        }
        // What was just shown must survive everything that was not synced being lost.
        let mut next = choice.clone();
        work(&wal, &mut oracle, &mut next, 3);
        let lost = disk.crash(if choice.below(2) == 0 {
            CrashStyle::LoseAll
        } else {
            CrashStyle::Chaos(choice.draw())
        });
        drop(wal);
        match open(options, &lost) {
            Ok(wal) => {
                if let Err(e) = oracle.check(&wal) {
                    return fail(&format!("{style:?}: second life"), &e, &disk.trace());
                }
            }
            Err(e) => return fail(&format!("{style:?}: second open"), &e, &disk.trace()),
        }
        states += 1;
    }
    Ok((states, finished))
}

fn sweep(options: &Options, seeds: std::ops::Range<u64>) -> u64 {
    let mut states = 0;
    for seed in seeds {
        for cut in 0.. {
            match scenario(options, seed, cut) {
                Ok((n, finished)) => {
                    states += n;
                    if finished {
                        break;
                    }
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
    states
}

#[test]
fn w1_w2_w3_power_failure_at_every_call() {
    assert!(sweep(&options(), 1..5) > 1000);
}

#[test]
fn w1_w2_w3_power_failure_at_every_call_in_larger_segments() {
    let options = options().segment_size(40 << 10);
    assert!(sweep(&options, 10..12) > 500);
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
