//! The files of a raft-engine log, read through raft-engine's own file system trait and never changed.
//!
//! raft-engine writes when it opens: it truncates what it considers a torn tail, deletes files kept for reuse, and
//! creates the first file of a queue that has none. Here a truncation only moves the end up to which a file is read,
//! and is noted; writes are discarded; a created file is empty and virtual; deleting and renaming are refused, which
//! raft-engine tolerates during an open. One operation bypasses this trait: the file LOCK, which raft-engine creates
//! if it is missing, and locks.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};

/// What an open by the program that owns the log would have truncated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) file: PathBuf,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Whether it is unwritten space, which a killed program leaves after the last record.
    pub(crate) blank: bool,
}

/// A directory whose files do not change.
#[derive(Default)]
pub(crate) struct ReadOnlyFiles {
    cuts: Arc<Mutex<Vec<Cut>>>,
}

impl ReadOnlyFiles {
    /// The truncations so far. Grows while the log is opened.
    pub(crate) fn cuts(&self) -> Arc<Mutex<Vec<Cut>>> {
        Arc::clone(&self.cuts)
    }
}

/// One file, up to where it was truncated.
pub(crate) struct ReadOnlyFile {
    path: PathBuf,
    /// `None` for a virtual file.
    file: Option<File>,
    end: Mutex<u64>,
    cuts: Arc<Mutex<Vec<Cut>>>,
}

impl ReadOnlyFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let Some(file) = &self.file else { return Ok(0) };
        let left = usize::try_from(self.end.lock().saturating_sub(at)).unwrap_or(usize::MAX);
        let most = left.min(buf.len());
        match buf.get_mut(..most) {
            Some(room) => file.read_at(room, at),
            None => Ok(0),
        }
    }

    fn is_blank(&self, from: u64, to: u64) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        let mut chunk = vec![0; 1 << 16];
        let mut at = from;
        while at < to {
            let read = file.read_at(&mut chunk, at)?;
            if read == 0 {
                break;
            }
            if chunk.iter().take(read).any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += read as u64;
        }
        Ok(true)
    }
}

impl Handle for ReadOnlyFile {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        let mut end = self.end.lock();
        let offset = offset as u64;
        if offset < *end {
            let blank = self.is_blank(offset, *end)?;
            self.cuts.lock().push(Cut { file: self.path.clone(), offset, bytes: *end - offset, blank });
            *end = offset;
        }
        Ok(())
    }

    fn file_size(&self) -> io::Result<usize> {
        usize::try_from(*self.end.lock()).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a file from a given position.
pub(crate) struct ReadOnlyReader {
    file: Arc<ReadOnlyFile>,
    at: u64,
}

impl Read for ReadOnlyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for ReadOnlyReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let end = *self.file.end.lock();
        self.at = place(to, self.at, end)?;
        Ok(self.at)
    }
}

/// Discards writes.
#[derive(Default)]
pub(crate) struct Nowhere {
    at: u64,
}

impl Write for Nowhere {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.at += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Nowhere {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = place(to, self.at, self.at)?;
        Ok(self.at)
    }
}

impl WriteExt for Nowhere {
    fn truncate(&mut self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&mut self, _: usize, _: usize) -> io::Result<()> {
        Ok(())
    }
}

fn place(to: SeekFrom, at: u64, end: u64) -> io::Result<u64> {
    let place = match to {
        SeekFrom::Start(place) => Some(place),
        SeekFrom::Current(by) => at.checked_add_signed(by),
        SeekFrom::End(by) => end.checked_add_signed(by),
    };
    place.ok_or_else(|| ErrorKind::InvalidInput.into())
}

impl FileSystem for ReadOnlyFiles {
    type Handle = ReadOnlyFile;
    type Reader = ReadOnlyReader;
    type Writer = Nowhere;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<ReadOnlyFile> {
        let path = path.as_ref().to_owned();
        Ok(ReadOnlyFile { path, file: None, end: Mutex::new(0), cuts: self.cuts() })
    }

    fn open<P: AsRef<Path>>(&self, path: P, _: Permission) -> io::Result<ReadOnlyFile> {
        let path = path.as_ref().to_owned();
        let file = File::open(&path)?;
        let end = Mutex::new(file.metadata()?.len());
        Ok(ReadOnlyFile { path, file: Some(file), end, cuts: self.cuts() })
    }

    fn delete<P: AsRef<Path>>(&self, _: P) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename<P: AsRef<Path>>(&self, _: P, _: P) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn new_reader(&self, file: Arc<ReadOnlyFile>) -> io::Result<ReadOnlyReader> {
        Ok(ReadOnlyReader { file, at: 0 })
    }

    fn new_writer(&self, _: Arc<ReadOnlyFile>) -> io::Result<Nowhere> {
        Ok(Nowhere::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_moves_the_end_and_leaves_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.raftlog");
        std::fs::write(&path, b"record, torn").unwrap();
        let files = ReadOnlyFiles::default();
        let file = Arc::new(files.open(&path, Permission::ReadWrite).unwrap());
        file.truncate(20).unwrap();
        file.truncate(6).unwrap();
        assert_eq!(file.file_size().unwrap(), 6);
        let mut read = String::new();
        files.new_reader(Arc::clone(&file)).unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "record");
        files.new_writer(file).unwrap().write_all(b"RECORD").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"record, torn");
        let cut = Cut { file: path, offset: 6, bytes: 6, blank: false };
        assert_eq!(*files.cuts().lock(), [cut]);
    }

    #[test]
    fn zeros_are_blank_wherever_they_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.raftlog");
        let mut bytes = vec![0; 200_000];
        bytes[0] = 1;
        std::fs::write(&path, &bytes).unwrap();
        let file = ReadOnlyFiles::default().open(&path, Permission::ReadOnly).unwrap();
        assert!(file.is_blank(1, 200_000).unwrap());
        bytes[199_999] = 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(!file.is_blank(1, 200_000).unwrap());
    }

    #[test]
    fn what_is_created_is_only_imagined() {
        let dir = tempfile::tempdir().unwrap();
        let files = ReadOnlyFiles::default();
        let file = files.create(dir.path().join("1.rewrite")).unwrap();
        assert_eq!(file.file_size().unwrap(), 0);
        files.delete(dir.path()).unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
