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

/// A write-ahead log, open for writing. Clones are handles on the same log; the last one to go closes it.
///
/// See the crate's documentation for what is guaranteed.
///
/// # Processes
///
/// A handle belongs to the process that opened the log. In a child made by `fork`, every call that can fail is
/// [`Error::OtherProcess`]; what cannot fail answers as an empty log would, with what was durable when the process was
/// forked as its end; and dropping a handle does nothing. A program that turns into a daemon opens the log afterwards. A
/// child made by a raw `clone` system call that shares its parent's memory is not told apart.
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
    /// The address behind its last durable block.
    pub end_lsn: Lsn,
    /// Whether nothing is appended to it any more.
    pub sealed: bool,
    /// The size of its file in bytes.
    pub file_bytes: u64,
    /// How many of them are the footer's: the index by which the log is opened.
    pub footer_bytes: u64,
}

impl Wal {
    /// An empty batch for this log: what is pushed goes through its codec, if it has one.
    #[must_use]
    pub fn batch(&self) -> Batch {
        self.log.pipeline.batch()
    }

    /// Appends one record; it is durable when this returns.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`]; [`Error::Poisoned`] when this or an earlier write failed; [`Error::Closed`];
    /// [`Error::Io`] when the next segment cannot be made, in which case nothing was written and it may be tried again.
    pub fn append(&self, payload: impl AsRef<[u8]>) -> Result<Lsn> {
        let mut batch = self.batch();
        batch.push(payload);
        self.commit(&batch)
    }

    /// Appends the records of a batch; all are durable when this returns. Says where the first one lies.
    ///
    /// # Errors
    /// As [`Wal::append`]; [`Error::BatchTooLarge`]; [`Error::CodecMismatch`] when the log has a codec and the batch was not
    /// made by [`Wal::batch`].
    pub fn commit(&self, batch: impl AsRef<Batch>) -> Result<Lsn> {
        self.log.pipeline.commit(batch.as_ref())
    }

    /// Appends the records of a batch; they are in order and readable when this returns, and durable when the ticket
    /// says so. Waits when too much is staged ([`Options::max_staged_bytes`](crate::Options::max_staged_bytes)).
    ///
    /// # Errors
    /// As [`Wal::commit`].
    pub fn submit(&self, batch: impl AsRef<Batch>) -> Result<Ticket> {
        self.log.pipeline.submit(batch.as_ref(), SubmitOptions::new())
    }

    /// As [`Wal::submit`], for what frees room: on a full disk the batch may go into the reserve, a file that the log keeps
    /// for this. A caller that uses it for anything else finds it used up when it is needed; it is made again as soon as there
    /// is room.
    ///
    /// # Errors
    /// As [`Wal::commit`].
    pub fn submit_from_reserve(&self, batch: impl AsRef<Batch>) -> Result<Ticket> {
        self.log.pipeline.submit(batch.as_ref(), SubmitOptions::new().from_reserve(true))
    }

    /// As [`Wal::submit`], for a layer that keeps an index of its own in the order of the log.
    ///
    /// `admit` is called right before the batch gets its place, and `place` right after it, with the place; no other batch
    /// gets a place in between, so the layer's index changes in the order in which a reader of the log would change it. If
    /// `admit` refuses, the batch was never there. It is called at most once.
    ///
    /// Both run under the lock that orders batches: they should be short, and must not use the log, which would wait for
    /// itself.
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

    /// The record at `lsn`, verified; also one that is submitted and not yet durable.
    ///
    /// # Errors
    /// [`Error::Released`], [`Error::NotFound`]; [`Error::Corruption`] when it does not verify; [`Error::UnknownCodec`] and
    /// [`Error::Undecodable`] when it cannot be decoded; [`Error::Io`].
    pub fn read(&self, lsn: Lsn) -> Result<Record> {
        self.log.read(lsn)
    }

