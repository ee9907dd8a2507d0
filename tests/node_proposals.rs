//! Every proposal ends with a statement of its fate.
#![cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]

mod node_support;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use node_support::{GROUP, Group, Member, SOON};
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};
use seawall::raft::{Applied, Apply, NodeConfig, NodeError, ProposalError};

#[test]
fn a_proposal_completes_when_the_state_machine_has_applied_it() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    let open = group.propose(1, b"a");
    let (index, term) = open.position();
    group.member(1).slow = true;
    group.settle();
    assert!(group.node(1).status().commit >= index);
    assert!(open.outcome().is_none(), "committed is not applied");
    group.member(1).apply_all();
    assert_eq!(open.wait().unwrap(), Applied { index, term });
    assert_eq!(group.node(1).status().pending_proposals, 0);
}

#[test]
fn a_node_that_is_not_leader_says_who_is() {
    let mut group = Group::new(&[1, 2, 3]);
    let nobody = group.node(2).propose(b"a".to_vec(), SOON);
    assert!(matches!(nobody, Err(NodeError::NotLeader { group: GROUP, leader: None })), "{nobody:?}");
    group.elect(1);
    let result = group.node(2).propose(b"a".to_vec(), SOON);
    assert!(matches!(result, Err(NodeError::NotLeader { leader: Some(1), .. })), "{result:?}");
    let result = group.node(2).propose_conf_change(ConfChangeV2::default(), SOON);
    assert!(matches!(result, Err(NodeError::NotLeader { leader: Some(1), .. })), "{result:?}");
    let result = group.node(2).transfer_leader(3);
    assert!(matches!(result, Err(NodeError::NotLeader { leader: Some(1), .. })), "{result:?}");
    assert!(group.node(1).propose(b"a".to_vec(), SOON).is_ok());
}

#[test]
fn a_proposal_that_was_overwritten_is_dropped_and_names_the_new_leader() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    group.cut = [1].into();
    let lost = group.propose(1, b"lost");
    group.settle();
    group.elect(2);
    let kept = group.propose(2, b"kept");
    group.settle();
    kept.wait().unwrap();
    assert!(lost.outcome().is_none(), "the old leader cannot know yet");
    group.cut.clear();
    for _ in 0..3 {
        group.tick();
    }
    let (index, _) = lost.position();
    match lost.wait() {
        Err(ProposalError::Dropped { index: at, leader: Some(2), .. }) => assert_eq!(at, index),
        other => panic!("{other:?}"),
    }
    assert_eq!(group.commands(1), [b"kept"]);
}

/// The negative control for the one above: losing leadership alone decides nothing.
#[test]
fn a_proposal_outlives_its_leaders_term() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    let open = group.propose(1, b"a");
    let out = group.node(1).drive().unwrap();
    // The followers have it, and their answers never arrive.
    for message in out.messages {
        let to = message.to;
        group.node(to).step(message).unwrap();
        drop(group.member(to).settle());
    }
    group.cut = [1].into();
    group.elect(2);
    group.cut.clear();
    for _ in 0..3 {
        group.tick();
    }
    assert!(!group.node(1).is_leader());
    let (index, term) = open.position();
    assert_eq!(open.wait().unwrap(), Applied { index, term });
    assert_eq!(group.commands(1), [b"a"]);
}

#[test]
fn a_proposal_that_a_snapshot_passed_says_that_nothing_is_known() {
    let mut group = Group::new(&[1, 2, 3]);
    let open = group.proposal_passed_by_a_snapshot();
    assert_eq!(group.commands(1), group.commands(2));
    assert!(matches!(open.wait(), Err(ProposalError::Unknown { .. })));
}

#[test]
fn a_proposal_ends_at_its_deadline_though_nobody_ticks() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    group.cut = [1].into();
    let begun = Instant::now();
    let open = group.node(1).propose(b"a".to_vec(), Duration::from_millis(60)).unwrap();
    assert!(matches!(open.wait(), Err(ProposalError::TimedOut { group: GROUP })));
    assert!(begun.elapsed() >= Duration::from_millis(60));
}

