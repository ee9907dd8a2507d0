//! Hours of a node at work compressed into minutes: disk, memory, file descriptors and threads stay flat.
//!
//! `cargo run --release --example soak -- --minutes 5 --svg soak.svg`
//!
//! A thousand groups in one log, on real files. They grow, are overwritten by new leaders, take snapshots in one
//! piece and in many, compact, are left behind and receive a snapshot, are removed and created again; one in twenty
//! lags and keeps many entries. A thread of the log purges each time a segment's worth was appended, and every few
//! seconds the log is reopened, with or without a close. Reads, and all groups after each opening, are compared with
//! a model.
//!
//! Once a second the load pauses and measurements are taken. The exit status is 0 only if every read was correct, the
//! segments stayed within twice the live bytes plus three segments, and every quantity is flat (`flat`). At the end
//! there is a line for each quantity; `--svg` draws them all, `--csv` writes them to a file.

mod args;
mod chart;
#[path = "../../tests/counting/mod.rs"]
mod counting;
mod flat;
mod sample;
#[path = "../../tests/soak_support/mod.rs"]
mod soak_support;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use seawall::raft::RaftLog;

use args::Args;
use sample::{Sample, sample};
use soak_support::load::Shared;
use soak_support::{Fallible, live, open, start};

/// A segment's size in bytes.
const SEGMENT: u64 = 4 << 20;

const WORKERS: u64 = 8;

/// Duration of one run of the log.
const RUN: Duration = Duration::from_secs(7);

/// The record of a soak in progress.
struct Record<'a> {
    dir: &'a Path,
    start: Instant,
    samples: Vec<Sample>,
    restarts: u64,
    operations: u64,
    bar: ProgressBar,
}

impl Record<'_> {
    /// Measures at regular intervals until the load ends or the run is over.
    fn watch(&mut self, log: &RaftLog, shared: &Shared, until: Instant) -> Fallible<()> {
        let (mut before, mut since) = (0, Instant::now());
        while Instant::now() < until && !shared.stop.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_secs(1).min(until.saturating_duration_since(Instant::now())));
            let quiet = shared.going.write();
            let done = shared.operations.load(Ordering::Relaxed);
            let rate = (done - before) as f64 / since.elapsed().as_secs_f64();
            let now = sample(log, self.dir, self.start.elapsed().as_secs_f64(), rate)?;
            drop(quiet);
            (before, since) = (done, Instant::now());
            self.bar.set_position(now.seconds as u64);
            self.bar.set_message(format!("{rate:.0} operations/s, {} MiB on disk", now.directory >> 20));
            self.samples.push(now);
        }
        self.operations += shared.operations.load(Ordering::Relaxed);
        Ok(())
    }
}

fn soak(args: &Args, dir: &Path) -> Fallible<Vec<Sample>> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} s  {msg}")?;
    let bar = ProgressBar::new(args.seconds as u64).with_style(style);
    let mut log = open(dir, SEGMENT)?;
    let mut workers = start(&log, args.groups, WORKERS, args.seed)?;
    let mut record =
        Record { dir, start: Instant::now(), samples: Vec::new(), restarts: 0, operations: 0, bar };
    let end = record.start + Duration::from_secs_f64(args.seconds);
    while Instant::now() < end {
        let (shared, until) = (Shared::default(), end.min(Instant::now() + RUN));
        live(&log, &mut workers, &shared, || record.watch(&log, &shared, until))?;
        if record.restarts.is_multiple_of(2) {
            log.close()?;
        }
        drop(log);
        log = open(dir, SEGMENT)?;
        record.restarts += 1;
        workers.iter_mut().try_for_each(|worker| worker.verify(&log, false))?;
    }
    workers.iter_mut().try_for_each(|worker| worker.verify(&log, true))?;
    record.bar.finish_and_clear();
    println!(
        "{} groups, {} operations in {:.0} s, {} restarts: every read was correct",
        args.groups, record.operations, args.seconds, record.restarts
    );
    Ok(record.samples)
}

/// Prints a line for each quantity; returns whether everything is as it should be.
fn report(samples: &[Sample]) -> bool {
    println!("{}", flat::HEAD);
    let mut well = true;
    for quantity in &flat::QUANTITIES {
        let (line, flat) = flat::judge(quantity, samples);
        println!("{line}");
        well &= flat;
    }
    let over = samples.iter().filter(|s| s.segments > s.bound()).count();
    let worst = samples.iter().map(|s| (s.segments as f64 - 2.0 * s.live as f64) / SEGMENT as f64);
    let worst = worst.fold(f64::MIN, f64::max);
    println!(
        "segments: at most 2 x live + {worst:.2} segments; over the bound {over} times of {}",
        samples.len()
    );
    well && over == 0
}

fn run() -> Fallible<bool> {
    let Some(args) = args::parse(std::env::args().skip(1))? else {
        println!("{}", args::USAGE);
        return Ok(true);
    };
    let dir = tempfile::tempdir()?;
    let samples = soak(&args, dir.path())?;
    if let Some(file) = &args.csv {
        std::fs::write(file, sample::to_csv(&samples))?;
    }
    if let Some(file) = &args.svg {
        let what = format!("{} groups, {:.0} seconds, seed {}", args.groups, args.seconds, args.seed);
        std::fs::write(file, chart::draw(&what, &samples))?;
    }
    Ok(report(&samples))
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(2)
        }
    }
}
