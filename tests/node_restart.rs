//! A `Node` restarts with values that raft accepts, and with its previous configuration.
#![cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]

mod node_support;

use std::io::Write as _;

use node_support::{GROUP, Group, Member, SOON, decode};
use raft::Storage as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};
use seawall::raft::{NodeConfig, NodeError};

fn add_learner(id: u64) -> ConfChangeV2 {
    let mut single = ConfChangeSingle::default();
    single.node_id = id;
    single.set_change_type(ConfChangeType::AddLearnerNode);
    let mut change = ConfChangeV2::default();
    change.set_changes(vec![single].into());
    change
}

/// One voter with entries 1 (its own election) to `last`.
fn one_with(last: u64) -> Member {
    let mut one = Member::new(1, &[1], &[]);
    one.node().campaign().unwrap();
    one.settle();
    for n in 2..=last {
        let _open = one.node().propose(vec![n as u8], SOON).unwrap();
        one.settle();
    }
    one
}

#[test]
fn an_applied_index_that_the_log_does_not_have_is_refused() {
    let mut one = one_with(5);
    let wrong = one.start(NodeConfig::new(1).applied(6, 1));
    assert!(
        matches!(wrong, Err(NodeError::AppliedOutOfRange { group: GROUP, index: 6, lowest: 0, highest: 5 })),
        "{wrong:?}"
    );
    one.start(NodeConfig::new(1).applied(5, 1)).unwrap();
    assert_eq!(one.node().status().applied, 5);
}

#[test]
fn an_applied_index_below_the_log_is_refused() {
    let mut one = one_with(5);
    let data = one.snapshot_data();
    one.node().save_snapshot(4, data).unwrap();
    one.node().compact(3).unwrap();
    one.settle();
    let wrong = one.start(NodeConfig::new(1).applied(2, 1));
    assert!(matches!(wrong, Err(NodeError::AppliedOutOfRange { index: 2, lowest: 3, .. })), "{wrong:?}");
    one.start(NodeConfig::new(1).applied(3, 1)).unwrap();
}

#[test]
fn an_applied_index_of_another_history_is_refused() {
    let mut one = one_with(5);
    let wrong = one.start(NodeConfig::new(1).applied(4, 2));
    assert!(
        matches!(wrong, Err(NodeError::AppliedTermMismatch { index: 4, given: 2, found: 1, .. })),
        "{wrong:?}"
    );
}

/// Entries are handed out before the commit index that covers them is durable. A crash may reset that index, while a
/// durable state machine keeps what it applied. raft panics at such an `applied`.
#[test]
fn a_state_machine_ahead_of_the_stored_commit_index_starts() {
    let mut group = Group::new(&[1, 2]);
    group.elect(1);
    for n in 0..5_u8 {
        let _open = group.propose(1, &[n]);
    }
    group.settle();
    let applied = group.node(1).status().applied;
    let mut state = group.node(1).storage().hard_state();
    assert!(state.commit >= applied);
    // A log whose commit index stayed behind, as a crash leaves it.
    let mut behind = Member::new(2, &[1, 2], &[]);
    let entries =
        group.node(1).storage().entries(1, applied + 1, None, raft::GetEntriesContext::empty(false)).unwrap();
    state.commit = 1;
    let mut batch = behind.log().batch();
    batch.append(GROUP, &entries).unwrap();
    batch.set_hard_state(GROUP, &state).unwrap();
    behind.log().commit(batch).unwrap();
    let term = entries.last().unwrap().term;
    behind.start(NodeConfig::new(2).applied(applied, term)).unwrap();
    let status = behind.node().status();
    assert_eq!((status.applied, status.commit), (applied, applied));
}

