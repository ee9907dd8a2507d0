//! The superblock file: two slots, written one after the other with a sync in between.
//!
//! ```text
//!  second slot written ── synced ── first slot written ── synced
//!  \__ the first is good _______/ \__ the second is good ______/
//! ```
//!
//! At any time one slot is on the device and not being written. A process that was killed, or whose sync failed, may
//! leave the slot it wrote last in the page cache only. As the order is always the same, an open knows which one that
//! is and rewrites it before it touches the other.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Corruption, CorruptionReason, Error, Result};
use crate::format::segment::parse_file_name;
use crate::format::superblock::{FILE_NAME, Superblock};
use crate::format::{Invalid, PAGE, VERSION};
use crate::io::{Access, Disk, File, read_full_at, sync_names, write_all_at};
use crate::lsn::Lsn;
use crate::monitor::Caller;
use crate::mutation::or_fault;

/// The open superblock and its current content.
#[derive(Debug)]
pub(crate) struct SuperblockFile {
    file: Arc<dyn File>,
    path: PathBuf,
    content: Superblock,
    /// The slots to be written, in this order, until both hold the content and are on the device.
    pending: &'static [Slot],
    /// Notes each disk call of a change.
    pub(crate) caller: Arc<Caller>,
}

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    First,
    Second,
}

impl Slot {
    const fn offset(self) -> u64 {
        match self {
            Slot::First => 0,
            Slot::Second => PAGE as u64,
        }
    }
}

/// The result of looking for a superblock.
#[derive(Debug)]
pub(crate) enum FoundSuperblock {
    /// No file, or a file in which no slot was ever completed.
    None,
    /// The superblock.
    Some(SuperblockFile),
    /// There is a file, but neither slot verifies.
    Damaged(Corruption),
}

impl FoundSuperblock {
    /// Interprets the result for this directory. A superblock is durable before the first segment has a name. So
    /// without segments nothing was ever acknowledged and there is no log; with segments, a missing superblock is
    /// damage.
    pub(crate) fn in_directory(self, disk: &Arc<dyn Disk>) -> Result<Option<SuperblockFile>> {
        let damage = match self {
            FoundSuperblock::Some(file) => return Ok(Some(file)),
            FoundSuperblock::Damaged(c) => c,
            FoundSuperblock::None => damaged(disk.path().join(FILE_NAME)),
        };
        let names = disk.list().map_err(|e| Error::io("list", disk.path(), e))?;
        match names.iter().any(|name| parse_file_name(name).is_some()) {
            true => Err(damage.into()),
            false => Ok(None),
        }
    }
}

fn damaged(path: PathBuf) -> Corruption {
    Corruption::new(path, 0, Lsn::ZERO..Lsn::MAX, CorruptionReason::Superblock)
}

type Slots = [std::result::Result<Superblock, Invalid>; 2];

/// The content of the two slots. While the file is being written, one slot may read torn and the other is good; but a
/// slow reader may have read that one before an earlier write, or catch the next write in it. So a slot counts as bad
/// when both read the same twice: either a write between two reads of the first slot changed its sequence number, or
/// there was none. The result is never older than what any reader found before.
fn read_slots(file: &dyn File) -> std::io::Result<Slots> {
    const MOST: usize = 100;
    let mut pages = read_pages(file)?;
    for _ in 0..MOST {
        let slots = pages.each_ref().map(|page| match page.len() {
            0 => Err(Invalid::Unwritten),
            _ => page.first_chunk::<PAGE>().map_or(Err(Invalid::Checksum), Superblock::decode),
        });
        if slots.iter().all(std::result::Result::is_ok) {
            return Ok(slots);
        }
        let again = read_pages(file)?;
        if again == pages {
            return Ok(slots);
        }
        pages = again;
    }
    Err(std::io::ErrorKind::WouldBlock.into())
}

/// The bytes of the two slots, as far as they exist.
fn read_pages(file: &dyn File) -> std::io::Result<[Vec<u8>; 2]> {
    let read = |slot: Slot| {
        let mut page = vec![0; PAGE];
        let got = read_full_at(file, &mut page, slot.offset())?;
        page.truncate(got);
        Ok::<_, std::io::Error>(page)
    };
    Ok([read(Slot::First)?, read(Slot::Second)?])
}

