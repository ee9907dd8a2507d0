//! Negative controls: subjects that break a guarantee, so that the sweep must find something.

use std::sync::Arc;

use seawall::Wal;
use seawall::io::Disk;

use super::core::{Core, Known};
use super::{NotOpened, Step, Subject, Wrong};
use crate::common::forgetful::{ForgetfulDisk, Forgotten};

/// Another subject, without one of its syncs.
#[derive(Debug)]
pub struct Forgetful<S>(pub S, pub Forgotten);

impl<S: Subject> Subject for Forgetful<S> {
    type Log = S::Log;
    type Oracle = S::Oracle;

    fn open(&self, disk: Arc<dyn Disk>) -> Result<Self::Log, NotOpened> {
        self.0.open(ForgetfulDisk::on(disk, self.1))
    }
    fn wal<'a>(&self, log: &'a Self::Log) -> &'a Wal {
        self.0.wal(log)
    }
    fn step(&self, log: &Self::Log, oracle: &mut Self::Oracle, seed: u64) -> Result<Step, Wrong> {
        self.0.step(log, oracle, seed)
    }
    fn check(&self, log: &Self::Log, oracle: &mut Self::Oracle) -> Result<(), Wrong> {
        self.0.check(log, oracle)
    }
    fn during(&self, before: &Self::Oracle, after: &Self::Oracle) -> Self::Oracle {
        self.0.during(before, after)
    }
    fn key(&self, oracle: &Self::Oracle) -> u64 {
        self.0.key(oracle)
    }
}

/// What a log that breaks a guarantee does.
#[derive(Clone, Copy, Debug)]
pub enum Breach {
    /// It holds a batch that was never submitted.
    Invents,
    /// It holds half of a batch: the rest was submitted and never written.
    Halves,
    /// It panics once a few batches are there.
    Panics,
}

/// The log, with a fault.
#[derive(Debug)]
pub struct Broken(pub Core, pub Breach);

impl Subject for Broken {
    type Log = Wal;
    type Oracle = Known;

    fn open(&self, disk: Arc<dyn Disk>) -> Result<Wal, NotOpened> {
        self.0.open(disk)
    }
    fn wal<'a>(&self, log: &'a Wal) -> &'a Wal {
        log
    }
    fn step(&self, log: &Wal, known: &mut Known, seed: u64) -> Result<Step, Wrong> {
        let before = known.oracle.batches.len();
        let step = self.0.step(log, known, seed)?;
        let appended = known.oracle.batches.len() > before;
        match self.1 {
            Breach::Invents if appended && seed.is_multiple_of(3) => known.oracle.forget_last(),
            Breach::Halves if appended && seed.is_multiple_of(3) => known.oracle.lengthen_last(),
            Breach::Panics => assert!(before < 5, "five batches"),
            _ => {}
        }
        known.oracle.acknowledged = known.oracle.acknowledged.min(known.oracle.batches.len());
        Ok(step)
    }
    fn check(&self, log: &Wal, known: &mut Known) -> Result<(), Wrong> {
        self.0.check(log, known)
    }
    fn during(&self, before: &Known, after: &Known) -> Known {
        self.0.during(before, after)
    }
    fn key(&self, known: &Known) -> u64 {
        self.0.key(known)
    }
}
