//! `seawall`: looks at a log. Nothing here takes the lock or changes a byte, so it works beside a running writer.
//!
//! Exit status: 0 when all is well, 1 when the log is damaged, 2 when the command could not be done.
// A program talks to people.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod dump;
mod inspect;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a command found; the exit status follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    Damaged,
}

#[derive(Parser)]
#[command(
    name = "seawall",
    version,
    about = "Looks at a Seawall log, without its lock and without changing it"
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
    Verify {
        /// The log's directory
        dir: PathBuf,
    },
    /// Identity, segments and sizes, and what the next open would cut
    Inspect {
        /// The log's directory
        dir: PathBuf,
    },
    /// The records, oldest first
    Dump(dump::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Command::Verify { dir } => verify::run(dir, args.json),
        Command::Inspect { dir } => inspect::run(dir, args.json),
        Command::Dump(dump) => dump::run(dump, args.json),
    };
    match done {
        Ok(Health::Good) => ExitCode::SUCCESS,
        Ok(Health::Damaged) => ExitCode::from(1),
        Err(seawall::Error::Corruption(c)) => {
            eprintln!("seawall: {c}");
            ExitCode::from(1)
        }
        Err(e) => {
            eprintln!("seawall: {e}");
            ExitCode::from(2)
        }
    }
}
