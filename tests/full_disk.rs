//! A full disk is an error on the write that needs space, without damage: the log can be opened, read and compacted
//! on it, freed space can be used, and no reopening is needed.
#![cfg(feature = "raft")]

mod full_disk_support;
mod raft_support;

use std::sync::Arc;

use full_disk_support::*;
use raft_support::conf;
use seawall::io::Disk;
use seawall::io::sim::{CrashStyle, SimDisk};
use seawall::raft::RaftLog;
use seawall::verify_on;

/// A log that filled the disk, its groups' snapshots taken when it was half full.
fn full_log(disk: &SimDisk, space: u64) -> (RaftLog, u64) {
    let log = open(disk).unwrap();
    create(&log);
    let mut before = 0;
    while before < 3 * GROUPS
        || disk.files().iter().filter_map(|f| disk.contents(f)).map(|c| c.len() as u64).sum::<u64>()
            < space / 2
    {
        grow(&log, 1 + before % GROUPS).unwrap();
        before += 1;
    }
    save(&log);
    disk.set_space(Some(space));
    let count = before + fill(&log);
    (log, count)
}

#[test]
fn what_is_on_a_full_disk_stays_and_is_read_and_can_be_compacted_without_reopening() {
    for space in (500..1000).step_by(41) {
        let disk = SimDisk::new();
        let (log, count) = full_log(&disk, space << 10);
        // The error concerns that write only: what was there stays, and nothing is poisoned.
        let seen = all_entries(&log);
        assert_eq!(seen.iter().map(|e| e.len() as u64).sum::<u64>(), count);
        assert!(is_full(&grow(&log, 1).unwrap_err()));
        assert!(compact_and_purge(&log) > 0, "{space} KiB");
        // There is space for all again, and the next full disk can be freed in the same way.
        for _ in 0..3 {
            let more = fill(&log);
            assert!(more > 5, "{space} KiB: {more}");
            let files: Vec<_> =
                disk.files().into_iter().map(|f| (f.clone(), disk.contents(&f).unwrap().len())).collect();
            assert!(disk.contents("reserve").is_some(), "{files:?}");
            disk.set_space(None);
            save(&log);
            disk.set_space(Some(space << 10));
            compact_and_purge(&log);
        }
        log.close().unwrap();
    }
}

#[test]
fn a_full_disk_can_be_opened_read_and_compacted_after_a_kill_and_after_a_crash() {
    for space in (500..1000).step_by(29) {
        let disk = SimDisk::new();
        let (log, count) = full_log(&disk, space << 10);
        let states = [disk.kill(), disk.crash(CrashStyle::LoseAll), disk.crash(CrashStyle::KeepAll)];
        let seen = all_entries(&log);
        drop(log);
        for (n, found) in states.into_iter().enumerate() {
            // Opened twice: the first open may use the reserve up.
            for run in 0..2 {
                let log = open(&found).unwrap_or_else(|e| panic!("{space} KiB, state {n}, run {run}: {e}"));
                assert_eq!(all_entries(&log), seen, "{space} KiB, state {n}, {count} entries");
                drop(log);
            }
            let log = open(&found).unwrap();
            assert!(compact_and_purge(&log) > 0, "{space} KiB, state {n}");
            assert!(fill(&log) > 5, "{space} KiB, state {n}");
            drop(log);
            assert!(verify_on(&(Arc::new(found) as Arc<dyn Disk>)).unwrap().is_ok());
        }
    }
}

/// The negative control: without the reserve, the same disk can neither be opened nor compacted.
#[test]
fn without_the_reserve_there_is_no_way_on() {
    let (mut unopened, mut stuck) = (0, 0);
    for space in (500..1000).step_by(41) {
        let disk = SimDisk::new();
        let (log, _) = full_log(&disk, space << 10);
        let found = disk.kill();
        drop(log);
        let size = found.take("reserve").unwrap().len() as u64;
        found.set_space(Some((space << 10) - size));
        let Ok(log) = open(&found) else {
            unopened += 1;
            continue;
        };
        let mut batch = log.batch();
        let compacted = snapshot_of(&log.group(1).unwrap());
        batch.compact(1, compacted).unwrap();
        stuck += usize::from(log.commit(batch).is_err());
    }
    assert!(unopened + stuck > 4, "{unopened} not opened, {stuck} not compacted");
}

#[test]
fn a_snapshot_that_does_not_fit_is_an_error_and_leaves_nothing_behind() {
    let disk = SimDisk::new();
    let (log, _) = full_log(&disk, 600 << 10);
    let before = disk.files();
    let group = log.group(1).unwrap();
    let (last, old) = (group.recover().last_index, snapshot_of(&group));
    let e = group.save_snapshot(last, conf(&[1]), vec![1; 100_000]).unwrap_err();
    assert!(is_full(&e), "{e}");
    assert_eq!(snapshot_of(&group), old);
    log.purge().unwrap();
    assert!(disk.files().len() <= before.len(), "{before:?} {:?}", disk.files());
}
