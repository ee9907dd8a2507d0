//! Dropping groups of any protocol gives up only those that need something unreadable: it says so first, and can be
//! undone byte for byte. The tests for Raft are in `raft_repair`.

mod common;
mod damage_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use damage_support::{Files, disk_of, files_of, segments};
use seawall::error::RepairProblem;
use seawall::groups::repair::DropPlan;
use seawall::groups::{Entry, Error, Field, GroupLog, GroupOptions, Position, State, verify_on};
use seawall::io::Disk;
use seawall::io::sim::SimDisk;
use seawall::repair::undo;
use seawall::{LogView, Options, Verdict};

fn wal() -> Options {
    Options::new()
        .segment_size(16 << 10)
        .block_align(512)
        .mmap(false)
        .threads(false)
        .idle_marker(Duration::from_secs(3600))
}

fn on(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn open(disk: &SimDisk) -> GroupLog {
    GroupOptions::new().wal(wal()).open_on(on(disk)).unwrap()
}

/// Entries, where the log begins, and the state.
type Contents = (Vec<Entry>, std::ops::Range<u64>, State);

fn see(log: &GroupLog) -> BTreeMap<u64, Contents> {
    let of = |id: u64| {
        let group = log.group(id).unwrap();
        let indexes = group.indexes().unwrap();
        let entries = group.entries(indexes.clone(), u64::MAX).unwrap();
        (id, (entries, indexes, group.state().unwrap()))
    };
    log.groups().into_iter().map(of).collect()
}

/// A closed log of four segments at least. Groups 1 to 3 have six entries in each, and a field that changed in each; group 1 has
/// purged the first six.
fn sample() -> (Files, BTreeMap<u64, Contents>) {
    let mut disk = SimDisk::new();
    let mut seen = BTreeMap::new();
    for run in 0..4u64 {
        let log = open(&disk);
        for id in 1..=3 {
            if run == 0 {
                log.create_group(id, None).unwrap();
            }
            let payloads = vec![vec![id as u8; 150]; 6];
            log.group(id).unwrap().append(&payloads).unwrap().1.wait().unwrap();
            let mut batch = log.batch();
            batch.set(id, Field::ALL[8], Position { index: run, term: 0 }, &[run as u8; 20]).unwrap();
            log.commit(batch).unwrap();
        }
        if run == 2 {
            let mut batch = log.batch();
            batch.purge(1, Position { index: 5, term: 0 }).unwrap();
            log.commit(batch).unwrap();
        }
        seen = see(&log);
        log.close().unwrap();
        drop(log);
        disk = disk.kill();
    }
    (files_of(&disk), seen)
}

/// Corrupts the payload of an entry; returns the file.
fn spoil(files: &mut Files, group: u64, index: u64) -> String {
    let view = LogView::open_on(&on(&disk_of(files))).unwrap();
    let mut found = None;
    for segment in view.segments() {
        for head in segment.heads().map(|h| h.unwrap()) {
            let is_it = |l: seawall::Label| (l.stream, l.sequence) == (group, index) && l.kind < 0xc0;
            if head.label.is_some_and(is_it) {
                let at = 8192 + (head.lsn.get() - segment.first_lsn().get()) as usize;
                found = Some((segment.file_name().to_owned(), at + 60));
            }
        }
    }
    let (name, at) = found.unwrap();
    files.get_mut(&name).unwrap()[at] ^= 1;
    name
}

fn plan(disk: &SimDisk) -> Result<DropPlan, Error> {
    DropPlan::of(&on(disk), &wal())
}

#[test]
fn a_group_that_needs_what_is_damaged_is_dropped_and_no_other() {
    let (mut files, seen) = sample();
    spoil(&mut files, 2, 7);
    spoil(&mut files, 2, 8);
    // Purged since: no group needs it.
    spoil(&mut files, 1, 3);
    let disk = disk_of(&files);
    let report = verify_on(&on(&disk), &wal(), |_| {}).unwrap();
    assert_eq!((report.verdict(), report.log.problems.len()), (Verdict::Damaged, 3));

    let plan = plan(&disk).unwrap();
    assert!(!plan.is_empty());
    assert_eq!(plan.problems().len(), 3);
    let lost: Vec<_> = plan.dropped()[&2].iter().map(|l| (l.first, l.last, l.term)).collect();
    assert_eq!((plan.dropped().len(), lost), (1, vec![(7, 8, 0)]));
    assert_eq!(plan.survivors().collect::<Vec<_>>(), [1, 3]);
    assert_eq!((plan.indexes(2), plan.indexes(1), plan.indexes(4)), (Some(0..24), Some(6..24), None));
    assert!(files_of(&disk) == files, "making a plan changes nothing");

    let done = plan.apply(None).unwrap();
    let after = see(&open(&disk));
    assert_eq!(after, seen.into_iter().filter(|(id, _)| *id != 2).collect());

    let undo_dir = disk.subdir(done.undo_dir.unwrap().file_name().unwrap().to_str().unwrap()).unwrap();
    undo(&on(&disk), &undo_dir).unwrap();
    let mut back = files_of(&disk);
    back.retain(|name, _| files.contains_key(name));
    assert!(back == files, "undoing gives back every byte");
}

#[test]
fn dead_damage_drops_nothing_and_a_whole_log_has_nothing_to_drop() {
    let (mut files, seen) = sample();
    assert!(plan(&disk_of(&files)).unwrap().is_empty());
    spoil(&mut files, 1, 0);
    let disk = disk_of(&files);
    let plan = plan(&disk).unwrap();
    assert!(plan.is_empty() && plan.problems().len() == 1);
    assert!(plan.apply(None).unwrap().undo_dir.is_none());
    assert!(files_of(&disk) == files);
    assert_eq!(see(&open(&disk)), seen);
}

#[test]
fn what_cannot_be_told_to_be_one_groups_is_refused() {
    let refused = |files: &Files| match plan(&disk_of(files)) {
        Err(Error::Log(seawall::Error::Repair { problem, .. })) => problem,
        other => panic!("{other:?}"),
    };
    let (whole, _) = sample();
    // The newest segment has no footer.
    let mut files = whole.clone();
    spoil(&mut files, 3, 23);
    assert_eq!(refused(&files), RepairProblem::NewestSegment);
    // Without the footer it is unknown what was there.
    let mut files = whole.clone();
    let name = spoil(&mut files, 3, 1);
    let bytes = files.get_mut(&name).unwrap();
    let footer = bytes.len() - 4096;
    bytes[footer..].fill(0);
    assert!(matches!(refused(&files), RepairProblem::NoFooter | RepairProblem::DamagedFooter));
    // A missing segment.
    let mut files = whole;
    let oldest = segments(&files).remove(0);
    files.remove(&oldest);
    assert_eq!(refused(&files), RepairProblem::BrokenChain);
}

#[test]
fn a_plan_is_not_applied_to_a_log_that_changed_since_nor_to_another_owners() {
    let (mut files, _) = sample();
    spoil(&mut files, 2, 7);
    let disk = disk_of(&files);
    let plan = plan(&disk).unwrap();
    let log = open(&disk);
    let locked = plan.apply(None).unwrap_err();
    assert!(matches!(locked, Error::Log(seawall::Error::Locked { .. })), "{locked}");
    log.group(3).unwrap().append(&["more"]).unwrap().1.wait().unwrap();
    log.close().unwrap();
    drop(log);
    let before = files_of(&disk);
    match plan.apply(None) {
        Err(Error::Log(seawall::Error::Repair { problem: RepairProblem::Changed, .. })) => {}
        other => panic!("{other:?}"),
    }
    assert!(files_of(&disk) == before);

    let owned = GroupOptions::new().wal(wal().owner(5)).open_on(on(&disk)).unwrap();
    owned.close().unwrap();
    drop(owned);
    match DropPlan::of(&on(&disk), &wal().owner(6)) {
        Err(Error::Log(seawall::Error::OwnerMismatch { expected: 6, found: 5, .. })) => {}
        other => panic!("{other:?}"),
    }
}
