//! The contract of `raft::Storage` as raft 0.7.0 uses it; each point also after a reopen.
#![cfg(feature = "raft")]

mod raft_support;

use proptest::prelude::*;
use raft::eraftpb::{Entry, EntryType, MessageType};
use raft::{Storage, StorageError};
use raft_support::*;

fn refused<T: std::fmt::Debug>(result: raft::Result<T>, want: &StorageError) {
    match result {
        Err(raft::Error::Store(got)) => assert_eq!(&got, want),
        other => panic!("wanted {want:?}, got {other:?}"),
    }
}

#[test]
fn a_new_group_is_empty_and_has_the_members_it_was_created_with() {
    let mut node = Node::new();
    node.create(7);
    node.in_both_lives(|node| {
        let group = node.group(7);
        let state = group.initial_state().unwrap();
        assert_eq!(state.hard_state, hard(0, 0, 0));
        assert_eq!(state.conf_state, conf(&[1, 2, 3]));
        assert_eq!(shape(&group), (1, 0, vec![0]));
        assert_eq!(entries(&group, 1, 1, None).unwrap(), []);
        refused(group.term(1), &StorageError::Unavailable);
        refused(entries(&group, 0, 1, None), &StorageError::Compacted);
        refused(entries(&group, 1, 2, None), &StorageError::Unavailable);
        refused(group.snapshot(0, 2), &StorageError::SnapshotTemporarilyUnavailable);
        assert_eq!(node.log().groups(), [7]);
        assert_eq!(node.log().node_id(), Some(1));
    });
}

#[test]
fn first_last_and_terms_hold_at_every_edge() {
    let mut node = Node::new();
    node.create(1);
    for (from, to, term) in [(1, 100, 1), (101, 150, 2), (151, 151, 5), (152, 400, 9)] {
        node.append_committed(1, from, to, term);
    }
    node.in_both_lives(|node| {
        let group = node.group(1);
        let (first, last, terms) = shape(&group);
        assert_eq!((first, last), (1, 400));
        let want: Vec<u64> = (0..=400)
            .map(|i| match i {
                0 => 0,
                1..=100 => 1,
                101..=150 => 2,
                151 => 5,
                _ => 9,
            })
            .collect();
        assert_eq!(terms, want);
        refused(group.term(401), &StorageError::Unavailable);
        refused(group.term(u64::MAX), &StorageError::Unavailable);
    });
}

#[test]
fn entries_come_back_as_they_were_from_every_segment() {
    let mut node = Node::new();
    node.create(1);
    let mut want = Vec::new();
    for first in (1..2000).step_by(50) {
        let batch: Vec<Entry> = (first..first + 50).map(|i| entry(i, 1 + i / 300)).collect();
        node.append(1, &batch);
        want.extend(batch);
    }
    assert!(node.log().wal().segments().len() > 3, "several segments are in play");
    node.in_both_lives(|node| {
        let group = node.group(1);
        assert_eq!(entries(&group, 1, 2001, None).unwrap(), want);
        for (low, high) in [(1, 2), (2000, 2001), (255, 258), (700, 1300), (5, 5)] {
            let got = entries(&group, low, high, None).unwrap();
            assert_eq!(got, want[low as usize - 1..high as usize - 1]);
        }
    });
}

#[test]
fn every_sort_of_entry_comes_back_but_for_the_deprecated_sync_log() {
    let mut node = Node::new();
    node.create(1);
    let mut want = Vec::new();
    let lengths = [0usize, 1, 127, 128, 16_383, 20_000];
    for kind in [EntryType::EntryNormal, EntryType::EntryConfChange, EntryType::EntryConfChangeV2] {
        for data in lengths {
            for context in [0usize, 1, 300] {
                let mut e = entry(want.len() as u64 + 1, 1);
                e.set_entry_type(kind);
                e.data = vec![0xAB; data].into();
                e.context = vec![0xCD; context].into();
                want.push(e);
            }
        }
    }
    for e in &want {
        let mut marked = e.clone();
        marked.sync_log = true;
        node.append(1, &[marked]);
    }
    node.in_both_lives(|node| {
        assert_eq!(entries(&node.group(1), 1, want.len() as u64 + 1, None).unwrap(), want);
    });
}

