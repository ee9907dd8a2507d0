//! How a batch is submitted, and what a layer above does at the moment when it gets its place.

use crate::lsn::Lsn;
use crate::segment::SpacePool;

use super::batch::RecordOffset;

/// Who makes a submitted batch durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flush {
    /// The log's own thread, at once. The default.
    #[default]
    Now,
    /// The caller, who is going to [`wait`](crate::Ticket::wait) for the ticket: the log's thread is not woken for it.
    ByCaller,
    /// Nobody by itself: the batch goes out with the next one that is flushed, or when its ticket is waited for, or when the log
    /// is closed. For what need not be durable on its own, such as a commit index.
    WithNext,
}

/// How [`Wal::submit_with`](crate::Wal::submit_with) submits a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubmitOptions {
    flush: Flush,
    reserve: bool,
}

impl SubmitOptions {
    /// As [`Wal::submit`](crate::Wal::submit) does it.
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
    /// [`Wal::submit_from_reserve`](crate::Wal::submit_from_reserve) does: for what frees room.
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

/// Where a batch lies in the log. It is in order, and not durable yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub(super) first: Lsn,
    pub(super) end: Lsn,
}

impl Placement {
    /// Where the batch's first record lies.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.first
    }

    /// Where a record of the batch lies.
    #[must_use]
    pub fn lsn_of(&self, record: RecordOffset) -> Lsn {
        record.from_first(self.first)
    }

    /// The address behind the batch.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.end
    }
}
