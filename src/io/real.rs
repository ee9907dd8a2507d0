//! The operating system's file system behind the [`Disk`](super::Disk) and [`File`](super::File) traits.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{Access, Disk, File, Lock};

/// A directory of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    /// Held open so that its names can be made durable without resolving the path again.
    handle: fs::File,
}

impl RealDisk {
    /// Opens a directory that must exist.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], [`io::ErrorKind::NotADirectory`], or whatever else the system reports.
    pub fn open(path: &Path) -> io::Result<Self> {
        let handle = fs::File::open(path)?;
        if !handle.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(RealDisk { path: path.to_owned(), handle })
    }

    /// Opens a directory, making it and those above it when they are missing, each name durable in its parent.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn open_or_create(path: &Path) -> io::Result<Self> {
        make_durable_dir(path)?;
        Self::open(path)
    }
}

fn make_durable_dir(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_durable_dir(parent)?;
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(io::ErrorKind::NotADirectory.into()),
        Err(e) => return Err(e),
    }
    fs::File::open(parent)?.sync_all()
}

impl Disk for RealDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file =
            fs::OpenOptions::new().read(true).write(true).create_new(true).open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(access == Access::ReadWrite)
            .open(self.path.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                continue;
            }
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(RealDisk::open_or_create(&self.path.join(name))?))
    }

    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(RealDisk::open(&self.path.join(name))?))
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path.join(name))?;
        // The trait is named so that the standard library's method of the same name is not taken instead.
        match fs2::FileExt::try_lock_exclusive(&file) {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(e) if e.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(e) => Err(e),
        }
    }

    fn free_space(&self) -> io::Result<u64> {
        fs2::available_space(&self.path)
    }
}

/// An `flock`: the system drops it with the last descriptor, so a killed process leaves none behind.
#[derive(Debug)]
struct RealLock {
    _file: fs::File,
}

impl Lock for RealLock {}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            // Nothing can be reserved here: the size is all there is to be had.
            Err(Errno::OPNOTSUPP) if self.len()? < len => self.0.set_len(len),
            Err(Errno::OPNOTSUPP) => Ok(()),
            done => Ok(done?),
        }
    }

    fn as_std(&self) -> Option<&fs::File> {
        Some(&self.0)
    }
}
