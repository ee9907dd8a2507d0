//! Tests that need privileges on a real system: system calls that are made to fail (`strace`), and separate file
//! systems (`mount`). Where these are unavailable, a test is shown as ignored, not as passed.
//!
//! `SEAWALL_INJECT=all` tries every call with every error that its manual page lists, at more places.

mod child;
#[cfg(feature = "raft")]
#[path = "../full_disk_support/mod.rs"]
mod full_disk_support;
mod injected;
#[cfg(feature = "raft")]
mod mounted;
#[cfg(feature = "raft")]
#[path = "../process_support/mod.rs"]
mod process_support;
#[cfg(feature = "raft")]
#[path = "../raft_support/mod.rs"]
mod raft_support;

use libtest_mimic::{Arguments, Trial};

fn main() {
    if let Some(dir) = std::env::var_os(child::DIR) {
        child::run(dir.as_ref());
    }
    let mut arguments = Arguments::from_args();
    // They wait for the disk and for other processes nearly all the time.
    arguments.test_threads.get_or_insert(6);
    #[allow(unused_mut)] // without the Raft layer
    let mut trials: Vec<Trial> = injected::trials();
    #[cfg(feature = "raft")]
    trials.extend(mounted::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
