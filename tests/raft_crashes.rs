//! After any crash, the groups are as an acknowledged operation left them, or as the one under way would have left
//! them, and never in between: entries, HardState, snapshot and its data change together.
#![cfg(feature = "raft")]

mod common;
mod raft_support;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use common::forgetful::{self, ForgetfulDisk, Forgotten};
use raft::eraftpb::{Entry, Snapshot};
use raft_support::{conf, entries, entry, hard, snapshot, state_at};
use seawall::Options;
use seawall::io::Disk;
use seawall::io::sim::{Call, CrashStyle, Fault, FaultPlan, Rng, SimDisk, SyncFailure, Trigger};
use seawall::raft::{Error, RaftLog, RaftOptions, Recovered, Result};

fn open(disk: &SimDisk) -> Result<RaftLog> {
    options().open_on(forgetful::disk(disk))
}

fn options() -> RaftOptions {
    let wal = Options::new().segment_size(24 << 10).mmap(false).idle_marker(Duration::from_secs(3600));
    RaftOptions::new().node_id(1).wal(wal).snapshot_chunk(1000)
}

/// The negative control: like [`open`], without one of the syncs.
fn open_forgetful(disk: &SimDisk, forgets: Forgotten) -> RaftLog {
    options().open_on(ForgetfulDisk::on(Arc::new(disk.clone()), forgets)).unwrap()
}

/// Everything visible of a group.
type Seen = (u64, Recovered, Vec<Entry>, Option<Snapshot>);

fn see(log: &RaftLog) -> Vec<Seen> {
    let group = |id: u64| {
        let group = log.group(id).unwrap();
        let recovered = group.recover();
        let all = entries(&group, recovered.first_index, recovered.last_index + 1, None).unwrap();
        (id, recovered, all, group.snapshot_data().unwrap())
    };
    log.groups().into_iter().map(group).collect()
}

fn append(log: &RaftLog, id: u64, from: u64, to: u64, term: u64) -> Result<()> {
    let list: Vec<Entry> = (from..=to).map(|index| entry(index, term)).collect();
    let mut batch = log.batch();
    batch.append(id, &list)?;
    batch.set_hard_state(id, &hard(term, 1, to))?;
    batch.set_applied(id, to, term)?;
    log.commit(batch).map(|_| ())
}

fn append_uncommitted(log: &RaftLog, id: u64, range: RangeInclusive<u64>, term: u64) -> Result<()> {
    let list: Vec<Entry> = range.map(|index| entry(index, term)).collect();
    let mut batch = log.batch();
    batch.append(id, &list)?;
    log.commit(batch).map(|_| ())
}

fn save(log: &RaftLog, id: u64, index: u64) -> Result<()> {
    log.group(id).unwrap().save_snapshot(index, conf(&[1, 2]), state_at(index))
}

fn compact(log: &RaftLog, id: u64, index: u64) -> Result<()> {
    let mut batch = log.batch();
    batch.compact(id, index)?;
    log.commit(batch).map(|_| ())
}

/// A snapshot, the entries after it and the HardState with them, in one batch with another group's entries.
fn install(log: &RaftLog, id: u64, index: u64, other: u64) -> Result<()> {
    let mut batch = log.batch();
    batch.install_snapshot(id, &snapshot(index, 5, &[1, 2]))?;
    batch.append(id, &[entry(index + 1, 5), entry(index + 2, 6)])?;
    batch.set_hard_state(id, &hard(6, 2, index + 2))?;
    let last = log.group(other).unwrap().recover().last_index;
    batch.append(other, &[entry(last + 1, 9)])?;
    log.commit(batch).map(|_| ())
}

const STEPS: usize = 35;

/// The purges that find entries of lagging groups in segments whose other groups have moved on.
const RELOCATING: [usize; 2] = [26, 32];

