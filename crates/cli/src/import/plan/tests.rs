#![allow(clippy::field_reassign_with_default)]

use clap::Parser;
use proptest::prelude::*;
use protobuf::Message as _;
use raft::eraftpb::{Entry, EntryType, SnapshotMetadata};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(more: &[&str]) -> Args {
    let line = [&["import", "from", "into", "--hard-state-key", "hs"], more].concat();
    Line::try_parse_from(line).unwrap().args
}

fn hard(term: u64, commit: u64) -> Vec<u8> {
    let mut hs = HardState::default();
    hs.term = term;
    hs.vote = 2;
    hs.commit = commit;
    hs.write_to_bytes().unwrap()
}

/// Entries with these terms, starting at `first`; those in `changes` change members.
fn log(first: u64, terms: &[u64], changes: &[u64]) -> Log {
    let mut log = Log::default();
    for (index, term) in (first..).zip(terms) {
        let mut entry = Entry::default();
        entry.index = index;
        entry.term = *term;
        if changes.contains(&index) {
            entry.set_entry_type(EntryType::EntryConfChangeV2);
        }
        log.push(&entry).unwrap();
    }
    log
}

fn metadata(index: u64, term: u64, voters: &[u64]) -> Vec<u8> {
    let mut meta = SnapshotMetadata::default();
    meta.index = index;
    meta.term = term;
    meta.set_conf_state(ConfState::from((voters.to_vec(), vec![])));
    meta.write_to_bytes().unwrap()
}

fn found(log: Log, hard: Vec<u8>) -> Found {
    Found { log, hard: Some(hard), ..Found::default() }
}

#[test]
fn a_whole_log_begins_at_entry_1() {
    let planned = judge(
        7,
        &args(&["--voters", "1,2", "--learners", "7=3"]),
        &found(log(1, &[1, 1, 2], &[]), hard(3, 2)),
    );
    let planned = planned.unwrap();
    assert_eq!((planned.begins, planned.last, planned.members_index), (Boundary::default(), 3, 0));
    assert_eq!(planned.members, ConfState::from((vec![1, 2], vec![3])));
    assert_eq!((planned.hard.term, planned.hard.vote, planned.hard.commit), (3, 2, 2));
}

#[test]
fn the_term_before_the_first_entry_is_the_programs_or_nobodys() {
    let args = args(&["--voters", "1", "--truncated-state-key", "t"]);
    let mut group = found(log(5, &[2, 2, 3], &[]), hard(3, 6));
    assert_eq!(judge(7, &args, &group), Err(Reason::NoBoundary { first: 5 }));
    group.truncated = Some(metadata(3, 2, &[1]));
    assert_eq!(judge(7, &args, &group), Err(Reason::Gap { boundary: 3, first: 5 }));
    group.truncated = Some(metadata(4, 3, &[1]));
    assert_eq!(judge(7, &args, &group), Err(Reason::TermFalls { index: 5, term: 2, before: 3 }));
    // An entry that raft-engine still has, although the program has given it up.
    group.truncated = Some(metadata(6, 3, &[1]));
    assert_eq!(judge(7, &args, &group), Err(Reason::BoundaryTerm { index: 6, stored: 3, found: 2 }));
    for (index, term, entries) in [(4, 1, 3), (4, 2, 3), (6, 2, 1)] {
        group.truncated = Some(metadata(index, term, &[1, 2]));
        let planned = judge(7, &args, &group).unwrap();
        assert_eq!((planned.begins, planned.entries()), (Boundary { index, term }, entries));
        // The members stored there take precedence over the given ones.
        assert_eq!((planned.members.voters, planned.members_index), (vec![1, 2], index));
    }
}

#[test]
fn a_log_without_entries_ends_where_it_begins() {
    let mut group = found(Log::default(), hard(4, 9));
    let one = args(&["--voters", "1"]);
    assert_eq!(judge(7, &one, &group), Err(Reason::Commit { commit: 9, first: 1, last: 0 }));
    group.truncated = Some(metadata(9, 4, &[1, 2, 3]));
    let planned = judge(7, &args(&[]), &group).unwrap();
    assert_eq!((planned.last, planned.entries(), planned.members_index), (9, 0, 9));
    // A node that learned of the group, voted, and waits for its first snapshot.
    let joins = judge(7, &args(&[]), &found(Log::default(), hard(4, 0))).unwrap();
    assert_eq!((joins.members, joins.last), (ConfState::default(), 0));
    assert_eq!(judge(7, &args(&[]), &found(log(1, &[1], &[]), hard(1, 1))), Err(Reason::NoMembers));
}

