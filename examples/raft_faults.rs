//! Raft under faults by the million steps: the long form of `tests/raft_under_faults.rs`.
//!
//! `cargo run --release --features sim --example raft_faults -- --steps N --seed S` runs one cluster after another,
//! from seed `S` on and 10,000 steps each, until `N` steps were taken. `--paranoid 1` compares every output with the
//! disk after a crash, instead of one in fifty. The exit status is 0 only if nothing was wrong; a finding is printed
//! with its seed, its step and the preceding events. `--steps 10000 --seed S` repeats that seed.

#[path = "../tests/cluster_support/mod.rs"]
mod cluster_support;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cluster_support::{Checks, Finding, Kind, Report, Sabotage, Tally, episode};
use indicatif::{ProgressBar, ProgressStyle};

/// The steps of one cluster.
const EPISODE: u64 = 10_000;

struct Args {
    steps: u64,
    seed: u64,
    checks: Checks,
}

fn args() -> Result<Args, String> {
    let mut args = Args { steps: 1_000_000, seed: 1, checks: Checks::ALL };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().and_then(|v| v.replace('_', "").parse::<u64>().ok());
        match (word.as_str(), value) {
            ("--steps", Some(n)) => args.steps = n,
            ("--seed", Some(n)) => args.seed = n,
            ("--paranoid", Some(0)) => {}
            ("--paranoid", Some(_)) => args.checks = Checks::paranoid(),
            _ => {
                let usage = "raft_faults --steps N --seed S --paranoid 0|1";
                return Err(format!("{usage}; not understood: {word}"));
            }
        }
    }
    Ok(args)
}

/// The totals of all clusters, and the first finding.
#[derive(Default)]
struct Outcome {
    tally: Tally,
    findings: Vec<Finding>,
}

impl Outcome {
    fn add(&mut self, report: Report) {
        self.tally += report.tally;
        self.findings.extend(report.finding);
    }
}

/// Seeds are handed out one by one; the first finding ends the run.
fn run(args: &Args, bar: &ProgressBar) -> Outcome {
    let (next, begun) = (AtomicU64::new(args.seed), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let worker = || {
        let mut outcome = Outcome::default();
        while outcome.findings.is_empty() {
            let left = args.steps.saturating_sub(begun.fetch_add(EPISODE, Ordering::Relaxed));
            if left == 0 {
                break;
            }
            let steps = left.min(EPISODE);
            let seed = next.fetch_add(1, Ordering::Relaxed);
            outcome.add(episode(seed, steps, args.checks, Sabotage::None));
            bar.inc(steps);
        }
        if !outcome.findings.is_empty() {
            begun.store(args.steps, Ordering::Relaxed);
        }
        outcome
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let mut outcome = Outcome::default();
        for handle in handles {
            // Panics of the engine are caught and are findings; this would be one of the simulation itself.
            let Ok(part) = handle.join() else { std::process::abort() };
            outcome.tally += part.tally;
            outcome.findings.extend(part.findings);
        }
        outcome
    })
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    // raft panics when the power fails under it, which is counted; any other panic is a finding with its text.
    std::panic::set_hook(Box::new(|_| {}));
    let bar = ProgressBar::new(args.steps);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} steps, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    let start = Instant::now();
    let outcome = run(&args, &bar);
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)] // a rate for people
    let rate = outcome.tally.steps as f64 / seconds;
    println!("{rate:.0} steps a second, {seconds:.0} s");
    for (name, n) in outcome.tally.lines() {
        println!("{:<32}{n:>12}", name.replace('_', " "));
    }
    println!("violations");
    for kind in Kind::ALL {
        let n = outcome.findings.iter().filter(|f| f.violation.kind == kind).count();
        println!("  {:<30}{n:>12}", kind.name());
    }
    for finding in &outcome.findings {
        println!("\n{finding}");
    }
    if outcome.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
