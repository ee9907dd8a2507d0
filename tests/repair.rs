//! A repair gives up only what is damaged and what follows it; it says so first and can be undone bit for bit; and a
//! crash at any of its calls leaves the old log, the new one, or something that an undo turns into the old one.

mod common;
mod damage_support;

use std::sync::Arc;

use common::open;
use damage_support::{Files, Left, Records, Sample, disk_of, files_of, segments, ways};
use seawall::error::{CorruptionReason, RepairProblem};
use seawall::format::segment::parse_file_name;
use seawall::format::superblock::Superblock;
use seawall::io::Disk;
use seawall::io::sim::{CrashStyle, Fault, FaultPlan, Rng, SimDisk, Trigger};
use seawall::repair::{Choice, Plan, undo};
use seawall::{Batch, Error, Label, Lsn, Options, SegmentId, Verdict, Wal, verify_on};

fn options() -> Options {
    common::options().segment_size(16 << 10).block_align(512)
}

fn append(wal: &Wal, n: u64, records: &mut Records) {
    let payload = vec![u8::try_from(n % 251).unwrap(); 900];
    let mut batch = Batch::new();
    let label = Label { kind: 1, stream: 40 + n % 2, sequence: n, extra: 0 };
    let offset = batch.push_labelled(label, &[&payload]);
    records.push((offset.from_first(wal.commit(&batch).unwrap()), payload));
}

/// A closed log of a few segments, written by two runs, with its oldest segment released.
fn build() -> (Files, Records) {
    let disk = SimDisk::new();
    let mut records = Records::new();
    for run in 0..2 {
        let wal = open(&options(), &disk).unwrap();
        (run * 20..run * 20 + 20).for_each(|n| append(&wal, n, &mut records));
        if run == 1 {
            wal.release(records[8].0).unwrap();
            let first = wal.first_lsn();
            records.retain(|(lsn, _)| *lsn >= first);
        }
        wal.close().unwrap();
    }
    let files = files_of(&disk);
    assert!(segments(&files).len() >= 4, "{:?}", segments(&files));
    (files, records)
}

/// The segments that are part of the log, oldest first.
fn members(files: &Files) -> Vec<String> {
    let sb = Superblock::decode(files["superblock"].first_chunk().unwrap()).unwrap();
    let id = |name: &String| parse_file_name(name).unwrap().0;
    segments(files).into_iter().filter(|n| id(n) >= sb.oldest && files[n][4096..8192] != [0; 4096]).collect()
}

