//! Whole workloads, each over all subjects, round by round.

pub mod append;
pub mod groups;
pub mod open;
pub mod tail;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Parameters of all workloads.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Directory for the logs; the device under it is measured.
    pub dir: PathBuf,
    pub rounds: usize,
    /// How long a subject is measured in one setting of one round.
    pub span: Duration,
    pub quick: bool,
}

impl Plan {
    /// A fresh directory on the device; removed on drop.
    pub fn place(&self) -> TempDir {
        tempfile::tempdir_in(&self.dir).expect("a directory")
    }

    /// Thousands of operations per second: each call returns how many it did. A log at work is measured, not one that
    /// was just made and is still filling its files, so the same time passes first.
    #[allow(clippy::cast_precision_loss)]
    pub fn rate(&self, mut call: impl FnMut() -> u64) -> f64 {
        let mut during = |span| {
            let (start, mut done) = (Instant::now(), 0);
            while start.elapsed() < span {
                done += call();
            }
            done as f64 / start.elapsed().as_secs_f64() / 1000.0
        };
        during(self.span);
        during(self.span)
    }
}
