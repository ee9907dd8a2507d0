//! Writing live records again at the end of the log, so that the segment they lie in can go.
//!
//! ```text
//!  order lock   |            |free|                  |held            |free
//!  what is done  list, read, frame a batch of records   still there?     on with the next batch
//!                from the old segment                   submit, note
//! ```
//!
//! # Why a relocated entry can be believed
//!
//! A relocated entry (i, t) is submitted under the order lock, after a look that the group, in this life, still has its
//! entry i at the address that was read. So the record states a fact of its place in the log: *here the group has entry i
//! with term t and this content.* It changes nothing but where the entry lies. It needs to say nothing of the group's
//! life either, because it lies between the records that begin and end it.
//!
//! Replay sees the log from an address B on, below which everything was released; B never lies above a record that is
//! live. Let "held" be what replay has of a group at some address L, and "true" what the group had when L was written.
//!
//! 1. *What is held is true.* An entry is held because of a record at or above B. Whatever ended it (an append at or below
//!    its index, a compaction, an installed snapshot, a removal) lies above that record, and was seen as well. A relocated
//!    entry adds only what is true where it lies.
//! 2. *What is true, and whose newest record lies at or above B, is held.* By the same argument, from that record on.
//! 3. So at a relocated (i, t) either (i, t) is held, or nothing is held at i, because the newest record before this one
//!    went with a released segment. Another term at i is impossible, and is reported as a contradiction.
//! 4. At the end of the log everything true has its newest record at or above B, because that is where B may lie. So
//!    every group is whole, or something is missing that was promised. In between there may be gaps.
//!
//! A crash before the relocating batch is durable leaves the entry where it was: releasing waits until everything
//! submitted is durable. A crash after it leaves both records; the newer one wins, as it does in memory. What was
//! relocated several times lies where the newest record says. An append after a relocation that overwrites the entry lies
//! above it, and replaces it in replay as any entry.
//!
//! # Why a relocated entry finds room
//!
//! Its payload is decoded, and encoded by the codec of the day, so that a log gets rid of an old codec. That may make it
//! longer than it was, and a batch of many with it; and the limit on records may be lower by now. So a batch that is refused
//! for its size is halved, and a single entry is written as it is stored: it had room once. Only a log whose segments were
//! made smaller since may have none for it.
//!
//! A State that is written again states a fact of its place in the same way; it stands for itself and for all records
//! before it that change a part of it.

use std::ops::Range;
use std::sync::Arc;

use super::batch::label;
use super::codec::entry::Shape;
use super::codec::state::encode_state;
use super::codec::{Kind, StateKind};
use super::error::{Error, Result};
use super::group::Cell;
use super::index::Written;
use super::log::RaftLog;
use super::space::StateSize;
use crate::Error as LogError;
use crate::error::{Corruption, CorruptionReason};
use crate::{Batch, Lsn, Record, RecordOffset, SegmentInfo, StoredRecord, StreamRange, Ticket};

/// Batches are of this size at most, unless a single record is larger: the order lock is not held for long.
const MOST_BATCH: u64 = 256 << 10;

/// Blocks are padded to this by default. A batch is as large as just fits, with the block's header.
const PAGE: u64 = 4 << 10;
const BLOCK_HEADER: u64 = 40;

/// What a relocation did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) entries: usize,
    pub(crate) states: usize,
    pub(crate) bytes: u64,
}

/// An entry on its way.
struct Piece {
    cell: Arc<Cell>,
    index: u64,
    term: u64,
    shape: Shape,
    /// Where it lay when it was read.
    from: Lsn,
    content: Content,
}

/// How an entry is written again.
enum Content {
    /// By the codec of the day.
    Decoded(Record),
    /// As it was, because it found no room otherwise.
    Stored(StoredRecord),
}

/// Relocates segment after segment. What is left of several goes into one batch, because a block costs as much as its
/// padding; it is written when there is enough of it, and by [`Relocation::flush`].
pub(crate) struct Relocation<'a> {
    log: &'a RaftLog,
    /// Batches are of this size: several fit into a segment, so little is lost where one does not fit into its rest.
    batch_bytes: u64,
    pub(crate) moved: Moved,
    pieces: Vec<Piece>,
    /// The groups whose State is to be written again, and where it lies now.
    states: Vec<(Arc<Cell>, Lsn)>,
    /// The bytes of both.
    staged: u64,
    state_size: StateSize,
    /// The batch that was submitted last. The next one waits for it, so that whoever commits meanwhile has at most one of
    /// them ahead in the flush.
    ahead: Option<Ticket>,
}

