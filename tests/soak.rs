//! Groups that grow, are overwritten, save snapshots in one piece and in many, compact, lag, are left behind, removed
//! and created again, by several threads in one log that is purged and reopened repeatedly: every read is correct,
//! and the segments stay within twice the live bytes plus three segments.
//!
//! The quick form of the example `soak`, which also monitors memory, file descriptors and threads for any length of
//! time.
#![cfg(feature = "raft")]

mod soak_support;

use std::time::Duration;

use soak_support::load::Shared;
use soak_support::{live, open, start};

const SEGMENT: u64 = 512 << 10;

#[test]
fn many_groups_live_side_by_side_in_bounded_space() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), SEGMENT).unwrap();
    let mut workers = start(&log, 60, 4, 1).unwrap();
    for run in 0..4 {
        let shared = Shared::default();
        live(&log, &mut workers, &shared, || {
            std::thread::sleep(Duration::from_millis(700));
            Ok(())
        })
        .unwrap();
        let report = log.purge().unwrap();
        assert!(report.disk_bytes <= 2 * report.live_bytes + 3 * SEGMENT, "{report:?}");
        assert!(run == 0 || report.total_appended > 0, "{report:?}");
        if run % 2 == 0 {
            log.close().unwrap();
        }
        drop(log);
        log = open(dir.path(), SEGMENT).unwrap();
        workers.iter_mut().for_each(|worker| worker.verify(&log, true).unwrap());
    }
}