    /// A reader that remembers its segment: for reading many records, in any order.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.log))
    }

    /// The durable records, oldest first.
    #[must_use]
    pub fn iter(&self) -> Iter {
        self.iter_from(self.first_lsn())
    }

    /// The durable records from the first one at or behind `lsn` on.
    #[must_use]
    pub fn iter_from(&self, lsn: Lsn) -> Iter {
        Iter::new(Arc::clone(&self.log), lsn)
    }

    /// As [`Wal::iter_from`], and at the end waits for more. Ends when the log is closed.
    #[must_use]
    pub fn follow(&self, lsn: Lsn) -> Follow {
        Follow::new(Arc::clone(&self.log), lsn)
    }

    /// The address at which the log begins: no record below it is kept.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        self.log.first_lsn()
    }

    /// The largest payload of a record, in bytes; as [`Options::max_record_size`](crate::Options::max_record_size) says, or what fits into a segment.
    #[must_use]
    pub fn max_record_size(&self) -> u64 {
        self.log.pipeline.max_record_size()
    }

    /// The largest [`Batch::size_in_log`] of a batch; it follows from [`Options::segment_size`](crate::Options::segment_size).
    #[must_use]
    pub fn max_batch_size(&self) -> u64 {
        self.log.pipeline.max_batch_size()
    }

    /// Records submitted from now on lie at or behind this address.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.log.pipeline.end()
    }

    /// Everything below this address is durable.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.log.pipeline.durable()
    }

    /// Records below `lsn` are no longer needed. Whole segments are freed, oldest first, so [`Wal::first_lsn`] rises up to
    /// `lsn` and not beyond; the newest segment always stays, and so does what is held ([`Wal::hold`]).
    ///
    /// # Errors
    /// [`Error::Io`]; the log is as good as before then. [`Error::Closed`], [`Error::Poisoned`].
    pub fn release(&self, lsn: Lsn) -> Result<()> {
        self.log.pipeline.check_usable()?;
        let _at_work = self.log.monitor.at_work();
        self.log.pipeline.watch();
        let held = self.log.holds.lowest();
        self.log.segments.release(lsn.min(self.durable_lsn()).min(held.lsn)).map(|_| ())
    }

    /// Holds the records at and above `lsn`: they stay, whatever is released meanwhile.
    ///
    /// This is for several users of one log. Each holds what it needs, and [`Wal::release`] frees only what nobody holds.
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

    /// The lowest address that is held ([`Wal::hold`]), if anything is.
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

    /// Where the segments begin that are ready, or in use, and have no durable block yet; ascending. What is submitted and not
    /// durable may lie in one of them.
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

    /// A segment, to go through it: all of it when it has ended, else what of it is durable now.
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

    /// The file that the byte at `lsn` lies in; the directory when no segment of the log has it.
    #[must_use]
    pub fn file_at(&self, lsn: Lsn) -> PathBuf {
        let found = self.log.table().find(lsn).filter(|segment| segment.holds(lsn));
        found.map_or_else(|| self.log.disk.path().to_owned(), |segment| segment.path.clone())
    }

    /// Blocks until something at or beyond `lsn` is durable. `false` when the log was closed before.
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

    /// A reading of the log's counters.
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

    /// How the log is at this moment: whether writes get through, which call to the disk has not returned, whether the log is
    /// poisoned or the disk full.
    ///
    /// Cheap enough to be asked at each tick: it takes no lock that anybody holds during a call to the disk, and no system call
    /// but a reading of the clock when a call or a write is under way. It answers while every thread of the log hangs.
    ///
    /// What hangs is also told while it does ([`Observer::stalled`](crate::Observer::stalled), [`Stats::stalls`], and the
    /// facades), by one of the log's two threads that looks after the other, and after the program's. Where none of them can,
    /// this call tells: when both hang, as they may with the whole device; in a log without threads; before the first append;
    /// and while [`Wal::close`] ends them. Reading is not watched.
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

    /// The last failure off the commit path, if there was one: a spare segment, a footer, the superblock. Nothing that was
    /// acknowledged is at risk by it.
    #[must_use]
    pub fn background_error(&self) -> Option<Error> {
        match self.log.opener.check() {
            Ok(()) => self.log.segments.last_error(),
            Err(elsewhere) => Some(elsewhere),
        }
    }

    /// The directory, for files that are kept beside the log.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.log.disk
    }

    /// The log's identity, drawn when it was made.
    #[must_use]
    pub fn uuid(&self) -> LogUuid {
        self.log.segments.uuid()
    }

    /// Whom the directory is pinned to.
    #[must_use]
    pub fn owner(&self) -> Option<u64> {
        self.log.segments.owner()
    }

    /// Makes durable what was submitted, marks the end, and gives the lock up. Every handle is closed then.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when what was submitted could not be made durable; the log is closed all the same.
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
