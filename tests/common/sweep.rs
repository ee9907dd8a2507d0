//! The crash sweep: one life up to a power failure at a given call, a crash, recovery that is itself interrupted, another
//! life, another crash; judged by the oracle each time.

use std::ops::AddAssign;

use seawall::io::sim::{CrashStyle, FaultPlan, Rng, SimDisk};
use seawall::{Options, Wal};

use super::{Oracle, Wrong, open};

/// What a sweep saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// States that a crash left and that were opened.
    pub states: u64,
    /// Of those, the ones left by a crash during recovery.
    pub double_crashes: u64,
    /// States whose newest block was cut off, as nothing proved it durable.
    pub cut: u64,
    /// States in which unproven blocks were written again.
    pub rewritten: u64,
    /// An acknowledged batch was not there.
    pub lost: u64,
    /// Half a batch was there.
    pub torn: u64,
    /// Something that was never submitted, or at another place.
    pub phantoms: u64,
    /// Refused, although what is not whole was merely torn by the crash.
    pub refused: u64,
}

impl Tally {
    /// Whether nothing was wrong.
    pub fn clean(&self) -> bool {
        self.lost + self.torn + self.phantoms + self.refused == 0
    }

    fn wrong(&mut self, wrong: &Wrong) {
        match wrong {
            Wrong::Lost { .. } => self.lost += 1,
            Wrong::Torn { .. } => self.torn += 1,
            Wrong::Phantom { .. } => self.phantoms += 1,
            Wrong::Refused(_) => self.refused += 1,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, o: Self) {
        self.states += o.states;
        self.double_crashes += o.double_crashes;
        self.cut += o.cut;
        self.rewritten += o.rewritten;
        self.lost += o.lost;
        self.torn += o.torn;
        self.phantoms += o.phantoms;
        self.refused += o.refused;
    }
}

/// Something that is wrong, and all that is needed to see it again.
#[derive(Debug)]
pub struct Finding {
    pub seed: u64,
    pub cut: u64,
    pub style: CrashStyle,
    pub when: &'static str,
    pub wrong: Wrong,
    pub calls: Vec<String>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finding { seed, cut, style, when, wrong, calls } = self;
        writeln!(f, "seed {seed}, power off at call {cut}, {style:?}, {when}: {wrong:?}; the calls before:")?;
        calls.iter().try_for_each(|call| writeln!(f, "  {call}"))
    }
}

/// Appends, with a rotation and a release here and there; stops at the first error.
pub fn work(wal: &Wal, oracle: &mut Oracle, rng: &mut Rng, batches: usize) {
    for _ in 0..batches {
        if oracle.append(wal, rng).is_err() {
            return;
        }
        if rng.below(8) == 0 {
            let at = usize::try_from(rng.below(oracle.batches.len() as u64 + 1)).unwrap();
            if oracle.release(wal, at).is_err() {
                return;
            }
        }
    }
}

fn styles(rng: &mut Rng) -> Vec<CrashStyle> {
    let mut all = vec![CrashStyle::LoseAll, CrashStyle::KeepAll];
    all.extend((0..4).map(|_| CrashStyle::Chaos(rng.draw())));
    all.extend((0..3).map(|_| CrashStyle::Subset(rng.draw())));
    all
}

/// One scenario: a workload from `seed`, the power off at call `cut`, and all crash styles at that point.
#[derive(Debug)]
pub struct Scenario<'a> {
    pub options: &'a Options,
    pub seed: u64,
    pub cut: u64,
}

/// What a scenario saw, what was wrong first, and whether the workload ended before the cut.
pub type Outcome = (Tally, Option<Finding>, bool);

impl Scenario<'_> {
    pub fn run(&self) -> Outcome {
        let mut rng = Rng::new(self.seed);
        let disk = SimDisk::new();
        let mut oracle = Oracle::default();
        disk.plan(FaultPlan::power_off_at(self.cut));
        if let Ok(wal) = open(self.options, &disk) {
            work(&wal, &mut oracle, &mut rng, 12);
        }
        let finished = disk.calls() < self.cut;
        let mut choice = Rng::new(self.seed ^ self.cut.wrapping_mul(0x9e37_79b9));
        let (mut tally, mut finding) = (Tally::default(), None);
        for style in styles(&mut choice) {
            let found = self.after(&disk, style, oracle.clone(), &mut choice, &mut tally);
            finding = finding.or(found);
        }
        (tally, finding, finished)
    }

    /// Everything that comes after one crash.
    fn after(
        &self,
        disk: &SimDisk,
        style: CrashStyle,
        mut oracle: Oracle,
        choice: &mut Rng,
        tally: &mut Tally,
    ) -> Option<Finding> {
        let mut disk = disk.crash(style);
        tally.states += 1;
        // Recovery is interrupted a few times before it may finish.
        for _ in 0..choice.below(3) {
            disk.plan(FaultPlan::power_off_at(choice.below(40)));
            drop(open(self.options, &disk));
            disk = disk.crash(CrashStyle::Chaos(choice.draw()));
            tally.states += 1;
            tally.double_crashes += 1;
        }
        let wal = match self.judge(&disk, &mut oracle, tally) {
            Ok(wal) => wal,
            Err(wrong) => return Some(self.finding(style, "after the crash", wrong, &disk)),
        };
        // What was just shown must survive everything that was not synced being lost; what is then written lies where
        // a stale tail could come back to life.
        let mut next = choice.clone();
        work(&wal, &mut oracle, &mut next, 3);
        let again = if choice.below(2) == 0 { CrashStyle::LoseAll } else { CrashStyle::Chaos(choice.draw()) };
        let lost = disk.crash(again);
        drop(wal);
        tally.states += 1;
        match self.judge(&lost, &mut oracle, tally) {
            Ok(_) => None,
            Err(wrong) => Some(self.finding(style, "after the second crash", wrong, &disk)),
        }
    }

    fn judge(&self, disk: &SimDisk, oracle: &mut Oracle, tally: &mut Tally) -> Result<Wal, Wrong> {
        let judged = open(self.options, disk)
            .map_err(|e| Wrong::Refused(e.to_string()))
            .and_then(|wal| oracle.check(&wal).map(|()| wal));
        match &judged {
            Ok(wal) => {
                tally.cut += u64::from(!wal.recovery().cut.is_empty());
                tally.rewritten += u64::from(wal.recovery().rewritten > 0);
            }
            Err(wrong) => tally.wrong(wrong),
        }
        judged
    }

    fn finding(&self, style: CrashStyle, when: &'static str, wrong: Wrong, disk: &SimDisk) -> Finding {
        Finding { seed: self.seed, cut: self.cut, style, when, wrong, calls: disk.trace() }
    }
}

/// All cuts of one seed.
pub fn sweep_seed(options: &Options, seed: u64) -> (Tally, Option<Finding>) {
    let mut total = Tally::default();
    for cut in 0.. {
        let (tally, finding, finished) = Scenario { options, seed, cut }.run();
        total += tally;
        if finished || finding.is_some() {
            return (total, finding);
        }
    }
    (total, None)
}
