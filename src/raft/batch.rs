//! A batch: what one commit does to any number of groups.
//!
//! Records are framed as operations are staged, outside any lock. What is left for the moment of submission is to see
//! that no group changed in the meantime, the log's own ordering, and the change of the groups in memory.

use std::collections::HashMap;
use std::sync::Arc;

use ::raft::Ready;
use ::raft::eraftpb::{ConfState, Entry, HardState, Snapshot};

use super::check::{Newer, View};
use super::codec::state::{encode_conf, encode_hard, encode_state};
use super::codec::{Kind, StateKind, entry};
use super::error::{Error, Result};
use super::group::{Cell, Group, Versions};
use super::index::Written;
use super::log::RaftLog;
use super::snapshot::{Meta, ReceivedSnapshot};
use super::state::{EntryId, FullState, Hard, SnapshotRef};
use crate::{Batch, Label, Lsn, RecordOffset, Ticket};

/// Operations on groups that become durable together or not at all.
///
/// Each call is checked against the group as it is and what the batch did to it before. A call that returns an error
/// staged nothing, and the batch can be used on. Nothing is visible to anybody before [`RaftLog::submit`] or
/// [`RaftLog::commit`]; a batch that is dropped never was.
///
/// Two batches may be built side by side. If both concern the same side of the same group (its entries and HardState;
/// or its applied index, ConfState and compaction), the second to be submitted gets [`Error::BatchConflict`].
#[derive(Debug)]
pub struct WriteBatch {
    log: RaftLog,
    records: Batch,
    ops: Vec<(usize, Op)>,
    entries: Vec<Staged>,
    slots: Vec<Slot>,
    slot_of: HashMap<u64, usize>,
    /// Snapshot files written for this batch, which nobody needs if it is not submitted.
    files: Vec<(u64, SnapshotRef)>,
}

/// A group in a batch.
#[derive(Debug)]
struct Slot {
    cell: Arc<Cell>,
    incarnation: u64,
    /// The group's versions when the view was taken.
    versions: Versions,
    touches_log: bool,
    touches_apply: bool,
    view: View,
}

#[derive(Clone, Copy, Debug)]
struct Staged {
    at: RecordOffset,
    term: u64,
    size: u64,
}

/// What is done to a group when the batch is submitted.
#[derive(Debug)]
enum Op {
    /// The next `count` staged entries, from index `first` on.
    Append {
        first: u64,
        count: usize,
    },
    Hard(Hard),
    Applied(EntryId),
    Compact(EntryId),
    Conf(u64, Arc<ConfState>),
    Install(RecordOffset, FullState),
    Remove,
}

/// Which versions an operation depends on and raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Log,
    Apply,
    Both,
}

impl WriteBatch {
    pub(crate) fn new(log: RaftLog) -> Self {
        WriteBatch {
            records: log.wal().batch(),
            log,
            ops: Vec::new(),
            entries: Vec::new(),
            slots: Vec::new(),
            slot_of: HashMap::new(),
            files: Vec::new(),
        }
    }

    /// Whether nothing is staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Stages what a Ready asks to be persisted: its snapshot, its entries and its HardState, as one.
    ///
    /// A snapshot's data is written to its file here, before this returns.
    ///
    /// # Errors
    /// As [`WriteBatch::install_snapshot`] (but a snapshot at the commit index is taken: raft asks for one after
    /// `request_snapshot`), [`WriteBatch::append`] and [`WriteBatch::set_hard_state`].
    pub fn ready(&mut self, group: u64, rd: &Ready) -> Result<()> {
        self.stage_ready(group, rd, None)
    }

    /// As [`WriteBatch::ready`], for a Ready with a snapshot whose data came beside it
    /// ([`GroupStorage::snapshot_receiver`](super::GroupStorage::snapshot_receiver)); those in the Ready are not looked at.
    ///
    /// # Errors
    /// As [`WriteBatch::ready`]; [`Error::OtherSnapshot`] when the Ready's snapshot is not the one that was received. What
    /// was received is removed then.
    pub fn ready_received(&mut self, group: u64, rd: &Ready, received: ReceivedSnapshot) -> Result<()> {
        self.stage_ready(group, rd, Some(received))
    }

