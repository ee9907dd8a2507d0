//! The sweep: from one seed, a run, a crash at each of its calls, recovery crashed at each of its calls, another run
//! and another crash; every resulting state is opened and judged.
//!
//! A state that was already judged, with the same disk and the same guarantees, is not opened again.

use std::collections::HashSet;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};

use seawall::io::sim::{CrashStyle, Fate, Fault, Rng, SimDisk, SyncFailure, Unsynced};

use super::{Alive, Case, End, Found, Kind, Run, RunRecord, Subject, Wrong};

/// How much of everything that could happen is tried.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Steps of the first run.
    pub steps: u64,
    /// All subsets if at most this many sectors are unsynced.
    pub exhaustive: u32,
    /// Subsets drawn from the seed where there are more.
    pub sampled: u64,
    /// At each call, random states: torn, zeroed, garbage.
    pub chaos: u64,
    /// One in this many recoveries is crashed at every call.
    pub recoveries: u64,
    /// One in this many states is written on and crashed again.
    pub further: u64,
    /// Calls of a continued run at which it is crashed.
    pub further_cuts: usize,
    /// At one in this many calls of the first run, the call fails instead of the power.
    pub faults: u64,
    /// A sector being written may become zeros or garbage. Where blocks share sectors, no log can survive that: it
    /// needs a device that damages only the 512 bytes being written.
    pub wipes: bool,
}

/// On average this many of one call's states are followed further, if the subsets are more.
const FOLLOWED: u64 = 32;

impl Form {
    /// For `cargo test`.
    pub const QUICK: Form = Form {
        steps: 12,
        exhaustive: 4,
        sampled: 8,
        chaos: 3,
        recoveries: 8,
        further: 3,
        further_cuts: 3,
        faults: 2,
        wipes: true,
    };
    /// For the example.
    pub const LONG: Form = Form {
        steps: 12,
        exhaustive: 14,
        sampled: 64,
        chaos: 8,
        recoveries: 1,
        further: 2,
        further_cuts: 4,
        faults: 1,
        wipes: true,
    };
}

/// Totals of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// States found after a crash and opened, all different within their scenario.
    pub states: u64,
    /// Those left by a crash during recovery.
    pub double_crashes: u64,
    /// Those left by a crash in a run that followed a crash.
    pub written_on: u64,
    /// Those found after a failed call.
    pub failures: u64,
    /// States not opened because the same one had been.
    pub repeated: u64,
    /// Calls at which all subsets of the unsynced sectors were tried.
    pub exhausted: u64,
    /// Calls with too many subsets, at which some were drawn.
    pub sampled: u64,
    /// States whose newest block was cut off because nothing proved it durable.
    pub cut: u64,
    /// States in which unproven blocks were rewritten.
    pub rewritten: u64,
    /// Where something was wrong, by kind.
    pub wrong: [u64; Kind::ALL.len()],
}

impl Tally {
    /// Whether nothing was wrong.
    pub fn clean(&self) -> bool {
        self.wrong.iter().all(|n| *n == 0)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, o: Self) {
        self.states += o.states;
        self.double_crashes += o.double_crashes;
        self.written_on += o.written_on;
        self.failures += o.failures;
        self.repeated += o.repeated;
        self.exhausted += o.exhausted;
        self.sampled += o.sampled;
        self.cut += o.cut;
        self.rewritten += o.rewritten;
        self.wrong.iter_mut().zip(o.wrong).for_each(|(a, b)| *a += b);
    }
}

/// An error, and everything needed to reproduce it.
#[derive(Clone, Debug)]
pub struct Finding {
    pub seed: u64,
    pub wrong: Wrong,
    pub case: Case,
}

/// Where a state comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Crash,
    Recovery,
    WrittenOn,
    Failure,
}

