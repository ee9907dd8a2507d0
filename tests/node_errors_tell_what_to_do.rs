//! Errors of a `Node` and its proposals as its user encounters them: each says what happened, to which group, node or
//! index, and what to do next.
#![cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]

mod errors_support;
mod node_support;

use std::path::Path;
use std::time::Duration;

use errors_support::{Met, check, met, met_in};
use node_support::{GROUP, Group, Member, SOON, change};
use raft::eraftpb::{ConfChangeType, ConfChangeV2, ConfState, Entry, Message, MessageType};
use seawall::format::DATA_START;
use seawall::raft::{Node, NodeConfig, NodeError, Proposal, RaftOptions};

const SITUATIONS: &[fn() -> Vec<Met>] = &[
    configurations_that_cannot_work,
    a_directory_of_somebody_else,
    a_group_that_is_driven_already,
    a_state_machine_that_does_not_fit,
    requests_to_one_who_does_not_lead,
    proposals_that_are_not_taken,
    changes_of_the_configuration,
    messages_that_are_refused,
    reports_that_are_out_of_order,
    snapshots_and_compaction,
    not_at_this_moment,
    a_store_that_refuses,
    a_disk_that_fails,
];

#[test]
fn each_error_of_a_node_says_what_happened_where_and_what_to_do() {
    let all: Vec<Met> = SITUATIONS.iter().flat_map(|situation| situation()).collect();
    let unreached = [("Raft", "whatever raft 0.7 has a word of its own for is checked before it is asked")];
    check(include_str!("../src/raft/node/error.rs"), "NodeError", &all, &unreached);
}

#[test]
fn each_end_of_a_proposal_says_what_became_of_it_and_what_to_do() {
    let all = proposals_that_do_not_complete();
    let unreached = [(
        "Rejected",
        "a change was checked against the configuration when it was proposed, and nothing changes that until it is applied",
    )];
    check(include_str!("../src/raft/node/proposal.rs"), "ProposalError", &all, &unreached);
}

/// The error of a node for this configuration.
fn started(config: NodeConfig) -> NodeError {
    Member::new(1, &[1], &[]).start(config).unwrap_err()
}

fn configurations_that_cannot_work() -> Vec<Met> {
    let empty = tempfile::tempdir().unwrap();
    let log = RaftOptions::new().node_id(1).open(empty.path()).unwrap();
    let nobody = log.create_group(GROUP, ConfState::default()).unwrap();
    vec![
        met(
            started(NodeConfig::new(0)),
            "group 7: invalid node configuration: the node id is 0, which raft reserves for \"nobody\"; ids start at 1",
        ),
        met(
            started(NodeConfig::new(1).election_tick(9)),
            "group 7: invalid node configuration: election_tick 9 is below ten heartbeats (10): a slow fsync or a lost \
             packet would start elections",
        ),
        met(
            started(NodeConfig::new(1).max_entry_size(5).max_unwritten_size(4)),
            "group 7: invalid node configuration: max_unwritten_size 4 is below max_entry_size 5: an \
             entry of that size could never be accepted",
        ),
        met(
            Node::new(NodeConfig::new(1), nobody).unwrap_err(),
            "group 7: invalid node configuration: the group cannot be started: its configuration has no \
             voters; create it with its members",
        ),
    ]
}

fn a_directory_of_somebody_else() -> Vec<Met> {
    let dir = tempfile::tempdir().unwrap();
    let log = RaftOptions::new().open(dir.path()).unwrap();
    let storage = log.create_group(GROUP, ConfState::from((vec![1], vec![]))).unwrap();
    vec![
        met(
            started(NodeConfig::new(2)),
            "group 7: node 2 was started over a directory that belongs to node 1. Pin the id with `RaftOptions::node_id` \
             and check which directory this process was given",
        ),
        met(
            Node::new(NodeConfig::new(1), storage).unwrap_err(),
            "group 7: node 1 was started over a directory that is not pinned to any node. Pin the id \
             with `RaftOptions::node_id` and check which directory this process was given",
        ),
    ]
}

