//! Making the next segment ready, ahead of its first block and off the commit path.
//!
//! When [`prepare`] returns, the file is complete as far as durability goes: space allocated, every byte written once so
//! that later syncs have no metadata to write, the generation page on the device, and the file's name in the directory. What
//! is missing is the header page, which makes it part of the log, and goes out with the first block.

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

/// Which segment is to be made ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) uuid: LogUuid,
    pub(crate) id: SegmentId,
    /// The segment that was made ready before it.
    pub(crate) before: Option<SegmentId>,
    pub(crate) first_lsn: Lsn,
    pub(crate) capacity: u64,
    pub(crate) block_align: u32,
    pub(crate) salt: u64,
    pub(crate) mmap: bool,
    pub(crate) pool: SpacePool,
}

/// Numbers that are left for opening the log, each time with a tail to be written again.
const LEFT_FOR_OPENS: u64 = 1 << 16;

/// Why a segment could not be made ready, and what that left in the directory.
#[derive(Debug)]
pub(crate) struct Unprepared {
    pub(crate) error: Error,
    /// A file that is part of nothing and could not be removed: its name and size.
    pub(crate) left: Option<(String, u64)>,
}

/// Makes a segment ready, out of the file called `recycled` if one is given. The reserve is such a file too: of its bytes
/// nothing is known either. Leaves the device to those who commit, as far as `progress` says that there is time.
///
/// # Errors
/// Nothing of the new segment is left then, unless it is said so. The file called `recycled` may be gone.
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

/// How many bytes a file has, as far as it can be asked.
pub(crate) fn size_of(disk: &Arc<dyn Disk>, name: &str) -> u64 {
    disk.open(name, Access::Read).and_then(|file| file.len()).unwrap_or(0)
}

/// Makes a segment of the file that was just created under this name, or has got it.
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
    // The header page of an earlier generation goes with the first pass; its blocks stay and do not verify in this one.
    let from = if generation.recycled { had.clamp(DATA_START, full) } else { DATA_START };
    fill(file, path, from, generation, progress, caller, std::thread::sleep)?;
    let mut pages = generation.encode().to_vec();
    pages.resize(2 * PAGE, 0);
    caller.call("write", path, || write_all_at(file, &pages, 0))?;
    caller.call("fsync", path, || file.sync_all())
}
