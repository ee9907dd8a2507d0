//! A backup is a log with everything acknowledged before it began, up to one moment, made while writers, rotation and
//! releases continue. One that was interrupted or met damage is not accepted as a log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use seawall::io::Disk;
use seawall::io::sim::{CrashStyle, SimDisk};
use seawall::{Batch, Error, Options, Wal};

fn small() -> Options {
    Options::new().segment_size(32 << 10)
}

/// Record number `n` of a stream, of varying length.
fn payload(n: u64) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.resize(8 + (n % 300) as usize, n as u8);
    bytes
}

/// The numbers in a log; each record is checked.
fn numbers(wal: &Wal) -> Vec<u64> {
    let number = |record: seawall::Result<seawall::Record>| {
        let record = record.unwrap();
        let n = u64::from_le_bytes(record.payload()[..8].try_into().unwrap());
        assert_eq!(record.payload(), payload(n));
        n
    };
    wal.iter().map(number).collect()
}

/// Tells the writer to stop, even if a check fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens the copy and checks that it works as a log: `from..` without a gap, up to at least `acknowledged`.
fn check(dir: &std::path::Path, acknowledged: u64) {
    let report = seawall::verify(dir).unwrap();
    assert!(report.is_ok() && report.torn.is_empty(), "{report:?}");
    let wal = small().create_if_missing(false).open(dir).unwrap();
    assert!(wal.recovery().cut.is_empty());
    let held = numbers(&wal);
    assert!(held.windows(2).all(|w| w[0] + 1 == w[1]), "a gap");
    assert!(held.last().is_some_and(|last| *last >= acknowledged), "{acknowledged} of {:?}", held.last());
    let next = held.last().unwrap() + 1;
    for n in next..next + 300 {
        wal.append(payload(n)).unwrap();
    }
    drop(wal);
    let wal = small().open(dir).unwrap();
    assert_eq!(numbers(&wal).last(), Some(&(next + 299)));
}

#[test]
fn a_backup_beside_writers_and_releases_holds_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().open(dir.path().join("log")).unwrap();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut batch = Batch::new();
                for _ in 0..1 + n % 7 {
                    batch.push(payload(n));
                    n += 1;
                }
                wal.commit(&batch).unwrap();
                acknowledged.store(n - 1, Ordering::Release);
                if n % 5 == 0 {
                    // About six segments are kept; the rest is freed and reused.
                    let durable = wal.durable_lsn().get();
                    wal.release(seawall::Lsn::new(durable.saturating_sub(200 << 10))).unwrap();
                }
            }
        });
        let _stop = StopOnDrop(&stop);
        while acknowledged.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        for round in 0..12 {
            std::thread::sleep(Duration::from_millis(30));
            let before = acknowledged.load(Ordering::Acquire);
            let target = dir.path().join(format!("backup-{round}"));
            let report = wal.backup(&target).unwrap();
            assert!(report.end_lsn <= wal.durable_lsn() && report.records > 0);
            check(&target, before);
        }
    });
    assert!(wal.stats().segments_recycled > 3, "no file was used again: {:?}", wal.stats());
}

#[test]
fn what_is_captured_stays_though_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().open(dir.path().join("log")).unwrap();
    let append = |numbers: std::ops::Range<u64>| {
        let mut batch = Batch::new();
        for n in numbers {
            batch.push(payload(n));
            if n % 50 == 49 {
                wal.commit(std::mem::take(&mut batch)).unwrap();
            }
        }
    };
    append(0..1000);
    let captured = wal.capture().unwrap();
    // Everything is released, and the first files would be reused next if they were not held.
    for round in 1..20 {
        append(1000 * round..1000 * (round + 1));
        wal.release(wal.durable_lsn()).unwrap();
    }
    assert!(wal.first_lsn() > captured.end_lsn());
    let target: Arc<dyn Disk> = Options::new().disk(&dir.path().join("backup")).unwrap();
    captured.copy_to(target).unwrap().finish().unwrap();
    check(&dir.path().join("backup"), 999);
}

