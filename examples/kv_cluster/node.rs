//! One node: every group's `Node` in one loop, one log under all of them.
//!
//! ```text
//!   listener ──messages, requests──┐                       ┌──> transport (a thread per peer)
//!   applying thread ──applied──────┼──> events ──> loop ───┼──> applying thread (entries, snapshots)
//!   log ──durable (waker)──────────┘     drive_all: the Readys of all groups, one batch, one fsync
//! ```

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;
use std::thread;
use std::time::{Duration, Instant};

use raft::eraftpb::{ConfState, Message};
use seawall::Options;
use seawall::raft::{Apply, Error, Node, NodeConfig, NodeError, Proposal, RaftLog, RaftOptions, drive_all};

use crate::Fallible;
use crate::args::NodeArgs;
use crate::machine::{self, Job, Machine, Map};
use crate::transport::Transport;
use crate::wire::Frame;

/// The group that stores what the cluster knows about itself.
pub(crate) const META: u64 = 1;
/// The groups among which keys are distributed by hash.
pub(crate) const DATA: [u64; 4] = [2, 3, 4, 5];
/// Prefix of the keys in the meta group.
pub(crate) const META_PREFIX: &str = "meta/";

/// A heartbeat each tick; an election after 10 to 20 ticks of silence.
const TICK: Duration = Duration::from_millis(30);
const HEARTBEAT_TICKS: usize = 1;
const ELECTION_TICKS: usize = 10;
/// A put without an outcome after this time is answered with "again".
const PUT_WITHIN: Duration = Duration::from_secs(5);
/// A whole file with its path, and some margin.
const LARGEST_ENTRY: u64 = 10 << 20;
const SEGMENT: u64 = 32 << 20;
/// Maximum number of events handled before the nodes are driven.
const EVENTS_A_TURN: usize = 512;

/// All groups.
pub(crate) fn groups() -> impl Iterator<Item = u64> {
    [META].into_iter().chain(DATA)
}

/// The group that a key belongs to: FNV-1a over its bytes.
pub(crate) fn group_of(key: &str) -> u64 {
    if key.starts_with(META_PREFIX) {
        return META;
    }
    let hash =
        key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let spread = (hash >> 32) ^ hash;
    DATA.get((spread % DATA.len() as u64) as usize).copied().unwrap_or(META)
}

/// What the loop waits for.
pub(crate) enum Event {
    Raft {
        group: u64,
        message: Box<Message>,
    },
    Put {
        key: String,
        value: Vec<u8>,
        reply: Sender<PutReply>,
    },
    Status {
        reply: Sender<String>,
    },
    /// A batch is durable, or failed.
    Durable,
    Applied {
        group: u64,
        index: u64,
    },
    Frozen {
        group: u64,
        index: u64,
        map: Map,
    },
    Saved {
        group: u64,
        index: u64,
        done: Result<(), NodeError>,
    },
    Unreachable {
        group: u64,
        peer: u64,
    },
    SnapshotSent {
        group: u64,
        peer: u64,
        delivered: bool,
    },
    Fatal {
        what: String,
    },
}

/// The outcome of a put so far.
pub(crate) enum PutReply {
    Proposed(Proposal),
    GoTo(u64),
    Again(String),
}

/// Notifies the loop when a batch is durable.
struct Bell(Sender<Event>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        drop(self.0.send(Event::Durable));
    }
}

/// One group on this node.
struct Member {
    node: Node,
    /// The index of the newest snapshot, or of one being taken.
    snapshot: u64,
    freezing: bool,
    /// Snapshots received from a leader.
    received: u64,
}

struct Server {
    id: u64,
    log: RaftLog,
    recovered: Duration,
    members: BTreeMap<u64, Member>,
    transport: Transport,
    jobs: Sender<Job>,
    purge: Sender<()>,
    events: Sender<Event>,
    snapshot_every: u64,
}

