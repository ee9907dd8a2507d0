//! Shared by the benchmarks: logs in temporary directories that do not fill the disk.
#![allow(dead_code)] // each benchmark uses its part

use std::path::Path;
use std::time::Duration;

use criterion::Criterion;
use seawall::{Options, Wal};
use tempfile::TempDir;

/// Size of most records in bytes.
pub const RECORD: usize = 256;

/// Few, short samples: on a shared machine more samples do not improve the medians.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args()
}

/// An open log and its directory.
pub struct Log {
    pub wal: Wal,
    pub dir: TempDir,
    writes: u64,
}

impl Log {
    /// With the default options.
    pub fn new() -> Self {
        Self::with(&Options::new())
    }

    pub fn with(options: &Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Log { wal: options.open(dir.path()).unwrap(), dir, writes: 0 }
    }

    /// Releases old records now and then, so that a long run stays within a few segments.
    pub fn trim(&mut self, writes: u64) {
        self.writes += writes;
        if self.writes >= 512 {
            self.writes = 0;
            self.wal.release(self.wal.durable_lsn()).unwrap();
        }
    }
}

/// Bytes that differ from record to record.
pub fn payload(len: usize, n: u64) -> Vec<u8> {
    let mut bytes = vec![0x5a; len];
    let number = n.to_le_bytes();
    let head = number.len().min(len);
    bytes[..head].copy_from_slice(&number[..head]);
    bytes
}

/// A random number generator for choosing what to read.
pub struct Pick(u64);

impl Pick {
    pub fn new() -> Self {
        Pick(0x9e37_79b9_7f4a_7c15)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Copies the files of a directory as a killed process leaves them.
pub fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    let mut files: Vec<_> = std::fs::read_dir(from).unwrap().map(|f| f.unwrap()).collect();
    // The next segment may be in preparation. A file that names another is copied before that one.
    files.sort_unstable_by_key(|file| file.file_name() != "superblock");
    for file in files {
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
        }
    }
    to
}
