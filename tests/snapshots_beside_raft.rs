//! A leader's snapshot whose data comes separately from raft's message is installed with the Ready that restores it,
//! with the same result as if the message had carried everything; until then, or if it is not installed, nothing of
//! it is there.
#![cfg(feature = "raft-protobuf")]

mod raft_support;

use std::io::Write as _;

use raft::eraftpb::{ConfState, Entry, Message, MessageType, Snapshot};
use raft::{Config, GetEntriesContext, RaftState, RawNode, Storage, StorageError};
use raft_support::{Node, conf, snapshot, state_at};
use seawall::raft::{Error, GroupStorage, ReceivedSnapshot};

/// A storage whose snapshots have only metadata.
#[derive(Clone)]
struct WithoutData(GroupStorage);

impl Storage for WithoutData {
    fn initial_state(&self) -> raft::Result<RaftState> {
        self.0.initial_state()
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        self.0.entries(low, high, max_size, context)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.0.term(index)
    }

    fn first_index(&self) -> raft::Result<u64> {
        self.0.first_index()
    }

    fn last_index(&self) -> raft::Result<u64> {
        self.0.last_index()
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let source = self.0.snapshot_source()?.filter(|source| source.index() >= request_index);
        let Some(source) = source else { return Err(StorageError::SnapshotTemporarilyUnavailable.into()) };
        let mut bare = Snapshot::default();
        let metadata = bare.mut_metadata();
        (metadata.index, metadata.term) = (source.index(), source.term());
        metadata.set_conf_state(source.conf_state().clone());
        Ok(bare)
    }
}

/// A member that drives raft itself.
struct Member {
    node: Node,
    raw: RawNode<WithoutData>,
    received: Option<ReceivedSnapshot>,
}

impl Member {
    fn new(id: u64, node: Node) -> Self {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let storage = node.group(1);
        let config = Config { applied: storage.applied().0, ..Config::new(id) };
        let raw = RawNode::new(&config, WithoutData(storage), &logger).unwrap();
        Member { node, raw, received: None }
    }

    /// Does what a Ready requires; returns the messages that may be sent then.
    fn turn(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            messages.extend(ready.take_messages());
            let has_snapshot = !ready.snapshot().is_empty();
            self.node.commit(|batch| match self.received.take_if(|_| has_snapshot) {
                Some(received) => batch.ready_received(1, &ready, received),
                None => batch.ready(1, &ready),
            });
            messages.extend(ready.take_persisted_messages());
            let mut light = self.raw.advance(ready);
            if light.commit_index().is_some() {
                let hard = self.raw.raft.hard_state();
                self.node.commit(|batch| batch.set_hard_state(1, &hard));
            }
            messages.extend(light.take_messages());
            self.raw.advance_apply();
        }
        messages
    }
}

/// One voter, whose log is compacted to its snapshot, and one learner, which knows nothing.
fn voter_and_learner() -> [Member; 2] {
    let members = ConfState::from((vec![1], vec![2]));
    let voter = Node::new();
    voter.log().create_group(1, members.clone()).unwrap();
    voter.append_committed(1, 1, 10, 1);
    voter.commit(|batch| batch.set_applied(1, 10, 1));
    voter.group(1).save_snapshot(10, members, state_at(10)).unwrap();
    voter.compact(1, 10);
    let learner = Node::new();
    learner.log().create_group(1, ConfState::default()).unwrap();
    [Member::new(1, voter), Member::new(2, learner)]
}

#[test]
fn data_that_come_beside_the_message_are_installed_with_its_ready() {
    let [mut voter, mut learner] = voter_and_learner();
    voter.raw.campaign().unwrap();
    let mut snapshots = 0;
    for _ in 0..20 {
        for message in voter.turn() {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                snapshots += 1;
                assert!(message.get_snapshot().data.is_empty());
                let mut source = voter.node.group(1).snapshot_source().unwrap().unwrap();
                let metadata = message.get_snapshot().get_metadata();
                let mut receiver = learner.node.group(1).snapshot_receiver(metadata).unwrap();
                let copied = std::io::copy(&mut source, &mut receiver).unwrap();
                assert_eq!((copied, receiver.written()), (source.len(), source.len()));
                learner.received = Some(receiver.finish().unwrap());
                assert!(learner.node.group(1).snapshot_source().unwrap().is_none(), "not installed yet");
            }
            learner.raw.step(message).unwrap();
        }
        learner.turn().into_iter().for_each(|message| voter.raw.step(message).unwrap());
    }
    assert_eq!(snapshots, 1);
    let (from, to) = (voter.node.group(1), learner.node.group(1));
    assert_eq!(to.snapshot_data().unwrap(), from.snapshot_data().unwrap());
    assert_eq!((to.last_index().unwrap(), to.first_index().unwrap()), (11, 11), "and raft goes on behind it");
    drop((from, to));
    drop(learner.raw);
    learner.node.in_both_lives(|node| {
        let found = node.group(1).snapshot_data().unwrap().unwrap();
        assert_eq!(found.data, state_at(10));
        assert_eq!(node.group(1).conf_state(), ConfState::from((vec![1], vec![2])));
    });
}

