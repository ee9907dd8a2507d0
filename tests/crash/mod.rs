//! Crashes any program on a simulated disk in every possible way.
//!
//! What a case does to a log is data: a sequence of runs, each with its operations, its end (a power failure at a
//! call, or a failing call), and the state of the machine afterwards. So a case can be repeated and minimised.
//!
//! ```text
//!  run 1: open, check, operations ... call c |power off| fates of what was not synced
//!  run 2: open (recovery) .. call r          |power off| fates            <- a crash in recovery
//!  run 3: open, check, operations ...        |killed|                     <- written on, where stale tails lie
//!  at last: open, check
//! ```
//!
//! One run serves for a crash at each of its calls: the disk remembers its state before every one of them.

// Each user takes a part.
#![allow(dead_code)]

pub mod controls;
pub mod core;
pub mod minimise;
pub mod run;
pub mod sweep;

use std::fmt;
use std::sync::Arc;

use seawall::Wal;
use seawall::io::Disk;
use seawall::io::sim::{Fate, Fault, FaultPlan, SimDisk, Trigger};

use crate::common::{evidence, forgetful};

/// A program under test, and the oracle that knows what it promised.
pub trait Subject: Sync {
    /// An open log.
    type Log;
    /// What was requested of the log and what it promised.
    type Oracle: Clone + Default + Send;

    /// Opens the log, or returns why not.
    fn open(&self, disk: Arc<dyn Disk>) -> Result<Self::Log, NotOpened>;

    /// The log below.
    fn wal<'a>(&self, log: &'a Self::Log) -> &'a Wal;

    /// Takes the step that follows from `seed`.
    fn step(&self, log: &Self::Log, oracle: &mut Self::Oracle, seed: u64) -> Result<Step, Wrong>;

    /// Checks what a log exposes after a reopen; from then on that is promised.
    fn check(&self, log: &Self::Log, oracle: &mut Self::Oracle) -> Result<(), Wrong>;

    /// What is known while the step from `before` to `after` is under way.
    fn during(&self, before: &Self::Oracle, after: &Self::Oracle) -> Self::Oracle;

    /// A number that distinguishes oracles.
    fn key(&self, oracle: &Self::Oracle) -> u64;
}

/// Why a log could not be opened.
#[derive(Debug)]
pub struct NotOpened {
    /// The system refused something; otherwise the log was refused.
    pub io: bool,
    pub why: String,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is acknowledged.
    Done,
    /// It is an error, and nothing changed.
    Refused,
    /// It may or may not have happened; the handle must acknowledge nothing more.
    InDoubt,
}

/// The ways in which a log can be wrong: the columns of the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// W1: something acknowledged is missing.
    Lost,
    /// W2: half a batch is there.
    Half,
    /// W3: something was never submitted, or is at another place.
    Phantom,
    /// W4: refused, although the incomplete part was merely torn.
    Refused,
    /// W4: cut, although evidence on the disk proves that what was cut was durable.
    CutThoughProven,
    /// W6: acknowledged after a failure.
    AckAfterFailure,
    /// W7: a panic.
    Panic,
}

impl Kind {
    pub const ALL: [(Kind, &'static str); 7] = [
        (Kind::Lost, "acknowledged lost"),
        (Kind::Half, "half batches"),
        (Kind::Phantom, "phantoms"),
        (Kind::Refused, "refused though merely torn"),
        (Kind::CutThoughProven, "cut though proven"),
        (Kind::AckAfterFailure, "acknowledged after a failure"),
        (Kind::Panic, "panics"),
    ];
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub kind: Kind,
    pub what: String,
}

impl Wrong {
    pub fn new(kind: Kind, what: impl fmt::Display) -> Self {
        Wrong { kind, what: what.to_string() }
    }
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The power goes off at this call.
    PowerOff(u64),
    /// This call fails, and the run continues to its last operation.
    Fault(u64, Fault),
    /// After the last operation, before the log is closed.
    After,
}

/// The state found after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A power failure with these fates for what was unsynced; the rest is lost.
    Crashed(Vec<Fate>),
    /// Only the process is gone; the cache is unchanged.
    Killed,
    /// Only the process is gone, and the system has dropped the clean pages of its cache.
    Evicted,
}

impl Found {
    pub fn of(&self, disk: &SimDisk) -> SimDisk {
        match self {
            Found::Crashed(fates) => disk.crash_as(fates),
            Found::Killed => disk.kill(),
            Found::Evicted => {
                let disk = disk.kill();
                disk.evict();
                disk
            }
        }
    }
}

/// One run of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The seed of each operation.
    pub steps: Vec<u64>,
    pub end: End,
    pub found: Found,
}

/// What a run left at each of its calls.
#[derive(Debug)]
pub struct RunRecord<O> {
    pub disk: SimDisk,
    /// The last call of each part, and what was known meanwhile: first the opening, then each step.
    parts: Vec<(u64, O)>,
    /// What is known at the end.
    pub oracle: O,
    /// Calls from this one to the next belong to the check.
    pub opened_at: u64,
    pub checked_at: u64,
}