    fn stage_ready(&mut self, group: u64, rd: &Ready, received: Option<ReceivedSnapshot>) -> Result<()> {
        let snapshot = rd.snapshot();
        let has_snapshot = snapshot.get_metadata().index != 0 || received.is_some();
        let hard = rd.hs().map(Hard::of);
        if !has_snapshot && rd.entries().is_empty() && hard.is_none() {
            return self.view(group).map(|_| ());
        }
        let (slot, mut view) = self.view(group)?;
        if has_snapshot {
            let (at, conf) = snapshot_meta(snapshot);
            if let (Some(received), Some(slot)) = (&received, self.slots.get(slot)) {
                received.check(&slot.cell, at, conf)?;
            }
            view.install(at, conf, Newer::OrAtCommit)?;
        }
        let installed = view.hard();
        view.append(rd.entries())?;
        if let Some(hard) = hard {
            view.set_hard(hard)?;
        }
        if has_snapshot {
            self.stage_install(slot, snapshot, received, installed)?;
        }
        self.stage_entries(slot, rd.entries());
        if let Some(hard) = hard {
            self.stage_hard(slot, hard);
        }
        self.settle(slot, view, if has_snapshot { Side::Both } else { Side::Log });
        Ok(())
    }

    /// Stages entries. Where they overlap with entries that are there, those and all after them are replaced.
    ///
    /// `Entry::sync_log` is deprecated in raft and is not kept.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::Gap`], [`Error::BelowFirst`], [`Error::NotContiguous`], [`Error::TermFalls`],
    /// [`Error::OverwritesCommitted`].
    pub fn append(&mut self, group: u64, entries: &[Entry]) -> Result<()> {
        let (slot, mut view) = self.view(group)?;
        view.append(entries)?;
        self.stage_entries(slot, entries);
        self.settle(slot, view, Side::Log);
        Ok(())
    }

    /// Stages a HardState.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::HardStateTermFalls`], [`Error::CommitFalls`], [`Error::VoteChanges`],
    /// [`Error::CommitBeyondLast`].
    pub fn set_hard_state(&mut self, group: u64, hs: &HardState) -> Result<()> {
        let (slot, mut view) = self.view(group)?;
        let hard = Hard::of(hs);
        view.set_hard(hard)?;
        self.stage_hard(slot, hard);
        self.settle(slot, view, Side::Log);
        Ok(())
    }

    /// Stages a ConfState that holds from `index` on: what `RawNode::apply_conf_change` returned for the entry there.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::ConfStateFalls`], [`Error::ConfStateBeyondCommit`].
    pub fn set_conf_state(&mut self, group: u64, index: u64, cs: &ConfState) -> Result<()> {
        let (slot, mut view) = self.view(group)?;
        view.set_conf(index)?;
        self.records.push_labelled(label(Kind::ConfState, group, index, 0), &[&encode_conf(cs)]);
        self.ops.push((slot, Op::Conf(index, Arc::new(cs.clone()))));
        self.settle(slot, view, Side::Apply);
        Ok(())
    }

    /// Stages how far the state machine has come. It may lag behind the truth: entries after it are applied again.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::AppliedFalls`], [`Error::AppliedBeyondCommit`], [`Error::TermMismatch`].
    pub fn set_applied(&mut self, group: u64, index: u64, term: u64) -> Result<()> {
        let (slot, mut view) = self.view(group)?;
        let applied = EntryId { index, term };
        view.set_applied(applied)?;
        self.records.push_labelled(label(Kind::Applied, group, index, term), &[]);
        self.ops.push((slot, Op::Applied(applied)));
        self.settle(slot, view, Side::Apply);
        Ok(())
    }

    /// Stages a snapshot from the leader: it takes the place of the whole log. Commit, applied, ConfState and, where it
    /// is higher, the term follow it.
    ///
    /// The data is written to its file, and synced, before this returns. If the batch is not submitted, the file is
    /// removed later.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::EmptyConfState`], [`Error::SnapshotOutOfDate`], [`Error::SnapshotTermFalls`];
    /// [`Error::Log`] when the file cannot be written.
    pub fn install_snapshot(&mut self, group: u64, snapshot: &Snapshot) -> Result<()> {
        let (slot, mut view) = self.view(group)?;
        let (at, conf) = snapshot_meta(snapshot);
        view.install(at, conf, Newer::ThanCommit)?;
        self.stage_install(slot, snapshot, None, view.hard())?;
        self.settle(slot, view, Side::Both);
        Ok(())
    }

