//! A process is killed with SIGKILL while many groups append, overwrite, compact, save and install snapshots, are
//! created and removed, and are relocated: every group is found as it was acknowledged, or with complete operations
//! that were in flight.
//!
//! `SEAWALL_KILLS=N cargo test --release --test raft_process_killed` is the long form.
#![cfg(feature = "raft")]

mod killed_support;
mod raft_support;

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use killed_support::known::Known;
use killed_support::{child as killed, options};

const DIR: &str = "SEAWALL_TEST_RAFT_KILLED_DIR";
const SEED: &str = "SEAWALL_TEST_RAFT_KILLED_SEED";
const HASTY: &str = "SEAWALL_TEST_RAFT_KILLED_HASTY";

/// Not a test: the child's part.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let hasty = std::env::var_os(HASTY).is_some();
    killed::run(Path::new(&dir), std::env::var(SEED).unwrap().parse().unwrap(), hasty);
}

/// When a child is killed.
#[derive(Clone, Copy, Debug)]
enum When {
    /// After it has printed this many things.
    Lines(usize),
    /// After this time, which may be while it opens the log.
    Time(Duration),
}

impl When {
    fn of(cycle: u64) -> When {
        match cycle % 5 {
            0 => When::Time(Duration::from_micros(500 + cycle * 7919 % 12_000)),
            _ => When::Lines(15 + usize::try_from(cycle * 37 % 250).unwrap()),
        }
    }
}

fn run_and_kill(dir: &Path, cycle: u64, hasty: bool, known: &mut Known) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(SEED, cycle.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if hasty {
        command.env(HASTY, "yes");
    }
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut heard: Vec<String> = Vec::new();
    match When::of(cycle) {
        When::Time(time) => std::thread::sleep(time),
        When::Lines(n) => heard.extend(lines.by_ref().take(n).map_while(Result::ok)),
    }
    child.kill().unwrap();
    // What it printed before it died counts.
    heard.extend(lines.map_while(Result::ok));
    let ended = child.wait_with_output().unwrap();
    // A child that panicked was not killed.
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.signal(), Some(9), "cycle {cycle}: {:?}: {said}", ended.status);
    heard.iter().for_each(|line| known.take(line));
}

#[test]
fn every_group_is_as_it_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let cycles = std::env::var("SEAWALL_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    // Before there is a log, there is nothing to verify.
    drop(options().open(dir.path()).unwrap());
    let mut known = Known::default();
    let (mut rewritten, mut segments) = (0u64, 0);
    for cycle in 0..cycles {
        run_and_kill(dir.path(), cycle, false, &mut known);
        // The next child finds some logs as the kill left them.
        if cycle % 3 == 1 && cycle + 1 < cycles {
            continue;
        }
        let report = seawall::verify(dir.path()).unwrap();
        assert!(report.is_ok(), "cycle {cycle}: {report:?}");
        let log = options().open(dir.path()).unwrap();
        rewritten += u64::from(log.wal().recovery().rewritten > 0);
        segments = segments.max(log.wal().segments().last().map_or(0, |s| s.id.get()));
        known.check(&log);
    }
    let Known {
        acknowledged, opened, found_under_way, by_kind, purges_that_freed, entries_relocated, ..
    } = known;
    println!(
        "{cycles} kills, {opened} opened by children; {acknowledged} operations acknowledged, none lost; \
         {found_under_way} found that were under way; {segments} segments; {rewritten} tails written again; {purges_that_freed} purges freed segments, {entries_relocated} entries relocated; \
         asked for: {by_kind:?}"
    );
    assert!(acknowledged > cycles * 5 && opened > cycles / 2 && found_under_way > 0, "nothing happened");
    assert!(entries_relocated > 0 && purges_that_freed > 0, "nothing was purged");
    assert_eq!(by_kind.len(), 6, "{by_kind:?}");
}

/// The negative control: a child that acknowledges what is merely submitted is detected.
#[test]
fn an_acknowledgement_ahead_of_the_disk_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut known = Known::default();
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for cycle in 0..300 {
            run_and_kill(dir.path(), cycle, true, &mut known);
        }
    }));
    let Err(panic) = found else { panic!("nothing was found") };
    let what = panic.downcast_ref::<String>().unwrap();
    assert!(what.contains("neither what was acknowledged") || what.contains("half a batch"), "{what}");
}
