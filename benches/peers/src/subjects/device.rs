//! The device itself: `pwrite` and `fdatasync` on a prefilled file, in whole sectors.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The padding of a log that never rewrites a sector.
const SECTOR: usize = 4096;

const FILE: u64 = 256 << 20;

/// `len` bytes rounded up to whole sectors.
pub const fn padded(len: usize) -> usize {
    len.div_ceil(SECTOR) * SECTOR
}

/// A prefilled file that is overwritten repeatedly.
pub struct Device {
    file: File,
    at: u64,
}

impl Device {
    pub fn open(dir: &Path) -> Device {
        let file = File::create_new(dir.join("device")).expect("create a file");
        let zeros = vec![0; 1 << 20];
        (0..FILE >> 20).for_each(|n| file.write_all_at(&zeros, n << 20).expect("fill the file"));
        file.sync_all().expect("sync the file");
        Device { file, at: 0 }
    }

    /// Writes whole sectors and syncs.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.at + bytes.len() as u64 > FILE {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at).expect("write");
        self.file.sync_data().expect("fdatasync");
        self.at += bytes.len() as u64;
    }
}