fn files(node: &Node) -> usize {
    std::fs::read_dir(node.dir.path().join("snapshots")).unwrap().count()
}

/// A leader's snapshot at this index, received as a whole.
fn receive(node: &Node, index: u64) -> ReceivedSnapshot {
    let metadata = snapshot(index, 1, &[1, 2]).get_metadata().clone();
    let mut receiver = node.group(1).snapshot_receiver(&metadata).unwrap();
    receiver.write_all(&state_at(index)).unwrap();
    receiver.finish().unwrap()
}

#[test]
fn what_is_received_and_not_installed_goes() {
    let mut node = Node::new();
    node.create(1);
    let metadata = snapshot(20, 1, &[1, 2]).get_metadata().clone();
    let mut receiver = node.group(1).snapshot_receiver(&metadata).unwrap();
    receiver.write_all(&state_at(20)).unwrap();
    assert_eq!(files(&node), 1);
    drop(receiver);
    assert_eq!(files(&node), 0);
    drop(receive(&node, 20));
    assert_eq!(files(&node), 0);
    // The same for a process that ends before the snapshot is installed.
    std::fs::write(node.dir.path().join("snapshots/README"), b"mine").unwrap();
    let received = receive(&node, 20);
    let name = std::fs::read_dir(node.dir.path().join("snapshots")).unwrap().map(|f| f.unwrap().path());
    let kept: Vec<_> = name.map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    drop(received);
    node.close();
    kept.iter().for_each(|(bytes, path)| std::fs::write(path, bytes).unwrap());
    node.reopen();
    assert_eq!(files(&node), 1, "what is not ours stays");
}

#[test]
fn only_the_snapshot_that_was_received_is_installed() {
    let [mut voter, mut learner] = voter_and_learner();
    voter.raw.campaign().unwrap();
    let mut refused = 0;
    for _ in 0..20 {
        for message in voter.turn() {
            learner.raw.step(message).unwrap();
        }
        if learner.raw.raft.raft_log.unstable_snapshot().is_some() {
            let ready = learner.raw.ready();
            let received = receive(&learner.node, 30);
            let mut batch = learner.node.log().batch();
            let e = batch.ready_received(1, &ready, received).unwrap_err();
            assert!(matches!(e, Error::OtherSnapshot { group: 1, index: 10, received: 30 }), "{e}");
            assert!(batch.is_empty());
            assert_eq!(files(&learner.node), 0);
            refused += 1;
            break;
        }
        learner.turn().into_iter().for_each(|message| voter.raw.step(message).unwrap());
    }
    assert_eq!(refused, 1);
}

#[test]
fn a_snapshot_that_could_not_be_installed_is_not_received() {
    let node = Node::new();
    node.create(1);
    node.append_committed(1, 1, 10, 2);
    let refuse = |index, term, voters: &[u64]| {
        let metadata = snapshot(index, term, voters).get_metadata().clone();
        node.group(1).snapshot_receiver(&metadata).unwrap_err()
    };
    assert!(matches!(refuse(9, 2, &[1]), Error::SnapshotOutOfDate { index: 9, commit: 10, .. }));
    assert!(matches!(refuse(20, 1, &[1]), Error::SnapshotTermFalls { index: 20, .. }));
    assert!(matches!(refuse(20, 2, &[]), Error::EmptyConfState { index: 20, .. }));
    node.log().remove_group(1).unwrap();
    node.log().create_group(1, conf(&[1])).unwrap();
    assert_eq!(files(&node), 0);
}
