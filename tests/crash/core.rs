//! The log itself under the sweep.

use std::sync::Arc;

use seawall::io::Disk;
use seawall::io::sim::Rng;
use seawall::{Error, Options, Wal};

use super::{Kind, NotOpened, Step, Subject, Wrong};
use crate::common::{self, Oracle};

#[derive(Debug)]
pub struct Core {
    pub options: Options,
}

impl Core {
    pub fn new() -> Self {
        Core { options: common::options() }
    }
}

/// What a log is known to hold, and whether it may acknowledge anything.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub oracle: Oracle,
    poisoned: bool,
}

impl From<common::Wrong> for Wrong {
    fn from(wrong: common::Wrong) -> Self {
        let kind = match wrong {
            common::Wrong::Lost { .. } => Kind::Lost,
            common::Wrong::Torn { .. } => Kind::Half,
            common::Wrong::Phantom { .. } => Kind::Phantom,
            common::Wrong::Refused(_) => Kind::Refused,
        };
        Wrong::new(kind, format!("{wrong:?}"))
    }
}

impl Known {
    /// Which error the failed step got.
    fn failed(&mut self, error: &Error) -> Step {
        let first = matches!(error, Error::Poisoned { .. }) && !self.poisoned;
        self.poisoned |= first;
        if first { Step::InDoubt } else { Step::Refused }
    }

    fn append(&mut self, wal: &Wal, rng: &mut Rng) -> Result<Step, Wrong> {
        let was_poisoned = self.poisoned;
        match self.oracle.append(wal, rng) {
            Ok(()) if was_poisoned => {
                Err(Wrong::new(Kind::AckAfterFailure, format!("batch {}", self.oracle.batches.len() - 1)))
            }
            Ok(()) => Ok(Step::Done),
            Err(e) => {
                let step = self.failed(&e);
                if step == Step::Refused {
                    self.oracle.forget_last();
                }
                Ok(step)
            }
        }
    }
}

impl Subject for Core {
    type Log = Wal;
    type Oracle = Known;

    fn open(&self, disk: Arc<dyn Disk>) -> Result<Wal, NotOpened> {
        self.options
            .open_on(disk)
            .map_err(|e| NotOpened { io: matches!(e, Error::Io { .. }), why: e.to_string() })
    }

    fn wal<'a>(&self, log: &'a Wal) -> &'a Wal {
        log
    }

    fn step(&self, wal: &Wal, known: &mut Known, seed: u64) -> Result<Step, Wrong> {
        let mut rng = Rng::new(seed);
        let done = |known: &mut Known, result: Result<(), Error>| match result {
            Ok(()) => Step::Done,
            Err(e) => known.failed(&e),
        };
        match rng.below(16) {
            0 | 1 => {
                let at = usize::try_from(rng.below(known.oracle.batches.len() as u64 + 1)).unwrap();
                let released = known.oracle.release(wal, at);
                Ok(done(known, released))
            }
            2 if rng.below(2) == 0 => {
                let closed = wal.close();
                Ok(done(known, closed))
            }
            _ => known.append(wal, &mut rng),
        }
    }

    fn check(&self, wal: &Wal, known: &mut Known) -> Result<(), Wrong> {
        known.poisoned = false;
        Ok(known.oracle.check(wal)?)
    }

    fn during(&self, before: &Known, after: &Known) -> Known {
        let mut during = after.clone();
        during.oracle.acknowledged = before.oracle.acknowledged.min(after.oracle.batches.len());
        during
    }

    fn key(&self, known: &Known) -> u64 {
        known.oracle.key()
    }
}