/// One acknowledged operation after another.
fn step(log: &RaftLog, n: usize) -> Result<()> {
    match n {
        0..=2 => log.create_group(n as u64 + 1, conf(&[1, 2])).map(|_| ()),
        3 => append(log, 1, 1, 40, 1),
        4 => append(log, 2, 1, 30, 2),
        5 => save(log, 1, 35),
        6 => compact(log, 1, 30),
        7 => append(log, 1, 41, 90, 3),
        8 => install(log, 2, 100, 1),
        9 => append(log, 1, 92, 140, 9),
        10 => save(log, 1, 130),
        11 => compact(log, 1, 130),
        12 => log.purge().map(|_| ()),
        13 => log.remove_group(2),
        14 => append(log, 3, 1, 60, 4),
        15 => log.create_group(2, conf(&[7])).map(|_| ()),
        17 => log.create_group(4, conf(&[1, 2])).map(|_| ()),
        18 => append_uncommitted(log, 4, 1..=30, 1),
        // Group 1 fills segments and leaves them; 3 and 4 lag.
        19..=23 => append(log, 1, 141 + 50 * (n as u64 - 19), 190 + 50 * (n as u64 - 19), 9),
        24 => save(log, 1, 390),
        25 => compact(log, 1, 390),
        // Some of what was relocated is overwritten.
        27 => append_uncommitted(log, 4, 21..=25, 3),
        28..=29 => append(log, 1, 391 + 90 * (n as u64 - 28), 480 + 90 * (n as u64 - 28), 9),
        30 => save(log, 1, 570),
        31 => compact(log, 1, 570),
        33 => log.remove_group(4),
        _ => log.purge().map(|_| ()),
    }
}

/// A log on which the first steps were taken, and whose background work is done, so that the next calls are the next
/// step's.
fn after_steps(disk: &SimDisk, steps: usize) -> RaftLog {
    take_steps(open(disk).unwrap(), disk, steps)
}

fn take_steps(log: RaftLog, disk: &SimDisk, steps: usize) -> RaftLog {
    for n in 0..steps {
        step(&log, n).unwrap();
    }
    let mut quiet = 0;
    while quiet < 5 {
        let calls = disk.calls();
        std::thread::sleep(Duration::from_millis(10));
        quiet = if disk.calls() == calls { quiet + 1 } else { 0 };
    }
    log
}

/// The visible state before the first step and after each.
fn states() -> Vec<Vec<Seen>> {
    let log = open(&SimDisk::new()).unwrap();
    let mut states = vec![see(&log)];
    for n in 0..STEPS {
        step(&log, n).unwrap();
        states.push(see(&log));
    }
    states
}

/// Runs until something fails; returns the number of acknowledged steps.
fn run(disk: &SimDisk) -> usize {
    let Ok(log) = open(disk) else { return 0 };
    (0..STEPS).position(|n| step(&log, n).is_err()).unwrap_or(STEPS)
}

/// The state after a crash is that of the last acknowledged step, or of the one after it.
fn check(found: &SimDisk, acknowledged: usize, states: &[Vec<Seen>]) -> std::result::Result<(), String> {
    let log = open(found).map_err(|e| format!("open: {e}"))?;
    let seen = see(&log);
    let allowed = states.iter().skip(acknowledged).take(2);
    if allowed.clone().any(|state| *state == seen) {
        return Ok(());
    }
    Err(format!("after {acknowledged} steps: {seen:?}"))
}

fn styles(rng: &mut Rng) -> Vec<CrashStyle> {
    let mut all = vec![CrashStyle::LoseAll, CrashStyle::KeepAll];
    all.extend((0..2).map(|_| CrashStyle::Chaos(rng.draw())));
    all.push(CrashStyle::Subset(rng.draw()));
    all
}

/// The sweeps below also cover relocation.
#[test]
fn entries_are_relocated_and_some_of_them_again() {
    for n in RELOCATING {
        let log = after_steps(&SimDisk::new(), n);
        let report = log.purge().unwrap();
        assert!(report.entries_relocated >= 80 && report.segments_freed >= 2, "step {n}: {report:?}");
    }
}