#[test]
fn a_quiet_log_and_an_empty_one_are_copied_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().owner(7).open(dir.path().join("log")).unwrap();
    wal.backup(dir.path().join("empty")).unwrap();
    let copy = small().create_if_missing(false).open(dir.path().join("empty")).unwrap();
    assert_eq!((copy.uuid(), copy.owner(), copy.iter().count()), (wal.uuid(), Some(7), 0));
    for n in 0..2000 {
        wal.append(payload(n)).unwrap();
    }
    let report = wal.backup(dir.path().join("full")).unwrap();
    let copy = small().create_if_missing(false).open(dir.path().join("full")).unwrap();
    assert!(report.segments > 5 && report.records == 2000 && report.end_lsn == copy.durable_lsn());
    let same = wal.iter().zip(copy.iter()).all(|(a, b)| {
        let (a, b) = (a.unwrap(), b.unwrap());
        (a.lsn(), a.payload()) == (b.lsn(), b.payload())
    });
    assert!(same && copy.iter().count() == 2000);
}

#[test]
fn a_directory_that_holds_something_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().open(dir.path().join("log")).unwrap();
    wal.append(b"one").unwrap();
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("notes.txt"), b"mine").unwrap();
    match wal.backup(&other) {
        Err(Error::Io { path, source, .. }) => {
            assert_eq!((path, source.kind()), (other.clone(), std::io::ErrorKind::AlreadyExists));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
    // Into itself.
    assert!(wal.backup(dir.path().join("log")).is_err());
}

#[test]
fn damage_in_the_original_is_named_and_leaves_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().open(dir.path().join("log")).unwrap();
    for n in 0..1000 {
        wal.append(payload(n)).unwrap();
    }
    let damaged = wal.segments()[2];
    let path = std::fs::read_dir(dir.path().join("log")).unwrap().map(|e| e.unwrap().path());
    let name = format!("{:020}", damaged.id.get());
    let path =
        path.into_iter().find(|p| p.file_name().unwrap().to_str().unwrap().starts_with(&name)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192 + 4096 + 60] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let target = dir.path().join("backup");
    match wal.backup(&target) {
        Err(Error::Corruption(c)) => assert_eq!(c.file, path),
        other => panic!("{other:?}"),
    }
    assert!(matches!(small().open(&target), Err(Error::Corruption(_))));
}

/// Possible fates: everything, nothing, and mixtures.
fn styles() -> impl Iterator<Item = CrashStyle> {
    [CrashStyle::LoseAll, CrashStyle::KeepAll].into_iter().chain((0..12).map(CrashStyle::Chaos))
}

/// A crash before each call on the target's disk, in every style: the result is refused, empty, or complete.
#[test]
fn an_interrupted_backup_is_never_half_a_log() {
    let source = SimDisk::new();
    let options = small().threads(false).idle_marker(Duration::from_secs(3600));
    let wal = options.open_on(Arc::new(source)).unwrap();
    for n in 0..400 {
        wal.append(payload(n)).unwrap();
    }
    let target = SimDisk::new();
    target.keep_history();
    let shared: Arc<dyn Disk> = Arc::new(target.clone());
    wal.capture().unwrap().copy_to(shared).unwrap().finish().unwrap();
    let (mut refused, mut empty, mut whole) = (0, 0, 0);
    for call in target.history() {
        let Some(before) = target.before(call) else { continue };
        for style in styles() {
            let left = before.crash(style);
            match options.open_on(Arc::new(left)) {
                Err(Error::Corruption(_)) => refused += 1,
                Err(e) => panic!("call {call}, {style:?}: {e}"),
                Ok(copy) => match numbers(&copy) {
                    held if held.is_empty() => empty += 1,
                    held => {
                        assert_eq!(held, (0..400).collect::<Vec<_>>(), "call {call}, {style:?}");
                        whole += 1;
                    }
                },
            }
        }
    }
    assert!(refused > 20 && whole > 0, "{refused} refused, {empty} empty, {whole} whole");
    // Only the very first calls leave nothing: before the first segment's name is durable.
    assert!(empty < refused / 2, "{refused} refused, {empty} empty");
    // Once it was reported as done, it is complete.
    for style in styles() {
        let copy = options.open_on(Arc::new(target.crash(style))).unwrap();
        assert_eq!(numbers(&copy).len(), 400);
    }
}
