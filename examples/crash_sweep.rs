//! Crash states by the million: the long form of `tests/crash_states.rs`.
//!
//! `cargo run --release --features sim --example crash_sweep -- --states N --seed S` runs seeds from `S` on until `N`
//! crash states were opened and judged. The exit status is 0 only when nothing was wrong; a finding is printed with its
//! seed, the call at which the power went off, and the calls before.
// A program talks to people.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use common::sweep::{Finding, Tally, sweep_seed};
use indicatif::{ProgressBar, ProgressStyle};

struct Args {
    states: u64,
    seed: u64,
}

fn args() -> Result<Args, String> {
    let mut args = Args { states: 1_000_000, seed: 1 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().and_then(|v| v.replace('_', "").parse::<u64>().ok());
        match (word.as_str(), value) {
            ("--states", Some(n)) => args.states = n,
            ("--seed", Some(n)) => args.seed = n,
            _ => return Err(format!("crash_sweep --states N --seed S; not understood: {word}")),
        }
    }
    Ok(args)
}

/// Seeds are handed out one by one; the first finding ends the run.
fn run(args: &Args, bar: &ProgressBar) -> (Tally, Option<Finding>) {
    let (next, seen) = (AtomicU64::new(args.seed), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let worker = || {
        let options = common::options();
        let (mut total, mut finding) = (Tally::default(), None);
        while finding.is_none() && seen.load(Ordering::Relaxed) < args.states {
            let (tally, found) = sweep_seed(&options, next.fetch_add(1, Ordering::Relaxed));
            seen.fetch_add(tally.states, Ordering::Relaxed);
            bar.inc(tally.states);
            total += tally;
            if found.is_some() {
                seen.store(u64::MAX / 2, Ordering::Relaxed);
            }
            finding = found;
        }
        (total, finding)
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let (mut total, mut finding) = (Tally::default(), None);
        for handle in handles {
            // A panic anywhere in the log is a finding too: the thread has printed it.
            match handle.join() {
                Ok((tally, found)) => {
                    total += tally;
                    finding = finding.or(found);
                }
                Err(_) => total.refused += 1,
            }
        }
        (total, finding)
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
    let bar = ProgressBar::new(args.states);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} states, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    let start = Instant::now();
    let (tally, finding) = run(&args, &bar);
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)] // a rate for people
    let rate = tally.states as f64 / seconds;
    println!("states                      {:>12}   ({rate:.0} a second, {seconds:.0} s)", tally.states);
    println!("left by a crash in recovery {:>12}", tally.double_crashes);
    println!("torn tail cut               {:>12}", tally.cut);
    println!("unproven tail written again {:>12}", tally.rewritten);
    println!("acknowledged lost           {:>12}", tally.lost);
    println!("half batches                {:>12}", tally.torn);
    println!("phantoms                    {:>12}", tally.phantoms);
    println!("refused though merely torn  {:>12}", tally.refused);
    match finding {
        None if tally.clean() => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
        Some(finding) => {
            println!("\n{finding}");
            ExitCode::FAILURE
        }
    }
}
