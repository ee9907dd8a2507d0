//! A `Node` releases what depends on durability only afterwards, and loses nothing that must be released.
#![cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]

mod node_support;

use node_support::{GROUP, Group, Member, SOON};
use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType,
    Snapshot,
};
use seawall::raft::{Apply, Node, NodeConfig, NodeError, Output, ProposalError, RaftOptions, drive_all};

fn kinds(messages: &[Message]) -> Vec<MessageType> {
    messages.iter().map(Message::get_msg_type).collect()
}

fn append(term: u64, prev: (u64, u64), entries: &[(u64, u64)], commit: u64) -> Message {
    let mut m = Message::default();
    m.set_msg_type(MessageType::MsgAppend);
    (m.from, m.to, m.term, m.index, m.log_term, m.commit) = (1, 2, term, prev.0, prev.1, commit);
    let entry = |(index, term): &(u64, u64)| {
        let mut e = Entry::default();
        (e.index, e.term, e.data) = (*index, *term, vec![b'x'; 10].into());
        e
    };
    m.set_entries(entries.iter().map(entry).collect::<Vec<_>>().into());
    m
}

/// Symptom of the fault: own match and commit run ahead of the disk, or stay 0 forever.
#[test]
fn own_match_and_commit_wait_for_the_disk_and_then_come() {
    let mut one = Member::new(1, &[1], &[]);
    one.gate.shut();
    one.node().campaign().unwrap();
    for _ in 0..5 {
        let out = one.node().drive().unwrap();
        assert!(out.is_empty(), "{out:?}");
        let status = one.node().status();
        assert_eq!((status.commit, status.peers[0].matched, status.last, status.visible), (0, 0, 1, 1));
        assert!(status.durable < 1);
    }
    one.gate.open();
    let out = one.node().wait_durable().unwrap();
    assert_eq!(out.apply.len(), 1, "committed in the same call: {out:?}");
    let status = one.node().status();
    assert_eq!((status.commit, status.peers[0].matched, status.durable), (1, 1, 1));
}

#[test]
fn a_follower_acknowledges_entries_only_when_they_are_durable() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    two.gate.shut();
    two.node().step(append(1, (0, 0), &[(1, 1), (2, 1)], 0)).unwrap();
    for _ in 0..3 {
        assert!(two.node().drive().unwrap().is_empty());
        two.node().tick().unwrap();
    }
    assert_eq!(two.node().status().visible, 2);
    two.gate.open();
    let out = two.node().wait_durable().unwrap();
    assert_eq!(kinds(&out.messages), [MessageType::MsgAppendResponse]);
    assert_eq!(out.messages[0].index, 2);
}

#[test]
fn a_vote_goes_out_only_when_it_is_durable() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    two.gate.shut();
    let mut m = Message::default();
    m.set_msg_type(MessageType::MsgRequestVote);
    (m.from, m.to, m.term) = (3, 2, 5);
    two.node().step(m).unwrap();
    assert!(two.node().drive().unwrap().is_empty());
    assert_eq!(two.node().status().vote, Some(3));
    two.gate.open();
    let out = two.node().wait_durable().unwrap();
    assert_eq!(kinds(&out.messages), [MessageType::MsgRequestVoteResponse]);
    assert!(!out.messages[0].reject);
    two.stop();
    two.restart();
    assert_eq!((two.node().status().term, two.node().status().vote), (5, Some(3)));
}

/// The negative control for the three above: what promises nothing does not wait.
#[test]
fn a_leaders_appends_do_not_wait_for_its_disk() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    group.member(1).gate.shut();
    let _open = group.propose(1, b"a");
    let out = group.node(1).drive().unwrap();
    assert_eq!(kinds(&out.messages), [MessageType::MsgAppend, MessageType::MsgAppend]);
    // Both followers have it on their disks: a quorum without the leader, whose own disk is stalled.
    group.deliver(out.messages);
    group.settle();
    let status = group.node(1).status();
    assert_eq!(status.commit, 2);
    assert_eq!(status.peers.iter().map(|p| p.matched).collect::<Vec<_>>(), [1, 2, 2]);
    assert!(group.member(1).commands.is_empty(), "not applied before it is durable here");
    group.member(1).gate.open();
    group.settle();
    assert_eq!(group.commands(1), [b"a"]);
}

