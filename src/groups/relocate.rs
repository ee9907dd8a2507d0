//! Writing live records again at the end of the log, so that the segment they lie in can go.
//!
//! ```text
//!  list, read, frame a batch of records ── submit ── nothing changed since? ── placed: note the new places
//!  from the old segment                       ^                 │ changed
//!                                             └── frame again ──┘
//! ```
//!
//! # Why a relocated entry can be believed
//!
//! When a relocated entry (i, t) gets its place in the log, the group still has its entry i at the address that was read:
//! this is checked at that moment. So the record states a fact of its place in the log: *here the group has entry i
//! with term t and this content.* It changes nothing but where the entry lies. It need not say which group of that id it
//! means either, because it lies between the records that begin and end it.
//!
//! Replay sees the log from an address B on, below which everything was released; B never lies above a record that is
//! live. Let "held" be what replay has of a group at some address L, and "true" what the group had when L was written.
//!
//! 1. *What is held is true.* An entry is held because of a record at or above B. Whatever ended it (an append or truncation at
//!    or below its index, a purge, a reset, a removal) lies above that record, and was seen as well. A relocated
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
use crate::size::{in_header, in_memory};
use crate::{Batch, Lsn, Placement, Record, RecordOffset, SegmentInfo, StoredRecord, SubmitOptions, Ticket};

/// Batches are of this size at most, unless a single record is larger: commits wait for none of them long.
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
    slot: Arc<Slot>,
    index: u64,
    term: u64,
    kind: EntryKind,
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
    store: &'a Store,
    /// Batches are of this size: several fit into a segment, so little is lost where one does not fit into its rest.
    batch_bytes: u64,
    pub(crate) moved: Moved,
    pieces: Vec<Piece>,
    /// The groups whose State is to be written again, and where it lies now.
    states: Vec<(Arc<Slot>, Lsn)>,
    /// The bytes of both.
    staged: u64,
    state_size: StateSize,
    /// The batch that was submitted last. The next one waits for it, so that a commit meanwhile has at most one of
    /// them ahead in the flush.
    ahead: Option<Ticket>,
}

impl<'a> Relocation<'a> {
    /// Into segments whose files have `segment_bytes`.
    pub(crate) fn new(store: &'a Store, segment_bytes: u64) -> Self {
        let block = (segment_bytes / 8).clamp(PAGE, MOST_BATCH) / PAGE * PAGE;
        let batch_bytes = block - BLOCK_HEADER;
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

    /// How many bytes were moved, or are about to be.
    pub(crate) fn bytes(&self) -> u64 {
        self.moved.bytes + self.staged
    }

    /// Relocates what these groups have in a segment that has ended, up to `limit` bytes of this relocation in all. Says
    /// whether that was everything.
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
    fn write(&mut self, mut pieces: Vec<Piece>, states: &[(Arc<Slot>, Lsn)]) -> Result<()> {
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

    /// Submits what of these is still current, in one batch.
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
            // What was overwritten, purged or changed since is framed again; that somebody changes it is progress.
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

    /// The record at `lsn`, which is kept until everything live in its segment was written again.
    fn stored(&self, lsn: Lsn) -> Result<StoredRecord> {
        let wal = &self.store.wal;
        let segment = wal.segments().into_iter().find(|s| (s.first_lsn..s.end_lsn).contains(&lsn));
        let gone = LogError::Released { lsn, first: wal.first_lsn() };
        Ok(wal.segment_reader(segment.ok_or(gone)?.id)?.read_stored(lsn)?)
    }
}

/// Why a batch got no place.
enum Refused {
    /// Something in it is no longer as it was.
    Changed,
    Log(LogError),
}

impl From<LogError> for Refused {
    fn from(e: LogError) -> Self {
        Refused::Log(e)
    }
}

/// The size of the record when it is written again, as far as it can be told: decoded and encoded, and the codec may be
/// another by then. How much it is, is known when it is framed.
fn likely_bytes(record: &Record) -> u64 {
    let payload = record.payload().len() as u64;
    Batch::record_size(payload.max(record.stored_len().into()), true)
}

/// A State that was framed, as it was then.
struct Restated<'s> {
    slot: &'s Slot,
    /// Where the newest State record lay.
    from: Lsn,
    root: Root,
    at: RecordOffset,
    bytes: u64,
}

/// Frames the State of a group that has none newer. It says nothing new, so no batch that was checked before has to be
/// refused for it; and it gets its place only if it is still what the group is.
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
        // A batch that was accepted is no larger than a block can be.
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

/// Where in its batch an entry is, and how many bytes it takes.
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
