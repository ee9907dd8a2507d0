//! The operating system's file system behind the [`Disk`](super::Disk) and [`File`](super::File) traits.
//!
//! A handle refers to the directory that was opened: every name in it is looked up relative to the handle
//! (`openat(2)` and similar), so neither `chdir` nor renaming, replacing or mounting over the path redirects a call.
//! Something with a name of the log that is not a regular file (a symbolic link, a FIFO, a socket) is refused, not
//! followed and not waited for.
//!
//! A call interrupted by a signal is retried. Handles belong to the process that opened them: in a forked child
//! nothing is changed through them.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::process::{NotInherited, Process};
use super::{Access, Allocated, Disk, File, Lock};
use crate::error::{Error, OPEN_DIRECTORY};

/// A directory of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    /// Absolute path at the time the directory was opened; for messages.
    path: PathBuf,
    handle: OwnedFd,
    process: Process,
}

/// Mode of new files and directories, before the process's umask.
const NEW_FILE: Mode = Mode::from_raw_mode(0o666);
const NEW_DIRECTORY: Mode = Mode::from_raw_mode(0o777);

/// A name that was replaced by a link, a FIFO or a device must not lead elsewhere or block the caller.
const CAREFUL: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

/// The directory at this path, as the disk that a log in it is kept on.
///
/// # Errors
/// [`Error::Io`] when it is missing or cannot be opened.
pub fn open_directory(dir: &Path) -> crate::error::Result<Arc<dyn Disk>> {
    let disk = RealDisk::open(dir).map_err(|e| Error::io(OPEN_DIRECTORY, dir, e))?;
    Ok(Arc::new(disk))
}

impl RealDisk {
    /// Opens an existing directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], [`io::ErrorKind::NotADirectory`], or any other error of the system.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = retry_on_intr(|| rustix::fs::openat(CWD, path, flags, Mode::empty()))?;
        Ok(RealDisk { path: std::path::absolute(path)?, handle, process: Process::current() })
    }

    /// Opens a directory. It and missing parents are created, each name durable in its parent.
    ///
    /// # Errors
    /// Any error of the system.
    pub fn open_or_create(path: &Path) -> io::Result<Self> {
        make_durable_dir(path)?;
        Self::open(path)
    }

    /// Opens a file that must be a regular file.
    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        let opened = retry_on_intr(|| rustix::fs::openat(&self.handle, name, flags | CAREFUL, NEW_FILE));
        let file = match opened {
            Ok(fd) => fs::File::from(fd),
            // A symbolic link, a socket, or a FIFO without a reader.
            Err(Errno::LOOP | Errno::NXIO) => return Err(not_a_file()),
            Err(e) => return Err(e.into()),
        };
        match file.metadata()?.file_type() {
            kind if kind.is_file() => Ok(file),
            kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            _ => Err(not_a_file()),
        }
    }

    fn child(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = retry_on_intr(|| rustix::fs::openat(&self.handle, name, flags, Mode::empty()))?;
        Ok(Arc::new(RealDisk { path: self.path.join(name), handle, process: self.process }))
    }

    fn is_directory(&self, name: &std::ffi::CStr, kind: FileType) -> io::Result<bool> {
        if kind != FileType::Unknown {
            return Ok(kind == FileType::Directory);
        }
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
            // Gone since it was listed.
            Err(Errno::NOENT) => Ok(true),
            Err(e) => Err(e.into()),
        }
    }
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// The last line of defence: handles refuse before a call gets here.
fn only_in(process: Process) -> io::Result<()> {
    if process.is_current() { Ok(()) } else { Err(io::Error::other("opened by the parent of this process")) }
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
        only_in(self.process)?;
        let file = self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        Ok(Arc::new(RealFile { file, process: self.process }))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let flags = if access == Access::ReadWrite { OFlags::RDWR } else { OFlags::RDONLY };
        let file = self.open_file(name, flags)?;
        Ok(Arc::new(RealFile { file, process: self.process }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        only_in(self.process)?;
        Ok(retry_on_intr(|| rustix::fs::renameat(&self.handle, from, &self.handle, to))?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        only_in(self.process)?;
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()))?)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        // A separate directory stream, so that its position is not shared.
        let mut entries = retry_on_intr(|| Dir::read_from(&self.handle))?;
        while let Some(entry) = entries.read() {
            let entry = match entry {
                Err(Errno::INTR) => continue,
                entry => entry?,
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || self.is_directory(name, entry.file_type())? {
                continue;
            }
            // A name that is not UTF-8 is not the log's.
            if let Ok(name) = name.to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::fsync(&self.handle))?)
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        only_in(self.process)?;
        match retry_on_intr(|| rustix::fs::mkdirat(&self.handle, name, NEW_DIRECTORY)) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        self.child(name)
    }

    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        self.child(name)
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        only_in(self.process)?;
        let held = NotInherited::new(self.open_file(name, OFlags::RDWR | OFlags::CREATE)?)?;
        let file = held.file().ok_or(io::ErrorKind::Other)?;
        loop {
            // The trait is named explicitly; otherwise the standard library's method of the same name would be used.
            match fs2::FileExt::try_lock_exclusive(file) {
                Ok(()) => return Ok(Box::new(RealLock(held))),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn free_space(&self) -> io::Result<u64> {
        let stat = retry_on_intr(|| rustix::fs::fstatvfs(&self.handle))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// An `flock`. The system drops it with the last descriptor, so a killed process leaves none behind. A living process
/// releases it explicitly, because a child about to call `exec` may have a descriptor too.
#[derive(Debug)]
struct RealLock(NotInherited);

impl Lock for RealLock {
    fn release(&mut self) -> io::Result<()> {
        let Some(file) = self.0.file() else { return Ok(()) };
        loop {
            match fs2::FileExt::unlock(file) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing the last descriptor, which comes next, has the same effect.
        drop(self.release());
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    process: Process,
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        only_in(self.process)?;
        self.file.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        only_in(self.process)?;
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<Allocated> {
        only_in(self.process)?;
        match retry_on_intr(|| rustix::fs::fallocate(self.file.as_fd(), FallocateFlags::empty(), 0, len)) {
            Ok(()) => Ok(Allocated::Reserved),
            // The file system, or the system, cannot reserve space: only the size can be set.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                if self.len()? < len {
                    self.file.set_len(len)?;
                }
                Ok(Allocated::SizeOnly)
            }
            // The error of tmpfs when its limit or the machine's memory is reached.
            Err(e @ Errno::NOMEM) => Err(io::Error::new(io::ErrorKind::StorageFull, io::Error::from(e))),
            Err(e) => Err(e.into()),
        }
    }

    fn as_std(&self) -> Option<&fs::File> {
        Some(&self.file)
    }
}
