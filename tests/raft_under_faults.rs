//! Raft's own guarantees, and that nothing is sent before it is durable, under crashes, kills, failing disks and a
//! bad network. The long form is `examples/raft_faults.rs`; negative controls are here, too.
#![cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]

mod cluster_support;

use std::collections::BTreeMap;
use std::ops::Range;

use cluster_support::machine::Machine;
use cluster_support::oracle::Facts;
use cluster_support::{Checks, Kind, Sabotage, Tally, episode};
use raft::eraftpb::Entry;

fn run(seeds: Range<u64>, steps: u64, checks: Checks) -> Tally {
    let mut total = Tally::default();
    for seed in seeds {
        let report = episode(seed, steps, checks, Sabotage::None);
        assert!(report.finding.is_none(), "{}", report.finding.unwrap());
        total += report.tally;
    }
    total
}

/// The finding for each of these seeds when something is broken on purpose.
fn found(seeds: Range<u64>, sabotage: Sabotage, checks: Checks) -> BTreeMap<Kind, u64> {
    let mut kinds = BTreeMap::new();
    for seed in seeds {
        if let Some(finding) = episode(seed, 4000, checks, sabotage).finding {
            *kinds.entry(finding.violation.kind).or_insert(0) += 1;
        }
    }
    kinds
}

#[test]
fn raft_holds_and_nothing_is_said_before_it_is_durable() {
    let tally = run(1..101, 4000, Checks::ALL);
    // The schedule reaches the intended situations.
    let least = [
        (tally.elections, 400),
        (tally.commands_applied, 10_000),
        (tally.crashes, 500),
        (tally.crashes_in_recovery, 100),
        (tally.kills, 300),
        (tally.poisonings, 30),
        (tally.snapshots_saved, 200),
        (tally.snapshots_sent, 50),
        (tally.snapshots_restored, 5),
        (tally.conf_changes, 20),
        (tally.purges_that_freed, 100),
        (tally.reads_answered, 30),
        (tally.messages_lost, 5000),
        (tally.messages_duplicated, 2000),
        (tally.promises_checked_by_crash, 500),
    ];
    assert!(least.iter().all(|(seen, least)| seen >= least), "{least:?}");
}

#[test]
fn every_output_is_true_of_a_disk_that_crashes_at_that_moment() {
    let tally = run(500..512, 2000, Checks::paranoid());
    assert_eq!(tally.promises_checked, tally.promises_checked_by_crash);
    assert!(tally.promises_checked > 2000, "{tally:?}");
}

#[test]
fn a_seed_is_a_run() {
    for seed in 3..7 {
        let [one, two] = [0; 2].map(|_| episode(seed, 3000, Checks::ALL, Sabotage::None));
        assert_eq!((one.digest, one.tally), (two.digest, two.tally), "seed {seed}");
        let with_other_checks = episode(seed, 3000, Checks::NONE, Sabotage::None);
        assert_eq!(one.digest, with_other_checks.digest, "seed {seed}");
        let other = episode(seed + 100, 3000, Checks::ALL, Sabotage::None);
        assert_ne!(one.digest, other.digest);
    }
}

/// The negative control for "sent before it was durable": disks that claim to sync but do not.
#[test]
fn what_is_said_before_it_is_durable_is_found_at_once() {
    let found = found(1..17, Sabotage::Lies, Checks { by_crash: 1, ..Checks::NONE });
    assert!(found[&Kind::SaidBeforeDurable] >= 10, "{found:?}");
}

/// The same disks after a crash: the unsynced tail is gone, with acknowledged data in it.
#[test]
fn a_tail_that_is_gone_after_a_crash_is_found_at_the_restart() {
    let found = found(1..17, Sabotage::Lies, Checks { at_restart: true, ..Checks::NONE });
    assert!(found[&Kind::Forgotten] >= 8, "{found:?}");
}

/// Votes and entries forgotten at a restart break Raft; that is detected from outside, without knowing what the nodes
/// had promised.
#[test]
fn votes_that_are_forgotten_break_raft_and_that_is_found() {
    let found = found(1..65, Sabotage::Rollback, Checks::NONE);
    for kind in [Kind::ElectionSafety, Kind::LogMatching, Kind::LeaderCompleteness] {
        assert!(found.contains_key(&kind), "{found:?}");
    }
}

fn entry(index: u64, term: u64, data: &[u8]) -> Entry {
    let mut e = Entry::default();
    (e.index, e.term, e.data) = (index, term, data.to_vec().into());
    e
}

#[test]
fn the_oracle_knows_two_leaders_from_one() {
    let mut facts = Facts::default();
    assert!(facts.leads(1, 4).unwrap());
    assert!(!facts.leads(1, 4).unwrap());
    assert!(facts.leads(2, 5).unwrap());
    assert_eq!(facts.leads(2, 4).unwrap_err().kind, Kind::ElectionSafety);
}

#[test]
fn the_oracle_knows_logs_that_do_not_match() {
    let mut facts = Facts::default();
    facts.add(1, 0, &[entry(1, 1, b"a"), entry(2, 1, b"b"), entry(3, 2, b"c")]).unwrap();
    facts.add(2, 1, &[entry(2, 1, b"b"), entry(3, 3, b"d")]).unwrap();
    // Different content, and a different entry before it.
    assert_eq!(facts.add(2, 1, &[entry(3, 2, b"x")]).unwrap_err().kind, Kind::LogMatching);
    assert_eq!(facts.add(2, 2, &[entry(3, 3, b"d")]).unwrap_err().kind, Kind::LogMatching);
}

#[test]
fn the_oracle_knows_state_machines_that_differ() {
    let mut facts = Facts::default();
    let (a, b, x) = (entry(1, 1, b"a"), entry(2, 1, b"b"), entry(2, 1, b"x"));
    facts.add(1, 0, &[a.clone(), b.clone()]).unwrap();
    assert!(facts.commit((1, 1), 1) && facts.commit((2, 1), 1) && !facts.commit((3, 1), 1));
    let applied = |entries: &[&Entry]| {
        let mut machine = Machine::default();
        entries.iter().for_each(|e| machine.apply(e));
        machine
    };
    facts.applies(1, &applied(&[&a])).unwrap();
    facts.applies(1, &applied(&[&a, &b])).unwrap();
    for wrong in [applied(&[&b]), applied(&[&a, &x]), applied(&[&a, &a, &b])] {
        assert_eq!(facts.applies(1, &wrong).unwrap_err().kind, Kind::StateMachineSafety);
    }
}
