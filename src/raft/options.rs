//! Options for opening a Raft log.

use super::error::{Error, Result};
use crate::Options;
use crate::groups::options::PurgeLimits;

/// Default size of the pieces in which snapshot data is checksummed.
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

    /// The id of the raft node that this directory belongs to. The first one given is pinned to the directory; from
    /// then on, opening it as another node is an error.
    #[must_use]
    pub fn node_id(mut self, id: u64) -> Self {
        self.node_id = Some(id);
        self
    }

    /// Options of the log below. The Raft log sets its owner and its summarizer.
    ///
    /// Through [`Options::codec`] pass the data and contexts of entries, which are stored nowhere else. Stored as they
    /// are: group, index, term and kind of each record; term, vote, commit, applied index and members of each group,
    /// which the footers repeat; and **the snapshot files**.
    #[must_use]
    pub fn wal(mut self, options: Options) -> Self {
        self.wal = options;
        self
    }

    /// Bytes of snapshot data under one checksum (1 MiB).
    #[must_use]
    pub fn snapshot_chunk(mut self, bytes: u32) -> Self {
        self.snapshot_chunk = bytes;
        self
    }

    /// Maximum bytes relocated by one [`RaftLog::purge`](super::RaftLog::purge) (8 MiB). If more than a quarter of
    /// that was appended since the previous call, it is up to four times the appended bytes, so that disk usage does
    /// not run away. 0 turns relocation off: then a lagging group pins segments and is reported.
    #[must_use]
    pub fn relocate_bytes(mut self, bytes: u64) -> Self {
        self.purge.relocate = bytes;
        self
    }

    /// [`RaftLog::purge`](super::RaftLog::purge) reports groups with more live bytes than this, so that they can be
    /// made to compact. By default there is no limit.
    #[must_use]
    pub fn group_limit(mut self, bytes: u64) -> Self {
        self.purge.group = bytes;
        self
    }

    /// Starts a thread that purges each time `bytes` were appended, and half a second after groups were compacted or
    /// removed. A segment's size is a good value; anything above it widens the space bound by the excess. By default
    /// only [`RaftLog::purge`](super::RaftLog::purge) frees segments. Errors are available from
    /// [`RaftLog::background_purge_error`](super::RaftLog::background_purge_error). A log without threads (a
    /// simulation) has no such thread either.
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

    /// Bytes of snapshot data under one checksum; not 0.
    pub(crate) fn checked_chunk(&self) -> Result<usize> {
        match self.snapshot_chunk {
            0 => Err(Error::Log(crate::Error::InvalidOptions {
                what: "snapshot_chunk is 0; the default is 1 MiB".to_owned(),
            })),
            chunk => Ok(chunk as usize),
        }
    }
}
