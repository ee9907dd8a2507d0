//! One process: a disk, one log on it, and a node with its state machine for each group. It is started from its disk
//! through the public API, as a program would do it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use raft::eraftpb::ConfState;
use seawall::Options;
use seawall::io::sim::{Rng, SimDisk};
use seawall::raft::{Apply, GroupStorage, Node, NodeConfig, NodeError, RaftLog, RaftOptions, SnapshotWriter};

use super::machine::Machine;

/// What happens to a state machine when its process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It is in memory: it starts from the newest snapshot.
    Nothing,
    /// It is as durable as it claims.
    All,
    /// The same, but it relies on the log for its position, and receives some entries again.
    AllAndForgetsHowFar,
}

/// Configuration of logs and nodes.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub segment: u64,
    /// The node with the shortest election timeout.
    pub turn: u64,
    pub relocate: u64,
    pub pre_vote: bool,
    pub check_quorum: bool,
}

impl Setup {
    pub fn of(rng: &mut Rng) -> Self {
        let segment = [24, 32, 64, 128][rng.below(4) as usize] << 10;
        let relocate = [0, 8 << 10, 8 << 20][rng.below(3) as usize];
        let (pre_vote, check_quorum) = (rng.below(4) > 0, rng.below(4) > 0);
        Setup { segment, turn: rng.below(5), relocate, pre_vote, check_quorum }
    }

    pub fn open(&self, id: u64, disk: &SimDisk) -> seawall::raft::Result<RaftLog> {
        let wal = Options::new().segment_size(self.segment).mmap(false).threads(false);
        RaftOptions::new()
            .node_id(id)
            .wal(wal)
            .snapshot_chunk(1000)
            .relocate_bytes(self.relocate)
            .open_on(Arc::new(disk.clone()))
    }

    /// Small enough that limits are reached, and that a batch fits into a segment.
    fn node(&self, id: u64, timeout: usize) -> NodeConfig {
        NodeConfig::new(id)
            .election_timeout(timeout..timeout + 1)
            .pre_vote(self.pre_vote)
            .check_quorum(self.check_quorum)
            .max_message_size(1500)
            .max_inflight_messages(8)
            .max_apply_size(2000)
            .max_entry_size(2048)
            .max_unwritten_size(4096)
            .max_unapplied_size(6000)
    }
}

/// A node and what belongs to it.
pub struct Replica {
    pub node: Node,
    /// Handed out and not applied.
    pub waiting: VecDeque<Apply>,
    pub machine: Machine,
    /// A snapshot being saved elsewhere.
    pub writer: Option<(SnapshotWriter, Vec<u8>)>,
}

pub struct Running {
    pub replicas: BTreeMap<u64, Replica>,
    pub log: RaftLog,
}

impl Running {
    pub fn is_poisoned(&self) -> bool {
        self.log.wal().stats().poisonings > 0
    }
}

pub struct Process {
    pub id: u64,
    pub disk: SimDisk,
    pub setup: Setup,
    pub keeping: Keeping,
    pub running: Option<Running>,
    /// State machines that outlive the process.
    kept: BTreeMap<u64, Machine>,
}

impl Process {
    pub fn new(id: u64, setup: Setup, keeping: Keeping) -> Self {
        Process { id, disk: SimDisk::new(), setup, keeping, running: None, kept: BTreeMap::new() }
    }

    /// Opens what is on the disk and starts a node for each group there.
    pub fn start(&mut self, rng: &mut Rng) -> Result<(), NodeError> {
        let log = self.setup.open(self.id, &self.disk)?;
        let mut running = Running { replicas: BTreeMap::new(), log };
        for group in running.log.groups() {
            if let Some(storage) = running.log.group(group) {
                running.replicas.insert(group, self.replica(storage, rng)?);
            }
        }
        self.running = Some(running);
        Ok(())
    }

    fn replica(&mut self, storage: GroupStorage, rng: &mut Rng) -> Result<Replica, NodeError> {
        let group = storage.id();
        let mut machine = self.kept.get(&group).copied().unwrap_or_default();
        if let Some((index, _)) = storage.recover().snapshot
            && index > machine.index
            && let Some(restored) = storage.snapshot_data()?.as_ref().and_then(Machine::restored)
        {
            machine = restored;
        }
        // Of two members with the same timeout neither might ever win.
        let place = (self.id + group + self.setup.turn) % 5;
        let mut config = self.setup.node(self.id, 10 + (2 * place + rng.below(2)) as usize);
        if self.keeping != Keeping::AllAndForgetsHowFar {
            config = config.applied(machine.index, machine.term);
        }
        let node = Node::new(config, storage)?;
        Ok(Replica { node, waiting: VecDeque::new(), machine, writer: None })
    }

    /// Creates a group that starts with these members, unless it exists.
    pub fn join(&mut self, group: u64, members: ConfState, rng: &mut Rng) -> Result<(), NodeError> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        let made = match running.log.group(group) {
            Some(_) => Ok(()),
            None => running.log.create_group(group, members).map_err(NodeError::from).and_then(|storage| {
                running.replicas.insert(group, self.replica(storage, rng)?);
                Ok(())
            }),
        };
        self.running = Some(running);
        made
    }

    /// From its next start on it is configured to make progress.
    pub fn reasonable(&mut self) {
        // Timeouts are fixed here, so a node that cannot win would otherwise disturb the one that can forever.
        self.setup.pre_vote = true;
        // A state machine that is ahead of its node's knowledge can save no snapshot. With one from before a member
        // was added, which that member would refuse, a group may wait for that member forever.
        if self.keeping == Keeping::AllAndForgetsHowFar {
            self.keeping = Keeping::All;
        }
    }

    /// The state machine has got this far, and may report it to a node that remembers.
    pub fn keep(&mut self, group: u64, machine: Machine) {
        if self.keeping != Keeping::Nothing {
            self.kept.insert(group, machine);
        }
    }
}