#[test]
fn below_the_first_index_is_compacted_and_beyond_the_last_is_unavailable() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 300, 3);
    node.append_committed(1, 301, 500, 4);
    node.snapshot_at(1, 320);
    node.compact(1, 310);
    node.in_both_lives(|node| {
        let group = node.group(1);
        assert_eq!((group.first_index().unwrap(), group.last_index().unwrap()), (311, 500));
        // The term before the first index is kept, also across a restart: raft matches its log with it.
        assert_eq!(group.term(310).unwrap(), 4);
        refused(group.term(309), &StorageError::Compacted);
        refused(entries(&group, 310, 400, None), &StorageError::Compacted);
        refused(entries(&group, 311, 502, None), &StorageError::Unavailable);
        assert_eq!(entries(&group, 311, 501, None).unwrap().len(), 190);
        assert_eq!(entries(&group, 501, 501, None).unwrap(), []);
    });
    let group = node.group(1);
    node.commit(|batch| batch.set_applied(1, 500, 4));
    group.save_snapshot(500, conf(&[1, 2, 3]), b"all").unwrap();
    drop(group);
    node.compact(1, 500);
    node.in_both_lives(|node| {
        let group = node.group(1);
        assert_eq!(shape(&group), (501, 500, vec![4]));
        refused(entries(&group, 500, 501, None), &StorageError::Compacted);
    });
    node.append(1, &[entry(501, 6)]);
    node.in_both_lives(|node| assert_eq!(shape(&node.group(1)), (501, 501, vec![4, 6])));
}

#[test]
fn an_append_over_a_conflict_drops_the_old_suffix() {
    let mut node = Node::new();
    node.create(1);
    let old: Vec<Entry> = (1..=900).map(|i| entry(i, 1)).collect();
    for part in old.chunks(100) {
        node.append(1, part);
    }
    // Far enough back that the old suffix spans several segments.
    let new: Vec<Entry> = (151..=160).map(|i| entry(i, 2)).collect();
    node.append(1, &new);
    node.in_both_lives(|node| {
        let group = node.group(1);
        assert_eq!(group.last_index().unwrap(), 160);
        let got = entries(&group, 1, 161, None).unwrap();
        assert_eq!(got[..150], old[..150]);
        assert_eq!(got[150..], new);
        refused(group.term(161), &StorageError::Unavailable);
    });
    node.append(1, &[entry(1, 3)]);
    node.in_both_lives(|node| assert_eq!(shape(&node.group(1)), (1, 1, vec![0, 3])));
}

#[test]
fn a_snapshot_is_given_when_it_is_new_enough_and_says_wait_otherwise() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 60, 2);
    node.snapshot_at(1, 50);
    node.in_both_lives(|node| {
        let group = node.group(1);
        for request in [0, 1, 49, 50] {
            let s = group.snapshot(request, 3).unwrap();
            assert_eq!(s, snapshot(50, 2, &[1, 2, 3]));
        }
        refused(group.snapshot(51, 3), &StorageError::SnapshotTemporarilyUnavailable);
        assert_eq!(group.snapshot_data().unwrap(), Some(snapshot(50, 2, &[1, 2, 3])));
    });
}

