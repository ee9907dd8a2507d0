//! A `Node` refuses wrong input with an error that says what was wrong, and does not change.
#![cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]

mod node_support;

use node_support::{GROUP, Group, LARGE, Member, SMALL, SOON, change, open_log};
use proptest::prelude::*;
use raft::eraftpb::{ConfChangeType, ConfChangeV2, ConfState, Entry, Message, MessageType, Snapshot};
use seawall::raft::{Node, NodeConfig, NodeError, RaftOptions};

fn message(kind: MessageType, from: u64, to: u64, term: u64) -> Message {
    let mut m = Message::default();
    m.set_msg_type(kind);
    (m.from, m.to, m.term) = (from, to, term);
    m
}

fn entry(index: u64, term: u64) -> Entry {
    let mut e = Entry::default();
    (e.index, e.term, e.data) = (index, term, vec![1].into());
    e
}

fn refused(result: Result<(), NodeError>) -> &'static str {
    match result {
        Err(NodeError::Refused { why, .. }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_message_for_another_node_is_refused() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    let before = two.node().status();
    let wrong = two.node().step(message(MessageType::MsgHeartbeat, 1, 3, 9));
    assert!(matches!(wrong, Err(NodeError::WrongNode { group: GROUP, to: 3, id: 2 })), "{wrong:?}");
    assert_eq!(two.node().status(), before);
    // The same message with the right address is accepted.
    two.node().step(message(MessageType::MsgHeartbeat, 1, 2, 9)).unwrap();
    assert_eq!(two.node().status().term, 9);
}

#[test]
fn a_message_from_nobody_or_from_itself_is_refused() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    for from in [0, 2] {
        refused(two.node().step(message(MessageType::MsgHeartbeat, from, 2, 9)));
    }
}

#[test]
fn an_answer_of_a_stranger_is_refused() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    let wrong = two.node().step(message(MessageType::MsgAppendResponse, 4, 2, 1));
    assert!(matches!(wrong, Err(NodeError::UnknownPeer { peer: 4, .. })));
    assert!(matches!(two.node().report_unreachable(4), Err(NodeError::UnknownPeer { peer: 4, .. })));
    assert!(matches!(two.node().report_snapshot(2, true), Err(NodeError::UnknownPeer { peer: 2, .. })));
}

#[test]
fn messages_for_use_inside_a_node_are_refused() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    for kind in [
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
        MessageType::MsgCheckQuorum,
        MessageType::MsgPropose,
        MessageType::MsgTransferLeader,
    ] {
        refused(two.node().step(message(kind, 1, 2, 1)));
    }
}

/// raft takes a message without a term for one of its own, and would fall back to term 0.
#[test]
fn a_message_without_a_term_is_refused() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    refused(two.node().step(message(MessageType::MsgAppend, 1, 2, 0)));
}

/// raft panics ("to_commit is out of range"): the directory was exchanged for an older one.
#[test]
fn a_heartbeat_beyond_the_log_says_that_acknowledged_entries_are_gone() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    let mut m = message(MessageType::MsgHeartbeat, 1, 2, 3);
    m.commit = 5;
    let lost = two.node().step(m);
    assert!(matches!(lost, Err(NodeError::LostEntries { from: 1, commit: 5, last: 0, .. })), "{lost:?}");
    assert_eq!(two.node().status().term, 0);
}

#[test]
fn appends_with_gaps_or_falling_terms_are_refused() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    let with = |index, log_term, entries: Vec<Entry>| {
        let mut m = message(MessageType::MsgAppend, 1, 2, 5);
        (m.index, m.log_term) = (index, log_term);
        m.set_entries(entries.into());
        m
    };
    refused(two.node().step(with(0, 0, vec![entry(2, 1)])));
    refused(two.node().step(with(0, 0, vec![entry(1, 1), entry(3, 1)])));
    refused(two.node().step(with(0, 0, vec![entry(1, 2), entry(2, 1)])));
    refused(two.node().step(with(0, 0, vec![entry(1, 6)])));
    // raft finds term 0 where it has no entry, and would append behind a hole.
    refused(two.node().step(with(9, 0, vec![entry(10, 5)])));
    refused(two.node().step(with(u64::MAX - 1, 1, vec![])));
    assert_eq!(two.node().status().last, 0);
    two.node().step(with(0, 0, vec![entry(1, 1), entry(2, 5)])).unwrap();
    assert_eq!(two.node().status().last, 2);
}

