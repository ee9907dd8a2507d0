//! From the segments to the groups, at open.
//!
//! Each segment is taken as its summary: the footer's, or one made from its records when there is none. To a group,
//! summaries are applied oldest first. Older segments may have been released; what is left of the groups that they held
//! is either made whole by a later State record, or belongs to a group that is removed further on. Nothing else is
//! tolerated: every group has to be whole in the end.
//!
//! A summary lists its groups by ascending id, so all of them are read side by side, and one group after another is made,
//! from beginning to end: with many groups, that is what the processor's caches are grateful for.
//!
//! ```text
//!   segment 5:   1   3   4       7           |
//!   segment 6:   1       4   5   7   9       |  a column is a group
//!   segment 8:       3   4           9       v
//! ```
//!
//! A removed group leaves no residue: the record of its removal is younger than all its other records, and releasing
//! frees the oldest first. As long as one of those is left, so is the removal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;
use std::sync::Arc;

use super::error::{ContentProblem, Error, Result};
use super::fold;
use super::group::{Cell, Group};
use super::groups::Groups;
use super::index::SegmentPositions;
use super::summary::{Before, Effect, Effects};
use crate::cores::Cores;
use crate::{Lsn, SegmentReader, Summary, Wal};

/// What a segment without a footer holds is read by one core when it is less than twice this.
const LEAST_PIECE: u64 = 2 << 20;

/// Fills `groups` with what the log holds.
pub(crate) fn replay(wal: &Wal, groups: &Groups, cores: Cores) -> Result<()> {
    // Summaries of segments sealed meanwhile wait in their queue.
    let mut order = groups.order.lock();
    let mut parts = parts_of(wal, cores)?;
    let merged = merge_trusting(&mut parts)?;
    order.incarnation = order.incarnation.max(merged.incarnation);
    for (id, group) in &merged.groups {
        group.verify_whole(*id)?;
    }
    groups.put_all(merged.groups.into_iter().map(|(id, mut group)| {
        group.full.conf = groups.members.share(group.full.conf);
        Cell::new(id, group)
    }));
    Ok(())
}

/// Puts the summaries together; a footer's that does not read is replaced by one from the records.
fn merge_trusting(parts: &mut [Part]) -> Result<Merged> {
    loop {
        let halt = match merge(parts) {
            Ok(merged) => return Ok(merged),
            Err(halt) => halt,
        };
        let unreadable = match &halt {
            Halt::Unreadable { part, .. } => parts.get_mut(*part).filter(|part| part.from_footer),
            Halt::Contradiction(_) => None,
        };
        let Some(part) = unreadable else { return Err(halt.into_error()) };
        *part = Part::fold(&part.segment)?;
    }
}

/// The groups of these segments, oldest first, by the summaries of those that have one of which every byte verifies.
pub(crate) fn of_segments(segments: &[SegmentReader]) -> Result<Merged> {
    let parts =
        segments.iter().filter(|s| s.first_lsn() < s.end_lsn()).map(|segment| match segment.summary() {
            Some(summary) => Ok(Part::kept(segment, summary)),
            None => Part::fold(segment),
        });
    merge_trusting(&mut parts.collect::<Result<Vec<_>>>()?)
}

/// The summary of a segment, or of some blocks of one.
#[derive(Debug)]
pub(crate) struct Part {
    segment: SegmentReader,
    summary: Summary,
    /// It was written by an earlier life, and maybe by another version of this crate. What does not read is as good as
    /// none.
    from_footer: bool,
}

impl Part {
    /// The one in the segment's footer.
    fn kept(segment: &SegmentReader, summary: Summary) -> Part {
        Part { segment: segment.clone(), summary, from_footer: true }
    }

    /// Made from the segment's records.
    pub(crate) fn fold(segment: &SegmentReader) -> Result<Part> {
        Part::fold_piece(segment, &(segment.first_lsn()..segment.end_lsn()))
    }

    /// Made from those of the segment's records that can be read.
    fn fold_rest(segment: &SegmentReader, wrong: &mut Vec<Error>) -> Result<Part> {
        let (summary, found) = fold::summarize_rest(segment)?;
        wrong.extend(found);
        Ok(Part { segment: segment.clone(), summary: summary.encode(), from_footer: false })
    }

    fn fold_piece(segment: &SegmentReader, blocks: &Range<Lsn>) -> Result<Part> {
        let summary = fold::summarize_piece(segment, blocks)?.encode();
        Ok(Part { segment: segment.clone(), summary, from_footer: false })
    }
}