fn a_group_that_is_driven_already() -> Vec<Met> {
    let mut one = Member::new(1, &[1], &[]);
    let group = one.log().group(GROUP).unwrap();
    let second = Node::new(NodeConfig::new(1), group.clone());
    one.node().campaign().unwrap();
    assert!(one.node().is_leader() || one.node().status().term > 0);
    let refused =
        met(second.unwrap_err(), "group 7: a node drives it already. Drop that one first, or use it");
    // Another group is not affected; and after the first node was dropped, this one can be driven.
    let other = one.log().create_group(GROUP + 1, ConfState::from((vec![1], vec![]))).unwrap();
    drop(Node::new(NodeConfig::new(1), other).unwrap());
    one.drop_node();
    drop(Node::new(NodeConfig::new(1), group.clone()).unwrap());
    Node::new(NodeConfig::new(1), group).unwrap();
    vec![refused]
}

/// A group of one member that has applied everything up to this index; its entries contain their index.
fn one_with(last: u64) -> Member {
    let mut one = Member::new(1, &[1], &[]);
    one.node().campaign().unwrap();
    one.settle();
    for n in 2..=last {
        let _open = one.node().propose(format!("the entry at {n}").into_bytes(), SOON).unwrap();
        one.settle();
    }
    one
}

fn a_state_machine_that_does_not_fit() -> Vec<Met> {
    let mut one = one_with(5);
    vec![
        met(
            one.start(NodeConfig::new(1).applied(6, 1)).unwrap_err(),
            "group 7: the state machine says it applied up to 6, but the log can continue only from [0, \
             5]. If below: restore the state machine from the newest snapshot first. If above: the log \
             is older than the state machine, so they do not belong together",
        ),
        met(
            one.start(NodeConfig::new(1).applied(4, 2)).unwrap_err(),
            "group 7: the state machine applied index 4 with term 2, but the log has term 1 there, so \
             they do not belong together. Check which directory this process was given, or restore the \
             state machine from this log's newest snapshot",
        ),
    ]
}

fn requests_to_one_who_does_not_lead() -> Vec<Met> {
    let mut group = Group::new(&[1, 2, 3]);
    let nobody = group.node(2).propose(b"a".to_vec(), SOON).unwrap_err();
    group.elect(1);
    vec![
        met(nobody, "group 7: this node is not the leader: none is known, so ask again later"),
        met(
            group.node(2).propose(b"a".to_vec(), SOON).unwrap_err(),
            "group 7: this node is not the leader: ask node 1, which is",
        ),
        met(
            group.node(1).transfer_leader(9).unwrap_err(),
            "group 7: node 9 is not another member: check the id, and drop messages from it",
        ),
        met(
            group.node(1).report_snapshot(1, true).unwrap_err(),
            "group 7: node 1 is not another member: check the id, and drop messages from it",
        ),
    ]
}

fn proposals_that_are_not_taken() -> Vec<Met> {
    let mut small = Member::new(1, &[1], &[]);
    small.start(NodeConfig::new(1).max_entry_size(1000).max_unwritten_size(1000)).unwrap();
    small.node().campaign().unwrap();
    small.settle();
    let too_large = small.node().propose(vec![0; 1000], SOON).unwrap_err();
    let _open = small.node().propose(vec![0; 600], SOON).unwrap();
    let busy = small.node().propose(vec![0; 600], SOON).unwrap_err();

    let mut group = Group::new(&[1, 2, 3]);
    group.member(1).config = NodeConfig::new(1).max_uncommitted_size(1 << 20);
    group.member(1).restart();
    group.elect(1);
    group.cut = [1].into();
    let _open = group.propose(1, &[0; 900_000]);
    group.settle();
    let too_much = group.node(1).propose(vec![0; 900_000], SOON).unwrap_err();
    group.node(1).transfer_leader(2).unwrap();
    vec![
        met(
            too_large,
            "group 7: an entry of 1024 bytes exceeds the limit of 1000 (`NodeConfig::max_entry_size`, \
             and what fits into a record of the log): split it, or raise the limit on every member",
        ),
        met(busy, "group 7: 636 bytes are waiting to be written: drive the node and try again"),
        met(
            too_much,
            "group 7: the proposal was not accepted: too many bytes are waiting to be committed \
             (`NodeConfig::max_uncommitted_size`); propose it again later",
        ),
        met(
            group.node(1).propose(b"a".to_vec(), SOON).unwrap_err(),
            "group 7: the proposal was not accepted: leadership is being transferred; propose it again \
             afterwards, at the leader at that time",
        ),
    ]
}

