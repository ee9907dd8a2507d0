//! Tests that the disk behaves as documented.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::*;
use crate::io::{Access, Disk, File};

const OLD: u8 = 1;

/// A disk with a file of four sectors of `OLD`, fully synced.
fn disk() -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new();
    disk.put("f", vec![OLD; 4 * SECTOR]);
    let file = disk.open("f", Access::ReadWrite).unwrap();
    (disk, file)
}

/// The first byte of each sector of `f`.
fn firsts(disk: &SimDisk) -> Vec<u8> {
    disk.contents("f").unwrap().chunks(SECTOR).map(|s| s[0]).collect()
}

fn write(file: &Arc<dyn File>, sector: usize, fill: u8) {
    assert_eq!(file.write_at(&[fill; SECTOR], (sector * SECTOR) as u64).unwrap(), SECTOR);
}

#[test]
fn a_crash_leaves_any_subset_of_unsynced_sectors_and_nothing_else() {
    let (disk, file) = disk();
    write(&file, 0, 9);
    file.sync_data().unwrap();
    write(&file, 1, 2);
    write(&file, 3, 3);
    assert_eq!(disk.unsynced_sectors(), 2);
    let seen: BTreeSet<Vec<u8>> = (0..4).map(|bits| firsts(&disk.crash(CrashStyle::Subset(bits)))).collect();
    let all = [[9, 1, 1, 1], [9, 2, 1, 1], [9, 1, 1, 3], [9, 2, 1, 3]];
    assert_eq!(seen, all.map(Vec::from).into());
    assert_eq!(firsts(&disk.crash(CrashStyle::LoseAll)), [9, 1, 1, 1]);
    assert_eq!(firsts(&disk.crash(CrashStyle::KeepAll)), [9, 2, 1, 3]);
}

#[test]
fn of_two_unsynced_writes_the_earlier_alone_may_be_on_the_device() {
    let (disk, file) = disk();
    write(&file, 2, 5);
    write(&file, 2, 6);
    write(&file, 2, 7);
    let unsynced = disk.unsynced();
    assert_eq!((unsynced.len(), unsynced[0].older()), (1, 2));
    let found = |fate| firsts(&disk.crash_as(&[fate]))[2];
    assert_eq!([Fate::Lost, Fate::Older(0), Fate::Older(1), Fate::Kept].map(found), [OLD, 5, 6, 7]);
    // And the seed reaches it.
    let seen: BTreeSet<u8> = (0..100).map(|s| firsts(&disk.crash(CrashStyle::Chaos(s)))[2]).collect();
    assert!([OLD, 5, 6, 7, 0].iter().all(|b| seen.contains(b)), "{seen:?}");
    file.sync_data().unwrap();
    assert!(disk.unsynced().is_empty());
    assert_eq!(firsts(&disk.crash(CrashStyle::LoseAll))[2], 7);
}

#[test]
fn a_sector_is_torn_at_512_bytes_zeroed_or_garbage() {
    let (disk, file) = disk();
    write(&file, 0, 2);
    let torn = disk.crash_as(&[Fate::Torn(0b0000_0101)]).contents("f").unwrap();
    let pieces: Vec<u8> = torn[..SECTOR].chunks(TEAR).map(|p| p[0]).collect();
    assert_eq!(pieces, [2, 1, 2, 1, 1, 1, 1, 1]);
    assert!(torn[..SECTOR].chunks(TEAR).all(|p| p.iter().all(|b| *b == p[0])));
    assert_eq!(firsts(&disk.crash_as(&[Fate::Zeroed]))[0], 0);
    let garbage = disk.crash_as(&[Fate::Garbage(1)]);
    assert_eq!(garbage.contents("f"), disk.crash_as(&[Fate::Garbage(1)]).contents("f"));
    assert_ne!(garbage.contents("f"), disk.crash_as(&[Fate::Garbage(2)]).contents("f"));
}

#[test]
fn a_size_is_lost_unless_synced_and_may_be_one_in_between() {
    let (disk, file) = disk();
    file.set_len(5 * SECTOR as u64).unwrap();
    file.set_len(6 * SECTOR as u64).unwrap();
    write(&file, 5, 8);
    let sizes: Vec<usize> = [Fate::Lost, Fate::Older(0), Fate::Kept]
        .map(|size| disk.crash_as(&[Fate::Kept, size]).contents("f").unwrap().len() / SECTOR)
        .into();
    assert_eq!(sizes, [4, 5, 6]);
    // The size without the bytes: zeros.
    assert_eq!(firsts(&disk.crash_as(&[Fate::Lost, Fate::Kept])), [1, 1, 1, 1, 0, 0]);
    file.sync_all().unwrap();
    assert_eq!(firsts(&disk.crash(CrashStyle::LoseAll)), [1, 1, 1, 1, 0, 8]);
}

