//! Faults of a process: a power failure, a kill, a disk that refuses or fails; and its restart.
//!
//! A process whose disk has failed is *ill*: its nodes report it at their next write, and it must be restarted. Until
//! then it may still be asked for things, but must report nothing as durable that is not.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use seawall::io::Disk as _;
use seawall::io::sim::{Call, CrashStyle, Fault, FaultPlan, Rng, SimDisk, SyncFailure, Trigger};
use seawall::raft::NodeError;

use super::Sabotage;
use super::cluster::Cluster;
use super::events::{Checked, Event, Kind, Violation};

/// How a process ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// The power fails.
    Crash(CrashStyle),
    /// It is killed: what it wrote is in the page cache, synced or not.
    Kill,
    /// It closes its log.
    Stop,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ill {
    /// A fault is planned that makes calls fail.
    armed: bool,
    /// The plan cuts the power.
    power: bool,
    /// A node has failed.
    broken: bool,
}

/// The ill processes, and the state of each disk when its process started.
#[derive(Debug, Default)]
pub struct Ills {
    ill: BTreeMap<u64, Ill>,
    births: BTreeMap<u64, SimDisk>,
}

impl Ills {
    pub fn is_ill(&self, id: u64) -> bool {
        self.ill.get(&id).is_some_and(|ill| ill.broken)
    }

    fn may_fail(&self, id: u64) -> bool {
        self.ill.get(&id).is_some_and(|ill| ill.armed)
    }

    pub fn broken(&self) -> Option<u64> {
        self.ill.iter().find(|(_, ill)| ill.broken).map(|(id, _)| *id)
    }

    fn is_powerless(&self, id: u64) -> bool {
        self.ill.get(&id).is_some_and(|ill| ill.power && ill.broken)
    }

    pub fn born(&mut self, id: u64, disk: &SimDisk) {
        self.births.insert(id, disk.crash(CrashStyle::KeepAll));
    }
}

pub fn style(rng: &mut Rng) -> CrashStyle {
    match rng.below(6) {
        0 | 1 => CrashStyle::LoseAll,
        2 => CrashStyle::KeepAll,
        3 => CrashStyle::Subset(rng.draw()),
        _ => CrashStyle::Chaos(rng.draw()),
    }
}

/// Faults about to happen, and whether the power fails.
fn plan(rng: &mut Rng) -> (Trigger, Fault, bool) {
    let n = rng.below(5);
    match rng.below(12) {
        0..=3 => (Trigger::At(rng.below(60)), Fault::PowerOff, true),
        4 | 5 => (Trigger::Nth(Call::Sync, n), Fault::Sync(SyncFailure::DropsPages), false),
        6 | 7 => (Trigger::Nth(Call::Sync, n), Fault::Sync(SyncFailure::KeepsDirty), false),
        8 => (Trigger::Nth(Call::SyncDir, rng.below(3)), Fault::Sync(SyncFailure::KeepsDirty), false),
        9 => (Trigger::Nth(Call::Write, n), Fault::Os(5), false),
        10 => (Trigger::Nth(Call::Write, rng.below(30)), Fault::Error(ErrorKind::StorageFull), false),
        _ => (
            Trigger::Nth([Call::Create, Call::Rename, Call::Remove][n as usize % 3], rng.below(2)),
            Fault::Error(ErrorKind::Other),
            false,
        ),
    }
}

impl Cluster {
    /// Plans a fault for this process.
    pub(super) fn arm(&mut self, id: u64) {
        if self.ills.may_fail(id) || self.sabotage == Sabotage::Lies {
            return;
        }
        let (trigger, fault, power) = plan(&mut self.rng);
        self.processes[&id].disk.plan(FaultPlan::none().with(trigger, fault));
        self.ills.ill.insert(id, Ill { armed: true, power, broken: false });
        self.note(Event::Armed { node: id, what: format!("{trigger:?} {fault:?}") });
    }

    /// From now on this process's disk claims to sync but does not.
    pub(super) fn lie(&mut self, id: u64) {
        let lies = FaultPlan::none().with(Trigger::From(Call::Sync, 0), Fault::Lie);
        self.processes[&id].disk.plan(lies.with(Trigger::From(Call::SyncDir, 0), Fault::Lie));
    }

    /// A call failed. If no fault was planned, that is a violation; if the node has failed for good, it must stay
    /// failed.
    pub(super) fn failed(&mut self, id: u64, error: &NodeError) -> Checked {
        if !self.ills.may_fail(id) {
            return Err(Violation::new(Kind::Unexplained, format!("node {id}: {error}")));
        }
        let Some(running) = self.processes.get_mut(&id).and_then(|p| p.running.as_mut()) else {
            return Ok(());
        };
        let poisoned = running.is_poisoned();
        let ended = running.replicas.values_mut().filter(|r| r.node.status().failed);
        let mut any = false;
        for replica in ended {
            any = true;
            let node = &mut replica.node;
            let answers = [node.tick().is_err(), node.drive().is_err(), node.campaign().is_err()];
            if answers.contains(&false) {
                let what = format!("node {id} goes on after it failed: {answers:?}");
                return Err(Violation::new(Kind::SaidBeforeDurable, what));
            }
        }
        let ill = self.ills.ill.entry(id).or_default();
        if (any || poisoned) && !ill.broken {
            ill.broken = true;
            let count = if poisoned { &mut self.tally.poisonings } else { &mut self.tally.failures };
            *count += 1;
            self.note(Event::Broken { node: id, poisoned });
        }
        Ok(())
    }

