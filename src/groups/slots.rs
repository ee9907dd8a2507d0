//! All groups of a log in memory, and the summaries of its sealed segments.
//!
//! When a segment is sealed, its summary has the positions of its entries, and replaces the positions kept in memory.
//! A batch is applied to its groups under the log's own lock when it gets its place, and a segment is sealed after
//! everything in it was placed. So when a summary arrives, everything in it is already in the groups. The exception
//! is while the log is being opened: summaries that arrive then wait until the groups are built.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::contents::Slot;
use super::error::{Error, Result};
use super::summary::{SegmentSummary, builder};
use crate::error::{Corruption, CorruptionReason};
use crate::{SegmentId, SegmentReader, StreamRange, Summarizer, Summary};

/// The groups of one log.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: RwLock<HashMap<u64, Arc<Slot>>>,
    /// Summaries that arrived before the groups were built; `None` afterwards.
    early: Mutex<Option<Vec<(SegmentId, Summary)>>>,
}

impl Slots {
    /// No groups yet: a log is about to be replayed.
    pub(crate) fn to_fill() -> Slots {
        Slots { slots: RwLock::default(), early: Mutex::new(Some(Vec::new())) }
    }

    /// The groups are built: adopts the summaries that arrived in the meantime.
    pub(crate) fn filled(&self) {
        let early = self.early.lock().take();
        for (segment, summary) in early.into_iter().flatten() {
            self.adopt(segment, &summary);
        }
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Slot>> {
        self.slots.read().get(&id).cloned()
    }

    pub(crate) fn has(&self, id: u64) -> bool {
        self.slots.read().contains_key(&id)
    }

    pub(crate) fn require(&self, id: u64) -> Result<Arc<Slot>> {
        self.get(id).ok_or(Error::NoSuchGroup { group: id })
    }

    pub(crate) fn put(&self, slot: Arc<Slot>) {
        self.slots.write().insert(slot.id, slot);
    }

    pub(crate) fn put_all(&self, slots: impl Iterator<Item = Arc<Slot>>) {
        self.slots.write().extend(slots.map(|slot| (slot.id, slot)));
    }

    pub(crate) fn remove(&self, id: u64) {
        self.slots.write().remove(&id);
    }

    /// By ascending id, so that work on one group after another is always done in the same order.
    pub(crate) fn all(&self) -> Vec<Arc<Slot>> {
        let mut all: Vec<Arc<Slot>> = self.slots.read().values().cloned().collect();
        all.sort_unstable_by_key(|slot| slot.id);
        all
    }

    /// The ids, ascending.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.slots.read().keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// A segment has a summary.
    fn sealed(&self, segment: SegmentId, summary: &Summary) {
        if let Some(early) = &mut *self.early.lock() {
            early.push((segment, summary.clone()));
            return;
        }
        self.adopt(segment, summary);
    }

    fn adopt(&self, segment: SegmentId, summary: &Summary) {
        // A summary that cannot be decoded is ignored: memory has the positions, and the next open judges the footer.
        let Ok(summary) = SegmentSummary::decode(segment, summary) else { return };
        for (id, effect) in &summary.effects {
            let Some(slot) = self.get(*id) else { continue };
            let mut contents = slot.contents.write();
            for range in effect.ranges() {
                contents.positions.adopt(range.slice, &summary.positions);
            }
        }
    }
}

/// Makes the summaries of sealed segments and adopts their positions.
#[derive(Debug)]
pub(crate) struct GroupSummarizer {
    slots: Arc<Slots>,
}

impl GroupSummarizer {
    pub(crate) fn new(slots: Arc<Slots>) -> Self {
        GroupSummarizer { slots }
    }
}

impl Summarizer for GroupSummarizer {
    fn summarize(&self, segment: &SegmentReader) -> crate::Result<Summary> {
        match builder::summarize(segment) {
            Ok(summary) => Ok(summary.encode()),
            Err(Error::Log(e)) => Err(e),
            Err(other) => Err(as_corruption(segment, &other)),
        }
    }

    fn sealed(&self, segment: SegmentId, summary: &Summary) {
        self.slots.sealed(segment, summary);
    }
}

/// The log below knows nothing of groups; to it, a record that cannot be interpreted is content that contradicts
/// itself.
fn as_corruption(segment: &SegmentReader, error: &Error) -> crate::Error {
    let lsns = segment.first_lsn()..segment.end_lsn();
    let corruption = |lsns| Corruption::new(segment.path(), 0, lsns, CorruptionReason::Content);
    match error {
        Error::Content { group, index, lsn, .. } => {
            let hit = StreamRange { stream: *group, first: *index, last: *index };
            corruption(*lsn..*lsn).hitting(vec![hit]).into()
        }
        _ => corruption(lsns).into(),
    }
}
