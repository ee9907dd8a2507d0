//! Batches: the changes that one commit makes to any number of groups.
//!
//! Records are framed while operations are staged, outside any lock. At submission only three things remain: checking
//! that no group has changed in the meantime, ordering in the log, and updating the groups in memory.

use std::collections::HashMap;
use std::sync::Arc;

use super::codec::root::encode_root;
use super::codec::{Kind, StateKind, label};
use super::contents::{Contents, Side, Slot, Touched, Versions};
use super::draft::{Draft, check_start};
use super::error::{Error, Result};
use super::index::Written;
use super::state::{EntryKind, Field, Position, Root, Start, State};
use super::store::Store;
use super::stored::Stored;
use crate::size::{in_header, in_memory};
use crate::{Batch, Flush, Placement, RecordOffset, SubmitOptions, Ticket};

/// Maximum size of fields that may be written from the reserve together with operations that free space.
const SMALL: usize = 1 << 10;

/// Operations on groups that become durable together or not at all.
///
/// Each call is checked against the group as it is, including what the batch has already done to it. A call that
/// returns an error stages nothing, and the batch stays usable. Nothing is visible before
/// [`GroupLog::submit`](super::GroupLog::submit) or [`GroupLog::commit`](super::GroupLog::commit); a dropped batch
/// has no effect.
///
/// Two batches may be built concurrently. If both concern the same side of the same group (its entries; its purging;
/// or fields of the same set, see [`Field`]), the one submitted second gets [`Error::BatchConflict`].
#[derive(Debug)]
pub struct WriteBatch {
    store: Arc<Store>,
    records: Batch,
    groups: Vec<InBatch>,
    place_of: HashMap<u64, usize>,
}

/// A group in a batch.
#[derive(Debug)]
struct InBatch {
    draft: Draft,
    /// The group's versions when the draft was made.
    versions: Versions,
    /// The sides that must not have changed since.
    depends: Touched,
    /// The sides that change.
    touched: Touched,
    /// The operations on the group, in order. Operations on different groups are independent.
    ops: Vec<Op>,
    /// Set if the batch creates the group, which no other batch may have done; says whether the batch removes an
    /// earlier group of this id first.
    created: Option<Replaces>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replaces {
    None,
    Removed,
}

#[derive(Clone, Copy, Debug)]
struct Staged {
    at: RecordOffset,
    term: u64,
    size: u64,
}

/// A State record in the batch.
#[derive(Clone, Copy, Debug)]
struct Framed {
    at: RecordOffset,
    bytes: u64,
}

impl Framed {
    /// Its place, in a batch that was accepted and is therefore no larger than a block.
    fn stored(self, at: &Placement) -> Stored {
        Stored { lsn: at.lsn_of(self.at), bytes: in_header(in_memory(self.bytes)) }
    }
}

/// An operation on a group, applied when the batch is submitted.
#[derive(Debug)]
enum Op {
    /// Appends these entries, starting at index `first`.
    Append {
        first: u64,
        entries: Vec<Staged>,
    },
    Truncate(u64),
    Purge(Position),
    /// Replaces the fields that are set here.
    Set(State),
    Create(Framed, Root),
    Reset(Framed, Root),
    Remove,
}

impl WriteBatch {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        WriteBatch { records: store.wal.batch(), store, groups: Vec::new(), place_of: HashMap::new() }
    }

