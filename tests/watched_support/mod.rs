//! A disk that says what is done to its names.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use seawall::io::{Access, Disk, File, Lock};

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Something that changes names or files, or opens a file for that.
    Change,
    /// A directory is opened, or created if it is missing.
    Subdir,
    /// The lock is taken.
    Lock,
}

/// Calls `told` before each such call, also in directories below.
#[derive(Clone)]
pub struct WatchedDisk {
    inner: Arc<dyn Disk>,
    told: Arc<dyn Fn(Call) + Send + Sync>,
}

impl WatchedDisk {
    pub fn watch(inner: Arc<dyn Disk>, told: impl Fn(Call) + Send + Sync + 'static) -> Arc<dyn Disk> {
        Arc::new(WatchedDisk { inner, told: Arc::new(told) })
    }
}

impl fmt::Debug for WatchedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for WatchedDisk {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        (self.told)(Call::Change);
        self.inner.create(name)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        if access == Access::ReadWrite {
            (self.told)(Call::Change);
        }
        self.inner.open(name, access)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (self.told)(Call::Change);
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        (self.told)(Call::Change);
        self.inner.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn sync(&self) -> io::Result<()> {
        (self.told)(Call::Change);
        self.inner.sync()
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        (self.told)(Call::Subdir);
        Ok(Arc::new(WatchedDisk { inner: self.inner.subdir(name)?, ..self.clone() }))
    }

    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(WatchedDisk { inner: self.inner.open_dir(name)?, ..self.clone() }))
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        (self.told)(Call::Lock);
        self.inner.lock(name)
    }

    fn free_space(&self) -> io::Result<u64> {
        self.inner.free_space()
    }
}