impl<'a> Relocation<'a> {
    /// Into segments whose files have `segment_bytes`.
    pub(crate) fn new(log: &'a RaftLog, segment_bytes: u64) -> Self {
        let block = (segment_bytes / 8).clamp(PAGE, MOST_BATCH) / PAGE * PAGE;
        let batch_bytes = block - BLOCK_HEADER;
        Relocation {
            log,
            batch_bytes,
            moved: Moved::default(),
            pieces: Vec::new(),
            states: Vec::new(),
            staged: 0,
            state_size: StateSize::in_log(log.wal()),
            ahead: None,
        }
    }

    /// How many bytes were moved, or are about to be.
    pub(crate) fn bytes(&self) -> u64 {
        self.moved.bytes + self.staged
    }

    /// Relocates what these groups have in a segment that has ended, up to `limit` bytes of this relocation in all. Says
    /// whether that was everything.
    pub(crate) fn segment(
        &mut self,
        segment: &SegmentInfo,
        cells: &[&Arc<Cell>],
        limit: u64,
    ) -> Result<bool> {
        let lsns = segment.first_lsn..segment.end_lsn;
        let reader = self.log.wal().segment_reader(segment.id)?;
        for cell in cells {
            let group = cell.group.read();
            let state = group.state_lsn.filter(|lsn| lsns.contains(lsn) && !group.gone);
            let size = self.state_size.of(&group);
            drop(group);
            if let Some(lsn) = state {
                if !self.make_room(size, limit)? {
                    return Ok(false);
                }
                self.states.push((Arc::clone(cell), lsn));
            }
            for (index, term, from) in live_entries(cell, &lsns) {
                let record = reader.read(from)?;
                if !self.make_room(likely_bytes(&record), limit)? {
                    return Ok(false);
                }
                let shape = self.shape_of(cell.id, index, term, &record)?;
                let (cell, content) = (Arc::clone(cell), Content::Decoded(record));
                self.pieces.push(Piece { cell, index, term, shape, from, content });
            }
        }
        Ok(true)
    }

    /// Makes room for a record in the batch, if the limit allows it.
    fn make_room(&mut self, size: u64, limit: u64) -> Result<bool> {
        if self.bytes() + size > limit {
            return Ok(false);
        }
        if self.staged + size > self.batch_bytes {
            self.flush()?;
        }
        self.staged += size;
        Ok(true)
    }

    /// Submits what is staged.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.staged = 0;
        let pieces = std::mem::take(&mut self.pieces);
        let states = std::mem::take(&mut self.states);
        self.write(pieces, &states)
    }

    /// Submits these in one batch, or in as many as it takes.
    fn write(&mut self, mut pieces: Vec<Piece>, states: &[(Arc<Cell>, Lsn)]) -> Result<()> {
        let refused = match self.submit(&mut pieces, states) {
            Err(Error::Log(e @ (LogError::BatchTooLarge { .. } | LogError::RecordTooLarge { .. }))) => e,
            done => return done,
        };
        if pieces.len() + states.len() > 1 {
            // Each half has fewer: where there is one of each, the piece goes first and by itself.
            let rest = pieces.split_off(pieces.len().div_ceil(2));
            let (states, other_states) = states.split_at(states.len() / 2);
            self.write(pieces, states)?;
            return self.write(rest, other_states);
        }
        match pieces.pop() {
            Some(piece) if matches!(piece.content, Content::Decoded(_)) => {
                let content = Content::Stored(self.stored(piece.from)?);
                self.write(vec![Piece { content, ..piece }], &[])
            }
            _ => Err(refused.into()),
        }
    }

    /// Submits what of these is current still, in one batch.
    fn submit(&mut self, pieces: &mut Vec<Piece>, states: &[(Arc<Cell>, Lsn)]) -> Result<()> {
        if let Some(ahead) = self.ahead.take() {
            ahead.wait()?;
        }
        loop {
            let mut batch = self.log.wal().batch();
            let framed: Vec<Framed> = pieces.iter().map(|piece| frame(&mut batch, piece)).collect();
            let order = self.log.groups_in_memory().order.lock();
            let before = pieces.len();
            // Overwritten, compacted or removed since: what is left is framed again, which ends because it gets less.
            pieces.retain(is_current);
            if pieces.len() < before {
                continue;
            }
            let restated = restate(&mut batch, states);
            if batch.is_empty() {
                return Ok(());
            }
            let ticket = self.log.wal().submit_from_reserve(&batch)?;
            note(pieces, &framed, &ticket);
            for (cell, record) in &restated {
                cell.group.write().state_lsn = Some(ticket.lsn_of(*record));
            }
            drop(order);
            self.log.groups_in_memory().adopt_left();
            self.moved.entries += pieces.len();
            self.moved.states += restated.len();
            self.moved.bytes += batch.size_in_log();
            self.log.written().relocated.add(batch.size_in_log());
            self.ahead = Some(ticket);
            return Ok(());
        }
    }

    /// The record at `lsn`, which is kept until everything live in its segment was written again.
    fn stored(&self, lsn: Lsn) -> Result<StoredRecord> {
        let wal = self.log.wal();
        let segment = wal.segments().into_iter().find(|s| (s.first_lsn..s.end_lsn).contains(&lsn));
        let gone = LogError::Released { lsn, first: wal.first_lsn() };
        Ok(wal.segment_reader(segment.ok_or(gone)?.id)?.read_stored(lsn)?)
    }

    /// The position may come from a mapped summary, so the label has to confirm it.
    fn shape_of(&self, group: u64, index: u64, term: u64, record: &Record) -> Result<Shape> {
        let label = record.label().unwrap_or_default();
        match Kind::from_u8(label.kind) {
            Ok(Kind::Entry(shape) | Kind::Relocated(shape))
                if (label.stream, label.sequence, label.extra) == (group, index, term) =>
            {
                Ok(shape)
            }
            _ => {
                let lsn = record.lsn();
                let hit = StreamRange { stream: group, first: index, last: index };
                let file = self.log.wal().file_at(lsn);
                let damage = Corruption::new(file, 0, lsn..lsn, CorruptionReason::Content);
                Err(LogError::from(damage.hitting(vec![hit])).into())
            }
        }
    }
}