    /// Whether nothing is staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops().next().is_none()
    }

    /// Bytes that the batch takes in the log.
    #[must_use]
    pub fn size_in_log(&self) -> u64 {
        self.records.size_in_log()
    }

    /// Stages a new group whose log begins after the entry `after`, or at index 0 if there is none.
    ///
    /// # Errors
    /// [`Error::GroupExists`]; [`Error::IndexExhausted`].
    pub fn create_group(&mut self, group: u64, after: Option<Position>, state: State) -> Result<()> {
        self.store.check_opener()?;
        let replaces = match self.place_of.get(&group).and_then(|n| self.groups.get(*n)) {
            Some(known) if known.draft.is_removed() => Replaces::Removed,
            None if !self.store.slots.has(group) => Replaces::None,
            _ => return Err(Error::GroupExists { group }),
        };
        check_start(group, after)?;
        let root = Root { start: Start::after(after), state };
        let record = self.push_root(StateKind::Created, group, &root);
        let contents = Contents { root: root.clone(), ..Contents::default() };
        let slot = Slot::new(group, Contents::default());
        self.add(
            group,
            InBatch {
                draft: Draft::of(slot, &contents),
                versions: Versions::default(),
                depends: Touched::ALL,
                touched: Touched::ALL,
                ops: vec![Op::Create(record, root)],
                created: Some(replaces),
            },
        );
        Ok(())
    }

    /// Stages the removal of a group and everything it has. Afterwards the id can be used for another group, also in
    /// this batch.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn remove_group(&mut self, group: u64) -> Result<()> {
        let place = self.existing(group)?;
        self.records.push_labelled(label(Kind::Removed, group, Position::default()), &[]);
        let group = self.at_mut(place)?;
        group.draft.remove();
        group.note(Op::Remove, Touched::LOG_AND_PURGE);
        Ok(())
    }

    /// Starts appending consecutive entries at `first`. Existing entries from the first new one on are replaced;
    /// nothing is replaced before the first one is pushed.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::Gap`], [`Error::BelowFirst`], [`Error::IndexExhausted`].
    pub fn append(&mut self, group: u64, first: u64) -> Result<Appender<'_>> {
        let place = self.existing(group)?;
        self.draft(place)?.check_append(first)?;
        Ok(Appender { batch: self, group, place, next: first, begun: false })
    }

    /// Stages the removal of all entries from `from` on, without replacement.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::BelowFirst`]; [`Error::Gap`] beyond the end.
    pub fn truncate(&mut self, group: u64, from: u64) -> Result<()> {
        let place = self.existing(group)?;
        let in_batch = self.at_mut(place)?;
        if in_batch.draft.truncate(from)? {
            in_batch.note(Op::Truncate(from), Touched::side(Side::Log));
            let at = Position { index: from, term: 0 };
            self.records.push_labelled(label(Kind::Truncated, group, at), &[]);
        }
        Ok(())
    }

    /// Stages the removal of all entries up to and including `to`, which may lie beyond the last one: then the log
    /// begins after it. Removing what is already gone does nothing.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::TermMismatch`] when the log has an entry of another term there;
    /// [`Error::IndexExhausted`].
    pub fn purge(&mut self, group: u64, to: Position) -> Result<()> {
        let place = self.existing(group)?;
        let in_batch = self.at_mut(place)?;
        let end = in_batch.draft.end_index();
        if in_batch.draft.purge(to)? {
            let mut touched = Touched::side(Side::Purge);
            if to.index >= end {
                // The index of the next entry has changed.
                touched.add(Touched::side(Side::Log));
            }
            in_batch.note(Op::Purge(to), touched);
            self.records.push_labelled(label(Kind::Purged, group, to), &[]);
        }
        Ok(())
    }

    /// Stages a new value of a field of the group's state.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn set(&mut self, group: u64, field: Field, at: Position, bytes: &[u8]) -> Result<()> {
        let place = self.existing(group)?;
        self.records.push_labelled(label(Kind::Field(field), group, at), &[bytes]);
        let in_batch = self.at_mut(place)?;
        in_batch.touch(Touched::side(Side::of(field)));
        match in_batch.ops.last_mut() {
            Some(Op::Set(fields)) => fields.set(field, at, bytes),
            _ => in_batch.ops.push(Op::Set(State::new().with(field, at, bytes))),
        }
        Ok(())
    }

    /// Stages a restart of the group's log after the entry `after`, or at index 0: all entries are removed, and this
    /// state replaces the present one.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::IndexExhausted`].
    pub fn reset(&mut self, group: u64, after: Option<Position>, state: State) -> Result<()> {
        let place = self.existing(group)?;
        self.at_mut(place)?.draft.reset(after)?;
        let root = Root { start: Start::after(after), state };
        let record = self.push_root(StateKind::Reset, group, &root);
        self.at_mut(place)?.note(Op::Reset(record, root), Touched::LOG_AND_PURGE);
        Ok(())
    }

    /// The index after the group's last entry, including the changes of this batch.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn end_index(&mut self, group: u64) -> Result<u64> {
        let place = self.existing(group)?;
        Ok(self.draft(place)?.end_index())
    }

    /// The group that this batch creates.
    pub(crate) fn created(&self, group: u64) -> Result<Arc<Slot>> {
        let in_batch = self.place_of.get(&group).and_then(|place| self.groups.get(*place));
        in_batch.map(|in_batch| Arc::clone(&in_batch.draft.slot)).ok_or(Error::NoSuchGroup { group })
    }

    fn push_root(&mut self, kind: StateKind, group: u64, root: &Root) -> Framed {
        let label = label(Kind::State(kind), group, root.start.as_position());
        let before = self.records.size_in_log();
        let at = self.records.push_labelled(label, &[&encode_root(root)]);
        Framed { at, bytes: self.records.size_in_log() - before }
    }

    fn ops(&self) -> impl Iterator<Item = &Op> {
        self.groups.iter().flat_map(|group| &group.ops)
    }

    /// The group's position in this batch; it exists and was not removed.
    pub(crate) fn existing(&mut self, group: u64) -> Result<usize> {
        self.store.check_opener()?;
        let place = match self.place_of.get(&group) {
            Some(place) => *place,
            None => {
                let slot = self.store.slots.require(group)?;
                let contents = slot.contents.read();
                let versions = contents.versions;
                let draft = Draft::of(Arc::clone(&slot), &contents);
                drop(contents);
                self.add(
                    group,
                    InBatch {
                        draft,
                        versions,
                        depends: Touched::default(),
                        touched: Touched::default(),
                        ops: Vec::new(),
                        created: None,
                    },
                )
            }
        };
        self.draft(place)?.exists()?;
        Ok(place)
    }

    fn add(&mut self, group: u64, in_batch: InBatch) -> usize {
        let place = self.groups.len();
        self.groups.push(in_batch);
        self.place_of.insert(group, place);
        place
    }

    /// The group at a position returned by [`WriteBatch::existing`].
    pub(crate) fn draft(&self, place: usize) -> Result<&Draft> {
        self.groups.get(place).map(|group| &group.draft).ok_or_else(no_such_place)
    }

    fn at_mut(&mut self, place: usize) -> Result<&mut InBatch> {
        self.groups.get_mut(place).ok_or_else(no_such_place)
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Whether the batch frees space and needs hardly any: on a full disk it may use the reserve.
    pub(crate) fn frees_room(&self) -> bool {
        let frees = |op: &Op| matches!(op, Op::Purge(_) | Op::Remove);
        let small = |op: &Op| match op {
            Op::Purge(_) | Op::Remove | Op::Truncate(_) => true,
            Op::Set(fields) => fields.as_bytes().len() <= SMALL,
            Op::Append { .. } | Op::Create(..) | Op::Reset(..) => false,
        };
        self.ops().all(small) && self.ops().any(frees)
    }

    /// Submits the batch to the log if every group is still as it was when the batch was checked. `lost` is called
    /// under the log's lock with each state of which a reset or a removal leaves nothing.
    pub(crate) fn submit(
        &self,
        flush: Flush,
        from_reserve: bool,
        lost: &mut dyn FnMut(u64, &State),
    ) -> Result<Ticket> {
        let how = SubmitOptions::new().flush(flush).from_reserve(from_reserve);
        self.store.wal.submit_with(&self.records, how, || self.admit(), |at| self.place(at, lost))
    }

    fn admit(&self) -> Result<()> {
        for in_batch in &self.groups {
            let group = in_batch.draft.slot.id;
            match in_batch.created {
                Some(Replaces::None) if self.store.slots.has(group) => {
                    return Err(Error::GroupExists { group });
                }
                Some(_) => continue,
                None => {}
            }
            let contents = in_batch.draft.slot.contents.read();
            if contents.gone && in_batch.touched.any() {
                return Err(Error::NoSuchGroup { group });
            }
            if contents.versions.differ(in_batch.versions, in_batch.depends) {
                return Err(Error::BatchConflict { group });
            }
        }
        Ok(())
    }

    /// Applies the batch to the groups in memory.
    fn place(&self, at: &Placement, lost: &mut dyn FnMut(u64, &State)) {
        for in_batch in self.groups.iter().filter(|in_batch| in_batch.touched.any()) {
            let slot = &in_batch.draft.slot;
            let mut contents = slot.contents.write();
            for op in &in_batch.ops {
                op.place(slot.id, &mut contents, at, lost);
            }
            contents.versions.raise(in_batch.touched);
            let gone = contents.gone;
            drop(contents);
            match in_batch.created {
                Some(_) if !gone => self.store.slots.put(Arc::clone(slot)),
                None if gone => self.store.slots.remove(slot.id),
                _ => {}
            }
        }
    }
}

