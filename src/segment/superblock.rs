//! The superblock's file: two slots, written one after the other with a sync between.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Corruption, CorruptionReason, Error, Result};
use crate::format::superblock::{FILE_NAME, Superblock};
use crate::format::{Invalid, PAGE, VERSION};
use crate::io::{Access, Disk, File, read_full_at, write_all_at};
use crate::lsn::Lsn;
use crate::mutation::{Mutation, mutated};

/// The open superblock and its present content.
#[derive(Debug)]
pub(crate) struct SuperblockFile {
    file: Arc<dyn File>,
    path: PathBuf,
    content: Superblock,
    /// The slot to write first: never the only one that holds the content.
    stale: Slot,
    /// Both slots hold the content.
    whole: bool,
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

    const fn other(self) -> Self {
        match self {
            Slot::First => Slot::Second,
            Slot::Second => Slot::First,
        }
    }
}

/// What was found of a superblock.
#[derive(Debug)]
pub(crate) enum FoundSuperblock {
    /// No file, or one in which no slot was ever completed.
    None,
    /// It is there.
    Some(SuperblockFile),
    /// There is a file, and neither slot verifies.
    Damaged(Corruption),
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
        let mut slots = [Err(Invalid::Unwritten); 2];
        for (slot, place) in slots.iter_mut().zip([Slot::First, Slot::Second]) {
            let mut page = [0; PAGE];
            let got =
                read_full_at(&*file, &mut page, place.offset()).map_err(|e| Error::io("read", &path, e))?;
            *slot = if got == PAGE || got == 0 { Superblock::decode(&page) } else { Err(Invalid::Checksum) };
        }
        let newest = slots.iter().flatten().max_by_key(|s| s.sequence).copied();
        let [first, second] = &slots;
        let stale = if first.ok() == newest { Slot::Second } else { Slot::First };
        let whole = first == second;
        let newer = slots.iter().find_map(|s| match s {
            Err(Invalid::Version(found)) => Some(*found),
            _ => None,
        });
        match (newest, newer) {
            (_, Some(found)) => Err(Error::UnsupportedVersion { path, found, supported: VERSION }),
            (Some(content), None) => {
                Ok(FoundSuperblock::Some(SuperblockFile { file, path, content, stale, whole }))
            }
            (None, None) if slots.iter().all(|s| *s == Err(Invalid::Unwritten)) => Ok(FoundSuperblock::None),
            (None, None) => Ok(FoundSuperblock::Damaged(Corruption::new(
                path,
                0,
                Lsn::ZERO..Lsn::MAX,
                CorruptionReason::Superblock,
            ))),
        }
    }

    /// Writes the first superblock of a log. An earlier, unfinished one is written over.
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
        let mut this = SuperblockFile { file, path, content, stale: Slot::First, whole: false };
        this.write_stale(content)?;
        this.repair()?;
        this.file.sync_all().map_err(|e| Error::io("fsync", &this.path, e))?;
        if mutated(Mutation::SuperblockName) {
            return Ok(this);
        }
        disk.sync().map_err(|e| Error::io("fsync", disk.path(), e))?;
        Ok(this)
    }

    /// The content as last read or written.
    pub(crate) fn content(&self) -> &Superblock {
        &self.content
    }

    /// Changes the content, durably. After an error the old content or the new one is there.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut Superblock)) -> Result<()> {
        let mut content = self.content;
        change(&mut content);
        if content == self.content {
            return Ok(());
        }
        content.sequence = self.content.sequence.saturating_add(1);
        self.write(content)
    }

    /// Writes the content into the slot that does not hold it, if there is one.
    pub(crate) fn repair(&mut self) -> Result<()> {
        if !self.whole {
            self.write_stale(self.content)?;
            self.whole = true;
        }
        Ok(())
    }

    fn write(&mut self, content: Superblock) -> Result<()> {
        self.repair()?;
        self.whole = false;
        self.write_stale(content)?;
        self.write_stale(content)?;
        self.whole = true;
        Ok(())
    }

    /// Writes one slot; from then on the other one is stale.
    fn write_stale(&mut self, content: Superblock) -> Result<()> {
        let page = content.encode();
        let slot = if mutated(Mutation::SuperblockSlot) { self.stale.other() } else { self.stale };
        write_all_at(&*self.file, &page, slot.offset()).map_err(|e| Error::io("write", &self.path, e))?;
        if !mutated(Mutation::SuperblockSync) {
            self.file.sync_data().map_err(|e| Error::io("fdatasync", &self.path, e))?;
        }
        self.content = content;
        self.stale = self.stale.other();
        Ok(())
    }
}