fn changes_of_the_configuration() -> Vec<Met> {
    let mut group = Group::new(&[1, 2]);
    group.elect(1);
    let mut refused = |change: ConfChangeV2, why: &str| {
        let e = group.node(1).propose_conf_change(change, SOON).unwrap_err();
        met(e, format!("group 7: configuration change refused: {why}"))
    };
    vec![
        refused(
            change(1, ConfChangeType::RemoveNode),
            "it removes or demotes the leader; transfer leadership first",
        ),
        refused(change(0, ConfChangeType::AddNode), "0 is not a valid node id; number the nodes from 1"),
        refused(
            ConfChangeV2::default(),
            "an empty change leaves a joint state, but the group is not in one; there is nothing to do",
        ),
    ]
}

fn message(kind: MessageType, from: u64, to: u64, term: u64) -> Message {
    let mut m = Message::default();
    m.set_msg_type(kind);
    (m.from, m.to, m.term) = (from, to, term);
    m
}

fn messages_that_are_refused() -> Vec<Met> {
    let mut two = Member::new(2, &[1, 2, 3], &[]);
    let mut ahead = message(MessageType::MsgHeartbeat, 1, 2, 3);
    ahead.commit = 5;
    let mut gap = message(MessageType::MsgAppend, 1, 2, 5);
    let mut entry = Entry::default();
    (entry.index, entry.term) = (2, 1);
    gap.set_entries(vec![entry].into());
    let mut said = |m: Message, expected: &str| met(two.node().step(m).unwrap_err(), expected);
    vec![
        said(
            message(MessageType::MsgHeartbeat, 1, 3, 9),
            "group 7: a message for node 3 reached node 2; check the peers' addresses",
        ),
        said(
            message(MessageType::MsgAppendResponse, 4, 2, 1),
            "group 7: node 4 is not another member: check the id, and drop messages from it",
        ),
        said(
            gap,
            "group 7: MsgAppend from node 1 refused: its entries have a gap. Drop it; raft resends what \
             is needed",
        ),
        said(
            ahead,
            "group 7: leader 1 has proof that this node stored entries up to 5, but its log ends at 0: \
             acknowledged entries are gone. Remove this node from the group and add it again under a new \
             id",
        ),
    ]
}

fn reports_that_are_out_of_order() -> Vec<Met> {
    let mut one = one_with(5);
    let mut said = |index, range: &str| {
        let expected = format!(
            "group 7: applied {index} was reported, but expected one of {range}: report what was handed \
             out, in order"
        );
        met(one.node().report_applied(index).unwrap_err(), expected)
    };
    vec![said(7, "[5, 5]"), said(3, "[5, 5]")]
}

fn snapshots_and_compaction() -> Vec<Met> {
    let mut one = one_with(5);
    let save = |one: &mut Member, index| one.node().save_snapshot(index, b"").unwrap_err();
    let beyond = save(&mut one, 6);
    let without = one.node().compact(1).unwrap_err();
    one.node().save_snapshot(4, b"").unwrap();
    vec![
        met(
            beyond,
            "group 7: no snapshot at index 6: the state machine has applied 1 to 5; choose one of these",
        ),
        met(
            save(&mut one, 3),
            "group 7: no snapshot at index 3: the newest snapshot is at 4; keep that one, or choose an \
             index above it",
        ),
        met(
            without,
            "group 7: no compaction at index 1: the newest durable snapshot is at 0; save one first, or compact less",
        ),
        met(
            one.node().compact(6).unwrap_err(),
            "group 7: no compaction at index 6: the state machine has applied up to 5; apply first, or compact less",
        ),
    ]
}

fn not_at_this_moment() -> Vec<Met> {
    let mut learner = Member::new(4, &[1, 2, 3], &[4]);
    let mut leader = Member::new(1, &[1], &[]);
    leader.node().campaign().unwrap();
    let early = leader.node().read_index().unwrap_err();

    let mut two = Member::new(2, &[2], &[]);
    let mut append = message(MessageType::MsgAppend, 1, 2, 5);
    let mut entry = Entry::default();
    (entry.index, entry.term) = (1, 5);
    append.set_entries(vec![entry].into());
    two.node().step(append).unwrap();
    vec![
        met(
            learner.node().campaign().unwrap_err(),
            "group 7: not now: this node is not a voter; add it as one first",
        ),
        met(
            early,
            "group 7: not now: this leader has not committed an entry of its term yet; drive the node \
             and ask again",
        ),
        met(
            two.node().campaign().unwrap_err(),
            "group 7: not now: the log is being written; drive the node and try again",
        ),
    ]
}

/// The segment file of a log that has one.
fn segment(dir: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "seg")).min().unwrap()
}