impl InBatch {
    /// Adds an operation that depends on and changes these sides of the group; all sides if it leaves nothing of the
    /// group.
    fn note(&mut self, op: Op, depends: Touched) {
        let leaves_nothing = matches!(op, Op::Reset(..) | Op::Remove);
        self.touch(depends);
        if leaves_nothing {
            self.touched = Touched::ALL;
        }
        self.ops.push(op);
    }

    fn touch(&mut self, sides: Touched) {
        self.depends.add(sides);
        self.touched.add(sides);
    }
}

impl Op {
    /// Changes the group in memory.
    fn place(&self, group: u64, contents: &mut Contents, at: &Placement, lost: &mut dyn FnMut(u64, &State)) {
        match self {
            Op::Append { first, entries } => {
                contents.cut_for(*first);
                for (index, staged) in (*first..).zip(entries) {
                    let (lsn, size) = (at.lsn_of(staged.at), staged.size);
                    contents.push(staged.term, Written { index, lsn, size });
                }
            }
            Op::Truncate(from) => contents.cut_for(*from),
            Op::Purge(to) => contents.purge(*to),
            Op::Set(fields) => contents.change(fields),
            Op::Create(record, root) => *contents = Contents::created(root.clone(), record.stored(at)),
            Op::Reset(record, root) => {
                lost(group, &contents.root.state);
                contents.reset(root.clone(), record.stored(at));
            }
            Op::Remove => {
                lost(group, &contents.root.state);
                contents.gone = true;
            }
        }
    }
}

