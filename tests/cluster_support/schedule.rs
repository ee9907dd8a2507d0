//! The schedule: what happens next.

use std::time::Duration;

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};
use seawall::io::sim::Rng;
use seawall::raft::{Apply, Node, NodeError, NodeResult};

use super::Sabotage;
use super::cluster::{Cluster, Drive};
use super::events::{Checked, Event, Kind, Violation};
use super::faults::{End, style};
use super::machine::{Machine, digest};

/// No proposal ends by the clock, which would make two runs differ.
const NEVER: Duration = Duration::from_secs(1 << 30);

#[derive(Clone, Copy, Debug)]
enum Action {
    Deliver,
    DriveAll,
    DriveOne,
    Wait,
    Tick,
    Propose,
    Apply,
    Snapshot,
    Compact,
    Purge,
    Read,
    Campaign,
    Transfer,
    ChangeConf,
    Restart,
    Part,
    Heal,
    Crash,
    CrashAll,
    Kill,
    Stop,
    Arm,
}

/// Frequencies of the events.
#[derive(Clone, Debug)]
pub struct Weights {
    of: Vec<(Action, u64)>,
    sum: u64,
    /// Whether there are faults at all.
    pub faults: bool,
}

impl Weights {
    /// Some episodes are calm and get far; in others hardly anything stays up for long.
    pub fn of(rng: &mut Rng) -> Self {
        let storm = [1, 2, 4, 10][rng.below(4) as usize];
        let of = vec![
            (Action::Deliver, 3000),
            (Action::DriveAll, 1500),
            (Action::DriveOne, 700),
            (Action::Wait, 1200),
            (Action::Tick, 1000 + rng.below(800)),
            (Action::Propose, 1000),
            (Action::Apply, 900),
            (Action::Snapshot, 80),
            (Action::Compact, 80),
            (Action::Purge, 40),
            (Action::Read, 40),
            (Action::Campaign, 4),
            (Action::Transfer, 20),
            (Action::ChangeConf, 60),
            (Action::Restart, 300),
            (Action::Part, 4 * storm),
            (Action::Heal, 50),
            (Action::Crash, 3 * storm),
            (Action::CrashAll, storm),
            (Action::Kill, 3 * storm),
            (Action::Stop, storm),
            (Action::Arm, 5 * storm),
        ];
        let sum = of.iter().map(|(_, weight)| weight).sum();
        Weights { of, sum, faults: true }
    }

    fn pick(&self, rng: &mut Rng) -> Action {
        let mut at = rng.below(self.sum);
        for (action, weight) in &self.of {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *action,
            }
        }
        Action::Deliver
    }
}

impl Cluster {
    /// One step.
    pub fn step(&mut self) -> Checked {
        self.now += 1;
        self.tally.steps += 1;
        self.unless_power_fails(Cluster::act)
    }

    fn act(&mut self) -> Checked {
        let action = self.weights.pick(&mut self.rng);
        let id = 1 + self.rng.below(self.processes.len() as u64);
        let group = 1 + self.rng.below(self.groups.len() as u64);
        match action {
            Action::Deliver => return self.deliver_some(),
            Action::DriveAll => return self.drive(id, Drive::All),
            Action::DriveOne => return self.drive(id, Drive::One(group)),
            Action::Wait => return self.drive(id, Drive::Wait(group)),
            Action::Tick if self.rng.below(2) == 0 => {
                return self.ids().into_iter().try_for_each(|id| self.tick(id));
            }
            Action::Tick => return self.tick(id),
            Action::Propose => return self.propose(group).map(|_| ()),
            Action::Apply => {
                let most = 1 + self.rng.below(4);
                return (1..=self.groups.len() as u64).try_for_each(|group| self.apply(id, group, most));
            }
            Action::Snapshot => {
                let later = self.rng.below(2) == 0;
                return self.snapshot(id, group, later);
            }
            Action::Compact => return self.compact(id, group),
            Action::Purge => return self.purge(id),
            Action::Read => return self.read(id, group),
            Action::Campaign => return self.ask(id, group, Node::campaign),
            Action::Transfer => return self.transfer(group),
            Action::ChangeConf => return self.change_conf(group),
            Action::Restart => return self.restart(),
            Action::Part => {
                let nodes = self.processes.len() as u64;
                self.network.part(nodes, &mut self.rng);
                self.tally.partitions += 1;
                self.note(Event::Partition);
            }
            Action::Heal => {
                self.network.heal();
                self.note(Event::Heal);
            }
            Action::Crash => {
                let style = style(&mut self.rng);
                self.down(id, End::Crash(style));
            }
            Action::CrashAll => self.ids().into_iter().for_each(|id| {
                let style = style(&mut self.rng);
                self.down(id, End::Crash(style));
            }),
            Action::Kill => self.down(id, End::Kill),
            Action::Stop => self.down(id, End::Stop),
            Action::Arm if self.sabotage == Sabotage::Lies => self.lie(id),
            Action::Arm if self.processes[&id].running.is_some() => self.arm(id),
            Action::Arm => {}
        }
        Ok(())
    }

