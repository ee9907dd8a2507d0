//! The cluster: checks and forwards the output of each call to a node.

use std::collections::BTreeMap;

use raft::eraftpb::{ConfState, Message, MessageType};
use seawall::Lsn;
use seawall::io::sim::{CrashStyle, Rng};
use seawall::raft::{Driven, NodeError, Output, drive_all};

use super::events::{Checked, Envoy, Event, Events, Kind, Tally, Violation};
use super::faults::Ills;
use super::network::{Envelope, Network, Weather};
use super::oracle::Oracle;
use super::process::{Keeping, Process, Replica, Setup};
use super::promises::{Promises, Submitted};
use super::requests::Requests;
use super::schedule::Weights;
use super::{Checks, Sabotage};

/// Which nodes of a process are driven, and whether the caller waits for the disk.
#[derive(Clone, Copy, Debug)]
pub enum Drive {
    All,
    One(u64),
    Wait(u64),
}

pub struct Cluster {
    pub(super) rng: Rng,
    /// Which outputs are compared with the disk; drawn separately, so that other checks do not change the run of a
    /// seed.
    sampler: Rng,
    pub(super) now: u64,
    pub(super) weights: Weights,
    pub(super) processes: BTreeMap<u64, Process>,
    /// The groups and the members that they start with.
    pub(super) groups: BTreeMap<u64, ConfState>,
    pub(super) network: Network,
    pub(super) oracle: Oracle,
    pub(super) promises: BTreeMap<(u64, u64), Promises>,
    pub(super) submitted: BTreeMap<(u64, u64), Submitted>,
    pub(super) ills: Ills,
    pub(super) requests: Requests,
    pub(super) events: Events,
    pub(super) tally: Tally,
    pub(super) checks: Checks,
    pub(super) sabotage: Sabotage,
}

impl Cluster {
    pub fn new(seed: u64, checks: Checks, sabotage: Sabotage) -> Self {
        let mut rng = Rng::new(seed);
        let nodes = if rng.below(3) == 0 { 5 } else { 3 };
        let setup = Setup::of(&mut rng);
        let mut keeping = || match rng.below(3) {
            // A state machine that outlives a disk that was reset would notice that itself.
            _ if sabotage == Sabotage::Rollback => Keeping::Nothing,
            0 => Keeping::Nothing,
            1 => Keeping::All,
            _ => Keeping::AllAndForgetsHowFar,
        };
        let processes = (1..=nodes).map(|id| (id, Process::new(id, setup, keeping()))).collect();
        let groups = (1..=2 + rng.below(2)).map(|group| {
            // Some groups grow later.
            let members = if nodes == 5 && rng.below(2) == 0 { 5 } else { 3 };
            (group, ConfState::from(((1..=members).collect::<Vec<_>>(), vec![])))
        });
        let groups = groups.collect();
        let weather = Weather::of(&mut rng);
        let weights = Weights::of(&mut rng);
        Cluster {
            rng,
            sampler: Rng::new(!seed),
            now: 0,
            weights,
            processes,
            groups,
            network: Network::new(weather),
            oracle: Oracle::default(),
            promises: BTreeMap::new(),
            submitted: BTreeMap::new(),
            ills: Ills::default(),
            requests: Requests::default(),
            events: Events::default(),
            tally: Tally { episodes: 1, ..Tally::default() },
            checks,
            sabotage,
        }
    }

    /// Starts all processes and makes the groups on their first members.
    pub fn found(&mut self) -> Checked {
        for id in self.ids() {
            self.up(id)?;
            for (group, members) in self.groups.clone() {
                if members.get_voters().contains(&id) {
                    self.join(id, group)?;
                }
            }
            self.ills.born(id, &self.processes[&id].disk);
        }
        Ok(())
    }

    pub fn now(&self) -> u64 {
        self.now
    }

    pub fn tally(&self) -> Tally {
        let Network { delivered, lost, duplicated, .. } = self.network;
        Tally {
            messages_delivered: delivered,
            messages_lost: lost,
            messages_duplicated: duplicated,
            ..self.tally
        }
    }

    pub fn digest(&self) -> u64 {
        self.events.digest()
    }

    pub fn last_events(&self) -> Vec<String> {
        self.events.last()
    }

    pub(super) fn note(&mut self, event: Event) {
        self.events.note(self.now, event);
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.processes.keys().copied().collect()
    }

    pub(super) fn replica(&mut self, id: u64, group: u64) -> Option<&mut Replica> {
        self.processes.get_mut(&id)?.running.as_mut()?.replicas.get_mut(&group)
    }