/// What a part is made of.
enum Source {
    Footer(Summary),
    Records(Range<Lsn>),
}

/// The segments that hold anything, oldest first. One without a footer is read by all cores, and then is several parts.
fn parts_of(wal: &Wal, cores: Cores) -> Result<Vec<Part>> {
    let mut sources = Vec::new();
    for segment in wal.segments().into_iter().filter(|s| s.first_lsn < s.end_lsn) {
        let segment = wal.segment_reader(segment.id)?;
        // Of a footer's summary only the head was verified. What positions lead to is checked where it is read.
        if let Some(summary) = wal.summary(segment.id())? {
            sources.push((segment, Source::Footer(summary)));
            continue;
        }
        for blocks in segment.pieces(cores.get(), LEAST_PIECE)? {
            sources.push((segment.clone(), Source::Records(blocks)));
        }
    }
    cores.map(&sources, |(segment, source)| match source {
        Source::Footer(summary) => Ok(Part::kept(segment, summary.clone())),
        Source::Records(blocks) => Part::fold_piece(segment, blocks),
    })
}

/// What the summaries of a log make together.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// By ascending id. Whether they are whole was not looked at.
    pub(crate) groups: Vec<(u64, Group)>,
    /// The highest incarnation that a group had.
    incarnation: u64,
}

/// Why no groups can be made.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The summary with this number does not read.
    Unreadable { part: usize, group: u64, lsn: Lsn, problem: ContentProblem },
    /// The summaries read, and contradict each other.
    Contradiction(Error),
}

impl Halt {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Halt::Unreadable { group, lsn, problem, .. } => Error::Content { group, index: 0, lsn, problem },
            Halt::Contradiction(error) => error,
        }
    }
}

/// A summary that is being read.
struct Reading<'a> {
    part: usize,
    array: Arc<SegmentPositions>,
    effects: Effects<'a>,
    /// What was read and is not applied yet.
    next: Effect,
}

/// The groups of these segments as far as they can be read, and what is wrong: damage, and what does not follow from what was
/// read before. Of a group the first thing is told, and the group is as it was before it.
pub(crate) fn of_rest(segments: &[SegmentReader]) -> Result<(Merged, Vec<Error>)> {
    let (mut parts, mut wrong) = (Vec::new(), Vec::new());
    for segment in segments.iter().filter(|s| s.first_lsn() < s.end_lsn()) {
        // Where there is a good footer, it says what the segment held, damaged or not.
        let part = match segment.summary() {
            Some(summary) => Part::kept(segment, summary),
            None => Part::fold_rest(segment, &mut wrong)?,
        };
        parts.push(part);
    }
    loop {
        let mut contradictions = Vec::new();
        let mut keep = |group, error| {
            contradictions.push((group, error));
            Ok(())
        };
        let halt = match merge_with(&parts, &mut keep) {
            Ok(merged) => {
                wrong.extend(contradictions.into_iter().map(|(_, error)| error));
                return Ok((merged, wrong));
            }
            Err(halt) => halt,
        };
        match &halt {
            Halt::Unreadable { part, .. } => match parts.get_mut(*part) {
                Some(part) if part.from_footer => *part = Part::fold_rest(&part.segment, &mut wrong)?,
                _ => return Err(halt.into_error()),
            },
            Halt::Contradiction(_) => return Err(halt.into_error()),
        }
    }
}

/// Puts the summaries of segments together, oldest first.
pub(crate) fn merge(parts: &[Part]) -> std::result::Result<Merged, Halt> {
    merge_with(parts, &mut |_, error| Err(Halt::Contradiction(error)))
}

