//! A process killed with SIGKILL while it appends loses nothing that it acknowledged, and leaves no lock.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use seawall::{Batch, Lsn, Options};

const DIR: &str = "SEAWALL_TEST_KILLED_DIR";

fn options() -> Options {
    Options::new().segment_size(64 << 10).idle_marker(Duration::from_millis(1))
}

/// The payload of record `n`: told apart, and of many sizes.
fn payload(n: u64) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    let len = 8 + usize::try_from(n.wrapping_mul(0x9e37_79b9) % 3000).unwrap();
    bytes.resize(len, n.to_le_bytes()[0]);
    bytes
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

/// Not a test: the child's part. It appends from four threads and prints what was acknowledged.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let wal = options().open(&dir).unwrap();
    let next = wal.iter().map(|r| number(r.unwrap().payload()) + 1).max().unwrap_or(0);
    let numbers = std::sync::atomic::AtomicU64::new(next);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (wal, numbers) = (&wal, &numbers);
            scope.spawn(move || {
                loop {
                    let n = numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let mut batch = Batch::new();
                    batch.push(payload(n));
                    let lsn = match thread {
                        0 => wal.submit(batch).unwrap().wait().unwrap(),
                        _ => wal.commit(batch).unwrap(),
                    };
                    // One write per line: a killed process leaves no partial lines.
                    println!("ack {n} {lsn}");
                    if n % 50 == 0 {
                        let keep = Lsn::new(lsn.get().saturating_sub(300_000));
                        wal.release(keep).unwrap();
                    }
                }
            });
        }
    });
}

fn run_and_kill(dir: &Path, acks: usize) -> Vec<(u64, Lsn)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    let mut take = |line: &str| {
        // The harness prints too, and may share a line with the first acknowledgement.
        if let Some((_, rest)) = line.split_once("ack ") {
            let mut words = rest.split_whitespace().map(|w| w.parse::<u64>());
            if let (Some(Ok(n)), Some(Ok(lsn))) = (words.next(), words.next()) {
                acknowledged.push((n, Lsn::new(lsn)));
            }
        }
    };
    for line in lines.by_ref().take(acks) {
        take(&line.unwrap());
    }
    child.kill().unwrap();
    // What it printed before it died counts.
    for line in lines.map_while(Result::ok) {
        take(&line);
    }
    child.wait().unwrap();
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let cycles = std::env::var("SEAWALL_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(25);
    let mut acknowledged: Vec<(u64, Lsn)> = Vec::new();
    for cycle in 0..cycles {
        let acks = run_and_kill(dir.path(), 3 + (cycle * 37) % 150);
        assert!(!acks.is_empty(), "cycle {cycle}");
        acknowledged.extend(acks);
        let wal = options().open(dir.path()).unwrap();
        let first = wal.first_lsn();
        acknowledged.retain(|(_, lsn)| *lsn >= first);
        for (n, lsn) in &acknowledged {
            assert_eq!(wal.read(*lsn).unwrap().payload(), payload(*n), "cycle {cycle}, record {n}");
        }
        for record in wal.iter() {
            let record = record.unwrap();
            assert_eq!(record.payload(), payload(number(record.payload())), "a phantom at {}", record.lsn());
        }
    }
}

#[test]
fn w8_one_writer_and_a_killed_one_leaves_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    let e = options().open(dir.path()).unwrap_err();
    assert!(matches!(e, seawall::Error::Locked { .. }), "{e}");
    // Reading tools need no lock.
    wal.append(b"x").unwrap();
    assert!(seawall::verify(dir.path()).unwrap().is_ok());
    drop(wal);
    run_and_kill(dir.path(), 3);
    options().open(dir.path()).unwrap().close().unwrap();
}

#[test]
fn verify_beside_a_running_writer_sees_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let lsn = wal.append(payload(n)).unwrap();
                if n % 20 == 0 {
                    wal.release(Lsn::new(lsn.get().saturating_sub(200_000))).unwrap();
                }
                n += 1;
            }
        });
        for _ in 0..20 {
            let report = seawall::verify(dir.path());
            let ok = report.as_ref().is_ok_and(seawall::VerifyReport::is_ok);
            if !ok {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            assert!(ok, "{report:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
