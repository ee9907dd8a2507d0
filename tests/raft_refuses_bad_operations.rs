//! An operation that would break a group's invariants is refused before anything is staged, with an error that names
//! the group and the index; batch, group and log do not change.
#![cfg(feature = "raft")]

mod raft_support;

use raft_support::*;
use seawall::raft::{Error, RaftOptions, Result, WriteBatch};

/// The call is refused and has no effect on the batch or the group.
fn refuses(node: &mut Node, call: impl Fn(&mut WriteBatch) -> Result<()>) -> Error {
    let before = node.group(7).recover();
    let mut batch = node.log().batch();
    let error = call(&mut batch).unwrap_err();
    assert!(batch.is_empty(), "{error} staged something");
    assert_eq!(node.group(7).recover(), before);
    // The batch continues as if the call had not been made: the next entry is still the next.
    batch.append(7, &[entry(41, 3)]).unwrap();
    drop(batch);
    assert!(error.to_string().contains('7'), "{error} names the group");
    assert_eq!(node.group(7).recover(), before);
    error
}

macro_rules! refused {
    ($node:expr, $call:expr, $pattern:pat) => {{
        let error = refuses($node, $call);
        assert!(matches!(error, $pattern), "{error:?}");
    }};
}

#[test]
fn w10_entries_that_do_not_fit() {
    let node = &mut seasoned();
    refused!(node, |b| b.append(7, &[entry(42, 3)]), Error::Gap { group: 7, index: 42, expected: 41 });
    refused!(node, |b| b.append(7, &[entry(10, 2)]), Error::BelowFirst { group: 7, index: 10, first: 11 });
    refused!(node, |b| b.append(7, &[entry(0, 2)]), Error::BelowFirst { index: 0, .. });
    refused!(
        node,
        |b| b.append(7, &[entry(25, 3)]),
        Error::OverwritesCommitted { group: 7, index: 25, commit: 25 }
    );
    refused!(
        node,
        |b| b.append(7, &[entry(41, 3), entry(43, 3)]),
        Error::NotContiguous { group: 7, index: 43, expected: 42 }
    );
    refused!(
        node,
        |b| b.append(7, &[entry(41, 3), entry(41, 3)]),
        Error::NotContiguous { index: 41, expected: 42, .. }
    );
    refused!(
        node,
        |b| b.append(7, &[entry(41, 2)]),
        Error::TermFalls { group: 7, index: 41, term: 2, previous: 3 }
    );
    refused!(
        node,
        |b| b.append(7, &[entry(30, 5), entry(31, 4)]),
        Error::TermFalls { group: 7, index: 31, term: 4, previous: 5 }
    );
    refused!(node, |b| b.append(7, &[entry(u64::MAX, 3)]), Error::Gap { index: u64::MAX, .. });
}

#[test]
fn w10_hard_states_that_fall_change_a_vote_or_commit_what_is_not_there() {
    let node = &mut seasoned();
    refused!(
        node,
        |b| b.set_hard_state(7, &hard(2, 2, 25)),
        Error::HardStateTermFalls { group: 7, term: 2, current: 3 }
    );
    refused!(
        node,
        |b| b.set_hard_state(7, &hard(3, 2, 24)),
        Error::CommitFalls { group: 7, index: 24, current: 25 }
    );
    refused!(
        node,
        |b| b.set_hard_state(7, &hard(3, 1, 25)),
        Error::VoteChanges { group: 7, term: 3, vote: 1, current: 2 }
    );
    refused!(node, |b| b.set_hard_state(7, &hard(3, 0, 25)), Error::VoteChanges { vote: 0, .. });
    refused!(
        node,
        |b| b.set_hard_state(7, &hard(3, 2, 41)),
        Error::CommitBeyondLast { group: 7, index: 41, last: 40 }
    );
    // Allowed: a new vote in a new term, and a commit of entries in the same batch.
    node.commit(|b| {
        b.append(7, &[entry(41, 3)])?;
        b.set_hard_state(7, &hard(4, 1, 41))
    });
    node.commit(|b| b.set_hard_state(7, &hard(5, 0, 41)));
    node.commit(|b| b.set_hard_state(7, &hard(5, 3, 41)));
}

#[test]
fn w10_snapshots_that_are_old_or_name_nobody() {
    let node = &mut seasoned();
    for index in [1, 24, 25] {
        refused!(
            node,
            |b| b.install_snapshot(7, &snapshot(index, 3, &[1])),
            Error::SnapshotOutOfDate { group: 7, commit: 25, .. }
        );
    }
    refused!(
        node,
        |b| b.install_snapshot(7, &snapshot(50, 3, &[])),
        Error::EmptyConfState { group: 7, index: 50 }
    );
    refused!(
        node,
        |b| b.install_snapshot(7, &snapshot(50, 2, &[1])),
        Error::SnapshotTermFalls { group: 7, index: 50, term: 2, previous: 3 }
    );
}

