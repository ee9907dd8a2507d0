//! The reserve: space for operations that free space on a full disk.
//!
//! A file beside the segments that does nothing but occupy space. On a full disk an open writes an unproven tail into
//! it, and records that free space go into a segment made from it.
//!
//! ```text
//!              full disk: a tail must be rewritten, or space must be freed
//!   reserve ------------------------------------------------------------------> segment, or copy of a tail
//!      ^                                                                            |
//!      +------------------- made again, before the next ordinary segment -----------+
//! ```
//!
//! The rest of its space becomes a smaller reserve. It must be complete again before ordinary segments get any space.
//!
//! A crash may lose the file's name or bring it back: the next open makes the file or finds it.

use std::sync::Arc;

use crate::error::{Result, SYNC_NAMES};
use crate::format::{DATA_START, PAGE};
use crate::io::{Access, Allocated, Disk, File, PIECE, write_all_at};
use crate::monitor::Caller;
use crate::size::at_most;

/// The space that a segment is made from, or that a batch may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpacePool {
    /// What all writes use.
    Ordinary,
    /// Also the reserve; only for operations that free space.
    Reserve,
}

impl SpacePool {
    /// Whether a user of this pool may write to a segment made from `other`.
    pub(crate) fn may_use(self, other: SpacePool) -> bool {
        self == SpacePool::Reserve || other == SpacePool::Ordinary
    }
}

/// The reserve's file name.
pub(crate) const RESERVE_FILE: &str = "reserve";

/// Minimum useful size: the pages of a segment, and a block.
const LEAST: u64 = DATA_START + PAGE as u64;

/// Makes sure that the reserve exists, with this many bytes of space if available, otherwise fewer; returns the
/// number.
pub(crate) fn make_reserve(disk: &Arc<dyn Disk>, bytes: u64, caller: &Caller) -> Result<u64> {
    let path = disk.path().join(RESERVE_FILE);
    let file = match caller.call("open", &path, || disk.open(RESERVE_FILE, Access::ReadWrite)) {
        Err(e) if e.io_kind() == Some(std::io::ErrorKind::NotFound) => {
            caller.call("create", &path, || disk.create(RESERVE_FILE))?
        }
        opened => opened?,
    };
    if caller.call("stat", &path, || file.len())? == bytes {
        return Ok(bytes);
    }
    let mut want = bytes;
    while let Err(e) = caller.call("allocate", &path, || hold(&*file, want)) {
        if !e.is_full() || want / 2 < LEAST {
            // The reserve would be useless. A failure to remove it adds nothing to the reason.
            drop(caller.call("remove", &path, || disk.remove(RESERVE_FILE)));
            return Err(e);
        }
        want /= 2;
    }
    caller.call("fsync", &path, || file.sync_all())?;
    caller.call(SYNC_NAMES, disk.path(), || disk.sync())?;
    Ok(want)
}

/// Gives a file this size and allocates the space, in whichever way the file system supports.
fn hold(file: &dyn File, bytes: u64) -> std::io::Result<()> {
    file.set_len(bytes)?;
    if file.allocate(bytes)? == Allocated::Reserved {
        return Ok(());
    }
    let zeros = vec![0; at_most(PIECE, bytes)];
    let mut at = 0;
    while at < bytes {
        let (piece, _) = zeros.split_at(at_most(zeros.len(), bytes - at));
        write_all_at(file, piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}
