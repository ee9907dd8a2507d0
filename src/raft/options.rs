//! How a Raft log is opened.

use super::error::{Error, Result};
use crate::Options;
use crate::groups::options::PurgeLimits;

/// Snapshot data is checksummed in pieces of this size.
const SNAPSHOT_CHUNK: u32 = 1 << 20;

/// Options for opening a [`RaftLog`](super::RaftLog).
#[derive(Clone, Debug)]
pub struct RaftOptions {
    node_id: Option<u64>,
    wal: Options,
    snapshot_chunk: u32,
    purge: PurgeLimits,
}

impl Default for RaftOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RaftOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        RaftOptions {
            node_id: None,
            wal: Options::new(),
            snapshot_chunk: SNAPSHOT_CHUNK,
            purge: PurgeLimits::default(),
        }
    }

    /// The id of the raft node that this directory belongs to. The first one given is pinned to the directory;
    /// opening it as another node is an error from then on.
    #[must_use]
    pub fn node_id(mut self, id: u64) -> Self {
        self.node_id = Some(id);
        self
    }

    /// Options of the log below. Its owner and its summarizer are set by the Raft log.
    #[must_use]
    pub fn wal(mut self, options: Options) -> Self {
        self.wal = options;
        self
    }

    /// How much snapshot data stands under one checksum, in bytes (1 MiB).
    #[must_use]
    pub fn snapshot_chunk(mut self, bytes: u32) -> Self {
        self.snapshot_chunk = bytes;
        self
    }

    /// How many bytes one [`RaftLog::purge`](super::RaftLog::purge) relocates at most (8 MiB), unless more than a quarter of that was appended
    /// since the call before: then up to four times as much as was appended, so that space does not run away from it.
    /// 0 turns relocation off: a group that lags then pins segments, and is named.
    #[must_use]
    pub fn relocate_bytes(mut self, bytes: u64) -> Self {
        self.purge.relocate = bytes;
        self
    }

    /// [`RaftLog::purge`](super::RaftLog::purge) names the groups that have more live bytes than this in the log, so that they can be made to
    /// compact. By default none is.
    #[must_use]
    pub fn group_limit(mut self, bytes: u64) -> Self {
        self.purge.group = bytes;
        self
    }

    /// Has a thread purge: whenever `bytes` were appended (a segment's size is a good measure, and more than that widens the
    /// bound by as much), and half a second after groups were compacted or removed. By default nobody purges but who calls
    /// [`RaftLog::purge`](super::RaftLog::purge). What goes wrong is in [`RaftLog::background_purge_error`](super::RaftLog::background_purge_error). A log without threads
    /// (a simulation) has none for this either.
    #[must_use]
    pub fn purge_in_background(mut self, bytes: u64) -> Self {
        self.purge.every = Some(bytes);
        self
    }

    /// The options of the log below, with its owner.
    pub(crate) fn below(&self) -> Result<Options> {
        match self.node_id {
            Some(0) => Err(Error::InvalidNodeId),
            Some(id) => Ok(self.wal.clone().owner(id)),
            None => Ok(self.wal.clone()),
        }
    }

    pub(crate) fn limits(&self) -> PurgeLimits {
        self.purge
    }

    /// How much snapshot data stands under one checksum; not 0.
    pub(crate) fn checked_chunk(&self) -> Result<usize> {
        match self.snapshot_chunk {
            0 => Err(Error::Log(crate::Error::InvalidOptions {
                what: "snapshot_chunk is 0; the default is 1 MiB".to_owned(),
            })),
            chunk => Ok(chunk as usize),
        }
    }
}