#[test]
fn a_snapshot_that_raft_could_not_start_from_is_refused() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    let with = |index, term, voters: Vec<u64>, learners: Vec<u64>| {
        let mut m = message(MessageType::MsgSnapshot, 1, 2, 5);
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = index;
        snapshot.mut_metadata().term = term;
        snapshot.mut_metadata().set_conf_state(ConfState::from((voters, learners)));
        m.set_snapshot(snapshot);
        m
    };
    refused(two.node().step(with(0, 0, vec![1, 2], vec![])));
    refused(two.node().step(with(9, 0, vec![1, 2], vec![])));
    refused(two.node().step(with(9, 6, vec![1, 2], vec![])));
    refused(two.node().step(with(9, 5, vec![], vec![])));
    refused(two.node().step(with(9, 5, vec![1, 1, 2], vec![])));
    refused(two.node().step(with(9, 5, vec![1, 2], vec![2])));
    refused(two.node().step(with(9, 5, vec![0, 2], vec![])));
    two.node().step(with(9, 5, vec![1, 2, 3], vec![])).unwrap();
    assert_eq!(two.node().status().last, 9);
    // What follows the committed entry 9 of term 5 cannot be of an earlier term.
    refused(two.node().step(with(10, 4, vec![1, 2, 3], vec![])));
    refused(two.node().step(with(9, 4, vec![1, 2, 3], vec![])));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    let term = group.node(1).status().term;
    let mut m = message(MessageType::MsgAppendResponse, 2, 1, term);
    m.index = 1000;
    refused(group.node(1).step(m));
    assert_eq!(group.node(1).status().peers[1].matched, 1);
}

/// raft asserts that a winner's log is durable.
#[test]
fn a_vote_that_answers_no_request_is_refused() {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    two.gate.shut();
    let mut m = message(MessageType::MsgAppend, 1, 2, 1);
    m.set_entries(vec![entry(1, 1)].into());
    two.node().step(m).unwrap();
    drop(two.node().drive().unwrap());
    two.node().campaign().unwrap();
    refused(two.node().step(message(MessageType::MsgRequestPreVoteResponse, 1, 2, 2)));
    refused(two.node().step(message(MessageType::MsgRequestVoteResponse, 1, 2, 2)));
    two.gate.open();
}

#[test]
fn an_entry_over_the_limit_is_refused_at_either_end() {
    let mut group = Group::new(&[1, 2]);
    group.elect(1);
    let large = vec![0; (8 << 20) + 1];
    assert!(matches!(group.node(1).propose(large.clone(), SOON), Err(NodeError::EntryTooLarge { .. })));
    let mut m = message(MessageType::MsgAppend, 1, 2, 9);
    let mut e = entry(1, 9);
    e.data = large.into();
    m.set_entries(vec![e].into());
    assert!(matches!(group.node(2).step(m), Err(NodeError::EntryTooLarge { .. })));
}

#[test]
fn what_would_not_fit_into_a_batch_has_to_wait() {
    let mut group = Group::new(&[1, 2]);
    for id in [1, 2] {
        group.members.insert(id, Member::with_segments(id, &[1, 2], &[], LARGE));
    }
    group.elect(1);
    let mut open = Vec::new();
    let busy = loop {
        match group.node(1).propose(vec![0; 7 << 20], SOON) {
            Ok(proposal) => open.push(proposal),
            Err(e) => break e,
        }
    };
    assert!(matches!(busy, NodeError::Busy { .. }), "{busy}");
    group.settle();
    open.push(group.propose(1, b"room again"));
    group.settle();
    assert!(open.into_iter().all(|p| p.wait().is_ok()));
}

/// What the node accepts it also writes: a limit above what the log can hold would make the node fail.
#[test]
fn what_the_log_has_no_room_for_is_refused_before_it_is_taken() {
    let mut one = Member::new(1, &[1], &[]);
    one.node().campaign().unwrap();
    one.settle();
    let most = one.log().wal().max_batch_size() - 1024 - 4 - 24;
    let over = one.node().propose(vec![0; most as usize + 1], SOON).unwrap_err();
    assert!(matches!(over, NodeError::EntryTooLarge { max, .. } if max == most + 24), "{over}");
    let mut open = vec![one.node().propose(vec![0; most as usize], SOON).unwrap()];
    one.settle();
    // One by one and many at a time, of any size.
    for size in [0, 1, 100, 10_000, 400_000] {
        let busy = loop {
            match one.node().propose(vec![0; size], SOON) {
                Ok(proposal) => open.push(proposal),
                Err(e) => break e,
            }
        };
        assert!(matches!(busy, NodeError::Busy { .. }), "{busy}");
        one.settle();
    }
    assert!(open.into_iter().all(|p| p.wait().is_ok()));
}