#[test]
fn a_tick_ends_proposals_whose_deadline_passed() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    group.cut = [1].into();
    let open = group.node(1).propose(b"a".to_vec(), Duration::from_millis(5)).unwrap();
    let long = group.node(1).propose(b"b".to_vec(), SOON).unwrap();
    std::thread::sleep(Duration::from_millis(10));
    group.node(1).tick().unwrap();
    assert!(matches!(open.outcome(), Some(Err(ProposalError::TimedOut { .. }))));
    assert!(long.outcome().is_none());
    assert_eq!(group.node(1).status().pending_proposals, 1);
    // The outcome was unknown, and the entry is finally committed.
    group.cut.clear();
    group.elect(1);
    assert!(group.commands(3).contains(&b"a".to_vec()));
}

#[test]
fn a_proposal_is_a_future() {
    let mut group = Group::new(&[1, 2]);
    group.elect(1);
    let mut open = pin!(group.propose(1, b"a"));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(open.as_mut().poll(&mut cx).is_pending());
    group.settle();
    assert!(matches!(open.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
}

#[test]
fn a_proposal_ends_when_its_node_goes() {
    let mut one = Member::new(1, &[1, 2], &[]);
    one.node().campaign().unwrap();
    one.stop();
    let mut group = Group::new(&[1]);
    group.elect(1);
    group.member(1).gate.shut();
    let open = group.propose(1, b"a");
    group.member(1).gate.open();
    group.member(1).stop();
    assert!(matches!(open.wait(), Err(ProposalError::NodeGone { group: GROUP })));
}

#[test]
fn a_proposal_during_a_transfer_of_leadership_is_dropped_at_once() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    group.cut = [2].into();
    group.node(1).transfer_leader(2).unwrap();
    let result = group.node(1).propose(b"a".to_vec(), SOON);
    assert!(matches!(result, Err(NodeError::Dropped { .. })), "{result:?}");
}

#[test]
fn leadership_is_transferred() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    group.node(1).transfer_leader(3).unwrap();
    group.settle();
    assert!(group.node(3).is_leader());
    assert_eq!(group.node(1).leader(), Some(3));
}

#[test]
fn too_many_uncommitted_bytes_are_dropped_at_once() {
    let mut group = Group::new(&[1, 2, 3]);
    group.member(1).config = NodeConfig::new(1).max_uncommitted_size(1 << 20);
    group.member(1).restart();
    group.elect(1);
    group.cut = [1].into();
    let _first = group.propose(1, &[0; 900_000]);
    group.settle();
    let result = group.node(1).propose(vec![0; 900_000], SOON);
    assert!(matches!(result, Err(NodeError::Dropped { .. })), "{result:?}");
}

/// Two runs of a node number their proposals from the start; the entry distinguishes them.
#[test]
fn an_entry_of_an_earlier_run_does_not_complete_a_proposal_of_this_one() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    let first = group.propose(1, b"a");
    group.settle();
    first.wait().unwrap();
    let context = |apply: &Apply| match apply {
        Apply::Entries(entries) => entries.last().unwrap().context.to_vec(),
        Apply::Snapshot(_) => panic!("a snapshot"),
    };
    let mut contexts = Vec::new();
    for _ in 0..3 {
        group.member(1).restart();
        group.elect(1);
        group.member(1).slow = true;
        let open = group.propose(1, b"b");
        group.settle();
        contexts.push(context(group.member(1).waiting.last().unwrap()));
        group.member(1).slow = false;
        group.member(1).apply_all();
        open.wait().unwrap();
    }
    contexts.sort();
    contexts.dedup();
    assert_eq!(contexts.len(), 3);
}

fn change(id: u64, kind: ConfChangeType) -> ConfChangeV2 {
    let mut single = ConfChangeSingle::default();
    single.node_id = id;
    single.set_change_type(kind);
    let mut change = ConfChangeV2::default();
    change.set_changes(vec![single].into());
    change
}

