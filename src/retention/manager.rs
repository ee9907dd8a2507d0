//! The segment manager: decides what is kept and what is released.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, LogUuid, Result};
use crate::format::superblock::Superblock;
use crate::io::Disk;
use crate::io::mapping::Watch;
use crate::lsn::{Lsn, SegmentId};
use crate::monitor::{Caller, Monitor};
use crate::mutation::or_fault;
use crate::options::Checked;
use crate::segment::{Progress, Segment, Summarizer, SuperblockFile, size_of};
use crate::stats::Counters;
use crate::trace::{event, span};

use super::files::{Ready, Spare, Surplus};
use super::jobs::Jobs;
use super::table::SegmentTable;

/// Bytes of the files beside the segments of the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BesideSegments {
    /// Released files, the prepared segment, and files to be removed.
    pub(crate) spare: u64,
    pub(crate) reserve: u64,
}

/// Manages the segments of one log.
pub(crate) struct SegmentManager {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: Checked,
    pub(super) uuid: LogUuid,
    pub(super) owner: Option<u64>,
    pub(super) superblock: Mutex<SuperblockFile>,
    pub(crate) table: SegmentTable,
    pub(super) spares: Mutex<Vec<Spare>>,
    pub(super) surplus: Mutex<Vec<Surplus>>,
    pub(super) ready: Mutex<Ready>,
    /// Bytes in the reserve, as far as this handle made or found it and has not used it.
    pub(super) reserve: AtomicU64,
    /// Held during a release, and to prevent one.
    pub(super) releasing: Mutex<()>,
    pub(super) jobs: Mutex<Jobs>,
    /// Signalled when there is a job.
    pub(super) work: Condvar,
    pub(super) progress: Arc<Progress>,
    pub(super) summarizer: Option<Arc<dyn Summarizer>>,
    pub(super) counters: Arc<Counters>,
    pub(super) monitor: Arc<Monitor>,
    pub(super) last_error: Mutex<Option<Error>>,
}

impl std::fmt::Debug for SegmentManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentManager").field("dir", &self.disk.path()).finish_non_exhaustive()
    }
}

/// The starting state of a segment manager.
pub(crate) struct SegmentManagerParts {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Checked,
    pub(crate) superblock: SuperblockFile,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Files that do not belong to the log and can be reused.
    pub(crate) spare: Vec<String>,
    /// Files that do not belong to the log and should be removed.
    pub(crate) replaced: Vec<String>,
    /// The newest segment of the log.
    pub(crate) newest: Option<SegmentId>,
    pub(crate) next_id: SegmentId,
    pub(crate) progress: Arc<Progress>,
    pub(crate) summarizer: Option<Arc<dyn Summarizer>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) monitor: Arc<Monitor>,
}

impl SegmentManager {
    pub(crate) fn new(parts: SegmentManagerParts) -> Self {
        let mut spare = parts.spare;
        let mut surplus = spare.split_off(spare.len().min(parts.options.spare_segments));
        surplus.extend(parts.replaced);
        let size = |name: &str| size_of(&parts.disk, name);
        let spares = spare
            .into_iter()
            .map(|name| Spare { bytes: size(&name), name, watch: Watch::nobody() })
            .collect();
        let surplus: Vec<_> = surplus.into_iter().map(|name| Surplus { bytes: size(&name), name }).collect();
        let jobs = Jobs::new(parts.next_id, !surplus.is_empty());
        SegmentManager {
            uuid: parts.superblock.content().uuid,
            owner: parts.superblock.content().owner,
            disk: parts.disk,
            table: SegmentTable::new(parts.segments, parts.options.mmap),
            options: parts.options,
            superblock: Mutex::new(parts.superblock),
            spares: Mutex::new(spares),
            surplus: Mutex::new(surplus),
            ready: Mutex::new(Ready { last: parts.newest, named: Vec::new(), unnamed: None }),
            reserve: AtomicU64::new(0),
            releasing: Mutex::new(()),
            jobs: Mutex::new(jobs),
            work: Condvar::new(),
            progress: parts.progress,
            summarizer: parts.summarizer,
            counters: parts.counters,
            monitor: parts.monitor,
            last_error: Mutex::new(None),
        }
    }

    pub(crate) fn uuid(&self) -> LogUuid {
        self.uuid
    }

    pub(crate) fn owner(&self) -> Option<u64> {
        self.owner
    }