#[test]
fn w10_compaction_beyond_what_is_applied_or_in_a_snapshot() {
    let node = &mut seasoned();
    refused!(node, |b| b.compact(7, 21), Error::CompactBeyondApplied { group: 7, index: 21, applied: 20 });
    refused!(node, |b| b.compact(7, 16), Error::CompactBeyondSnapshot { group: 7, index: 16, snapshot: 15 });
    // Removing what is already gone is no error, and stages nothing.
    let mut batch = node.log().batch();
    batch.compact(7, 10).unwrap();
    batch.compact(7, 0).unwrap();
    assert!(batch.is_empty());
}

#[test]
fn w10_applied_beyond_commit_falling_or_of_another_term() {
    let node = &mut seasoned();
    refused!(
        node,
        |b| b.set_applied(7, 26, 3),
        Error::AppliedBeyondCommit { group: 7, index: 26, commit: 25 }
    );
    refused!(node, |b| b.set_applied(7, 19, 2), Error::AppliedFalls { group: 7, index: 19, current: 20 });
    refused!(
        node,
        |b| b.set_applied(7, 22, 2),
        Error::TermMismatch { group: 7, index: 22, term: 2, expected: 3 }
    );
    refused!(node, |b| b.set_applied(7, 20, 3), Error::TermMismatch { index: 20, expected: 2, .. });
}

#[test]
fn w10_conf_states_that_are_old_or_not_committed() {
    let node = &mut seasoned();
    let cs = conf(&[1, 2]);
    refused!(
        node,
        |b| b.set_conf_state(7, 17, &cs),
        Error::ConfStateFalls { group: 7, index: 17, current: 18 }
    );
    refused!(
        node,
        |b| b.set_conf_state(7, 26, &cs),
        Error::ConfStateBeyondCommit { group: 7, index: 26, commit: 25 }
    );
}

#[test]
fn snapshots_to_save_that_are_not_applied_not_newer_or_name_nobody() {
    let node = seasoned();
    let group = node.group(7);
    let save = |index, voters: &[u64]| group.save_snapshot(index, conf(voters), b"x").unwrap_err();
    assert!(matches!(save(21, &[1]), Error::SnapshotBeyondApplied { group: 7, index: 21, applied: 20 }));
    assert!(matches!(save(15, &[1]), Error::SnapshotNotNewer { group: 7, index: 15, current: 15 }));
    assert!(matches!(save(0, &[1]), Error::SnapshotNotNewer { index: 0, .. }));
    assert!(matches!(save(18, &[]), Error::EmptyConfState { group: 7, index: 18 }));
    group.save_snapshot(18, conf(&[1]), b"x").unwrap();
}

#[test]
fn groups_that_are_not_there_or_there_already() {
    let node = seasoned();
    let mut batch = node.log().batch();
    let missing = [
        batch.append(8, &[entry(1, 1)]),
        batch.set_hard_state(8, &hard(1, 0, 0)),
        batch.set_conf_state(8, 0, &conf(&[1])),
        batch.set_applied(8, 0, 0),
        batch.install_snapshot(8, &snapshot(5, 1, &[1])),
        batch.compact(8, 1),
        batch.remove_group(8),
        batch.ready(8, &raft::Ready::default()),
        node.log().remove_group(8),
    ];
    for result in missing {
        assert!(matches!(result, Err(Error::NoSuchGroup { group: 8 })), "{result:?}");
    }
    assert!(batch.is_empty());
    let twice = node.log().create_group(7, conf(&[1])).unwrap_err();
    assert!(matches!(twice, Error::GroupExists { group: 7 }));
    batch.remove_group(7).unwrap();
    assert!(matches!(batch.append(7, &[entry(41, 3)]), Err(Error::NoSuchGroup { group: 7 })));
}

#[test]
fn a_removed_group_is_gone_for_its_old_handles_also_when_the_id_is_used_anew() {
    let mut node = seasoned();
    let old = node.group(7);
    node.log().remove_group(7).unwrap();
    assert!(node.log().group(7).is_none());
    let save = old.save_snapshot(18, conf(&[1]), b"x").unwrap_err();
    assert!(matches!(save, Error::NoSuchGroup { group: 7 }), "{save}");
    raft::Storage::initial_state(&old).unwrap_err();
    node.log().create_group(7, conf(&[9])).unwrap();
    raft::Storage::first_index(&old).unwrap_err();
    drop(old);
    node.append(7, &[entry(1, 1)]);
    node.in_both_lives(|node| {
        let group = node.group(7);
        assert_eq!(shape(&group), (1, 1, vec![0, 1]));
        assert_eq!(group.conf_state(), conf(&[9]));
        assert_eq!(group.snapshot_data().unwrap(), None);
    });
}

