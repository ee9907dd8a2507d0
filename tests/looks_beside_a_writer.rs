//! Reading a log beside its writer never reports durable bytes as damaged, nor that an open would cut something.
//!
//! The writer rotates every few commits and releases at once, so that nearly every look encounters files that are
//! appearing, disappearing or being reused. The short form takes a few seconds; `SEAWALL_LOOKS=200000 cargo test
//! --release --test looks_beside_a_writer -- --nocapture` is the long one.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use seawall::{LogView, Options, Verdict, VerifyReport, Wal, verify};

const DIR: &str = "SEAWALL_TEST_LOOKS_DIR";
const SPARES: &str = "SEAWALL_TEST_LOOKS_SPARES";

fn looks() -> u64 {
    std::env::var("SEAWALL_LOOKS").ok().and_then(|n| n.parse().ok()).unwrap_or(2000)
}

/// A place where a sync takes no time, so that the writer is as fast as possible.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn open(dir: &Path, spares: usize) -> Wal {
    Options::new().segment_size(16 << 10).block_align(512).spare_segments(spares).open(dir).unwrap()
}

/// Appends, rotates every few commits and releases at once, until told otherwise.
fn write(wal: &Wal, done: &AtomicBool, commits: &AtomicU64) {
    let mut n = 0u64;
    while !done.load(Ordering::Relaxed) {
        // Some blocks of several pages, which stay half written for longer.
        let len = if n.is_multiple_of(7) { 6000 } else { 400 };
        let lsn = wal.append(vec![n.to_le_bytes()[0]; len]).unwrap();
        if n.is_multiple_of(2) {
            wal.release(lsn).unwrap();
        }
        commits.fetch_add(1, Ordering::Relaxed);
        n += 1;
    }
}

/// Every look that reports something wrong, in words.
fn false_words(dir: &Path, looks: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    for n in 0..looks {
        let said = match n % 4 {
            0 => verify(dir).map(|report| (report.verdict() != Verdict::Whole).then(|| report.to_string())),
            1 => LogView::open_damaged(dir).map(|view| view.damage().map(ToString::to_string)),
            _ => LogView::open(dir).map(|_| None),
        };
        wrong.extend(said.unwrap_or_else(|e| Some(e.to_string())).map(|word| format!("look {n}: {word}")));
    }
    wrong
}

#[test]
fn a_fast_writer_is_never_taken_for_damage() {
    for spares in [0, 2] {
        let dir = directory();
        let wal = open(dir.path(), spares);
        wal.append(b"first").unwrap();
        let (done, commits) = (AtomicBool::new(false), AtomicU64::new(0));
        let start = Instant::now();
        let wrong = std::thread::scope(|scope| {
            scope.spawn(|| write(&wal, &done, &commits));
            let wrong = false_words(dir.path(), looks() / 2);
            done.store(true, Ordering::Relaxed);
            wrong
        });
        let stats = wal.stats();
        println!(
            "{} spares: {} looks beside {} commits and {} releases in {:.1?}: {} false",
            spares,
            looks() / 2,
            commits.load(Ordering::Relaxed),
            stats.segments_released,
            start.elapsed(),
            wrong.len()
        );
        assert!(stats.segments_released > 50, "the writer is too slow: {}", stats.segments_released);
        assert!(wrong.is_empty(), "{} of {} looks, e.g. {}", wrong.len(), looks() / 2, wrong[0]);
    }
}

/// Not a test: the writer that is stopped.
#[test]
fn child() {
    let (Ok(dir), Ok(spares)) = (std::env::var(DIR), std::env::var(SPARES)) else { return };
    let wal = open(dir.as_ref(), spares.parse().unwrap());
    write(&wal, &AtomicBool::new(false), &AtomicU64::new(0));
}