#[test]
fn what_was_cut_off_does_not_come_back_when_the_file_grows() {
    let (disk, file) = disk();
    file.set_len(SECTOR as u64 + 10).unwrap();
    file.set_len(4 * SECTOR as u64).unwrap();
    assert_eq!(firsts(&disk), [1, 1, 0, 0]);
    assert_eq!(disk.crash(CrashStyle::KeepAll).contents("f"), disk.contents("f"));
    assert_eq!(firsts(&disk.crash(CrashStyle::LoseAll)), [1, 1, 1, 1]);
    file.sync_all().unwrap();
    assert_eq!(disk.crash(CrashStyle::LoseAll).contents("f"), disk.contents("f"));
}

#[test]
fn names_are_kept_or_lost_one_by_one_until_the_directory_is_synced() {
    let (disk, _) = disk();
    disk.create("g").unwrap();
    disk.rename("f", "h").unwrap();
    disk.put("old", b"x");
    disk.remove("old").unwrap();
    let words: Vec<String> = disk.unsynced().iter().map(ToString::to_string).collect();
    assert_eq!(words, ["new name g", "rename of f to h", "removal of old"]);
    let seen: BTreeSet<String> =
        (0..8).map(|bits| disk.crash(CrashStyle::Subset(bits)).files().join(" ")).collect();
    let all = ["f old", "f g old", "h old", "g h old", "f", "f g", "h", "g h"];
    assert_eq!(seen, all.map(str::to_owned).into());
    disk.sync().unwrap();
    assert_eq!(disk.crash(CrashStyle::LoseAll).files(), ["g", "h"]);
}

#[test]
fn a_rename_without_the_creation_before_it_still_leads_to_the_file() {
    let disk = SimDisk::new();
    let file = disk.create("t").unwrap();
    file.write_at(b"abc", 0).unwrap();
    file.sync_all().unwrap();
    disk.rename("t", "f").unwrap();
    assert_eq!(disk.crash_as(&[Fate::Lost, Fate::Kept]).contents("f").unwrap(), b"abc");
    assert_eq!(disk.crash_as(&[Fate::Kept, Fate::Lost]).files(), ["t"]);
    assert!(disk.crash(CrashStyle::LoseAll).files().is_empty());
}

#[test]
fn syncing_a_directory_says_nothing_of_another() {
    let disk = SimDisk::new();
    let below = disk.subdir("d").unwrap();
    below.create("x").unwrap();
    disk.sync().unwrap();
    assert!(disk.crash(CrashStyle::LoseAll).files().is_empty());
    below.sync().unwrap();
    assert_eq!(disk.crash(CrashStyle::LoseAll).files(), ["d/x"]);
}

#[test]
fn a_directory_is_opened_where_there_is_one_and_not_made() {
    let real = tempfile::tempdir().unwrap();
    let disks: [Arc<dyn Disk>; 2] =
        [Arc::new(SimDisk::new()), Arc::new(crate::io::RealDisk::open(real.path()).unwrap())];
    for disk in disks {
        for _ in 0..2 {
            let none = disk.open_dir("d").map(|_| ()).unwrap_err();
            assert_eq!(none.kind(), std::io::ErrorKind::NotFound, "{none}");
        }
        disk.subdir("d").unwrap().create("x").unwrap();
        assert_eq!(disk.open_dir("d").unwrap().list().unwrap(), ["x"]);
    }
}

#[test]
fn a_failed_sync_drops_the_pages_or_keeps_them_dirty() {
    for (failure, synced) in [(SyncFailure::DropsPages, false), (SyncFailure::KeepsDirty, true)] {
        let (disk, file) = disk();
        write(&file, 1, 2);
        disk.plan(FaultPlan::none().with(Trigger::Nth(Call::Sync, 0), Fault::Sync(failure)));
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
        // A second sync reports success.
        file.sync_data().unwrap();
        assert_eq!(disk.unsynced_sectors() == 0, synced, "{failure:?}");
        assert_eq!(firsts(&disk.crash(CrashStyle::LoseAll))[1] == 2, synced, "{failure:?}");
        assert_eq!(firsts(&disk)[1], 2, "reads see it either way");
        let killed = disk.kill();
        assert_eq!(firsts(&killed)[1], 2);
        killed.evict();
        assert_eq!(firsts(&killed)[1] == 2, synced, "once the page is gone from the cache");
    }
}

