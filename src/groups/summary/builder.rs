//! From the records of a segment to its summary.
//!
//! Records are folded in the order in which they were committed. Only headers are looked at, but for the few records
//! whose label does not say everything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::codec::state::{decode_conf, decode_hard, decode_state};
use super::codec::{Cursor, Kind, StateKind};
use super::error::{ContentProblem, Error, Result};
use super::index::{SegmentPositions, Slice, Width};
use super::state::{EntryId, SnapshotRef};
use super::summary::{Before, Effect, EntryRange, SegmentSummary};
use super::terms::Terms;
use crate::error::Error as LogError;
use crate::mutation::{Mutation, mutated};
use crate::{Batch, Label, Lsn, RecordHead, SegmentReader};

/// The summary of a sealed segment, from its records.
///
/// # Errors
/// What reading gives; [`Error::Content`] for a record that this build does not understand.
pub(crate) fn summarize(segment: &SegmentReader) -> Result<SegmentSummary> {
    summarize_piece(segment, &(segment.first_lsn()..segment.end_lsn()))
}

/// The summary of what some blocks of a sealed segment do; one of a segment may be several of these, one after the other.
///
/// # Errors
/// As [`summarize`].
pub(crate) fn summarize_piece(segment: &SegmentReader, blocks: &Range<Lsn>) -> Result<SegmentSummary> {
    let mut folds: HashMap<u64, Fold> = HashMap::new();
    for head in segment.heads_within(blocks) {
        add(&mut folds, segment, &head?)?;
    }
    Ok(assemble(folds, segment))
}