/// The sweep of one seed.
pub struct Sweep<'a, S: Subject> {
    subject: &'a S,
    form: &'a Form,
    rng: Rng,
    seen: HashSet<u64>,
    /// The runs that lead to the present state.
    path: Vec<Run>,
    /// Of the many states at the present call, one in this many is followed further.
    thin: u64,
    pub tally: Tally,
}

/// Sweeps one seed; ends at the first finding.
pub fn sweep_seed<S: Subject>(subject: &S, form: &Form, seed: u64) -> (Tally, Option<Finding>) {
    let mut sweep = Sweep {
        subject,
        form,
        rng: Rng::new(seed),
        seen: HashSet::new(),
        path: Vec::new(),
        thin: 1,
        tally: Tally::default(),
    };
    let wrong = match catch_unwind(AssertUnwindSafe(|| sweep.run())) {
        Ok(done) => done.err(),
        Err(panic) => Some(Wrong::new(Kind::Panic, message(&*panic))),
    };
    let finding = wrong.map(|wrong| {
        sweep.tally.wrong[Kind::ALL.iter().position(|(k, _)| *k == wrong.kind).unwrap()] += 1;
        Finding { seed, wrong, case: Case { runs: sweep.path.clone() } }
    });
    (sweep.tally, finding)
}

/// The message of a panic.
pub fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "panic".into())
}