/// A single voter elects itself in the Ready that holds its vote. A learner must not hear from a term that a crash
/// would take back: the next run would lead the same term with other entries.
#[test]
fn a_single_voter_sends_nothing_in_a_term_that_is_not_durable() {
    let mut group = Group::with_learners(&[1], &[2]);
    group.member(1).gate.shut();
    group.node(1).campaign().unwrap();
    assert!(group.node(1).drive().unwrap().messages.is_empty());
    let _open = group.node(1).propose(b"a".to_vec(), SOON).unwrap();
    group.node(1).tick().unwrap();
    assert!(group.node(1).drive().unwrap().messages.is_empty());
    group.member(1).gate.open();
    group.settle();
    assert_eq!(group.commands(2), [b"a"]);
}

#[test]
fn a_write_that_fails_is_never_acknowledged_and_ends_the_node() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    two.gate.fail();
    two.node().step(append(1, (0, 0), &[(1, 1)], 0)).unwrap();
    // The first call may come before the failure is known; then it returns nothing.
    let first = two.node().drive();
    assert!(first.as_ref().map_or(true, Output::is_empty), "{first:?}");
    let failed = two.node().wait_durable();
    assert!(matches!(failed, Err(NodeError::Failed { group: GROUP, .. })), "{failed:?}");
    two.gate.open();
    for _ in 0..3 {
        assert!(matches!(two.node().drive(), Err(NodeError::Failed { .. })));
        assert!(matches!(two.node().wait_durable(), Err(NodeError::Failed { .. })));
        assert!(matches!(two.node().tick(), Err(NodeError::Failed { .. })));
        assert!(matches!(two.node().campaign(), Err(NodeError::Failed { .. })));
        let again = two.node().step(append(1, (0, 0), &[(1, 1)], 0));
        assert!(matches!(again, Err(NodeError::Failed { .. })));
    }
    assert!(two.node().status().failed);
    let message = two.node().tick().unwrap_err().to_string();
    assert!(message.contains("is inactive"), "{message}");
}

#[test]
fn proposals_of_a_node_whose_write_fails_end_with_that_error() {
    let mut one = Member::new(1, &[1], &[]);
    one.node().campaign().unwrap();
    one.settle();
    one.gate.fail();
    let open = one.node().propose(b"a".to_vec(), SOON).unwrap();
    one.settle();
    assert!(matches!(open.wait(), Err(ProposalError::Failed(NodeError::Failed { .. }))));
    let refused = one.node().propose(b"b".to_vec(), SOON);
    assert!(matches!(refused, Err(NodeError::Failed { .. })));
}

/// The faults "HardState spawned and forgotten" and "a persist that nobody awaits": there is nothing to forget.
#[test]
fn a_write_that_nobody_waits_for_takes_its_course() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    two.node().step(append(1, (0, 0), &[(1, 1)], 0)).unwrap();
    let begun = std::time::Instant::now();
    // On a busy machine the write may be durable before the first call returns.
    let mut messages = two.node().drive().unwrap().messages;
    while messages.is_empty() {
        assert!(begun.elapsed() < SOON, "nobody flushes");
        std::thread::yield_now();
        messages = two.node().drive().unwrap().messages;
    }
    assert_eq!(kinds(&messages), [MessageType::MsgAppendResponse]);
}

/// "A persist error that is logged and then acknowledged": a caller that only ever drives learns of it, too.
#[test]
fn a_write_that_fails_is_found_out_though_nobody_waits_for_it() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    two.gate.fail();
    two.node().step(append(1, (0, 0), &[(1, 1)], 0)).unwrap();
    let begun = std::time::Instant::now();
    loop {
        match two.node().drive() {
            Ok(out) => assert!(out.is_empty(), "{out:?}"),
            Err(e) => break assert!(matches!(e, NodeError::Failed { .. })),
        }
        assert!(begun.elapsed() < SOON, "nobody was told");
        std::thread::yield_now();
    }
}

