//! The log's threads watch each other (W15) at no cost: an idle log wakes no thread, and a busy one does not wake
//! them for each commit. A separate test program, because it counts by thread names.
#![cfg(target_os = "linux")]

use std::fs::read_to_string;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seawall::io::sim::SimDisk;
use seawall::{Batch, Options, Wal};

const COMMITTER: &str = "seawall-commit";
const MANAGER: &str = "seawall-manager";

const SLOW: Duration = Duration::from_millis(100);

/// How often the thread with this name has gone to sleep so far. Waits until it exists: a new thread names itself.
fn sleeps(name: &str) -> u64 {
    let begun = Instant::now();
    loop {
        let mut threads = std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
        // A thread may end meanwhile.
        let own = |path: &PathBuf| read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
        let Some(thread) = threads.find(own) else {
            assert!(begun.elapsed() < Duration::from_secs(60), "no thread {name}");
            continue;
        };
        let status = read_to_string(thread.join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        return line.split_whitespace().nth(1).unwrap().parse().unwrap();
    }
}

fn of_both() -> [u64; 2] {
    [COMMITTER, MANAGER].map(sleeps)
}

/// Returns when the next segment is made, the marker block is written, and the last look found nothing.
fn fall_idle(wal: &Wal) {
    let begun = Instant::now();
    while wal.stats().segments_prepared < 2 || wal.stats().markers == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(5 * SLOW);
}

#[test]
fn nobody_is_woken_when_nothing_goes_on_and_nobody_for_each_commit() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Options::new().segment_size(16 << 20).slow_sync(SLOW).open(dir.path()).unwrap();
    wal.append(b"first").unwrap();
    let mut batch = Batch::new();
    batch.push(b"second");
    // No caller waits, so the committer flushes, and the segment manager watches it.
    drop(wal.submit(&batch).unwrap());

    fall_idle(&wal);
    let idle = of_both();
    std::thread::sleep(10 * SLOW);
    assert_eq!(of_both(), idle, "an idle log wakes its threads");

    // One caller commits for a while, within one segment: the committer checks every few milliseconds, the segment
    // manager rarely.
    let (begun, mut commits) = (Instant::now(), 0u64);
    while begun.elapsed() < 10 * SLOW && commits < 2000 {
        wal.append(b"one of many").unwrap();
        commits += 1;
    }
    let [committer, manager] = of_both();
    let took = begun.elapsed().as_millis() as u64;
    assert!(committer - idle[0] < 20 + took, "{} times in {took} ms, {commits} commits", committer - idle[0]);
    assert!(
        manager - idle[1] < 20 + took / 20,
        "{} times in {took} ms, {commits} commits",
        manager - idle[1]
    );

    wal.close().unwrap();

    // No caller waits, so the committer flushes each one, on a disk so fast that the segment manager comes too late
    // to see it. It still checks rarely.
    let wal =
        Options::new().segment_size(16 << 20).slow_sync(SLOW).open_on(Arc::new(SimDisk::new())).unwrap();
    wal.append(b"first").unwrap();
    fall_idle(&wal);
    let (begun, mut commits, before) = (Instant::now(), 0u64, sleeps(MANAGER));
    while begun.elapsed() < 10 * SLOW {
        drop(wal.submit(&batch).unwrap());
        std::thread::sleep(Duration::from_millis(1));
        commits += 1;
    }
    let (took, times) = (begun.elapsed().as_millis() as u64, sleeps(MANAGER) - before);
    assert!(times < 20 + took / 20, "{times} times in {took} ms, {commits} commits");
}
