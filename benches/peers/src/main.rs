//! Seawall compared with its peers and with the device itself in one run: whole workloads, interleaved rounds,
//! medians and ratios.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- --help`
#![allow(clippy::cast_possible_truncation)]

mod heap;
mod measure;
mod report;
mod subject;
mod subjects;
mod workloads;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use measure::Row;
use workloads::{Plan, append, groups, open, tail};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// Workloads: a = blocking writers, b = one wait for many records, c = batches of many groups, d, e = reading entries in
/// order and at random, f = opening, g = the slowest appends, h = bytes written and kept.
#[derive(Parser)]
struct Args {
    /// The workloads to run, by their letters
    #[arg(long, default_value = "abcdefgh")]
    only: String,
    /// Number of rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds per subject, setting and round
    #[arg(long, default_value_t = 1000)]
    millis: u64,
    /// Fewer settings and smaller logs
    #[arg(long)]
    quick: bool,
    /// Directory for the logs
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// File for the figures of every round
    #[arg(long)]
    json: Option<PathBuf>,
    /// Directory for a chart of each workload; by default beside the JSON file, if there is one
    #[arg(long)]
    plots: Option<PathBuf>,
}

type Workload = (char, fn(&Plan) -> Vec<Row>);

const WORKLOADS: &[Workload] = &[
    ('a', append::blocking),
    ('b', append::pipelined),
    ('c', groups::batches),
    ('d', groups::reads),
    ('f', open::open),
    ('g', tail::latency),
    ('h', tail::space),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|w| w == open::FILL) {
        open::fill_and_end(&words[1..]);
        return Ok(());
    }
    let args = Args::parse();
    let plan = Plan {
        dir: args.dir,
        rounds: args.rounds,
        span: Duration::from_millis(args.millis),
        quick: args.quick,
    };
    let mut rows = Vec::new();
    for (letter, run) in WORKLOADS {
        let wanted = args.only.contains(*letter) || (*letter == 'd' && args.only.contains('e'));
        if wanted {
            let found = run(&plan);
            print!("{}", report::table(&found));
            rows.extend(found);
        }
    }
    let plots = args.plots.or_else(|| Some(args.json.as_ref()?.parent()?.to_path_buf()));
    if let Some(file) = &args.json {
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(file, serde_json::to_string_pretty(&report::to_json(&rows, args.rounds))?)?;
    }
    if let Some(dir) = plots {
        report::plots(&rows, &dir)?;
    }
    Ok(())
}
