//! Snapshots: files in the directory `snapshots` beside the log.
//!
//! A snapshot's file is complete and durable, under its own name, before the record that refers to it enters the log;
//! that record is the commit point. A file that no group refers to means nothing and is removed: by the next purge or
//! saved snapshot, or at open.
//!
//! ```text
//!  create <name>.tmp ── write ── fsync ── rename to <name> ── fsync directory ── record committed ── old file removed
//!  \____________________ a crash here leaves an orphan ____________________/ \__ a crash here leaves the old one __/
//! ```
//!
//! The name is `<group>-<index>-<term>-<serial>.snap`, each number 16 hex digits; a serial is never used twice, so no
//! two snapshots of a group share a file. All integers in it are little-endian.
//!
//! ```text
//! header   0 "SEAWSNAP" | 8 version u32 = 1 | 12 ConfState length u32 | 16 log UUID (16)
//!          32 group u64 | 40 index u64 | 48 term u64 | 56 serial u64 | 64 data length u64 | 72 chunk length u32
//!          76 CRC-32 u32 of bytes 0..76 and the ConfState | 80 ConfState
//! chunks   each: CRC-32 u32 | data; all of the chunk length but the last
//! trailer  "SEAWSEND" | number of chunks u64 | CRC-32 u32 of the chunks' checksums
//! ```
//!
//! The header is written last, for only then its data's length is known; the file has its temporary name until after that
//! (`writer`). One writer serves a snapshot that is given at once and one that comes in pieces ([`SnapshotSink`](super::SnapshotSink)), and
//! one reader those that are read so ([`SnapshotSource`]); neither holds more than a chunk.
//!
//! The checksums of chunks and trailer begin with the log's UUID, the serial, and the chunk's number, so a chunk of
//! another place, file or log does not verify.

mod copy;
mod header;
mod identity;
mod opening;
mod reading;
mod source;
mod sweep;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ::raft::eraftpb::ConfState;
use parking_lot::Mutex;

use super::state::SnapshotRef;
use crate::error::LogUuid;
use crate::groups::Position;
use crate::io::Disk;
use crate::io::process::Opener;
use crate::{Error, Lsn};
use identity::Identity;
pub(crate) use identity::SUFFIX;
pub(crate) use reading::SnapshotFiles;
pub use source::SnapshotSource;
pub(crate) use writer::FileWriter;

/// The directory's name.
pub(crate) const DIRECTORY: &str = "snapshots";

/// What a snapshot is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta<'a> {
    pub(crate) group: u64,
    pub(crate) at: Position,
    pub(crate) conf: &'a ConfState,
}

/// The snapshot files of one log.
#[derive(Debug)]
pub(crate) struct Snapshots {
    opener: Opener,
    disk: Arc<dyn Disk>,
    uuid: LogUuid,
    /// How much data stands under one checksum; not 0.
    chunk: usize,
    next_serial: AtomicU64,
    /// Files to remove, each once the log is durable up to an address.
    obsolete: Mutex<Vec<(String, Lsn)>>,
    /// How many there are that need files which may be obsolete by now.
    keepers: AtomicUsize,
}

/// Whether a file of this name may be a snapshot's, whole or not.
pub(crate) fn is_snapshot(name: &str) -> bool {
    let undone = name.strip_suffix(".tmp").and_then(|name| name.strip_suffix(".undo"));
    identity::serial_in(undone.unwrap_or(name)).is_some()
}

impl Snapshots {
    pub(crate) fn new(disk: Arc<dyn Disk>, uuid: LogUuid, chunk: usize) -> Self {
        Snapshots {
            opener: Opener::of(disk.path()),
            disk,
            uuid,
            chunk,
            next_serial: AtomicU64::new(1),
            obsolete: Mutex::new(Vec::new()),
            keepers: AtomicUsize::new(0),
        }
    }

    /// Writes a snapshot's file; when this returns it is durable, and nothing refers to it yet.
    pub(crate) fn write(self: &Arc<Self>, meta: &Meta<'_>, data: &[u8]) -> Result<SnapshotRef, Error> {
        let mut writer = FileWriter::create(self, meta)?;
        writer.take_all(data)?;
        writer.finish()
    }

    /// Opens a snapshot that a record refers to. That its header verifies, and that it has the length announced there, is
    /// known then.
    pub(crate) fn open(&self, group: u64, file: SnapshotRef) -> Result<SnapshotSource, Error> {
        SnapshotSource::open(self, self.identity(group, file))
    }

    /// Reads a snapshot that a record refers to, to its end.
    pub(crate) fn verify(&self, group: u64, file: SnapshotRef) -> Result<(), Error> {
        self.open(group, file)?.verify_rest()
    }

    /// A snapshot's ConfState and data, all of it verified.
    #[cfg(test)]
    fn read(&self, group: u64, file: SnapshotRef) -> Result<(ConfState, Vec<u8>), Error> {
        let mut source = self.open(group, file)?;
        let data = source.read_rest()?;
        Ok((source.conf_state().clone(), data))
    }

    fn identity(&self, group: u64, file: SnapshotRef) -> Identity {
        Identity { uuid: self.uuid, group, file }
    }

    /// A new snapshot's, with a serial of its own.
    fn next_identity(&self, meta: &Meta<'_>) -> Identity {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        self.identity(meta.group, SnapshotRef { at: meta.at, serial })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }
}
