//! The snapshot files of one log, shared by writing, reading and removing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ::raft::eraftpb::ConfState;
use parking_lot::Mutex;

use super::super::state::SnapshotRef;
use super::identity::{Identity, serial_in};
use crate::Lsn;
use crate::error::LogUuid;
use crate::format::{TEMPORARY, UNDO};
use crate::groups::Position;
use crate::io::Disk;
use crate::io::Opener;

/// The directory's name.
pub(crate) const DIRECTORY: &str = "snapshots";

/// What identifies a snapshot to its writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta<'a> {
    pub(crate) group: u64,
    pub(crate) at: Position,
    pub(crate) conf: &'a ConfState,
}

/// The snapshot files of one log.
#[derive(Debug)]
pub(crate) struct Snapshots {
    pub(super) opener: Opener,
    pub(super) disk: Arc<dyn Disk>,
    uuid: LogUuid,
    /// Bytes of data under one checksum; not 0.
    pub(super) chunk: usize,
    pub(super) next_serial: AtomicU64,
    /// Files to remove, each once the log is durable up to an address.
    pub(super) obsolete: Mutex<Vec<(String, Lsn)>>,
    /// Number of users that need files which may be obsolete by now.
    pub(super) holders: AtomicUsize,
}

/// Whether a file of this name may be a snapshot, complete or not.
pub(crate) fn is_snapshot(name: &str) -> bool {
    let undone = name.strip_suffix(TEMPORARY).and_then(|name| name.strip_suffix(UNDO));
    serial_in(undone.unwrap_or(name)).is_some()
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
            holders: AtomicUsize::new(0),
        }
    }

    pub(super) fn identity(&self, group: u64, file: SnapshotRef) -> Identity {
        Identity { uuid: self.uuid, group, file }
    }

    /// The identity of a new snapshot, with a new serial.
    pub(super) fn next_identity(&self, meta: &Meta<'_>) -> Identity {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        self.identity(meta.group, SnapshotRef { at: meta.at, serial })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }
}
