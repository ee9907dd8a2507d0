//! A disk that suppresses one kind of sync, as if the program had forgotten it: the negative control of every test
//! that crashes a simulated disk.
//!
//! Which sync is meant is determined from outside: by the file's name, by what was done to the file before, and by
//! the names that have changed since the directory was last synced. Everything else is passed on.
//!
//! In a test that makes its disk with [`disk`], the environment variable `SEAWALL_MUTATION` chooses what is
//! suppressed; `cargo run --example mutations` sets it to each value in turn.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use seawall::format::superblock;
use seawall::io::sim::SimDisk;
use seawall::io::{Access, Allocated, Disk, File, Lock};

/// What is suppressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// `fdatasync` of a segment to which a block was written.
    BlockSync,
    /// `fsync` of a new segment.
    SegmentSync,
    /// The directory's sync after a segment got its name.
    SegmentName,
    /// `fdatasync` of the superblock.
    SuperblockSync,
    /// The directory's sync after the superblock was made.
    SuperblockName,
    /// `fsync` of a segment whose footer's body was written and whose footer's head was not.
    FooterBody,
    /// The directory's sync at open, before anything is changed there.
    OpenNames,
    /// `fsync` of the copy of an unproven tail.
    RewriteSync,
    /// The same `fsync` is made, but only when the copy has its name.
    RewriteOrder,
    /// The directory's sync after the copy got its name.
    RewriteName,
    /// `fsync` of a snapshot.
    SnapshotSync,
    /// The directory's sync after a snapshot got its name.
    SnapshotName,
    /// No sync, but an error: a read that fails says that the file ends there.
    ReadError,
}

use Forgotten as F;

impl Forgotten {
    pub const ALL: [F; 13] = [
        F::BlockSync,
        F::SegmentSync,
        F::SegmentName,
        F::SuperblockSync,
        F::SuperblockName,
        F::FooterBody,
        F::OpenNames,
        F::RewriteSync,
        F::RewriteOrder,
        F::RewriteName,
        F::SnapshotSync,
        F::SnapshotName,
        F::ReadError,
    ];
}

/// This disk, behind a forgetful one if `SEAWALL_MUTATION` names something to suppress.
pub fn disk(disk: &SimDisk) -> Arc<dyn Disk> {
    let chosen = std::env::var("SEAWALL_MUTATION").ok();
    let forgets =
        chosen.and_then(|name| F::ALL.into_iter().find(|forgotten| format!("{forgotten:?}") == name));
    match forgets {
        Some(forgets) => ForgetfulDisk::on(Arc::new(disk.clone()), forgets),
        None => Arc::new(disk.clone()),
    }
}

/// A directory on a disk that suppresses something.
#[derive(Debug)]
pub struct ForgetfulDisk {
    disk: Arc<dyn Disk>,
    forgets: Forgotten,
    directory: Arc<Mutex<Directory>>,
}

/// What has happened in a directory since it was last synced.
#[derive(Debug, Default)]
struct Directory {
    changes: Vec<Change>,
    /// Files whose sync is postponed until then.
    put_off: Vec<Arc<dyn File>>,
}

/// A change of names.
#[derive(Debug)]
enum Change {
    Made { name: String },
    Renamed { from: String, to: String },
    Removed,
}

impl ForgetfulDisk {
    pub fn on(disk: Arc<dyn Disk>, forgets: Forgotten) -> Arc<dyn Disk> {
        Arc::new(ForgetfulDisk { disk, forgets, directory: Arc::default() })
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap()
    }

    fn file(&self, name: &str, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(ForgetfulFile {
            file,
            name: name.to_owned(),
            forgets: self.forgets,
            directory: Arc::clone(&self.directory),
            last: Mutex::new(Last::Nothing),
        })
    }
}

fn is_segment(name: &str) -> bool {
    name.ends_with(".seg")
}

/// The copy of an unproven tail, until it is complete.
fn is_copy(name: &str) -> bool {
    name.ends_with(".seg.tmp")
}

