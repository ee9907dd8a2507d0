//! Being told what a log does, by a trait of one's own.
//!
//! ```text
//!  flush, under the commit lock ── News ──> kept by the thread ── lock and flush given up ──> Observer
//! ```
//!
//! **Invariants.** An observer is called under no lock of the log. On the commit path it is called when the flush has been
//! given up and those who waited have been woken, so it delays nobody but the thread that calls it; only the log's own
//! thread, `seawall-commit`, still has the flush.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::health::DiskCall;
use crate::lsn::{Lsn, SegmentId};
use crate::report::Recovery;

/// Is told what a log does: [`Options::observer`](crate::Options::observer). Each method does nothing unless it is
/// written.
///
/// # Where it is called, and what it may do
///
/// The methods are called by the thread that did what they tell, after it was done: one of the program's in a call of
/// the log, or one of the log's own (`seawall-commit`, `seawall-manager`). So they may be called by several threads at
/// once, and what is told of two flushes may come in another order than they went. No lock of the log is held.
/// [`Observer::stalled`] is the exception: it is called by one of the log's own threads while another thread hangs.
///
/// They should be quick: a counter, a line in a queue. They may ask the log what it knows at once
/// ([`Wal::health`](crate::Wal::health), [`Wal::stats`](crate::Wal::stats),
/// [`Wal::durable_lsn`](crate::Wal::durable_lsn)). They must not append, wait for
/// a ticket, release or close, nor drop the last handle: the thread that these would wait for may be the one that calls.
/// An observer that keeps a [`Wal`](crate::Wal) keeps the log open.
///
/// # If it panics
///
/// The panic unwinds through the thread that called. In a call of the program it comes out of that call; what the call
/// was to do has been done, and the log continues. A thread of the log ends by it, and then nothing is acknowledged any
/// more: everybody who waits gets [`Error::Poisoned`]. What was acknowledged is safe.
pub trait Observer: Send + Sync {
    /// The log was opened; this is what was found. Called by the thread that opens it, before it has the handle.
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

    /// This call has not returned for [`Options::slow_sync`](crate::Options::slow_sync) or longer. Told once for each call
    /// that hangs, while it does: on the commit path, while a segment is made ready, and where a footer, the superblock or a
    /// release is written. When both of the log's own threads hang, it is told by the next [`Wal::health`](crate::Wal::health),
    /// on the thread that asks.
    fn stalled(&self, call: &DiskCall) {
        let _ = call;
    }

    /// A call that [`Observer::stalled`] was told of has returned, well or with an error; [`DiskCall::lasts`] is how long it
    /// took. Always told after it.
    fn resumed(&self, call: &DiskCall) {
        let _ = call;
    }

    /// The first block of this segment is durable: the log went on to it from another one.
    fn rotated(&self, segment: SegmentId) {
        let _ = segment;
    }

    /// The file of the segment to come is ready; `recycled` if it was a released segment's before.
    fn prepared(&self, segment: SegmentId, recycled: bool) {
        let _ = (segment, recycled);
    }

    /// A segment that has ended got its footer.
    fn sealed(&self, segment: SegmentId) {
        let _ = segment;
    }

    /// A segment is no part of the log any more. Its file is removed, or kept for a segment to come.
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
    /// Where the next one may begin; all below is durable.
    pub end: Lsn,
    /// The bytes that were written for it, padding included and a segment's header page not.
    pub bytes: u64,
    /// Its records; none in a marker block, which proves the block before it durable.
    pub records: u32,
    /// The batches that they came in.
    pub batches: u32,
    /// How long the write took.
    pub write: Duration,
    /// How long the `fdatasync` took.
    pub sync: Duration,
    /// How long it was from the first of its batches being staged to the end of the sync: the longest that any of them
    /// had to wait.
    pub commit: Duration,
}

/// What happened while a lock was held, or the flush was owned.
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

    /// Tells it at once; for where no lock is held.
    pub(crate) fn tell(&self, what: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = &self.0 {
            what(&**observer);
        }
    }

    /// Keeps something to be told later, if there is somebody to tell.
    pub(crate) fn keep(&self, news: &mut Vec<News>, what: impl FnOnce() -> News) {
        if self.0.is_some() {
            news.push(what());
        }
    }

    /// Tells what was kept.
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
