//! Options for opening a log of groups.

use crate::Options;

/// Default limit on the bytes relocated by one purge.
const RELOCATE: u64 = 8 << 20;

/// Limits of a purge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PurgeLimits {
    /// Bytes relocated by one call; more only to keep pace with appends.
    pub(crate) relocate: u64,
    /// A group with more live bytes than this is reported.
    pub(crate) group: u64,
    /// A thread purges each time this many bytes were appended.
    pub(crate) every: Option<u64>,
}

impl Default for PurgeLimits {
    fn default() -> Self {
        PurgeLimits { relocate: RELOCATE, group: u64::MAX, every: None }
    }
}

/// Options for opening a [`GroupLog`](super::GroupLog).
#[derive(Clone, Debug, Default)]
pub struct GroupOptions {
    wal: Options,
    purge: PurgeLimits,
}

impl GroupOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        GroupOptions::default()
    }

    /// Options of the log below. The log of groups sets its summarizer.
    #[must_use]
    pub fn wal(mut self, options: Options) -> Self {
        self.wal = options;
        self
    }

    /// Maximum bytes relocated by one [`GroupLog::purge`](super::GroupLog::purge) (8 MiB). If more than a quarter of
    /// that was appended since the previous call, it is up to four times the appended bytes, so that disk usage does
    /// not run away. 0 turns relocation off: then a lagging group pins segments and is reported.
    #[must_use]
    pub fn relocate_bytes(mut self, bytes: u64) -> Self {
        self.purge.relocate = bytes;
        self
    }

    /// [`GroupLog::purge`](super::GroupLog::purge) reports groups with more live bytes than this. By default there is
    /// no limit.
    #[must_use]
    pub fn group_limit(mut self, bytes: u64) -> Self {
        self.purge.group = bytes;
        self
    }

    /// Starts a thread that purges each time `bytes` were appended, and half a second after entries were purged or
    /// groups removed. A segment's size is a good value; anything above it widens the space bound by the excess. By
    /// default only [`GroupLog::purge`](super::GroupLog::purge) frees segments. Errors are available from
    /// [`GroupLog::background_purge_error`](super::GroupLog::background_purge_error). A log without threads (a
    /// simulation) has no such thread either.
    #[must_use]
    pub fn purge_in_background(mut self, bytes: u64) -> Self {
        self.purge.every = Some(bytes);
        self
    }

    pub(super) fn below(&self) -> &Options {
        &self.wal
    }

    pub(super) fn limits(&self) -> PurgeLimits {
        self.purge
    }
}
