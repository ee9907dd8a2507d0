//! An open log: its parts, its lock, and how it closes. Every handle, reader and iterator holds it; dropping the last
//! one closes it.

mod opening;

use std::sync::Arc;

use parking_lot::Mutex;

use crate::codec::Decoder;
use crate::commit::Pipeline;
use crate::error::{Error, Result};
use crate::io::Opener;
use crate::io::{Disk, Lock};
use crate::lsn::Lsn;
use crate::monitor::Monitor;
use crate::observe::Observed;
use crate::recovery::LOCK;
use crate::report::Recovery;
use crate::retention::{Holds, SegmentManager, SegmentTable};
use crate::segment::{Record, Segment};
use crate::stats::Counters;
use crate::trace::{event, span};

/// See the module's documentation.
///
/// **Invariant.** While `lock` is `Some`, no other process writes to the directory. The lock is released after the
/// threads have ended, so from then on nothing of this log writes either.
pub(crate) struct Log {
    pub(crate) opener: Opener,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) segments: Arc<SegmentManager>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) monitor: Arc<Monitor>,
    observed: Observed,
    pub(crate) recovery: Recovery,
    pub(crate) holds: Arc<Holds>,
    /// Released last, when nothing of this handle writes any more.
    lock: Mutex<Option<Box<dyn Lock>>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("dir", &self.disk.path()).finish_non_exhaustive()
    }
}

impl Log {
    /// Everything below this address is durable.
    #[inline]
    pub(crate) fn durable_lsn(&self) -> Lsn {
        self.pipeline.durable()
    }

    /// The address at which the log begins: no record below it is kept.
    pub(crate) fn first_lsn(&self) -> Lsn {
        if !self.opener.is_here() {
            return self.durable_lsn();
        }
        self.table().oldest().map_or_else(|| self.durable_lsn(), |s| s.first_lsn())
    }

    /// The record at `lsn`. It may be submitted and not yet durable.
    pub(crate) fn read(&self, lsn: Lsn) -> Result<Record> {
        self.opener.check()?;
        let durable = self.durable_lsn();
        if lsn < durable {
            return self.read_durable(lsn, durable);
        }
        if let Some(record) = self.pipeline.find_staged(lsn)? {
            return Ok(record);
        }
        // It may have become durable in the meantime.
        let durable = self.durable_lsn();
        if lsn < durable {
            return self.read_durable(lsn, durable);
        }
        Err(Error::NotFound { lsn, next: self.pipeline.end() })
    }

    fn read_durable(&self, lsn: Lsn, durable: Lsn) -> Result<Record> {
        match self.table().find(lsn) {
            Some(segment) => segment.read_record(lsn, durable_end(&segment, durable), self.decoder()),
            None => Err(self.released(lsn)),
        }
    }

    /// The error for an address before the beginning of the log.
    #[cold]
    pub(crate) fn released(&self, lsn: Lsn) -> Error {
        Error::Released { lsn, first: self.first_lsn() }
    }

    pub(crate) fn decoder(&self) -> &Decoder {
        self.pipeline.decoder()
    }

    pub(crate) fn table(&self) -> &SegmentTable {
        &self.segments.table
    }

    /// Makes everything submitted durable, writes a final marker block, stops the threads, and releases the lock.
    pub(crate) fn close(&self) -> Result<()> {
        self.opener.check()?;
        let _span = span!(INFO, "close", dir = self.disk.path().display().to_string());
        let drained = self.pipeline.close();
        let mut lock = self.lock.lock();
        let finished = match &*lock {
            Some(_) if drained.is_ok() => self.segments.finish(),
            _ => Ok(()),
        };
        let mut released = Ok(());
        if let Some(mut held) = lock.take() {
            // Explicitly, not by closing the file: a child about to call `exec` may have it open too.
            released = held.release().map_err(|e| Error::io("unlock", self.disk.path().join(LOCK), e));
            let durable = self.durable_lsn().get();
            event!(info, dir = self.disk.path().display().to_string(), durable = durable, "log closed");
            drop(lock);
            self.observed.tell(|o| o.closed());
        }
        drained.and(finished).and(released)
    }
}

/// The end of the durable part of a segment.
#[inline]
pub(crate) fn durable_end(segment: &Segment, durable: Lsn) -> Lsn {
    segment.end().map_or(durable, |end| end.min(durable))
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.opener.is_here() {
            // A program that wants to know the outcome calls `close`.
            drop(self.close());
            return;
        }
        // A forked child has a copy of the memory. The threads, the lock and their data belong to the opener: the
        // child must not join, release or even free them.
        std::mem::forget(Arc::clone(&self.pipeline));
        std::mem::forget(Arc::clone(&self.segments));
        std::mem::forget(self.lock.get_mut().take());
    }
}
