//! Replay: from segments to groups, at open.
//!
//! Each segment is represented by its summary: the footer's, or one made from its records if there is none. For each
//! group, summaries are applied oldest first. Older segments may have been released; what remains of the groups in
//! them is either completed by a later State record, or belongs to a group that is removed later. Nothing else is
//! tolerated: in the end every group must be complete.
//!
//! A summary lists its groups by ascending id, so all summaries are read in parallel and groups are built one after
//! the other. With many groups this suits the processor's caches.
//!
//! ```text
//!   segment 5:   1   3   4       7           |
//!   segment 6:   1       4   5   7   9       |  a column is a group
//!   segment 8:       3   4           9       v
//! ```
//!
//! A removed group leaves no residue: the record of its removal is younger than all its other records, and a release
//! frees the oldest first. As long as any of those is left, so is the removal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;
use std::sync::Arc;

use super::contents::{Contents, Slot};
use super::error::{ContentProblem, Error, Result};
use super::index::SegmentPositions;
use super::slots::Slots;
use super::summary::{Before, Effect, Effects, Suffix, builder};
use crate::cores::Cores;
use crate::{Lsn, SegmentReader, Summary, Wal};

/// A segment without a footer that holds less than twice this is read by one core.
const LEAST_PIECE: u64 = 2 << 20;

/// Fills `slots` with the contents of the log.
pub(crate) fn replay(wal: &Wal, slots: &Slots, cores: Cores) -> Result<()> {
    let mut parts = parts_of(wal, cores)?;
    let merged = merge_trusting(&mut parts)?;
    for (id, contents) in &merged {
        contents.verify_whole(*id)?;
    }
    slots.put_all(merged.into_iter().map(|(id, contents)| Slot::new(id, contents)));
    Ok(())
}

/// Merges the summaries; a footer's summary that cannot be decoded is replaced by one made from the records.
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
        *part = Part::of_records(&part.segment)?;
    }
}

/// The groups of these segments, oldest first, using the summaries in which every byte verifies.
pub(crate) fn of_segments(segments: &[SegmentReader]) -> Result<Merged> {
    let parts =
        segments.iter().filter(|s| s.first_lsn() < s.end_lsn()).map(|segment| match segment.summary() {
            Some(summary) => Ok(Part::of_footer(segment, summary)),
            None => Part::of_records(segment),
        });
    merge_trusting(&mut parts.collect::<Result<Vec<_>>>()?)
}

/// The summary of a segment, or of some blocks of one.
#[derive(Debug)]
pub(crate) struct Part {
    segment: SegmentReader,
    summary: Summary,
    /// It may have been written by another version of this crate. If it cannot be decoded, it counts as missing.
    from_footer: bool,
}

impl Part {
    /// The one in the segment's footer.
    fn of_footer(segment: &SegmentReader, summary: Summary) -> Part {
        Part { segment: segment.clone(), summary, from_footer: true }
    }

    /// Makes a part from the segment's records.
    pub(crate) fn of_records(segment: &SegmentReader) -> Result<Part> {
        Part::of_piece(segment, &(segment.first_lsn()..segment.end_lsn()))
    }

    /// Makes a part from the readable records of the segment.
    fn of_rest(segment: &SegmentReader, wrong: &mut Vec<Error>) -> Result<Part> {
        let (summary, found) = builder::summarize_rest(segment)?;
        wrong.extend(found);
        Ok(Part { segment: segment.clone(), summary: summary.encode(), from_footer: false })
    }

    fn of_piece(segment: &SegmentReader, blocks: &Range<Lsn>) -> Result<Part> {
        let summary = builder::summarize_piece(segment, blocks)?.encode();
        Ok(Part { segment: segment.clone(), summary, from_footer: false })
    }
}

/// What a part is made from.
enum Source {
    Footer(Summary),
    Records(Range<Lsn>),
}

/// The non-empty segments, oldest first. One without a footer is read by all cores, and then is several parts.
fn parts_of(wal: &Wal, cores: Cores) -> Result<Vec<Part>> {
    let mut sources = Vec::new();
    for segment in wal.segments().into_iter().filter(|s| s.first_lsn < s.end_lsn) {
        let segment = wal.segment_reader(segment.id)?;
        // Of a footer's summary only the head was verified. What positions lead to is checked when it is read.
        if let Some(summary) = wal.summary(segment.id())? {
            sources.push((segment, Source::Footer(summary)));
            continue;
        }
        for blocks in segment.pieces(cores.get(), LEAST_PIECE)? {
            sources.push((segment.clone(), Source::Records(blocks)));
        }
    }
    cores.map(&sources, |(segment, source)| match source {
        Source::Footer(summary) => Ok(Part::of_footer(segment, summary.clone())),
        Source::Records(blocks) => Part::of_piece(segment, blocks),
    })
}

