//! `open` on a directory of arbitrary files: no panic, no hang, no allocation larger than the files. A log that opens
//! returns only verified data, remains usable, and returns the same when reopened. A refused directory is unchanged.

use seawall::{Error, Wal};

use super::cursor::Cursor;
use super::directory::{Files, arbitrary, difference, disk_of, files_of, options, shared};
use super::evidence::{Shown, show};

/// One input.
pub fn run(input: &[u8]) {
    check(&arbitrary(&mut Cursor::new(input)));
}

/// Opens a directory and holds what becomes of it against the promises.
pub fn check(files: &Files) {
    let disk = disk_of(files);
    let wal = match options().open_on(shared(&disk)) {
        Ok(wal) => wal,
        Err(e) => return refused(files, &files_of(&disk), &e),
    };
    let before = show(&wal, &disk);
    let appended = wal.append(b"one more");
    if let Ok(lsn) = &appended {
        let last = wal.read(*lsn).map(|r| r.payload().to_vec());
        assert!(last.as_deref().is_ok_and(|p| p == b"one more"), "{lsn} is acknowledged and reads {last:?}");
    }
    let killed = disk.kill();
    drop(wal);
    let again = match options().open_on(shared(&killed)) {
        Ok(wal) => wal,
        // The first open took the last numbers, and nothing was acknowledged.
        Err(Error::Exhausted { .. }) if appended.is_err() => return,
        Err(e) => panic!("opened once, and then refused: {e}"),
    };
    same_and_one_more(&before, &show(&again, &killed), &again, appended.is_ok());
}

fn refused(before: &Files, after: &Files, error: &Error) {
    assert!(
        matches!(
            error,
            Error::Corruption(_)
                | Error::Foreign { .. }
                | Error::UnsupportedVersion { .. }
                | Error::Exhausted { .. }
                | Error::Io { .. }
        ),
        "refused for another reason: {error}"
    );
    assert!(before == after, "refused ({error}) and changed: {}", difference(before, after));
}

fn same_and_one_more(before: &Shown, after: &Shown, wal: &Wal, appended: bool) {
    let known = after.records.get(..before.records.len());
    assert!(known == Some(&before.records[..]), "opened again, the log shows something else");
    let more = after.records.len() - before.records.len();
    if !before.damaged {
        let expected = usize::from(appended);
        // What was not acknowledged may be there as well.
        assert!(more >= expected && more <= 1, "{more} more records in {wal:?}");
    }
}