/// Which of the above syncs a directory sync is, after these name changes.
fn which(changes: &[Change]) -> Option<Forgotten> {
    if changes.is_empty() {
        return Some(F::OpenNames);
    }
    changes.iter().find_map(|change| match change {
        Change::Made { name } if name == superblock::FILE_NAME => Some(F::SuperblockName),
        Change::Made { name } if is_segment(name) => Some(F::SegmentName),
        Change::Renamed { from, .. } if is_copy(from) => Some(F::RewriteName),
        Change::Renamed { to, .. } if is_segment(to) => Some(F::SegmentName),
        Change::Renamed { to, .. } if to.ends_with(".snap") => Some(F::SnapshotName),
        Change::Made { .. } | Change::Renamed { .. } | Change::Removed => None,
    })
}

impl Disk for ForgetfulDisk {
    fn path(&self) -> &Path {
        self.disk.path()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = self.disk.create(name)?;
        self.directory().changes.push(Change::Made { name: name.to_owned() });
        Ok(self.file(name, file))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        Ok(self.file(name, self.disk.open(name, access)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)?;
        self.directory().changes.push(Change::Renamed { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)?;
        self.directory().changes.push(Change::Removed);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn sync(&self) -> io::Result<()> {
        let Directory { changes, put_off } = std::mem::take(&mut *self.directory());
        if which(&changes) != Some(self.forgets) {
            self.disk.sync()?;
        }
        put_off.iter().try_for_each(|file| file.sync_all())
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        Ok(ForgetfulDisk::on(self.disk.subdir(name)?, self.forgets))
    }

    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        Ok(ForgetfulDisk::on(self.disk.open_dir(name)?, self.forgets))
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(name)
    }

    fn free_space(&self) -> io::Result<u64> {
        self.disk.free_space()
    }
}

/// A file on a disk that suppresses something.
#[derive(Debug)]
struct ForgetfulFile {
    file: Arc<dyn File>,
    name: String,
    forgets: Forgotten,
    directory: Arc<Mutex<Directory>>,
    last: Mutex<Last>,
}

/// The last operation on a file through one handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Nothing,
    WroteBlock,
    WroteFirstPage,
    WroteElse,
    Cut,
}

impl Last {
    fn wrote(bytes: &[u8], offset: u64) -> Last {
        match bytes.get(4..6) {
            _ if offset == 0 => Last::WroteFirstPage,
            // A block's magic number; docs/FORMAT.md.
            Some(b"SB") => Last::WroteBlock,
            _ => Last::WroteElse,
        }
    }
}

impl ForgetfulFile {
    fn set_last(&self, last: Last) {
        *self.last.lock().unwrap() = last;
    }

    fn last(&self) -> Last {
        *self.last.lock().unwrap()
    }
}

impl File for ForgetfulFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.file.read_at(buf, offset) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted && self.forgets == F::ReadError => Ok(0),
            done => done,
        }
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.set_last(Last::wrote(buf, offset));
        self.file.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let which = match self.last() {
            _ if self.name == superblock::FILE_NAME => Some(F::SuperblockSync),
            Last::WroteBlock if is_segment(&self.name) => Some(F::BlockSync),
            _ => None,
        };
        if which == Some(self.forgets) { Ok(()) } else { self.file.sync_data() }
    }

    fn sync_all(&self) -> io::Result<()> {
        let which = match self.last() {
            Last::WroteFirstPage if is_segment(&self.name) => Some(F::SegmentSync),
            // A footer's body is the last thing written to a segment, which is then truncated after it.
            Last::Cut if is_segment(&self.name) => Some(F::FooterBody),
            _ if is_copy(&self.name) && self.forgets == F::RewriteOrder => {
                self.directory.lock().unwrap().put_off.push(Arc::clone(&self.file));
                Some(F::RewriteOrder)
            }
            _ if is_copy(&self.name) => Some(F::RewriteSync),
            _ if self.name.ends_with(".snap.tmp") => Some(F::SnapshotSync),
            _ => None,
        };
        if which == Some(self.forgets) { Ok(()) } else { self.file.sync_all() }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.set_last(Last::Cut);
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<Allocated> {
        self.file.allocate(len)
    }

    fn as_std(&self) -> Option<&std::fs::File> {
        self.file.as_std()
    }
}