fn signal(child: &Child, which: &str) {
    let sent = Command::new("kill").args([which, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A writer may be stopped anywhere, for longer than any look and any pause takes.
#[test]
fn a_writer_that_is_stopped_in_between_is_never_taken_for_damage() {
    for spares in ["0", "2"] {
        let dir = directory();
        open(dir.path(), 2).append(b"first").unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--test-threads=1"])
            .env(DIR, dir.path())
            .env(SPARES, spares)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut wrong = Vec::new();
        for stop in 0..looks() / 100 {
            signal(&child, "-CONT");
            std::thread::sleep(Duration::from_micros(300 + stop % 17 * 100));
            wrong.extend(false_words(dir.path(), 4));
            signal(&child, "-STOP");
            // What a stopped writer has half written would be cut if it were killed now.
            wrong.extend(false_words(dir.path(), 4).into_iter().filter(|w| !w.contains("would be cut")));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        println!("{spares} spares: {} stops, {} false", looks() / 100, wrong.len());
        assert!(wrong.is_empty(), "{} e.g. {}", wrong.len(), wrong[0]);
    }
}

/// The converse: damage is found, however busy the writer is.
#[test]
fn damage_is_found_beside_a_fast_writer() {
    let dir = directory();
    let wal = open(dir.path(), 2);
    let kept = wal.append(vec![7; 3000]).unwrap();
    while wal.segments().len() < 3 {
        wal.append(vec![7; 3000]).unwrap();
    }
    let oldest = dir.path().join(seawall::format::segment::file_name(wal.segments()[0].id, wal.first_lsn()));
    let mut bytes = std::fs::read(&oldest).unwrap();
    bytes[8192 + 200] ^= 1;
    std::fs::write(&oldest, bytes).unwrap();
    let done = AtomicBool::new(false);
    let reports: Vec<VerifyReport> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) && wal.segments().len() < 300 {
                wal.append(vec![7; 3000]).unwrap();
            }
        });
        let reports = (0..(looks() / 50).min(200)).map(|_| verify(dir.path()).unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        reports
    });
    assert!(wal.read(kept).is_err());
    for report in reports {
        assert_eq!((report.verdict(), report.problems.len()), (Verdict::Damaged, 1), "{report}");
        assert_eq!(report.problems[0].file, oldest);
    }
}

/// The same for a Raft log whose groups constantly save snapshots, compact and purge: no group is reported as
/// incomplete, and no replaced snapshot as missing.
#[cfg(feature = "raft")]
#[test]
fn a_fast_raft_log_is_never_taken_for_damage() {
    use raft::eraftpb::{ConfState, Entry, HardState};
    use seawall::raft::RaftOptions;

    let dir = directory();
    let options = Options::new().segment_size(16 << 10).block_align(512);
    let log = RaftOptions::new().node_id(1).wal(options).open(dir.path()).unwrap();
    let members = ConfState::from((vec![1], vec![]));
    let groups = [1, 2, 3].map(|id| log.create_group(id, members.clone()).unwrap());
    let done = AtomicBool::new(false);
    let snapshots = AtomicU64::new(0);
    let write = || {
        let mut index = 0;
        while !done.load(Ordering::Relaxed) {
            index += 1;
            let mut batch = log.batch();
            // The third one lags: its entries are relocated.
            for group in if index % 50 == 0 { 1..=3 } else { 1..=2 } {
                let at = if group == 3 { index / 50 } else { index };
                let mut entry = Entry::default();
                (entry.index, entry.term, entry.data) = (at, 1, vec![7; 300].into());
                let mut hard = HardState::default();
                (hard.term, hard.commit) = (1, at);
                batch.append(group, &[entry]).unwrap();
                batch.set_hard_state(group, &hard).unwrap();
                batch.set_applied(group, at, 1).unwrap();
            }
            log.commit(batch).unwrap();
            if index % 5 == 0 {
                for group in &groups[..2] {
                    group.save_snapshot(index, members.clone(), [9; 5000]).unwrap();
                    snapshots.fetch_add(1, Ordering::Relaxed);
                }
                let mut batch = log.batch();
                batch.compact(1, index).unwrap();
                batch.compact(2, index - 1).unwrap();
                log.commit(batch).unwrap();
                log.purge().unwrap();
            }
        }
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        scope.spawn(write);
        let looks = (0..looks() / 10).filter_map(|n| {
            let said = seawall::raft::verify(dir.path());
            match said {
                Ok(report) if report.verdict() == Verdict::Whole && report.groups == 3 => None,
                Ok(report) => Some(format!("look {n}: {report}")),
                Err(e) => Some(format!("look {n}: {e}")),
            }
        });
        let wrong = looks.collect();
        done.store(true, Ordering::Relaxed);
        wrong
    });
    let released = log.wal().stats().segments_released;
    println!(
        "{} looks at groups beside {} snapshots and {released} releases: {} false",
        looks() / 10,
        snapshots.load(Ordering::Relaxed),
        wrong.len()
    );
    assert!(released > 5 && snapshots.load(Ordering::Relaxed) > 10);
    assert!(wrong.is_empty(), "{} e.g. {}", wrong.len(), wrong[0]);
}