fn on(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn found(wal: &Wal) -> Records {
    wal.iter().map(|r| r.unwrap()).map(|r| (r.lsn(), r.payload().to_vec())).collect()
}

/// The log's own files, without a repair's copies in its directory and without the empty lock.
fn own(disk: &SimDisk) -> Files {
    let mut files = files_of(disk);
    files.retain(|name, _| !name.contains('/') && name != "lock");
    files
}

fn is_refused(disk: &SimDisk) -> bool {
    matches!(open(&options(), &disk.kill()), Err(Error::Corruption(_)))
}

fn repair(disk: &SimDisk, choice: Choice) -> Result<(), Error> {
    let disk = on(disk);
    let plan = Plan::of(&disk, choice)?;
    plan.apply(None).map(|_| ())
}

fn undo_first(disk: &SimDisk) -> Result<(), Error> {
    let disk = on(disk);
    undo(&disk, &disk.subdir("repair-1").unwrap()).map(|_| ())
}

/// After a cut: exactly what is before `cut`, and it can be written to.
fn check_cut(disk: &SimDisk, records: &Records, cut: Lsn) {
    let before: Records = records.iter().filter(|(lsn, _)| *lsn < cut).cloned().collect();
    assert!(verify_on(&on(disk)).unwrap().is_ok());
    let mut expected = before;
    for round in 0..2 {
        let wal = open(&options(), disk).unwrap();
        assert_eq!(found(&wal), expected, "round {round}");
        (0..30).for_each(|n| append(&wal, 1000 * (round + 1) + n, &mut expected));
        wal.close().unwrap();
    }
    let wal = open(&options(), disk).unwrap();
    assert_eq!(found(&wal), expected);
    assert!(verify_on(&on(disk)).unwrap().is_ok());
}

/// Damages a log in one place in each of many ways; everything refused can be cut, used further, and restored.
#[test]
fn a_cut_keeps_what_is_before_the_damage_and_can_be_undone() {
    let (files, records) = build();
    let mut rng = Rng::new(1);
    let (mut cuts, mut lost, mut footers) = (0, 0, 0);
    for _ in 0..150 {
        let mut damaged = files.clone();
        let names = segments(&damaged);
        let name = names[usize::try_from(rng.below(names.len() as u64)).unwrap()].clone();
        let bytes = damaged.get_mut(&name).unwrap();
        match rng.below(8) {
            0 => drop(damaged.remove(&name)),
            1 => bytes[..4096].fill(0x5a),
            2 => bytes[4096..8192].fill(0),
            3 => bytes.truncate(9000),
            _ => {
                let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                let end = (at + 40).min(bytes.len());
                bytes[at..end].iter_mut().for_each(|b| *b ^= 0x11);
            }
        }
        let disk = disk_of(&damaged);
        let report = verify_on(&on(&disk)).unwrap();
        let plan = match Plan::of(&on(&disk), Choice::Cut) {
            Ok(plan) => plan,
            Err(Error::Repair { problem: RepairProblem::NothingLeft, .. }) => {
                assert_eq!(name, members(&files)[0], "{report}");
                continue;
            }
            Err(e) => panic!("{e}"),
        };
        assert_eq!(own(&disk), own(&disk_of(&damaged)), "a plan changes nothing");
        assert_eq!(plan.is_empty(), report.is_ok(), "{report}");
        let Some(loss) = plan.loss() else {
            footers += u64::from(!plan.is_empty());
            continue;
        };
        let gone = records.iter().filter(|(lsn, _)| *lsn >= loss.lsns.start).count() as u64;
        assert!(loss.records <= gone, "{loss:?} {gone}");
        assert_eq!(plan.opens_as_it_is(), !is_refused(&disk));
        let remaining: Vec<Lsn> = plan
            .remaining()
            .segments()
            .iter()
            .flat_map(|s| s.heads().map(|h| h.unwrap().lsn).collect::<Vec<_>>())
            .collect();
        let kept: Vec<Lsn> = records.iter().map(|r| r.0).filter(|l| *l < loss.lsns.start).collect();
        assert_eq!(remaining, kept);
        (cuts, lost) = (cuts + 1, lost + loss.records);
        plan.apply(None).unwrap();
        check_cut(&disk, &records, loss.lsns.start);
        undo_first(&disk).unwrap();
        let (mut back, mut was) = (own(&disk), own(&disk_of(&damaged)));
        // The reserve holds nothing.
        for files in [&mut back, &mut was] {
            files.remove("reserve");
        }
        assert!(back == was, "undo does not give back what was there: {:?} {:?}", back.keys(), was.keys());
    }
    assert!(cuts > 60 && lost > 60, "{cuts} {lost} {footers}");
}

/// Every way in which the other tests damage a log: truncated, overwritten, moved, rolled back. A refused log is cut
/// to what precedes the damage, or there is a reason why not. Only a sample: verifying waits a little each time it
/// finds something.
#[test]
fn every_way_of_damage_can_be_cut_or_is_said_not_to_be() {
    let (mut cut, mut nothing, mut superblock) = (0, 0, 0);
    for left in [Left::Closed, Left::Killed] {
        let sample = Sample::new(left);
        let all =
            [ways::truncations, ways::sectors, ways::moved_blocks, ways::moved_segments, ways::rolled_back];
        for damage in all.iter().flat_map(|way| way(&sample)).step_by(13) {
            let disk = damage.apply(&disk_of(&sample.files));
            let what = &damage.what;
            match Plan::of(&on(&disk), Choice::Cut) {
                Ok(plan) => {
                    let Some(loss) = plan.loss() else { continue };
                    plan.apply(None).unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert!(verify_on(&on(&disk)).unwrap().is_ok(), "{what}");
                    let wal = open(&damage_support::tight(), &disk).unwrap_or_else(|e| panic!("{what}: {e}"));
                    let kept: Records =
                        sample.records.iter().filter(|(lsn, _)| *lsn < loss.lsns.start).cloned().collect();
                    assert_eq!(found(&wal), kept, "{what}");
                    cut += 1;
                }
                Err(Error::Repair { problem: RepairProblem::NothingLeft, .. }) => nothing += 1,
                Err(Error::Corruption(c)) if c.reason == CorruptionReason::Superblock => superblock += 1,
                Err(Error::Foreign { .. }) => {}
                Err(e) => panic!("{what}: {e}"),
            }
        }
    }
    assert!(cut > 20 && nothing > 2 && superblock > 0, "{cut} {nothing} {superblock}");
}

/// A log with damage in the second to last ended segment, which has no footer: refused.
fn refused() -> (Files, Records, Lsn) {
    let (mut files, records) = build();
    let name = members(&files).into_iter().nth_back(1).unwrap();
    let bytes = files.get_mut(&name).unwrap();
    // The second block; and the footer, so that an open must read the blocks.
    let footer = (8192..bytes.len()).step_by(512).find(|at| bytes[at + 4..at + 8] == *b"SWFT");
    footer.into_iter().for_each(|at| bytes[at] ^= 1);
    let second = (8192 + 512..bytes.len()).step_by(512).find(|at| bytes[at + 4..at + 6] == *b"SB").unwrap();
    bytes[second + 100] ^= 1;
    let first = u64::from_str_radix(&name[21..37], 16).unwrap();
    let cut = Lsn::new(first + second as u64 - 8192);
    assert!(is_refused(&disk_of(&files)));
    (files, records, cut)
}

#[test]
fn a_crash_at_any_call_leaves_the_old_log_the_new_one_or_one_that_can_be_undone() {
    let (files, records, cut) = refused();
    let disk = disk_of(&files);
    disk.keep_history();
    repair(&disk, Choice::Cut).unwrap();
    let expected: Records = records.iter().filter(|(lsn, _)| *lsn < cut).cloned().collect();
    let before = own(&disk_of(&files));
    let (mut old, mut new, mut undone) = (0, 0, 0);
    for call in disk.history() {
        let at = disk.before(call).unwrap();
        let styles =
            [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::Chaos(call), CrashStyle::Chaos(!call)];
        for style in styles {
            let crashed = at.crash(style);
            let kept = crashed.kill();
            match open(&options(), &crashed) {
                Ok(wal) => {
                    assert_eq!(found(&wal), expected, "call {call} {style:?}");
                    new += 1;
                }
                Err(Error::Corruption(_)) if own(&kept) == before => old += 1,
                Err(Error::Corruption(_)) => undone += 1,
                Err(e) => panic!("call {call} {style:?}: {e}"),
            }
            match undo_first(&kept) {
                Err(Error::Repair { problem: RepairProblem::NoManifest, .. }) => {}
                done => done.unwrap_or_else(|e| panic!("call {call} {style:?}: {e}")),
            }
            assert!(own(&kept) == before, "call {call} {style:?}: {:?}", own(&kept).keys());
        }
    }
    assert!(old > 10 && new > 5 && undone > 5, "{old} {new} {undone}");
}

#[test]
fn an_interrupted_undo_is_finished_by_undoing_again() {
    let (files, ..) = refused();
    let before = own(&disk_of(&files));
    let disk = disk_of(&files);
    repair(&disk, Choice::Cut).unwrap();
    let wal = open(&options(), &disk).unwrap();
    (0..30).for_each(|n| append(&wal, n, &mut Records::new()));
    wal.close().unwrap();
    let disk = disk_of(&files_of(&disk));
    disk.keep_history();
    undo_first(&disk).unwrap();
    let mut again = 0;
    for call in disk.history() {
        for style in [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::Chaos(call)] {
            let crashed = disk.before(call).unwrap().crash(style);
            match undo_first(&crashed) {
                Err(Error::Repair { problem: RepairProblem::NoManifest, .. }) => {}
                done => {
                    done.unwrap();
                    again += 1;
                }
            }
            let mut back = own(&crashed);
            back.insert("reserve".to_owned(), before["reserve"].clone());
            assert!(back == before, "call {call} {style:?}");
        }
    }
    assert!(again > 10, "{again}");
}

/// Damages the body of a footer, which an open does not read.
fn with_a_bad_footer() -> (Files, Records, String) {
    let (mut files, records) = build();
    let footer_at =
        |bytes: &[u8]| (8192..bytes.len()).step_by(512).find(|at| bytes[at + 4..at + 8] == *b"SWFT");
    let name = members(&files).into_iter().find(|n| footer_at(&files[n]).is_some()).unwrap();
    let bytes = files.get_mut(&name).unwrap();
    let at = footer_at(bytes).unwrap();
    // A plain log's summary is empty; only the footer's counts can disagree. Its checksum is adapted.
    bytes[at + 48] ^= 1;
    let before = seawall::format::crc32(&files[&name][at + 4..at + 72]);
    let bytes = files.get_mut(&name).unwrap();
    bytes[at + 48] ^= 1;
    let good = seawall::format::crc32(&bytes[at + 4..at + 72]);
    bytes[at + 48] ^= 1;
    let stored = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    bytes[at..at + 4].copy_from_slice(&(stored ^ good ^ before).to_le_bytes());
    (files, records, name)
}

#[test]
fn a_damaged_footer_is_taken_away_and_written_anew() {
    for choice in [Choice::RebuildFooters, Choice::Cut] {
        let (files, records, name) = with_a_bad_footer();
        let disk = disk_of(&files);
        let report = verify_on(&on(&disk)).unwrap();
        assert!(report.problems.iter().all(|p| p.reason == CorruptionReason::Footer) && !report.is_ok());
        let plan = Plan::of(&on(&disk), choice).unwrap();
        assert_eq!((plan.loss().is_none(), plan.footers_to_rebuild()), (true, vec![name.clone()]));
        plan.apply(None).unwrap();
        assert!(verify_on(&on(&disk)).unwrap().is_ok());
        let wal = open(&options(), &disk).unwrap();
        assert_eq!(found(&wal), records);
        wal.append(b"on").unwrap();
        assert!(wal.segments()[0].footer_bytes > 0, "{:?}", wal.segments());
        drop(wal);
        undo_first(&disk).unwrap();
        let mut back = own(&disk);
        back.insert("reserve".to_owned(), files["reserve"].clone());
        assert!(back == own(&disk_of(&files)));
    }
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let (files, ..) = refused();
    let disk = disk_of(&files);
    let problem = |e: Error| match e {
        Error::Repair { problem, .. } => problem,
        e => panic!("{e}"),
    };
    // Nothing to undo.
    assert_eq!(problem(undo_first(&disk).unwrap_err()), RepairProblem::NoManifest);
    // A directory that is in use.
    let plan = Plan::of(&on(&disk), Choice::Cut).unwrap();
    assert_eq!(problem(plan.apply(Some(&on(&disk))).unwrap_err()), RepairProblem::UndoDirInUse);
    // A writer; a refused log has none, but a tool may hold its lock.
    let lock = disk.lock("lock").unwrap();
    let e = plan.apply(None).unwrap_err();
    assert!(matches!(e, Error::Locked { .. }), "{e}");
    assert!(matches!(undo_first(&disk).unwrap_err(), Error::Locked { .. }));
    drop(lock);
    // A log that changed in between.
    let name = members(&files).pop().unwrap();
    let bytes = disk.take(&name).unwrap();
    assert_eq!(problem(plan.apply(None).unwrap_err()), RepairProblem::Changed);
    disk.put(&name, bytes);
    // A full disk.
    disk.set_space(Some(files.values().map(|b| b.len() as u64).sum::<u64>() + 10_000));
    let e = plan.apply(None).unwrap_err();
    assert!(e.is_full(), "{e}");
    assert!(files_of(&disk).keys().all(|n| !n.contains('/')), "{:?}", disk.files());
    disk.set_space(None);
    assert!(own(&disk) == own(&disk_of(&files)));
    // A damaged copy, and then a damaged manifest.
    plan.apply(None).unwrap();
    let after = own(&disk);
    let copy = disk.take("repair-1/superblock").unwrap();
    assert_eq!(problem(undo_first(&disk).unwrap_err()), RepairProblem::CopyDamaged);
    disk.put("repair-1/superblock", copy);
    let mut manifest = disk.take("repair-1/manifest").unwrap();
    manifest[30] ^= 1;
    disk.put("repair-1/manifest", manifest);
    assert_eq!(problem(undo_first(&disk).unwrap_err()), RepairProblem::Manifest);
    assert!(own(&disk) == after);
}

/// Ended segments are not copied; once the repaired log has released one, the earlier state cannot be restored.
#[test]
fn an_undo_that_would_not_give_the_log_back_is_refused() {
    let (files, records, _) = refused();
    let disk = disk_of(&files);
    repair(&disk, Choice::Cut).unwrap();
    let wal = open(&options(), &disk).unwrap();
    (0..40).for_each(|n| append(&wal, n, &mut Records::new()));
    assert!(records[0].0 < wal.durable_lsn());
    wal.release(wal.durable_lsn()).unwrap();
    wal.close().unwrap();
    let after = own(&disk);
    match undo_first(&disk) {
        Err(Error::Repair { problem: RepairProblem::ChangedSince, .. }) => assert!(own(&disk) == after),
        other => panic!("{other:?}"),
    }
}

const ANEW: Choice = Choice::RebuildSuperblock { owner: None, oldest: None };

/// The ways to lose a superblock.
fn without_superblock(files: &Files) -> Vec<Files> {
    let with = |bytes: Option<Vec<u8>>| {
        let mut files = files.clone();
        match bytes {
            Some(bytes) => files.insert("superblock".into(), bytes),
            None => files.remove("superblock"),
        };
        files
    };
    vec![with(None), with(Some(vec![0; 8192])), with(Some(vec![0x5a; 8192])), with(Some(Vec::new()))]
}

/// All read-only commands report the same for a log without its superblock, and one choice repairs it.
#[test]
fn a_superblock_is_made_anew_from_the_segments() {
    let (files, records) = build();
    for damaged in without_superblock(&files) {
        let disk = disk_of(&damaged);
        let Err(Error::Corruption(c)) = open(&options(), &disk) else { panic!("it opens") };
        assert!(c.reason == CorruptionReason::Superblock && c.file.ends_with("superblock"), "{c}");
        let report = verify_on(&on(&disk)).unwrap();
        assert_eq!((report.verdict(), report.problems.len()), (Verdict::Damaged, 1), "{report}");
        assert_eq!(report.problems[0].to_string(), c.to_string());
        assert!(report.segments.iter().map(|s| s.records).sum::<u64>() >= records.len() as u64, "{report}");
        for choice in [Choice::Cut, Choice::RebuildFooters] {
            let refused = Plan::of(&on(&disk), choice).unwrap_err();
            assert_eq!(refused.to_string(), c.to_string());
        }
        let plan = Plan::of(&on(&disk), ANEW).unwrap();
        assert!(plan.problems_left().is_empty() && plan.loss().is_none());
        assert_eq!(own(&disk), own(&disk_of(&damaged)), "a plan changes nothing");
        let new = plan.superblock().unwrap();
        assert_eq!((new.owner, new.durable <= records.last().unwrap().0.plus(4096)), (None, true));
        assert_eq!(plan.apply(None).unwrap().written.as_deref(), Some("superblock"));
        assert!(verify_on(&on(&disk)).unwrap().is_ok());
        let wal = open(&options(), &disk).unwrap();
        let all = found(&wal);
        // What was released and not removed yet comes back before the rest.
        assert!(all.ends_with(&records), "{} of {}", all.len(), records.len());
        wal.append(b"goes on").unwrap();
        drop(wal);
        undo_first(&disk).unwrap();
        let mut back = own(&disk);
        back.remove("reserve");
        let mut was = own(&disk_of(&damaged));
        was.remove("reserve");
        assert!(back == was, "{:?} {:?}", back.keys(), was.keys());
    }
    // An intact superblock is left alone.
    let disk = disk_of(&files);
    assert!(Plan::of(&on(&disk), ANEW).unwrap().is_empty());
}

/// What an older superblock knew and the segments do not reveal is not guessed.
#[test]
fn a_superblock_is_not_made_of_a_chain_with_a_gap() {
    let (mut files, records) = build();
    files.remove("superblock");
    let names = segments(&files);
    let id = |name: &String| parse_file_name(name).unwrap().0;
    // One in the middle is gone: was it released?
    let gone = names[1].clone();
    files.remove(&gone);
    let disk = disk_of(&files);
    match Plan::of(&on(&disk), ANEW).unwrap_err() {
        Error::Repair { path, problem } => {
            assert_eq!(problem, RepairProblem::OlderSegments);
            assert!(path.ends_with(&names[0]), "{}", path.display());
        }
        e => panic!("{e}"),
    }
    assert_eq!(own(&disk), own(&disk_of(&files)));
    // An operator who knows can say so.
    let oldest = id(&names[2]);
    let plan =
        Plan::of(&on(&disk), Choice::RebuildSuperblock { owner: Some(7), oldest: Some(oldest) }).unwrap();
    let new = plan.superblock().unwrap();
    assert_eq!((new.oldest, new.before, new.owner), (oldest, Some(id(&gone)), Some(7)));
    plan.apply(None).unwrap();
    let wal = open(&options(), &disk).unwrap();
    assert_eq!((wal.owner(), records.ends_with(&found(&wal))), (Some(7), true));

    // A first page or a header in the middle, and a chosen oldest segment that does not exist.
    let (mut files, _) = build();
    files.remove("superblock");
    for at in [40, 4096 + 40] {
        let mut damaged = files.clone();
        damaged.get_mut(&names[1]).unwrap()[at] ^= 1;
        let Err(Error::Repair { problem, .. }) = Plan::of(&on(&disk_of(&damaged)), ANEW) else {
            panic!("{at}")
        };
        assert_eq!(problem, RepairProblem::UnknownBefore);
        assert_eq!(verify_on(&on(&disk_of(&damaged))).unwrap().problems.len(), 2);
    }
    // The newest segment's header is not needed for that; its damage is reported, as an open will do.
    let mut damaged = files.clone();
    let newest = names.iter().rfind(|name| files[*name][4096..4100] != [0; 4]).unwrap();
    damaged.get_mut(newest).unwrap()[4096 + 40] ^= 1;
    let disk = disk_of(&damaged);
    let plan = Plan::of(&on(&disk), ANEW).unwrap();
    assert!(!plan.problems_left().is_empty());
    plan.apply(None).unwrap();
    assert!(is_refused(&disk));
    let wrong = Choice::RebuildSuperblock { owner: None, oldest: Some(SegmentId::new(999)) };
    assert!(matches!(Plan::of(&on(&disk_of(&files)), wrong), Err(Error::Repair { .. })));
}

/// A crash at any call leaves the log refused as before, or with its superblock; running it again completes it.
#[test]
fn a_superblock_that_was_half_made_is_made_again() {
    let (files, records) = build();
    let damaged = without_superblock(&files).swap_remove(2);
    let whole = disk_of(&damaged);
    let plan = Plan::of(&on(&whole), ANEW).unwrap();
    whole.plan(FaultPlan::none());
    plan.apply(None).unwrap();
    let calls = whole.calls();
    let (mut refused, mut made) = (0, 0);
    for call in 0..calls {
        let disk = disk_of(&damaged);
        let plan = Plan::of(&on(&disk), ANEW).unwrap();
        disk.plan(FaultPlan::none().with(Trigger::At(call), Fault::PowerOff));
        drop(plan.apply(None));
        let disk = disk.crash(CrashStyle::LoseAll);
        match is_refused(&disk) {
            true => {
                refused += 1;
                repair(&disk, ANEW).unwrap_or_else(|e| panic!("call {call}: {e}"));
            }
            false => made += 1,
        }
        assert!(found(&open(&options(), &disk).unwrap()).ends_with(&records), "call {call}");
    }
    assert!(refused > 10 && made > 0, "{refused} {made}");
}

/// Foreign files stay where they are, whatever their names and places.
#[test]
fn an_undo_leaves_the_files_of_others_alone() {
    let (files, _) = build();
    let mut damaged = files.clone();
    damaged.remove("superblock");
    let disk = disk_of(&damaged);
    disk.put("snapshots/theirs.snap", b"kept by the layer above");
    let plan = || Plan::of(&on(&disk), ANEW).unwrap().with_directory("snapshots", ".snap");
    plan().apply(None).unwrap();
    let segment = seawall::format::segment::file_name(SegmentId::new(77), seawall::Lsn::new(1 << 40));
    let foreign = [segment.as_str(), "notes.tmp", "snapshots/notes.txt", "snapshots/notes.tmp"];
    for name in foreign {
        disk.put(name, b"a letter");
    }
    disk.put("snapshots/since.snap", b"made since");
    undo_first(&disk).unwrap();
    for name in foreign {
        assert_eq!(disk.contents(name).as_deref(), Some(&b"a letter"[..]), "{name}");
    }
    assert_eq!(disk.contents("snapshots/theirs.snap").as_deref(), Some(&b"kept by the layer above"[..]));
    assert!(disk.contents("snapshots/since.snap").is_none() && disk.contents("superblock").is_none());
}