#[test]
fn members_come_and_go() {
    let mut group = Group::new(&[1, 2]);
    group.elect(1);
    let _open = group.propose(1, b"before");
    group.settle();
    // The new member starts from an empty group that knows the others.
    group.members.insert(3, Member::new(3, &[1, 2], &[]));
    let added = group.node(1).propose_conf_change(change(3, ConfChangeType::AddNode), SOON).unwrap();
    group.settle();
    added.wait().unwrap();
    for _ in 0..3 {
        group.tick();
    }
    for id in 1..=3 {
        assert_eq!(group.node(id).conf_state().get_voters().len(), 3);
        assert_eq!(group.commands(id), [b"before"]);
    }
    let removed = group.node(1).propose_conf_change(change(2, ConfChangeType::RemoveNode), SOON).unwrap();
    group.settle();
    removed.wait().unwrap();
    assert!(!group.node(3).conf_state().get_voters().contains(&2));
    let after = group.propose(1, b"after");
    group.settle();
    after.wait().unwrap();
    assert_eq!(group.commands(3), [&b"before"[..], b"after"]);
}

/// raft lets a leader continue that is no longer in the group, and panics at its next commit.
#[test]
fn a_leader_that_finds_itself_removed_steps_down() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    let removed = group.node(1).propose_conf_change(change(2, ConfChangeType::RemoveNode), SOON).unwrap();
    // 2 and 3 have the entry, the answers are lost, and 2 becomes the leader that commits its own removal.
    let out = group.node(1).drive().unwrap();
    for message in out.messages {
        let to = message.to;
        group.node(to).step(message).unwrap();
        drop(group.member(to).settle());
    }
    group.cut = [1].into();
    group.node(2).campaign().unwrap();
    for _ in 0..25 {
        group.tick();
        if group.node(2).status().applied >= removed.position().0 {
            break;
        }
        if !group.node(2).is_leader() && group.leader().is_none() {
            drop(group.node(2).campaign());
        }
    }
    assert!(!group.node(2).is_leader());
    assert!(!group.node(2).conf_state().get_voters().contains(&2));
    group.settle();
    assert!(matches!(group.node(2).campaign(), Err(NodeError::NotNow { .. })));
}

#[test]
fn reads_wait_for_an_index_that_a_quorum_confirmed() {
    let mut group = Group::new(&[1, 2, 3]);
    assert!(matches!(group.node(2).read_index(), Err(NodeError::NotLeader { leader: None, .. })));
    group.elect(1);
    let open = group.propose(1, b"a");
    group.settle();
    let (index, _) = open.position();
    let (at_leader, at_follower) = (group.node(1).read_index().unwrap(), group.node(2).read_index().unwrap());
    assert_ne!(at_leader, at_follower);
    group.settle();
    assert_eq!(group.member(1).reads, [(at_leader, index)]);
    assert_eq!(group.member(2).reads, [(at_follower, index)]);
    // Cut off from its quorum, a leader gives no answer.
    group.cut = [1].into();
    let unanswered = group.node(1).read_index().unwrap();
    group.settle();
    assert!(!group.member(1).reads.iter().any(|(id, _)| *id == unanswered));
}

/// It asked the leader, which lost leadership to it and forwarded the request: the request comes back to its sender.
#[test]
fn a_read_that_comes_back_to_the_node_that_asked_is_answered() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    let asked = group.node(2).read_index().unwrap();
    let request = group.node(2).drive().unwrap().messages;
    assert_eq!((request[0].from, request[0].to), (2, 1));
    group.elect(2);
    let _open = group.propose(2, b"of its own term");
    group.settle();
    group.deliver(request);
    let passed_on = group.node(1).drive().unwrap().messages;
    assert_eq!((passed_on[0].from, passed_on[0].to), (2, 2));
    group.node(2).step(passed_on[0].clone()).unwrap();
    group.settle();
    let answered = group.member(2).reads.clone();
    assert!(answered.iter().any(|(id, index)| *id == asked && *index > 1), "{answered:?}");
}