#[test]
fn a_batch_that_was_checked_against_an_older_state() {
    let node = seasoned();
    let mut first = node.log().batch();
    let mut second = node.log().batch();
    first.append(7, &[entry(41, 3)]).unwrap();
    second.append(7, &[entry(41, 4)]).unwrap();
    node.log().commit(first).unwrap();
    let before = node.group(7).recover();
    let conflict = node.log().commit(second).unwrap_err();
    assert!(matches!(conflict, Error::BatchConflict { group: 7 }), "{conflict}");
    assert_eq!(node.group(7).recover(), before);
}

#[test]
fn a_batch_is_not_disturbed_by_another_group_a_saved_snapshot_the_applier_or_a_purge() {
    let node = seasoned();
    node.create(8);
    let mut batch = node.log().batch();
    batch.append(7, &[entry(41, 3)]).unwrap();
    node.append(8, &[entry(1, 1)]);
    node.group(7).save_snapshot(19, conf(&[1]), b"x").unwrap();
    node.commit(|b| b.set_applied(7, 23, 3));
    node.log().purge().unwrap();
    node.log().commit(batch).unwrap();
    assert_eq!(node.group(7).recover().last_index, 41);
}

#[test]
fn a_batch_of_a_group_that_was_removed_meanwhile() {
    let node = seasoned();
    let mut batch = node.log().batch();
    batch.append(7, &[entry(41, 3)]).unwrap();
    node.log().remove_group(7).unwrap();
    node.create(7);
    let gone = node.log().commit(batch).unwrap_err();
    assert!(matches!(gone, Error::NoSuchGroup { group: 7 }), "{gone}");
    assert_eq!(node.group(7).recover().last_index, 0);
}

#[test]
fn a_batch_of_another_log() {
    let (here, there) = (seasoned(), seasoned());
    let mut batch = there.log().batch();
    batch.append(7, &[entry(41, 3)]).unwrap();
    assert!(matches!(here.log().submit(batch), Err(Error::ForeignBatch)));
}

/// Raft counts to the index after the last one.
#[test]
fn w10_the_highest_index_there_is() {
    let mut node = seasoned();
    let install = |index| move |b: &mut WriteBatch| b.install_snapshot(7, &snapshot(index, 3, &[1]));
    let e = refuses(&mut node, install(u64::MAX));
    assert!(matches!(e, Error::IndexExhausted { group: 7, index: u64::MAX }), "{e:?}");
    node.commit(install(u64::MAX - 1));
    let mut batch = node.log().batch();
    let e = batch.append(7, &[entry(u64::MAX, 3)]).unwrap_err();
    assert!(matches!(e, Error::IndexExhausted { group: 7, index: u64::MAX }), "{e:?}");
    drop(batch);
    node.in_both_lives(|node| assert_eq!(node.group(7).recover().last_index, u64::MAX - 1));
}

#[test]
fn a_record_that_is_too_large_leaves_the_group_as_it_was() {
    let mut node = seasoned();
    let mut huge = entry(41, 3);
    huge.data = vec![0; 20 << 20].into();
    let mut batch = node.log().batch();
    batch.append(7, &[huge]).unwrap();
    let before = node.group(7).recover();
    let refused = node.log().commit(batch).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Log(seawall::Error::RecordTooLarge { .. } | seawall::Error::BatchTooLarge { .. })
        ),
        "{refused}"
    );
    node.in_both_lives(|node| assert_eq!(node.group(7).recover(), before));
    node.append(7, &[entry(41, 3)]);
}

#[test]
fn a_node_id_of_zero_and_another_node_s_directory() {
    let mut node = seasoned();
    node.close();
    let zero = RaftOptions::new().node_id(0).open(node.dir.path()).unwrap_err();
    assert!(matches!(zero, Error::InvalidNodeId));
    let other = RaftOptions::new().node_id(2).open(node.dir.path()).unwrap_err();
    assert!(
        matches!(other, Error::Log(seawall::Error::OwnerMismatch { expected: 2, found: 1, .. })),
        "{other}"
    );
    node.reopen();
}

#[test]
fn a_directory_stays_unclaimed_until_a_node_claims_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = RaftOptions::new().open(dir.path()).unwrap();
    assert_eq!(log.node_id(), None);
    drop(log);
    let log = RaftOptions::new().node_id(5).open(dir.path()).unwrap();
    assert_eq!(log.node_id(), Some(5));
    drop(log);
    let log = RaftOptions::new().open(dir.path()).unwrap();
    assert_eq!(log.node_id(), Some(5));
    drop(log);
    RaftOptions::new().node_id(6).open(dir.path()).unwrap_err();
}
