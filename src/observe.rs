//! Observers: a trait through which a program learns what its log does.
//!
//! ```text
//!  flush, under the commit lock ── News ──> kept by the thread ── lock and flush given up ──> Observer
//! ```
//!
//! **Invariants.** An observer is called without holding any lock of the log. On the commit path it is called after
//! the flush has been given up and the waiters have been woken, so it delays only the calling thread. The exception
//! is the log's own thread, `seawall-commit`, which still owns the flush.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::health::DiskCall;
use crate::lsn::{Lsn, SegmentId};
use crate::report::Recovery;

/// Receives the events of a log; see [`Options::observer`](crate::Options::observer). All methods do nothing by
/// default.
///
/// # Where it is called, and what it may do
///
/// A method is called after the event, by the thread that caused it: one of the program's threads inside a call of
/// the log, or one of the log's own (`seawall-commit`, `seawall-manager`). So several threads may call at once, and
/// events of two flushes may arrive out of order. No lock of the log is held. [`Observer::stalled`] is the exception:
/// it is called by one of the log's own threads while another thread hangs.
///
/// Methods should be quick: raise a counter, push to a queue. They may ask the log for what it knows without waiting
/// ([`Wal::health`](crate::Wal::health), [`Wal::stats`](crate::Wal::stats),
/// [`Wal::durable_lsn`](crate::Wal::durable_lsn)). They must not append, wait for a ticket, release, close, or drop
/// the last handle: the thread that these wait for may be the calling one. An observer that keeps a
/// [`Wal`](crate::Wal) keeps the log open.
///
/// # If it panics
///
/// The panic unwinds through the calling thread. Inside a call of the program it propagates out of that call; the
/// work of the call is done, and the log continues. A thread of the log ends with the panic; then nothing is
/// acknowledged any more, and every waiter gets [`Error::Poisoned`]. What was acknowledged is safe.
pub trait Observer: Send + Sync {
    /// The log was opened with this result. Called by the opening thread, before it gets the handle.
    fn opened(&self, found: &Recovery) {
        let _ = found;
    }

    /// A block is durable.
    fn flushed(&self, flushed: &Flushed) {
        let _ = flushed;
    }

    /// An `fdatasync` on the commit path took as long as [`Options::slow_sync`](crate::Options::slow_sync) or longer.
    fn slow_sync(&self, took: Duration) {
        let _ = took;
    }

    /// This call has not returned for [`Options::slow_sync`](crate::Options::slow_sync) or longer. Reported once for
    /// each hanging call, while it hangs: on the commit path, while a segment is prepared, and when a footer, the
    /// superblock or a release is written. If both of the log's own threads hang, the next
    /// [`Wal::health`](crate::Wal::health) reports it, on the thread that asks.
    fn stalled(&self, call: &DiskCall) {
        let _ = call;
    }

    /// A call reported by [`Observer::stalled`] has returned, successfully or with an error; [`DiskCall::lasts`] is
    /// how long it took. Always reported after it.
    fn resumed(&self, call: &DiskCall) {
        let _ = call;
    }

    /// The first block of this segment is durable: the log has moved on to it.
    fn rotated(&self, segment: SegmentId) {
        let _ = segment;
    }

    /// The file of the next segment is ready; `recycled` if it belonged to a released segment before.
    fn prepared(&self, segment: SegmentId, recycled: bool) {
        let _ = (segment, recycled);
    }

    /// An ended segment got its footer.
    fn sealed(&self, segment: SegmentId) {
        let _ = segment;
    }

    /// A segment is no longer part of the log. Its file is removed, or kept for a later segment.
    fn released(&self, segment: SegmentId) {
        let _ = segment;
    }

    /// A write or a sync of the commit path failed with this error; nothing is acknowledged any more.
    fn poisoned(&self, error: &Error) {
        let _ = error;
    }

    /// Something off the commit path failed: a spare segment, a footer, the superblock. Nothing acknowledged is at risk.
    fn background_error(&self, error: &Error) {
        let _ = error;
    }

    /// The log was closed, by a call or with its last handle.
    fn closed(&self) {}
}

/// A block that became durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Where it begins.
    pub lsn: Lsn,
    /// Where the next one may begin; everything below is durable.
    pub end: Lsn,
    /// Bytes written for it, including padding but not a segment's header page.
    pub bytes: u64,
    /// Number of records; zero in a marker block, which proves the block before it durable.
    pub records: u32,
    /// Number of batches they came in.
    pub batches: u32,
    /// Duration of the write.
    pub write: Duration,
    /// Duration of the `fdatasync`.
    pub sync: Duration,
    /// Time from staging the first of its batches to the end of the sync: the longest that any of them had to wait.
    pub commit: Duration,
}

/// Events that happened while a lock was held or the flush was owned.
#[derive(Debug)]
pub(crate) enum News {
    Flushed(Flushed),
    SlowSync(Duration),
    Rotated(SegmentId),
    Poisoned(Error),
}

/// The observer of a log, if it has one.
#[derive(Clone, Default)]
pub(crate) struct Observed(Option<Arc<dyn Observer>>);

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "an observer" } else { "no observer" })
    }
}

impl Observed {
    pub(crate) const fn by_nobody() -> Self {
        Observed(None)
    }

    pub(crate) fn by(observer: Arc<dyn Observer>) -> Self {
        Observed(Some(observer))
    }

    /// Calls the observer at once; for places where no lock is held.
    pub(crate) fn tell(&self, what: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = &self.0 {
            what(&**observer);
        }
    }

    /// Keeps an event to be reported later, if there is an observer.
    pub(crate) fn keep(&self, news: &mut Vec<News>, what: impl FnOnce() -> News) {
        if self.0.is_some() {
            news.push(what());
        }
    }

    /// Reports the events that were kept.
    pub(crate) fn tell_all(&self, news: Vec<News>) {
        for what in news {
            self.tell(|observer| match &what {
                News::Flushed(flushed) => observer.flushed(flushed),
                News::SlowSync(took) => observer.slow_sync(*took),
                News::Rotated(segment) => observer.rotated(*segment),
                News::Poisoned(error) => observer.poisoned(error),
            });
        }
    }
}