    fn deliver_some(&mut self) -> Checked {
        for _ in 0..1 + self.rng.below(8) {
            if !self.deliver()? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn tick(&mut self, id: u64) -> Checked {
        let Some(running) = self.processes.get_mut(&id).and_then(|p| p.running.as_mut()) else {
            return Ok(());
        };
        let ticks: Vec<NodeResult<()>> = running.replicas.values_mut().map(|r| r.node.tick()).collect();
        self.note(Event::Tick { node: id });
        ticks.into_iter().filter_map(Result::err).try_for_each(|e| self.failed(id, &e))
    }

    /// Asks a node for something that it may have reasons to refuse.
    fn ask(&mut self, id: u64, group: u64, what: impl FnOnce(&mut Node) -> NodeResult<()>) -> Checked {
        let Some(replica) = self.replica(id, group) else { return Ok(()) };
        let done = what(&mut replica.node);
        self.asked(id, done).map(|_| ())
    }

    /// The result of asking: nothing if the node had a reason; a violation if it failed without one.
    fn asked<T>(&mut self, id: u64, done: NodeResult<T>) -> Checked<Option<T>> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(
                NodeError::NotNow { .. }
                | NodeError::NotLeader { .. }
                | NodeError::Dropped { .. }
                | NodeError::Busy { .. }
                | NodeError::BadIndex { .. }
                | NodeError::UnknownPeer { .. }
                | NodeError::ConfChangeRefused { .. },
            ) => Ok(None),
            Err(e) => self.failed(id, &e).map(|()| None),
        }
    }

    /// A node that considers itself the leader.
    pub(super) fn a_leader(&mut self, group: u64) -> Option<u64> {
        let leads = |id: &u64| {
            let replica = self.processes[id].running.as_ref().and_then(|r| r.replicas.get(&group));
            replica.is_some_and(|r| r.node.is_leader())
        };
        let leaders: Vec<u64> = self.processes.keys().copied().filter(leads).collect();
        let at = self.rng.below(leaders.len() as u64) as usize;
        leaders.get(at).copied()
    }

    /// Proposes a command; returns its position.
    pub(super) fn propose(&mut self, group: u64) -> Checked<Option<(u64, u64)>> {
        let Some(id) = self.a_leader(group) else { return Ok(None) };
        let bytes = if self.rng.below(20) == 0 { 1900 } else { 64 + self.rng.below(400) as usize };
        let mut data = self.now.to_le_bytes().to_vec();
        data.resize(bytes, 0x5a);
        let Some(replica) = self.replica(id, group) else { return Ok(None) };
        let done = replica.node.propose(data, NEVER);
        let Some(proposal) = self.asked(id, done)? else { return Ok(None) };
        let position = proposal.position();
        self.note(Event::Proposed { group, node: id, index: position.0, bytes });
        self.requests.proposed(id, group, false, proposal);
        Ok(Some(position))
    }

