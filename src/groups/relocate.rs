//! Relocation: rewrites live records at the end of the log, so that their old segment can be freed.
//!
//! ```text
//!  list, read, frame a batch of records ── submit ── nothing changed since? ── placed: note the new places
//!  from the old segment                       ^                 │ changed
//!                                             └── frame again ──┘
//! ```
//!
//! # Why a relocated entry is correct
//!
//! When a relocated entry (i, t) gets its place in the log, the group still has its entry i at the address that was
//! read: this is checked at that moment. So the record states a fact about its place in the log: *here the group has
//! entry i with term t and this content.* It changes only the entry's position. It need not say which group with that
//! id it means, because it lies between the records that begin and end the group.
//!
//! Replay sees the log from an address B on, below which everything was released; B never lies above a live record.
//! Let "held" be what replay has of a group at some address L, and "true" what the group had when L was written.
//!
//! 1. *What is held is true.* An entry is held because of a record at or above B. Whatever ended it (an append or
//!    truncation at or below its index, a purge, a reset, a removal) lies above that record and was seen as well. A
//!    relocated entry adds only what is true where it lies.
//! 2. *What is true and has its newest record at or above B is held.* By the same argument, from that record on.
//! 3. So at a relocated (i, t) either (i, t) is held, or nothing is held at i because the newest record before this
//!    one was in a released segment. Another term at i is impossible and is reported as a contradiction.
//! 4. At the end of the log everything true has its newest record at or above B, by the choice of B. So either every
//!    group is complete, or something promised is missing. In between there may be gaps.
//!
//! A crash before the relocating batch is durable leaves the entry where it was: a release waits until everything
//! submitted is durable. A crash after it leaves both records; the newer one wins, as it does in memory. An entry
//! relocated several times is where its newest record says. An append after a relocation that overwrites the entry
//! lies above it, and replaces it in replay like any entry.
//!
//! # Why a relocated entry fits
//!
//! Its payload is decoded and encoded with the present codec, so that a log can move away from an old codec. That may
//! make it longer, and with it a batch of many; and the limit on records may have been lowered. So a batch refused
//! for its size is halved, and a single entry is written as it is stored: it fitted before. Only a log whose segments
//! were made smaller since may have no space for it.
//!
//! A rewritten State states a fact about its place in the same way; it stands for itself and for all earlier records
//! that change a part of it.

use std::ops::Range;
use std::sync::Arc;

use super::codec::root::encode_root;
use super::codec::{Kind, StateKind, label};
use super::contents::Slot;
use super::entries::{entry_kind, misplaced};
use super::error::{Error, Result};
use super::index::Written;
use super::space::StateSize;
use super::state::{EntryKind, Position, Root};
use super::store::Store;
use super::stored::Stored;
use crate::Error as LogError;
use crate::format::PAGE;
use crate::format::block::BLOCK_HEADER;
use crate::size::{in_header, in_memory};
use crate::{Batch, Lsn, Placement, Record, RecordOffset, SegmentInfo, StoredRecord, SubmitOptions, Ticket};

/// Maximum batch size, unless a single record is larger: no commit waits long for one of them.
const MOST_BATCH: u64 = 256 << 10;

/// The result of a relocation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) entries: usize,
    pub(crate) states: usize,
    pub(crate) bytes: u64,
}

/// An entry being relocated.
struct Piece {
    slot: Arc<Slot>,
    index: u64,
    term: u64,
    kind: EntryKind,
    /// Its position when it was read.
    from: Lsn,
    content: Content,
}

/// How an entry is rewritten.
enum Content {
    /// Encoded with the present codec.
    Decoded(Record),
    /// As stored, because it did not fit otherwise.
    Stored(StoredRecord),
}

/// Relocates segment by segment. The remains of several segments share a batch, because a block costs its padding. A
/// batch is written when it is large enough, and by [`Relocation::flush`].
pub(crate) struct Relocation<'a> {
    store: &'a Store,
    /// Batch size: several fit into a segment, so little is lost if one does not fit into the rest.
    batch_bytes: u64,
    pub(crate) moved: Moved,
    pieces: Vec<Piece>,
    /// The groups whose State must be rewritten, and its present position.
    states: Vec<(Arc<Slot>, Lsn)>,
    /// The bytes of both.
    staged: u64,
    state_size: StateSize,
    /// The batch submitted last. The next one waits for it, so that a commit has at most one of them ahead of it.
    ahead: Option<Ticket>,
}

