//! The files that are kept beside the segments of the log.

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

/// A file that is part of nothing and is to be removed; it is there because nobody has come to it yet, or could not.
#[derive(Debug)]
pub(super) struct Surplus {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// The segments that were made ready and have no durable block yet.
///
/// A segment is handed to the commit path only when the superblock names it, durably: a file that may hold acknowledged
/// blocks never exists without a word about it elsewhere. As its generation page names the one made ready before, the newest
/// name stands for all that may be in use and have no durable header yet.
#[derive(Debug)]
pub(super) struct Ready {
    /// The one that was made ready last; at open, the newest of the log.
    pub(super) last: Option<SegmentId>,
    /// Named in the superblock, and handed out.
    pub(super) named: Vec<Arc<Segment>>,
    /// Made ready, and the superblock could not be written: what it says of the file is not known, so the file stays and
    /// is named before another one is made.
    pub(super) unnamed: Option<Arc<Segment>>,
}

impl Ready {
    pub(super) fn files(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.named.iter().chain(&self.unnamed)
    }
}

impl Spare {
    /// Whether nobody can read the file's present generation any more.
    pub(super) fn unused(&self) -> bool {
        self.watch.unused()
    }
}
