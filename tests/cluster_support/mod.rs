//! A cluster under faults: several processes, each with one log and several groups on its own disk, and a network
//! between them. Every step follows from one seed, and every guarantee is checked at each step.
//!
//! ```text
//!   schedule ── picks a step ──> cluster ──> process (disk, log, nodes, state machines)
//!                                  │ ^                │ outputs
//!                         messages v │ messages       v
//!                                network          promises: was it durable?   oracle: is it still Raft?
//! ```
//!
//! An *episode* is one cluster: some thousands of steps with faults, then none, after which all groups must make
//! progress. It runs on one thread and its logs have no threads, so a seed determines a run.
// The test and the example use their parts, and neither exports any.
#![allow(dead_code)]

mod cluster;
mod events;
mod faults;
pub mod machine;
mod network;
pub mod oracle;
mod process;
mod promises;
mod requests;
mod schedule;
mod settle;

pub use cluster::Cluster;
pub use events::{Finding, Kind, Tally};

/// Which durability checks are made; those of Raft always are.
#[derive(Clone, Copy, Debug)]
pub struct Checks {
    /// Promises are below the log's durable address.
    pub by_log: bool,
    /// One in this many outputs is compared with the disk after a crash; 0 for none.
    pub by_crash: u64,
    /// What was promised before a restart is there after it.
    pub at_restart: bool,
    /// A node that detects that it lost entries, or a message that no correct peer sends, is a violation.
    pub by_nodes: bool,
}

impl Checks {
    pub const ALL: Checks = Checks { by_log: true, by_crash: 50, at_restart: true, by_nodes: true };
    pub const NONE: Checks = Checks { by_log: false, by_crash: 0, at_restart: false, by_nodes: false };

    /// Every output is compared with the disk.
    pub const fn paranoid() -> Checks {
        Checks { by_crash: 1, ..Checks::ALL }
    }
}

/// What is broken on purpose, as a negative control of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// Disks claim to sync but do not: everything is promised before it is durable.
    Lies,
    /// A crash resets a disk to its state when its process started: votes and acknowledged entries are forgotten.
    Rollback,
}

/// The result of an episode.
#[derive(Debug)]
pub struct Report {
    pub tally: Tally,
    pub finding: Option<Finding>,
    pub digest: u64,
}

/// Runs one episode, up to the first violation.
pub fn episode(seed: u64, steps: u64, checks: Checks, sabotage: Sabotage) -> Report {
    let mut cluster = Cluster::new(seed, checks, sabotage);
    let mut run = || {
        cluster.unless_power_fails(Cluster::found)?;
        for _ in 0..steps {
            cluster.step()?;
        }
        cluster.unless_power_fails(Cluster::settle)
    };
    let violation = run().err();
    let finding = violation.map(|violation| Finding {
        seed,
        step: cluster.now(),
        violation,
        events: cluster.last_events(),
    });
    Report { tally: cluster.tally(), finding, digest: cluster.digest() }
}
