//! A group of nodes in one process: every message, every durable write and every applied entry moves when the test
//! says so.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use raft::prelude::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, Message};
use seawall::Options;
use seawall::io::{Access, Allocated, Disk, File, Lock, RealDisk};
use seawall::raft::{Apply, Node, NodeConfig, NodeError, Output, Proposal, RaftLog, RaftOptions, Role};
use tempfile::TempDir;

pub const GROUP: u64 = 7;
/// A size for which files are made quickly.
pub const SMALL: u64 = 1 << 20;
/// The default size.
pub const LARGE: u64 = 64 << 20;
pub const SOON: Duration = Duration::from_secs(30);

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Mode {
    #[default]
    Open,
    Shut,
    Failing,
}

/// What every fsync of a disk waits for, or how it fails.
#[derive(Debug, Default)]
pub struct Gate {
    mode: Mutex<Mode>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        self.changed.notify_all();
    }

    pub fn shut(&self) {
        self.set(Mode::Shut);
    }

    pub fn open(&self) {
        self.set(Mode::Open);
    }

    pub fn fail(&self) {
        self.set(Mode::Failing);
    }

    fn is_shut(&self) -> bool {
        *self.mode.lock().unwrap() == Mode::Shut
    }

    fn pass(&self) -> io::Result<()> {
        let mode = self.changed.wait_while(self.mode.lock().unwrap(), |mode| *mode == Mode::Shut).unwrap();
        match *mode {
            Mode::Failing => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct GateDisk {
    inner: Arc<dyn Disk>,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct GateFile {
    inner: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl GateDisk {
    fn wrap(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(GateFile { inner, gate: Arc::clone(&self.gate) })
    }
}

impl Disk for GateDisk {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.inner.create(name)?))
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.inner.open(name, access)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn sync(&self) -> io::Result<()> {
        self.gate.pass()?;
        self.inner.sync()
    }
    /// Snapshots are kept there; their files are written before the batch that names them, regardless of the gate.
    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        self.inner.subdir(name)
    }
    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        self.inner.open_dir(name)
    }
    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(name)
    }
    fn free_space(&self) -> io::Result<u64> {
        self.inner.free_space()
    }
}

impl File for GateFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.inner.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass()?;
        self.inner.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.gate.pass()?;
        self.inner.sync_all()
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn allocate(&self, len: u64) -> io::Result<Allocated> {
        self.inner.allocate(len)
    }
    fn as_std(&self) -> Option<&std::fs::File> {
        self.inner.as_std()
    }
}

pub fn open_log(id: u64, dir: &Path, gate: &Arc<Gate>, segment: u64) -> RaftLog {
    let inner = Arc::new(RealDisk::open_or_create(dir).unwrap());
    let disk = Arc::new(GateDisk { inner, gate: Arc::clone(gate) });
    let options = Options::new().segment_size(segment);
    RaftOptions::new().node_id(id).wal(options).open_on(disk).unwrap()
}

/// One member: a directory, a node on it while it runs, and a state machine in memory.
pub struct Member {
    pub id: u64,
    pub gate: Arc<Gate>,
    dir: TempDir,
    log: Option<RaftLog>,
    node: Option<Node>,
    /// The state machine: the commands, by index.
    pub commands: BTreeMap<u64, Vec<u8>>,
    /// Handed out and not applied, while `slow`.
    pub waiting: Vec<Apply>,
    /// The state machine accepts no entries for now.
    pub slow: bool,
    pub reads: Vec<(seawall::raft::ReadId, u64)>,
    pub config: NodeConfig,
    segment: u64,
}

impl Member {
    pub fn new(id: u64, voters: &[u64], learners: &[u64]) -> Self {
        Self::with_segments(id, voters, learners, SMALL)
    }

    pub fn with_segments(id: u64, voters: &[u64], learners: &[u64], segment: u64) -> Self {
        let (dir, gate) = (TempDir::new().unwrap(), Arc::new(Gate::default()));
        let log = open_log(id, dir.path(), &gate, segment);
        let state = ConfState::from((voters.to_vec(), learners.to_vec()));
        let storage = log.create_group(GROUP, state).unwrap();
        let config = NodeConfig::new(id);
        let node = Node::new(config.clone(), storage).unwrap();
        Member {
            id,
            gate,
            dir,
            log: Some(log),
            node: Some(node),
            commands: BTreeMap::new(),
            waiting: Vec::new(),
            slow: false,
            reads: Vec::new(),
            config,
            segment,
        }
    }

