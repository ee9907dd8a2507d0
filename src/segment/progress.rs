//! Progress of the commit path, for the thread that prepares its next segment.

use crate::lsn::Lsn;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Written by the commit path and read by the threads that work beside it.
///
/// **Invariant.** The durable LSN only rises. The owner of the flush publishes it after the device has confirmed
/// everything below.
#[derive(Debug)]
pub(crate) struct Progress {
    durable: AtomicU64,
    hurry: AtomicBool,
    /// Without threads there are no commits while a segment is prepared.
    threads: bool,
}

impl Progress {
    pub(crate) fn new(durable: Lsn, threads: bool) -> Self {
        Progress { durable: AtomicU64::new(durable.get()), hurry: AtomicBool::new(false), threads }
    }

    /// Everything below is durable.
    #[inline]
    pub(crate) fn durable(&self) -> Lsn {
        Lsn::new(self.durable.load(Ordering::Acquire))
    }

    /// Publishes that everything below `end` is durable.
    pub(crate) fn publish(&self, end: Lsn) {
        let before = self.durable();
        assert!(before <= end, "the durable LSN fell from {before} to {end}");
        self.durable.store(end.get(), Ordering::Release);
    }

    /// Sets whether a commit waits for the next segment, or no more commits will come.
    pub(crate) fn set_hurry(&self, hurry: bool) {
        self.hurry.store(hurry, Ordering::Relaxed);
    }

    /// Whether to prepare the next segment at full speed.
    pub(crate) fn is_in_a_hurry(&self) -> bool {
        !self.threads || self.hurry.load(Ordering::Relaxed)
    }
}
