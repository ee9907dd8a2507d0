//! Ownership: which files in the directory are the log's own.
//!
//! Only a file with a name that the log uses and with content of the log is ever reused or removed. All other files
//! are foreign, whatever their names: they are left alone, and `verify` lists them.
//!
//! After a crash, a file that was being prepared reads as zeros or as pages of an earlier generation, both of which
//! are the log's own. A file whose first sector the device filled with something else cannot be told from a foreign
//! one, so it is left alone too.

use std::sync::Arc;

use crate::error::{Error, LogUuid, Result};
use crate::format::segment::{Generation, looks_like_a_segment, parse_file_name};
use crate::format::superblock::FILE_NAME;
use crate::format::{PAGE, TEMPORARY, UNDO};
use crate::io::{Access, Disk, File, read_full_at};
use crate::segment::RESERVE_FILE;

/// The name of the log's lock file.
pub(crate) const LOCK: &str = "lock";

/// Whether an interrupted open, or an interrupted undo of a repair, leaves files with this name.
pub(crate) fn is_temporary(name: &str) -> bool {
    let of_segment = |name: &str| parse_file_name(name).is_some();
    match name.strip_suffix(TEMPORARY) {
        Some(name) => match name.strip_suffix(UNDO) {
            Some(name) => of_segment(name) || name == FILE_NAME,
            None => of_segment(name),
        },
        None => false,
    }
}

/// Whether the log uses such names. Foreign files may have segment names too: see [`First::is_ours`].
pub(crate) fn is_given(name: &str) -> bool {
    [LOCK, FILE_NAME, RESERVE_FILE].contains(&name) || parse_file_name(name).is_some() || is_temporary(name)
}

/// The first two pages of a segment file.
pub(super) struct First {
    pub(super) generation: [u8; PAGE],
    pub(super) header: [u8; PAGE],
}

impl First {
    pub(super) fn read(file: &dyn File) -> std::io::Result<Self> {
        let mut first = First { generation: [0; PAGE], header: [0; PAGE] };
        read_full_at(file, &mut first.generation, 0)?;
        read_full_at(file, &mut first.header, PAGE as u64)?;
        Ok(first)
    }

    /// Whether a file that begins like this is one of a log's segments, or was about to become one.
    pub(super) fn is_ours(&self) -> bool {
        looks_like_a_segment(&self.generation, &self.header)
    }
}

/// Whether a file with the name of a segment that is no longer kept may be reused or removed. `uuid` is the log's.
pub(super) fn is_junk(disk: &Arc<dyn Disk>, name: &str, uuid: LogUuid) -> bool {
    let first = disk.open(name, Access::Read).and_then(|file| First::read(&*file));
    first.is_ok_and(|first| match Generation::decode(&first.generation) {
        Ok(generation) => generation.uuid == uuid,
        Err(_) => first.is_ours(),
    })
}

/// Whether a file with a segment name is foreign.
pub(crate) fn is_foreign(disk: &Arc<dyn Disk>, name: &str) -> bool {
    let first = disk.open(name, Access::Read).and_then(|file| First::read(&*file));
    parse_file_name(name).is_some() && !first.is_ok_and(|first| first.is_ours())
}

/// Refuses a directory in which something unusable has the reserve's name.
pub(super) fn check_reserve(disk: &Arc<dyn Disk>) -> Result<()> {
    match disk.open(RESERVE_FILE, Access::Read) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("open", disk.path().join(RESERVE_FILE), e))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_are_those_that_the_log_makes() {
        let segment = crate::format::segment::file_name(crate::SegmentId::new(7), crate::Lsn::new(4096));
        for ours in [".tmp", ".undo.tmp"].map(|end| format!("{segment}{end}")) {
            assert!(is_temporary(&ours), "{ours}");
        }
        assert!(is_temporary("superblock.undo.tmp"));
        for foreign in ["notes.tmp", ".tmp", "superblock.tmp", "x.undo.tmp", &segment, "lock.undo.tmp"] {
            assert!(!is_temporary(foreign), "{foreign}");
        }
    }
}