impl<'a> Relocation<'a> {
    /// Relocates into segments whose files have `segment_bytes`.
    pub(crate) fn new(store: &'a Store, segment_bytes: u64) -> Self {
        // Blocks are padded to this by default: a batch is as large as just fits together with the block's header.
        let page = PAGE as u64;
        let block = (segment_bytes / 8).clamp(page, MOST_BATCH) / page * page;
        let batch_bytes = block - BLOCK_HEADER as u64;
        Relocation {
            store,
            batch_bytes,
            moved: Moved::default(),
            pieces: Vec::new(),
            states: Vec::new(),
            staged: 0,
            state_size: StateSize::in_log(&store.wal),
            ahead: None,
        }
    }

    /// Bytes moved or about to be moved.
    pub(crate) fn bytes(&self) -> u64 {
        self.moved.bytes + self.staged
    }

    /// Relocates what these groups have in an ended segment, up to `limit` bytes for this relocation in total.
    /// Returns whether that was everything.
    pub(crate) fn segment(
        &mut self,
        segment: &SegmentInfo,
        slots: &[&Arc<Slot>],
        limit: u64,
    ) -> Result<bool> {
        let lsns = segment.first_lsn..segment.end_lsn;
        let reader = self.store.wal.segment_reader(segment.id)?;
        for slot in slots {
            let group = slot.contents.read();
            let state = group.record.map(|record| record.lsn).filter(|lsn| lsns.contains(lsn) && !group.gone);
            let size = self.state_size.of(&group);
            drop(group);
            if let Some(lsn) = state {
                if !self.make_room(size, limit)? {
                    return Ok(false);
                }
                self.states.push((Arc::clone(slot), lsn));
            }
            for (index, term, from) in live_entries(slot, &lsns) {
                let record = reader.read(from)?;
                if !self.make_room(likely_bytes(&record), limit)? {
                    return Ok(false);
                }
                let Some(kind) = entry_kind(&record, slot.id, index, term) else {
                    // The position may come from a mapped summary, which is not verified.
                    return Err(misplaced(self.store, slot.id, index, from, Some(segment.first_lsn)));
                };
                let (slot, content) = (Arc::clone(slot), Content::Decoded(record));
                self.pieces.push(Piece { slot, index, term, kind, from, content });
            }
        }
        Ok(true)
    }