/// Two groups on one log: one meets the error, and the leader of the other, which writes nothing, does not go on leading.
#[test]
fn w15_a_log_that_is_poisoned_by_one_group_ends_the_nodes_of_all() {
    let mut one = Member::new(1, &[1], &[]);
    let other = one.log().create_group(GROUP + 1, ConfState::from((vec![1], vec![]))).unwrap();
    let mut other = Node::new(NodeConfig::new(1), other).unwrap();
    one.node().campaign().unwrap();
    one.settle();
    other.campaign().unwrap();
    let begun = std::time::Instant::now();
    while other.read_index().is_err() {
        drop(other.drive().unwrap());
        assert!(begun.elapsed() < SOON, "a single voter is elected");
    }
    assert!(other.is_leader());
    other.tick().unwrap();

    one.gate.fail();
    drop(one.node().propose(b"a".to_vec(), SOON).unwrap());
    one.settle();
    assert!(one.node().status().failed);

    let failed = other.tick().unwrap_err();
    let NodeError::Failed { group, cause } = &failed else { panic!("{failed}") };
    let is_poisoned =
        matches!(&**cause, NodeError::Storage(seawall::raft::Error::Log(seawall::Error::Poisoned { .. })));
    assert!(*group == GROUP + 1 && is_poisoned, "{failed}");
    assert!(!other.is_leader() && other.status().failed);
    assert!(other.read_index().is_err() && other.drive().is_err());
    assert!(other.propose(b"b".to_vec(), SOON).is_err());
}

/// "HardState durable without the entries it commits": the log would not open for raft after that.
#[test]
fn entries_and_the_hard_state_that_commits_them_survive_together() {
    for cut in 0..6_u64 {
        let mut two = Member::new(2, &[1, 2, 3], &[]);
        for index in 1..=6 {
            if index > cut {
                two.gate.fail();
            }
            let message = append(index, (index - 1, index - 1), &[(index, index)], index);
            if two.node().step(message).is_err() {
                break;
            }
            two.settle();
        }
        two.gate.open();
        two.restart();
        let status = two.node().status();
        assert!(status.commit <= status.last && status.last >= cut, "cut {cut}: {status}");
        assert!(status.term >= cut && status.commit >= cut, "cut {cut}: {status}");
    }
}

/// raft panics with "not leader but has new msg after advance" if something happens between Ready and advance.
#[test]
fn proposals_steps_and_ticks_come_in_while_readys_are_in_flight() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    group.member(1).gate.shut();
    let mut open = Vec::new();
    for n in 0..20_u8 {
        open.push(group.propose(1, &[n]));
        let out = group.node(1).drive().unwrap();
        group.deliver(out.messages);
        group.node(1).tick().unwrap();
        group.settle();
    }
    assert!(group.node(1).in_flight() >= 20, "{}", group.node(1).status());
    // A message of a higher term makes it step down in the middle of this.
    let mut m = Message::default();
    m.set_msg_type(MessageType::MsgHeartbeatResponse);
    (m.from, m.to, m.term) = (2, 1, 9);
    group.node(1).step(m).unwrap();
    drop(group.node(1).drive().unwrap());
    assert!(!group.node(1).is_leader());
    group.member(1).gate.open();
    group.elect(1);
    assert_eq!(group.commands(1).len(), 20);
    assert_eq!(group.commands(2), group.commands(1));
    assert!(open.into_iter().all(|p| p.wait().is_ok()));
}

/// "The LightReady's messages or committed entries dropped".
#[test]
fn what_persisting_brings_about_comes_out_of_the_same_call() {
    let mut group = Group::new(&[1, 2]);
    group.elect(1);
    group.member(1).gate.shut();
    let _open = group.propose(1, b"a");
    let out = group.node(1).drive().unwrap();
    group.deliver(out.messages);
    group.settle();
    assert_eq!(group.node(1).status().commit, 1, "one of two is no quorum");
    group.member(1).gate.open();
    let out = group.node(1).wait_durable().unwrap();
    assert_eq!(kinds(&out.messages), [MessageType::MsgAppend], "the new commit index goes to the follower");
    assert_eq!(out.messages[0].commit, 2);
    let commands: Vec<_> = out.apply.iter().flat_map(Apply::commands).map(|e| e.data.to_vec()).collect();
    assert_eq!(commands, [b"a"]);
}

