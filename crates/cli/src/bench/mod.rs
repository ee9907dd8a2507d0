//! `seawall bench`: what the device can do, what Seawall makes of it there, and whether to believe the device.
//!
//! The loads take turns in short rounds, so that whatever else the machine does meets all of them alike. All files are in a
//! directory of the bench's own, which goes when it ends; a log that lies in DIR is not touched.

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
    /// A directory on the device to be measured; a directory of its own is made in it and removed at the end
    dir: PathBuf,
    /// How long all of it takes, about
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.1..=86_400.0).contains(&s) => Ok(s),
        _ => Err("0.1 to 86400 is needed".to_owned()),
    }
}

/// Each load has a turn in each.
const ROUNDS: u32 = 5;

/// A directory that goes with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(format!("seawall-bench-{}", std::process::id()));
        // It must not have been there: all that is in it is removed.
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Scratch(path)),
            Err(e) => Err(Failure::Undone(format!("cannot make {}: {e}", path.display()))),
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

/// A load, and what was measured of it.
struct Row {
    load: Box<dyn Load>,
    latencies: Latencies,
    time: Duration,
}

pub(crate) fn run(args: &Args, as_json: bool) -> Result<Health, Failure> {
    if !args.dir.is_dir() {
        let why =
            format!("{} is no directory; make it first, on the device to be measured", args.dir.display());
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
