//! `seawall`: examines a log. All commands except `repair` take no lock and never change the log, so they work beside
//! a running writer; `bench` and `import-raft-engine` write to logs of their own.
//!
//! Exit status: 0 when all is well, 1 when the log is damaged, 2 when the command could not be carried out, 3 when
//! the log opens and an open cuts off an unproven tail.
//!
//! The lints are the library's, except that a program may print.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation, unreachable_pub)]

mod account;
mod bench;
mod dump;
mod failure;
mod groups;
#[cfg(feature = "import-raft-engine")]
mod import;
mod inspect;
mod map;
mod picture;
mod records;
mod repair;
mod report;
mod style;
mod tail;
mod verify;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// What a command found; determines the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    Damaged,
    /// An open accepts the log and cuts something off; only commands that verify report this.
    Cuts,
}

#[derive(Parser)]
#[command(
    name = "seawall",
    version,
    about = "Examines a Seawall log without locking or changing it; only `repair` changes it, on request",
    after_help = "Exit status: 0 all is well, 1 the log is damaged, 2 the command could not be carried out, 3 (verify, report) the log opens and an open cuts off an unproven tail"
)]
struct Args {
    /// Print one JSON document to standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Verify every checksum, chain and footer: show the damage, what it affects, and whether `open` would cut or
    /// refuse
    ///
    /// All damage is reported, not only the first; for a Raft log also incomplete groups, and the snapshots that
    /// groups refer to.
    ///
    /// Exit status: 0 the log is whole; 1 it is damaged: an open refuses it, or accepts it and a read of the damaged
    /// part returns the error; 2 it could not be examined; 3 it opens, and an open cuts off a tail that nothing
    /// proves durable.
    Verify {
        /// The log's directory
        dir: PathBuf,
    },
    /// Show identity, segments and sizes, and what the next open would cut
    Inspect(inspect::Args),
    /// Show the groups, Raft's or others': their state, and what they pin
    Groups {
        /// The log's directory
        dir: PathBuf,
    },
    /// Print the records, oldest first, skipping damage
    Dump(dump::Args),
    /// Draw the log: what is live, dead, relocated, torn and damaged, and for which group
    Map(map::Args),
    /// Write one HTML file with the map, the sizes, and what the next open would find
    Report(report::Args),
    /// Follow the records of a running log
    Tail(tail::Args),
    /// Give up what is damaged, as a last resort; first shows what would be lost, and can be undone
    Repair(repair::Args),
    /// Convert a raft-engine log to a new Seawall log
    ///
    /// Its entries must be those of the raft crate (eraftpb.Entry of protobuf 2). Stop the program that owns the log
    /// first; its files are not changed. All groups are read and checked first, then written beside INTO, synced,
    /// read back and compared. Only then is the result renamed to INTO.
    ///
    /// --dry-run alone lists the groups and their keys. A KEY is text, or 0x followed by bytes in hexadecimal.
    #[cfg(feature = "import-raft-engine")]
    ImportRaftEngine(import::Args),
    /// Measure the device and a log on it, and check whether syncs are plausible
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(Health::Good) => ExitCode::SUCCESS,
        Ok(Health::Damaged) => ExitCode::from(1),
        Ok(Health::Cuts) => ExitCode::from(3),
        Err(failure) => {
            eprintln!("seawall: {failure}");
            ExitCode::from(failure.status())
        }
    }
}

fn run(args: &Args) -> Result<Health, Failure> {
    match &args.command {
        Command::Verify { dir } => verify::run(dir, args.json),
        Command::Inspect(inspect) => inspect::run(inspect, args.json),
        Command::Groups { dir } => groups::run(dir, args.json),
        Command::Dump(dump) => dump::run(dump, args.json),
        Command::Map(map) => map::run(map, args.json),
        Command::Report(report) => report::run(report, args.json),
        Command::Tail(tail) => tail::run(tail, args.json),
        Command::Repair(repair) => repair::run(repair, args.json),
        #[cfg(feature = "import-raft-engine")]
        Command::ImportRaftEngine(import) => import::run(import, args.json),
        Command::Bench(bench) => bench::run(bench, args.json),
    }
}