    /// Creates a group's node on a process, if it does not exist.
    pub(super) fn join(&mut self, id: u64, group: u64) -> Checked {
        let members = self.groups[&group].clone();
        // One that was created on a log that failed exists only in memory.
        let ill = self.ills.is_ill(id);
        let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
        if ill || process.running.as_ref().is_none_or(|r| r.replicas.contains_key(&group)) {
            return Ok(());
        }
        match process.join(group, members, &mut self.rng) {
            Ok(()) => {
                self.promises.entry((id, group)).or_default();
                self.see_start(id, group)
            }
            Err(e) => self.failed(id, &e),
        }
    }

    /// A node has started; its log is the truth from now on.
    pub(super) fn see_start(&mut self, id: u64, group: u64) -> Checked {
        self.oracle.forget_log(id, group);
        let Some(replica) = self.replica(id, group) else { return Ok(()) };
        let (storage, machine) = (replica.node.storage().clone(), replica.machine);
        match self.oracle.look_at_log(id, &storage) {
            // This very look may have been one call too many.
            Err(_) if self.lost_power(id) => return Ok(()),
            looked => looked?,
        }
        self.oracle.facts(group).applies(id, &machine)?;
        let mut submitted = Submitted::default();
        submitted.note(Lsn::ZERO, &storage);
        self.submitted.insert((id, group), submitted);
        self.see_configuration(id, group)
    }

    pub(super) fn see_configuration(&mut self, id: u64, group: u64) -> Checked {
        let replica = self.processes.get(&id).and_then(|p| p.running.as_ref()?.replicas.get(&group));
        replica.map_or(Ok(()), |replica| self.oracle.facts(group).configured(&replica.node))
    }

    /// Drives nodes of a process and handles their output.
    pub(super) fn drive(&mut self, id: u64, which: Drive) -> Checked {
        let Some(running) = self.processes.get_mut(&id).and_then(|p| p.running.as_mut()) else {
            return Ok(());
        };
        let replicas = &mut running.replicas;
        let driven = match which {
            Drive::All => drive_all(replicas.values_mut().map(|r| &mut r.node)),
            Drive::One(group) | Drive::Wait(group) => {
                let Some(node) = replicas.get_mut(&group).map(|r| &mut r.node) else { return Ok(()) };
                let out = if matches!(which, Drive::Wait(_)) { node.wait_durable() } else { node.drive() };
                match out {
                    Ok(out) => Driven { outputs: vec![out], failed: vec![] },
                    Err(e) => Driven { outputs: vec![], failed: vec![(group, e)] },
                }
            }
        };
        self.note(Event::Drove { node: id, waited: matches!(which, Drive::Wait(_)) });
        if self.lost_power(id) {
            // Its output never left it.
            return Ok(());
        }
        match self.see_nodes(id, which) {
            Err(_) if self.lost_power(id) => return Ok(()),
            seen => seen?,
        }
        self.see_outputs(id, &driven.outputs)?;
        for out in driven.outputs {
            self.pass_on(id, out)?;
        }
        driven.failed.iter().try_for_each(|(_, e)| self.failed(id, e))
    }

    /// Examines the driven nodes: only then do their logs match what raft has in memory.
    fn see_nodes(&mut self, id: u64, which: Drive) -> Checked {
        let Some(running) = self.processes.get(&id).and_then(|p| p.running.as_ref()) else { return Ok(()) };
        let end = running.log.wal().next_lsn();
        let mut committed = Vec::new();
        for (group, replica) in &running.replicas {
            let (status, storage) = (replica.node.status(), replica.node.storage());
            if status.failed || matches!(which, Drive::One(g) | Drive::Wait(g) if g != *group) {
                continue;
            }
            self.oracle.look_at_log(id, storage)?;
            let news = self.oracle.look_at_node(&status, storage)?;
            if news.elected {
                self.tally.elections += 1;
                self.events.note(self.now, Event::Leads { group: *group, node: id, term: status.term });
            }
            if news.committed > 0 {
                self.tally.entries_committed += news.committed;
                let (index, term) = (status.commit, status.term);
                self.events.note(self.now, Event::Committed { group: *group, node: id, index, term });
                committed.push(*group);
            }
            self.submitted.entry((id, *group)).or_default().note(end, storage);
            self.promises.entry((id, *group)).or_default().counts(&status);
        }
        committed.into_iter().try_for_each(|group| self.see_old_leaders(group))
    }

    fn see_old_leaders(&mut self, group: u64) -> Checked {
        for process in self.processes.values() {
            let replica = process.running.as_ref().and_then(|r| r.replicas.get(&group));
            if let Some(node) = replica.map(|r| &r.node).filter(|n| n.is_leader()) {
                self.oracle.look_at_old_leader(&node.status(), node.storage())?;
            }
        }
        Ok(())
    }

