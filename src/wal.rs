//! The log: opening, appending, reading, releasing, closing.

mod opening;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::commit::{Batch, Placement, SubmitOptions, Ticket};
use crate::error::{Error, LogUuid, Result};
use crate::health::Health;
use crate::io::Disk;
use crate::io::Opener;
use crate::log::Log;
use crate::lsn::{Lsn, SegmentId};
use crate::reader::{Follow, Iter, Reader};
use crate::report::Recovery;
use crate::retention::Hold;
use crate::segment::{Record, Segment, SegmentReader, Summary};
use crate::stats::Stats;

pub(crate) use opening::take_lock;

/// A write-ahead log, open for writing. Clones are handles on the same log; dropping the last one closes it.
///
/// See the crate's documentation for what is guaranteed.
///
/// # Processes
///
/// A handle belongs to the process that opened the log. In a child made by `fork`, every call that can fail returns
/// [`Error::OtherProcess`]. Calls that cannot fail answer as an empty log would, ending at what was durable at the
/// time of the fork. Dropping a handle does nothing. A program that daemonizes must open the log afterwards. A child
/// made by a raw `clone` system call that shares its parent's memory is not detected.
#[derive(Clone)]
pub struct Wal {
    log: Arc<Log>,
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("dir", &self.log.disk.path()).finish_non_exhaustive()
    }
}

/// A segment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its number.
    pub id: SegmentId,
    /// The address of its first byte.
    pub first_lsn: Lsn,
    /// The address after its last durable block.
    pub end_lsn: Lsn,
    /// Whether it is complete: nothing is appended to it any more.
    pub sealed: bool,
    /// The size of its file in bytes.
    pub file_bytes: u64,
    /// Bytes of the footer within the file: the index that speeds up opening.
    pub footer_bytes: u64,
}

impl Wal {
    /// An empty batch for this log. Payloads pushed to it pass through the log's codec, if it has one.
    #[must_use]
    pub fn batch(&self) -> Batch {
        self.log.pipeline.batch()
    }

    /// Appends one record; it is durable when this returns.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`]; [`Error::Poisoned`] when this or an earlier write failed; [`Error::Closed`];
    /// [`Error::Io`] when the next segment cannot be made: then nothing was written and the call may be retried.
    pub fn append(&self, payload: impl AsRef<[u8]>) -> Result<Lsn> {
        let mut batch = self.batch();
        batch.push(payload);
        self.commit(&batch)
    }

    /// Appends the records of a batch; all are durable when this returns. Returns the address of the first one.
    ///
    /// # Errors
    /// As [`Wal::append`]; [`Error::BatchTooLarge`]; [`Error::CodecMismatch`] when the log has a codec and the batch was not
    /// made by [`Wal::batch`].
    pub fn commit(&self, batch: impl AsRef<Batch>) -> Result<Lsn> {
        self.log.pipeline.commit(batch.as_ref())
    }

    /// Appends the records of a batch. When this returns they are ordered and readable; they are durable when the
    /// ticket says so. Waits while too much is staged
    /// ([`Options::max_staged_bytes`](crate::Options::max_staged_bytes)).
    ///
    /// # Errors
    /// As [`Wal::commit`].
    pub fn submit(&self, batch: impl AsRef<Batch>) -> Result<Ticket> {
        self.log.pipeline.submit(batch.as_ref(), SubmitOptions::new())
    }

    /// Like [`Wal::submit`], for operations that free space: on a full disk the batch may use the reserve, a file
    /// that the log keeps for this. If it is used for anything else, the reserve will be missing when it is needed;
    /// it is made again as soon as there is space.
    ///
    /// # Errors
    /// As [`Wal::commit`].
    pub fn submit_from_reserve(&self, batch: impl AsRef<Batch>) -> Result<Ticket> {
        self.log.pipeline.submit(batch.as_ref(), SubmitOptions::new().from_reserve(true))
    }

    /// Like [`Wal::submit`], for a layer that keeps its own index in log order.
    ///
    /// `admit` is called right before the batch gets its place, and `place` right after, with that place. No other
    /// batch gets a place in between, so the layer's index changes in the order in which a reader of the log would
    /// change it. If `admit` refuses, nothing is submitted. It is called at most once.
    ///
    /// Both run under the lock that orders batches. They should be short and must not use the log: that would
    /// deadlock.
    ///
    /// # Errors
    /// What `admit` returned; as [`Wal::commit`].
    pub fn submit_with<E: From<Error>>(
        &self,
        batch: impl AsRef<Batch>,
        options: SubmitOptions,
        admit: impl FnMut() -> Result<(), E>,
        place: impl FnOnce(&Placement),
    ) -> Result<Ticket, E> {
        self.log.pipeline.submit_with(batch.as_ref(), options, admit, place)
    }

