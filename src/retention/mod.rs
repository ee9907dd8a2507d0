//! What is kept: the segments of the log, the superblock that says so, and the files that are used again.
//!
//! Everything here is off the commit path. One background thread, the *keeper*, makes the next segment ready, writes the
//! superblock after a rotation, and gives ended segments their footers. Releasing is done by whoever calls it.
//!
//! **Order of a release.** The superblock that names the new oldest segment is durable before any older file is touched:
//! a crash between leaves files that the next open removes, never a log whose oldest segment is missing unexplained. The
//! newest segment that has a durable block is never released: it holds where the log ends.

mod keeper;
mod table;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, LogUuid, Result};
use crate::format::superblock::Superblock;
use crate::io::Disk;
use crate::lsn::{Lsn, SegmentId};
use crate::monitor::{Caller, Monitor};
use crate::mutation::{Mutation, mutated};
use crate::options::Checked;
use crate::segment::{Segment, Summarizer, SuperblockFile, Tip, Watch};
use crate::stats::Counters;
use crate::trace::{event, span};

use keeper::Jobs;
pub(crate) use keeper::{Customer, KEEPER, random_salt};
pub(crate) use table::SegmentTable;

/// A released file that may start another life.
#[derive(Debug)]
struct Spare {
    name: String,
    watch: Watch,
}

impl Spare {
    /// Whether nobody can read the file's present life any more.
    fn unused(&self) -> bool {
        self.watch.unused()
    }
}

/// Keeps the segments of one log.
pub(crate) struct Keeper {
    disk: Arc<dyn Disk>,
    options: Checked,
    uuid: LogUuid,
    superblock: Mutex<SuperblockFile>,
    pub(crate) table: SegmentTable,
    spares: Mutex<Vec<Spare>>,
    /// How many bytes the reserve has, as far as this handle made or found it and did not use it.
    reserve: Mutex<u64>,
    /// Held by whoever releases segments, and by whoever must not see any go.
    releasing: Mutex<()>,
    jobs: Mutex<Jobs>,
    /// There is a job.
    work: Condvar,
    /// A commit waits for the segment that is being made ready, or the log is being closed.
    pub(crate) hurry: AtomicBool,
    summarizer: Option<Arc<dyn Summarizer>>,
    counters: Arc<Counters>,
    monitor: Arc<Monitor>,
    last_error: Mutex<Option<Error>>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("dir", &self.disk.path()).finish_non_exhaustive()
    }
}

/// What a keeper starts with.
pub(crate) struct KeeperParts {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Checked,
    pub(crate) superblock: SuperblockFile,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Files that are no part of the log and can be used again.
    pub(crate) spare: Vec<String>,
    /// Files that are no part of the log and are to be removed.
    pub(crate) replaced: Vec<String>,
    pub(crate) next_id: SegmentId,
    pub(crate) summarizer: Option<Arc<dyn Summarizer>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) monitor: Arc<Monitor>,
}

impl Keeper {
    pub(crate) fn new(parts: KeeperParts) -> Self {
        let mut spare = parts.spare;
        let mut surplus = spare.split_off(spare.len().min(parts.options.spare_segments));
        surplus.extend(parts.replaced);
        let spares = spare.into_iter().map(|name| Spare { name, watch: Watch::nobody() }).collect();
        Keeper {
            uuid: parts.superblock.content().uuid,
            disk: parts.disk,
            table: SegmentTable::new(parts.segments, parts.options.mmap),
            options: parts.options,
            superblock: Mutex::new(parts.superblock),
            spares: Mutex::new(spares),
            reserve: Mutex::new(0),
            releasing: Mutex::new(()),
            jobs: Mutex::new(Jobs::new(parts.next_id, surplus)),
            work: Condvar::new(),
            hurry: AtomicBool::new(false),
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
        self.superblock.lock().content().owner
    }

    /// No segment is released while this is held.
    pub(crate) fn hold_releases(&self) -> MutexGuard<'_, ()> {
        self.releasing.lock()
    }