/// The result of merging the summaries of a log: groups by ascending id. Completeness is not checked.
pub(crate) type Merged = Vec<(u64, Contents)>;

/// Why no groups can be built.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The summary with this number cannot be decoded.
    Unreadable { part: usize, problem: ContentProblem },
    /// The summaries can be decoded but contradict each other.
    Contradiction(Error),
}

impl Halt {
    pub(crate) fn into_error(self) -> Error {
        match self {
            // A footer that cannot be decoded is replaced by what its segment's records say, so this one was made
            // just now.
            Halt::Unreadable { problem, .. } => {
                Error::internal(format!("the summary of a segment's records cannot be decoded: {problem}"))
            }
            Halt::Contradiction(error) => error,
        }
    }
}

/// A summary being read.
struct Reading<'a> {
    part: usize,
    array: Arc<SegmentPositions>,
    effects: Effects<'a>,
    /// Read but not applied yet.
    next: Effect,
}

/// The groups of these segments as far as they can be read, and the problems: damage, and contradictions to what was
/// read before. For each group only the first problem is reported, and the group is as it was before it.
pub(crate) fn of_rest(segments: &[SegmentReader]) -> Result<(Merged, Vec<Error>)> {
    let (mut parts, mut wrong) = (Vec::new(), Vec::new());
    for segment in segments.iter().filter(|s| s.first_lsn() < s.end_lsn()) {
        // Where there is a good footer, it describes what the segment held, damaged or not.
        let part = match segment.summary() {
            Some(summary) => Part::of_footer(segment, summary),
            None => Part::of_rest(segment, &mut wrong)?,
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
                Some(part) if part.from_footer => *part = Part::of_rest(&part.segment, &mut wrong)?,
                _ => return Err(halt.into_error()),
            },
            Halt::Contradiction(_) => return Err(halt.into_error()),
        }
    }
}

/// Merges the summaries of segments, oldest first.
pub(crate) fn merge(parts: &[Part]) -> std::result::Result<Merged, Halt> {
    merge_with(parts, &mut |_, error| Err(Halt::Contradiction(error)))
}

/// Like [`merge`]. A contradiction is reported, and from there on the group is ignored until it is removed.
fn merge_with(
    parts: &[Part],
    contradiction: &mut dyn FnMut(u64, Error) -> std::result::Result<(), Halt>,
) -> std::result::Result<Merged, Halt> {
    let mut merged = Merged::new();
    let mut readings = Vec::with_capacity(parts.len());
    let mut queue = BinaryHeap::with_capacity(parts.len());
    for (part, of) in parts.iter().enumerate() {
        let unreadable = |problem| Halt::Unreadable { part, problem };
        let (array, effects) = Effects::of(of.segment.id(), &of.summary).map_err(unreadable)?;
        let mut reading = Reading { part, array, effects, next: Effect::default() };
        queue.extend(reading.advance()?.map(|group| Reverse((group, part))));
        readings.push(reading);
    }
    let (mut made, mut spoilt): (Option<(u64, Option<Contents>)>, _) = (None, false);
    while let Some(mut first) = queue.peek_mut() {
        let Reverse((id, part)) = *first;
        let Some(reading) = readings.get_mut(part) else {
            return Err(Halt::Contradiction(Error::internal("a summary is queued that is not being read")));
        };
        if made.as_ref().is_none_or(|(of, _)| *of != id) {
            keep(&mut merged, made.replace((id, None)));
            spoilt = false;
        }
        spoilt &= reading.next.before != Before::Gone;
        if let Some((_, group)) = made.as_mut().filter(|_| !spoilt)
            && let Err(error) = apply(group, id, &reading.next, &reading.array)
        {
            spoilt = true;
            contradiction(id, error)?;
        }
        match reading.advance()? {
            Some(next) => *first = Reverse((next, part)),
            None => drop(PeekMut::pop(first)),
        }
    }
    keep(&mut merged, made);
    Ok(merged)
}

/// Adds the group that was built, if any.
fn keep(merged: &mut Merged, made: Option<(u64, Option<Contents>)>) {
    if let Some((id, Some(contents))) = made {
        merged.push((id, contents));
    }
}

