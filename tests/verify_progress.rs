//! The reported progress of a verification only moves forward, and reaches the end.

use std::path::Path;

use seawall::{Lsn, Options, VerifyProgress, VerifyReport, verify_with};

const SEGMENT: u64 = 64 << 10;

fn log(dir: &Path) {
    let wal = Options::new().segment_size(SEGMENT).open(dir).unwrap();
    for n in 0..40 {
        wal.append([n; 9000]).unwrap();
    }
    wal.close().unwrap();
}

/// The reported progress, and the result.
fn watched(dir: &Path) -> (Vec<VerifyProgress>, VerifyReport) {
    let mut told = Vec::new();
    let report = verify_with(dir, |at| told.push(at)).unwrap();
    (told, report)
}

fn goes_forward_to_the_end(told: &[VerifyProgress]) {
    assert!(told.windows(2).all(|w| w[0].done <= w[1].done && w[0].total <= w[1].total), "{told:?}");
    assert!(told.iter().all(|at| at.done <= at.total), "{told:?}");
    let last = told.last().unwrap();
    assert_eq!(last.done, last.total, "{told:?}");
}

#[test]
fn a_verification_tells_of_each_segment_and_ends_at_the_total() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());
    let (told, report) = watched(dir.path());
    assert!(report.is_ok() && report.segments.len() > 3, "{report}");
    goes_forward_to_the_end(&told);
    // The beginning, and each segment by its length; for the newest one its full capacity.
    assert_eq!(told.len(), report.segments.len() + 1);
    assert_eq!(told[0].done, 0);
    let extent = |from: Lsn, to: Lsn| to.distance_from(from).unwrap();
    let (newest, sealed) = report.segments.split_last().unwrap();
    for (segment, at) in sealed.iter().zip(told.windows(2)) {
        assert_eq!(at[1].done - at[0].done, extent(segment.first_lsn, segment.end_lsn), "{told:?}");
    }
    let used = extent(newest.first_lsn, newest.end_lsn);
    let read = told[told.len() - 1].done - told[told.len() - 2].done;
    assert!((used..=SEGMENT).contains(&read), "{used} {told:?}");
}

/// What does not verify is read again, which increases the total but never moves progress backwards.
#[test]
fn a_damaged_log_is_read_more_than_once_and_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());
    let (whole, report) = watched(dir.path());
    for damaged in [report.segments.first().unwrap(), report.segments.last().unwrap()] {
        let path = dir.path().join(&damaged.file);
        let good = std::fs::read(&path).unwrap();
        let mut bytes = good.clone();
        bytes[8192 + 4096 + 100] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (told, report) = watched(dir.path());
        assert_eq!(report.problems.len(), 1, "{report}");
        goes_forward_to_the_end(&told);
        assert_eq!(told.last().unwrap().total, 2 * whole.last().unwrap().total, "{told:?}");
        std::fs::write(&path, good).unwrap();
    }
}
