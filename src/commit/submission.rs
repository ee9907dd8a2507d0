//! How a batch is submitted, and what a higher layer does when it gets its place.

use crate::lsn::Lsn;
use crate::segment::SpacePool;

use super::batch::RecordOffset;

/// Who makes a submitted batch durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flush {
    /// The log's own thread, immediately. The default.
    #[default]
    Now,
    /// The caller, who will [`wait`](crate::Ticket::wait) for the ticket: the log's thread is not woken for it.
    ByCaller,
    /// No one in particular: the batch goes out with the next flush, or when its ticket is waited for, or when the
    /// log is closed. For data that need not be durable on its own, such as a commit index.
    WithNext,
}

/// How [`Wal::submit_with`](crate::Wal::submit_with) submits a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubmitOptions {
    flush: Flush,
    reserve: bool,
}

impl SubmitOptions {
    /// The same as [`Wal::submit`](crate::Wal::submit).
    #[must_use]
    pub fn new() -> Self {
        SubmitOptions::default()
    }

    /// Who makes the batch durable.
    #[must_use]
    pub fn flush(mut self, flush: Flush) -> Self {
        self.flush = flush;
        self
    }

    /// Whether the batch may use the reserve on a full disk, as
    /// [`Wal::submit_from_reserve`](crate::Wal::submit_from_reserve) does: only for operations that free space.
    #[must_use]
    pub fn from_reserve(mut self, reserve: bool) -> Self {
        self.reserve = reserve;
        self
    }

    pub(super) fn who_flushes(self) -> Flush {
        self.flush
    }

    pub(super) fn pool(self) -> SpacePool {
        if self.reserve { SpacePool::Reserve } else { SpacePool::Ordinary }
    }
}

/// The place of a batch in the log. Its order is fixed, but it is not durable yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub(super) first: Lsn,
    pub(super) end: Lsn,
}

impl Placement {
    /// Address of the batch's first record.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.first
    }

    /// Address of a record of the batch.
    #[must_use]
    pub fn lsn_of(&self, record: RecordOffset) -> Lsn {
        record.from_first(self.first)
    }

    /// The address after the batch.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.end
    }
}