fn snapshot_message(index: u64, term: u64, commands: &[u8]) -> Message {
    let mut m = Message::default();
    m.set_msg_type(MessageType::MsgSnapshot);
    (m.from, m.to, m.term) = (1, 2, term);
    let mut snapshot = Snapshot::default();
    snapshot.mut_metadata().index = index;
    snapshot.mut_metadata().term = term;
    snapshot.mut_metadata().set_conf_state(ConfState::from((vec![1, 2, 3], vec![])));
    snapshot.set_data(commands.to_vec().into());
    m.set_snapshot(snapshot);
    m
}

/// A change of the configuration: 3 is removed.
fn removal(index: u64, term: u64) -> Entry {
    let mut single = ConfChangeSingle::default();
    single.node_id = 3;
    single.set_change_type(ConfChangeType::RemoveNode);
    let mut change = ConfChangeV2::default();
    change.set_changes(vec![single].into());
    let mut e = Entry::default();
    (e.index, e.term, e.data) = (index, term, change.write_to_bytes().unwrap().into());
    e.set_entry_type(EntryType::EntryConfChangeV2);
    e
}

fn voters(member: &mut Member) -> Vec<u64> {
    let mut voters = member.node().conf_state().get_voters().to_vec();
    voters.sort_unstable();
    voters
}

/// For raft, the log begins after a received snapshot, and the configuration is the snapshot's. What is applied below
/// it meanwhile must not be stored as applied, because its configuration changes were not made.
#[test]
fn a_snapshot_that_came_in_and_was_lost_with_the_process_leaves_nothing_behind() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    let mut m = append(1, (0, 0), &[(1, 1), (2, 1), (3, 1)], 3);
    m.mut_entries()[2] = removal(3, 1);
    two.slow = true;
    two.node().step(m).unwrap();
    two.settle();
    two.node().report_applied(2).unwrap();
    two.node().save_snapshot(2, b"").unwrap();
    two.node().step(snapshot_message(9, 1, b"")).unwrap();
    two.node().report_applied(3).unwrap();
    let wrong = two.node().save_snapshot(3, b"");
    assert!(matches!(wrong, Err(NodeError::BadIndex { what: "snapshot", index: 3, .. })), "{wrong:?}");
    two.node().compact(2).unwrap();
    two.slow = false;
    two.start(NodeConfig::new(2)).unwrap();
    two.settle();
    assert_eq!((two.node().status().applied, voters(&mut two)), (3, vec![1, 2]));
}

/// raft adopts a snapshot's configuration when the message arrives. Earlier changes that the state machine reports
/// after that must not be applied on top of it.
#[test]
fn a_change_from_before_a_snapshot_is_not_made_after_it() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    let mut m = append(1, (0, 0), &[(1, 1), (2, 1)], 2);
    m.mut_entries()[1] = removal(2, 1);
    two.slow = true;
    two.node().step(m).unwrap();
    two.settle();
    // By then 3 was added again.
    two.node().step(snapshot_message(9, 1, b"")).unwrap();
    two.apply_all();
    two.slow = false;
    two.settle();
    two.apply_all();
    assert_eq!(two.node().status().applied, 9);
    assert_eq!(voters(&mut two), [1, 2, 3]);
}

/// "A Ready holding a snapshot skipped without advance".
#[test]
fn a_snapshot_is_installed_acknowledged_and_handed_out_once_it_is_durable() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    two.node().step(append(1, (0, 0), &[(1, 1), (2, 1)], 1)).unwrap();
    two.settle();
    two.gate.shut();
    let data = node_support::encode(&[(19, b"s".to_vec())].into());
    two.node().step(snapshot_message(20, 3, &data)).unwrap();
    let out = two.node().drive().unwrap();
    assert!(out.is_empty(), "{out:?}");
    // The clock keeps running; the resulting election waits for the snapshot.
    for _ in 0..100 {
        two.node().tick().unwrap();
        assert!(two.node().drive().unwrap().is_empty());
    }
    assert!(matches!(two.node().campaign(), Err(NodeError::NotNow { .. })));
    two.gate.open();
    let out = two.node().wait_durable().unwrap();
    assert_eq!(kinds(&out.messages), [MessageType::MsgAppendResponse]);
    assert_eq!(out.messages[0].index, 20);
    assert!(matches!(out.apply.as_slice(), [Apply::Snapshot(s)] if s.get_data() == data));
    // An election while the state machine is still restoring.
    two.node().campaign().unwrap();
    two.take(out);
    two.settle();
    // And it continues from there.
    two.node().step(append(9, (20, 3), &[(21, 9)], 21)).unwrap();
    two.settle();
    assert_eq!(two.commands.keys().copied().collect::<Vec<_>>(), [19, 21]);
    two.restart();
    two.settle();
    assert_eq!(two.commands.keys().copied().collect::<Vec<_>>(), [19, 21]);
    assert_eq!(two.node().status().first, 21);
}