    /// Stages the removal of the entries up to and including `index`. Removing what is gone already does nothing.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::CompactBeyondApplied`], [`Error::CompactBeyondSnapshot`].
    pub fn compact(&mut self, group: u64, index: u64) -> Result<()> {
        let (slot, mut view) = self.view(group)?;
        if let Some(to) = view.compact(index)? {
            self.records.push_labelled(label(Kind::Compacted, group, to.index, to.term), &[]);
            self.ops.push((slot, Op::Compact(to)));
            self.settle(slot, view, Side::Apply);
        }
        Ok(())
    }

    /// Stages the removal of a group with all it has. The id can be used for another group afterwards.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn remove_group(&mut self, group: u64) -> Result<()> {
        let (slot, mut view) = self.view(group)?;
        view.remove();
        self.records.push_labelled(label(Kind::Removed, group, 0, 0), &[]);
        self.ops.push((slot, Op::Remove));
        self.settle(slot, view, Side::Both);
        Ok(())
    }

    fn stage_entries(&mut self, slot: usize, entries: &[Entry]) {
        let (Some(first), Some(group)) = (entries.first(), self.group_of(slot)) else { return };
        for entry in entries {
            let before = self.records.size_in_log();
            let at = entry::push(&mut self.records, group, entry);
            let size = self.records.size_in_log() - before;
            self.entries.push(Staged { at, term: entry.term, size });
        }
        let (first, count) = (first.index, entries.len());
        self.ops.push((slot, Op::Append { first, count }));
    }

    fn stage_hard(&mut self, slot: usize, hard: Hard) {
        if let Some(group) = self.group_of(slot) {
            let label = label(Kind::HardState, group, hard.commit, hard.term);
            self.records.push_labelled(label, &[&encode_hard(&hard)]);
            self.ops.push((slot, Op::Hard(hard)));
        }
    }

    /// The only staging that can fail: it writes the snapshot's file, if it was not received as one, before it stages
    /// anything.
    fn stage_install(
        &mut self,
        slot: usize,
        snapshot: &Snapshot,
        received: Option<ReceivedSnapshot>,
        hard: Hard,
    ) -> Result<()> {
        let Some((group, incarnation)) = self.slots.get(slot).map(|s| (s.cell.id, s.incarnation)) else {
            return Ok(());
        };
        let (at, conf) = snapshot_meta(snapshot);
        let file = match received {
            Some(received) => received.take(),
            None => self.log.snapshots().write(&Meta { group, at, conf }, &snapshot.data)?,
        };
        self.files.push((group, file));
        let state = FullState::from_snapshot(incarnation, hard, file, Arc::new(conf.clone()));
        let label = label(Kind::State(StateKind::Installed), group, at.index, at.term);
        let record = self.records.push_labelled(label, &[&encode_state(&state)]);
        self.ops.push((slot, Op::Install(record, state)));
        Ok(())
    }

    fn group_of(&self, slot: usize) -> Option<u64> {
        self.slots.get(slot).map(|s| s.cell.id)
    }

    /// The group's place in this batch and a copy of its view to try an operation on.
    fn view(&mut self, group: u64) -> Result<(usize, View)> {
        let slot = self.slot(group)?;
        let view = self.slots.get(slot).map(|s| s.view.clone()).ok_or(Error::NoSuchGroup { group })?;
        view.exists()?;
        Ok((slot, view))
    }

    fn slot(&mut self, group: u64) -> Result<usize> {
        self.log.check_opener()?;
        if let Some(slot) = self.slot_of.get(&group) {
            return Ok(*slot);
        }
        let cell = self.log.groups_in_memory().require(group)?;
        let state = cell.group.read();
        let slot = Slot {
            incarnation: state.full.incarnation,
            versions: state.versions,
            touches_log: false,
            touches_apply: false,
            view: View::of(&cell, &state),
            cell: Arc::clone(&cell),
        };
        drop(state);
        self.slots.push(slot);
        self.slot_of.insert(group, self.slots.len() - 1);
        Ok(self.slots.len() - 1)
    }

    /// The operation is staged: the view it was tried on is the group's from now on.
    fn settle(&mut self, slot: usize, view: View, side: Side) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.view = view;
            slot.touches_log |= side != Side::Apply;
            slot.touches_apply |= side != Side::Log;
        }
    }

    /// Whether the batch makes room and takes none to speak of: on a full disk it may use the reserve.
    pub(crate) fn frees_room(&self) -> bool {
        let small = |op: &Op| matches!(op, Op::Compact(_) | Op::Remove | Op::Applied(_) | Op::Conf(..));
        self.ops.iter().all(|(_, op)| small(op))
            && self.ops.iter().any(|(_, op)| matches!(op, Op::Compact(_) | Op::Remove))
    }

    pub(crate) fn log(&self) -> &RaftLog {
        &self.log
    }

    pub(crate) fn records(&self) -> &Batch {
        &self.records
    }

    /// Whether every group is still as it was when the batch was checked. The order lock is held.
    pub(crate) fn verify(&self) -> Result<()> {
        for slot in &self.slots {
            let group = slot.cell.group.read();
            let stale = (slot.touches_log && group.versions.log != slot.versions.log)
                || (slot.touches_apply && group.versions.apply != slot.versions.apply);
            if group.gone && (slot.touches_log || slot.touches_apply) {
                return Err(Error::NoSuchGroup { group: slot.cell.id });
            }
            if stale {
                return Err(Error::BatchConflict { group: slot.cell.id });
            }
        }
        Ok(())
    }

    /// Shows the batch in the groups' memory. It is in the log, at the ticket's addresses; the order lock is held.
    pub(crate) fn apply(mut self, ticket: &Ticket) {
        // From here on the files belong to the groups.
        self.files.clear();
        let mut entries = self.entries.iter();
        for (slot, op) in self.ops.drain(..) {
            let Some(slot) = self.slots.get(slot) else { continue };
            let mut group = slot.cell.group.write();
            match op {
                Op::Append { first, count } => {
                    group.cut_for(first);
                    for (index, staged) in (first..).zip(entries.by_ref().take(count)) {
                        let (lsn, size) = (ticket.lsn_of(staged.at), staged.size);
                        group.push(staged.term, Written { index, lsn, size });
                    }
                }
                Op::Hard(hard) => group.set_hard(hard),
                Op::Applied(applied) => group.set_applied(applied),
                Op::Compact(to) => group.compact(to),
                Op::Conf(index, conf) => {
                    group.set_conf(index, self.log.groups_in_memory().members.share(conf));
                }
                Op::Install(record, mut state) => {
                    state.conf = self.log.groups_in_memory().members.share(state.conf);
                    discard_snapshot(&self.log, &group, slot.cell.id, ticket.end());
                    group.install(state, ticket.lsn_of(record));
                }
                Op::Remove => {
                    discard_snapshot(&self.log, &group, slot.cell.id, ticket.end());
                    group.gone = true;
                    self.log.groups_in_memory().remove(slot.cell.id);
                }
            }
        }
        for slot in &self.slots {
            let mut group = slot.cell.group.write();
            group.versions.log += u64::from(slot.touches_log);
            group.versions.apply += u64::from(slot.touches_apply);
        }
    }
}

/// The group's snapshot goes once everything before `after` is durable.
fn discard_snapshot(log: &RaftLog, group: &Group, id: u64, after: Lsn) {
    if let Some(old) = group.full.snapshot {
        log.snapshots().discard(id, old, after);
    }
}

impl Drop for WriteBatch {
    fn drop(&mut self) {
        for (group, file) in self.files.drain(..) {
            self.log.snapshots().discard(group, file, Lsn::ZERO);
        }
    }
}

pub(crate) fn label(kind: Kind, group: u64, index: u64, term: u64) -> Label {
    Label { kind: kind.to_u8(), stream: group, sequence: index, extra: term }
}

fn snapshot_meta(snapshot: &Snapshot) -> (EntryId, &ConfState) {
    let meta = snapshot.get_metadata();
    let at = EntryId { index: meta.index, term: meta.term };
    (at, meta.get_conf_state())
}