/// As [`merge`]. What a summary contradicts is told, and from there on nothing of that group counts, until it is gone.
fn merge_with(
    parts: &[Part],
    contradiction: &mut dyn FnMut(u64, Error) -> std::result::Result<(), Halt>,
) -> std::result::Result<Merged, Halt> {
    let mut merged = Merged::default();
    let mut readings = Vec::with_capacity(parts.len());
    let mut queue = BinaryHeap::with_capacity(parts.len());
    for (part, of) in parts.iter().enumerate() {
        let unreadable = |problem| Halt::Unreadable { part, group: 0, lsn: Lsn::ZERO, problem };
        let (array, effects) = Effects::of(of.segment.id(), &of.summary).map_err(unreadable)?;
        let mut reading = Reading { part, array, effects, next: Effect::default() };
        queue.extend(reading.advance()?.map(|group| Reverse((group, part))));
        readings.push(reading);
    }
    let (mut made, mut spoilt): (Option<(u64, Option<Group>)>, _) = (None, false);
    while let Some(mut first) = queue.peek_mut() {
        let Reverse((id, part)) = *first;
        let Some(reading) = readings.get_mut(part) else { break };
        if made.as_ref().is_none_or(|(of, _)| *of != id) {
            merged.take(made.replace((id, None)));
            spoilt = false;
        }
        spoilt &= reading.next.before != Before::Gone;
        if let Some((_, group)) = made.as_mut().filter(|_| !spoilt) {
            merged.see(&reading.next);
            if let Err(error) = apply(group, id, &reading.next, &reading.array) {
                spoilt = true;
                contradiction(id, error)?;
            }
        }
        match reading.advance()? {
            Some(next) => *first = Reverse((next, part)),
            None => drop(PeekMut::pop(first)),
        }
    }
    merged.take(made);
    Ok(merged)
}

impl Merged {
    fn take(&mut self, made: Option<(u64, Option<Group>)>) {
        if let Some((id, Some(group))) = made {
            self.groups.push((id, group));
        }
    }

    fn see(&mut self, effect: &Effect) {
        if let Some((_, state)) = &effect.state {
            self.incarnation = self.incarnation.max(state.incarnation);
        }
    }
}

impl Reading<'_> {
    /// Reads what the segment did to its next group, and says which that is.
    fn advance(&mut self) -> std::result::Result<Option<u64>, Halt> {
        match self.effects.next() {
            Some(Ok((group, effect))) => {
                self.next = effect;
                Ok(Some(group))
            }
            Some(Err(problem)) => {
                let group = self.effects.group().unwrap_or(0);
                Err(Halt::Unreadable { part: self.part, group, lsn: self.array.first_lsn, problem })
            }
            None => Ok(None),
        }
    }
}