fn a_store_that_refuses() -> Vec<Met> {
    let mut removed = one_with(5);
    removed.log().remove_group(GROUP).unwrap();
    vec![
        met(
            removed.node().save_snapshot(5, b"").unwrap_err(),
            "group 7 does not exist in this log, or was removed; create it with `create_group`",
        ),
        damage_under_an_open_log(),
    ]
}

/// raft reports errors of its storage in its own words; the node returns the store's.
fn damage_under_an_open_log() -> Met {
    let mut one = one_with(5);
    let dir = one.log().wal().disk().path().to_owned();
    let path = segment(&dir);
    let mut bytes = std::fs::read(&path).unwrap();
    let data = b"the entry at 5";
    let at = bytes.windows(data.len()).position(|w| w == data).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    one.drop_node();
    let e = Node::new(NodeConfig::new(1).applied(5, 1), one.log().group(GROUP).unwrap()).unwrap_err();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    // The data is preceded by the length of the context, and the context, which belongs to the node.
    let offset = at as u64 - 24 - 4;
    let (lsn, end) = (offset - DATA_START, offset - DATA_START + 48);
    let expected = format!(
        "DIR/{name} at offset {offset}: a payload does not match its checksum (LSN {lsn} to {end}); it \
         affects stream 7 [5..=5]. Nothing was changed: keep the directory as it is, and restore this \
         node from a replica or a backup; without either, `seawall repair` shows what can be kept"
    );
    met_in(&dir, e, expected)
}

/// A node whose log was poisoned by another write, with a proposal that it then tried to write; and its error.
fn poisoned() -> (Member, Proposal, String) {
    let mut one = one_with(2);
    let name = segment(one.log().wal().disk().path()).file_name().unwrap().to_str().unwrap().to_owned();
    one.gate.fail();
    one.log().create_group(8, ConfState::default()).unwrap_err();
    let open = one.node().propose(b"a".to_vec(), SOON).unwrap();
    one.settle();
    let said = format!(
        "group 7: the node has failed and is inactive: the log is poisoned: fdatasync DIR/{name} failed \
         earlier (Input/output error (os error 5)). What was acknowledged is safe; close the log, find \
         the cause, and open it again. Reopen the log and start it again"
    );
    (one, open, said)
}

fn a_disk_that_fails() -> Vec<Met> {
    let (mut one, _open, said) = poisoned();
    let dir = one.log().wal().disk().path().to_owned();
    vec![met_in(&dir, one.node().tick().unwrap_err(), said)]
}

fn proposals_that_do_not_complete() -> Vec<Met> {
    let look = "check the state machine before proposing it again";
    let mut all = vec![overwritten(), passed_by_a_snapshot(look)];
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    group.cut = [1].into();
    let open = group.node(1).propose(b"a".to_vec(), Duration::from_millis(5)).unwrap();
    all.push(met(
        open.wait().unwrap_err(),
        format!("group 7: no outcome within the deadline, but the proposal may still take effect: {look}"),
    ));
    let open = group.propose(1, b"b");
    group.member(1).stop();
    all.push(met(
        open.wait().unwrap_err(),
        format!("group 7: the node was dropped, but the proposal may still take effect: {look}"),
    ));
    all.push(of_a_node_that_failed(look));
    all
}

fn overwritten() -> Met {
    let mut group = Group::new(&[1, 2, 3]);
    group.elect(1);
    group.cut = [1].into();
    let lost = group.propose(1, b"lost");
    group.settle();
    group.elect(2);
    let _kept = group.propose(2, b"kept");
    group.settle();
    group.cut.clear();
    for _ in 0..3 {
        group.tick();
    }
    let (index, _) = lost.position();
    let expected = format!(
        "group 7: another leader's entry was committed at index {index} in its place; propose it again at node 2"
    );
    met(lost.wait().unwrap_err(), expected)
}

fn passed_by_a_snapshot(look: &str) -> Met {
    let mut group = Group::new(&[1, 2, 3]);
    let open = group.proposal_passed_by_a_snapshot();
    let (index, _) = open.position();
    let expected = format!(
        "group 7: a snapshot replaced index {index}, so whether the proposal took effect is unknown here: {look}"
    );
    met(open.wait().unwrap_err(), expected)
}

fn of_a_node_that_failed(look: &str) -> Met {
    let (one, open, said) = poisoned();
    let dir = one.log().wal().disk().path().to_owned();
    let expected =
        format!("the proposal's node failed, but the proposal may still take effect: {look}. {said}");
    met_in(&dir, open.wait().unwrap_err(), expected)
}