    /// Makes space for a record in the batch, if the limit allows it.
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
    fn write(&mut self, mut pieces: Vec<Piece>, states: &[(Arc<Slot>, Lsn)]) -> Result<()> {
        let refused = match self.submit(&mut pieces, states) {
            Err(Error::Log(e @ (LogError::BatchTooLarge { .. } | LogError::RecordTooLarge { .. }))) => e,
            done => return done,
        };
        if pieces.len() + states.len() > 1 {
            // Each half has fewer; with one of each, the piece goes first, alone.
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

    /// Submits those of these that are still current, in one batch.
    fn submit(&mut self, pieces: &mut Vec<Piece>, states: &[(Arc<Slot>, Lsn)]) -> Result<()> {
        if let Some(ahead) = self.ahead.take() {
            ahead.wait()?;
        }
        loop {
            pieces.retain(is_current);
            let mut batch = self.store.wal.batch();
            let framed: Vec<Framed> = pieces.iter().map(|piece| frame(&mut batch, piece)).collect();
            let restated: Vec<Restated<'_>> =
                states.iter().filter_map(|state| restate(&mut batch, state)).collect();
            if batch.is_empty() {
                return Ok(());
            }
            // What was overwritten, purged or changed since is left out when the batch is framed again; that someone
            // changes it is progress.
            let admit = || {
                let current = pieces.iter().all(is_current) && restated.iter().all(Restated::is_current);
                if current { Ok(()) } else { Err(Refused::Changed) }
            };
            let place = |at: &Placement| {
                note(pieces, &framed, at);
                restated.iter().for_each(|state| state.note(at));
            };
            let how = SubmitOptions::new().from_reserve(true);
            let ticket = match self.store.wal.submit_with(&batch, how, admit, place) {
                Ok(ticket) => ticket,
                Err(Refused::Changed) => continue,
                Err(Refused::Log(e)) => return Err(e.into()),
            };
            self.moved.entries += pieces.len();
            self.moved.states += restated.len();
            self.moved.bytes += batch.size_in_log();
            self.store.written.relocated.add(batch.size_in_log());
            self.ahead = Some(ticket);
            return Ok(());
        }
    }

    /// The record at `lsn`, which is kept until everything live in its segment was rewritten.
    fn stored(&self, lsn: Lsn) -> Result<StoredRecord> {
        let wal = &self.store.wal;
        let segment = wal.segments().into_iter().find(|s| (s.first_lsn..s.end_lsn).contains(&lsn));
        let gone = LogError::Released { lsn, first: wal.first_lsn() };
        Ok(wal.segment_reader(segment.ok_or(gone)?.id)?.read_stored(lsn)?)
    }
}

/// Why a batch got no place.
enum Refused {
    /// Something in it has changed.
    Changed,
    Log(LogError),
}

impl From<LogError> for Refused {
    fn from(e: LogError) -> Self {
        Refused::Log(e)
    }
}

/// Estimated size of the rewritten record, decoded and encoded again, possibly with another codec. The exact size is
/// known when it is framed.
fn likely_bytes(record: &Record) -> u64 {
    let payload = record.payload().len() as u64;
    Batch::record_size(payload.max(record.stored_len().into()), true)
}

/// A State that was framed, as it was at that time.
struct Restated<'s> {
    slot: &'s Slot,
    /// Where the newest State record was.
    from: Lsn,
    root: Root,
    at: RecordOffset,
    bytes: u64,
}

/// Frames the State of a group that has no newer one. It adds no information, so no batch checked earlier has to be
/// refused for it; and it gets its place only if it still describes the group.
fn restate<'s>(batch: &mut Batch, (slot, from): &'s (Arc<Slot>, Lsn)) -> Option<Restated<'s>> {
    let contents = slot.contents.read();
    if contents.gone || contents.record.map(|record| record.lsn) != Some(*from) {
        return None;
    }
    let root = contents.root.clone();
    drop(contents);
    let label = label(Kind::State(StateKind::Restated), slot.id, root.start.as_position());
    let before = batch.size_in_log();
    let at = batch.push_labelled(label, &[&encode_root(&root)]);
    Some(Restated { slot, from: *from, root, at, bytes: batch.size_in_log() - before })
}

impl Restated<'_> {
    fn is_current(&self) -> bool {
        let contents = self.slot.contents.read();
        let unmoved = contents.record.is_some_and(|record| record.lsn == self.from);
        !contents.gone && unmoved && contents.root == self.root
    }

    fn note(&self, at: &Placement) {
        // An accepted batch is no larger than a block.
        let record = Stored { lsn: at.lsn_of(self.at), bytes: in_header(in_memory(self.bytes)) };
        self.slot.contents.write().record = Some(record);
    }
}

/// Index, term and position of the entries that a group has in this part of the log, ascending by index.
fn live_entries(slot: &Slot, lsns: &Range<Lsn>) -> Vec<(u64, u64, Lsn)> {
    let group = slot.contents.read();
    if group.gone {
        return Vec::new();
    }
    let found = group.positions.within(lsns).into_iter();
    found.filter_map(|(index, lsn)| Some((index, group.terms.get(index)?, lsn))).collect()
}

/// An entry's place in its batch, and its size.
struct Framed {
    at: RecordOffset,
    size: u64,
}

fn frame(batch: &mut Batch, piece: &Piece) -> Framed {
    let label =
        label(Kind::Relocated(piece.kind), piece.slot.id, Position { index: piece.index, term: piece.term });
    let before = batch.size_in_log();
    let at = match &piece.content {
        Content::Decoded(record) => batch.push_labelled(label, &[record.payload()]),
        Content::Stored(record) => batch.push_stored(label, record),
    };
    Framed { at, size: batch.size_in_log() - before }
}

fn is_current(piece: &Piece) -> bool {
    let group = piece.slot.contents.read();
    !group.gone && group.positions.lsn(piece.index) == Some(piece.from)
}

fn note(pieces: &[Piece], framed: &[Framed], at: &Placement) {
    let mut rest = pieces.iter().zip(framed).peekable();
    while let Some((first, _)) = rest.peek().copied() {
        let mut written = Vec::new();
        while let Some((piece, framed)) = rest.next_if(|(piece, _)| Arc::ptr_eq(&piece.slot, &first.slot)) {
            let lsn = at.lsn_of(framed.at);
            written.push(Written { index: piece.index, lsn, size: framed.size });
        }
        first.slot.contents.write().relocate(&written);
    }
}
