//! A batch: what one commit does to any number of groups.
//!
//! Records are framed as operations are staged, outside any lock. What is left for the moment of submission is to see
//! that no group changed in the meantime, the log's own ordering, and the change of the groups in memory.

use std::collections::HashMap;
use std::ops::Range;
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
use crate::{Batch, Flush, Placement, RecordOffset, SubmitOptions, Ticket};

/// What may be written from the reserve beside what frees room: fields that are small.
const SMALL: usize = 1 << 10;

/// Operations on groups that become durable together or not at all.
///
/// Each call is checked against the group as it is and what the batch did to it before. A call that returns an error
/// staged nothing, and the batch can be used further. Nothing is visible to anybody before
/// [`GroupLog::submit`](super::GroupLog::submit) or [`GroupLog::commit`](super::GroupLog::commit); a batch that is dropped has
/// no effect.
///
/// Two batches may be built side by side. If both concern the same side of the same group (its entries; its purging; or the
/// fields of the same set, see [`Field`]), the second to be submitted gets [`Error::BatchConflict`].
#[derive(Debug)]
pub struct WriteBatch {
    store: Arc<Store>,
    records: Batch,
    ops: Vec<(usize, Op)>,
    entries: Vec<Staged>,
    /// The bytes of fields that are set.
    bytes: Vec<u8>,
    groups: Vec<InBatch>,
    place_of: HashMap<u64, usize>,
}

/// A group in a batch.
#[derive(Debug)]
struct InBatch {
    draft: Draft,
    /// The group's versions when the draft was made.
    versions: Versions,
    /// What must not have changed since.
    depends: Touched,
    /// What changes.
    touched: Touched,
    /// The batch makes the group: nobody else may have done so. Whether the batch removes one of this id before.
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
    bytes: u32,
}

impl Framed {
    fn stored(self, at: &Placement) -> Stored {
        Stored { lsn: at.lsn_of(self.at), bytes: self.bytes }
    }
}

/// What is done to a group when the batch is submitted.
#[derive(Debug)]
enum Op {
    /// The next `count` staged entries, from index `first` on.
    Append {
        first: u64,
        count: usize,
    },
    Truncate(u64),
    Purge(Position),
    Set(Field, Position, Range<usize>),
    Create(Framed, Root),
    Reset(Framed, Root),
    Remove,
}