#[test]
fn a_node_id_of_zero_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(RaftOptions::new().node_id(0).open(dir.path()).is_err());
    let mut one = Member::new(1, &[1], &[]);
    assert!(matches!(one.start(NodeConfig::new(0)), Err(NodeError::Config { .. })));
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let mut one = Member::new(1, &[1, 2], &[]);
    let wrong = one.start(NodeConfig::new(2));
    assert!(matches!(wrong, Err(NodeError::WrongDirectory { configured: 2, log: Some(1), .. })), "{wrong:?}");

    let dir = tempfile::tempdir().unwrap();
    drop(open_log(1, dir.path(), &Default::default(), SMALL));
    assert!(RaftOptions::new().node_id(2).open(dir.path()).is_err());
}

#[test]
fn a_directory_that_is_pinned_to_nobody_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = RaftOptions::new().open(dir.path()).unwrap();
    let storage = log.create_group(GROUP, ConfState::from((vec![1], vec![]))).unwrap();
    let wrong = Node::new(NodeConfig::new(1), storage);
    assert!(matches!(wrong, Err(NodeError::WrongDirectory { configured: 1, log: None, .. })));
}

#[test]
fn timings_that_make_a_group_restless_are_refused() {
    let mut one = Member::new(1, &[1], &[]);
    let config = NodeConfig::new(1);
    for bad in [
        config.clone().heartbeat_tick(2),
        config.clone().heartbeat_tick(0),
        config.clone().election_tick(9),
        config.clone().election_tick(usize::MAX),
        config.clone().election_timeout(9..12),
        config.clone().election_timeout(12..12),
        config.clone().max_inflight_messages(0),
        config.clone().max_unwritten_size(1),
        config.clone().max_uncommitted_size(1),
    ] {
        let refused = one.start(bad);
        assert!(matches!(refused, Err(NodeError::Config { group: GROUP, .. })), "{refused:?}");
    }
    one.start(config.heartbeat_tick(2).election_tick(20)).unwrap();
}

#[test]
fn an_election_timeout_of_one_value_is_certain() {
    for ticks in [10, 13, 19] {
        let mut two = Member::new(2, &[1, 2, 3], &[]);
        two.start(NodeConfig::new(2).election_timeout(ticks..ticks + 1)).unwrap();
        for _ in 1..ticks {
            two.node().tick().unwrap();
        }
        assert!(two.settle().is_empty());
        two.node().tick().unwrap();
        assert_eq!(two.settle().len(), 2, "asks both others");
    }
}

/// raft silently turns an unwanted change into an empty entry, and panics when a leader that removed itself commits
/// again.
#[test]
fn configuration_changes_that_raft_would_swallow_or_choke_on_are_refused() {
    let mut group = Group::new(&[1, 2]);
    group.elect(1);
    let mut refused = |change: ConfChangeV2| {
        let result = group.node(1).propose_conf_change(change, SOON);
        assert!(matches!(result, Err(NodeError::ConfChangeRefused { .. })), "{result:?}");
    };
    refused(change(1, ConfChangeType::RemoveNode));
    refused(change(1, ConfChangeType::AddLearnerNode));
    refused(change(0, ConfChangeType::AddNode));
    refused(ConfChangeV2::default());
    let learner = change(3, ConfChangeType::AddLearnerNode);
    let taken = group.node(1).propose_conf_change(learner.clone(), SOON).unwrap();
    let result = group.node(1).propose_conf_change(learner, SOON);
    assert!(matches!(result, Err(NodeError::ConfChangeRefused { .. })), "one is pending: {result:?}");
    group.settle();
    taken.wait().unwrap();
    assert_eq!(group.node(2).conf_state().get_learners(), [3]);
}

#[test]
fn applied_is_taken_in_order_and_only_for_what_was_handed_out() {
    let mut one = Member::new(1, &[1], &[]);
    one.node().campaign().unwrap();
    one.settle();
    for n in 0..5_u8 {
        let _open = one.node().propose(vec![n], SOON).unwrap();
    }
    one.slow = true;
    one.settle();
    let beyond = one.node().report_applied(7);
    assert!(matches!(beyond, Err(NodeError::AppliedOutOfOrder { index: 7, applied: 1, handed_out: 6, .. })));
    one.node().report_applied(4).unwrap();
    assert!(matches!(one.node().report_applied(3), Err(NodeError::AppliedOutOfOrder { index: 3, .. })));
    one.node().report_applied(4).unwrap();
    one.node().report_applied(6).unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Message(Message),
    Tick,
    Campaign,
    Propose,
    Settle,
    Shut,
    Open,
}

