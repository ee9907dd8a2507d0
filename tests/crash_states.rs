//! W1 to W6: after any crash or failed call, the log has what was acknowledged, in whole batches, and nothing else;
//! what it exposes is on the device; and nothing is acknowledged after a failure.

mod common;
mod crash;

use std::sync::Arc;

use common::forgetful::Forgotten;
use common::{Oracle, open, options};
use crash::controls::{Breach, Broken, Forgetful};
use crash::core::Core;
use crash::minimise::{assert_made_small, judge, minimise, report};
use crash::run::run;
use crash::sweep::{Finding, Form, Tally, sweep_seed};
use crash::{Kind, Subject};
use seawall::io::sim::{Call, CrashStyle, Fate, Fault, FaultPlan, Rng, SimDisk, SyncFailure, Trigger};

fn sweep(core: &Core, form: &Form, states: u64) -> Tally {
    let (tally, finding) = run(core, form, 1, |seen| seen >= states);
    assert!(finding.is_none(), "{}", report(core, &finding.unwrap()));
    println!("{tally:?}");
    assert!(tally.states >= states && tally.clean(), "{tally:?}");
    tally
}

#[test]
fn w1_to_w6_a_crash_or_a_failure_at_every_call() {
    let tally = sweep(&Core::new(), &Form::QUICK, 300_000);
    // The sweep reaches the intended situations.
    for (what, n) in [
        ("cut", tally.cut),
        ("rewritten", tally.rewritten),
        ("crashed in recovery", tally.double_crashes),
        ("written on", tally.written_on),
        ("failed calls", tally.failures),
        ("all subsets", tally.exhausted),
    ] {
        assert!(n > 1000, "{what}: {tally:?}");
    }
}

#[test]
fn w1_to_w6_a_crash_or_a_failure_at_every_call_in_other_segments() {
    sweep(&Core { options: options().segment_size(40 << 10) }, &Form::QUICK, 8000);
    // Blocks that share sectors.
    sweep(&Core { options: options().block_align(512) }, &Form { wipes: false, ..Form::QUICK }, 8000);
}

/// From one seed, everything.
#[test]
fn a_seed_says_what_happens() {
    let core = Core::new();
    let tallies = [(); 2].map(|()| sweep_seed(&core, &Form::QUICK, 7));
    assert_eq!(tallies[0].0, tallies[1].0);
    assert_ne!(tallies[0].0, sweep_seed(&core, &Form::QUICK, 8).0);
}

/// W5: after a kill the cache holds bytes that no sync covered; what an open exposes of them it has made durable.
#[test]
fn w5_what_is_recovered_is_durable() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new();
        let mut oracle = Oracle::default();
        let wal = open(&options(), &disk).unwrap();
        for _ in 0..6 {
            oracle.append(&wal, &mut rng).unwrap();
        }
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

/// W5 for names: the first open of a log is killed before it syncs the directory; the next one must not rely on it.
#[test]
fn w5_the_name_of_the_superblock_is_durable_before_a_segment_is_made() {
    let first = SimDisk::new();
    first.plan(FaultPlan::none().with(Trigger::Nth(Call::SyncDir, 0), Fault::Os(5)));
    open(&options(), &first).unwrap_err();
    let second = first.kill();
    second.keep_history();
    open(&options(), &second).unwrap().append(b"x").unwrap();
    for call in second.history() {
        let before = second.before(call).unwrap();
        for bits in 0..1 << before.unsynced().len().min(10) {
            open(&options(), &before.crash(CrashStyle::Subset(bits))).unwrap();
        }
    }
}

/// The finding that the first seeds must lead to.
fn finding<S: Subject>(subject: &S) -> Finding {
    let found = (1..20).find_map(|seed| sweep_seed(subject, &Form::QUICK, seed).1);
    found.unwrap_or_else(|| panic!("what is broken goes unnoticed"))
}

/// The negative control: without a sync, the sweep finds what was lost, and it is minimised to a run with one batch.
#[test]
fn a_sync_that_is_left_out_is_found_and_made_small() {
    for forgotten in [Forgotten::BlockSync, Forgotten::SegmentName] {
        let forgetful = Forgetful(Core::new(), forgotten);
        let finding = finding(&forgetful);
        assert_made_small(&forgetful, &finding, 1);
        let text = report(&forgetful, &finding);
        for word in ["seed", "run 1", "0: lock lock", "crash; of what was not synced:", "smallest"] {
            assert!(text.contains(word), "{word} is not in:\n{text}");
        }
    }
}

/// The absence of each other sync of the log is detected too.
#[test]
fn every_sync_counts() {
    for forgotten in [
        Forgotten::SegmentSync,
        Forgotten::SuperblockSync,
        Forgotten::SuperblockName,
        Forgotten::OpenNames,
        Forgotten::RewriteSync,
        Forgotten::RewriteOrder,
        Forgotten::RewriteName,
    ] {
        let finding = finding(&Forgetful(Core::new(), forgotten));
        println!("{forgotten:?}: seed {}: {:?}", finding.seed, finding.wrong.kind);
    }
}

/// The oracle identifies what is wrong with a log that breaks a guarantee, and a panic does not end the sweep.
#[test]
fn what_is_broken_is_found() {
    for (breach, kind) in
        [(Breach::Invents, Kind::Phantom), (Breach::Halves, Kind::Half), (Breach::Panics, Kind::Panic)]
    {
        let broken = Broken(Core::new(), breach);
        let finding = finding(&broken);
        let wrong = finding.wrong.kind;
        // A batch too short is not told from a wrong one when another follows.
        let fits = wrong == kind || (kind == Kind::Half && wrong == Kind::Phantom);
        assert!(fits, "{breach:?}: {:?}", finding.wrong);
        let small = minimise(&broken, &finding).unwrap();
        assert!(small.runs.len() <= finding.case.runs.len(), "{small:?}");
        assert_eq!(judge(&broken, &small).unwrap().kind, wrong);
    }
}

/// Of two writes to one sector the device may have the earlier and not the later: a sector that holds two blocks, the
/// second in flight.
#[test]
fn w1_an_older_version_of_a_sector_holds_what_was_acknowledged() {
    let options = options().block_align(512);
    let disk = SimDisk::new();
    let wal = open(&options, &disk).unwrap();
    let lsn = wal.append(b"acknowledged").unwrap();
    let mut older = 0;
    disk.plan(FaultPlan::none().with(Trigger::From(Call::Sync, 0), Fault::Lie));
    for _ in 0..3 {
        wal.append(b"in between").unwrap();
    }
    for (at, unsynced) in disk.unsynced().iter().enumerate() {
        for version in 0..unsynced.older() {
            let mut fates = vec![Fate::Lost; at];
            fates.push(Fate::Older(u8::try_from(version).unwrap()));
            let wal = options.open_on(Arc::new(disk.crash_as(&fates))).unwrap();
            assert_eq!(wal.read(lsn).unwrap().payload(), b"acknowledged");
            assert_eq!(wal.iter().count(), 2 + version);
            older += 1;
        }
    }
    assert_eq!(older, 2);
}
