//! Several Raft groups in one log under the sweep. A module of the crate roots that have `raft_support`.
//!
//! The oracle knows the expected state of the groups: as the last acknowledged operation left them or, while one is
//! under way, as that one leaves them, and nothing in between.

// Each user takes a part.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use seawall::io::Disk;
use seawall::io::sim::Rng;
use seawall::raft::{Error, RaftLog, RaftOptions, Result};
use seawall::{Options, Wal};

use crate::crash::{Kind, NotOpened, Step, Subject, Wrong};
use crate::raft_support::conf;
use crate::raft_support::model::{self, Model, Models};

/// Groups 1 to 3 of one node.
#[derive(Debug)]
pub struct Groups {
    pub options: RaftOptions,
}

impl Groups {
    pub fn new() -> Self {
        let wal = Options::new()
            .segment_size(24 << 10)
            .mmap(false)
            .threads(false)
            .idle_marker(Duration::from_secs(3600));
        Groups { options: RaftOptions::new().node_id(1).wal(wal).snapshot_chunk(1000) }
    }
}

/// What is known about the groups.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub acknowledged: Models,
    /// Alternative states: an operation is under way or in doubt.
    pub pending: Option<Models>,
    poisoned: bool,
    /// Tells what led here.
    trail: u64,
}

const GROUPS: u64 = 3;

impl Known {
    fn failed(&mut self, error: &Error, after: Models) -> Step {
        let poisoned = matches!(error, Error::Log(seawall::Error::Poisoned { .. }));
        if !poisoned || self.poisoned {
            return Step::Refused;
        }
        self.poisoned = true;
        self.pending = (after != self.acknowledged).then_some(after);
        Step::InDoubt
    }
}

/// Takes the step that follows from the seed; `after` is the resulting state, whatever the outcome.
fn operate(log: &RaftLog, after: &mut Models, rng: &mut Rng) -> Result<()> {
    let id = 1 + rng.below(GROUPS);
    let known = after.contains_key(&id);
    match rng.below(16) {
        _ if !known => {
            let voters = [id, 1 + rng.below(5) + id];
            if rng.below(3) == 0 {
                let at = (1 + rng.below(60), 1 + rng.below(4));
                return model::create_behind(log, id, after, at, &voters);
            }
            after.insert(id, Arc::new(Model::new(&voters)));
            log.create_group(id, conf(&voters)).map(|_| ())
        }
        0 if rng.below(2) == 0 => {
            after.remove(&id);
            log.remove_group(id)
        }
        1..=3 => {
            let m = Arc::make_mut(after.get_mut(&id).unwrap());
            // Near the applied index, so that compaction finds a snapshot.
            let ahead = m.applied.0.saturating_sub(m.snapshot_index()).saturating_sub(rng.below(3));
            let size = usize::try_from(rng.below(3000)).unwrap();
            model::save(log, id, m, ahead, size)
        }
        4..=6 => log.purge().map(|_| ()),
        7 | 8 => {
            let m = Arc::make_mut(after.get_mut(&id).unwrap());
            let ahead = m.snapshot_index().min(m.applied.0).saturating_sub(m.compacted.0);
            let mut batch = log.batch();
            model::take(&mut batch, id, m, &model::Step::Compact { ahead })?;
            log.commit(batch).map(|_| ())
        }
        _ => batch(log, after, rng),
    }
}

/// A few steps of several groups in one batch.
fn batch(log: &RaftLog, after: &mut Models, rng: &mut Rng) -> Result<()> {
    let mut batch = log.batch();
    for _ in 0..=rng.below(4) {
        let id = 1 + rng.below(GROUPS);
        if let Some(m) = after.get_mut(&id) {
            let m = Arc::make_mut(m);
            model::take(&mut batch, id, m, &model::Step::any_for_batch(rng))?;
            // What is committed is soon applied, so that there is something to save and to compact.
            if rng.below(2) == 0 {
                let ahead = m.hard.2.saturating_sub(m.applied.0);
                model::take(&mut batch, id, m, &model::Step::Applied { ahead })?;
            }
        }
    }
    log.commit(batch).map(|_| ())
}

/// Something that a poisoned log must refuse.
fn probe(log: &RaftLog, rng: &mut Rng) -> Result<()> {
    log.create_group(100 + rng.below(1 << 40), conf(&[1])).map(|_| ())
}

fn brief(models: &Models) -> String {
    models.iter().map(|(id, m)| format!("\n    group {id}: {}", m.brief())).collect()
}

/// Something is missing: fewer groups, a shorter log, an older HardState.
fn lacks(seen: &Models, promised: &Models) -> bool {
    let shorter = |seen: &Model, m: &Model| seen.last().0 < m.last().0 || seen.hard.2 < m.hard.2;
    promised.iter().any(|(id, m)| seen.get(id).is_none_or(|seen| shorter(seen, m)))
}

impl Subject for Groups {
    type Log = RaftLog;
    type Oracle = Known;

    fn open(&self, disk: Arc<dyn Disk>) -> std::result::Result<RaftLog, NotOpened> {
        self.options.clone().open_on(disk).map_err(|e| NotOpened {
            io: matches!(e, Error::Log(seawall::Error::Io { .. } | seawall::Error::Poisoned { .. })),
            why: e.to_string(),
        })
    }

    fn wal<'a>(&self, log: &'a RaftLog) -> &'a Wal {
        log.wal()
    }

    fn step(&self, log: &RaftLog, known: &mut Known, seed: u64) -> std::result::Result<Step, Wrong> {
        let mut rng = Rng::new(seed);
        known.trail = Rng::new(known.trail ^ seed).draw();
        if known.poisoned {
            return match probe(log, &mut rng) {
                Ok(()) => Err(Wrong::new(Kind::AckAfterFailure, "a group was created")),
                Err(_) => Ok(Step::Refused),
            };
        }
        let mut after = known.acknowledged.clone();
        match operate(log, &mut after, &mut rng) {
            Ok(()) => {
                known.acknowledged = after;
                Ok(Step::Done)
            }
            Err(e) => Ok(known.failed(&e, after)),
        }
    }

    fn check(&self, log: &RaftLog, known: &mut Known) -> std::result::Result<(), Wrong> {
        known.poisoned = false;
        let seen = model::see(log).map_err(|e| Wrong::new(Kind::Refused, e))?;
        let pending = known.pending.take();
        if seen == known.acknowledged {
            return Ok(());
        }
        if pending.as_ref() == Some(&seen) {
            known.acknowledged = seen;
            return Ok(());
        }
        let lost = lacks(&seen, &known.acknowledged) && pending.as_ref().is_none_or(|p| lacks(&seen, p));
        let what = format!(
            "found:{}\n  acknowledged:{}\n  under way:{}",
            brief(&seen),
            brief(&known.acknowledged),
            pending.as_ref().map_or("nothing".into(), brief)
        );
        Err(Wrong::new(if lost { Kind::Lost } else { Kind::Phantom }, what))
    }

    fn during(&self, before: &Known, after: &Known) -> Known {
        let pending = match &after.pending {
            Some(in_doubt) => Some(in_doubt.clone()),
            None => (after.acknowledged != before.acknowledged).then(|| after.acknowledged.clone()),
        };
        Known { acknowledged: before.acknowledged.clone(), pending, ..after.clone() }
    }

    fn key(&self, known: &Known) -> u64 {
        // What is acknowledged follows from the trail; whether its last step is depends on the pending one.
        Rng::new(known.trail ^ u64::from(known.pending.is_some())).draw()
    }
}
