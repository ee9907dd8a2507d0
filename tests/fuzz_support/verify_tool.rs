//! `verify` on arbitrary and on damaged directories: it never panics, never changes a byte, and agrees with `open`.
//! It reports what `open` refuses; a log in which it finds nothing wrong can be opened and read to the end.

use seawall::{Error, Verdict, verify_on};

use super::cursor::Cursor;
use super::directory::{Files, arbitrary, difference, disk_of, files_of, options, shared};
use super::evidence::show;
use super::open_mutated::damaged;

/// One input.
pub fn run(input: &[u8]) {
    let mut input = Cursor::new(input);
    match input.below(2) {
        0 => check(&arbitrary(&mut input)),
        _ => check(&damaged(&mut input).1),
    }
}

fn check(files: &Files) {
    let disk = disk_of(files);
    let report = verify_on(&shared(&disk));
    let after = files_of(&disk);
    assert!(*files == after, "verify changed: {}", difference(files, &after));
    let opened = options().create_if_missing(false).open_on(shared(&disk));
    match (&opened, &report) {
        (Err(Error::Corruption(c)), Ok(report)) => {
            assert!(!report.is_ok(), "refused ({c}), and verify reports nothing");
        }
        (Ok(wal), Ok(report)) if report.is_ok() => {
            let cuts = !wal.recovery().cut.is_empty();
            assert_eq!(report.verdict() == Verdict::Cuts, cuts, "what is cut: {report}");
            assert!(!show(wal, &disk).damaged, "verify reports nothing, and a record cannot be read");
        }
        // A log that cannot continue is not damaged.
        (Err(Error::Exhausted { .. }), Ok(_)) => {}
        (Err(e), Ok(report)) => assert!(!report.is_ok(), "refused ({e}), and verify reports nothing"),
        (Ok(_), Err(e)) => panic!("opens, and verify says {e}"),
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
    }
}