    /// Runs something; a panic in it is a violation. But raft 0.7 panics when its storage cannot be read, and without
    /// power nothing can be read: then the panic ends the process, as the power failure would have.
    pub(super) fn unless_power_fails(&mut self, what: impl FnOnce(&mut Self) -> Checked) -> Checked {
        let panic = match catch_unwind(AssertUnwindSafe(|| what(self))) {
            Ok(done) => return done,
            Err(panic) => panic,
        };
        let Some(id) = self.ids().into_iter().find(|id| self.lost_power(*id)) else {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            return Err(Violation::new(Kind::Panic, text.unwrap_or_default()));
        };
        self.down(id, End::Kill);
        Ok(())
    }

    /// Whether the power of this process has failed; then only a crash may take it down.
    pub(super) fn lost_power(&mut self, id: u64) -> bool {
        let off = self.processes[&id].disk.list().is_err();
        if off {
            self.ills.ill.insert(id, Ill { armed: true, power: true, broken: true });
        }
        off
    }

    /// Ends a process. Its memory is gone; its disk keeps as much as `end` allows.
    pub(super) fn down(&mut self, id: u64, end: End) {
        let end = if self.ills.is_powerless(id) { End::Crash(style(&mut self.rng)) } else { end };
        let Some(process) = self.processes.get_mut(&id) else { return };
        let running = process.running.take();
        if running.is_none() && !self.ills.is_powerless(id) {
            return;
        }
        let calls = process.disk.calls();
        let disk = match end {
            End::Crash(style) => process.disk.crash(style),
            End::Kill => process.disk.kill(),
            End::Stop => {
                // On a disk that fails it ends like a kill.
                drop(running.as_ref().map(|r| r.log.close()));
                process.disk.kill()
            }
        };
        drop(running);
        process.disk = match (end, self.sabotage, self.ills.births.get(&id)) {
            (End::Crash(_), Sabotage::Rollback, Some(birth)) => birth.crash(CrashStyle::KeepAll),
            _ => disk,
        };
        match end {
            End::Crash(_) => self.tally.crashes += 1,
            End::Kill => self.tally.kills += 1,
            End::Stop => self.tally.clean_stops += 1,
        }
        self.ills.ill.remove(&id);
        self.requests.gone(id);
        self.note(Event::Down { node: id, how: format!("{end:?}"), calls });
    }

    /// Starts a process from its disk, which may fail again meanwhile.
    pub(super) fn up(&mut self, id: u64) -> Checked {
        while self.now > 0 && self.weights.faults && self.rng.below(4) == 0 {
            self.arm(id);
            if self.start(id).is_ok() {
                return self.see_process(id);
            }
            let powerless = self.ills.ill.remove(&id).is_some_and(|ill| ill.power);
            let style = style(&mut self.rng);
            let process = self.processes.get_mut(&id).unwrap();
            process.disk = if powerless { process.disk.crash(style) } else { process.disk.kill() };
            self.tally.crashes_in_recovery += 1;
        }
        match self.start(id) {
            Ok(()) => self.see_process(id),
            Err(e) => Err(Violation::new(
                Kind::Forgotten,
                format!("node {id} cannot be started from its disk: {e}"),
            )),
        }
    }

    fn start(&mut self, id: u64) -> Result<(), NodeError> {
        self.processes.get_mut(&id).unwrap().start(&mut self.rng)
    }

    /// Everything ever promised is still there.
    fn see_process(&mut self, id: u64) -> Checked {
        self.note(Event::Up { node: id });
        // A group whose creation was never acknowledged may exist anyway.
        for group in self.processes[&id].running.iter().flat_map(|r| r.replicas.keys()) {
            self.promises.entry((id, *group)).or_default();
        }
        let promised: Vec<_> =
            self.promises.range((id, 0)..=(id, u64::MAX)).map(|((_, group), p)| (*group, *p)).collect();
        for (group, promises) in promised {
            let found = self.replica(id, group).map(|r| r.node.storage().clone());
            let kept = found.ok_or_else(|| "it is not there".to_owned()).and_then(|s| promises.kept_by(&s));
            match kept {
                Err(why) if self.checks.at_restart => {
                    let what = format!("node {id}, group {group}, after a restart: {why}");
                    return Err(Violation::new(Kind::Forgotten, what));
                }
                // Only sabotage gets here with an error: Raft's checks must find it.
                _ => self.see_start(id, group)?,
            }
        }
        if self.sabotage == Sabotage::Rollback {
            let disk = self.processes[&id].disk.clone();
            self.ills.born(id, &disk);
        }
        Ok(())
    }
}