/// "Slow application of entries holding up ticks and heartbeats".
#[test]
fn a_state_machine_that_takes_its_time_holds_up_neither_heartbeats_nor_commits() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    for id in 1..=3 {
        group.member(id).slow = true;
    }
    let term = group.node(1).status().term;
    let mut open = Vec::new();
    for n in 0..50_u8 {
        open.push(group.propose(1, &[n]));
        group.tick();
    }
    let status = group.node(1).status();
    assert_eq!((status.term, group.node(1).is_leader()), (term, true), "{status}");
    assert_eq!((status.commit, status.applied, status.handed_out), (51, 1, 51));
    assert!(open.iter().all(|p| p.outcome().is_none()), "a proposal completes when it is applied");
    for id in 1..=3 {
        group.member(id).slow = false;
        group.member(id).apply_all();
    }
    assert!(open.into_iter().all(|p| p.wait().is_ok()));
}

#[test]
fn a_state_machine_far_behind_is_not_buried() {
    let mut one = Member::new(1, &[1], &[]);
    one.config = NodeConfig::new(1).max_unapplied_size(10_000).max_apply_size(5_000);
    one.restart();
    one.slow = true;
    one.node().campaign().unwrap();
    for _ in 0..100 {
        let _open = one.node().propose(vec![1; 1000], SOON).unwrap();
        one.settle();
    }
    // Bookkeeping is held back until there is something else to write.
    for _ in 0..10 {
        one.settle();
    }
    one.slow = false;
    while one.node().status().applied < 101 {
        one.apply_all();
        one.settle();
    }
    assert_eq!(one.commands.len(), 100);
}

/// Two groups, one batch, one fsync; and a failing one does not affect the other.
#[test]
fn the_readys_of_many_groups_share_one_write() {
    let dir = tempfile::tempdir().unwrap();
    let log = RaftOptions::new().node_id(1).open(dir.path()).unwrap();
    let mut nodes: Vec<Node> = (1..=50)
        .map(|group| {
            let storage = log.create_group(group, ConfState::from((vec![1], vec![]))).unwrap();
            let mut node = Node::new(NodeConfig::new(1), storage).unwrap();
            node.campaign().unwrap();
            node
        })
        .collect();
    let driven = drive_all(&mut nodes);
    assert!(driven.outputs.iter().all(|out| out.messages.is_empty()) && driven.failed.is_empty());
    let mut led = 0;
    for node in &mut nodes {
        while node.in_flight() > 0 {
            let out = node.wait_durable().unwrap();
            led += out.apply.len();
        }
        assert_eq!(node.status().commit, 1);
    }
    assert!(led <= 50);
}

#[test]
fn a_waker_says_when_a_batch_is_durable() {
    use std::sync::Arc;
    use std::sync::mpsc;
    struct Bell(mpsc::Sender<()>);
    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _nobody_listens = self.0.send(());
        }
    }
    let (ring, rung) = mpsc::channel();
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    two.gate.shut();
    two.node().set_waker(&Arc::new(Bell(ring)).into());
    two.node().step(append(1, (0, 0), &[(1, 1)], 0)).unwrap();
    assert!(two.node().drive().unwrap().is_empty());
    assert!(rung.try_recv().is_err());
    two.gate.open();
    rung.recv_timeout(SOON).unwrap();
    assert_eq!(kinds(&two.node().drive().unwrap().messages), [MessageType::MsgAppendResponse]);
}
