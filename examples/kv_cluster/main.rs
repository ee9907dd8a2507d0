//! A replicated key-value store on tikv/raft and Seawall, and a trial of it that kills processes.
//!
//! `cargo run --release --example kv_cluster` starts three nodes as separate processes, loads a directory's files
//! into them (this repository's, or `--input DIR`), kills the leader halfway through, keeps one node away until it
//! can only return through a snapshot, kills all of them at once, and finally compares every node's state with the
//! files, byte for byte. The exit status is 0 only if nothing acknowledged is lost and nothing is wrong.
//!
//! ```text
//!   orchestrator ──starts, kills──> node 1   node 2   node 3        each: one RaftLog, five groups (meta, data 2..=5)
//!        └── clients ──put, get, status, dump (TCP)──┘   └── raft messages (TCP) ──┘
//! ```
//!
//! The same binary runs a single node: `kv_cluster --id 1 --listen ADDR --peers 1=ADDR,2=ADDR,3=ADDR --data DIR`, and
//! acts as a client of it: `kv_cluster client ADDR,... status | get KEY | put KEY VALUE`.

mod args;
mod client;
mod input;
mod machine;
mod node;
mod orchestrate;
mod report;
mod transport;
mod wire;

use std::process::ExitCode;

use args::Command;

/// The result of fallible functions here; the message is for the person at the terminal.
pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let done = args::parse(std::env::args().skip(1)).and_then(|command| match command {
        Command::Help => {
            println!("{}", args::USAGE);
            Ok(true)
        }
        Command::Trial(trial) => orchestrate::run(&trial),
        Command::Node(node) => node::run(&node).map(|()| true),
        Command::Client(client) => client::run(&client).map(|()| true),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("kv_cluster: {e}");
            ExitCode::from(2)
        }
    }
}