    /// No segment is released while this is held.
    pub(crate) fn hold_releases(&self) -> MutexGuard<'_, ()> {
        self.releasing.lock()
    }

    /// Number of files waiting for reuse.
    pub(crate) fn spare_files(&self) -> usize {
        self.spares.lock().len()
    }

    /// First addresses of the segments that have no durable block yet, ascending.
    pub(crate) fn segments_to_come(&self) -> Vec<Lsn> {
        self.ready.lock().named.iter().map(|segment| segment.first_lsn()).collect()
    }

    /// Sizes of the files beside the segments of the log.
    pub(crate) fn beside_segments(&self) -> BesideSegments {
        let spares: u64 = self.spares.lock().iter().map(|spare| spare.bytes).sum();
        let surplus: u64 = self.surplus.lock().iter().map(|surplus| surplus.bytes).sum();
        let ready: u64 = self.ready.lock().files().map(|segment| segment.file_bytes()).sum();
        BesideSegments { spare: spares + surplus + ready, reserve: self.reserve.load(Ordering::Relaxed) }
    }

    /// The superblock's present content.
    pub(crate) fn superblock(&self) -> Superblock {
        *self.superblock.lock().content()
    }

    /// The last failure off the commit path.
    pub(crate) fn last_error(&self) -> Option<Error> {
        self.last_error.lock().clone()
    }

    /// Releases the segments that end at or below `lsn`, oldest first. Returns their number.
    pub(crate) fn release(&self, lsn: Lsn) -> Result<usize> {
        let _span = span!(DEBUG, "release", below = lsn.get());
        let released = self.release_segments(lsn);
        self.monitor.tell_returned();
        let (ids, reused) = released?;
        ids.iter().for_each(|id| self.options.observed.tell(|o| o.released(*id)));
        reused?;
        Ok(ids.len())
    }

    /// Like [`SegmentManager::release`], without reporting. Returns the released segments, and whether everything
    /// that had to be done to their files succeeded.
    fn release_segments(&self, lsn: Lsn) -> Result<(Vec<SegmentId>, Result<()>)> {
        let one_at_a_time = self.hold_releases();
        let mut superblock = self.superblock.lock();
        let Some((count, oldest)) = self.table.releasable(lsn) else { return Ok((Vec::new(), Ok(()))) };
        let newest = self.table.newest_with_a_block().map(|(id, _)| id);
        let name_what_is_kept = |sb: &mut Superblock| {
            sb.oldest = oldest;
            // What stays may be the only evidence that there was a log.
            sb.newest = sb.newest.max(newest);
        };
        or_fault!(superblock.update(name_what_is_kept)?, ReleaseOrder => ());
        let released = self.table.remove_oldest(count);
        drop(superblock);
        event!(debug, segments = count, oldest = oldest.get(), "segments released");
        self.counters.segments_released.add(count as u64);
        let ids: Vec<SegmentId> = released.iter().map(|segment| segment.id()).collect();
        // All of them, even if one fails: none is in the table any more.
        released.into_iter().for_each(|segment| self.reuse_or_discard(&segment));
        let removed = self.remove_surplus(&self.monitor.release);
        or_fault!(ReleaseOrder => self.superblock.lock().update(name_what_is_kept)?);
        drop(one_at_a_time);
        Ok((ids, removed))
    }

    fn reuse_or_discard(&self, segment: &Segment) {
        let (name, bytes) = (segment.name.clone(), segment.file_bytes());
        let mut spares = self.spares.lock();
        if spares.len() < self.options.spare_segments {
            spares.push(Spare { name, bytes, watch: segment.watch() });
            return;
        }
        drop(spares);
        self.surplus.lock().push(Surplus { name, bytes });
    }

    /// Removes the files that should be removed. What fails is retried when a segment is prepared or released.
    pub(super) fn remove_surplus(&self, caller: &Caller) -> Result<()> {
        let (mut left, mut result) = (Vec::new(), Ok(()));
        // Taken out one by one: the lock is not held during a disk call.
        while let Some(file) = { self.surplus.lock().pop() } {
            let path = self.disk.path().join(&file.name);
            match caller.call("remove", &path, || self.disk.remove(&file.name)) {
                Ok(()) => self.counters.segments_removed.add(1),
                // It is already gone.
                Err(e) if e.io_kind() == Some(std::io::ErrorKind::NotFound) => {}
                Err(e) => {
                    left.push(file);
                    result = result.and(Err(e));
                }
            }
        }
        self.surplus.lock().extend(left);
        result
    }

    /// Called after the log was closed and everything submitted is on the device.
    pub(crate) fn finish(&self) -> Result<()> {
        let durable = self.progress.durable();
        let newest = self.table.newest_with_a_block().map(|(id, _)| id);
        let finished = self.superblock.lock().update(|sb| {
            sb.durable = sb.durable.max(durable);
            sb.newest = sb.newest.max(newest);
            // The prepared segment will not be used any more.
            sb.ready = None;
        });
        self.monitor.tell_returned();
        finished
    }

    /// Counts and keeps a failure. It is reported ([`SegmentManager::tell_failure`]) after all the work is done.
    pub(super) fn note<T>(&self, result: &Result<T>) {
        if let Err(e) = result {
            event!(
                warn,
                error = e.to_string(),
                "work off the commit path failed; nothing acknowledged is at risk"
            );
            self.counters.background_errors.add(1);
            *self.last_error.lock() = Some(e.clone());
        }
    }

    pub(super) fn tell_failure<T>(&self, result: &Result<T>) {
        if let Err(e) = result {
            self.options.observed.tell(|o| o.background_error(e));
        }
    }
}