#[test]
fn a_hard_state_that_does_not_fit_its_log_is_refused() {
    let judge = |hard| judge(7, &args(&["--voters", "1"]), &found(log(1, &[1, 4], &[]), hard));
    assert_eq!(judge(hard(3, 1)), Err(Reason::HardStateBehind { term: 3, last: 4 }));
    assert_eq!(judge(hard(4, 3)), Err(Reason::Commit { commit: 3, first: 1, last: 2 }));
    judge(hard(4, 2)).unwrap();
    assert!(matches!(judge(vec![7; 3]), Err(Reason::Value { what: "HardState", .. })));
    let none = Found { hard: None, ..found(log(1, &[1], &[]), vec![]) };
    assert_eq!(super::judge(7, &args(&[]), &none), Err(Reason::NoHardState));
}

#[test]
fn members_that_change_behind_the_boundary_need_an_index() {
    let group = found(log(1, &[1; 6], &[3, 5]), hard(1, 4));
    let with = |index: &str| judge(7, &args(&["--voters", "1", "--conf-state-index", index]), &group);
    let unclear = judge(7, &args(&["--voters", "1"]), &group);
    assert_eq!(unclear, Err(Reason::MembersUnclear { change: 3 }));
    assert_eq!(with("8=3"), Err(Reason::MembersUnclear { change: 3 }));
    assert_eq!(with("5"), Err(Reason::MembersIndex { index: 5, lowest: 0, commit: 4 }));
    assert_eq!(with("7=4").unwrap().members_index, 4);
    assert_eq!(with("0").unwrap().members_index, 0);
    // An uncommitted change may still be committed.
    let late = found(log(1, &[1; 6], &[5]), hard(1, 4));
    assert_eq!(judge(7, &args(&["--voters", "1"]), &late), Err(Reason::MembersUnclear { change: 5 }));
    // It is used only where it is needed.
    let calm = found(log(1, &[1; 6], &[]), hard(1, 4));
    let planned = judge(7, &args(&["--voters", "1", "--conf-state-index", "3"]), &calm).unwrap();
    assert_eq!(planned.members_index, 0);
}

#[test]
fn members_make_sense() {
    let mut group = found(log(1, &[1], &[]), hard(1, 1));
    let wrong = [
        ConfState::from((vec![], vec![4])),
        ConfState::from((vec![1, 0], vec![])),
        ConfState::from((vec![1, 2, 1], vec![])),
        ConfState::from((vec![1, 2], vec![2])),
    ];
    for members in wrong {
        group.members = Some(members.write_to_bytes().unwrap());
        assert!(matches!(judge(7, &args(&[]), &group), Err(Reason::Members(_))), "{members:?}");
    }
    // A voter about to become a learner.
    let mut joint = ConfState::from((vec![1, 3], vec![]));
    joint.voters_outgoing = vec![1, 2];
    joint.learners_next = vec![2];
    group.members = Some(joint.write_to_bytes().unwrap());
    assert_eq!(judge(7, &args(&["--voters", "9"]), &group).unwrap().members, joint);
    group.members = Some(vec![7; 3]);
    assert!(matches!(judge(7, &args(&[]), &group), Err(Reason::Value { what: "ConfState", .. })));
}

proptest! {
    /// Whatever the source says: raft can start with what is accepted, and its boundary is the stored one.
    #[test]
    fn raft_starts_on_what_is_accepted(
        first in 1..6u64,
        mut terms in proptest::collection::vec(1..4u64, 0..6),
        change in 0..10u64,
        stored in proptest::option::of((0..9u64, 0..4u64)),
        term in 0..5u64,
        commit in 0..10u64,
        index in 0..10u64,
    ) {
        terms.sort_unstable();
        let mut group = found(log(first, &terms, &[change]), hard(term, commit));
        group.truncated = stored.map(|(index, term)| metadata(index, term, &[]));
        let index = index.to_string();
        let given = args(&["--voters", "1,2,3", "--conf-state-index", &index]);
        if let Ok(planned) = judge(7, &given, &group) {
            let last_term = group.log.term(planned.last).unwrap_or(planned.begins.term);
            prop_assert!((planned.begins.index..=planned.last).contains(&commit));
            prop_assert!((planned.begins.index..=commit).contains(&planned.members_index));
            prop_assert!(term >= last_term && last_term >= planned.begins.term);
            prop_assert!(planned.indexes().all(|index| group.log.term(index).is_some()));
            let begins = (planned.begins.index, planned.begins.term);
            prop_assert_eq!(begins, stored.unwrap_or_default());
        }
    }
}
