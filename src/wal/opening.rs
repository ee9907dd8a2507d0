//! The ways to open a log, and its lock.

use std::path::Path;
use std::sync::Arc;

use super::Wal;
use crate::error::{Error, Result};
use crate::io::{Disk, Lock, RealDisk};
use crate::log::Log;
use crate::options::{Checked, Options};
use crate::recovery::LOCK;
use crate::segment::Summarizer;

/// Takes the lock of the log in this directory.
pub(crate) fn take_lock(disk: &Arc<dyn Disk>) -> Result<Box<dyn Lock>> {
    disk.lock(LOCK).map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked { dir: disk.path().to_owned() },
        _ => Error::io("lock", disk.path().join(LOCK), e),
    })
}

impl Options {
    /// Opens the log in `dir`, creating directory and log if they are missing.
    ///
    /// # Errors
    /// [`Error::Locked`] when it is open already; [`Error::Corruption`] when bytes that are proven to have been
    /// durable are damaged; [`Error::UnsupportedVersion`], [`Error::Foreign`], [`Error::OwnerMismatch`],
    /// [`Error::InvalidOptions`], [`Error::Io`]. Nothing is changed then, except that an error while the tail is
    /// rewritten leaves a file that the next open removes.
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<Wal> {
        self.open_on(self.disk(dir.as_ref())?)
    }

    /// Opens the log in a directory on the given disk.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open_on(&self, disk: Arc<dyn Disk>) -> Result<Wal> {
        Wal::open_with(disk, &self.check()?, None)
    }

    /// Opens a log whose footers hold a layer's own summaries.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open_with_summarizer(&self, disk: Arc<dyn Disk>, summarizer: Arc<dyn Summarizer>) -> Result<Wal> {
        Wal::open_with(disk, &self.check()?, Some(summarizer))
    }

    /// Like [`Options::open_with_summarizer`], with a lock that the caller already holds.
    pub(crate) fn open_locked(
        &self,
        disk: Arc<dyn Disk>,
        lock: Box<dyn Lock>,
        summarizer: Arc<dyn Summarizer>,
    ) -> Result<Wal> {
        Ok(Wal { log: Log::open(disk, lock, &self.check()?, Some(summarizer))? })
    }

    /// Opens the directory `dir` as the disk that [`Options::open_on`] takes.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened or created.
    pub fn disk(&self, dir: &Path) -> Result<Arc<dyn Disk>> {
        let create = self.check()?.create;
        let disk = if create { RealDisk::open_or_create(dir) } else { RealDisk::open(dir) };
        Ok(Arc::new(disk.map_err(|e| Error::io(crate::error::OPEN_DIRECTORY, dir, e))?))
    }
}

impl Wal {
    /// Opens the log in `dir` with the default options.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(dir)
    }

    fn open_with(
        disk: Arc<dyn Disk>,
        options: &Checked,
        summarizer: Option<Arc<dyn Summarizer>>,
    ) -> Result<Self> {
        let lock = take_lock(&disk)?;
        Ok(Wal { log: Log::open(disk, lock, options, summarizer)? })
    }
}
