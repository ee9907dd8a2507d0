//! All groups of a log, the order in which they change, and the log's summarizer.
//!
//! The log below calls the summarizer from a thread of its own, on which a commit may be waiting (for the next segment
//! to be ready). So [`Summarizer::sealed`] must not wait for a commit, but for a moment: a summary is put into a queue,
//! and if batches keep the log busy, the next one to be through takes it from there.
//!
//! ```text
//!   sealed():  queue ── order lock, within PATIENCE ── got it: adopt
//!                                                   └─ not: mark the queue as left to whoever submits next
//! ```
//!
//! Having had the order lock after the summary was queued, one knows that every record of that segment is in the groups
//! already: a batch holds the lock from before it enters the log until its groups show it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::error::{Error, Result};
use super::fold;
use super::group::Cell;
use super::members::Members;
use super::summary::SegmentSummary;
use crate::error::{Corruption, CorruptionReason};
use crate::{SegmentId, SegmentReader, StreamRange, Summarizer, Summary};

/// How long a summary waits for the order lock in the log's background thread.
const PATIENCE: Duration = Duration::from_millis(2);

/// What is decided under the order lock besides the order itself.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The highest incarnation that a group had.
    pub(crate) incarnation: u64,
}

/// The groups of one log.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Held while a batch enters the log and its groups: so groups change in the order of the log.
    pub(crate) order: Mutex<Order>,
    cells: RwLock<HashMap<u64, Arc<Cell>>>,
    /// Configurations that groups share.
    pub(crate) members: Members,
    sealed: Mutex<Vec<(SegmentId, Summary)>>,
    /// The background thread gave up waiting, and left the queue to whoever submits next.
    left: AtomicBool,
}

impl Groups {
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Cell>> {
        self.cells.read().get(&id).cloned()
    }

    pub(crate) fn require(&self, id: u64) -> Result<Arc<Cell>> {
        self.get(id).ok_or(Error::NoSuchGroup { group: id })
    }

    pub(crate) fn put(&self, cell: Arc<Cell>) {
        self.cells.write().insert(cell.id, cell);
    }

    pub(crate) fn put_all(&self, cells: impl Iterator<Item = Arc<Cell>>) {
        self.cells.write().extend(cells.map(|cell| (cell.id, cell)));
    }

    pub(crate) fn remove(&self, id: u64) -> Option<Arc<Cell>> {
        self.cells.write().remove(&id)
    }

    /// By ascending id: what is done for one group after another is done in the same order each time.
    pub(crate) fn all(&self) -> Vec<Arc<Cell>> {
        let mut all: Vec<Arc<Cell>> = self.cells.read().values().cloned().collect();
        all.sort_unstable_by_key(|cell| cell.id);
        all
    }

    /// The ids, ascending.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.cells.read().keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// A segment has a summary: takes its positions over, or leaves that to whoever submits next.
    fn sealed(&self, segment: SegmentId, summary: &Summary, patience: Duration) {
        self.sealed.lock().push((segment, summary.clone()));
        if !self.adopt_queued(patience) {
            self.left.store(true, Ordering::Release);
        }
    }

    /// Takes over the positions that the background thread left behind. To be called when a batch is through.
    pub(crate) fn adopt_left(&self) {
        if self.left.load(Ordering::Acquire) && self.left.swap(false, Ordering::AcqRel) {
            let adopted = self.adopt_queued(Duration::ZERO);
            self.left.fetch_or(!adopted, Ordering::AcqRel);
        }
    }

    /// Says whether what was in the queue is taken over.
    fn adopt_queued(&self, patience: Duration) -> bool {
        let queued = {
            let mut queue = self.sealed.lock();
            if self.order.try_lock_for(patience).is_none() {
                return false;
            }
            std::mem::take(&mut *queue)
        };
        for (segment, summary) in &queued {
            // What does not decode is left alone: memory has the positions, and the next open judges the footer.
            if let Ok(summary) = SegmentSummary::decode(*segment, summary) {
                self.adopt(&summary);
            }
        }
        true
    }

    fn adopt(&self, summary: &SegmentSummary) {
        for (id, effect) in &summary.effects {
            let Some(cell) = self.get(*id) else { continue };
            let mut group = cell.group.write();
            for range in effect.ranges() {
                group.positions.adopt(range.slice, &summary.positions);
            }
        }
    }
}

/// Makes the summaries of sealed segments, and takes their positions over.
#[derive(Debug)]
pub(crate) struct GroupSummarizer {
    groups: Arc<Groups>,
    patience: Duration,
}

impl GroupSummarizer {
    /// In a log without threads whoever seals a segment is who holds the order lock: waiting for it helps nobody.
    pub(crate) fn new(groups: Arc<Groups>, log_has_threads: bool) -> Self {
        GroupSummarizer { groups, patience: if log_has_threads { PATIENCE } else { Duration::ZERO } }
    }
}

impl Summarizer for GroupSummarizer {
    fn summarize(&self, segment: &SegmentReader) -> crate::Result<Summary> {
        match fold::summarize(segment) {
            Ok(summary) => Ok(summary.encode()),
            Err(Error::Log(e)) => Err(e),
            Err(other) => Err(as_corruption(segment, &other)),
        }
    }

    fn sealed(&self, segment: SegmentId, summary: &Summary) {
        self.groups.sealed(segment, summary, self.patience);
    }
}

/// The log below knows no groups; to it, a record that means nothing is content that contradicts itself.
fn as_corruption(segment: &SegmentReader, error: &Error) -> crate::Error {
    let lsns = segment.first_lsn()..segment.end_lsn();
    let corruption = Corruption::new(segment.path(), 0, lsns, CorruptionReason::Content);
    match error {
        Error::Content { group, index, .. } => {
            corruption.hitting(vec![StreamRange { stream: *group, first: *index, last: *index }]).into()
        }
        _ => corruption.into(),
    }
}