impl<S: Subject> Sweep<'_, S> {
    fn one_in(&mut self, n: u64) -> bool {
        self.rng.below(n) == 0
    }

    fn steps(&mut self, n: u64) -> Vec<u64> {
        (0..n).map(|_| self.rng.draw()).collect()
    }

    fn run(&mut self) -> Result<(), Wrong> {
        let steps = self.steps(self.form.steps);
        let recorded = self.live(&SimDisk::new(), S::Oracle::default(), &steps, End::After)?;
        for call in recorded.disk.history() {
            let end = End::PowerOff(call);
            let (left, _) = recorded.ended(end);
            let states = self.all_fates(&left);
            self.thin = (states.len() as u64).div_ceil(FOLLOWED);
            for fates in states {
                self.found(&recorded, &steps, end, Found::Crashed(fates), Origin::Crash, 2)?;
            }
            if self.one_in(4) {
                self.found(&recorded, &steps, end, Found::Killed, Origin::Crash, 2)?;
            }
        }
        self.thin = 1;
        self.fail_calls(&recorded, &steps)
    }

    /// Executes a run to its end. While it is on the path, a panic is attributed to it.
    fn live(
        &mut self,
        disk: &SimDisk,
        oracle: S::Oracle,
        steps: &[u64],
        end: End,
    ) -> Result<RunRecord<S::Oracle>, Wrong> {
        self.path.push(Run { steps: steps.to_vec(), end, found: Found::Killed });
        let fault = match end {
            End::Fault(call, fault) => Some((call, fault)),
            _ => None,
        };
        let mut alive = Alive::begin(self.subject, disk, oracle, fault)?;
        alive.go_on(steps, end)?;
        self.path.pop();
        Ok(alive.recorded)
    }

    /// A call fails instead of the power; the program continues, and nothing false is acknowledged.
    fn fail_calls(&mut self, whole: &RunRecord<S::Oracle>, steps: &[u64]) -> Result<(), Wrong> {
        for call in 0..whole.disk.calls() {
            let checking = (whole.opened_at..whole.checked_at).contains(&call);
            if checking || !self.one_in(self.form.faults) {
                continue;
            }
            let end = End::Fault(call, any_fault(&mut self.rng));
            let recorded = self.live(&SimDisk::new(), S::Oracle::default(), steps, end)?;
            let fates = self.few_fates(&recorded.disk);
            for found in fates.into_iter().map(Found::Crashed).chain([Found::Killed, Found::Evicted]) {
                self.found(&recorded, steps, end, found, Origin::Failure, 1)?;
            }
        }
        Ok(())
    }

    /// Opens and judges the state after a run, and its possible continuations.
    fn found(
        &mut self,
        recorded: &RunRecord<S::Oracle>,
        steps: &[u64],
        end: End,
        found: Found,
        origin: Origin,
        depth: u32,
    ) -> Result<(), Wrong> {
        let (left, oracle) = recorded.ended(end);
        let disk = found.of(&left);
        let key = disk.fingerprint().rotate_left(17) ^ self.subject.key(&oracle);
        if !self.seen.insert(key) {
            self.tally.repeated += 1;
            return Ok(());
        }
        self.path.push(Run { steps: steps.to_vec(), end, found });
        self.judge(&disk, oracle, origin, depth)?;
        self.path.pop();
        Ok(())
    }

    fn judge(&mut self, disk: &SimDisk, oracle: S::Oracle, origin: Origin, depth: u32) -> Result<(), Wrong> {
        self.tally.states += 1;
        self.tally.double_crashes += u64::from(origin == Origin::Recovery);
        self.tally.written_on += u64::from(origin == Origin::WrittenOn);
        self.tally.failures += u64::from(origin == Origin::Failure);
        let mut alive = Alive::begin(self.subject, disk, oracle, None)?;
        let log = alive.log.as_ref().unwrap();
        let recovery = self.subject.wal(log).recovery();
        self.tally.cut += u64::from(!recovery.cut.is_empty());
        self.tally.rewritten += u64::from(recovery.rewritten > 0);
        if depth == 0 {
            return Ok(());
        }
        if self.one_in(self.form.recoveries * self.thin) {
            self.crash_recovery(&alive.recorded, depth)?;
        }
        if self.one_in(self.form.further * self.thin) {
            self.write_on(&mut alive, depth)?;
        }
        Ok(())
    }

    /// Recovery is crashed at every call.
    fn crash_recovery(&mut self, recorded: &RunRecord<S::Oracle>, depth: u32) -> Result<(), Wrong> {
        for call in recorded.disk.history().into_iter().filter(|call| *call < recorded.opened_at) {
            let end = End::PowerOff(call);
            let (left, _) = recorded.ended(end);
            for fates in self.few_fates(&left) {
                self.found(recorded, &[], end, Found::Crashed(fates), Origin::Recovery, depth - 1)?;
            }
        }
        Ok(())
    }

    /// Everything exposed must survive the loss of everything unsynced; later writes go where a stale tail could
    /// reappear.
    fn write_on(&mut self, alive: &mut Alive<'_, S>, depth: u32) -> Result<(), Wrong> {
        self.found(
            &alive.recorded,
            &[],
            End::After,
            Found::Crashed(Vec::new()),
            Origin::WrittenOn,
            depth - 1,
        )?;
        let n = 2 + self.rng.below(3);
        let steps = self.steps(n);
        self.path.push(Run { steps: steps.clone(), end: End::After, found: Found::Killed });
        alive.go_on(&steps, End::After)?;
        self.path.pop();
        let history = alive.recorded.disk.history();
        let mut ends = vec![End::After];
        for _ in 0..self.form.further_cuts {
            let at = usize::try_from(self.rng.below(history.len() as u64)).unwrap();
            ends.extend(history.get(at).map(|call| End::PowerOff(*call)));
        }
        for end in ends {
            let (left, _) = alive.recorded.ended(end);
            for fates in self.few_fates(&left) {
                let found = Found::Crashed(fates);
                self.found(&alive.recorded, &steps, end, found, Origin::WrittenOn, depth - 1)?;
            }
        }
        Ok(())
    }

    /// Everything lost, everything kept, and one random state.
    fn few_fates(&mut self, disk: &SimDisk) -> Vec<Vec<Fate>> {
        vec![Vec::new(), disk.fates(CrashStyle::KeepAll), self.any_fates(disk)]
    }

    /// A random state.
    fn any_fates(&mut self, disk: &SimDisk) -> Vec<Fate> {
        let mut fates = disk.fates(CrashStyle::Chaos(self.rng.draw()));
        if !self.form.wipes {
            for fate in &mut fates {
                if let Fate::Garbage(_) | Fate::Zeroed = fate {
                    *fate = Fate::Torn(self.rng.draw().to_le_bytes()[0]);
                }
            }
        }
        fates
    }

    /// All subsets, or a sample if there are too many, and some random states.
    fn all_fates(&mut self, disk: &SimDisk) -> Vec<Vec<Fate>> {
        let unsynced = disk.unsynced();
        let choices: Vec<Vec<Fate>> = unsynced.iter().map(plain_fates).collect();
        let sectors = unsynced.iter().filter(|u| u.is_sector()).count();
        let product = choices.iter().try_fold(1u64, |n, c| n.checked_mul(c.len() as u64));
        let most = 1u64 << self.form.exhaustive;
        let mut all = match product {
            Some(n) if n <= most => (0..n).map(|k| nth_choice(&choices, k)).collect(),
            _ => self.sampled_fates(&choices, sectors),
        };
        let whole = product.is_some_and(|n| n <= most) || sectors <= self.form.exhaustive as usize;
        self.tally.exhausted += u64::from(whole);
        self.tally.sampled += u64::from(!whole);
        all.extend((0..self.form.chaos).map(|_| self.any_fates(disk)));
        all
    }

    /// Every subset of the sectors if they are few, with random fates for the rest; else as many states as
    /// configured.
    fn sampled_fates(&mut self, choices: &[Vec<Fate>], sectors: usize) -> Vec<Vec<Fate>> {
        let any = |c: &Vec<Fate>, rng: &mut Rng| c[usize::try_from(rng.below(c.len() as u64)).unwrap()];
        let mut all = vec![vec![Fate::Lost; choices.len()], vec![Fate::Kept; choices.len()]];
        let subsets = 1u64.checked_shl(u32::try_from(sectors).unwrap());
        let whole = sectors <= self.form.exhaustive as usize;
        let n = if whole { subsets.unwrap_or(self.form.sampled) } else { self.form.sampled };
        for bits in 0..n {
            let fates =
                choices.iter().enumerate().map(|(at, c)| match (whole && at < sectors, bits >> at & 1) {
                    (true, 1) => Fate::Kept,
                    (true, _) => Fate::Lost,
                    (false, _) => any(c, &mut self.rng),
                });
            all.push(fates.collect());
        }
        all
    }
}