/// As [`summarize`], past what cannot be read or does not follow: the summary of the rest, and what is wrong, of a group the
/// first thing only.
///
/// # Errors
/// What is no fault of the segment's bytes.
pub(crate) fn summarize_rest(segment: &SegmentReader) -> Result<(SegmentSummary, Vec<Error>)> {
    let mut folds: HashMap<u64, Fold> = HashMap::new();
    let (mut wrong, mut hit) = (Vec::new(), HashSet::new());
    for head in segment.salvage() {
        let group = head.as_ref().ok().and_then(|head| head.label).map(|label| label.stream);
        match head.map_err(Error::from).and_then(|head| add(&mut folds, segment, &head)) {
            Ok(()) => {}
            Err(e @ (Error::Log(LogError::Corruption(_)) | Error::Content { .. })) => {
                if group.is_none_or(|group| hit.insert(group)) {
                    wrong.push(e);
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok((assemble(folds, segment), wrong))
}

/// Adds what one record says.
fn add(folds: &mut HashMap<u64, Fold>, segment: &SegmentReader, head: &RecordHead) -> Result<()> {
    // A record without a label is not the Raft layer's: the log is shared.
    let Some(label) = head.label else { return Ok(()) };
    let content =
        |problem| Error::Content { group: label.stream, index: label.sequence, lsn: head.lsn, problem };
    let kind = Kind::from_u8(label.kind).map_err(content)?;
    let record = if has_payload(kind) { Some(segment.read(head.lsn)?) } else { None };
    let payload = record.as_ref().map_or(&[][..], |record| record.payload());
    let fold = folds.entry(label.stream).or_default();
    let size = Batch::record_size(u64::from(head.payload_len), true);
    fold.record(kind, label, Place { lsn: head.lsn, size }, payload).map_err(content)
}

/// Whether a record's label leaves something to its payload that a summary needs.
fn has_payload(kind: Kind) -> bool {
    matches!(kind, Kind::HardState | Kind::ConfState | Kind::Snapshot | Kind::State(_))
}

fn assemble(folds: HashMap<u64, Fold>, segment: &SegmentReader) -> SegmentSummary {
    let mut folds: Vec<_> = folds.into_iter().collect();
    folds.sort_unstable_by_key(|(group, _)| *group);
    let (first_lsn, end_lsn) = (segment.first_lsn(), segment.end_lsn());
    let span = end_lsn.distance_from(first_lsn).unwrap_or(0);
    let width = if u32::try_from(span).is_ok() { Width::Four } else { Width::Eight };
    let entries: usize = folds.iter().map(|(_, fold)| fold.appended.len() + fold.relocated.len()).sum();
    let mut body = Vec::with_capacity(entries.saturating_mul(width.bytes()));
    let mut effects = BTreeMap::new();
    for (group, mut fold) in folds {
        let mut at = body.len() / width.bytes();
        fold.effect.relocated = fold.relocated_ranges(at);
        at += fold.relocated.len();
        fold.effect.appended = fold.appended_range(at);
        for place in fold.relocated.values().map(|(place, _)| place).chain(&fold.appended) {
            let distance = place.lsn.distance_from(first_lsn).unwrap_or(0).to_le_bytes();
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

/// A record's place.
#[derive(Clone, Copy, Debug)]
struct Place {
    lsn: Lsn,
    size: u64,
}

/// The effect of a group's records so far.
#[derive(Debug, Default)]
struct Fold {
    effect: Effect,
    /// The first index that was appended, if any was.
    first: u64,
    /// Of the entries that were appended.
    terms: Terms,
    appended: Vec<Place>,
    /// The entries that were relocated, with their terms.
    relocated: BTreeMap<u64, (Place, u64)>,
}

impl Fold {
    fn record(
        &mut self,
        kind: Kind,
        label: Label,
        place: Place,
        payload: &[u8],
    ) -> Result<(), ContentProblem> {
        let id = EntryId { index: label.sequence, term: label.extra };
        if self.effect.removed && kind != Kind::State(StateKind::Created) {
            return Err(ContentProblem::Order);
        }
        match kind {
            Kind::Entry(_) => return self.append(id, place),
            Kind::Relocated(_) => return self.relocate(id, place),
            Kind::HardState => self.effect.hard = Some(decode_hard(payload)?),
            Kind::Applied => self.effect.applied = Some(id),
            Kind::Compacted => self.effect.compacted = Some(id),
            Kind::ConfState => self.effect.conf = Some((id.index, Arc::new(decode_conf(payload)?))),
            Kind::Snapshot => self.effect.snapshot = Some(decode_saved(id, payload)?),
            Kind::State(state) => self.state(state, place.lsn, payload)?,
            Kind::Removed => {
                *self = Fold::default();
                self.effect.before = Before::Gone;
                self.effect.removed = true;
            }
        }
        Ok(())
    }

    fn append(&mut self, id: EntryId, place: Place) -> Result<(), ContentProblem> {
        if id.index == 0 {
            return Err(ContentProblem::Field("index"));
        }
        if self.appended.is_empty() || id.index < self.first {
            self.appended.clear();
            self.terms.clear();
            // What was relocated before is replaced as everything else is.
            drop(self.relocated.split_off(&id.index));
            self.first = id.index;
        }
        let next = self.first.saturating_add(self.appended.len() as u64);
        if id.index > next {
            return Err(ContentProblem::Order);
        }
        if id.index < next {
            if !mutated(Mutation::Suffix) {
                self.appended.truncate(usize::try_from(id.index - self.first).unwrap_or(usize::MAX));
            }
            self.terms.cut_from(id.index);
        }
        self.appended.push(place);
        self.terms.push(id.index, id.term);
        Ok(())
    }

    /// What is relocated comes from an older segment, so it was neither appended in this one nor relocated into it.
    fn relocate(&mut self, id: EntryId, place: Place) -> Result<(), ContentProblem> {
        if id.index == 0 {
            return Err(ContentProblem::Field("index"));
        }
        let replaced = !self.appended.is_empty() && id.index >= self.first;
        if replaced || self.relocated.insert(id.index, (place, id.term)).is_some() {
            return Err(ContentProblem::Order);
        }
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
        self.appended.clear();
        self.terms.clear();
        self.relocated.clear();
    }

    /// The appended entries as a range whose positions begin at number `at`.
    fn appended_range(&self, at: usize) -> Option<EntryRange> {
        if self.appended.is_empty() {
            return None;
        }
        let slice = Slice {
            first: self.first,
            count: u32::try_from(self.appended.len()).ok()?,
            at: u32::try_from(at).ok()?,
            bytes: self.appended.iter().try_fold(0u64, |sum, place| sum.checked_add(place.size)),
        };
        Some(EntryRange { slice, terms: self.terms.runs().collect() })
    }

    /// The relocated entries as ranges of consecutive ones, whose positions begin at number `at`. Within a range terms
    /// do not fall.
    fn relocated_ranges(&self, at: usize) -> Vec<EntryRange> {
        let mut ranges: Vec<EntryRange> = Vec::new();
        for (n, (index, (place, term))) in self.relocated.iter().enumerate() {
            if let Some(range) = ranges.last_mut()
                && range.slice.first.checked_add(u64::from(range.slice.count)) == Some(*index)
                && let Some((_, last)) = range.terms.last().copied().filter(|(_, last)| last <= term)
            {
                range.slice.count += 1;
                range.slice.bytes = range.slice.bytes.and_then(|bytes| bytes.checked_add(place.size));
                if last < *term {
                    range.terms.push((*index, *term));
                }
                continue;
            }
            let Ok(at) = u32::try_from(at + n) else { break };
            let slice = Slice { first: *index, count: 1, at, bytes: Some(place.size) };
            ranges.push(EntryRange { slice, terms: vec![(*index, *term)] });
        }
        ranges
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

    const MOVED: Kind = Kind::Relocated(Shape { kind: EntryType::EntryNormal, has_context: false });

    fn feed(fold: &mut Fold, kind: Kind, index: u64, term: u64, lsn: u64) -> Result<(), ContentProblem> {
        let label = Label { kind: kind.to_u8(), stream: 1, sequence: index, extra: term };
        let payload =
            if matches!(kind, Kind::State(_)) { encode_state(&FullState::default()) } else { Vec::new() };
        fold.record(kind, label, Place { lsn: Lsn::new(lsn), size: 48 }, &payload)
    }

    fn entries(fold: &Fold) -> Vec<(u64, u64, u64)> {
        let Some(range) = fold.appended_range(0) else { return Vec::new() };
        let Slice { first, count, .. } = range.slice;
        (0..u64::from(count))
            .map(|n| (first + n, fold.terms.get(first + n).unwrap(), fold.appended[n as usize].lsn.get()))
            .collect()
    }

    fn relocated(fold: &Fold) -> Vec<(u64, u32, u32)> {
        fold.relocated_ranges(7).iter().map(|r| (r.slice.first, r.slice.count, r.slice.at)).collect()
    }

    #[test]
    fn relocated_entries_replace_nothing_and_are_replaced() {
        let mut fold = Fold::default();
        for (n, index) in [5, 6, 1, 2, 3].into_iter().enumerate() {
            feed(&mut fold, MOVED, index, 1, n as u64).unwrap();
        }
        assert_eq!(relocated(&fold), [(1, 3, 7), (5, 2, 10)]);
        assert!(entries(&fold).is_empty());
        feed(&mut fold, ENTRY, 10, 1, 9).unwrap();
        assert_eq!(feed(&mut fold, MOVED, 10, 1, 10), Err(ContentProblem::Order));
        feed(&mut fold, MOVED, 9, 1, 11).unwrap();
        assert_eq!(relocated(&fold), [(1, 3, 7), (5, 2, 10), (9, 1, 12)]);
        feed(&mut fold, ENTRY, 6, 2, 12).unwrap();
        assert_eq!((relocated(&fold), entries(&fold)), (vec![(1, 3, 7), (5, 1, 10)], vec![(6, 2, 12)]));
        assert_eq!(feed(&mut fold, MOVED, 2, 1, 13), Err(ContentProblem::Order));
        feed(&mut fold, Kind::State(StateKind::Installed), 50, 2, 14).unwrap();
        assert_eq!((relocated(&fold), entries(&fold)), (vec![], vec![]));
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
