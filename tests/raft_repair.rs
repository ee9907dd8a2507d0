//! Dropping groups gives up only those that need something unreadable: it says so first, changes nothing in the
//! groups that stay, can be undone bit for bit, and survives a crash at any of its calls.
#![cfg(feature = "raft")]

mod codec_support;
mod common;
mod damage_support;
mod raft_support;
mod watched_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use damage_support::{Files, disk_of, files_of, segments};
use raft_support::model::{Models, see, see_one};
use raft_support::{conf, entry, hard};
use seawall::error::RepairProblem;
use seawall::io::Disk;
use seawall::io::sim::{CrashStyle, SimDisk};
use seawall::raft::repair::DropPlan;
use seawall::raft::{Error, RaftLog, RaftOptions};
use seawall::repair::undo;
use seawall::{LogView, Lsn, Options, RecordHead, verify_on};
use watched_support::{Call, WatchedDisk};

fn wal() -> Options {
    Options::new()
        .segment_size(16 << 10)
        .block_align(512)
        .mmap(false)
        .threads(false)
        .idle_marker(Duration::from_secs(3600))
}

fn options() -> RaftOptions {
    RaftOptions::new().node_id(1).wal(wal()).snapshot_chunk(100)
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

/// A closed log that was opened five times, and so has at least five segments. Groups 1 to 3 have eight entries from
/// each opening; 1 and 2 have a snapshot, and 1 has compacted what the first opening wrote of it; 4 was created and
/// nothing else.
fn sample() -> (Files, Models) {
    let mut disk = SimDisk::new();
    let mut models = Models::new();
    for run in 0..5 {
        let log = open(&disk).unwrap();
        if run == 0 {
            for group in 1..=4 {
                log.create_group(group, conf(&[1, 2, group + 2])).unwrap();
            }
        }
        for group in 1..=3 {
            append(&log, group, run * 8 + 1..=run * 8 + 8, run + 1);
        }
        if run == 2 {
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
        h.label.is_some_and(|l| (l.stream, l.sequence) == (group, index) && matches!(l.kind, 0x80..=0xbf))
    };
    heads(files).into_iter().rfind(is_it).unwrap().lsn
}

/// Corrupts the payload of an entry.
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

fn survivors(plan: &DropPlan) -> Vec<u64> {
    plan.survivors().keys().copied().collect()
}

/// Drops what must be dropped; returns the groups.
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

/// Everything that remains is as before, before and after a reopen, and can be written to.
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
    let damaged = [10, 11, 13].map(|index| spoil(&mut files, 2, index));
    let disk = disk_of(&files);
    let plan = plan(&disk).unwrap();
    assert!(own(&disk) == own(&disk_of(&files)), "a plan changes nothing");
    assert_eq!((dropped(&plan), survivors(&plan)), (vec![2], vec![1, 3, 4]));
    let lost: Vec<_> = plan.dropped()[0].entries.iter().map(|e| (e.first, e.last, e.term)).collect();
    assert_eq!(lost, [(10, 11, 2), (13, 13, 2)]);
    assert_eq!(plan.dropped()[0].snapshot, None);
    assert_eq!((plan.problems().len(), plan.opens_as_it_is()), (3, true));
    let done = plan.apply(None).unwrap();
    assert!(done.undo_dir.is_some() && done.copied.iter().any(|n| n.starts_with("snapshots/")), "{done:?}");
    assert!(done.copied.contains(&damaged[0]), "{done:?}");
    assert!(!done.copied.contains(&segments(&files)[0]), "what nobody writes to needs no copy: {done:?}");
    // The damage is still there, and reported.
    assert!(!verify_on(&on(&disk)).unwrap().is_ok());
    check_survivors(&disk, &models, &[2]);
    undo(&on(&disk), &on(&disk).subdir("repair-1").unwrap()).unwrap();
    assert!(own(&disk) == own(&disk_of(&files)), "undo does not give back what was there");
}

/// Changes all bytes at these addresses.
fn spoil_range(files: &mut Files, lsns: std::ops::Range<Lsn>) {
    let (name, at) = place(files, lsns.start);
    let len = usize::try_from(lsns.end.get() - lsns.start.get()).unwrap();
    files.get_mut(&name).unwrap()[at..at + len].iter_mut().for_each(|b| *b ^= 0x5a);
}

/// The block that begins the batch of which this entry is the first.
fn block_of(files: &Files, group: u64, index: u64) -> Lsn {
    Lsn::new(entry_at(files, group, index).get() / 512 * 512)
}

#[test]
fn what_no_group_needs_any_more_drops_none() {
    let (files, models) = sample();
    // Compacted; the header of a block, whose records have their own checksums; and what a summary records as well.
    let compacted: fn(&mut Files) = |f| drop(spoil(f, 1, 3));
    let block_header: fn(&mut Files) = |f| {
        let at = block_of(f, 3, 9);
        spoil_range(f, at..at.plus(8));
    };
    let states: fn(&mut Files) = |f| {
        let is_entry = |h: &RecordHead| h.label.is_some_and(|l| matches!(l.kind, 0x80..=0xbf));
        let end = LogView::open_on(&on(&disk_of(f))).unwrap().segments()[3].end_lsn();
        for head in heads(f).into_iter().filter(|h| !is_entry(h) && h.lsn < end) {
            spoil_range(f, head.lsn..head.lsn.plus(16));
        }
    };
    let ways = [("compacted", compacted), ("block header", block_header), ("states", states)];
    for (what, way) in ways {
        let mut damaged = files.clone();
        way(&mut damaged);
        let disk = disk_of(&damaged);
        let plan = plan(&disk).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(plan.is_empty() && !plan.problems().is_empty(), "{what}: {:?}", plan.dropped());
        assert_eq!(survivors(&plan), [1, 2, 3, 4], "{what}");
        assert_eq!(plan.apply(None).unwrap().undo_dir, None, "{what}");
        assert!(own(&disk) == own(&disk_of(&damaged)), "{what}");
        check_survivors(&disk, &models, &[]);
        assert!(freed(&disk, &[1, 2, 3]), "{what}");
    }
}

/// Writes until purging has freed all damage; returns whether that happened. Nothing but the appended entries
/// changes.
fn freed(disk: &SimDisk, groups: &[u64]) -> bool {
    let log = open(disk).unwrap();
    let mut expected = see(&log).unwrap();
    for _ in 0..40 {
        for group in groups {
            let (last, term) = expected[group].last();
            append(&log, *group, last + 1..=last + 8, term);
            // Group 3 lags: its entries are relocated.
            if *group != 3 {
                log.group(*group).unwrap().save_snapshot(last + 4, conf(&[1, 2]), b"state").unwrap();
                let mut batch = log.batch();
                batch.compact(*group, last + 4).unwrap();
                log.commit(batch).unwrap();
            }
        }
        expected = see(&log).unwrap();
        log.purge().unwrap();
        assert!(see(&log).unwrap() == expected, "purging changed something");
        if verify_on(&on(disk)).unwrap().is_ok() {
            log.close().unwrap();
            let log = open(disk).unwrap();
            assert!(see(&log).unwrap() == expected);
            log.recount_space().unwrap();
            return true;
        }
    }
    false
}

#[test]
fn purging_frees_what_is_damaged_and_the_log_verifies_again() {
    let (mut files, models) = sample();
    spoil(&mut files, 2, 10);
    let disk = disk_of(&files);
    assert_eq!(drop_groups(&disk), [2]);
    check_survivors(&disk, &models, &[2]);
    assert!(!verify_on(&on(&disk)).unwrap().is_ok());
    assert!(freed(&disk, &[1, 3]));
    let log = open(&disk).unwrap();
    let old = raft_support::entries(&log.group(3).unwrap(), 1, 9, None).unwrap();
    assert_eq!(old, models[&3].entries[..8]);
}

/// What was damaged may be released next, as no group needs it any more: so there is a copy of it.
#[test]
fn it_can_be_undone_after_purging_has_freed_what_is_damaged() {
    let disk = SimDisk::new();
    for run in 0..4u64 {
        let log = open(&disk).unwrap();
        match run {
            0 => drop(log.create_group(2, conf(&[1])).unwrap()),
            1 => drop(log.create_group(3, conf(&[1])).unwrap()),
            _ => {}
        }
        append(&log, if run == 0 { 2 } else { 3 }, run.max(1) * 8 - 7..=run.max(1) * 8, 1);
        log.close().unwrap();
    }
    let mut files = files_of(&disk);
    let damaged = spoil(&mut files, 2, 5);
    let disk = disk_of(&files);
    assert_eq!(drop_groups(&disk), [2]);
    let newest =
        segments(&files_of(&disk)).into_iter().filter(|n| !files.contains_key(n)).collect::<Vec<_>>();
    assert!(newest.iter().any(|n| disk.contents(n).unwrap().len() == 16 << 10), "segments are as they were");
    let log = open(&disk).unwrap();
    log.purge().unwrap();
    log.close().unwrap();
    assert!(verify_on(&on(&disk)).unwrap().is_ok());
    assert_ne!(disk.contents(&damaged), files.get(&damaged).cloned());
    undo(&on(&disk), &on(&disk).subdir("repair-1").unwrap()).unwrap();
    assert!(own(&disk) == own(&disk_of(&files)), "undo does not give back what was there");
    assert_eq!(dropped(&plan(&disk).unwrap()), [2]);
}

/// Damage is detected by checksums; but what groups have in segments without a footer must be interpreted.
#[test]
fn a_log_with_a_codec_of_its_own_needs_it() {
    let with = || options().wal(wal().codec(codec_support::xor(7)));
    let disk = SimDisk::new();
    for run in 0..4u64 {
        let log = with().open_on(on(&disk)).unwrap();
        if run == 0 {
            (2..=3).for_each(|id| drop(log.create_group(id, conf(&[1])).unwrap()));
        }
        (2..=3).for_each(|id| append(&log, id, run * 8 + 1..=run * 8 + 8, 1));
        log.close().unwrap();
    }
    let mut files = files_of(&disk);
    spoil(&mut files, 2, 10);
    let disk = disk_of(&files);
    let e = plan(&disk).unwrap_err();
    assert!(matches!(e, Error::Log(seawall::Error::UnknownCodec { .. })), "{e}");
    let mut expected = Models::new();
    for given in [with(), options().wal(wal().decode_with(codec_support::xor(7)))] {
        let disk = disk_of(&files);
        let log = with().open_on(on(&disk)).unwrap();
        expected.insert(3, Arc::new(see_one(&log, 3).unwrap()));
        log.close().unwrap();
        let plan = DropPlan::of(&on(&disk), &given).unwrap();
        assert_eq!(dropped(&plan), [2]);
        plan.apply(None).unwrap();
        let log = with().open_on(on(&disk)).unwrap();
        assert!(see(&log).unwrap() == expected);
    }
}

#[test]
fn a_dropped_id_can_be_created_again() {
    let (mut files, models) = sample();
    spoil(&mut files, 2, 20);
    let disk = disk_of(&files);
    assert_eq!(drop_groups(&disk), [2]);
    let log = open(&disk).unwrap();
    assert!(log.group(2).is_none());
    log.create_group(2, conf(&[7, 8])).unwrap();
    append(&log, 2, 1..=3, 1);
    let models = {
        let mut all = without(&models, &[2]);
        all.insert(2, Arc::clone(&see(&log).unwrap()[&2]));
        all
    };
    assert_eq!((models[&2].last(), models[&2].hard), ((3, 1), (1, 2, 3)));
    log.close().unwrap();
    check_survivors(&disk, &models, &[]);
    assert!(freed(&disk, &[1, 2, 3]));
}

#[test]
fn every_group_that_is_hit_goes_and_only_those() {
    let (files, models) = sample();
    // All records of a segment; a part of it; blocks of two groups.
    let second = LogView::open_on(&on(&disk_of(&files))).unwrap().segments()[1].clone();
    let mut all = files.clone();
    spoil_range(&mut all, second.first_lsn()..second.end_lsn());
    let mut two = files.clone();
    for group in [1, 3] {
        let at = block_of(&files, group, 9);
        spoil_range(&mut two, at..at.plus(1200));
    }
    for (damaged, gone) in [(all, vec![1, 2, 3]), (two, vec![1, 3])] {
        let disk = disk_of(&damaged);
        let plan = plan(&disk).unwrap();
        assert_eq!(dropped(&plan), gone);
        if gone.len() == 3 {
            let lost =
                plan.dropped().iter().map(|d| (d.entries[0].first, d.entries[0].last)).collect::<Vec<_>>();
            assert_eq!(lost, [(9, 16); 3]);
        }
        plan.apply(None).unwrap();
        check_survivors(&disk, &models, &gone);
    }
}

#[test]
fn a_group_whose_snapshot_cannot_be_read_is_dropped_and_no_other() {
    let (files, models) = sample();
    let of = |group: u64| files.keys().find(|n| n.starts_with(&format!("snapshots/{group:016x}-"))).unwrap();
    let name = of(2).clone();
    let len = files[&name].len();
    for (what, opens) in [("missing", false), ("short", false), ("header", false), ("data", true)] {
        let mut damaged = files.clone();
        let bytes = damaged.get_mut(&name).unwrap();
        match what {
            "missing" => drop(damaged.remove(&name)),
            "short" => bytes.truncate(len - 3),
            "header" => bytes[60] ^= 1,
            _ => bytes[len - 100] ^= 1,
        }
        let disk = disk_of(&damaged);
        assert_eq!(open(&disk.kill()).is_ok(), opens, "{what}");
        let plan = plan(&disk).unwrap();
        assert_eq!((dropped(&plan), plan.opens_as_it_is()), (vec![2], opens), "{what}");
        let lost = plan.dropped()[0].snapshot.unwrap();
        assert_eq!((lost.index, lost.term, plan.dropped()[0].entries.len()), (10, 2, 0), "{what}");
        assert!(plan.problems()[0].file.ends_with(&name), "{what}: {}", plan.problems()[0]);
        plan.apply(None).unwrap();
        check_survivors(&disk, &models, &[2]);
        assert!(disk.contents(&name).is_none() && disk.contents(of(1)).is_some(), "{what}");
        assert!(verify_on(&on(&disk)).unwrap().is_ok(), "{what}");
        undo(&on(&disk), &on(&disk).subdir("repair-1").unwrap()).unwrap();
        assert!(own(&disk) == own(&disk_of(&damaged)), "{what}");
    }
}

fn problem(e: &Error) -> RepairProblem {
    match e {
        Error::Log(seawall::Error::Repair { problem, .. }) => *problem,
        e => panic!("{e}"),
    }
}

/// Where a footer begins in a file of this sample.
fn footer_at(bytes: &[u8]) -> Option<usize> {
    (8192..bytes.len()).step_by(512).find(|at| bytes[at + 4..at + 8] == *b"SWFT")
}

#[test]
fn damage_of_which_nobody_knows_whom_it_hits_is_refused_with_what_else_there_is() {
    let (files, _) = sample();
    let middle = place(&files, entry_at(&files, 2, 10)).0;
    let change = |what: fn(&mut Vec<u8>), also: bool| {
        let mut damaged = files.clone();
        if also {
            spoil(&mut damaged, 2, 10);
        }
        what(damaged.get_mut(&middle).unwrap());
        damaged
    };
    let clear: fn(&mut Vec<u8>) = |bytes| {
        let at = footer_at(bytes).unwrap();
        bytes[at..at + 48].fill(0);
    };
    let body: fn(&mut Vec<u8>) = |bytes| *bytes.last_mut().unwrap() ^= 1;
    // A footer that verifies, but counts other records than there are. Its seal is unchanged.
    let count: fn(&mut Vec<u8>) = |bytes| {
        let at = footer_at(bytes).unwrap();
        let sum = |bytes: &[u8]| seawall::format::crc32(&bytes[at + 4..at + 72]);
        let stored = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let before = sum(bytes);
        bytes[at + 48] ^= 1;
        let other = stored ^ before ^ sum(bytes);
        bytes[at..at + 4].copy_from_slice(&other.to_le_bytes());
    };
    let mut newest = files.clone();
    let newest_name = spoil(&mut newest, 3, 40);
    let mut missing = files.clone();
    missing.remove(&middle);
    let cases = [
        (change(clear, true), &middle, RepairProblem::NoFooter, "--cut"),
        (change(body, true), &middle, RepairProblem::NoFooter, "--cut"),
        (change(body, false), &middle, RepairProblem::DamagedFooter, "--rebuild-footers"),
        (change(count, false), &middle, RepairProblem::DamagedFooter, "--rebuild-footers"),
        (newest, &newest_name, RepairProblem::NewestSegment, "--cut"),
        (missing, &middle, RepairProblem::BrokenChain, "--cut"),
        (change(|b| b[4100] ^= 1, false), &middle, RepairProblem::BrokenChain, "--cut"),
        (change(|b| b[20] ^= 1, false), &middle, RepairProblem::BrokenChain, "--cut"),
    ];
    for (damaged, name, expected, instead) in cases {
        let disk = disk_of(&damaged);
        let e = plan(&disk).unwrap_err();
        assert_eq!(problem(&e), expected, "{e}");
        let id = name.split('-').next().unwrap().trim_start_matches('0');
        assert!(e.to_string().contains(instead) && e.to_string().contains(id), "{name}: {e}");
        assert!(own(&disk) == own(&disk_of(&damaged)), "{e}");
    }
    // A missing footer costs nothing where nothing is damaged.
    let whole = disk_of(&change(clear, false));
    assert!(plan(&whole).unwrap().problems().is_empty());
    // Without a superblock not even the identity of the log is known.
    let mut headless = files.clone();
    headless.get_mut("superblock").unwrap().fill(0x77);
    let e = plan(&disk_of(&headless)).unwrap_err();
    assert!(e.to_string().contains("superblock"), "{e}");
    // Another node's.
    let e = DropPlan::of(&on(&disk_of(&files)), &options().node_id(0)).unwrap_err();
    assert!(matches!(e, Error::InvalidNodeId), "{e}");
}

#[test]
fn a_log_that_is_in_use_or_was_changed_in_between_is_left_alone() {
    let (mut files, _) = sample();
    let whole = files.clone();
    spoil(&mut files, 2, 10);
    let disk = disk_of(&files);
    let shown = plan(&disk).unwrap();
    let lock = disk.lock("lock").unwrap();
    let e = shown.apply(None).unwrap_err();
    assert!(matches!(e, Error::Log(seawall::Error::Locked { .. })), "{e}");
    drop(lock);
    let e = shown.apply(Some(&on(&disk))).unwrap_err();
    assert_eq!(problem(&e), RepairProblem::UndoDirInUse);
    assert!(own(&disk) == own(&disk_of(&files)));
    // After a reopen.
    let log = open(&disk).unwrap();
    append(&log, 3, 41..=41, 5);
    log.close().unwrap();
    let after = own(&disk);
    assert_eq!(problem(&shown.apply(None).unwrap_err()), RepairProblem::Changed);
    assert!(own(&disk) == after);
    // More damage, and less.
    let shown = plan(&disk).unwrap();
    let (name, at) = place(&whole, entry_at(&whole, 3, 11));
    let was = disk.contents(&name).unwrap();
    let mut bytes = was.clone();
    bytes[at + 60] ^= 1;
    disk.put(&name, &bytes);
    assert_eq!(problem(&shown.apply(None).unwrap_err()), RepairProblem::Changed);
    disk.put(&name, &whole[&name]);
    assert_eq!(problem(&shown.apply(None).unwrap_err()), RepairProblem::Changed);
    disk.put(&name, &was);
    shown.apply(None).unwrap();
    // Another log, in which the same groups have the same.
    let (mut other, _) = sample();
    spoil(&mut other, 2, 10);
    let theirs = disk_of(&files);
    let shown_of_theirs = plan(&theirs).unwrap();
    other.iter().for_each(|(name, bytes)| theirs.put(name, bytes));
    assert_eq!(problem(&shown_of_theirs.apply(None).unwrap_err()), RepairProblem::Changed);
    // What was dropped stays dropped; there is nothing more to do.
    assert!(plan(&disk).unwrap().is_empty());
    let e = DropPlan::of(&on(&disk_of(&files)), &options().node_id(9)).unwrap_err();
    assert!(matches!(e, Error::Log(seawall::Error::OwnerMismatch { .. })), "{e}");
}

/// Two groups are affected, one of them through its snapshot, so that an open refuses the log until that group is
/// gone.
fn hit_twice() -> (Files, Models) {
    let (mut files, models) = sample();
    spoil(&mut files, 2, 10);
    let of_one = format!("snapshots/{:016x}-", 1);
    files.retain(|name, _| !name.starts_with(&of_one));
    (files, models)
}

#[test]
fn a_crash_at_any_call_leaves_groups_whole_or_gone_and_doing_it_again_finishes_it() {
    let (files, models) = hit_twice();
    let disk = disk_of(&files);
    disk.keep_history();
    assert_eq!(drop_groups(&disk), [1, 2]);
    let before = own(&disk_of(&files));
    let (mut old, mut new, mut undone) = (0, 0, 0);
    for call in disk.history() {
        let at = disk.before(call).unwrap();
        for style in [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::Chaos(call)] {
            let crashed = at.crash(style);
            let what = format!("call {call} {style:?}");
            // As it is.
            match open(&crashed.kill()) {
                Ok(log) => {
                    assert_eq!(log.groups(), [3, 4], "{what}");
                    assert!(see(&log).unwrap() == without(&models, &[1, 2]), "{what}");
                    new += 1;
                }
                Err(Error::Log(seawall::Error::Corruption(c))) => {
                    assert!(c.file.ends_with(files_of_group(&models, 1)), "{what}: {c}");
                    old += 1;
                }
                Err(e) => panic!("{what}: {e}"),
            }
            // Done again.
            let again = crashed.kill();
            let gone = drop_groups(&again);
            assert!(gone == [1, 2] || gone.is_empty(), "{what}: {gone:?}");
            check_survivors(&again, &models, &[1, 2]);
            // Undone.
            let back = crashed.kill();
            match undo(&on(&back), &on(&back).subdir("repair-1").unwrap()) {
                Err(seawall::Error::Repair { problem: RepairProblem::NoManifest, .. }) => {}
                done => {
                    done.unwrap_or_else(|e| panic!("{what}: {e}"));
                    undone += 1;
                }
            }
            assert!(own(&back) == before, "{what}: {:?}", own(&back).keys());
        }
    }
    assert!(old > 20 && new > 5 && undone > 20, "{old} {new} {undone}");
}

/// The name of the file that holds the group's snapshot, the first that was saved in its log.
fn files_of_group(models: &Models, group: u64) -> String {
    let meta = models[&group].snapshot.as_ref().unwrap().get_metadata().clone();
    format!("{group:016x}-{:016x}-{:016x}-{group:016x}.snap", meta.index, meta.term)
}

#[test]
fn nobody_comes_in_between_the_copies_and_the_change() {
    let (files, models) = hit_twice();
    let disk = disk_of(&files);
    let (taken, changes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (root, locks, changed) = (disk.clone(), Arc::clone(&taken), Arc::clone(&changes));
    let watched = WatchedDisk::watch(on(&disk), move |call| match call {
        Call::Change => {
            assert!(root.lock("lock").is_err(), "the log is changed, and somebody else could open it");
            changed.fetch_add(1, Ordering::Relaxed);
        }
        Call::Lock => {
            locks.fetch_add(1, Ordering::Relaxed);
        }
        Call::Subdir => {}
    });
    DropPlan::of(&watched, &options()).unwrap().apply(None).unwrap();
    // Once, and held to the end: releasing it in between would let others in.
    assert_eq!(taken.load(Ordering::Relaxed), 1);
    assert!(changes.load(Ordering::Relaxed) > 10);
    check_survivors(&disk, &models, &[1, 2]);
}

#[test]
fn more_groups_than_fit_into_a_batch_are_dropped() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    let survivor = 1000;
    log.create_group(survivor, conf(&[1])).unwrap();
    for id in 1..=500 {
        log.create_group(id, conf(&[1])).unwrap();
    }
    for ids in (1..=500).collect::<Vec<u64>>().chunks(30) {
        let mut batch = log.batch();
        for id in ids {
            let mut e = entry(1, 1);
            e.data = vec![7; 100].into();
            batch.append(*id, &[e]).unwrap();
        }
        log.commit(batch).unwrap();
    }
    log.close().unwrap();
    for run in 0..2 {
        let log = open(&disk).unwrap();
        append(&log, survivor, run * 2 + 1..=run * 2 + 2, 1);
        log.close().unwrap();
    }
    let mut files = files_of(&disk);
    let is_hit = |h: &RecordHead| {
        h.label.is_some_and(|l| l.stream <= 500 && l.sequence == 1 && matches!(l.kind, 0x80..=0xbf))
    };
    for head in heads(&files).into_iter().filter(is_hit) {
        spoil_range(&mut files, head.lsn.plus(60)..head.lsn.plus(64));
    }
    let models = Models::from([(survivor, Arc::new(see_one(&open(&disk).unwrap(), survivor).unwrap()))]);
    let disk = disk_of(&files);
    assert_eq!(drop_groups(&disk), (1..=500).collect::<Vec<_>>());
    let log = open(&disk).unwrap();
    assert_eq!(log.groups(), [survivor]);
    log.close().unwrap();
    check_survivors(&disk, &models, &[]);
}
