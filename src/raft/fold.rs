//! From the records of a segment to its summary.
//!
//! Records are folded in the order in which they were committed. Only headers are looked at, but for the few records
//! whose label does not say everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::codec::state::{decode_conf, decode_hard, decode_state};
use super::codec::{Cursor, Kind, StateKind};
use super::error::{ContentProblem, Error, Result};
use super::index::{SegmentPositions, Width};
use super::state::{EntryId, SnapshotRef};
use super::summary::{Before, Effect, EntryRange, SegmentSummary};
use super::terms::Terms;
use crate::{Label, Lsn, SegmentReader};

/// The summary of a sealed segment, from its records.
///
/// # Errors
/// What reading gives; [`Error::Content`] for a record that this build does not understand.
pub(crate) fn summarize(segment: &SegmentReader) -> Result<SegmentSummary> {
    let mut folds: BTreeMap<u64, Fold> = BTreeMap::new();
    for head in segment.heads() {
        let head = head?;
        // A record without a label is none of ours: somebody shares the log with us.
        let Some(label) = head.label else { continue };
        let content =
            |problem| Error::Content { group: label.stream, index: label.sequence, lsn: head.lsn, problem };
        let kind = Kind::from_u8(label.kind).map_err(content)?;
        let record = if has_payload(kind) { Some(segment.read(head.lsn)?) } else { None };
        let payload = record.as_ref().map_or(&[][..], |record| record.payload());
        let fold = folds.entry(label.stream).or_default();
        fold.record(kind, label, head.lsn, payload).map_err(content)?;
    }
    Ok(assemble(folds, segment))
}

/// Whether a record's label leaves something to its payload that a summary needs.
fn has_payload(kind: Kind) -> bool {
    matches!(kind, Kind::HardState | Kind::ConfState | Kind::Snapshot | Kind::State(_))
}

fn assemble(folds: BTreeMap<u64, Fold>, segment: &SegmentReader) -> SegmentSummary {
    let (first_lsn, end_lsn) = (segment.first_lsn(), segment.end_lsn());
    let span = end_lsn.distance_from(first_lsn).unwrap_or(0);
    let width = if u32::try_from(span).is_ok() { Width::Four } else { Width::Eight };
    let entries: usize = folds.values().map(|fold| fold.lsns.len()).sum();
    let mut body = Vec::with_capacity(entries.saturating_mul(width.bytes()));
    let mut effects = BTreeMap::new();
    for (group, mut fold) in folds {
        fold.effect.range = fold.range(body.len() / width.bytes());
        for lsn in &fold.lsns {
            let distance = lsn.distance_from(first_lsn).unwrap_or(0).to_le_bytes();
            // The lower bytes come first, so the first four are the number when it fits into them.
            body.extend(distance.iter().take(width.bytes()));
        }
        effects.insert(group, fold.effect);
    }
    SegmentSummary {
        effects,
        positions: Arc::new(SegmentPositions {
            segment: segment.id(),
            first_lsn,
            end_lsn,
            width,
            body: body.into(),
        }),
    }
}

/// The effect of a group's records so far.
#[derive(Debug, Default)]
struct Fold {
    effect: Effect,
    first: u64,
    terms: Terms,
    lsns: Vec<Lsn>,
}

impl Fold {
    fn record(&mut self, kind: Kind, label: Label, lsn: Lsn, payload: &[u8]) -> Result<(), ContentProblem> {
        let id = EntryId { index: label.sequence, term: label.extra };
        if self.effect.removed && kind != Kind::State(StateKind::Created) {
            return Err(ContentProblem::Order);
        }
        match kind {
            Kind::Entry(_) => return self.entry(id, lsn),
            Kind::HardState => self.effect.hard = Some(decode_hard(payload)?),
            Kind::Applied => self.effect.applied = Some(id),
            Kind::Compacted => self.effect.compacted = Some(id),
            Kind::ConfState => self.effect.conf = Some((id.index, Arc::new(decode_conf(payload)?))),
            Kind::Snapshot => self.effect.snapshot = Some(decode_saved(id, payload)?),
            Kind::State(state) => self.state(state, lsn, payload)?,
            Kind::Removed => {
                *self = Fold::default();
                self.effect.before = Before::Gone;
                self.effect.removed = true;
            }
        }
        Ok(())
    }

    fn entry(&mut self, id: EntryId, lsn: Lsn) -> Result<(), ContentProblem> {
        if id.index == 0 {
            return Err(ContentProblem::Field("index"));
        }
        if self.lsns.is_empty() || id.index < self.first {
            self.forget_entries();
            self.first = id.index;
        }
        let next = self.first.saturating_add(self.lsns.len() as u64);
        if id.index > next {
            return Err(ContentProblem::Order);
        }
        if id.index < next {
            self.lsns.truncate(usize::try_from(id.index - self.first).unwrap_or(usize::MAX));
            self.terms.cut_from(id.index);
        }
        self.lsns.push(lsn);
        self.terms.push(id.index, id.term);
        Ok(())
    }