/// Runs a node until it is killed or fails.
pub(crate) fn run(args: &NodeArgs) -> Fallible<()> {
    if args.managed {
        end_with_the_parent()?;
    }
    let begun = Instant::now();
    let options = Options::new().segment_size(SEGMENT);
    let log = RaftOptions::new().node_id(args.id).wal(options).open(&args.data)?;
    let recovered = begun.elapsed();
    let (events, inbox) = channel();
    let bell = Arc::new(Bell(events.clone())).into();
    let mut members = BTreeMap::new();
    let mut machines = BTreeMap::new();
    for group in groups() {
        let (mut member, machine) = open_member(args, &log, group)?;
        member.node.set_waker(&bell);
        members.insert(group, member);
        machines.insert(group, machine);
    }
    let listener = TcpListener::bind(args.listen).map_err(|e| format!("{}: {e}", args.listen))?;
    let (requests, reading) = (events.clone(), machines.clone());
    thread::Builder::new().name("listen".into()).spawn(move || listen(&listener, &requests, &reading))?;
    let (jobs, todo) = channel();
    let reports = events.clone();
    thread::Builder::new().name("apply".into()).spawn(move || machine::run(&todo, &machines, &reports))?;
    let (purge, due) = channel();
    let (keeping, reports) = (log.clone(), events.clone());
    thread::Builder::new().name("purge".into()).spawn(move || purge_when_due(&due, &keeping, &reports))?;
    let transport = Transport::start(args.id, &args.peers, &events)?;
    let snapshot_every = args.snapshot_every;
    let id = args.id;
    Server { id, log, recovered, members, transport, jobs, purge, events, snapshot_every }.run(&inbox)
}

/// A killed orchestrator cannot stop its nodes, but its end of their standard input closes.
fn end_with_the_parent() -> Fallible<()> {
    thread::Builder::new().name("parent".into()).spawn(|| {
        let mut nothing = [0; 1];
        while matches!(std::io::stdin().read(&mut nothing), Ok(1..)) {}
        std::process::exit(0);
    })?;
    Ok(())
}

/// Opens one group: created at the first start, with all members known; its map from the newest snapshot, and later
/// entries from the log, through raft.
fn open_member(args: &NodeArgs, log: &RaftLog, group: u64) -> Fallible<(Member, Machine)> {
    let storage = match log.group(group) {
        Some(storage) => storage,
        None => log
            .create_group(group, ConfState::from((args.peers.keys().copied().collect::<Vec<_>>(), vec![])))?,
    };
    let machine = Machine::default();
    let mut at = (0, 0);
    if let Some(snapshot) = storage.snapshot_data()? {
        at = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        machine.restore(snapshot.get_data())?;
    }
    let config = NodeConfig::new(args.id)
        .heartbeat_tick(HEARTBEAT_TICKS)
        .election_tick(ELECTION_TICKS)
        .pre_vote(true)
        .check_quorum(true)
        .max_entry_size(LARGEST_ENTRY)
        .max_unwritten_size(16 << 20)
        .applied(at.0, at.1);
    let node = Node::new(config, storage)?;
    Ok((Member { node, snapshot: at.0, freezing: false, received: 0 }, machine))
}

fn purge_when_due(due: &Receiver<()>, log: &RaftLog, events: &Sender<Event>) {
    for () in due {
        if let Err(e) = log.purge() {
            drop(events.send(Event::Fatal { what: format!("purge: {e}") }));
            return;
        }
    }
}

