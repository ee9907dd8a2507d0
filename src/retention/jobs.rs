//! The jobs of the segment manager, and their order.

use std::collections::VecDeque;

use crate::lsn::{Lsn, SegmentId};
use crate::segment::SpacePool;

/// Pending work. A commit may be waiting for a segment, so segments come first, unless the rest is far behind.
#[derive(Debug)]
pub(super) struct Jobs {
    pub(super) prepare: Option<(Lsn, SpacePool)>,
    pub(super) queue: VecDeque<Job>,
    next_id: SegmentId,
    pub(super) stop: bool,
    /// The manager sleeps without a time limit.
    pub(super) asleep: bool,
    /// Work that may hang has begun: the manager must check after a while, even if it sees no work under way by then,
    /// so that it is not woken each time.
    pub(super) watch: bool,
}

#[derive(Debug)]
pub(super) enum Job {
    /// A segment has its first durable block: the superblock must name it.
    Started { newest: SegmentId, durable: Lsn },
    /// There are files that do not belong to the log.
    RemoveSurplus,
    /// A segment has ended and its successor is durable.
    Seal { id: SegmentId, end: Lsn, digest: u32 },
}

impl Jobs {
    pub(super) fn new(next_id: SegmentId, surplus: bool) -> Self {
        let queue = surplus.then_some(Job::RemoveSurplus).into_iter().collect();
        Jobs { prepare: None, queue, next_id, stop: false, asleep: false, watch: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.prepare.is_none() && self.queue.is_empty()
    }

    pub(super) fn take_id(&mut self) -> SegmentId {
        let id = self.next_id;
        self.next_id = id.next();
        id
    }

    pub(super) fn take(&mut self) -> Option<Work> {
        if self.queue.len() > MOST_BEHIND {
            return self.queue.pop_front().map(Work::Job);
        }
        match self.prepare.take() {
            Some((first_lsn, pool)) => Some(Work::Prepare(self.take_id(), first_lsn, pool)),
            None => self.queue.pop_front().map(Work::Job),
        }
    }
}

/// With more jobs than this the next segment waits its turn, and commits may have to wait for it. Otherwise a log
/// that is written faster than its segments can be sealed would be read whole when opened after a crash. A rotation
/// makes two jobs.
const MOST_BEHIND: usize = 4;

/// The next piece of work.
#[derive(Debug)]
pub(super) enum Work {
    Prepare(SegmentId, Lsn, SpacePool),
    Job(Job),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(n: u64) -> Job {
        Job::Seal { id: SegmentId::new(n), end: Lsn::ZERO, digest: 0 }
    }

    #[test]
    fn the_next_segment_goes_first_unless_footers_are_far_behind() {
        let mut jobs = Jobs::new(SegmentId::new(1), false);
        jobs.queue.extend((0..MOST_BEHIND as u64 + 2).map(seal));
        jobs.prepare = Some((Lsn::ZERO, SpacePool::Ordinary));
        let before =
            std::iter::from_fn(|| jobs.take()).take_while(|work| matches!(work, Work::Job(_))).count();
        assert_eq!(before, 2);
        let after = std::iter::from_fn(|| jobs.take()).filter(|work| matches!(work, Work::Job(_))).count();
        assert_eq!(after, MOST_BEHIND);
        assert_eq!(jobs.next_id, SegmentId::new(2));
    }
}
