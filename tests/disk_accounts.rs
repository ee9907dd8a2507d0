//! Whichever step fails, nothing is left behind, and the statistics match the disk.

use std::sync::Arc;

use seawall::io::sim::{Call, Fault, FaultPlan, SimDisk, SyncFailure, Trigger};
use seawall::{Error, Options, Wal};

fn options() -> Options {
    Options::new().segment_size(64 << 10).spare_segments(1).threads(false)
}

fn on_disk(disk: &SimDisk) -> u64 {
    disk.files().iter().map(|name| disk.contents(name).unwrap().len() as u64).sum()
}

fn accounted(disk: &SimDisk, wal: &Wal) -> u64 {
    let stats = wal.stats();
    let superblock = disk.contents("superblock").map_or(0, |bytes| bytes.len() as u64);
    stats.disk_bytes + stats.spare_bytes + stats.reserve_bytes + superblock
}

/// Rotates often, and releases; retries failures until the log is poisoned.
fn work(wal: &Wal, rounds: u64) {
    for round in 0..rounds {
        let appended = wal.append([7; 15_000]);
        if matches!(appended, Err(Error::Poisoned { .. })) {
            return;
        }
        if round % 3 == 2 {
            // Failures are expected here; the statistics show whether they left something behind.
            drop(wal.release(wal.durable_lsn()));
        }
    }
}

const KINDS: &[(Call, &[Fault])] = &[
    (Call::Create, &[Fault::Os(13), Fault::Os(28)]),
    (Call::Open, &[Fault::Os(24)]),
    (Call::Rename, &[Fault::Os(5), Fault::Os(28)]),
    (Call::Remove, &[Fault::Os(5), Fault::Os(30)]),
    (Call::Resize, &[Fault::Os(28), Fault::Os(27), Fault::Os(5)]),
    (Call::Stat, &[Fault::Os(5)]),
    (Call::SyncDir, &[Fault::Os(5), Fault::Os(22)]),
    (Call::Write, &[Fault::Os(5), Fault::Os(28), Fault::Short, Fault::Nothing]),
    (Call::Sync, &[Fault::Sync(SyncFailure::DropsPages), Fault::Os(28)]),
    (Call::Read, &[Fault::Os(5)]),
];

#[test]
fn the_accounts_say_what_the_disk_says_after_each_failure() {
    let mut failures = 0;
    for (call, faults) in KINDS {
        for fault in *faults {
            for nth in 0.. {
                let disk = SimDisk::new();
                let wal = options().open_on(Arc::new(disk.clone())).unwrap();
                work(&wal, 3);
                disk.plan(FaultPlan::none().with(Trigger::Nth(*call, nth), *fault));
                work(&wal, 14);
                let hit = disk.trace().iter().any(|line| line.ends_with(&format!(" -> {fault:?}")));
                disk.plan(FaultPlan::none());
                // One more of each, so that pending retries happen.
                work(&wal, 6);
                let files = disk.files();
                assert_eq!(accounted(&disk, &wal), on_disk(&disk), "{call:?} {nth} {fault:?}: {files:?}");
                assert!(files.len() <= 9, "{call:?} {nth} {fault:?}: {files:?}");
                failures += usize::from(hit);
                if !hit {
                    break;
                }
            }
        }
    }
    assert!(failures > 200, "{failures}");
}

#[test]
fn preparations_that_fail_again_and_again_leave_no_file() {
    for call in [Call::SyncDir, Call::Resize, Call::Stat] {
        let disk = SimDisk::new();
        let wal = options().open_on(Arc::new(disk.clone())).unwrap();
        work(&wal, 3);
        disk.plan(FaultPlan::none().with(Trigger::From(call, 0), Fault::Os(5)));
        let mut failed = 0;
        for _ in 0..240 {
            failed += usize::from(wal.append([7; 15_000]).is_err());
        }
        assert!(failed > 200, "{call:?}: {failed}");
        disk.plan(FaultPlan::none());
        assert!(disk.files().len() <= 5, "{call:?}: {:?}", disk.files());
        assert_eq!(accounted(&disk, &wal), on_disk(&disk), "{call:?}");
        // Nothing was poisoned: the log works as soon as the call does.
        wal.append(b"again").unwrap();
    }
}
