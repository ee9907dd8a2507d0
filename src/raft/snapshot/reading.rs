//! The snapshot files of a log that is not open: nothing is created, removed or written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::state::SnapshotRef;
use super::files::{DIRECTORY, Snapshots};
use super::identity::Identity;
use crate::Error;
use crate::error::{CorruptionReason, LogUuid};
use crate::io::Disk;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct SnapshotFiles {
    uuid: LogUuid,
    directory: PathBuf,
    /// `None` if there is no directory.
    found: Option<Snapshots>,
}

impl SnapshotFiles {
    /// The snapshot files of the log in `disk`.
    pub(crate) fn of(disk: &Arc<dyn Disk>, uuid: LogUuid) -> Result<Self, Error> {
        let directory = disk.path().join(DIRECTORY);
        let found = match disk.open_dir(DIRECTORY) {
            Ok(found) => Some(Snapshots::new(found, uuid, 1)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io("open", directory, e)),
        };
        Ok(SnapshotFiles { uuid, directory, found })
    }

    /// Reads a snapshot that a record refers to, to its end.
    pub(crate) fn verify(&self, group: u64, file: SnapshotRef) -> Result<(), Error> {
        self.here(group, file)?.verify(group, file)
    }

    /// Checks what an open of the log checks: the beginning of the file.
    pub(crate) fn check(&self, group: u64, file: SnapshotRef) -> Result<(), Error> {
        self.here(group, file)?.open(group, file).map(drop)
    }

    fn here(&self, group: u64, file: SnapshotRef) -> Result<&Snapshots, Error> {
        let identity = Identity { uuid: self.uuid, group, file };
        let missing = || identity.corruption(&self.directory, 0, CorruptionReason::MissingFile);
        self.found.as_ref().ok_or_else(missing)
    }
}
