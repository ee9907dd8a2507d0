//! `seawall`: looks at a log. All but `repair` take no lock and change not a byte of it, so they work beside a running
//! writer; `bench` and `import-raft-engine` write to logs of their own.
//!
//! Exit status: 0 when all is well, 1 when the log is damaged, 2 when the command could not be done, 3 when the log opens and
//! an open cuts off an unproven tail.
//!
//! The lints are the library's, but that a program talks to people.

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

/// What a command found; the exit status follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    Damaged,
    /// An open takes the log and cuts something off; only those who verify it say so.
    Cuts,
}

#[derive(Parser)]
#[command(
    name = "seawall",
    version,
    about = "Looks at a Seawall log, without its lock and without changing it; `repair` changes it, when told to",
    after_help = "Exit status: 0 all is well, 1 the log is damaged, 2 the command could not be done, 3 (verify, report) the log opens and an open cuts off an unproven tail"
)]
struct Args {
    /// One JSON document on standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every checksum, chain and footer: what is wrong where, what it hits, and whether `open` would cut or refuse
    ///
    /// All damage is told, not the first; of a Raft log also the groups that are not whole, and the snapshots that they refer to.
    ///
    /// Exit status: 0 the log is whole; 1 it is damaged: an open refuses it, or accepts it, and a read of what is damaged gets
    /// the error; 2 it could not be looked at; 3 it opens, and an open cuts off a tail of which nothing says that it was durable.
    Verify {
        /// The log's directory
        dir: PathBuf,
    },
    /// Identity, segments and sizes, and what the next open would cut
    Inspect(inspect::Args),
    /// The groups, Raft's or others': where each stands, and what it pins
    Groups {
        /// The log's directory
        dir: PathBuf,
    },
    /// The records, oldest first, past what is damaged
    Dump(dump::Args),
    /// A picture of the log: what is live, dead, relocated, torn and damaged, and whose it is
    Map(map::Args),
    /// One HTML file with the map, the sizes, and what the next open would find
    Report(report::Args),
    /// The records of a running log as they come
    Tail(tail::Args),
    /// Gives up what is damaged, when nothing else is left to do; shows first what would be lost, and can be undone
    Repair(repair::Args),
    /// Makes a new log of a raft-engine log, for a program that moves from there
    ///
    /// Its entries must be the raft crate's (eraftpb.Entry of protobuf 2). The program that owns the log must be stopped; its
    /// files are not changed. All groups are read and judged first, then written beside INTO, synced, read back and compared,
    /// and only then does INTO get its name.
    ///
    /// --dry-run alone lists the groups and their keys. A KEY is text, or bytes in hexadecimal after 0x.
    #[cfg(feature = "import-raft-engine")]
    ImportRaftEngine(import::Args),
    /// How fast the device is, and a log on it; and whether its syncs can be believed
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