    /// Records what is promised, and checks it before it is delivered.
    fn see_outputs(&mut self, id: u64, outputs: &[Output]) -> Checked {
        for out in outputs {
            self.promises.entry((id, out.group)).or_default().gave(out);
        }
        if outputs.iter().all(Output::is_empty) {
            return Ok(());
        }
        self.tally.promises_checked += 1;
        let told = !self.checks.by_log || self.compare_with_log(id)?;
        let always = (self.ills.is_ill(id) || !told) && self.checks.by_crash > 0;
        if always || (self.checks.by_crash > 0 && self.sampler.below(self.checks.by_crash) == 0) {
            self.tally.promises_checked_by_crash += 1;
            self.compare_with_disk(id)?;
        }
        Ok(())
    }

    /// Returns whether the log could tell.
    fn compare_with_log(&mut self, id: u64) -> Checked<bool> {
        let mut told = true;
        let Some(running) = self.processes.get(&id).and_then(|p| p.running.as_ref()) else { return Ok(told) };
        for (group, replica) in &running.replicas {
            let promises = self.promises.entry((id, *group)).or_default();
            let submitted = self.submitted.entry((id, *group)).or_default();
            told &= submitted.covers(promises, replica.node.storage()).map_err(|why| {
                Violation::new(Kind::SaidBeforeDurable, format!("node {id}, group {group}: {why}"))
            })?;
        }
        Ok(told)
    }

    /// If the power failed now and nothing unsynced survived, would everything promised be there?
    fn compare_with_disk(&self, id: u64) -> Checked {
        let process = &self.processes[&id];
        let wrong = |why: String| {
            Err(Violation::new(Kind::SaidBeforeDurable, format!("node {id}, after a crash now: {why}")))
        };
        let log = match process.setup.open(id, &process.disk.crash(CrashStyle::LoseAll)) {
            Ok(log) => log,
            Err(e) => return wrong(format!("the log cannot be opened: {e}")),
        };
        for ((_, group), promises) in self.promises.range((id, 0)..=(id, u64::MAX)) {
            let Some(storage) = log.group(*group) else {
                return wrong(format!("group {group} is not there"));
            };
            if let Err(why) = promises.kept_by(&storage) {
                return wrong(format!("group {group}: {why}"));
            }
        }
        Ok(())
    }

    /// Sends messages, queues what is to be applied, answers reads.
    fn pass_on(&mut self, id: u64, out: Output) -> Checked {
        let Output { group, messages, apply, reads, .. } = out;
        for message in messages {
            self.note(Event::Sent(Envoy::of(group, &message)));
            self.tally.snapshots_sent += u64::from(message.get_msg_type() == MessageType::MsgSnapshot);
            self.network.send(self.now, Envelope { group, message }, &mut self.rng);
        }
        if let Some(replica) = self.replica(id, group) {
            replica.waiting.extend(apply);
        }
        for (read, index) in reads {
            self.tally.reads_answered += u64::from(self.requests.answered(id, group, read, index)?);
        }
        Ok(())
    }

    /// The next due message arrives or is lost; returns whether there was one.
    pub(super) fn deliver(&mut self) -> Checked<bool> {
        let Some((envelope, arrives)) = self.network.next(self.now, &mut self.rng) else { return Ok(false) };
        let Envelope { group, message } = envelope;
        let (from, to) = (message.from, message.to);
        let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        let heard_of = self.rng.below(4) == 0;
        if arrives {
            // A process that first hears of a group creates it.
            self.join(to, group)?;
        }
        let arrives = arrives && self.replica(to, group).is_some();
        if arrives {
            self.note(Event::Delivered(Envoy::of(group, &message)));
            self.hand_in(group, to, message)?;
        } else {
            self.note(Event::Lost(Envoy::of(group, &message)));
        }
        if let Some(sender) = self.replica(from, group) {
            // Both fail only for a peer that is no longer a member, and on a node that is about to be restarted.
            if is_snapshot {
                drop(sender.node.report_snapshot(to, arrives));
            } else if !arrives && heard_of {
                drop(sender.node.report_unreachable(to));
            }
        }
        Ok(true)
    }

    fn hand_in(&mut self, group: u64, to: u64, message: Message) -> Checked {
        let Some(replica) = self.replica(to, group) else { return Ok(()) };
        let Err(e) = replica.node.step(message) else { return Ok(()) };
        let why = match &e {
            NodeError::NotNow { .. } => "not now",
            NodeError::Busy { .. } => "busy",
            NodeError::UnknownPeer { .. } => "unknown peer",
            NodeError::Refused { why: why @ "it answers a request that has not been sent", .. } => why,
            NodeError::Failed { .. } => return self.failed(to, &e),
            _ if !self.checks.by_nodes => "refused",
            _ => return Err(Violation::new(Kind::Unexplained, format!("node {to} refused a message: {e}"))),
        };
        self.note(Event::NotTaken { group, to, why });
        Ok(())
    }
}