#[test]
fn each_fault_does_what_it_says_at_the_call_it_is_planned_for() {
    let codes =
        [(5, None), (28, Some(io::ErrorKind::StorageFull)), (122, Some(io::ErrorKind::QuotaExceeded))];
    for (code, kind) in codes {
        let (disk, file) = disk();
        disk.plan(FaultPlan::none().with(Trigger::At(1), Fault::Os(code)));
        file.write_at(&[3], 0).unwrap();
        let e = file.write_at(&[4], 0).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(code));
        assert!(kind.is_none_or(|k| e.kind() == k), "{e:?}");
        assert_eq!(firsts(&disk)[0], 3, "a failed call has no effect");
    }
    let (disk, file) = disk();
    disk.plan(
        FaultPlan::none()
            .with(Trigger::At(0), Fault::Os(4))
            .with(Trigger::At(1), Fault::Nothing)
            .with(Trigger::At(2), Fault::Short)
            .with(Trigger::At(3), Fault::Short)
            .with(Trigger::Since(4), Fault::PowerOff),
    );
    assert_eq!(file.write_at(&[2; 100], 0).unwrap_err().kind(), io::ErrorKind::Interrupted);
    assert_eq!(file.write_at(&[2; 100], 0).unwrap(), 0);
    assert_eq!(file.write_at(&[2; 100], 0).unwrap(), 50);
    assert_eq!(file.read_at(&mut [0; 100], 0).unwrap(), 50);
    assert!(file.len().is_err() && disk.list().is_err() && disk.lock("lock").is_err());
    assert_eq!(disk.calls(), 5);
    assert_eq!(disk.contents("f").unwrap()[49..51], [2, 1]);
}

#[test]
fn a_broken_sector_and_a_full_disk() {
    let (disk, file) = disk();
    disk.break_sector("f", 2);
    assert_eq!(file.read_at(&mut [0; 10], 2 * SECTOR as u64 - 10).unwrap(), 10);
    assert_eq!(file.read_at(&mut [0; 10], 2 * SECTOR as u64 - 9).unwrap_err().raw_os_error(), Some(5));
    assert!(
        disk.crash(CrashStyle::LoseAll).open("f", Access::Read).unwrap().read_at(&mut [0], 9000).is_err()
    );
    disk.set_space(Some(4 * SECTOR as u64 + 10));
    assert_eq!(disk.free_space().unwrap(), 10);
    let end = 4 * SECTOR as u64;
    assert_eq!(file.write_at(&[1; 11], end).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[1; 10], end).unwrap(), 10);
    disk.remove("f").unwrap();
    assert_eq!(disk.free_space().unwrap(), 4 * SECTOR as u64 + 10);
}

#[test]
fn one_run_holds_the_state_before_each_call() {
    // A remembered state is the one left by a run that was cut off there.
    let run = |disk: &SimDisk| -> io::Result<()> {
        let file = disk.create("f")?;
        file.set_len(3 * SECTOR as u64)?;
        file.write_at(&[2; 5000], 100)?;
        file.read_at(&mut [0; 10], 0)?;
        file.sync_data()?;
        disk.sync()?;
        file.write_at(&[3; 5000], 0)?;
        disk.rename("f", "g")
    };
    let whole = SimDisk::new();
    whole.keep_history();
    run(&whole).unwrap();
    assert_eq!(whole.history(), [0, 1, 2, 4, 5, 6, 7]);
    assert!(whole.before(3).is_none(), "a read changes nothing");
    for call in whole.history() {
        let cut = SimDisk::new();
        cut.plan(FaultPlan::power_off_at(call));
        run(&cut).unwrap_err();
        let before = whole.before(call).unwrap();
        assert_eq!(before.fingerprint(), cut.fingerprint(), "call {call}");
        for bits in 0..64 {
            let style = CrashStyle::Subset(bits);
            assert_eq!(before.crash(style).fingerprint(), cut.crash(style).fingerprint(), "call {call}");
        }
    }
}

#[test]
fn each_call_is_in_the_trace() {
    let (disk, file) = disk();
    disk.plan(FaultPlan::none().with(Trigger::Nth(Call::Sync, 0), Fault::Lie));
    file.write_at(&[1, 2], 7).unwrap();
    file.sync_data().unwrap();
    file.len().unwrap();
    disk.list().unwrap();
    disk.rename("f", "g").unwrap();
    let lines = disk.trace();
    let expected = [
        "0: open f",
        "0: write 2 bytes at 7 of f",
        "1: sync f -> Lie",
        "2: stat f",
        "3: list sim",
        "4: rename f to g",
    ];
    assert_eq!(lines, expected);
}