#[test]
fn an_installed_snapshot_takes_the_place_of_a_shorter_and_of_a_longer_log() {
    for length in [0, 40, 100, 400] {
        let mut node = Node::new();
        node.create(1);
        let log: Vec<Entry> = (1..=length).map(|i| entry(i, 1)).collect();
        for part in log.chunks(50) {
            node.append(1, part);
        }
        node.commit(|batch| batch.set_hard_state(1, &hard(1, 2, length.min(30))));
        node.commit(|batch| batch.install_snapshot(1, &snapshot(100, 3, &[1, 4])));
        node.in_both_lives(|node| {
            let group = node.group(1);
            assert_eq!(shape(&group), (101, 100, vec![3]));
            let state = group.initial_state().unwrap();
            assert_eq!(
                state.hard_state,
                hard(3, 0, 100),
                "commit and term follow, the vote was of an older term"
            );
            assert_eq!(state.conf_state, conf(&[1, 4]));
            let recovered = group.recover();
            assert_eq!((recovered.applied, recovered.applied_term), (100, 3));
            assert_eq!(recovered.snapshot, Some((100, 3)));
            assert_eq!(group.snapshot(100, 2).unwrap(), snapshot(100, 3, &[1, 4]));
        });
        node.append(1, &[entry(101, 3), entry(102, 4)]);
        node.in_both_lives(|node| {
            assert_eq!(shape(&node.group(1)), (101, 102, vec![3, 3, 4]));
            assert_eq!(entries(&node.group(1), 101, 103, None).unwrap(), [entry(101, 3), entry(102, 4)]);
        });
    }
}

#[test]
fn hard_state_conf_state_and_applied_are_what_was_stored_last() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 10, 2);
    node.commit(|batch| {
        batch.set_hard_state(1, &hard(5, 3, 10))?;
        batch.set_conf_state(1, 9, &conf(&[1, 2, 3, 4]))?;
        batch.set_applied(1, 9, 2)
    });
    node.in_both_lives(|node| {
        let group = node.group(1);
        assert_eq!(group.hard_state(), hard(5, 3, 10));
        assert_eq!(group.conf_state(), conf(&[1, 2, 3, 4]));
        assert_eq!(group.applied(), (9, 2));
        let recovered = group.recover();
        assert_eq!((recovered.term, recovered.vote, recovered.commit), (5, 3, 10));
        assert_eq!((recovered.first_index, recovered.last_index), (1, 10));
        assert_eq!(recovered.conf_state_index, 9);
    });
}

#[test]
fn what_is_submitted_can_be_read_and_what_is_durable_is_told_apart() {
    let mut node = Node::new();
    node.create(1);
    node.append(1, &[entry(1, 1)]);
    let group = node.group(1);
    assert_eq!(group.durable_index(), 1);
    let mut batch = node.log().batch();
    batch.append(1, &[entry(2, 1), entry(3, 1)]).unwrap();
    let ticket = node.log().submit(batch).unwrap();
    assert_eq!(entries(&group, 1, 4, None).unwrap().len(), 3);
    assert!(group.durable_index() <= 3);
    ticket.wait().unwrap();
    assert_eq!(group.durable_index(), 3);
    drop(group);
    node.in_both_lives(|node| assert_eq!(node.group(1).durable_index(), 3));
}

#[test]
fn a_raw_node_starts_on_every_state_that_was_stored() {
    let start = |node: &Node| {
        let group = node.group(1);
        let config = raft::Config { id: 1, applied: group.recover().applied, ..raft::Config::new(1) };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        raft::RawNode::new(&config, group, &logger).unwrap();
    };
    let mut node = Node::new();
    node.create(1);
    node.in_both_lives(start);
    node.append_committed(1, 1, 50, 2);
    node.in_both_lives(start);
    node.snapshot_at(1, 40);
    node.compact(1, 35);
    node.in_both_lives(start);
    node.commit(|batch| batch.install_snapshot(1, &snapshot(90, 3, &[1, 2])));
    node.in_both_lives(start);
}

#[test]
fn a_ready_of_a_raw_node_is_stored_as_one() {
    let mut node = Node::new();
    node.log().create_group(1, conf(&[1])).unwrap();
    let group = node.group(1);
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut raw = raft::RawNode::new(&raft::Config::new(1), group, &logger).unwrap();
    raw.campaign().unwrap();
    for n in 0..20u8 {
        raw.propose(vec![], vec![n; 10]).unwrap_or_default();
        while raw.has_ready() {
            let ready = raw.ready();
            node.commit(|batch| batch.ready(1, &ready));
            let light = raw.advance(ready);
            if light.commit_index().is_some() {
                let hs = raw.raft.hard_state();
                node.commit(|batch| batch.set_hard_state(1, &hs));
            }
            raw.advance_apply();
        }
    }
    drop(raw);
    node.in_both_lives(|node| {
        let recovered = node.group(1).recover();
        assert!(recovered.last_index > 15);
        assert_eq!((recovered.commit, recovered.vote, recovered.term), (recovered.last_index, 1, 1));
    });
}