fn no_such_place() -> Error {
    Error::internal("a batch was asked for a group at an unknown position")
}

/// Appends entries to one group, in a [`WriteBatch`].
#[derive(Debug)]
pub struct Appender<'a> {
    batch: &'a mut WriteBatch,
    group: u64,
    place: usize,
    next: u64,
    begun: bool,
}

impl Appender<'_> {
    /// Appends an entry whose payload is the concatenation of `parts`. Returns its index.
    ///
    /// # Errors
    /// [`Error::IndexExhausted`].
    pub fn push(&mut self, term: u64, kind: EntryKind, parts: &[&[u8]]) -> Result<u64> {
        let index = self.next;
        if index == u64::MAX {
            return Err(Error::IndexExhausted { group: self.group, index });
        }
        let batch = &mut *self.batch;
        batch.at_mut(self.place)?.draft.append(index, term)?;
        let before = batch.records.size_in_log();
        let at = batch
            .records
            .push_labelled(label(Kind::Entry(kind), self.group, Position { index, term }), parts);
        let staged = Staged { at, term, size: batch.records.size_in_log() - before };
        let in_batch = batch.at_mut(self.place)?;
        match in_batch.ops.last_mut() {
            Some(Op::Append { entries, .. }) if self.begun => entries.push(staged),
            _ => {
                let op = Op::Append { first: index, entries: vec![staged] };
                in_batch.note(op, Touched::side(Side::Log));
            }
        }
        self.begun = true;
        self.next = index + 1;
        Ok(index)
    }

    /// The index of the next entry.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.next
    }
}
