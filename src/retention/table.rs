//! The segments of the log, in order.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::lsn::{Lsn, SegmentId};
use crate::segment::Segment;

/// The segments of a log, oldest first. All but the last have ended.
#[derive(Debug)]
pub(crate) struct SegmentTable(RwLock<Vec<Arc<Segment>>>);

impl SegmentTable {
    pub(crate) fn new(segments: Vec<Arc<Segment>>) -> Self {
        SegmentTable(RwLock::new(segments))
    }

    /// Adds the newest segment; the one before it ended at `end`.
    pub(super) fn push(&self, segment: Arc<Segment>, end: Lsn) {
        let mut segments = self.0.write();
        if let Some(last) = segments.last()
            && last.end().is_none()
        {
            last.set_end(end);
        }
        segments.push(segment);
    }

    /// The segment that the byte at `lsn` would lie in.
    #[inline]
    pub(crate) fn find(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let segments = self.0.read();
        let after = segments.partition_point(|s| s.first_lsn() <= lsn);
        after.checked_sub(1).and_then(|i| segments.get(i)).map(Arc::clone)
    }

    /// The first segment that begins behind `lsn`.
    pub(crate) fn after(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let segments = self.0.read();
        let after = segments.partition_point(|s| s.first_lsn() <= lsn);
        segments.get(after).map(Arc::clone)
    }

    pub(crate) fn get(&self, id: SegmentId) -> Option<Arc<Segment>> {
        self.0.read().iter().find(|s| s.id() == id).map(Arc::clone)
    }

    pub(crate) fn oldest(&self) -> Option<Arc<Segment>> {
        self.0.read().first().map(Arc::clone)
    }

    pub(crate) fn newest(&self) -> Option<Arc<Segment>> {
        self.0.read().last().map(Arc::clone)
    }

    /// The newest segment, and where the one before it ended: all below was durable before the newest had a block.
    pub(super) fn newest_and_its_start(&self) -> (Option<SegmentId>, Lsn) {
        let segments = self.0.read();
        let before = segments.len().checked_sub(2).and_then(|at| segments.get(at));
        let end = before.and_then(|segment| segment.end()).unwrap_or(Lsn::ZERO);
        (segments.last().map(|segment| segment.id()), end)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.0.read().clone()
    }

    /// How many of the oldest segments end at or below `lsn` and can go, and which one is the oldest then.
    pub(super) fn releasable(&self, lsn: Lsn) -> Option<(usize, SegmentId)> {
        let segments = self.0.read();
        let ended = segments.iter().take_while(|s| s.end().is_some_and(|end| end <= lsn)).count();
        let count = ended.min(segments.len().saturating_sub(1));
        let oldest = segments.get(count)?.id();
        (count > 0).then_some((count, oldest))
    }

    pub(super) fn remove_oldest(&self, count: usize) -> Vec<Arc<Segment>> {
        let mut segments = self.0.write();
        let count = count.min(segments.len());
        segments.drain(..count).collect()
    }
}
