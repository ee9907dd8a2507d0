//! The file system, as far as a log needs one.
//!
//! Everything that decides durability goes through two small traits: [`Disk`], one directory, and [`File`], one file
//! in it. The real disk ([`RealDisk`]) maps them to system calls; with the feature `sim`, a simulated disk stands in
//! their place and yields every state that a crash may leave behind.
//!
//! The rules are POSIX's, taken at their weakest:
//!
//! * bytes given to [`File::write_at`] are durable when a later [`File::sync_data`] of that file returned `Ok`, and
//!   until then any subset of their sectors may survive a crash;
//! * a file's size is durable after [`File::sync_all`] (`sync_data` covers it where it is needed to read the bytes);
//! * a name that was created, renamed or removed is durable when a later [`Disk::sync`] of its directory returned `Ok`;
//! * a sync that failed says nothing about what is on the device, and trying it again says nothing either.
//!
//! This module knows no format.

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
/// * All calls are about the directory that was opened, whatever its path leads to meanwhile.
/// * A call that a signal interrupts is made again. The log takes [`io::ErrorKind::Interrupted`] for a failure, but for
///   [`File::read_at`] and [`File::write_at`], which it repeats itself.
/// * What is no regular file is refused by [`Disk::open`], neither followed nor waited for.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// The directory's absolute path as it was when it was opened, for messages.
    fn path(&self) -> &Path;

    /// Makes a new, empty file open for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when the name is taken; whatever the system reports.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none; [`io::ErrorKind::IsADirectory`] and
    /// [`io::ErrorKind::InvalidInput`] when this is no regular file; whatever the system reports.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, atomically replacing a file that has it.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none; whatever the system reports.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of the files in this directory, in no order; subdirectories are left out.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes all names created, renamed and removed in this directory so far durable.
    ///
    /// # Errors
    /// Whatever the system reports; after an error nothing is known.
    fn sync(&self) -> io::Result<()>;

    /// The directory below this one with this name, made (and its name made durable) when it is missing.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Disk>>;

    /// The directory below this one with this name; nothing is made.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none; whatever the system reports.
    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Disk>>;

    /// Takes the exclusive lock that this name stands for. It ends with the returned value, or with the process that
    /// took it, whatever others inherited from it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when somebody holds it; whatever the system reports.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>>;

    /// Bytes that this process may still allocate on the file system.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn free_space(&self) -> io::Result<u64>;
}

/// A held lock; dropping it gives it up, in the process that took it.
pub trait Lock: fmt::Debug + Send + Sync {
    /// Gives the lock up now. Does nothing in a process that did not take it.
    ///
    /// # Errors
    /// Whatever the system reports. The lock ends with the process then, if not before.
    fn release(&mut self) -> io::Result<()>;
}

/// What [`File::allocate`] could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocated {
    /// The space is reserved: a write into it does not find the disk full.
    Reserved,
    /// The file has the size, and this file system cannot reserve the space.
    SizeOnly,
}

/// One open file: positioned reads and writes, and the durability of bytes.
pub trait File: fmt::Debug + Send + Sync + 'static {
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file or when the system gave fewer.
    ///
    /// # Errors
    /// Whatever the system reports. `EIO` is an error, never the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes up to `buf.len()` bytes at `offset` and says how many.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes written bytes, and the size needed to read them, durable (`fdatasync`).
    ///
    /// # Errors
    /// Whatever the system reports; after an error nothing is known of the bytes written before.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes bytes and all metadata durable (`fsync`).
    ///
    /// # Errors
    /// As [`File::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// The file's size in bytes.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As [`File::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file or extends it with zeros.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space for the first `len` bytes, where the file system can, and extends the file to at least that size.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when the space is not there; whatever else the system reports. That the file system
    /// cannot reserve space is no error.
    fn allocate(&self, len: u64) -> io::Result<Allocated>;

    /// The operating system's file, when there is one that can be mapped into memory.
    fn as_std(&self) -> Option<&std::fs::File>;
}

/// Makes the names in a directory durable.
///
/// # Errors
/// [`Error::Io`] that names this call.
pub fn sync_names(disk: &dyn Disk) -> crate::error::Result<()> {
    disk.sync().map_err(|e| Error::io(SYNC_NAMES, disk.path(), e))
}

/// Reads exactly `buf.len()` bytes at `offset`, going on after short and interrupted reads.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] when the file ends first; whatever the system reports.
pub fn read_exact_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let got = read_full_at(file, buf, offset)?;
    if got == buf.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Reads until `buf` is full or the file ends, going on after short and interrupted reads; says how many bytes.
///
/// # Errors
/// Whatever the system reports.
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

/// An implementation of [`File`] is wrong; what it read or wrote is not known.
fn too_much() -> io::Error {
    io::Error::other("the file says that more bytes were read or written than it was given")
}

/// Writes all of `buf` at `offset`, going on after short and interrupted writes.
///
/// # Errors
/// [`io::ErrorKind::WriteZero`] when the system takes no more; whatever it reports.
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

/// How much is read or written at a time, where there is much of it.
pub(crate) const PIECE: usize = 1 << 20;

/// Copies the first `len` bytes of one file into another, a piece at a time.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] when the first file ends before; whatever the system reports.
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
