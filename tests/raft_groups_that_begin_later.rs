//! A group can begin after an entry whose state is kept elsewhere: to raft it is a log that was compacted there,
//! without a snapshot until one is saved, and all of this survives a restart.
#![cfg(feature = "raft")]

mod raft_support;

use raft::{Storage, StorageError};
use raft_support::*;
use seawall::raft::{Error, NodeConfig};

fn begin(node: &Node, id: u64, index: u64, term: u64) -> seawall::raft::Result<()> {
    let metadata = snapshot(index, term, &[1, 2, 3]).take_metadata();
    node.log().create_group_behind(id, &metadata).map(|_| ())
}

#[test]
fn it_is_a_log_that_was_compacted_there() {
    let mut node = Node::new();
    node.create(1);
    begin(&node, 7, 40, 3).unwrap();
    node.in_both_lives(|node| {
        let group = node.group(7);
        assert_eq!(shape(&group), (41, 40, vec![3]));
        assert_eq!(group.hard_state(), hard(3, 0, 40));
        assert_eq!(group.term(39), Err(raft::Error::Store(StorageError::Compacted)));
        let state = group.recover();
        assert_eq!((state.applied, state.applied_term, state.conf_state_index), (40, 3, 40));
        assert_eq!((state.conf_state, state.snapshot), (conf(&[1, 2, 3]), None));
        check_space(node.log());
    });
    node.commit(|batch| {
        batch.append(7, &[entry(41, 3), entry(42, 5)])?;
        batch.set_hard_state(7, &hard(6, 2, 41))
    });
    node.in_both_lives(|node| {
        let group = node.group(7);
        assert_eq!(shape(&group), (41, 42, vec![3, 3, 5]));
        assert_eq!(group.hard_state(), hard(6, 2, 41));
        assert_eq!(entries(&group, 41, 43, None).unwrap(), [entry(41, 3), entry(42, 5)]);
    });
}

/// A snapshot without data would make a follower's state machine empty.
#[test]
fn there_is_no_snapshot_until_one_is_saved() {
    let mut node = Node::new();
    begin(&node, 7, 40, 3).unwrap();
    node.append_committed(7, 41, 50, 3);
    node.in_both_lives(|node| {
        let group = node.group(7);
        let none = Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        assert_eq!(group.snapshot(0, 2), none);
        assert!(group.snapshot_data().unwrap().is_none());
        let mut batch = node.log().batch();
        batch.set_applied(7, 50, 3).unwrap();
        let refused = batch.compact(7, 45).unwrap_err();
        assert!(matches!(refused, Error::CompactBeyondSnapshot { group: 7, index: 45, .. }), "{refused}");
        let early = group.save_snapshot(39, conf(&[1]), b"").unwrap_err();
        assert!(matches!(early, Error::BelowFirst { index: 39, first: 41, .. }), "{early}");
    });
    node.snapshot_at(7, 45);
    node.compact(7, 45);
    node.in_both_lives(|node| {
        let group = node.group(7);
        assert_eq!((group.first_index().unwrap(), group.term(45).unwrap()), (46, 3));
        assert_eq!(group.snapshot(0, 2).unwrap().data, state_at(45));
    });
}

/// The state may be at the boundary itself.
#[test]
fn a_snapshot_can_be_saved_where_the_log_begins() {
    let mut node = Node::new();
    begin(&node, 7, 40, 3).unwrap();
    node.group(7).save_snapshot(40, conf(&[1, 2, 3]), state_at(40)).unwrap();
    node.in_both_lives(|node| {
        assert_eq!(node.group(7).snapshot(40, 2).unwrap().get_metadata().term, 3);
    });
}

#[test]
fn what_raft_could_not_start_on_is_refused() {
    let node = Node::new();
    node.create(1);
    let create = |id, index, voters: &[u64]| {
        let metadata = snapshot(index, 3, voters).take_metadata();
        node.log().create_group_behind(id, &metadata).unwrap_err()
    };
    assert!(matches!(create(1, 40, &[1]), Error::GroupExists { group: 1 }));
    assert!(matches!(create(2, 40, &[]), Error::EmptyConfState { group: 2, index: 40 }));
    assert!(matches!(create(2, 0, &[1]), Error::SnapshotOutOfDate { group: 2, index: 0, .. }));
    assert!(matches!(create(2, u64::MAX, &[1]), Error::IndexExhausted { group: 2, .. }));
    assert_eq!(node.log().groups(), [1]);
}

#[test]
fn a_node_starts_on_it_from_what_its_state_machine_holds() {
    let mut node = Node::new();
    begin(&node, 7, 40, 3).unwrap();
    node.append_committed(7, 41, 50, 3);
    node.in_both_lives(|node| {
        let start = |config| seawall::raft::Node::new(config, node.group(7));
        assert_eq!(start(NodeConfig::new(1)).unwrap().status().applied, 40);
        assert_eq!(start(NodeConfig::new(1).applied(47, 3)).unwrap().status().applied, 47);
        start(NodeConfig::new(1).applied(39, 3)).unwrap_err();
        start(NodeConfig::new(1).applied(47, 2)).unwrap_err();
    });
}

/// It begins there: what another group with the same id had does not belong to it.
#[test]
fn it_can_follow_a_removed_group_of_the_same_id() {
    let mut node = Node::new();
    node.create(7);
    node.append_committed(7, 1, 60, 9);
    node.log().remove_group(7).unwrap();
    begin(&node, 7, 40, 3).unwrap();
    node.append_committed(7, 41, 45, 3);
    node.in_both_lives(|node| {
        assert_eq!(shape(&node.group(7)), (41, 45, vec![3; 6]));
        check_space(node.log());
    });
}

/// Its State is rewritten like any other's when the segment that holds it is freed.
#[test]
fn it_outlives_the_segment_that_it_began_in() {
    let mut node = Node::new();
    begin(&node, 7, 40, 3).unwrap();
    node.append_committed(7, 41, 45, 3);
    node.create(1);
    let first = node.log().wal().segments()[0].id;
    for from in (1..4000).step_by(200) {
        node.append_committed(1, from, from + 199, 1);
        node.snapshot_at(1, from + 199);
        node.compact(1, from + 199);
        node.log().purge().unwrap();
    }
    assert!(node.log().wal().segments()[0].id > first);
    node.in_both_lives(|node| {
        assert_eq!(shape(&node.group(7)), (41, 45, vec![3; 6]));
        assert_eq!(node.group(7).recover().snapshot, None);
        check_space(node.log());
    });
}
