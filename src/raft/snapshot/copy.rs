//! Copies snapshots to another directory, for a backup.

use super::super::state::SnapshotRef;
use super::files::Snapshots;
use super::source::SnapshotSource;
use crate::Error;
use crate::io::{Disk, copy_first, sync_names};

impl Snapshots {
    /// Copies these snapshots, verified, into another directory; returns the number of bytes. They are durable there
    /// when this returns.
    pub(crate) fn copy_to(&self, directory: &dyn Disk, files: &[(u64, SnapshotRef)]) -> Result<u64, Error> {
        let mut bytes = 0;
        for (group, file) in files {
            bytes += copy(self.open(*group, *file)?, directory, &self.identity(*group, *file).name())?;
        }
        sync_names(directory)?;
        Ok(bytes)
    }
}

/// Copies a file unchanged and verifies its source; returns its length.
fn copy(mut source: SnapshotSource, directory: &dyn Disk, name: &str) -> Result<u64, Error> {
    let failed = |op| {
        let path = directory.path().join(name);
        move |e| Error::io(op, path, e)
    };
    let to = directory.create(name).map_err(failed("create"))?;
    let len = source.file_len();
    copy_first(&**source.file(), &*to, len).map_err(failed("copy into"))?;
    to.sync_all().map_err(failed("fsync"))?;
    source.verify_rest()?;
    Ok(len)
}
