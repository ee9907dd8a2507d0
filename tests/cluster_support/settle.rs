//! The end of an episode: without further faults, every group must elect a leader, commit and agree.

use super::cluster::{Cluster, Drive};
use super::events::{Checked, Kind, Violation};
use super::faults::End;

/// This many ticks are enough: an election takes at most 20, and some must be lost before one is won.
const TICKS: u64 = 400;

impl Cluster {
    pub fn settle(&mut self) -> Checked {
        self.weights.faults = false;
        self.network.calm_down();
        for id in self.ids() {
            // A process with planned faults would still fail.
            self.down(id, End::Kill);
            self.processes.get_mut(&id).unwrap().reasonable();
            self.up(id)?;
        }
        let groups: Vec<u64> = self.groups.keys().copied().collect();
        let mut targets = vec![None; groups.len()];
        for tick in 0..TICKS {
            for id in self.ids() {
                self.tick(id)?;
            }
            self.quiet()?;
            if tick % 50 == 49 {
                // A member added since the last snapshot cannot use it.
                self.save_everywhere(&groups)?;
            }
            for (group, target) in groups.iter().zip(&mut targets) {
                // What was proposed to a leader that lost leadership may be gone.
                if target.is_none() || tick % 50 == 49 {
                    *target = self.propose(*group)?.map(|(index, _)| index).or(*target);
                }
            }
            self.quiet()?;
            let done = groups.iter().zip(&targets).all(|(g, t)| t.is_some_and(|t| self.agree(*g, t)));
            if done {
                return Ok(());
            }
        }
        Err(Violation::new(Kind::NotLive, format!("after {TICKS} ticks: {}", self.picture())))
    }

    fn save_everywhere(&mut self, groups: &[u64]) -> Checked {
        for id in self.ids() {
            groups.iter().try_for_each(|group| self.snapshot(id, *group, false))?;
        }
        Ok(())
    }

    /// Drives, delivers and applies until nothing is left to do.
    fn quiet(&mut self) -> Checked {
        let mut moved = true;
        while moved {
            moved = false;
            for id in self.ids() {
                self.drive(id, Drive::All)?;
                let groups: Vec<u64> = self.groups.keys().copied().collect();
                for group in groups {
                    while self.replica(id, group).is_some_and(|r| r.node.in_flight() > 0) {
                        self.drive(id, Drive::Wait(group))?;
                    }
                    moved |= self.replica(id, group).is_some_and(|r| !r.waiting.is_empty());
                    self.apply(id, group, u64::MAX)?;
                }
            }
            self.now += 10;
            while self.deliver()? {
                moved = true;
            }
        }
        Ok(())
    }

    /// Whether all members have applied the entry at `target` and are in the same configuration. That they applied
    /// the same is checked with each entry.
    fn agree(&mut self, group: u64, target: u64) -> bool {
        let Some(leader) = self.a_leader(group) else { return false };
        let Some(conf) = self.replica(leader, group).map(|r| r.node.conf_state()) else { return false };
        let members: Vec<u64> = conf.get_voters().iter().chain(conf.get_learners()).copied().collect();
        conf.get_voters_outgoing().is_empty()
            && members
                .into_iter()
                .all(|id| self.replica(id, group).is_some_and(|r| r.machine.index >= target))
    }

    fn picture(&self) -> String {
        let nodes =
            self.processes.values().filter_map(|p| p.running.as_ref()).flat_map(|r| r.replicas.values());
        nodes.map(|r| format!("\n    {} {:?}", r.node.status(), r.node.conf_state())).collect()
    }
}
