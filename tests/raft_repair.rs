//! Dropping groups gives up those that need something unreadable, and no other: it says so first, changes nothing for the
//! groups that stay, can be undone bit for bit, and survives a crash at any of its calls.
#![cfg(feature = "raft")]

mod common;
mod damage_support;
mod raft_support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use damage_support::{Files, disk_of, files_of, segments};
use raft_support::model::{Models, see};
use raft_support::{conf, entry, hard};
use seawall::error::RepairProblem;
use seawall::io::Disk;
use seawall::io::sim::SimDisk;
use seawall::raft::repair::DropPlan;
use seawall::raft::{Error, RaftLog, RaftOptions};
use seawall::repair::undo;
use seawall::{LogView, Lsn, Options, RecordHead, verify_on};

fn options() -> RaftOptions {
    let wal = Options::new()
        .segment_size(16 << 10)
        .block_align(512)
        .mmap(false)
        .threads(false)
        .idle_mark(Duration::from_secs(3600));
    RaftOptions::new().node_id(1).wal(wal).snapshot_chunk(100)
}

fn on(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn open(disk: &SimDisk) -> Result<RaftLog, Error> {
    options().open_on(on(disk))
}

fn append(log: &RaftLog, group: u64, indexes: std::ops::RangeInclusive<u64>, term: u64) {
    let commit = *indexes.end();
    let list: Vec<_> = indexes
        .map(|index| {
            let mut e = entry(index, term);
            e.data = vec![index as u8; 150].into();
            e
        })
        .collect();
    let mut batch = log.batch();
    batch.append(group, &list).unwrap();
    batch.set_hard_state(group, &hard(term, group, commit)).unwrap();
    batch.set_applied(group, commit, term).unwrap();
    log.commit(batch).unwrap();
}

/// A closed log of five lives and so at least five segments. Groups 1 to 3 have eight entries of each life; 1 and 2 have
/// a snapshot, and 1 has compacted what the first life wrote of it; 4 was created and nothing else.
fn sample() -> (Files, Models) {
    let mut disk = SimDisk::new();
    let mut models = Models::new();
    for life in 0..5 {
        let log = open(&disk).unwrap();
        if life == 0 {
            for group in 1..=4 {
                log.create_group(group, conf(&[1, 2, group + 2])).unwrap();
            }
        }
        for group in 1..=3 {
            append(&log, group, life * 8 + 1..=life * 8 + 8, life + 1);
        }
        if life == 2 {
            for group in 1..=2 {
                let data = vec![group as u8 * 3; 250];
                log.group(group).unwrap().save_snapshot(8 + group, conf(&[1, 2]), data).unwrap();
            }
            let mut batch = log.batch();
            batch.compact(1, 8).unwrap();
            batch.set_conf_state(3, 17, &conf(&[1, 5, 6])).unwrap();
            log.commit(batch).unwrap();
        }
        models = see(&log).unwrap();
        log.close().unwrap();
        drop(log);
        disk = disk.kill();
    }
    (files_of(&disk), models)
}

fn heads(files: &Files) -> Vec<RecordHead> {
    let view = LogView::open_on(&on(&disk_of(files))).unwrap();
    view.segments().iter().flat_map(|s| s.heads().map(|h| h.unwrap()).collect::<Vec<_>>()).collect()
}

/// The file that holds this address, and where in it.
fn place(files: &Files, lsn: Lsn) -> (String, usize) {
    let first = |name: &String| u64::from_str_radix(&name[21..37], 16).unwrap();
    let name = segments(files)
        .into_iter()
        .filter(|n| files[n][4096..8192] != [0; 4096] && first(n) <= lsn.get())
        .max_by_key(first)
        .unwrap();
    let at = 8192 + usize::try_from(lsn.get() - first(&name)).unwrap();
    (name, at)
}

/// Where the newest record of this entry lies.
fn entry_at(files: &Files, group: u64, index: u64) -> Lsn {
    let is_it = |h: &RecordHead| {
        h.label.is_some_and(|l| (l.stream, l.sequence) == (group, index) && matches!(l.kind & 0x3f, 1..=3))
    };
    heads(files).into_iter().rfind(is_it).unwrap().lsn
}

/// Spoils the payload of an entry.
fn spoil(files: &mut Files, group: u64, index: u64) -> String {
    let (name, at) = place(files, entry_at(files, group, index));
    files.get_mut(&name).unwrap()[at + 60] ^= 1;
    name
}

fn plan(disk: &SimDisk) -> Result<DropPlan, Error> {
    DropPlan::of(&on(disk), &options())
}

fn dropped(plan: &DropPlan) -> Vec<u64> {
    plan.dropped().iter().map(|d| d.group).collect()
}

/// Drops what is to be dropped; the groups.
fn drop_groups(disk: &SimDisk) -> Vec<u64> {
    let plan = plan(disk).unwrap();
    plan.apply(None).unwrap();
    dropped(&plan)
}

/// The log's own files, without what a repair keeps in its directory; the lock is empty, and the reserve holds nothing.
fn own(disk: &SimDisk) -> Files {
    let mut files = files_of(disk);
    files.retain(|name, _| !name.starts_with("repair-") && name != "lock" && name != "reserve");
    files
}

fn without(models: &Models, gone: &[u64]) -> Models {
    models.iter().filter(|(id, _)| !gone.contains(id)).map(|(id, m)| (*id, Arc::clone(m))).collect()
}

/// All that is left is as it was, in this life and the next, and goes on.
fn check_survivors(disk: &SimDisk, models: &Models, gone: &[u64]) {
    let expected = without(models, gone);
    for _ in 0..2 {
        let log = open(disk).unwrap();
        assert!(see(&log).unwrap() == expected, "a group that stays is not what it was");
        log.close().unwrap();
    }
}

#[test]
fn it_says_what_it_drops_and_keeps_all_else_and_can_be_undone() {
    let (mut files, models) = sample();
    spoil(&mut files, 2, 10);
    spoil(&mut files, 2, 11);
    spoil(&mut files, 2, 13);
    let disk = disk_of(&files);
    let plan = plan(&disk).unwrap();
    assert!(own(&disk) == own(&disk_of(&files)), "a plan changes nothing");
    assert_eq!((dropped(&plan), plan.survivors().to_vec()), (vec![2], vec![1, 3, 4]));
    let lost: Vec<_> = plan.dropped()[0].entries.iter().map(|e| (e.first, e.last, e.term)).collect();
    assert_eq!(lost, [(10, 11, 2), (13, 13, 2)]);
    assert_eq!(plan.dropped()[0].snapshot, None);
    assert_eq!((plan.problems().len(), plan.opens_as_it_is()), (1, true));
    let done = plan.apply(None).unwrap();
    assert!(done.aside.is_some() && done.copied.iter().any(|n| n.starts_with("snapshots/")), "{done:?}");
    // What is damaged is still there, and said.
    assert!(!verify_on(&on(&disk)).unwrap().is_ok());
    check_survivors(&disk, &models, &[2]);
    undo(&on(&disk), &on(&disk).subdir("repair-1").unwrap()).unwrap();
    assert!(own(&disk) == own(&disk_of(&files)), "undo does not give back what was there");
}
