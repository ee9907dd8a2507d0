//! Whole workloads, each over all subjects, round by round.

pub mod append;
pub mod groups;
pub mod open;
pub mod tail;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What all workloads are told.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the logs are put; the device under it is what is measured.
    pub dir: PathBuf,
    pub rounds: usize,
    /// How long one subject is measured in one setting of one round.
    pub span: Duration,
    pub quick: bool,
}

impl Plan {
    /// A fresh directory on the device; removed when it goes.
    pub fn place(&self) -> TempDir {
        tempfile::tempdir_in(&self.dir).expect("a directory")
    }

    /// Thousands of what calls do, a second: each call says how many it did. What is measured is a log at work, not one
    /// that was just made and is still filling its files, so as much time goes by before.
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