/// The size of the record when it is written again, as far as it can be told: decoded and encoded, and the codec may be
/// another by then. How much it is, is known when it is framed.
fn likely_bytes(record: &Record) -> u64 {
    let payload = record.payload().len() as u64;
    Batch::record_size(payload.max(record.stored_len().into()), true)
}

/// Frames the States of the groups that have none newer. What is written is what the log says up to here, because the
/// order lock is held; and it says nothing new, so no batch that was checked before has to be refused.
fn restate<'s>(batch: &mut Batch, states: &'s [(Arc<Cell>, Lsn)]) -> Vec<(&'s Arc<Cell>, RecordOffset)> {
    let mut staged = Vec::new();
    for (cell, from) in states {
        let group = cell.group.read();
        if group.gone || group.state_lsn != Some(*from) {
            continue;
        }
        let compacted = group.full.compacted;
        let label = label(Kind::State(StateKind::Restated), cell.id, compacted.index, compacted.term);
        staged.push((cell, batch.push_labelled(label, &[&encode_state(&group.full)])));
    }
    staged
}

/// Index, term and position of the entries that a group has in this part of the log, ascending by index.
fn live_entries(cell: &Cell, lsns: &Range<Lsn>) -> Vec<(u64, u64, Lsn)> {
    let group = cell.group.read();
    if group.gone {
        return Vec::new();
    }
    let found = group.positions.within(lsns).into_iter();
    found.filter_map(|(index, lsn)| Some((index, group.terms.get(index)?, lsn))).collect()
}

/// Where in its batch an entry is, and how many bytes it takes.
struct Framed {
    at: RecordOffset,
    size: u64,
}

fn frame(batch: &mut Batch, piece: &Piece) -> Framed {
    let label = label(Kind::Relocated(piece.shape), piece.cell.id, piece.index, piece.term);
    let before = batch.size_in_log();
    let at = match &piece.content {
        Content::Decoded(record) => batch.push_labelled(label, &[record.payload()]),
        Content::Stored(record) => batch.push_stored(label, record),
    };
    Framed { at, size: batch.size_in_log() - before }
}

fn is_current(piece: &Piece) -> bool {
    let group = piece.cell.group.read();
    !group.gone && group.positions.lsn(piece.index) == Some(piece.from)
}

fn note(pieces: &[Piece], framed: &[Framed], ticket: &Ticket) {
    let mut rest = pieces.iter().zip(framed).peekable();
    while let Some((first, _)) = rest.peek().copied() {
        let mut written = Vec::new();
        while let Some((piece, framed)) = rest.next_if(|(piece, _)| Arc::ptr_eq(&piece.cell, &first.cell)) {
            let lsn = ticket.lsn_of(framed.at);
            written.push(Written { index: piece.index, lsn, size: framed.size });
        }
        first.cell.group.write().relocate(&written);
    }
}