    /// Lets a state machine apply at most `most` things that it was given.
    pub(super) fn apply(&mut self, id: u64, group: u64, most: u64) -> Checked {
        for _ in 0..most {
            let Some(replica) = self.replica(id, group) else { return Ok(()) };
            let Some(apply) = replica.waiting.pop_front() else { return Ok(()) };
            let mut machine = replica.machine;
            let (last, _) = apply.last();
            match &apply {
                Apply::Entries(entries) => {
                    for e in entries {
                        self.apply_entry(id, group, &mut machine, e)?;
                    }
                    self.note(Event::Applied { group, node: id, index: last });
                }
                Apply::Snapshot(snapshot) => {
                    let Some(restored) = Machine::restored(snapshot) else {
                        let what = format!("node {id}, group {group}: the snapshot at {last} is not one");
                        return Err(Violation::new(Kind::StateMachineSafety, what));
                    };
                    machine = restored;
                    self.oracle.facts(group).applies(id, &machine)?;
                    self.tally.snapshots_restored += 1;
                    self.note(Event::Restored { group, node: id, index: last });
                }
            }
            self.tally.commands_applied += apply.commands().count() as u64;
            self.processes.get_mut(&id).unwrap().keep(group, machine);
            let replica = self.replica(id, group).unwrap();
            replica.machine = machine;
            let done = replica.node.report_applied(last);
            self.asked(id, done)?;
            self.see_configuration(id, group)?;
        }
        self.tally.conf_changes += self.requests.look(id, group, self.oracle.facts(group))?;
        Ok(())
    }

    fn apply_entry(
        &mut self,
        id: u64,
        group: u64,
        machine: &mut Machine,
        e: &raft::eraftpb::Entry,
    ) -> Checked {
        let facts = self.oracle.facts(group);
        if e.index > machine.index + 1 {
            let what = format!("node {id}, group {group}: given {} after {}", e.index, machine.index);
            return Err(Violation::new(Kind::StateMachineSafety, what));
        }
        if e.index == machine.index + 1 {
            machine.apply(e);
            return facts.applies(id, machine);
        }
        // Given again after a restart: it must be the same.
        if facts.committed_at(e.index).map(|c| c.digest) != Some(digest(e)) {
            let what = format!("node {id}, group {group}: another entry {} than before", e.index);
            return Err(Violation::new(Kind::StateMachineSafety, what));
        }
        Ok(())
    }

    /// Saves a snapshot, immediately, or started now and finished later.
    pub(super) fn snapshot(&mut self, id: u64, group: u64, later: bool) -> Checked {
        let mut rng = self.rng.clone();
        let Some(replica) = self.replica(id, group) else { return Ok(()) };
        let begun = match replica.writer.take() {
            Some(begun) => Ok(begun),
            None => {
                let (index, data) = (replica.machine.index, replica.machine.encode(&mut rng));
                replica.node.snapshot_writer(index).map(|writer| (writer, data))
            }
        };
        let Some((writer, data)) = self.asked(id, begun)? else { return Ok(()) };
        if later && let Some(replica) = self.replica(id, group) {
            replica.writer = Some((writer, data));
            return Ok(());
        }
        let index = writer.index();
        match writer.save(data) {
            Ok(()) => {
                self.promises.entry((id, group)).or_default().saved_snapshot(index);
                self.tally.snapshots_saved += 1;
                self.note(Event::SavedSnapshot { group, node: id, index });
                Ok(())
            }
            // A leader's snapshot was installed meanwhile.
            Err(NodeError::Storage(seawall::raft::Error::SnapshotNotNewer { .. })) => Ok(()),
            Err(e) => self.failed(id, &e),
        }
    }

    fn compact(&mut self, id: u64, group: u64) -> Checked {
        let back = if self.rng.below(2) == 0 { 0 } else { self.rng.below(30) };
        let Some(replica) = self.replica(id, group) else { return Ok(()) };
        let Some((snapshot, _)) = replica.node.storage().recover().snapshot else { return Ok(()) };
        let index = snapshot.saturating_sub(back);
        let done = replica.node.compact(index);
        if self.asked(id, done)?.is_some() {
            self.note(Event::Compacted { group, node: id, index });
        }
        Ok(())
    }