impl Server {
    fn run(mut self, inbox: &Receiver<Event>) -> Fallible<()> {
        let mut next_tick = Instant::now() + TICK;
        loop {
            match inbox.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    self.handle(event)?;
                    for event in inbox.try_iter().take(EVENTS_A_TURN) {
                        self.handle(event)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let now = Instant::now();
            if now >= next_tick {
                for member in self.members.values_mut() {
                    member.node.tick()?;
                }
                // Missed ticks are not made up for: time during which this process slept does not mean that another
                // was silent.
                next_tick = (next_tick + TICK).max(now);
            }
            self.drive()?;
        }
    }

    fn drive(&mut self) -> Fallible<()> {
        let driven = drive_all(self.members.values_mut().map(|member| &mut member.node));
        if let Some((_, e)) = driven.failed.into_iter().next() {
            return Err(e.into());
        }
        for out in driven.outputs {
            for message in out.messages {
                self.transport.send(out.group, message);
            }
            for apply in out.apply {
                if let (Apply::Snapshot(_), Some(member)) = (&apply, self.members.get_mut(&out.group)) {
                    member.received += 1;
                    member.snapshot = member.snapshot.max(apply.last().0);
                }
                self.jobs.send(Job::Apply(out.group, apply))?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Fallible<()> {
        match event {
            Event::Raft { group, message } => self.step(group, *message)?,
            Event::Put { key, value, reply } => {
                // The requester may be gone.
                drop(reply.send(self.put(&key, &value)?));
            }
            Event::Status { reply } => drop(reply.send(self.status())),
            Event::Durable => {}
            Event::Applied { group, index } => self.applied(group, index)?,
            Event::Frozen { group, index, map } => self.save(group, index, map)?,
            Event::Saved { group, index, done } => {
                match done {
                    // A leader's snapshot came in while this one was being written.
                    Ok(()) | Err(NodeError::Storage(Error::SnapshotNotNewer { .. })) => {}
                    Err(e) => return Err(e.into()),
                }
                if let Some(member) = self.members.get_mut(&group) {
                    member.freezing = false;
                    member.node.compact(index)?;
                    self.purge.send(())?;
                }
            }
            Event::Unreachable { group, peer } => {
                if let Some(member) = self.members.get_mut(&group) {
                    member.node.report_unreachable(peer)?;
                }
            }
            Event::SnapshotSent { group, peer, delivered } => {
                if let Some(member) = self.members.get_mut(&group) {
                    member.node.report_snapshot(peer, delivered)?;
                }
            }
            Event::Fatal { what } => return Err(what.into()),
        }
        Ok(())
    }

    fn step(&mut self, group: u64, message: Message) -> Fallible<()> {
        let Some(member) = self.members.get_mut(&group) else { return Ok(()) };
        match member.node.step(message) {
            Ok(()) => Ok(()),
            // A node that lost what it acknowledged must not continue; neither must one that cannot write.
            Err(e @ (NodeError::LostEntries { .. } | NodeError::Failed { .. })) => Err(e.into()),
            Err(NodeError::Busy { .. }) => self.drive(),
            Err(e) => {
                eprintln!("node {}: {e}", self.id);
                Ok(())
            }
        }
    }

    fn put(&mut self, key: &str, value: &[u8]) -> Fallible<PutReply> {
        let group = group_of(key);
        for _ in 0..2 {
            let Some(member) = self.members.get_mut(&group) else { break };
            match member.node.propose(machine::command(key, value), PUT_WITHIN) {
                Ok(proposal) => return Ok(PutReply::Proposed(proposal)),
                Err(NodeError::NotLeader { leader, .. }) => return Ok(PutReply::GoTo(leader.unwrap_or(0))),
                Err(NodeError::Busy { .. }) => self.drive()?,
                Err(e @ NodeError::Failed { .. }) => return Err(e.into()),
                Err(e) => return Ok(PutReply::Again(e.to_string())),
            }
        }
        Ok(PutReply::Again("busy".to_owned()))
    }

    fn applied(&mut self, group: u64, index: u64) -> Fallible<()> {
        let Some(member) = self.members.get_mut(&group) else { return Ok(()) };
        member.node.report_applied(index)?;
        if !member.freezing && index >= member.snapshot + self.snapshot_every {
            member.freezing = true;
            self.jobs.send(Job::Freeze(group))?;
        }
        Ok(())
    }

    /// Writes a snapshot on a separate thread; the map is a copy that no longer changes.
    fn save(&mut self, group: u64, index: u64, map: Map) -> Fallible<()> {
        let Some(member) = self.members.get_mut(&group) else { return Ok(()) };
        if index <= member.snapshot {
            // A leader's snapshot came in meanwhile.
            member.freezing = false;
            return Ok(());
        }
        let writer = match member.node.snapshot_writer(index) {
            Ok(writer) => writer,
            Err(NodeError::BadIndex { .. }) => {
                member.freezing = false;
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        };
        member.snapshot = index;
        let events = self.events.clone();
        thread::Builder::new().name("snapshot".into()).spawn(move || {
            let done = writer.save(machine::encode(&map));
            drop(events.send(Event::Saved { group, index, done }));
        })?;
        Ok(())
    }

    /// Lines of `name=value`: one for the node, one for each group.
    fn status(&self) -> String {
        let (recovery, stats) = (self.log.wal().recovery(), self.log.wal().stats());
        let torn: u64 = recovery.cut.iter().map(|cut| cut.bytes).sum();
        let mut text = format!(
            "id={} recovered_us={} torn={torn} rewritten={} log_bytes={} syncs={} batches={}\n",
            self.id,
            self.recovered.as_micros(),
            recovery.rewritten,
            stats.disk_bytes,
            stats.syncs,
            stats.batches
        );
        for (group, member) in &self.members {
            let s = member.node.status();
            text.push_str(&format!(
                "group={group} role={} term={} leader={} commit={} applied={} first={} last={} durable={} received={}\n",
                s.role,
                s.term,
                s.leader.unwrap_or(0),
                s.commit,
                s.applied,
                s.first,
                s.last,
                s.durable,
                member.received
            ));
        }
        text
    }
}

fn listen(listener: &TcpListener, events: &Sender<Event>, machines: &BTreeMap<u64, Machine>) {
    for stream in listener.incoming().flatten() {
        let (events, machines) = (events.clone(), machines.clone());
        let serving = thread::Builder::new().name("serve".into()).spawn(move || {
            // A broken connection is for its client to notice.
            drop(serve(stream, &events, &machines));
        });
        if let Err(e) = serving {
            eprintln!("no thread for a connection: {e}");
        }
    }
}

fn serve(stream: TcpStream, events: &Sender<Event>, machines: &BTreeMap<u64, Machine>) -> Fallible<()> {
    stream.set_nodelay(true)?;
    let mut from = std::io::BufReader::with_capacity(1 << 16, stream.try_clone()?);
    let to = Mutex::new(std::io::BufWriter::new(stream));
    let answer = |frame: &Frame| -> Fallible<()> {
        let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
        frame.write(&mut *to)?;
        Ok(std::io::Write::flush(&mut *to)?)
    };
    while let Some(frame) = Frame::read(&mut from)? {
        match frame {
            Frame::Raft { group, message } => events.send(Event::Raft { group, message })?,
            Frame::Put { key, value } => {
                let (reply, outcome) = channel();
                events.send(Event::Put { key, value, reply })?;
                answer(&match outcome.recv()? {
                    PutReply::GoTo(leader) => Frame::GoTo { leader },
                    PutReply::Again(why) => Frame::Again { why },
                    PutReply::Proposed(proposal) => match proposal.wait() {
                        Ok(_) => Frame::Done,
                        Err(e) => Frame::Again { why: e.to_string() },
                    },
                })?;
            }
            Frame::Get { key } => {
                let value = machines.get(&group_of(&key)).and_then(|machine| machine.get(&key));
                answer(&value.map_or(Frame::Nothing, |value| Frame::Value { value: value.to_vec() }))?;
            }
            Frame::Status => {
                let (reply, text) = channel();
                events.send(Event::Status { reply })?;
                answer(&Frame::Text { text: text.recv()? })?;
            }
            Frame::Dump => {
                for (key, value) in machines.values().flat_map(Machine::copy) {
                    answer(&Frame::Pair { key, value: value.to_vec() })?;
                }
                answer(&Frame::End)?;
            }
            _ => return Err("a frame that only nodes send".into()),
        }
    }
    Ok(())
}
