//! After any crash or failed call, the groups are as the last acknowledged operation left them, or as the one under
//! way would have left them; and nothing is acknowledged after a failure.
#![cfg(feature = "raft")]

mod common;
mod crash;
#[path = "crash/raft.rs"]
mod crash_raft;
mod raft_support;

use std::collections::BTreeMap;

use common::forgetful::{self, Forgotten};
use crash::controls::Forgetful;
use crash::minimise::{assert_made_small, report};
use crash::run::run;
use crash::sweep::{Finding, Form, sweep_seed};
use crash::{Step, Subject};
use crash_raft::{Groups, Known};
use seawall::io::sim::{Rng, SimDisk};

/// More steps than for the log below, so that groups make progress.
const FORM: Form = Form { steps: 30, faults: 4, ..Form::QUICK };

#[test]
fn groups_are_whole_after_a_crash_or_a_failure_at_every_call() {
    let groups = Groups::new();
    let (tally, finding) = run(&groups, &FORM, 1, |states| states >= 40_000);
    assert!(finding.is_none(), "{}", report(&groups, &finding.unwrap()));
    println!("{tally:?}");
    assert!(tally.clean(), "{tally:?}");
    for n in [tally.cut, tally.rewritten, tally.double_crashes, tally.written_on, tally.failures] {
        assert!(n > 100, "{tally:?}");
    }
}

#[test]
fn a_seed_says_what_happens() {
    let groups = Groups::new();
    let form = Form { steps: 10, ..FORM };
    let tallies = [(); 2].map(|()| sweep_seed(&groups, &form, 3));
    assert_eq!(tallies[0].0, tallies[1].0);
}

/// The runs of the sweep cover what they should: conflicts, snapshots of both kinds, compaction, rotation, recycling,
/// relocation, removal and re-creation of groups, also after an entry.
#[test]
fn the_sweep_goes_where_it_is_meant_to_go() {
    let groups = Groups::new();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 1..60 {
        let disk = SimDisk::new();
        let log = groups.open(forgetful::disk(&disk)).unwrap();
        let (mut known, mut rng) = (Known::default(), Rng::new(seed));
        for _ in 0..FORM.steps {
            let before = known.clone();
            assert_eq!(groups.step(&log, &mut known, rng.draw()).unwrap(), Step::Done);
            for (what, n) in differences(&before, &known) {
                *seen.entry(what).or_default() += n;
            }
        }
        let stats = log.wal().stats();
        *seen.entry("rotations").or_default() += stats.rotations;
        *seen.entry("recycled").or_default() += stats.segments_recycled;
        *seen.entry("sealed").or_default() += stats.segments_sealed;
        for segment in log.wal().segments() {
            let reader = log.wal().segment_reader(segment.id).unwrap();
            let relocated = |kind: u8| matches!(kind, 0xa0..=0xbf);
            let n = reader.heads().filter(|h| h.as_ref().unwrap().label.is_some_and(|l| relocated(l.kind)));
            *seen.entry("relocated").or_default() += n.count() as u64;
        }
    }
    println!("{seen:?}");
    let all = [
        "rotations",
        "recycled",
        "sealed",
        "relocated",
        "conflict",
        "snapshot",
        "installed",
        "compacted",
        "removed",
        "created",
        "created behind",
        "went on behind",
    ];
    for what in all {
        assert!(seen.get(what).is_some_and(|n| *n >= 10), "{what}: {seen:?}");
    }
}

fn differences(before: &Known, after: &Known) -> Vec<(&'static str, u64)> {
    let mut all = Vec::new();
    let (before, after) = (&before.acknowledged, &after.acknowledged);
    all.push(("removed", before.keys().filter(|id| !after.contains_key(id)).count() as u64));
    all.push(("created", after.keys().filter(|id| !before.contains_key(id)).count() as u64));
    for (id, now) in after {
        let behind = now.compacted.0 > 0 && now.snapshot.is_none();
        all.push(("created behind", u64::from(behind && !before.contains_key(id))));
        let Some(was) = before.get(id) else { continue };
        all.push(("went on behind", u64::from(behind && now.last().0 > was.last().0)));
        let overwritten = was.entries.iter().any(|e| now.term(e.index).is_some_and(|t| t != e.term));
        let installed = now.entries.is_empty() && now.compacted.0 > was.last().0;
        all.push(("conflict", u64::from(overwritten)));
        all.push(("installed", u64::from(installed)));
        all.push(("snapshot", u64::from(now.snapshot_index() > was.snapshot_index())));
        all.push(("compacted", u64::from(now.compacted.0 > was.compacted.0 && !now.entries.is_empty())));
    }
    all
}

fn finding<S: Subject>(subject: &S) -> Finding {
    let found = (1..20).find_map(|seed| sweep_seed(subject, &FORM, seed).1);
    found.unwrap_or_else(|| panic!("what is broken goes unnoticed"))
}

/// The negative control: without a sync, the sweep finds that groups are lost, and it is minimised to a run of at
/// most two operations.
#[test]
fn a_sync_that_is_left_out_is_found_and_made_small() {
    for forgotten in [Forgotten::BlockSync, Forgotten::SegmentName] {
        let forgetful = Forgetful(Groups::new(), forgotten);
        let finding = finding(&forgetful);
        assert_made_small(&forgetful, &finding, 2);
    }
}

/// The absence of the syncs that only snapshots need is detected too.
#[test]
fn every_sync_of_a_snapshot_counts() {
    for forgotten in [Forgotten::SnapshotSync, Forgotten::SnapshotName] {
        let finding = finding(&Forgetful(Groups::new(), forgotten));
        println!("{forgotten:?}: seed {}: {:?}", finding.seed, finding.wrong.kind);
    }
}
