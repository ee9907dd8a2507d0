//! The file system, as far as a log needs it.
//!
//! Everything that decides durability goes through two small traits: [`Disk`], one directory, and [`File`], one file
//! in it. The real disk ([`RealDisk`]) maps them to system calls. With the feature `sim`, a simulated disk takes
//! their place and produces every state that a crash may leave.
//!
//! The rules are those of POSIX, read as weakly as possible:
//!
//! * bytes passed to [`File::write_at`] are durable when a later [`File::sync_data`] of that file has returned `Ok`;
//!   until then any subset of their sectors may survive a crash;
//! * a file's size is durable after [`File::sync_all`] (`sync_data` covers it where it is needed to read the bytes);
//! * a name that was created, renamed or removed is durable when a later [`Disk::sync`] of its directory has returned
//!   `Ok`;
//! * a failed sync says nothing about what is on the device, and neither does retrying it.
//!
//! This module does not know the format.

pub(crate) mod mapping;
pub(crate) mod process;
mod real;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, SYNC_NAMES};
use crate::size::at_most;
pub use process::{Opener, Process};
pub use real::{RealDisk, open_directory};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only; works on read-only media.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// One directory: names, and the durability of names.
///
/// Names are single path components. Implementations are shared between threads.
///
/// # To be correct
///
/// * All calls apply to the directory that was opened, even if its path leads elsewhere by now.
/// * A call interrupted by a signal is retried. The log treats [`io::ErrorKind::Interrupted`] as a failure, except
///   from [`File::read_at`] and [`File::write_at`], which it retries itself.
/// * [`Disk::open`] refuses anything that is not a regular file; it neither follows it nor waits for it.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// The directory's absolute path at the time it was opened, for messages.
    fn path(&self) -> &Path;

    /// Creates a new, empty file, open for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when the name is taken; any error of the system.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it does not exist; [`io::ErrorKind::IsADirectory`] and
    /// [`io::ErrorKind::InvalidInput`] when it is not a regular file; any error of the system.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Renames a file, atomically replacing a file that has the new name.
    ///
    /// # Errors
    /// Any error of the system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it does not exist; any error of the system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of the files in this directory, in no particular order, without subdirectories.
    ///
    /// # Errors
    /// Any error of the system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes all names created, renamed and removed in this directory so far durable.
    ///
    /// # Errors
    /// Any error of the system; after an error the state is unknown.
    fn sync(&self) -> io::Result<()>;

    /// The subdirectory with this name. If missing, it is created and its name made durable.
    ///
    /// # Errors
    /// Any error of the system.
    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Disk>>;

    /// The subdirectory with this name; it is not created.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it does not exist; any error of the system.
    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Disk>>;

    /// Takes the exclusive lock with this name. It ends when the returned value is dropped, or with the process that
    /// took it, even if other processes inherited a descriptor.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when it is already held; any error of the system.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>>;

    /// Bytes that this process may still allocate on the file system.
    ///
    /// # Errors
    /// Any error of the system.
    fn free_space(&self) -> io::Result<u64>;
}

/// A held lock. Dropping it releases it, in the process that took it.
pub trait Lock: fmt::Debug + Send + Sync {
    /// Releases the lock now. Does nothing in a process that did not take it.
    ///
    /// # Errors
    /// Any error of the system. Then the lock ends with the process at the latest.
    fn release(&mut self) -> io::Result<()>;
}

/// The result of [`File::allocate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocated {
    /// The space is reserved: a write into it cannot fail because the disk is full.
    Reserved,
    /// The file has the size, but this file system cannot reserve space.
    SizeOnly,
}

/// One open file: positioned reads and writes, and the durability of bytes.
pub trait File: fmt::Debug + Send + Sync + 'static {
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file or if the system returned fewer.
    ///
    /// # Errors
    /// Any error of the system. `EIO` is an error, never the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes up to `buf.len()` bytes at `offset`; returns how many.
    ///
    /// # Errors
    /// Any error of the system.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes written bytes, and the size needed to read them, durable (`fdatasync`).
    ///
    /// # Errors
    /// Any error of the system; after an error the state of the bytes written before is unknown.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes bytes and all metadata durable (`fsync`).
    ///
    /// # Errors
    /// As [`File::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// The file's size in bytes.
    ///
    /// # Errors
    /// Any error of the system.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    /// As [`File::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Truncates the file or extends it with zeros.
    ///
    /// # Errors
    /// Any error of the system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space for the first `len` bytes, if the file system can, and extends the file to at least that size.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is not enough space; any other error of the system. It is not an
    /// error if the file system cannot reserve space.
    fn allocate(&self, len: u64) -> io::Result<Allocated>;

    /// The operating system's file, if it can be mapped into memory.
    fn as_std(&self) -> Option<&std::fs::File>;
}

/// Makes the names in a directory durable.
///
/// # Errors
/// [`Error::Io`] with the name of this call.
pub fn sync_names(disk: &dyn Disk) -> crate::error::Result<()> {
    disk.sync().map_err(|e| Error::io(SYNC_NAMES, disk.path(), e))
}

/// Reads exactly `buf.len()` bytes at `offset`, continuing after short and interrupted reads.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] when the file ends first; any error of the system.
pub fn read_exact_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let got = read_full_at(file, buf, offset)?;
    if got == buf.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Reads until `buf` is full or the file ends, continuing after short and interrupted reads; returns the number of
/// bytes.
///
/// # Errors
/// Any error of the system.
pub fn read_full_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(n) if n > rest.len() => return Err(too_much()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// The error for a faulty implementation of [`File`]; what it read or wrote is unknown.
fn too_much() -> io::Error {
    io::Error::other("the file reported more bytes read or written than requested")
}

/// Writes all of `buf` at `offset`, continuing after short and interrupted writes.
///
/// # Errors
/// [`io::ErrorKind::WriteZero`] when the system accepts no more bytes; any error of the system.
pub fn write_all_at(file: &dyn File, buf: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write_at(rest, offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) if n > rest.len() => return Err(too_much()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Size of a single read or write in large transfers.
pub(crate) const PIECE: usize = 1 << 20;

/// Copies the first `len` bytes of one file to another, piece by piece.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] when the source ends first; any error of the system.
pub fn copy_first(from: &dyn File, to: &dyn File, len: u64) -> io::Result<()> {
    let mut buffer = vec![0; at_most(PIECE, len)];
    let mut at = 0;
    while at < len {
        let most = at_most(buffer.len(), len - at);
        let (piece, _) = buffer.split_at_mut(most);
        read_exact_at(from, piece, at)?;
        write_all_at(to, piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}