    pub fn node(&mut self) -> &mut Node {
        self.node.as_mut().unwrap()
    }

    pub fn log(&self) -> &RaftLog {
        self.log.as_ref().unwrap()
    }

    pub fn drop_node(&mut self) {
        self.node = None;
    }

    pub fn stop(&mut self) {
        self.node = None;
        self.log = None;
        self.waiting.clear();
    }

    /// Restarts with what is on the disk; the state machine is as durable as it claims.
    pub fn start(&mut self, config: NodeConfig) -> Result<(), NodeError> {
        self.stop();
        self.gate.open();
        let log = open_log(self.id, self.dir.path(), &self.gate, self.segment);
        let storage = log.group(GROUP).unwrap();
        self.log = Some(log);
        self.node = Some(Node::new(config, storage)?);
        Ok(())
    }

    /// Restarts with empty memory: state machine from the newest snapshot.
    pub fn restart(&mut self) {
        self.stop();
        let log = open_log(self.id, self.dir.path(), &self.gate, self.segment);
        let storage = log.group(GROUP).unwrap();
        self.commands.clear();
        let mut at = (0, 0);
        if let Some(snapshot) = storage.snapshot_data().unwrap() {
            at = (snapshot.get_metadata().index, snapshot.get_metadata().term);
            self.commands = decode(snapshot.get_data());
        }
        self.log = Some(log);
        self.node = Some(Node::new(self.config.clone().applied(at.0, at.1), storage).unwrap());
    }

    /// Applies one thing and reports it.
    pub fn apply(&mut self, apply: Apply) {
        if let Apply::Snapshot(snapshot) = &apply {
            self.commands = decode(snapshot.get_data());
        }
        self.commands.extend(apply.commands().map(|e| (e.index, e.data.to_vec())));
        self.node().report_applied(apply.last().0).unwrap();
    }

    pub fn apply_all(&mut self) {
        for apply in std::mem::take(&mut self.waiting) {
            self.apply(apply);
        }
    }

    /// Processes an output; returns the messages to send.
    pub fn take(&mut self, out: Output) -> Vec<Message> {
        self.waiting.extend(out.apply);
        self.reads.extend(out.reads);
        if !self.slow {
            self.apply_all();
        }
        out.messages
    }

    /// Drives until only what waits for a closed gate is left.
    pub fn settle(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let out = match self.node().drive() {
                Ok(out) => out,
                Err(_) => return messages,
            };
            let quiet = out.is_empty();
            messages.extend(self.take(out));
            if quiet && (self.node().in_flight() == 0 || self.gate.is_shut()) {
                return messages;
            }
            if !self.gate.is_shut() && self.node().in_flight() > 0 {
                match self.node().wait_durable() {
                    Ok(out) => messages.extend(self.take(out)),
                    Err(_) => return messages,
                }
            }
        }
    }

    pub fn snapshot_data(&self) -> Vec<u8> {
        encode(&self.commands)
    }
}

impl Drop for Member {
    /// A log that is closed waits for its disk; a test that fails must not.
    fn drop(&mut self) {
        self.gate.open();
    }
}

pub fn encode(commands: &BTreeMap<u64, Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, data) in commands {
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(&(data.len() as u64).to_le_bytes());
        out.extend_from_slice(data);
    }
    out
}

pub fn decode(mut bytes: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let mut commands = BTreeMap::new();
    while let Some((head, rest)) = bytes.split_at_checked(16) {
        let index = u64::from_le_bytes(head[..8].try_into().unwrap());
        let len = u64::from_le_bytes(head[8..].try_into().unwrap()) as usize;
        commands.insert(index, rest[..len].to_vec());
        bytes = &rest[len..];
    }
    commands
}

/// A group and the network between its members.
pub struct Group {
    pub members: BTreeMap<u64, Member>,
    /// These nodes are cut off.
    pub cut: BTreeSet<u64>,
}

impl Group {
    pub fn new(voters: &[u64]) -> Self {
        Self::with_learners(voters, &[])
    }

    pub fn with_learners(voters: &[u64], learners: &[u64]) -> Self {
        let ids = voters.iter().chain(learners);
        let members = ids.map(|id| (*id, Member::new(*id, voters, learners))).collect();
        Group { members, cut: BTreeSet::new() }
    }