/// Adds what one segment did to one group, which is there or not.
fn apply(group: &mut Option<Group>, id: u64, effect: &Effect, array: &Arc<SegmentPositions>) -> Result<()> {
    if effect.before == Before::Gone {
        *group = None;
    }
    if effect.removed {
        return Ok(());
    }
    let group = group.get_or_insert_default();
    if let Some((lsn, state)) = &effect.state {
        match effect.before {
            Before::EntriesGone => group.install(state.clone(), *lsn),
            Before::Stands | Before::Gone => group.restate(state.clone(), *lsn),
        }
    }
    // What was appended replaces nothing that was relocated into the same segment: see `summary`.
    for range in &effect.relocated {
        group.replay_relocated(range, array).map_err(|index| Error::Content {
            group: id,
            index,
            lsn: array.first_lsn,
            problem: ContentProblem::Order,
        })?;
    }
    if let Some(range) = &effect.appended {
        group.cut_for(range.slice.first);
        group.push_mapped(range, array);
    }
    if let Some(to) = effect.compacted {
        group.compact(to);
    }
    if let Some(hard) = effect.hard {
        group.set_hard(hard);
    }
    if let Some(applied) = effect.applied {
        group.set_applied(applied);
    }
    if let Some((index, conf)) = &effect.conf {
        group.set_conf(*index, Arc::clone(conf));
    }
    if let Some(snapshot) = effect.snapshot {
        group.set_snapshot(snapshot);
    }
    // A State in the middle of the segment may have said that some of its entries are compacted.
    group.trim();
    // What is found at open is durable.
    group.reset_lsn = None;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::raft::state::FullState;
    use crate::raft::{RaftLog, RaftOptions};
    use ::raft::eraftpb::{ConfState, Entry, HardState, Snapshot};

    /// All that replay knows of a group: State, where it lies, terms, positions.
    type Shape = (u64, FullState, Option<Lsn>, Vec<(u64, u64)>, Option<u64>, Vec<Lsn>);

    fn shapes(merged: Merged) -> Vec<Shape> {
        let shape = |(id, group): (u64, Group)| {
            let mut lsns = Vec::new();
            let (first, end) = (group.positions.first(), group.positions.end().unwrap_or(0));
            group.positions.copy(first.unwrap_or(0), end, &mut lsns);
            (id, group.full, group.state_lsn, group.terms.runs().collect(), first, lsns)
        };
        merged.groups.into_iter().map(shape).collect()
    }

    fn in_pieces(wal: &Wal, most: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        for segment in wal.segments() {
            let reader = wal.segment_reader(segment.id).unwrap();
            let pieces = reader.pieces(most, 1).unwrap();
            assert!(
                pieces.len() <= most
                    && pieces.iter().zip(pieces.iter().skip(1)).all(|(a, b)| a.end == b.start)
            );
            parts.extend(pieces.iter().map(|piece| Part::fold_piece(&reader, piece).unwrap()));
        }
        parts
    }

    fn step(log: &RaftLog, id: u64, draw: u64) {
        let Some(group) = log.group(id) else {
            log.create_group(id, ConfState::from((vec![1, draw % 5 + 2], vec![]))).unwrap();
            return;
        };
        let state = group.recover();
        let mut batch = log.batch();
        match draw % 16 {
            0 if draw > 200 => batch.remove_group(id).unwrap(),
            1 => {
                let mut snapshot = Snapshot::default();
                let metadata = snapshot.mut_metadata();
                metadata.index = state.last_index + 3;
                metadata.term = state.term + 1;
                metadata.mut_conf_state().voters = vec![1, 2];
                batch.install_snapshot(id, &snapshot).unwrap();
            }
            2 | 3 if state.commit > state.snapshot.map_or(0, |(index, _)| index) => {
                let applied = state.applied.max(state.commit);
                batch.set_applied(id, applied, ::raft::Storage::term(&group, applied).unwrap()).unwrap();
                log.commit(batch).unwrap();
                group.save_snapshot(applied, ConfState::from((vec![1, 2, 3], vec![])), b"state").unwrap();
                batch = log.batch();
                batch.compact(id, applied).unwrap();
            }
            _ => {
                let overwritten = (state.last_index - state.commit).min(draw % 4);
                let (first, term) = (state.last_index + 1 - overwritten, state.term + draw % 2);
                let entries: Vec<Entry> = (first..first + 5)
                    .map(|index| Entry { index, term, data: vec![7; 90].into(), ..Entry::default() })
                    .collect();
                batch.append(id, &entries).unwrap();
                batch
                    .set_hard_state(id, &HardState { term, commit: first + 1, ..HardState::default() })
                    .unwrap();
            }
        }
        log.commit(batch).unwrap();
    }

    fn history(dir: &tempfile::TempDir) -> RaftLog {
        let log = RaftOptions::new().wal(Options::new().segment_size(64 << 10)).open(dir.path()).unwrap();
        let mut random = 9u64;
        for _ in 0..900 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            step(&log, (random >> 33) % 7 + 1, (random >> 40) % 256);
        }
        log
    }

    #[test]
    fn a_segment_in_pieces_makes_the_groups_that_the_whole_makes() {
        let dir = tempfile::tempdir().unwrap();
        let log = history(&dir);
        let wal = log.wal();
        assert!(wal.segments().len() > 3);
        let whole = shapes(merge(&in_pieces(wal, 1)).unwrap());
        assert_eq!(whole.len(), log.groups().len());
        for most in [2, 3, 50] {
            let parts = in_pieces(wal, most);
            assert!(parts.len() > wal.segments().len());
            assert_eq!(shapes(merge(&parts).unwrap()), whole, "{most} pieces");
        }
    }

    #[test]
    fn a_summary_that_does_not_read_to_its_end_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let log = history(&dir);
        let mut parts = in_pieces(log.wal(), 1);
        let whole = shapes(merge(&parts).unwrap());
        let spoilt = parts.len() / 2;
        let (good, from) = (parts[spoilt].summary.clone(), parts[spoilt].segment.clone());
        let cut = good.head.slice(..good.head.len() - 3);
        parts[spoilt].summary.head = cut.clone();
        let halt = merge(&parts).unwrap_err();
        assert!(matches!(halt, Halt::Unreadable { part, .. } if part == spoilt), "{halt:?}");
        parts[spoilt].from_footer = true;
        assert_eq!(shapes(merge_trusting(&mut parts).unwrap()), whole);
        assert!(!parts[spoilt].from_footer);
        parts[spoilt] =
            Part { segment: from, summary: Summary { head: cut, body: good.body }, from_footer: false };
        let refused = merge_trusting(&mut parts).unwrap_err();
        assert!(matches!(refused, Error::Content { .. }), "{refused}");
    }
}
