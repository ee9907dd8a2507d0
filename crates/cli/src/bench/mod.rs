//! `seawall bench`: measures the device and Seawall on it, and checks whether the device is plausible.
//!
//! The loads take turns in short rounds, so that other activity on the machine affects all of them alike. All files
//! are in a separate directory, which is removed at the end; a log in DIR is not touched.

mod latency;
mod load;
mod medium;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::{Health, style};
use latency::Latencies;
use load::{Device, Load, Log};
use medium::Medium;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A directory on the device to measure; a temporary directory is created in it and removed at the end
    dir: PathBuf,
    /// Approximate total duration in seconds
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.1..=86_400.0).contains(&s) => Ok(s),
        _ => Err("must be from 0.1 to 86400".to_owned()),
    }
}

/// Each load has a turn in each round.
const ROUNDS: u32 = 5;

/// A directory that is removed when this value is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(format!("seawall-bench-{}", std::process::id()));
        // It must be new, because everything in it will be removed.
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Scratch(path)),
            Err(e) => Err(Failure::Undone(format!("cannot create {}: {e}", path.display()))),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            eprintln!("seawall: {} could not be removed: {e}", self.0.display());
        }
    }
}

/// A load and its measurements.
struct Row {
    load: Box<dyn Load>,
    latencies: Latencies,
    time: Duration,
}

pub(crate) fn run(args: &Args, as_json: bool) -> Result<Health, Failure> {
    if !args.dir.is_dir() {
        let why =
            format!("{} is not a directory; create it first, on the device to measure", args.dir.display());
        return Err(Failure::Undone(why));
    }
    let scratch = Scratch::new(&args.dir)?;
    let medium = Medium::of(&scratch.0);
    let device = Device::new(&scratch.0)?;
    let mut rows = vec![
        row(Box::new(Log::blocking(&scratch.0, 1)?)),
        row(Box::new(Log::blocking(&scratch.0, 16)?)),
        row(Box::new(Log::tickets(&scratch.0)?)),
    ];
    let mut device = (device, Latencies::default(), Latencies::default(), Duration::ZERO);
    let turn = Duration::from_secs_f64(args.seconds / f64::from(ROUNDS) / (rows.len() + 1) as f64);
    let bar = style::bar(u64::from(ROUNDS), "rounds");
    for _ in 0..ROUNDS {
        device.3 += device.0.run(turn, &mut device.1, &mut device.2)?;
        for row in &mut rows {
            row.time += row.load.run(turn, &mut row.latencies)?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (device, all, syncs, time) = device;
    drop(device);
    let mut table = vec![("the device: 4 KiB pwrite + fdatasync".to_owned(), all, time)];
    table.extend(rows.into_iter().map(|r| (r.load.name(), r.latencies, r.time)));
    let verdict = medium.verdict(&syncs);
    if as_json {
        let loads: Vec<Value> = table.iter().map(|(name, l, time)| l.json(name, *time)).collect();
        println!(
            "{:#}",
            json!({
                "directory": args.dir.display().to_string(), "file_system": medium.name(), "seconds": args.seconds,
                "record_bytes": load::RECORD, "loads": loads,
                "sync": { "verdict": verdict.word(), "text": verdict.to_string(), "p50_ns": syncs.quantile(0.5) },
            })
        );
        return Ok(Health::Good);
    }
    print_table(&table);
    println!("\n{}: {}", medium.name(), verdict);
    Ok(Health::Good)
}

fn row(load: Box<dyn Load>) -> Row {
    Row { load, latencies: Latencies::default(), time: Duration::ZERO }
}

fn print_table(table: &[(String, Latencies, Duration)]) {
    println!(
        "{}",
        style::heading(&format!("{:<40} {}", format!("records of {} bytes", load::RECORD), latency::HEADING))
    );
    for (name, latencies, time) in table {
        println!("{name:<40} {}", latencies.line(*time));
    }
    for (name, latencies, _) in table {
        println!("\n{}", style::heading(name));
        print!("{}", latencies.plot());
    }
}