/// Raft restores a snapshot at its commit index when it asked for one (`raft.rs`, `request_snapshot` and `restore`),
/// and the corresponding Ready must be stored. Otherwise no snapshot may be installed there.
#[test]
fn a_ready_with_a_requested_snapshot_at_the_commit_index_is_stored() {
    let mut node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 10, 2);
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut raw = raft::RawNode::new(&raft::Config::new(1), node.group(1), &logger).unwrap();
    let from_leader = |kind, snapshot| {
        let mut message = raft::eraftpb::Message::default();
        message.set_msg_type(kind);
        message.from = 2;
        message.to = 1;
        message.term = 2;
        if let Some(snapshot) = snapshot {
            message.set_snapshot(snapshot);
        }
        message
    };
    raw.step(from_leader(MessageType::MsgHeartbeat, None)).unwrap();
    raw.request_snapshot().unwrap();
    let requested = snapshot(10, 2, &[1, 2, 3]);
    raw.step(from_leader(MessageType::MsgSnapshot, Some(requested.clone()))).unwrap();
    let ready = raw.ready();
    assert_eq!(ready.snapshot().get_metadata().index, node.group(1).recover().commit);

    let mut batch = node.log().batch();
    assert!(batch.install_snapshot(1, &requested).is_err());
    batch.ready(1, &ready).unwrap();
    node.log().commit(batch).unwrap();
    drop(raw.advance(ready));
    drop(raw);
    node.in_both_lives(|node| {
        assert_eq!(shape(&node.group(1)), (11, 10, vec![2]));
        assert_eq!(node.group(1).hard_state(), hard(2, 1, 10));
        assert_eq!(node.group(1).snapshot(10, 2).unwrap(), requested);
    });
}

#[test]
fn footers_that_another_program_wrote_cost_a_scan_and_nothing_else() {
    let mut node = Node::new();
    node.create(1);
    for first in (1..1000).step_by(50) {
        node.append_committed(1, first, first + 49, 2);
    }
    node.close();
    // Opened without the Raft layer, the log gives its last segment a footer without a summary of groups.
    let wal = seawall::Options::new().open(node.dir.path()).unwrap();
    wal.close().unwrap();
    drop(wal);
    node.reopen();
    node.in_both_lives(|node| {
        let group = node.group(1);
        let got = entries(&group, 1, 1001, None).unwrap();
        assert!(got.len() == 1000 && got.iter().zip(1..).all(|(e, index)| *e == entry(index, 2)));
    });
}

fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    let one = (0usize..300, 0usize..3, 0u64..2);
    proptest::collection::vec(one, 1..40).prop_map(|sizes| {
        let mut term = 1;
        let entry = |(n, (data, context, rise)): (usize, (usize, usize, u64))| {
            term += rise * 100;
            let mut e = Entry::default();
            e.index = n as u64 + 1;
            e.term = term;
            e.data = vec![1; data].into();
            e.context = vec![2; context * 70].into();
            e
        };
        sizes.into_iter().enumerate().map(entry).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    #[cfg(feature = "raft-protobuf")]
    fn entries_are_limited_exactly_as_raft_limits_them(
        list in any_entries(),
        limits in proptest::collection::vec((0u64..40, 0u64..40, 0u64..6000), 20),
    ) {
        let node = Node::new();
        node.create(1);
        node.append(1, &list);
        let group = node.group(1);
        let len = list.len() as u64;
        for (a, b, max) in limits {
            let low = 1 + a % len;
            let high = low + 1 + b % (len - low + 1);
            let part = list[low as usize - 1..high as usize - 1].to_vec();
            for max in [Some(max), Some(0), Some(u64::MAX), None] {
                let mut want = part.clone();
                raft::util::limit_size(&mut want, max);
                prop_assert!(!want.is_empty());
                prop_assert_eq!(entries(&group, low, high, max).unwrap(), want);
            }
        }
    }
}