impl SuperblockFile {
    /// Reads the superblock.
    pub(crate) fn find(disk: &Arc<dyn Disk>, access: Access) -> Result<FoundSuperblock> {
        let path = disk.path().join(FILE_NAME);
        let file = match disk.open(FILE_NAME, access) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(FoundSuperblock::None),
            Err(e) => return Err(Error::io("open", path, e)),
        };
        let slots = read_slots(&*file).map_err(|e| Error::io("read", &path, e))?;
        let newest = slots.iter().flatten().max_by_key(|s| s.sequence).copied();
        let pending = or_fault!(doubtful(&slots), SuperblockSlot => &[]);
        let newer = slots.iter().find_map(|s| match s {
            Err(Invalid::Version(found)) => Some(*found),
            _ => None,
        });
        match (newest, newer) {
            (_, Some(found)) => Err(Error::UnsupportedVersion { path, found, supported: VERSION }),
            (Some(content), None) => {
                let caller = Arc::default();
                Ok(FoundSuperblock::Some(SuperblockFile { file, path, content, pending, caller }))
            }
            (None, None) if slots.iter().all(|s| *s == Err(Invalid::Unwritten)) => Ok(FoundSuperblock::None),
            (None, None) => Ok(FoundSuperblock::Damaged(damaged(path))),
        }
    }

    /// The content of a log's superblock, for read-only use.
    pub(crate) fn read(disk: &Arc<dyn Disk>) -> Result<Superblock> {
        let found = SuperblockFile::find(disk, Access::Read)?.in_directory(disk)?;
        let none = || Error::io(crate::error::FIND_LOG, disk.path(), std::io::ErrorKind::NotFound.into());
        found.map(|file| file.content).ok_or_else(none)
    }

    /// Writes the first superblock of a log. An earlier, unfinished one is overwritten.
    pub(crate) fn create(disk: &Arc<dyn Disk>, content: Superblock) -> Result<Self> {
        let path = disk.path().join(FILE_NAME);
        let file = match disk.open(FILE_NAME, Access::ReadWrite) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                disk.create(FILE_NAME).map_err(|e| Error::io("create", &path, e))?
            }
            Err(e) => return Err(Error::io("open", path, e)),
        };
        file.set_len(2 * PAGE as u64).map_err(|e| Error::io("extend", &path, e))?;
        let mut this = SuperblockFile { file, path, content, pending: ORDER, caller: Arc::default() };
        this.settle(content)?;
        this.file.sync_all().map_err(|e| Error::io("fsync", &this.path, e))?;
        sync_names(&**disk)?;
        Ok(this)
    }

    /// The content as last read or written.
    pub(crate) fn content(&self) -> &Superblock {
        &self.content
    }

    /// Changes the content durably. After an error either the old content or the new one is there.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut Superblock)) -> Result<()> {
        let mut content = self.content;
        change(&mut content);
        if content == self.content {
            return Ok(());
        }
        content.sequence = self.content.sequence.saturating_add(1);
        self.write(content)
    }

    /// Makes sure that both slots hold the content and are on the device. Must be called before anything that depends
    /// on the content is done: until then a torn write may leave the slot with the previous content, and whatever
    /// that one names must still exist.
    pub(crate) fn repair(&mut self) -> Result<()> {
        self.settle(self.content)
    }

    fn write(&mut self, content: Superblock) -> Result<()> {
        self.settle(self.content)?;
        self.pending = ORDER;
        self.settle(content)
    }

    /// Writes the pending slots. After an error they stay pending, and the content is what one of them certainly
    /// holds.
    fn settle(&mut self, content: Superblock) -> Result<()> {
        while let [slot, rest @ ..] = self.pending {
            let (file, page) = (&*self.file, content.encode());
            self.caller.call("write", &self.path, || write_all_at(file, &page, slot.offset()))?;
            self.caller.call("fdatasync", &self.path, || file.sync_data())?;
            self.content = content;
            self.pending = rest;
        }
        Ok(())
    }
}

/// The order in which slots are written.
const ORDER: &[Slot] = &[Slot::Second, Slot::First];

/// Slots that may not be on the device as they read, in the order in which they must be rewritten.
fn doubtful(slots: &Slots) -> &'static [Slot] {
    match slots {
        // The newer one was written last, over an older one that is safe.
        [Ok(first), Ok(second)] if first.sequence > second.sequence => &[Slot::First, Slot::Second],
        [Ok(first), Ok(second)] if first.sequence < second.sequence => ORDER,
        // A slot is touched only when the other one is safe; only a crash or damage spoils it.
        [Ok(_), Err(_)] => &[Slot::Second],
        // Both hold the content; the first was written last.
        _ => &[Slot::First],
    }
}
