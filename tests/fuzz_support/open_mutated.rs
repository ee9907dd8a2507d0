//! `open` on a real log with structured damage: a correct prefix with everything proven, or a refusal that changes
//! nothing.
//!
//! What is proven is determined here by examining every position of every file (`evidence::proven`), unlike in the
//! engine.

use seawall::{Error, Lsn, Wal};

use super::cursor::Cursor;
use super::damage::damage;
use super::directory::{Files, difference, disk_of, files_of, options, shared};
use super::evidence::{Shown, proven, show};
use super::real_log::{RealLog, logs};

/// One input.
pub fn run(input: &[u8]) {
    let (log, files, done) = damaged(&mut Cursor::new(input));
    check(log, &files, &done);
}

/// A log, the files that damage left of it, and what was done.
pub fn damaged(input: &mut Cursor<'_>) -> (&'static RealLog, Files, Vec<String>) {
    let log = &logs()[usize::from(input.below(8)) % logs().len()];
    let mut files = log.versions.last().cloned().unwrap_or_default();
    let done = damage(input, log, &mut files);
    (log, files, done)
}

fn check(log: &RealLog, files: &Files, done: &[String]) {
    let disk = disk_of(files);
    let wal = match options().open_on(shared(&disk)) {
        Ok(wal) => wal,
        Err(e) => return refused(files, &files_of(&disk), &e, done),
    };
    let found = show(&wal, &disk);
    is_a_prefix(log, &found, done);
    holds_what_is_proven(log, &wal, proven(files), done);
    goes_on(&wal, &found, &disk);
}

fn refused(before: &Files, after: &Files, error: &Error, done: &[String]) {
    assert!(!done.is_empty(), "nothing is wrong with it: {error}");
    let expected =
        matches!(error, Error::Corruption(_) | Error::Foreign { .. } | Error::UnsupportedVersion { .. });
    assert!(expected, "{done:?}: {error}");
    assert!(before == after, "{done:?}: refused and changed: {}", difference(before, after));
}

/// What is shown is a run of what was written, and ends with a whole batch.
pub fn is_a_prefix(log: &RealLog, found: &Shown, done: &[String]) {
    let Some((first, _)) = found.records.first() else { return };
    let start = log.records.iter().position(|((lsn, _), _)| lsn == first);
    let Some(start) = start else { panic!("{done:?}: a record at {first}, where none was written") };
    let mut last_of_batch = true;
    for (i, record) in found.records.iter().enumerate() {
        let written = log.records.get(start + i);
        let Some((written, last)) = written else { panic!("{done:?}: more records than were written") };
        assert!(written == record, "{done:?}: {} is shown where {} was written", record.0, written.0);
        last_of_batch = *last;
    }
    assert!(last_of_batch || found.damaged, "{done:?}: half a batch");
}

/// Every record below what is proven can be read, or says that it is damaged.
pub fn holds_what_is_proven(log: &RealLog, wal: &Wal, proven: Lsn, done: &[String]) {
    for ((lsn, payload), _) in &log.records {
        if *lsn >= proven || *lsn < log.first.min(wal.first_lsn()) {
            continue;
        }
        match wal.read(*lsn) {
            Ok(record) => assert!(record.payload() == &payload[..], "{done:?}: another payload at {lsn}"),
            Err(Error::Corruption(_)) => {}
            Err(Error::Released { .. }) if *lsn < log.first => {}
            Err(e) => panic!("{done:?}: {lsn} is proven (up to {proven}), and reading it says: {e}"),
        }
    }
}

/// A log that was opened takes a record, and has it and all others when it is opened again.
fn goes_on(wal: &Wal, found: &Shown, disk: &seawall::io::sim::SimDisk) {
    let lsn = wal.append(b"one more").unwrap_or_else(|e| panic!("opened, and takes nothing: {e}"));
    let killed = disk.kill();
    let again =
        options().open_on(shared(&killed)).unwrap_or_else(|e| panic!("opened once, then refused: {e}"));
    let after = show(&again, &killed);
    assert!(after.records.starts_with(&found.records), "opened again, the log shows something else");
    let payload = again.read(lsn).map(|r| r.payload().to_vec());
    assert!(payload.is_ok_and(|p| p == b"one more"), "what was acknowledged at {lsn} is gone");
}