impl<O: Clone> RunRecord<O> {
    /// What is known when the power goes off at `call`.
    pub fn oracle_at(&self, call: u64) -> O {
        self.parts.iter().find(|(until, _)| call < *until).map_or(&self.oracle, |(_, o)| o).clone()
    }

    /// The disk and the oracle after this end.
    pub fn ended(&self, end: End) -> (SimDisk, O) {
        match end {
            End::PowerOff(call) => match self.disk.before(call) {
                Some(disk) => (disk, self.oracle_at(call)),
                None => (self.disk.clone(), self.oracle.clone()),
            },
            End::Fault(..) | End::After => (self.disk.clone(), self.oracle.clone()),
        }
    }
}

/// A log that was opened and judged, and continues.
pub struct Alive<'a, S: Subject> {
    subject: &'a S,
    /// `None` if an injected fault prevented the opening.
    pub log: Option<S::Log>,
    pub recorded: RunRecord<S::Oracle>,
}

impl<'a, S: Subject> Alive<'a, S> {
    /// Opens the log on `disk` and judges what it exposes.
    pub fn begin(
        subject: &'a S,
        disk: &SimDisk,
        oracle: S::Oracle,
        fault: Option<(u64, Fault)>,
    ) -> Result<Self, Wrong> {
        let before = disk.kill();
        disk.plan(match fault {
            Some((call, fault)) => FaultPlan::none().with(Trigger::At(call), fault),
            None => FaultPlan::none(),
        });
        disk.keep_history();
        let opened = subject.open(forgetful::disk(disk));
        let opened_at = disk.calls();
        let mut recorded = RunRecord {
            disk: disk.clone(),
            parts: vec![(opened_at, oracle.clone())],
            oracle,
            opened_at,
            checked_at: opened_at,
        };
        let log = match opened {
            Ok(log) => log,
            Err(e) if e.io && fault.is_some_and(|(call, _)| call < opened_at) => {
                return Ok(Alive { subject, log: None, recorded });
            }
            Err(e) => return Err(Wrong::new(Kind::Refused, e.why)),
        };
        check_cuts(subject.wal(&log), &before)?;
        subject.check(&log, &mut recorded.oracle)?;
        recorded.checked_at = disk.calls();
        Ok(Alive { subject, log: Some(log), recorded })
    }

    /// Takes steps until the power fails.
    pub fn go_on(&mut self, steps: &[u64], end: End) -> Result<(), Wrong> {
        let Some(log) = &self.log else { return Ok(()) };
        for seed in steps {
            if matches!(end, End::PowerOff(call) if call < self.recorded.disk.calls()) {
                break;
            }
            let mut after = self.recorded.oracle.clone();
            self.subject.step(log, &mut after, *seed)?;
            let during = self.subject.during(&self.recorded.oracle, &after);
            self.recorded.parts.push((self.recorded.disk.calls(), during));
            self.recorded.oracle = after;
        }
        Ok(())
    }
}

/// Nothing is cut off below what the disk proves.
fn check_cuts(wal: &Wal, before: &SimDisk) -> Result<(), Wrong> {
    let Some(cut) = wal.recovery().cut.iter().min_by_key(|c| c.lsns.start) else { return Ok(()) };
    let files =
        before.files().into_iter().filter_map(|n| before.contents(&n).map(|bytes| (n, bytes))).collect();
    let proven = evidence::proven(&files);
    if cut.lsns.start < proven {
        return Err(Wrong::new(Kind::CutThoughProven, format!("{cut}; the disk proves {proven}")));
    }
    Ok(())
}

/// Runs that lead to an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub runs: Vec<Run>,
}

/// Repeats a case; returns the error if it still occurs.
pub fn replay<S: Subject>(subject: &S, case: &Case) -> Option<Wrong> {
    replay_with(subject, case, |_, _| {})
}

/// The same, showing each run's disk at its end and what it is.
pub fn replay_with<S: Subject>(
    subject: &S,
    case: &Case,
    mut show: impl FnMut(&Run, &SimDisk),
) -> Option<Wrong> {
    let (mut disk, mut oracle) = (SimDisk::new(), S::Oracle::default());
    for run in &case.runs {
        let fault = match run.end {
            End::Fault(call, fault) => Some((call, fault)),
            _ => None,
        };
        let mut alive = match Alive::begin(subject, &disk, oracle, fault) {
            Ok(alive) => alive,
            Err(wrong) => {
                show(run, &disk);
                return Some(wrong);
            }
        };
        let gone_on = alive.go_on(&run.steps, run.end);
        show(run, &alive.recorded.disk);
        if let Err(wrong) = gone_on {
            return Some(wrong);
        }
        let (left, known) = alive.recorded.ended(run.end);
        (disk, oracle) = (run.found.of(&left), known);
    }
    Alive::begin(subject, &disk, oracle, None).err()
}