    /// How many files wait to be used again.
    pub(crate) fn spare_files(&self) -> usize {
        self.spares.lock().len()
    }

    /// The superblock's present content.
    pub(crate) fn superblock(&self) -> Superblock {
        *self.superblock.lock().content()
    }

    /// The last failure off the commit path.
    pub(crate) fn last_error(&self) -> Option<Error> {
        self.last_error.lock().clone()
    }

    /// The first block of `segment` is durable, and `predecessor` ended where it says.
    pub(crate) fn started(&self, segment: &Arc<Segment>, predecessor: Tip) {
        event!(debug, segment = segment.id().get(), first_lsn = segment.first_lsn().get(), "segment started");
        self.table.push(Arc::clone(segment), predecessor.end);
        self.enqueue_started(segment.id(), predecessor);
    }

    /// Gives up the segments that end at or below `lsn`, oldest first. Says how many.
    pub(crate) fn release(&self, lsn: Lsn) -> Result<usize> {
        let _span = span!(DEBUG, "release", below = lsn.get());
        let released = self.release_segments(lsn);
        self.monitor.tell_returned();
        let (ids, reused) = released?;
        ids.iter().for_each(|id| self.options.observed.tell(|o| o.released(*id)));
        reused?;
        Ok(ids.len())
    }

    /// As [`Keeper::release`], nobody being told. Says which segments are released, and whether all could be done that was to
    /// be done about their files.
    fn release_segments(&self, lsn: Lsn) -> Result<(Vec<SegmentId>, Result<()>)> {
        let one_at_a_time = self.hold_releases();
        let mut superblock = self.superblock.lock();
        let Some((count, oldest)) = self.table.releasable(lsn) else { return Ok((Vec::new(), Ok(()))) };
        let late = mutated(Mutation::ReleaseOrder);
        if !late {
            superblock.update(|sb| sb.oldest = oldest)?;
        }
        let released = self.table.remove_oldest(count);
        drop(superblock);
        event!(debug, segments = count, oldest = oldest.get(), "segments released");
        self.counters.segments_released.add(count as u64);
        let ids: Vec<SegmentId> = released.iter().map(|segment| segment.id()).collect();
        let reused = released.into_iter().try_for_each(|segment| self.reuse_or_remove(segment));
        if late {
            self.superblock.lock().update(|sb| sb.oldest = oldest)?;
        }
        drop(one_at_a_time);
        Ok((ids, reused))
    }

    fn reuse_or_remove(&self, segment: Arc<Segment>) -> Result<()> {
        let mut spares = self.spares.lock();
        let spare = Spare { name: segment.name.clone(), watch: segment.watch() };
        drop(segment);
        if spares.len() < self.options.spare_segments {
            spares.push(spare);
            return Ok(());
        }
        drop(spares);
        self.remove(&spare.name, &self.monitor.release)
    }

    fn remove(&self, name: &str, caller: &Caller) -> Result<()> {
        caller.call("remove", &self.disk.path().join(name), || self.disk.remove(name))?;
        self.counters.segments_removed.add(1);
        Ok(())
    }

    /// The log is closed: everything below `durable` is on the device.
    pub(crate) fn finish(&self, durable: Lsn) -> Result<()> {
        let newest = self.table.newest().map(|s| s.id());
        let finished = self.superblock.lock().update(|sb| {
            sb.durable = sb.durable.max(durable);
            sb.newest = newest;
        });
        self.monitor.tell_returned();
        finished
    }

    /// Counts and keeps a failure. It is told ([`Keeper::tell_failure`]) when all is done that was to be done.
    fn note<T>(&self, result: &Result<T>) {
        if let Err(e) = result {
            event!(
                warn,
                error = e.to_string(),
                "work off the commit path failed, nothing acknowledged is at risk"
            );
            self.counters.background_errors.add(1);
            *self.last_error.lock() = Some(e.clone());
        }
    }

    fn tell_failure<T>(&self, result: &Result<T>) {
        if let Err(e) = result {
            self.options.observed.tell(|o| o.background_error(e));
        }
    }
}