impl WriteBatch {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        WriteBatch {
            records: store.wal.batch(),
            store,
            ops: Vec::new(),
            entries: Vec::new(),
            bytes: Vec::new(),
            groups: Vec::new(),
            place_of: HashMap::new(),
        }
    }

    /// Whether nothing is staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many bytes the batch takes in the log.
    #[must_use]
    pub fn size_in_log(&self) -> u64 {
        self.records.size_in_log()
    }

    /// Stages a group whose log begins behind the entry `after`, or at index 0 if there is none.
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
        let place = self.add(
            group,
            InBatch {
                draft: Draft::of(slot, &contents),
                versions: Versions::default(),
                depends: Touched::ALL,
                touched: Touched::ALL,
                created: Some(replaces),
            },
        );
        self.ops.push((place, Op::Create(record, root)));
        Ok(())
    }

    /// Stages the removal of a group with all it has. The id can be used for another group afterwards, also in this batch.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn remove_group(&mut self, group: u64) -> Result<()> {
        let place = self.existing(group)?;
        self.records.push_labelled(label(Kind::Removed, group, Position::default()), &[]);
        self.note(place, Op::Remove, Touched::LOG_AND_PURGE, Draft::remove);
        Ok(())
    }

    /// Begins to append entries at `first`, one after the other. Where they overlap with entries that are there, those and
    /// all after them are replaced; nothing is before the first one is pushed.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::Gap`], [`Error::BelowFirst`], [`Error::IndexExhausted`].
    pub fn append(&mut self, group: u64, first: u64) -> Result<Appender<'_>> {
        let place = self.existing(group)?;
        self.draft(place)?.check_append(first)?;
        Ok(Appender { batch: self, group, place, next: first, begun: false })
    }

    /// Stages the removal of all entries from `from` on, and nothing takes their place.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::BelowFirst`]; [`Error::Gap`] beyond the end.
    pub fn truncate(&mut self, group: u64, from: u64) -> Result<()> {
        let place = self.existing(group)?;
        if self.draft_mut(place)?.truncate(from)? {
            let at = Position { index: from, term: 0 };
            self.records.push_labelled(label(Kind::Truncated, group, at), &[]);
            self.note(place, Op::Truncate(from), Touched::side(Side::Log), |_| {});
        }
        Ok(())
    }

    /// Stages the removal of all entries up to and including `to`, which may lie beyond the last one: the log begins behind
    /// it then. Removing what is gone already does nothing.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::TermMismatch`] when the log has an entry of another term there;
    /// [`Error::IndexExhausted`].
    pub fn purge(&mut self, group: u64, to: Position) -> Result<()> {
        let place = self.existing(group)?;
        let end = self.draft(place)?.end_index();
        if self.draft_mut(place)?.purge(to)? {
            self.records.push_labelled(label(Kind::Purged, group, to), &[]);
            let mut touched = Touched::side(Side::Purge);
            if to.index >= end {
                // Where the next entry goes has changed.
                touched.add(Touched::side(Side::Log));
            }
            self.note(place, Op::Purge(to), touched, |_| {});
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
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let op = Op::Set(field, at, from..self.bytes.len());
        self.note(place, op, Touched::side(Side::of(field)), |_| {});
        Ok(())
    }

    /// Stages that the group's log begins anew behind the entry `after`, or at index 0: all entries go, and this state takes
    /// the place of the one that is there.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::IndexExhausted`].
    pub fn reset(&mut self, group: u64, after: Option<Position>, state: State) -> Result<()> {
        let place = self.existing(group)?;
        self.draft_mut(place)?.reset(after)?;
        let root = Root { start: Start::after(after), state };
        let record = self.push_root(StateKind::Reset, group, &root);
        self.note(place, Op::Reset(record, root), Touched::LOG_AND_PURGE, |_| {});
        Ok(())
    }

    /// The index after the group's last entry, as it is in this batch.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn end_index(&mut self, group: u64) -> Result<u64> {
        let place = self.existing(group)?;
        Ok(self.draft(place)?.end_index())
    }

    /// The group that this batch makes.
    pub(crate) fn created(&self, group: u64) -> Result<Arc<Slot>> {
        let in_batch = self.place_of.get(&group).and_then(|place| self.groups.get(*place));
        in_batch.map(|in_batch| Arc::clone(&in_batch.draft.slot)).ok_or(Error::NoSuchGroup { group })
    }

    fn push_root(&mut self, kind: StateKind, group: u64, root: &Root) -> Framed {
        let label = label(Kind::State(kind), group, root.start.as_position());
        let before = self.records.size_in_log();
        let at = self.records.push_labelled(label, &[&encode_root(root)]);
        // A batch that is larger is refused.
        let bytes = u32::try_from(self.records.size_in_log() - before).unwrap_or(u32::MAX);
        Framed { at, bytes }
    }

    /// Notes an operation that depends on these sides of the group, and changes them; all, if it leaves nothing of the group.
    fn note(&mut self, place: usize, op: Op, depends: Touched, change: impl FnOnce(&mut Draft)) {
        let leaves_nothing = matches!(op, Op::Reset(..) | Op::Remove);
        if let Some(group) = self.groups.get_mut(place) {
            group.depends.add(depends);
            group.touched.add(if leaves_nothing { Touched::ALL } else { depends });
            change(&mut group.draft);
        }
        self.ops.push((place, op));
    }

    /// The group's place in this batch; there is one, and it was not removed.
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

    /// The group at a place that [`WriteBatch::existing`] gave.
    pub(crate) fn draft(&self, place: usize) -> Result<&Draft> {
        self.groups.get(place).map(|group| &group.draft).ok_or(Error::ForeignBatch)
    }

    fn draft_mut(&mut self, place: usize) -> Result<&mut Draft> {
        self.groups.get_mut(place).map(|group| &mut group.draft).ok_or(Error::ForeignBatch)
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Whether the batch makes room and takes none to speak of: on a full disk it may use the reserve.
    pub(crate) fn frees_room(&self) -> bool {
        let frees = |op: &Op| matches!(op, Op::Purge(_) | Op::Remove);
        let small = |op: &Op| match op {
            Op::Purge(_) | Op::Remove | Op::Truncate(_) => true,
            Op::Set(_, _, bytes) => bytes.len() <= SMALL,
            Op::Append { .. } | Op::Create(..) | Op::Reset(..) => false,
        };
        self.ops.iter().all(|(_, op)| small(op)) && self.ops.iter().any(|(_, op)| frees(op))
    }

    /// Puts the batch into the log, if every group is still as it was when the batch was checked. `lost` is told the state
    /// that a reset or a removal leaves nothing of, under the log's lock.
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

    /// Shows the batch in the groups' memory.
    fn place(&self, at: &Placement, lost: &mut dyn FnMut(u64, &State)) {
        let mut entries = self.entries.iter();
        for (place, op) in &self.ops {
            let Some(in_batch) = self.groups.get(*place) else { continue };
            let slot = &in_batch.draft.slot;
            let mut contents = slot.contents.write();
            match op {
                Op::Append { first, count } => {
                    contents.cut_for(*first);
                    for (index, staged) in (*first..).zip(entries.by_ref().take(*count)) {
                        let (lsn, size) = (at.lsn_of(staged.at), staged.size);
                        contents.push(staged.term, Written { index, lsn, size });
                    }
                }
                Op::Truncate(from) => contents.cut_for(*from),
                Op::Purge(to) => contents.purge(*to),
                Op::Set(field, position, bytes) => {
                    let bytes = self.bytes.get(bytes.clone()).unwrap_or_default();
                    contents.root.state.set(*field, *position, bytes);
                }
                Op::Create(record, root) => {
                    *contents = Contents::created(root.clone(), record.stored(at));
                    drop(contents);
                    self.store.slots.put(Arc::clone(slot));
                }
                Op::Reset(record, root) => {
                    lost(slot.id, &contents.root.state);
                    contents.reset(root.clone(), record.stored(at));
                }
                Op::Remove => {
                    lost(slot.id, &contents.root.state);
                    contents.gone = true;
                    drop(contents);
                    self.store.slots.remove(slot.id);
                }
            }
        }
        for in_batch in self.groups.iter().filter(|in_batch| in_batch.touched.any()) {
            in_batch.draft.slot.contents.write().versions.raise(in_batch.touched);
        }
    }
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
    /// Appends an entry; its payload is the `parts`, joined. Returns its index.
    ///
    /// # Errors
    /// [`Error::IndexExhausted`].
    pub fn push(&mut self, term: u64, kind: EntryKind, parts: &[&[u8]]) -> Result<u64> {
        let index = self.next;
        if index == u64::MAX {
            return Err(Error::IndexExhausted { group: self.group, index });
        }
        let batch = &mut *self.batch;
        let before = batch.records.size_in_log();
        let at = batch
            .records
            .push_labelled(label(Kind::Entry(kind), self.group, Position { index, term }), parts);
        let size = batch.records.size_in_log() - before;
        batch.entries.push(Staged { at, term, size });
        match batch.ops.last_mut() {
            Some((_, Op::Append { count, .. })) if self.begun => {
                *count += 1;
                batch.draft_mut(self.place)?.append(index, term);
            }
            _ => {
                let op = Op::Append { first: index, count: 1 };
                batch.note(self.place, op, Touched::side(Side::Log), |draft| draft.append(index, term));
            }
        }
        self.begun = true;
        self.next = index + 1;
        Ok(index)
    }

    /// The index that the next entry gets.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.next
    }
}