    /// A proposal at node 1, which is cut off, while node 2 continues and compacts, so that node 1 finally gets a
    /// snapshot.
    pub fn proposal_passed_by_a_snapshot(&mut self) -> Proposal {
        self.elect(1);
        self.cut = [1].into();
        let open = self.propose(1, b"?");
        self.settle();
        self.elect(2);
        for n in 0..10_u8 {
            let _open = self.propose(2, &[n]);
        }
        self.settle();
        let applied = self.node(2).status().applied;
        let data = self.member(2).snapshot_data();
        self.node(2).save_snapshot(applied, data).unwrap();
        self.node(2).compact(applied).unwrap();
        self.cut.clear();
        for _ in 0..5 {
            self.tick();
        }
        open
    }

    pub fn member(&mut self, id: u64) -> &mut Member {
        self.members.get_mut(&id).unwrap()
    }

    pub fn node(&mut self, id: u64) -> &mut Node {
        self.member(id).node()
    }

    /// Delivers messages and writes until all is quiet.
    pub fn settle(&mut self) {
        loop {
            let mut messages = Vec::new();
            for member in self.members.values_mut().filter(|m| m.node.is_some()) {
                messages.extend(member.settle());
            }
            if messages.is_empty() {
                return;
            }
            self.deliver(messages);
        }
    }

    pub fn deliver(&mut self, messages: Vec<Message>) {
        for message in messages {
            if self.cut.contains(&message.from) || self.cut.contains(&message.to) {
                continue;
            }
            let (from, to) = (message.from, message.to);
            let snapshot = message.get_msg_type() == raft::eraftpb::MessageType::MsgSnapshot;
            let delivered = match self.members.get_mut(&to) {
                Some(member) if member.node.is_some() => {
                    let _lost_is_lost = member.node().step(message);
                    true
                }
                _ => false,
            };
            if snapshot && let Some(sender) = self.members.get_mut(&from) {
                sender.node().report_snapshot(to, delivered).unwrap();
            }
        }
    }

    /// Makes this member the leader.
    pub fn elect(&mut self, id: u64) {
        self.settle();
        for _ in 0..50 {
            self.node(id).campaign().unwrap();
            self.settle();
            if self.node(id).is_leader() {
                return;
            }
            let cut = self.cut.clone();
            let mut running = self.members.values_mut().filter(|m| m.node.is_some() && !cut.contains(&m.id));
            if let Some(leader) = running.find(|m| m.node.as_ref().is_some_and(Node::is_leader)) {
                // Its heartbeat turns all others into followers, which is also how one steps down.
                leader.node().tick().unwrap();
                let leader = leader.id;
                self.settle();
                drop(self.node(leader).transfer_leader(id));
                self.settle();
                if self.node(id).is_leader() {
                    return;
                }
            }
            // Leases of a leader that is cut off run out.
            let ids: Vec<u64> = self.members.keys().copied().filter(|m| !self.cut.contains(m)).collect();
            for _ in 0..3 {
                for id in &ids {
                    if self.members.get(id).is_some_and(|m| m.node.is_some()) {
                        self.node(*id).tick().unwrap();
                    }
                }
            }
            self.settle();
        }
        panic!("{id} was not elected: {}", self.node(id).status());
    }

    pub fn leader(&mut self) -> Option<u64> {
        let led = |m: &mut Member| m.node.is_some() && m.node().status().role == Role::Leader;
        self.members.values_mut().filter_map(|m| led(m).then_some(m.id)).next()
    }

    pub fn tick(&mut self) {
        for member in self.members.values_mut().filter(|m| m.node.is_some()) {
            member.node().tick().unwrap();
        }
        self.settle();
    }

    pub fn propose(&mut self, at: u64, data: &[u8]) -> Proposal {
        self.node(at).propose(data.to_vec(), SOON).unwrap()
    }

    pub fn commands(&mut self, id: u64) -> Vec<Vec<u8>> {
        self.member(id).commands.values().cloned().collect()
    }
}

/// A change of one member.
pub fn change(id: u64, kind: ConfChangeType) -> ConfChangeV2 {
    let mut single = ConfChangeSingle::default();
    single.node_id = id;
    single.set_change_type(kind);
    let mut change = ConfChangeV2::default();
    change.set_changes(vec![single].into());
    change
}
