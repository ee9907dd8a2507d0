//! Minimises a finding and describes it.
//!
//! Greedy: each way to simplify a case is tried and kept if the same kind of error remains, until nothing more can be
//! left out. The result is a local minimum, not the smallest case there is.

use std::panic::{AssertUnwindSafe, catch_unwind};

use seawall::io::sim::{Fate, SimDisk};

use super::sweep::{Finding, message};
use super::{Case, End, Found, Kind, Run, Subject, Wrong, replay, replay_with};

/// Maximum number of repetitions for a minimisation.
const MOST: usize = 20_000;

struct Minimiser<'a, S: Subject> {
    subject: &'a S,
    kind: Kind,
    best: Case,
    left: usize,
}

/// The smallest case found that is wrong in the same way; `None` if the finding cannot be reproduced.
pub fn minimise<S: Subject>(subject: &S, finding: &Finding) -> Option<Case> {
    let mut m = Minimiser { subject, kind: finding.wrong.kind, best: finding.case.clone(), left: MOST };
    if !m.fails(&finding.case) {
        return None;
    }
    loop {
        let before = m.best.clone();
        m.drop_lives();
        m.drop_steps();
        m.end_earlier();
        m.simplify_fates();
        if m.best == before || m.left == 0 {
            return Some(m.best);
        }
    }
}

/// The result of a case, a panic included.
pub fn judge<S: Subject>(subject: &S, case: &Case) -> Option<Wrong> {
    catch_unwind(AssertUnwindSafe(|| replay(subject, case)))
        .unwrap_or_else(|panic| Some(Wrong::new(Kind::Panic, message(&*panic))))
}

impl<S: Subject> Minimiser<'_, S> {
    fn fails(&mut self, case: &Case) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0 && judge(self.subject, case).is_some_and(|w| w.kind == self.kind)
    }

    /// Takes a change if the case is still wrong with it.
    fn attempt(&mut self, change: impl FnOnce(&mut Case)) -> bool {
        let mut case = self.best.clone();
        change(&mut case);
        let better = case != self.best && self.fails(&case);
        if better {
            self.best = case;
        }
        better
    }

    fn drop_lives(&mut self) {
        for at in (0..self.best.runs.len()).rev() {
            self.attempt(|c| drop(c.runs.remove(at)));
        }
    }

    fn drop_steps(&mut self) {
        for at in 0..self.best.runs.len() {
            // From the end: later steps affect nothing before them.
            for step in (0..self.best.runs[at].steps.len()).rev() {
                self.attempt(|c| {
                    c.runs[at].steps.remove(step);
                });
            }
        }
    }

    fn end_earlier(&mut self) {
        for at in 0..self.best.runs.len() {
            let End::PowerOff(call) = self.best.runs[at].end else { continue };
            let earlier = (0..call).find(|n| self.attempt(|c| c.runs[at].end = End::PowerOff(*n)));
            if earlier.is_none() {
                // Simpler to understand, with the same result.
                self.attempt(|c| c.runs[at].end = End::After);
            }
        }
    }

    fn simplify_fates(&mut self) {
        for at in 0..self.best.runs.len() {
            let Found::Crashed(fates) = self.best.runs[at].found.clone() else {
                self.attempt(|c| c.runs[at].found = Found::Crashed(Vec::new()));
                continue;
            };
            for n in (0..fates.len()).rev() {
                for simpler in simpler(fates[n]) {
                    if self.attempt(|c| set_fate(&mut c.runs[at], n, *simpler)) {
                        break;
                    }
                }
            }
        }
    }
}

/// Simplest first.
fn simpler(fate: Fate) -> &'static [Fate] {
    match fate {
        Fate::Lost => &[],
        Fate::Kept => &[Fate::Lost],
        Fate::Older(_) => &[Fate::Lost, Fate::Kept],
        Fate::Zeroed => &[Fate::Lost, Fate::Kept],
        Fate::Torn(_) => &[Fate::Lost, Fate::Kept, Fate::Zeroed, Fate::Torn(1), Fate::Torn(0xfe)],
        Fate::Garbage(_) => &[Fate::Lost, Fate::Kept, Fate::Zeroed],
    }
}

fn set_fate(run: &mut Run, at: usize, fate: Fate) {
    if let Found::Crashed(fates) = &mut run.found {
        fates[at] = fate;
        while fates.last() == Some(&Fate::Lost) {
            fates.pop();
        }
    }
}

/// Seed, what is wrong, and the trace; then the same of the smallest case found that still fails.
pub fn report<S: Subject>(subject: &S, finding: &Finding) -> String {
    let mut lines = vec![format!("seed {}: {:?}: {}", finding.seed, finding.wrong.kind, finding.wrong.what)];
    lines.extend(words(subject, &finding.case));
    match minimise(subject, finding) {
        None => lines.push("it does not come back when it is repeated".into()),
        Some(small) => {
            let what = judge(subject, &small).map_or(String::new(), |w| w.what);
            lines.push(format!("the smallest found that still fails: {what}"));
            lines.extend(words(subject, &small));
        }
    }
    lines.join("\n")
}

/// A case in words: the calls of each run, its end, and the fate of what was unsynced.
fn words<S: Subject>(subject: &S, case: &Case) -> Vec<String> {
    let (mut lines, mut number) = (Vec::new(), 0);
    let show = |run: &Run, disk: &SimDisk| {
        number += 1;
        lines.push(format!("  run {number}: {} steps {:x?}, {:?}", run.steps.len(), run.steps, run.end));
        lines.extend(calls(run, disk));
        lines.extend(fates(run, disk));
    };
    let shown = catch_unwind(AssertUnwindSafe(|| replay_with(subject, case, show)));
    if shown.is_err() {
        lines.push("  the next run panics".into());
    }
    lines
}

/// The calls up to the end of the run: later calls in the trace did not happen.
fn calls(run: &Run, disk: &SimDisk) -> Vec<String> {
    let number = |line: &String| line.split(':').next().and_then(|n| n.parse::<u64>().ok());
    let done = |line: &String| match run.end {
        End::PowerOff(call) => number(line).is_none_or(|n| n < call),
        End::Fault(..) | End::After => true,
    };
    disk.trace().into_iter().take_while(done).map(|line| format!("    {line}")).collect()
}

fn fates(run: &Run, disk: &SimDisk) -> Vec<String> {
    let left = match run.end {
        End::PowerOff(call) => disk.before(call).unwrap_or_else(|| disk.clone()),
        End::Fault(..) | End::After => disk.clone(),
    };
    let Found::Crashed(fates) = &run.found else { return vec![format!("    {:?}", run.found)] };
    let fates = fates.iter().chain(std::iter::repeat(&Fate::Lost));
    let things = left.unsynced();
    let each = things.iter().zip(fates).map(|(unsynced, fate)| format!("      {unsynced}: {fate:?}"));
    std::iter::once("    crash; of what was not synced:".to_owned()).chain(each).collect()
}

/// For negative controls: what was found is a loss, and it becomes a case of one run with at most so many steps that is wrong in
/// the same way.
pub fn assert_made_small<S: Subject>(subject: &S, finding: &Finding, steps: usize) {
    let kind = finding.wrong.kind;
    assert!(matches!(kind, Kind::Lost | Kind::Refused), "{:?}", finding.wrong);
    let small = minimise(subject, finding).unwrap();
    assert_eq!(judge(subject, &small).unwrap().kind, kind);
    assert!(small.runs.len() == 1 && small.runs[0].steps.len() <= steps, "{small:?}");
}