#[test]
fn a_power_failure_at_any_call_leaves_the_groups_whole() {
    let states = states();
    let disk = SimDisk::new();
    disk.keep_history();
    let log = open(&disk).unwrap();
    // The call before which each step was acknowledged.
    let done: Vec<u64> = (0..STEPS)
        .map(|n| {
            step(&log, n).unwrap();
            disk.calls()
        })
        .collect();
    drop(log);
    let mut reached = [0usize; STEPS + 1];
    for cut in disk.history() {
        let before = disk.before(cut).unwrap();
        let acknowledged = done.iter().filter(|at| **at <= cut).count();
        reached[acknowledged] += 1;
        let mut rng = Rng::new(cut);
        for style in styles(&mut rng) {
            let mut found = before.crash(style);
            if rng.below(3) == 0 {
                found.plan(FaultPlan::power_off_at(rng.below(40)));
                drop(open(&found));
                found = found.crash(CrashStyle::Chaos(rng.draw()));
            }
            if let Err(e) = check(&found, acknowledged, &states) {
                panic!("power off at call {cut}, {style:?}: {e}\n  {}", disk.trace().join("\n  "));
            }
        }
    }
    // Background work interleaves, so which call belongs to which step differs a little from run to run.
    let interrupted = reached[..STEPS].iter().filter(|n| **n > 0).count();
    assert!(interrupted >= STEPS - 2, "{reached:?}");
}

#[test]
fn a_failed_call_leaves_the_groups_whole() {
    let states = states();
    let faults = [
        (Call::Sync, Fault::Sync(SyncFailure::DropsPages)),
        (Call::SyncDir, Fault::Sync(SyncFailure::KeepsDirty)),
        (Call::Write, Fault::Error(std::io::ErrorKind::StorageFull)),
        (Call::Write, Fault::Short),
        (Call::Rename, Fault::Error(std::io::ErrorKind::Other)),
        (Call::Create, Fault::Error(std::io::ErrorKind::StorageFull)),
        (Call::Remove, Fault::Error(std::io::ErrorKind::Other)),
    ];
    for (call, fault) in faults {
        for n in 0..30 {
            let disk = SimDisk::new();
            disk.plan(FaultPlan::none().with(Trigger::Nth(call, n), fault));
            let acknowledged = run(&disk);
            for style in [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::Chaos(n)] {
                if let Err(e) = check(&disk.crash(style), acknowledged, &states) {
                    panic!("{call:?} {n} fails with {fault:?}, {style:?}: {e}");
                }
            }
        }
    }
}

/// The negative control: without the syncs of blocks or of segment names, what was acknowledged is lost, and these
/// checks detect it.
#[test]
fn a_sync_that_is_left_out_is_found_out() {
    let states = states();
    for forgotten in [Forgotten::BlockSync, Forgotten::SegmentName] {
        let disk = SimDisk::new();
        let log = open_forgetful(&disk, forgotten);
        for n in 0..12 {
            step(&log, n).unwrap();
        }
        // Before the handle is closed, so that closing cannot make up for anything.
        let found = disk.crash(CrashStyle::LoseAll);
        assert!(check(&found, 12, &states).is_err(), "{forgotten:?} goes unnoticed");
        drop(log);
    }
}

