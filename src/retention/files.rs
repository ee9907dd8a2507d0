//! The files kept beside the segments of the log.

use std::sync::Arc;

use crate::io::mapping::Watch;
use crate::lsn::SegmentId;
use crate::segment::Segment;

/// A released file that may start another generation.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) watch: Watch,
}

/// A file that belongs to nothing and should be removed. It is still there because its turn has not come yet, or
/// because removing it failed.
#[derive(Debug)]
pub(super) struct Surplus {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// The prepared segments that have no durable block yet.
///
/// A segment is handed to the commit path only after the superblock names it durably: a file that may hold
/// acknowledged blocks never exists without being mentioned elsewhere. As its generation page names the one prepared
/// before, the newest name covers all segments that may be in use without a durable header.
#[derive(Debug)]
pub(super) struct Ready {
    /// The segment prepared last; at open, the newest of the log.
    pub(super) last: Option<SegmentId>,
    /// Named in the superblock and handed out.
    pub(super) named: Vec<Arc<Segment>>,
    /// Prepared, but the superblock could not be written. Whether it names the file is unknown, so the file stays and
    /// is named before another one is made.
    pub(super) unnamed: Option<Arc<Segment>>,
}

impl Ready {
    pub(super) fn files(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.named.iter().chain(&self.unnamed)
    }
}

impl Spare {
    /// Whether the present generation of the file has no readers left.
    pub(super) fn unused(&self) -> bool {
        self.watch.unused()
    }
}