    /// The record at `lsn`, verified. It may be submitted and not yet durable.
    ///
    /// # Errors
    /// [`Error::Released`], [`Error::NotFound`]; [`Error::Corruption`] when it does not verify; [`Error::UnknownCodec`] and
    /// [`Error::Undecodable`] when it cannot be decoded; [`Error::Io`].
    pub fn read(&self, lsn: Lsn) -> Result<Record> {
        self.log.read(lsn)
    }

    /// A reader that remembers its segment, for reading many records in any order.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.log))
    }

    /// The durable records, oldest first.
    #[must_use]
    pub fn iter(&self) -> Iter {
        self.iter_from(self.first_lsn())
    }

    /// The durable records, starting with the first one at or after `lsn`.
    #[must_use]
    pub fn iter_from(&self, lsn: Lsn) -> Iter {
        Iter::new(Arc::clone(&self.log), lsn)
    }

    /// Like [`Wal::iter_from`], but waits for more at the end. Ends when the log is closed.
    #[must_use]
    pub fn follow(&self, lsn: Lsn) -> Follow {
        Follow::new(Arc::clone(&self.log), lsn)
    }

    /// The address at which the log begins: no record below it is kept.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        self.log.first_lsn()
    }

    /// Maximum payload size of a record in bytes: [`Options::max_record_size`](crate::Options::max_record_size), or
    /// what fits into a segment.
    #[must_use]
    pub fn max_record_size(&self) -> u64 {
        self.log.pipeline.max_record_size()
    }

    /// Maximum [`Batch::size_in_log`] of a batch; follows from
    /// [`Options::segment_size`](crate::Options::segment_size).
    #[must_use]
    pub fn max_batch_size(&self) -> u64 {
        self.log.pipeline.max_batch_size()
    }

    /// Records submitted from now on get this address or a higher one.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.log.pipeline.end()
    }

    /// Everything below this address is durable.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.log.pipeline.durable()
    }

    /// Declares records below `lsn` no longer needed. Whole segments are freed, oldest first, so [`Wal::first_lsn`]
    /// rises to at most `lsn`. The newest segment always stays, and so do held records ([`Wal::hold`]).
    ///
    /// # Errors
    /// [`Error::Io`]: the log stays usable. [`Error::Closed`], [`Error::Poisoned`].
    pub fn release(&self, lsn: Lsn) -> Result<()> {
        self.log.pipeline.check_usable()?;
        let _at_work = self.log.monitor.at_work();
        self.log.pipeline.watch();
        let held = self.log.holds.lowest();
        self.log.segments.release(lsn.min(self.durable_lsn()).min(held.lsn)).map(|_| ())
    }

    /// Holds the records at and above `lsn`: they are kept, whatever is released meanwhile.
    ///
    /// This is for several users of one log. Each holds what it needs, and [`Wal::release`] frees only what no hold
    /// covers.
    ///
    /// # Errors
    /// [`Error::Released`] when `lsn` lies in a segment that was released; [`Error::OtherProcess`].
    pub fn hold(&self, lsn: Lsn) -> Result<Hold> {
        self.opener().check()?;
        self.log.holds.hold(lsn, || {
            let first = self.first_lsn();
            if lsn < first { Err(Error::Released { lsn, first }) } else { Ok(()) }
        })
    }

    /// The lowest held address ([`Wal::hold`]), if any.
    #[must_use]
    pub fn lowest_hold(&self) -> Option<Lsn> {
        let lowest = self.opener().is_here().then(|| self.log.holds.lowest().lsn);
        lowest.filter(|lsn| *lsn < Lsn::new(u64::MAX))
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        if !self.log.opener.is_here() {
            return Vec::new();
        }
        let durable = self.durable_lsn();
        let info = |s: Arc<Segment>| SegmentInfo {
            id: s.id(),
            first_lsn: s.first_lsn(),
            // Its first block may not have been published yet.
            end_lsn: s.end().unwrap_or(durable).max(s.first_lsn()),
            sealed: s.end().is_some(),
            file_bytes: s.file_bytes(),
            footer_bytes: s.footer().map_or(0, |f| f.footer.total_len()),
        };
        self.log.segments.table.all().into_iter().map(info).collect()
    }

    /// First addresses of the segments that are ready or in use and have no durable block yet, ascending.
    #[must_use]
    pub fn segments_to_come(&self) -> Vec<Lsn> {
        if self.log.opener.is_here() { self.log.segments.segments_to_come() } else { Vec::new() }
    }

    /// The summary in a segment's footer; `None` while it has no footer.
    ///
    /// # Errors
    /// [`Error::Released`] when the segment is not part of the log.
    pub fn summary(&self, id: SegmentId) -> Result<Option<Summary>> {
        Ok(self.segment(id)?.footer().map(|f| f.summary.clone()))
    }

    /// A reader for one segment: all of it if it has ended, otherwise the part that is durable now.
    ///
    /// # Errors
    /// [`Error::Released`] when the segment is not part of the log.
    pub fn segment_reader(&self, id: SegmentId) -> Result<SegmentReader> {
        let segment = self.segment(id)?;
        // Its first block may not have been published yet.
        let end = segment.end().unwrap_or_else(|| self.durable_lsn()).max(segment.first_lsn());
        Ok(SegmentReader::new(segment, end, self.log.decoder().clone()))
    }

    fn segment(&self, id: SegmentId) -> Result<Arc<Segment>> {
        self.log.opener.check()?;
        let first = self.first_lsn();
        self.log.segments.table.get(id).ok_or(Error::Released { lsn: first, first })
    }

    /// The file that holds the byte at `lsn`; the directory if no segment of the log holds it.
    #[must_use]
    pub fn file_at(&self, lsn: Lsn) -> PathBuf {
        let found = self.log.table().find(lsn).filter(|segment| segment.holds(lsn));
        found.map_or_else(|| self.log.disk.path().to_owned(), |segment| segment.path.clone())
    }

    /// Blocks until something at or above `lsn` is durable. `false` if the log was closed first.
    ///
    /// # Errors
    /// [`Error::Poisoned`]; [`Error::OtherProcess`].
    pub fn wait_durable_beyond(&self, lsn: Lsn) -> Result<bool> {
        self.log.pipeline.wait_durable_beyond(lsn)
    }

    /// What opening the log found.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.log.recovery
    }

    /// A snapshot of the log's counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.log.counters.read();
        if !self.log.opener.is_here() {
            return stats;
        }
        let segments = self.log.segments.table.all();
        stats.longest_call = self.log.monitor.longest_call().map_or(Duration::ZERO, |call| call.lasts);
        stats.staged_bytes = self.log.pipeline.staged_bytes();
        stats.segments = segments.len() as u64;
        stats.spare_segments = self.log.segments.spare_files() as u64;
        stats.disk_bytes = segments.iter().map(|s| s.file_bytes()).sum();
        stats.without_mapping = self.log.segments.table.without_mapping();
        let beside = self.log.segments.beside_segments();
        (stats.spare_bytes, stats.reserve_bytes) = (beside.spare, beside.reserve);
        stats
    }

    /// The state of the log at this moment: whether writes get through, which disk call has not returned, whether the
    /// log is poisoned or the disk full.
    ///
    /// Cheap enough to call at every tick: it takes no lock that is held during a disk call, and makes no system call
    /// except to read the clock while a call or a write is under way. It answers even while every thread of the log
    /// hangs.
    ///
    /// A hanging call is also reported while it hangs ([`Observer::stalled`](crate::Observer::stalled),
    /// [`Stats::stalls`], and the facades), by one of the log's two threads; each watches the other and the program's
    /// threads. Where neither can report it, this call does: when both hang, as they may if the whole device does; in
    /// a log without threads; before the first append; and while [`Wal::close`] stops them. Reads are not watched.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.log.opener.check() {
            Ok(()) => {
                self.log.monitor.tell_overdue_unless_told();
                self.log.monitor.health(self.log.segments.table.without_mapping())
            }
            Err(elsewhere) => Health::of_another_process(elsewhere),
        }
    }

    /// Why nothing is acknowledged any more, if the log is poisoned: what [`Wal::health`] says first, for the price of one
    /// atomic load. [`Error::OtherProcess`] in a process that did not open the log.
    #[must_use]
    pub fn poisoned(&self) -> Option<Error> {
        self.log.opener.check().err().or_else(|| self.log.monitor.poisoned())
    }

    /// The last failure off the commit path, if any: a spare segment, a footer, the superblock. It puts nothing
    /// acknowledged at risk.
    #[must_use]
    pub fn background_error(&self) -> Option<Error> {
        match self.log.opener.check() {
            Ok(()) => self.log.segments.last_error(),
            Err(elsewhere) => Some(elsewhere),
        }
    }

    /// The directory, for files kept beside the log.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.log.disk
    }

    /// The log's identity, drawn when it was created.
    #[must_use]
    pub fn uuid(&self) -> LogUuid {
        self.log.segments.uuid()
    }

    /// The owner that the directory is pinned to.
    #[must_use]
    pub fn owner(&self) -> Option<u64> {
        self.log.segments.owner()
    }

    /// Makes everything submitted durable, writes a final marker block, and releases the lock. All handles are closed
    /// then.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when what was submitted could not be made durable; the log is closed anyway.
    pub fn close(&self) -> Result<()> {
        self.log.close()
    }

    /// The process that opened the log: for a layer above, whose own handles belong to the same one.
    #[must_use]
    pub fn opener(&self) -> &Opener {
        &self.log.opener
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }
}