    fn state(&mut self, kind: StateKind, lsn: Lsn, payload: &[u8]) -> Result<(), ContentProblem> {
        let state = decode_state(payload)?;
        let before = match kind {
            StateKind::Restated => self.effect.before,
            StateKind::Created => Before::Gone,
            StateKind::Installed if self.effect.before == Before::Gone => Before::Gone,
            StateKind::Installed => Before::EntriesGone,
        };
        if kind != StateKind::Restated {
            self.forget_entries();
        }
        self.effect = Effect { before, state: Some((lsn, state)), ..Effect::default() };
        Ok(())
    }

    fn forget_entries(&mut self) {
        self.lsns.clear();
        self.terms.clear();
    }

    /// The entries as a range whose positions begin at number `at`.
    fn range(&self, at: usize) -> Option<EntryRange> {
        if self.lsns.is_empty() {
            return None;
        }
        Some(EntryRange {
            first: self.first,
            count: u32::try_from(self.lsns.len()).ok()?,
            at: u32::try_from(at).ok()?,
            terms: self.terms.runs().collect(),
        })
    }
}

/// The snapshot that a record of a saved one names.
fn decode_saved(at: EntryId, payload: &[u8]) -> Result<SnapshotRef, ContentProblem> {
    let mut cursor = Cursor::new(payload);
    let serial = cursor.u64()?;
    cursor.finish()?;
    Ok(SnapshotRef { at, serial })
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crate::raft::codec::entry::Shape;
    use crate::raft::codec::state::encode_state;
    use crate::raft::state::FullState;
    use ::raft::eraftpb::EntryType;

    const ENTRY: Kind = Kind::Entry(Shape { kind: EntryType::EntryNormal, has_context: false });

    fn feed(fold: &mut Fold, kind: Kind, index: u64, term: u64, lsn: u64) -> Result<(), ContentProblem> {
        let label = Label { kind: kind.to_u8(), stream: 1, sequence: index, extra: term };
        let payload =
            if matches!(kind, Kind::State(_)) { encode_state(&FullState::default()) } else { Vec::new() };
        fold.record(kind, label, Lsn::new(lsn), &payload)
    }

    fn entries(fold: &Fold) -> Vec<(u64, u64, u64)> {
        let range = fold.range(0).unwrap_or_default();
        (0..u64::from(range.count))
            .map(|n| (range.first + n, fold.terms.get(range.first + n).unwrap(), fold.lsns[n as usize].get()))
            .collect()
    }

    #[test]
    fn a_conflict_inside_a_segment_leaves_one_range() {
        let mut fold = Fold::default();
        for (n, (index, term)) in [(10, 1), (11, 1), (12, 1), (11, 2), (12, 2)].into_iter().enumerate() {
            feed(&mut fold, ENTRY, index, term, n as u64).unwrap();
        }
        assert_eq!(entries(&fold), [(10, 1, 0), (11, 2, 3), (12, 2, 4)]);
        feed(&mut fold, ENTRY, 8, 3, 9).unwrap();
        assert_eq!(entries(&fold), [(8, 3, 9)]);
        assert_eq!(feed(&mut fold, ENTRY, 10, 3, 10), Err(ContentProblem::Order));
    }

    #[test]
    fn an_installed_snapshot_forgets_entries_and_changes_before_it() {
        let mut fold = Fold::default();
        feed(&mut fold, ENTRY, 10, 1, 0).unwrap();
        feed(&mut fold, Kind::Applied, 9, 1, 1).unwrap();
        feed(&mut fold, Kind::State(StateKind::Installed), 50, 2, 2).unwrap();
        assert_eq!(fold.effect.before, Before::EntriesGone);
        assert_eq!(fold.effect.applied, None);
        feed(&mut fold, ENTRY, 51, 2, 3).unwrap();
        assert_eq!(entries(&fold), [(51, 2, 3)]);
    }

    #[test]
    fn a_restated_state_keeps_the_entries() {
        let mut fold = Fold::default();
        feed(&mut fold, ENTRY, 10, 1, 0).unwrap();
        feed(&mut fold, Kind::State(StateKind::Restated), 0, 0, 1).unwrap();
        assert_eq!(fold.effect.before, Before::Stands);
        assert_eq!(entries(&fold), [(10, 1, 0)]);
    }

    #[test]
    fn after_removal_only_a_creation_may_follow() {
        let mut fold = Fold::default();
        feed(&mut fold, ENTRY, 10, 1, 0).unwrap();
        feed(&mut fold, Kind::Removed, 0, 0, 1).unwrap();
        assert!(fold.effect.removed);
        assert_eq!(feed(&mut fold, ENTRY, 11, 1, 2), Err(ContentProblem::Order));
        feed(&mut fold, Kind::State(StateKind::Created), 0, 0, 3).unwrap();
        assert!(!fold.effect.removed);
        assert_eq!(fold.effect.before, Before::Gone);
        assert_eq!(entries(&fold), []);
    }
}