fn any_message() -> impl Strategy<Value = Message> {
    let small = prop_oneof![8 => 0..12_u64, 1 => Just(u64::MAX), 1 => Just(1 << 62)];
    let numbers = proptest::collection::vec(small, 8);
    let entries = proptest::collection::vec((0..12_u64, 0..6_u64, any::<bool>()), 0..4);
    let snapshot = proptest::option::of((0..14_u64, 0..6_u64, proptest::collection::vec(0..5_u64, 0..4)));
    (0..19_i32, numbers, entries, any::<bool>(), snapshot, any::<bool>()).prop_map(
        |(kind, n, entries, reject, snapshot, in_order)| {
            let kind = [
                MessageType::MsgHup,
                MessageType::MsgBeat,
                MessageType::MsgPropose,
                MessageType::MsgAppend,
                MessageType::MsgAppendResponse,
                MessageType::MsgRequestVote,
                MessageType::MsgRequestVoteResponse,
                MessageType::MsgSnapshot,
                MessageType::MsgHeartbeat,
                MessageType::MsgHeartbeatResponse,
                MessageType::MsgUnreachable,
                MessageType::MsgSnapStatus,
                MessageType::MsgCheckQuorum,
                MessageType::MsgTransferLeader,
                MessageType::MsgTimeoutNow,
                MessageType::MsgReadIndex,
                MessageType::MsgReadIndexResp,
                MessageType::MsgRequestPreVote,
                MessageType::MsgRequestPreVoteResponse,
            ][kind as usize];
            let mut m = message(kind, n[0] % 5, if n[1] > 8 { 3 } else { 2 }, n[2]);
            (m.index, m.log_term, m.commit, m.commit_term, m.reject_hint) = (n[3], n[4], n[5], n[6], n[7]);
            m.reject = reject;
            let built = entries.iter().enumerate().map(|(i, (index, term, change))| {
                let index = if in_order { m.index.saturating_add(1 + i as u64) } else { *index };
                let mut e = entry(index, if in_order { m.term } else { *term });
                if *change {
                    e.set_entry_type(raft::eraftpb::EntryType::EntryConfChangeV2);
                }
                e
            });
            let built: Vec<Entry> = built.collect();
            m.set_entries(built.into());
            if let Some((index, term, voters)) = snapshot {
                let mut s = Snapshot::default();
                s.mut_metadata().index = index;
                s.mut_metadata().term = term;
                s.mut_metadata().set_conf_state(ConfState::from((voters, vec![])));
                m.set_snapshot(s);
            }
            m
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => any_message().prop_map(Step::Message),
        3 => Just(Step::Tick),
        1 => Just(Step::Campaign),
        2 => Just(Step::Propose),
        4 => Just(Step::Settle),
        1 => Just(Step::Shut),
        1 => Just(Step::Open),
    ]
}

/// `PROPTEST_CASES=1000` for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(150, |n| n.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(), ..ProptestConfig::default() })]

    /// A node answers any network input with an error or a step of raft; its log can be started again afterwards.
    #[test]
    fn no_sequence_of_messages_makes_a_node_panic(
        steps in proptest::collection::vec(any_step(), 1..60),
        single in any::<bool>(),
    ) {
        let voters: &[u64] = if single { &[2] } else { &[1, 2, 3] };
        let mut two = Member::with_segments(2, voters, &[4], 1 << 18);
        for step in steps {
            match step {
                Step::Message(m) => drop(two.node().step(m)),
                Step::Tick => (0..7).for_each(|_| drop(two.node().tick())),
                Step::Campaign => drop(two.node().campaign()),
                Step::Propose => drop(two.node().propose(b"p".to_vec(), SOON)),
                Step::Settle => drop(two.settle()),
                Step::Shut => two.gate.shut(),
                Step::Open => two.gate.open(),
            }
        }
        two.gate.open();
        two.settle();
        let failed = two.node().status().failed;
        prop_assert!(!failed, "{:?}", two.node().tick());
        let before = two.node().status();
        two.restart();
        let after = two.node().status();
        prop_assert_eq!((before.term, before.vote, before.commit), (after.term, after.vote, after.commit));
        prop_assert_eq!(before.last, after.last);
    }
}