    fn purge(&mut self, id: u64) -> Checked {
        let Some(running) = self.processes.get(&id).and_then(|p| p.running.as_ref()) else { return Ok(()) };
        match running.log.purge() {
            Ok(report) => {
                self.tally.purges_that_freed += u64::from(report.segments_freed > 0);
                let (freed, relocated) = (report.segments_freed, report.entries_relocated);
                self.note(Event::Purged { node: id, freed, relocated });
                Ok(())
            }
            Err(e) => self.failed(id, &e.into()),
        }
    }

    fn read(&mut self, id: u64, group: u64) -> Checked {
        let committed = self.oracle.facts(group).committed();
        let Some(replica) = self.replica(id, group) else { return Ok(()) };
        let done = replica.node.read_index();
        if let Some(read) = self.asked(id, done)? {
            self.requests.asked(id, group, read, committed);
        }
        Ok(())
    }

    fn transfer(&mut self, group: u64) -> Checked {
        let Some(from) = self.a_leader(group) else { return Ok(()) };
        let to = 1 + self.rng.below(self.processes.len() as u64);
        let Some(replica) = self.replica(from, group) else { return Ok(()) };
        let done = replica.node.transfer_leader(to);
        if self.asked(from, done)?.is_some() {
            self.tally.transfers += 1;
            self.note(Event::Transfers { group, from, to });
        }
        Ok(())
    }

    /// Adds, promotes, demotes or removes a member, or two at once through a joint state. A removed member keeps its
    /// disk: with an empty one it might vote twice.
    fn change_conf(&mut self, group: u64) -> Checked {
        let Some(id) = self.a_leader(group) else { return Ok(()) };
        let Some(replica) = self.replica(id, group) else { return Ok(()) };
        let conf = replica.node.conf_state();
        let mut voters = conf.get_voters().len();
        let mut singles = Vec::new();
        for _ in 0..1 + self.rng.below(2) {
            let node = 1 + self.rng.below(self.processes.len() as u64);
            let kinds = match (conf.get_voters().contains(&node), conf.get_learners().contains(&node)) {
                // At least two voters: with one, everything would depend on it.
                (true, _) if voters < 3 || node == id => continue,
                (true, _) => [ConfChangeType::RemoveNode, ConfChangeType::AddLearnerNode],
                (_, true) => [ConfChangeType::AddNode, ConfChangeType::RemoveNode],
                _ => [ConfChangeType::AddLearnerNode, ConfChangeType::AddNode],
            };
            let kind = kinds[self.rng.below(2) as usize];
            if singles.iter().any(|s: &ConfChangeSingle| s.node_id == node) {
                continue;
            }
            voters -= usize::from(conf.get_voters().contains(&node));
            let mut single = ConfChangeSingle::default();
            single.node_id = node;
            single.set_change_type(kind);
            singles.push(single);
            self.join(node, group)?;
        }
        if singles.is_empty() {
            return Ok(());
        }
        let what =
            singles.iter().map(|s| format!("{:?} {}", s.get_change_type(), s.node_id)).collect::<Vec<_>>();
        let mut change = ConfChangeV2::default();
        change.set_changes(singles.into());
        change.set_transition(ConfChangeTransition::Auto);
        let Some(replica) = self.replica(id, group) else { return Ok(()) };
        let done = replica.node.propose_conf_change(change, NEVER);
        if let Some(proposal) = self.asked(id, done)? {
            self.note(Event::ChangesConf { group, node: id, what: what.join(", ") });
            self.requests.proposed(id, group, true, proposal);
        }
        Ok(())
    }

    /// Starts one that is down, or takes one down that is ill.
    fn restart(&mut self) -> Checked {
        if let Some(id) = self.ills.broken() {
            let end = if self.rng.below(2) == 0 { End::Kill } else { End::Crash(style(&mut self.rng)) };
            self.down(id, end);
            return Ok(());
        }
        let down: Vec<u64> =
            self.ids().into_iter().filter(|id| self.processes[id].running.is_none()).collect();
        let at = self.rng.below(down.len() as u64) as usize;
        down.get(at).map_or(Ok(()), |id| self.up(*id))
    }
}
