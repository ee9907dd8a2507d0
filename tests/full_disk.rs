//! A full disk is an error on the write that needs room, and no damage: the log can be opened, read and compacted on it,
//! what is freed can be used, and nothing has to be opened again for that.
#![cfg(feature = "raft")]

mod raft_support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::Entry;
use raft_support::{conf, entries, entry, hard, state_at};
use seawall::io::Disk;
use seawall::io::sim::{CrashStyle, SimDisk};
use seawall::raft::{Error, GroupStorage, RaftLog, RaftOptions, Result};
use seawall::{Options, verify_on};

const GROUPS: u64 = 3;

fn options(segment: u64) -> RaftOptions {
    let wal =
        Options::new().segment_size(segment).max_staged_bytes(16 << 10).idle_mark(Duration::from_secs(3600));
    RaftOptions::new().node_id(1).wal(wal)
}

/// On the simulated disk everything is done by one thread, so that what needs room is known.
fn simulated() -> Options {
    let wal = Options::new().segment_size(64 << 10).max_staged_bytes(8 << 10).mmap(false);
    wal.idle_mark(Duration::from_secs(3600)).threads(false)
}

fn open(disk: &SimDisk) -> Result<RaftLog> {
    RaftOptions::new().node_id(1).wal(simulated()).open_on(Arc::new(disk.clone()))
}

fn is_full(e: &Error) -> bool {
    matches!(e, Error::Log(e) if e.is_full())
}

/// One more entry for a group, committed and applied.
fn grow(log: &RaftLog, id: u64) -> Result<()> {
    let last = log.group(id).unwrap().recover().last_index;
    let mut big: Entry = entry(last + 1, 1);
    big.data = vec![id.to_le_bytes()[0]; 900].into();
    let mut batch = log.batch();
    batch.append(id, &[big])?;
    batch.set_hard_state(id, &hard(1, 1, last + 1))?;
    batch.set_applied(id, last + 1, 1)?;
    log.commit(batch).map(drop)
}

fn create(log: &RaftLog) {
    for id in 1..=GROUPS {
        log.create_group(id, conf(&[1])).unwrap();
    }
}

/// Grows the groups until the disk is full; says how many entries were acknowledged.
fn fill(log: &RaftLog) -> u64 {
    for n in 0.. {
        if let Err(e) = grow(log, 1 + n % GROUPS) {
            assert!(is_full(&e), "{e}");
            return n;
        }
    }
    0
}

/// Index, term and data of every entry, copied: a slice of the mapping would keep its file's space.
fn all_entries(log: &RaftLog) -> Vec<Vec<(u64, u64, Vec<u8>)>> {
    let of = |group: GroupStorage| {
        let recovered = group.recover();
        let all = entries(&group, recovered.first_index, recovered.last_index + 1, None).unwrap();
        all.into_iter().map(|e| (e.index, e.term, e.data.to_vec())).collect()
    };
    log.groups().into_iter().map(|id| of(log.group(id).unwrap())).collect()
}

fn snapshot_of(group: &GroupStorage) -> u64 {
    group.recover().snapshot.map_or(0, |(index, _)| index)
}

/// Compacts each group to its snapshot, and frees what that leaves free.
fn compact_and_purge(log: &RaftLog) -> usize {
    let mut batch = log.batch();
    for id in log.groups() {
        batch.compact(id, snapshot_of(&log.group(id).unwrap())).unwrap();
    }
    log.commit(batch).unwrap();
    log.purge().unwrap().segments_freed
}

/// Saves a snapshot of each group where it is.
fn save(log: &RaftLog) {
    for id in log.groups() {
        let group = log.group(id).unwrap();
        let last = group.recover().last_index;
        group.save_snapshot(last, conf(&[1]), state_at(last)).unwrap();
    }
}

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
        // The error is one of that write: what was there stays, and nothing is poisoned.
        let seen = all_entries(&log);
        assert_eq!(seen.iter().map(|e| e.len() as u64).sum::<u64>(), count);
        assert!(is_full(&grow(&log, 1).unwrap_err()));
        assert!(compact_and_purge(&log) > 0, "{space} KiB");
        // There is room again for everybody, and the next full disk can be freed in the same way.
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
            for life in 0..2 {
                let log = open(&found).unwrap_or_else(|e| panic!("{space} KiB, state {n}, life {life}: {e}"));
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

/// Unmounts when it goes.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0).status());
    }
}

fn run(command: &str, args: &[&str]) -> bool {
    Command::new(command).args(args).output().is_ok_and(|o| o.status.success())
}

/// A small file system of its own: ext4 in a file, or memory. None where this process may not mount.
fn mount<'a>(kind: &str, image: &Path, at: &'a Path) -> Option<Mounted<'a>> {
    let (image, target) = (image.to_str().unwrap(), at.to_str().unwrap());
    let mounted = match kind {
        "ext4" => {
            run("truncate", &["-s", "8M", image])
                && run("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", image])
                && run("mount", &["-o", "loop", image, target])
        }
        _ => run("mount", &["-t", "tmpfs", "-o", "size=8m", "tmpfs", target]),
    };
    mounted.then_some(Mounted(at))
}

#[test]
fn on_a_real_small_file_system() {
    for kind in ["ext4", "tmpfs"] {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("mounted");
        std::fs::create_dir(&at).unwrap();
        let Some(mounted) = mount(kind, &dir.path().join("image"), &at) else {
            println!("{kind}: this process may not mount");
            continue;
        };
        let place = at.join("log");
        // What can be freed when a snapshot's file needs room: the reserve is not for that. The next segment and the reserve,
        // which are made in the background, may be there before it.
        std::fs::write(at.join("something"), vec![1; 768 << 10]).unwrap();
        let log = options(256 << 10).open(&place).unwrap();
        create(&log);
        (0..600).for_each(|n| grow(&log, 1 + n % GROUPS).unwrap());
        save(&log);
        fill(&log);
        let seen = all_entries(&log);
        assert!(compact_and_purge(&log) > 0);
        assert!(fill(&log) > 50);
        drop(log);
        // Somebody else takes what is left.
        drop(std::fs::write(at.join("ballast"), vec![1; 8 << 20]));
        let log = options(256 << 10).open(&place).unwrap();
        assert!(all_entries(&log)[0].last().unwrap().0 >= seen[0].last().unwrap().0);
        fill(&log);
        std::fs::remove_file(at.join("something")).unwrap();
        save(&log);
        compact_and_purge(&log);
        assert!(fill(&log) > 50);
        log.close().unwrap();
        assert!(seawall::verify(&place).unwrap().is_ok());
        drop(log);
        drop(mounted);
        println!("{kind}: {} entries before it was full", seen.iter().map(Vec::len).sum::<usize>());
    }
}
