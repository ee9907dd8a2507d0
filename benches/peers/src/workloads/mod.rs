//! Whole workloads, each over all subjects, round by round.

pub mod append;
pub mod groups;
pub mod open;
pub mod tail;

use std::path::PathBuf;
use std::time::Duration;

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
}
