//! The table of the log's segments, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::lsn::{Lsn, SegmentId};
use crate::segment::Segment;

/// The segments of a log, oldest first. All but the last have ended.
#[derive(Debug)]
pub(crate) struct SegmentTable {
    segments: RwLock<Vec<Arc<Segment>>>,
    /// Whether segments should be mapped.
    mmap: bool,
    /// Number of segments that should be mapped but are not.
    without_mapping: AtomicU64,
}

impl SegmentTable {
    pub(crate) fn new(segments: Vec<Arc<Segment>>, mmap: bool) -> Self {
        assert!(
            segments.iter().rev().skip(1).all(|s| s.end().is_some()),
            "a segment before the newest has not ended"
        );
        let without_mapping = AtomicU64::new(lacking(&segments, mmap));
        SegmentTable { segments: RwLock::new(segments), mmap, without_mapping }
    }

    /// Number of segments read without a mapping although the options ask for one.
    pub(crate) fn without_mapping(&self) -> u64 {
        self.without_mapping.load(Ordering::Relaxed)
    }

    /// Adds the newest segment; the one before it ended at `end`.
    pub(super) fn push(&self, segment: Arc<Segment>, end: Lsn) {
        let mut segments = self.segments.write();
        if let Some(last) = segments.last()
            && last.end().is_none()
        {
            last.set_end(end);
        }
        self.without_mapping.fetch_add(lacking(std::slice::from_ref(&segment), self.mmap), Ordering::Relaxed);
        segments.push(segment);
    }

    /// The segment that the byte at `lsn` belongs to.
    #[inline]
    pub(crate) fn find(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let after = segments.partition_point(|s| s.first_lsn() <= lsn);
        after.checked_sub(1).and_then(|i| segments.get(i)).map(Arc::clone)
    }

    /// The first segment that begins after `lsn`.
    pub(crate) fn after(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let after = segments.partition_point(|s| s.first_lsn() <= lsn);
        segments.get(after).map(Arc::clone)
    }

    pub(crate) fn get(&self, id: SegmentId) -> Option<Arc<Segment>> {
        self.segments.read().iter().find(|s| s.id() == id).map(Arc::clone)
    }

    pub(crate) fn oldest(&self) -> Option<Arc<Segment>> {
        self.segments.read().first().map(Arc::clone)
    }

    /// The newest segment with a durable block, which the superblock may name, and where the one before it ended:
    /// everything below was durable before it got one.
    pub(super) fn newest_with_a_block(&self) -> Option<(SegmentId, Option<Lsn>)> {
        let segments = self.segments.read();
        let (at, newest) = segments.iter().enumerate().rfind(|(_, segment)| !segment.ended_empty())?;
        let before = segments.iter().take(at).next_back();
        Some((newest.id(), before.and_then(|segment| segment.end())))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.segments.read().clone()
    }

    /// How many of the oldest segments end at or below `lsn` and can be released, and which one would then be the
    /// oldest.
    pub(super) fn releasable(&self, lsn: Lsn) -> Option<(usize, SegmentId)> {
        let segments = self.segments.read();
        let ended = segments.iter().take_while(|s| s.end().is_some_and(|end| end <= lsn)).count();
        let count = ended.min(segments.len().saturating_sub(1));
        let oldest = segments.get(count)?.id();
        (count > 0).then_some((count, oldest))
    }

    pub(super) fn remove_oldest(&self, count: usize) -> Vec<Arc<Segment>> {
        let mut segments = self.segments.write();
        assert!(count < segments.len(), "{count} of {} segments would be released", segments.len());
        let removed: Vec<_> = segments.drain(..count).collect();
        self.without_mapping.fetch_sub(lacking(&removed, self.mmap), Ordering::Relaxed);
        removed
    }
}

/// Number of these that should be mapped but are not.
fn lacking(segments: &[Arc<Segment>], mmap: bool) -> u64 {
    if mmap { segments.iter().filter(|s| s.lacks_mapping()).count() as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LogUuid;
    use crate::format::DATA_START;
    use crate::format::segment::Generation;
    use crate::io::{Disk as _, RealDisk};

    fn segment(id: u64, mapped: bool, disk: &RealDisk) -> Arc<Segment> {
        let name = id.to_string();
        let file = disk.create(&name).unwrap();
        file.set_len(DATA_START + 4096).unwrap();
        let generation = Generation {
            uuid: LogUuid::from_bytes([1; 16]),
            id: SegmentId::new(id),
            salt: id,
            first_lsn: Lsn::new(4096 * id),
            capacity: 4096,
            block_align: 4096,
            recycled: false,
            before: None,
        };
        Arc::new(Segment::new(generation, file, name, disk.path().to_owned(), mapped).unwrap())
    }

    #[test]
    fn segments_that_should_be_mapped_and_are_not_are_counted_while_they_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        let segments = vec![segment(1, true, &disk), segment(2, false, &disk)];
        segments[0].set_end(Lsn::new(2 * 4096));
        assert_eq!(SegmentTable::new(segments.clone(), false).without_mapping(), 0, "not requested");
        let table = SegmentTable::new(segments, true);
        assert_eq!(table.without_mapping(), 1);
        table.push(segment(3, false, &disk), Lsn::new(3 * 4096));
        table.push(segment(4, true, &disk), Lsn::new(4 * 4096));
        assert_eq!(table.without_mapping(), 2);
        table.remove_oldest(2);
        assert_eq!(table.without_mapping(), 1);
        table.remove_oldest(1);
        assert_eq!(table.without_mapping(), 0);
    }
}