/// The possible fates of a thing that is neither torn nor overwritten by something else.
fn plain_fates(unsynced: &Unsynced) -> Vec<Fate> {
    let mut fates = vec![Fate::Lost];
    if !unsynced.same() {
        fates.push(Fate::Kept);
    }
    fates.extend((0..unsynced.older()).map(|n| Fate::Older(u8::try_from(n).unwrap_or(u8::MAX))));
    fates
}

/// The `k`-th combination of one choice from each.
fn nth_choice(choices: &[Vec<Fate>], mut k: u64) -> Vec<Fate> {
    let pick = |c: &Vec<Fate>| {
        let n = c.len() as u64;
        let fate = c[usize::try_from(k % n).unwrap()];
        k /= n;
        fate
    };
    choices.iter().map(pick).collect()
}

/// EIO, ENOSPC, EDQUOT, EINTR, short and empty writes, and a sync that fails one way or the other.
fn any_fault(rng: &mut Rng) -> Fault {
    match rng.below(10) {
        0 | 1 => Fault::Os(5),
        2 => Fault::Os(28),
        3 => Fault::Os(122),
        4 => Fault::Os(4),
        5 => Fault::Short,
        6 => Fault::Nothing,
        7 | 8 => Fault::Sync(SyncFailure::DropsPages),
        _ => Fault::Sync(SyncFailure::KeepsDirty),
    }
}