/// The same for each sync of saving a snapshot: without it, the snapshot is lost or its file is incomplete.
#[test]
fn every_sync_of_a_snapshot_counts() {
    let states = states();
    for forgotten in [None, Some(Forgotten::SnapshotSync), Some(Forgotten::SnapshotName)] {
        let disk = SimDisk::new();
        let log = match forgotten {
            Some(forgotten) => open_forgetful(&disk, forgotten),
            None => open(&disk).unwrap(),
        };
        let log = take_steps(log, &disk, 5);
        step(&log, 5).unwrap();
        let found = check(&disk.crash(CrashStyle::LoseAll), 6, &states);
        assert_eq!(found.is_err(), forgotten.is_some(), "{forgotten:?}: {found:?}");
        drop(log);
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_changes_nothing_and_can_be_tried_again() {
    let faults = [Call::Create, Call::Write, Call::Sync, Call::Rename, Call::SyncDir];
    for call in faults {
        let disk = SimDisk::new();
        let log = after_steps(&disk, 5);
        let before = see(&log);
        let fault = Fault::Error(std::io::ErrorKind::StorageFull);
        disk.plan(FaultPlan::none().with(Trigger::Nth(call, 0), fault));
        let error = step(&log, 5).unwrap_err();
        assert!(matches!(&error, Error::Log(seawall::Error::Io { .. })), "{call:?}: {error}");
        assert_eq!(see(&log), before);
        disk.plan(FaultPlan::none().with(Trigger::Nth(call, 0), fault));
        let mut batch = log.batch();
        batch.install_snapshot(2, &snapshot(100, 5, &[1])).unwrap_err();
        assert!(batch.is_empty());
        disk.plan(FaultPlan::none());
        step(&log, 5).unwrap();
        let left = disk.files().into_iter().filter(|name| name.starts_with("snapshots/")).count();
        assert_eq!(left, 1, "{call:?}: {:?}", disk.files());
    }
}

#[test]
fn a_log_that_failed_acknowledges_nothing_more_and_shows_what_it_had_when_reopened() {
    let disk = SimDisk::new();
    let log = after_steps(&disk, 5);
    let before = see(&log);
    disk.plan(FaultPlan::none().with(Trigger::Nth(Call::Sync, 0), Fault::Sync(SyncFailure::DropsPages)));
    append(&log, 1, 41, 50, 2).unwrap_err();
    let poisoned = append(&log, 2, 31, 32, 2).unwrap_err();
    assert!(matches!(poisoned, Error::Log(seawall::Error::Poisoned { .. })), "{poisoned}");
    save(&log, 1, 35).unwrap_err();
    log.purge().unwrap_err();
    drop(log);
    let log = open(&disk.crash(CrashStyle::LoseAll)).unwrap();
    assert_eq!(see(&log), before);
    append(&log, 1, 41, 50, 2).unwrap();
}

/// A footer's body is the index of its segment and is used without verifying its checksum. A crash that keeps the
/// sector with the footer's fixed part and loses the next must not leave an index of zeros.
#[test]
fn a_footer_that_a_crash_tore_is_no_footer() {
    let (crashes, wrong) = tear_a_footer(forgetful::disk);
    assert!(crashes >= 40, "{crashes}");
    assert_eq!(wrong, Vec::<String>::new());
    // The negative control.
    let (_, wrong) = tear_a_footer(|disk| ForgetfulDisk::on(Arc::new(disk.clone()), Forgotten::FooterBody));
    assert!(!wrong.is_empty());
}

/// Crashes a log at each call that seals its first segment; returns the number of crashes, and the errors.
fn tear_a_footer(behind: impl Fn(&SimDisk) -> Arc<dyn Disk>) -> (usize, Vec<String>) {
    // More than a sector of positions. Returns the call at which the commit began that seals the segment.
    let fill = |disk: &SimDisk| -> Result<u64> {
        let wal = Options::new().segment_size(64 << 10).mmap(false).threads(false);
        let log = RaftOptions::new().node_id(1).wal(wal).open_on(behind(disk))?;
        log.create_group(1, conf(&[1]))?;
        let (mut next, mut before) = (1, 0);
        while log.wal().segments().first().is_some_and(|s| log.wal().summary(s.id).unwrap().is_none()) {
            before = disk.calls();
            let empty = |index| {
                let mut e = Entry::default();
                (e.index, e.term) = (index, 1);
                e
            };
            let mut batch = log.batch();
            batch.append(1, &(next..next + 300).map(empty).collect::<Vec<_>>())?;
            log.commit(batch)?;
            next += 300;
        }
        Ok(before)
    };
    let disk = SimDisk::new();
    disk.keep_history();
    let before = fill(&disk).unwrap();
    let (mut crashes, mut wrong) = (0, Vec::new());
    for cut in disk.history().into_iter().filter(|cut| *cut >= before) {
        let disk = disk.before(cut).unwrap();
        for bits in 0..1 << disk.unsynced().len().min(4) {
            crashes += 1;
            let log = open(&disk.crash(CrashStyle::Subset(bits))).unwrap();
            let group = log.group(1).unwrap();
            let Recovered { first_index, last_index, .. } = group.recover();
            let found = entries(&group, first_index, last_index + 1, None).map(|all| all.len());
            if !matches!(found, Ok(900..)) {
                wrong.push(format!("cut at {cut}: {found:?}"));
            }
        }
    }
    (crashes, wrong)
}
