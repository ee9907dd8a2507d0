//! Prepares the next segment before its first block is due, off the commit path.
//!
//! When [`prepare`] returns, the file is complete as far as durability is concerned: space is allocated, every byte
//! was written once so that later syncs have no metadata to write, the generation page is on the device, and the
//! file's name is in the directory. Only the header page is missing. It makes the file part of the log and is written
//! with the first block.

use std::path::Path;
use std::sync::Arc;

use super::fill::fill;
use super::progress::Progress;
use super::{Segment, SpacePool};
use crate::error::{Error, LogUuid, Result, SYNC_NAMES};
use crate::format::segment::{Generation, file_name, has_room};
use crate::format::{DATA_START, PAGE};
use crate::io::{Access, Disk, File, write_all_at};
use crate::lsn::{Lsn, SegmentId};
use crate::monitor::Caller;

/// The segment to prepare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) uuid: LogUuid,
    pub(crate) id: SegmentId,
    /// The segment prepared before it.
    pub(crate) before: Option<SegmentId>,
    pub(crate) first_lsn: Lsn,
    pub(crate) capacity: u64,
    pub(crate) block_align: u32,
    pub(crate) salt: u64,
    pub(crate) mmap: bool,
    pub(crate) pool: SpacePool,
}

/// Segment numbers reserved for opens, each of which may have to rewrite a tail.
const LEFT_FOR_OPENS: u64 = 1 << 16;

/// Why a segment could not be prepared, and what was left in the directory.
#[derive(Debug)]
pub(crate) struct Unprepared {
    pub(crate) error: Error,
    /// Name and size of a file that belongs to nothing and could not be removed.
    pub(crate) left: Option<(String, u64)>,
}

/// Prepares a segment, from the file called `recycled` if one is given. The reserve is such a file too: the content
/// of its bytes is unknown as well. Leaves the device to commits as long as `progress` shows that there is time.
///
/// # Errors
/// Nothing of the new segment remains unless the error says so. The file called `recycled` may be gone.
pub(crate) fn prepare(
    disk: &Arc<dyn Disk>,
    plan: &Plan,
    recycled: Option<&str>,
    progress: &Progress,
    caller: &Caller,
) -> std::result::Result<Segment, Unprepared> {
    let name = file_name(plan.id, plan.first_lsn);
    let path = disk.path().join(&name);
    let nothing_left = |error| Unprepared { error, left: None };
    if !has_room(plan.id, plan.first_lsn.plus(plan.capacity), LEFT_FOR_OPENS) {
        let (dir, lsn, id) = (disk.path().to_owned(), plan.first_lsn, plan.id);
        return Err(nothing_left(Error::Exhausted { dir, lsn, id }));
    }
    let made = match recycled {
        Some(old) => caller.call("rename", &disk.path().join(old), || disk.rename(old, &name)).map(|()| None),
        None => caller.call("create", &path, || disk.create(&name)).map(Some),
    };
    let created = made.map_err(|error| {
        let left = recycled.map(|old| (old.to_owned(), size_of(disk, old)));
        Unprepared { error, left }
    })?;
    make_segment(disk, plan, created, progress, caller, &name).map_err(|error| {
        let removed = caller.call("remove", &path, || disk.remove(&name));
        let left = removed.is_err().then(|| (name.clone(), size_of(disk, &name)));
        Unprepared { error, left }
    })
}

/// Size of a file in bytes, if it can be determined.
pub(crate) fn size_of(disk: &Arc<dyn Disk>, name: &str) -> u64 {
    disk.open(name, Access::Read).and_then(|file| file.len()).unwrap_or(0)
}

/// Makes a segment from the file that was just created under this name or renamed to it.
fn make_segment(
    disk: &Arc<dyn Disk>,
    plan: &Plan,
    created: Option<Arc<dyn File>>,
    progress: &Progress,
    caller: &Caller,
    name: &str,
) -> Result<Segment> {
    let path = disk.path().join(name);
    let generation = Generation {
        uuid: plan.uuid,
        id: plan.id,
        salt: plan.salt,
        first_lsn: plan.first_lsn,
        capacity: plan.capacity,
        block_align: plan.block_align,
        recycled: created.is_none(),
        before: plan.before,
    };
    let file = match created {
        Some(file) => file,
        None => caller.call("open", &path, || disk.open(name, Access::ReadWrite))?,
    };
    make_ready(&*file, &path, &generation, progress, caller)?;
    caller.call(SYNC_NAMES, disk.path(), || disk.sync())?;
    let segment = Segment::new(generation, file, name.to_owned(), path, plan.mmap)?;
    Ok(Segment { pool: plan.pool, ..segment })
}

fn make_ready(
    file: &dyn File,
    path: &Path,
    generation: &Generation,
    progress: &Progress,
    caller: &Caller,
) -> Result<()> {
    let full = generation.file_len();
    let had = caller.call("stat", path, || file.len())?;
    if had > full {
        caller.call("truncate", path, || file.set_len(full))?;
    }
    caller.call("allocate", path, || file.allocate(full))?;
    // The header page of an earlier generation is overwritten in the first pass; its blocks stay, but do not verify
    // in this one.
    let from = if generation.recycled { had.clamp(DATA_START, full) } else { DATA_START };
    fill(file, path, from, generation, progress, caller, std::thread::sleep)?;
    let mut pages = generation.encode().to_vec();
    pages.resize(2 * PAGE, 0);
    caller.call("write", path, || write_all_at(file, &pages, 0))?;
    caller.call("fsync", path, || file.sync_all())
}
