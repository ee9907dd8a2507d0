//! Crash states by the million: the long form of `tests/crash_states.rs` and `tests/raft_crash_states.rs`.
//!
//! `cargo run --release --features sim --example crash_sweep -- --states N --seed S [--raft]` runs seeds from `S` on
//! until `N` crash states were opened and judged. The exit status is 0 only if nothing was wrong; a finding is
//! printed with its seed, its operations, and the smallest case found that still fails.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/crash/mod.rs"]
mod crash;
#[cfg(feature = "raft")]
#[path = "../tests/crash/raft.rs"]
mod crash_raft;
#[cfg(feature = "raft")]
#[path = "../tests/raft_support/mod.rs"]
mod raft_support;

use std::process::ExitCode;
use std::time::Instant;

use crash::minimise::report;
use crash::run::run;
use crash::sweep::{Form, Tally};
use crash::{Kind, Subject};
use indicatif::{ProgressBar, ProgressStyle};

const USAGE: &str = "crash_sweep --states N --seed S [--raft]";

struct Args {
    states: u64,
    seed: u64,
    raft: bool,
}

fn args() -> Result<Args, String> {
    let mut args = Args { states: 1_000_000, seed: 1, raft: false };
    let mut words = std::env::args().skip(1);
    let number = |words: &mut dyn Iterator<Item = String>| {
        words.next().and_then(|v| v.replace('_', "").parse::<u64>().ok()).ok_or(USAGE)
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--states" => args.states = number(&mut words)?,
            "--seed" => args.seed = number(&mut words)?,
            "--raft" => args.raft = true,
            _ => return Err(format!("{USAGE}; not understood: {word}")),
        }
    }
    Ok(args)
}

fn sweep<S: Subject>(subject: &S, form: &Form, args: &Args) -> ExitCode {
    let bar = ProgressBar::new(args.states);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} states, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    let start = Instant::now();
    let (tally, finding) = run(subject, form, args.seed, |states| {
        bar.set_position(states);
        states >= args.states
    });
    bar.finish_and_clear();
    summary(&tally, start.elapsed().as_secs_f64());
    match finding {
        None if tally.clean() => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
        Some(finding) => {
            println!("\n{}", report(subject, &finding));
            ExitCode::FAILURE
        }
    }
}

fn summary(tally: &Tally, seconds: f64) {
    #[allow(clippy::cast_precision_loss)] // a rate for people
    let rate = tally.states as f64 / seconds;
    println!("states                          {:>12}   ({rate:.0} a second, {seconds:.0} s)", tally.states);
    let lines = [
        ("left by a crash in recovery", tally.double_crashes),
        ("left by a crash in a later run", tally.written_on),
        ("found after a failed call", tally.failures),
        ("seen before, not opened again", tally.repeated),
        ("calls with all subsets tried", tally.exhausted),
        ("calls with some subsets drawn", tally.sampled),
        ("torn tail cut", tally.cut),
        ("unproven tail rewritten", tally.rewritten),
    ];
    let wrong = Kind::ALL.iter().zip(tally.wrong).map(|((_, name), n)| (*name, n));
    for (name, n) in lines.into_iter().chain(wrong) {
        println!("{name:<32}{n:>12}");
    }
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    if !args.raft {
        return sweep(&crash::core::Core::new(), &Form::LONG, &args);
    }
    #[cfg(feature = "raft")]
    return sweep(&crash_raft::Groups::new(), &Form { steps: 30, ..Form::LONG }, &args);
    #[cfg(not(feature = "raft"))]
    {
        eprintln!("--raft needs the feature `raft`");
        ExitCode::from(2)
    }
}