impl Reading<'_> {
    /// Reads what the segment did to its next group; returns that group.
    fn advance(&mut self) -> std::result::Result<Option<u64>, Halt> {
        match self.effects.next() {
            Some(Ok((group, effect))) => {
                self.next = effect;
                Ok(Some(group))
            }
            Some(Err(problem)) => Err(Halt::Unreadable { part: self.part, problem }),
            None => Ok(None),
        }
    }
}

/// Applies what one segment did to one group, existing or not.
fn apply(
    group: &mut Option<Contents>,
    id: u64,
    effect: &Effect,
    array: &Arc<SegmentPositions>,
) -> Result<()> {
    if effect.before == Before::Gone {
        *group = None;
    }
    if effect.removed {
        return Ok(());
    }
    let group = group.get_or_insert_default();
    if let Some((record, root)) = &effect.root {
        match effect.before {
            Before::EntriesGone => group.reset(root.clone(), *record),
            Before::Stands | Before::Gone => group.restate(root.clone(), *record),
        }
    }
    // Appended entries replace nothing that was relocated into the same segment: see `summary`.
    for range in &effect.relocated {
        group.replay_relocated(range, array).map_err(|index| Error::Content {
            group: id,
            index,
            lsn: array.first_lsn,
            problem: ContentProblem::Order,
        })?;
    }
    match &effect.suffix {
        Suffix::Stands => {}
        Suffix::Cut(first) => group.cut_for(*first),
        Suffix::Replaced(range) => {
            group.cut_for(range.slice.first);
            group.push_mapped(range, array);
        }
    }
    if let Some(to) = effect.purged {
        group.purge(to);
    }
    group.change(&effect.state);
    // A State in the middle of the segment may have purged some of its entries.
    group.trim();
    // What is found at open is durable.
    group.reset_lsn = None;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::groups::state::{EntryKind, Field, Position, Root, State};
    use crate::groups::stored::Stored;
    use crate::groups::{GroupLog, GroupOptions};

    /// Everything replay knows about a group: State, its position, terms, positions.
    type Shape = (u64, Root, Option<Stored>, Vec<(u64, u64)>, Option<u64>, Vec<Lsn>);

    fn shapes(merged: Merged) -> Vec<Shape> {
        let shape = |(id, group): (u64, Contents)| {
            let mut lsns = Vec::new();
            let (first, end) = (group.positions.first(), group.positions.end().unwrap_or(0));
            group.positions.copy(first.unwrap_or(0), end, &mut lsns);
            (id, group.root, group.record, group.terms.runs().collect(), first, lsns)
        };
        merged.into_iter().map(shape).collect()
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
            parts.extend(pieces.iter().map(|piece| Part::of_piece(&reader, piece).unwrap()));
        }
        parts
    }

    fn step(log: &GroupLog, id: u64, draw: u64) {
        let mut batch = log.batch();
        let Some(group) = log.group(id) else {
            let after = draw.is_multiple_of(2).then_some(Position { index: draw, term: 1 });
            log.create_group(id, after).unwrap();
            return;
        };
        let (indexes, last) = (group.indexes().unwrap(), group.last().unwrap().unwrap_or_default());
        match draw % 16 {
            0 if draw > 200 => batch.remove_group(id).unwrap(),
            1 => {
                let after = Position { index: last.index + 3, term: last.term + 1 };
                batch.reset(id, Some(after), State::new().with(Field::ALL[4], after, &[])).unwrap();
            }
            2 if draw > 100 => {
                batch.purge(id, Position { index: indexes.end + draw % 3, term: last.term }).unwrap();
            }
            2 | 3 if !indexes.is_empty() => {
                let index = indexes.start + draw % (indexes.end - indexes.start);
                let term = group.term(index).unwrap().unwrap();
                batch.purge(id, Position { index, term }).unwrap();
            }
            4 if !indexes.is_empty() => {
                batch.truncate(id, indexes.start + draw % (indexes.end - indexes.start)).unwrap();
            }
            _ => {
                let overwritten = (indexes.end - indexes.start).min(draw % 4);
                let term = last.term + draw % 2;
                let mut appender = batch.append(id, indexes.end - overwritten).unwrap();
                for _ in 0..5 {
                    appender.push(term, EntryKind::ZERO, &[&[7; 90]]).unwrap();
                }
                batch.set(id, Field::ALL[0], Position { index: draw, term }, &draw.to_le_bytes()).unwrap();
            }
        }
        log.commit(batch).unwrap();
    }

    fn history(dir: &tempfile::TempDir) -> GroupLog {
        let log = GroupOptions::new().wal(Options::new().segment_size(64 << 10)).open(dir.path()).unwrap();
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
        assert!(matches!(refused, Error::Log(crate::Error::Internal { .. })), "{refused}");
    }
}
