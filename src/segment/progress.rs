//! How far the commit path is: what the thread that prepares its next segment has to know of it.

use crate::lsn::Lsn;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by the commit path, which writes it, and the threads that work beside it.
///
/// **Invariant.** The durable LSN only rises. It is published by the owner of the flush, once the device has confirmed all below.
#[derive(Debug)]
pub(crate) struct Progress {
    durable: AtomicU64,
    hurry: AtomicBool,
    /// Without threads nobody commits while a segment is prepared.
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

    /// Everything below `end` is durable.
    pub(crate) fn publish(&self, end: Lsn) {
        let before = self.durable();
        assert!(before <= end, "the durable LSN fell from {before} to {end}");
        self.durable.store(end.get(), Ordering::Release);
    }

    /// A commit waits for the next segment, or nobody commits any more.
    pub(crate) fn set_hurry(&self, hurry: bool) {
        self.hurry.store(hurry, Ordering::Relaxed);
    }

    /// Whether the next segment is to be prepared at full speed.
    pub(crate) fn is_in_a_hurry(&self) -> bool {
        !self.threads || self.hurry.load(Ordering::Relaxed)
    }
}