#[test]
fn a_state_machine_in_memory_is_handed_everything_since_its_snapshot() {
    let mut one = one_with(9);
    let data = one.snapshot_data();
    one.node()
        .save_snapshot(6, {
            let mut upto = decode(&data);
            upto.retain(|index, _| *index <= 6);
            node_support::encode(&upto)
        })
        .unwrap();
    one.node().compact(4).unwrap();
    one.settle();
    let before = one.commands.clone();
    one.restart();
    assert_eq!(one.commands.keys().copied().collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    one.settle();
    assert_eq!(one.commands, before);
    // Once more, without a snapshot in between: the stored applied index is ahead of this state machine.
    one.restart();
    one.settle();
    assert_eq!(one.commands, before);
}

#[test]
fn without_a_word_from_the_state_machine_the_node_goes_on_from_what_was_reported() {
    let mut one = one_with(5);
    // Reports are stored with the next write.
    let _open = one.node().propose(b"x".to_vec(), SOON).unwrap();
    one.settle();
    one.start(NodeConfig::new(1)).unwrap();
    let applied = one.node().status().applied;
    assert!((5..=6).contains(&applied), "{applied}");
    one.settle();
    assert_eq!(one.node().status().applied, 6);
}

#[test]
fn compaction_beyond_what_is_applied_is_refused() {
    let mut one = one_with(5);
    one.slow = true;
    let _open = one.node().propose(b"x".to_vec(), SOON).unwrap();
    one.settle();
    let data = one.snapshot_data();
    one.node().save_snapshot(5, data).unwrap();
    let beyond = one.node().compact(6);
    assert!(matches!(beyond, Err(NodeError::BadIndex { what: "compaction", index: 6, .. })), "{beyond:?}");
    assert_eq!(one.node().status().first, 1);
    one.node().compact(5).unwrap();
    assert_eq!(one.node().status().first, 6);
    one.node().compact(2).unwrap();
    assert_eq!(one.node().status().first, 6);
}

#[test]
fn compaction_beyond_the_snapshot_is_refused() {
    let mut one = one_with(5);
    assert!(matches!(one.node().compact(1), Err(NodeError::BadIndex { index: 1, .. })));
    let data = one.snapshot_data();
    one.node().save_snapshot(3, data).unwrap();
    assert!(matches!(one.node().compact(4), Err(NodeError::BadIndex { index: 4, .. })));
    one.node().compact(3).unwrap();
}

#[test]
fn a_snapshot_of_what_is_not_applied_or_behind_another_is_refused() {
    let mut one = one_with(5);
    for index in [0, 6] {
        let wrong = one.node().save_snapshot(index, b"");
        assert!(matches!(wrong, Err(NodeError::BadIndex { what: "snapshot", .. })), "{wrong:?}");
    }
    one.node().save_snapshot(4, b"").unwrap();
    for index in [3, 4] {
        assert!(matches!(one.node().save_snapshot(index, b""), Err(NodeError::BadIndex { .. })));
    }
    one.node().save_snapshot(5, b"").unwrap();
}

#[test]
fn a_snapshot_is_saved_on_another_thread_while_the_node_goes_on() {
    for in_pieces in [false, true] {
        let mut one = one_with(5);
        let (writer, data) = (one.node().snapshot_writer(5).unwrap(), one.snapshot_data());
        let saving = std::thread::spawn(move || {
            if !in_pieces {
                return writer.save(data);
            }
            let mut sink = writer.sink()?;
            data.iter().for_each(|byte| sink.write_all(&[*byte]).unwrap());
            Ok(sink.finish()?)
        });
        for n in 0..200_u8 {
            let _open = one.node().propose(vec![n], SOON).unwrap();
            drop(one.settle());
        }
        saving.join().unwrap().unwrap();
        assert_eq!(one.commands.len(), 204);
        one.node().compact(5).unwrap();
        one.restart();
        one.settle();
        assert_eq!(one.commands.len(), 204);
    }
}

#[test]
fn a_configuration_survives_a_restart() {
    let mut one = one_with(3);
    let open = one.node().propose_conf_change(add_learner(9), SOON).unwrap();
    one.settle();
    open.wait().unwrap();
    assert_eq!(
        one.node().storage().conf_state().get_learners(),
        [9],
        "stored without another write asking for it"
    );
    one.restart();
    assert_eq!(one.node().conf_state().get_learners(), [9]);
    // Handing out the entries again does not apply the change again.
    one.settle();
    assert_eq!(one.node().conf_state().get_learners(), [9]);
    one.start(NodeConfig::new(1)).unwrap();
    assert_eq!(one.node().conf_state().get_learners(), [9]);
}

/// The state machine is durable and ahead of what the log knows: the change in between is not handed out again.
#[test]
fn a_configuration_change_that_was_applied_and_not_stored_is_made_up_for_at_the_start() {
    let mut one = one_with(3);
    one.slow = true;
    let open = one.node().propose_conf_change(add_learner(9), SOON).unwrap();
    one.settle();
    let (index, term) = open.position();
    one.start(NodeConfig::new(1).applied(index, term)).unwrap();
    assert_eq!(one.node().conf_state().get_learners(), [9]);
    one.settle();
    assert_eq!(one.node().storage().conf_state().get_learners(), [9]);
}

#[test]
fn a_snapshot_carries_the_configuration_as_of_its_index() {
    let mut one = one_with(4);
    for id in [8, 9] {
        let open = one.node().propose_conf_change(add_learner(id), SOON).unwrap();
        one.settle();
        open.wait().unwrap();
        let _open = one.node().propose(b"x".to_vec(), SOON).unwrap();
        one.settle();
    }
    let learners = |one: &mut Member| {
        let snapshot = one.node().storage().snapshot_data().unwrap().unwrap();
        snapshot.get_metadata().get_conf_state().get_learners().to_vec()
    };
    // 1 election, 2..=4 commands, 5 adds 8, 6 command, 7 adds 9, 8 command
    for (index, expected) in [(4, vec![]), (5, vec![8]), (6, vec![8]), (7, vec![8, 9]), (8, vec![8, 9])] {
        one.node().save_snapshot(index, b"").unwrap();
        assert_eq!(learners(&mut one), expected, "at {index}");
    }
}

#[test]
fn a_node_that_was_away_for_long_comes_back_through_a_snapshot() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    group.cut = [3].into();
    for n in 0..30_u8 {
        let _open = group.propose(1, &[n]);
        group.settle();
    }
    for id in [1, 2] {
        let (applied, data) = (group.node(id).status().applied, group.member(id).snapshot_data());
        group.node(id).save_snapshot(applied, data).unwrap();
        group.node(id).compact(applied).unwrap();
    }
    group.member(3).restart();
    group.cut.clear();
    for _ in 0..5 {
        group.tick();
    }
    let _open = group.propose(1, b"after");
    group.settle();
    assert_eq!(group.commands(3), group.commands(1));
    assert!(group.node(3).status().first > 1, "it came by snapshot");
    let status = group.node(1).status();
    assert_eq!(status.peers[2].matched, status.last, "{status}");
    group.member(3).restart();
    group.member(3).settle();
    assert_eq!(group.commands(3), group.commands(1));
}

#[test]
fn all_members_killed_at_once_come_back_with_everything() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    let mut open = Vec::new();
    for n in 0..30_u8 {
        open.push(group.propose(1, &[n]));
    }
    group.settle();
    assert!(open.into_iter().all(|p| p.wait().is_ok()));
    let before = group.commands(1);
    for id in 1..=3 {
        group.member(id).restart();
    }
    group.elect(2);
    for id in 1..=3 {
        assert_eq!(group.commands(id), before);
    }
}

#[test]
fn a_status_is_for_people() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    let text = group.node(1).status().to_string();
    for part in ["node 1 group 7: leader", "commit 1", "durable 1", "peer   2  replicate  matched        1"] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(group.node(2).status().to_string().contains("follower term"));
}
