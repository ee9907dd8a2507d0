//! How a log of groups is opened.

use crate::Options;

/// The default of how many bytes are relocated by one purge.
const RELOCATE: u64 = 8 << 20;

/// The limits of a purge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PurgeLimits {
    /// One call relocates this many bytes, and more only to keep pace with what is appended.
    pub(crate) relocate: u64,
    /// A group with more live bytes than this is named.
    pub(crate) group: u64,
    /// A thread purges whenever this many bytes were appended.
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

    /// Options of the log below. Its summarizer is set by the log of groups.
    #[must_use]
    pub fn wal(mut self, options: Options) -> Self {
        self.wal = options;
        self
    }

    /// How many bytes one [`GroupLog::purge`](super::GroupLog::purge) relocates at most (8 MiB), unless more than a quarter of that was appended
    /// since the call before: then up to four times as much as was appended, so that space does not run away from it.
    /// 0 turns relocation off: a group that lags then pins segments, and is named.
    #[must_use]
    pub fn relocate_bytes(mut self, bytes: u64) -> Self {
        self.purge.relocate = bytes;
        self
    }

    /// [`GroupLog::purge`](super::GroupLog::purge) names the groups that have more live bytes than this in the log. By default none is.
    #[must_use]
    pub fn group_limit(mut self, bytes: u64) -> Self {
        self.purge.group = bytes;
        self
    }

    /// Starts a thread that purges: whenever `bytes` were appended (a segment's size is a good measure, and more than that
    /// widens the bound by as much), and half a second after entries were purged or groups removed. By default segments are
    /// freed by [`GroupLog::purge`](super::GroupLog::purge) alone. Its errors are in [`GroupLog::background_purge_error`](super::GroupLog::background_purge_error). A log without threads
    /// (a simulation) has none for this either.
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
