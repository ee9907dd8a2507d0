//! Batches: the changes that one commit makes to any number of groups.
//!
//! Raft's rules are checked here, on a view of the group's state. Rules that hold for any log are checked by the
//! batch below, which also frames the records while operations are staged, outside any lock.

use ::raft::Ready;
use ::raft::eraftpb::{ConfState, Entry, HardState, Snapshot};

use super::check::{Newer, View};
use super::codec::conf::encode_conf;
use super::codec::{entry, fields};
use super::error::{Error, Result};
use super::receiver::ReceivedSnapshot;
use super::snapshot::Meta;
use super::state::{Fixed, Hard, SnapshotRef};
use super::store::Shared;
use crate::groups::{self, Position};
use crate::{Flush, Lsn, Ticket};

/// Operations on groups that become durable together or not at all.
///
/// Each call is checked against the group as it is, including what the batch has already done to it. A call that
/// returns an error stages nothing, and the batch stays usable. Nothing is visible before
/// [`RaftLog::submit`](super::RaftLog::submit) or [`RaftLog::commit`](super::RaftLog::commit); a dropped batch has no
/// effect.
///
/// Two batches may be built concurrently. If both concern the same side of the same group (its entries and HardState;
/// or its applied index, ConfState and compaction), the one submitted second gets [`Error::BatchConflict`].
#[derive(Debug)]
pub struct WriteBatch {
    shared: Shared,
    groups: groups::WriteBatch,
    /// The groups' states as the batch sees them, by their position in the batch below.
    views: Vec<View>,
    /// Whether the batch changes which snapshot a group refers to.
    changes_snapshots: bool,
    /// Snapshot files written for this batch; not needed if it is not submitted.
    files: Vec<(u64, SnapshotRef)>,
}

impl WriteBatch {
    pub(crate) fn new(shared: Shared) -> Self {
        WriteBatch {
            groups: groups::WriteBatch::new(shared.store().clone()),
            shared,
            views: Vec::new(),
            changes_snapshots: false,
            files: Vec::new(),
        }
    }

    /// Whether nothing is staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Stages what a Ready must persist: its snapshot, entries and HardState, as one unit.
    ///
    /// A snapshot's data is written to its file here, before this returns.
    ///
    /// # Errors
    /// As [`WriteBatch::install_snapshot`] (except that a snapshot at the commit index is accepted: raft asks for one
    /// after `request_snapshot`), [`WriteBatch::append`] and [`WriteBatch::set_hard_state`].
    pub fn ready(&mut self, group: u64, rd: &Ready) -> Result<()> {
        self.stage_ready(group, rd, None)
    }

    /// Like [`WriteBatch::ready`], for a Ready whose snapshot data was received separately
    /// ([`GroupStorage::snapshot_receiver`](super::GroupStorage::snapshot_receiver)); any data in the Ready is
    /// ignored.
    ///
    /// # Errors
    /// As [`WriteBatch::ready`]; [`Error::OtherSnapshot`] when the Ready's snapshot is not the one that was received.
    /// The received data is removed then.
    pub fn ready_received(&mut self, group: u64, rd: &Ready, received: ReceivedSnapshot) -> Result<()> {
        self.stage_ready(group, rd, Some(received))
    }

    fn stage_ready(&mut self, group: u64, rd: &Ready, received: Option<ReceivedSnapshot>) -> Result<()> {
        let snapshot = rd.snapshot();
        let has_snapshot = snapshot.get_metadata().index != 0 || received.is_some();
        let hard = rd.hs().map(Hard::of);
        let (place, before) = self.view(group)?;
        let mut view = before;
        if has_snapshot {
            let (at, conf) = snapshot_meta(snapshot);
            let draft = self.groups.draft(place)?;
            if let Some(received) = &received {
                received.check(&draft.slot, at, conf)?;
            }
            view.install(Some(draft), at, conf, Newer::OrAtCommit)?;
        }
        view.append(self.groups.draft(place)?, rd.entries())?;
        if let Some(hard) = hard {
            view.set_hard(hard)?;
        }
        if has_snapshot {
            let file = self.stage_install(group, snapshot, received, before.hard())?;
            view.installed(file);
        }
        self.stage_entries(group, rd.entries())?;
        if let Some(hard) = hard {
            self.stage_hard(group, hard)?;
        }
        self.settle(place, view);
        Ok(())
    }

    /// Stages entries. Existing entries from the first new one on are replaced.
    ///
    /// `Entry::sync_log` is deprecated in raft and is not kept.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::Gap`], [`Error::BelowFirst`], [`Error::NotContiguous`], [`Error::TermFalls`],
    /// [`Error::OverwritesCommitted`].
    pub fn append(&mut self, group: u64, entries: &[Entry]) -> Result<()> {
        let (place, mut view) = self.view(group)?;
        view.append(self.groups.draft(place)?, entries)?;
        self.stage_entries(group, entries)?;
        self.settle(place, view);
        Ok(())
    }

    /// Stages a HardState.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::HardStateTermFalls`], [`Error::CommitFalls`], [`Error::VoteChanges`],
    /// [`Error::CommitBeyondLast`].
    pub fn set_hard_state(&mut self, group: u64, hs: &HardState) -> Result<()> {
        let (place, mut view) = self.view(group)?;
        let hard = Hard::of(hs);
        view.set_hard(hard)?;
        self.stage_hard(group, hard)?;
        self.settle(place, view);
        Ok(())
    }

    /// Stages a ConfState that holds from `index` on: the result of `RawNode::apply_conf_change` for the entry there.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::ConfStateFalls`], [`Error::ConfStateBeyondCommit`].
    pub fn set_conf_state(&mut self, group: u64, index: u64, cs: &ConfState) -> Result<()> {
        let (place, mut view) = self.view(group)?;
        view.set_conf(index)?;
        self.groups.set(group, fields::CONF, Position { index, term: 0 }, &encode_conf(cs))?;
        self.settle(place, view);
        Ok(())
    }

    /// Stages the progress of the state machine. It may lag behind: later entries are applied again.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::AppliedFalls`], [`Error::AppliedBeyondCommit`], [`Error::TermMismatch`].
    pub fn set_applied(&mut self, group: u64, index: u64, term: u64) -> Result<()> {
        let (place, mut view) = self.view(group)?;
        let applied = Position { index, term };
        view.set_applied(self.groups.draft(place)?, applied)?;
        self.groups.set(group, fields::APPLIED, applied, &[])?;
        self.settle(place, view);
        Ok(())
    }

    /// Stages a snapshot from the leader: it replaces the whole log. Commit, applied, ConfState and, if the
    /// snapshot's is higher, the term follow it.
    ///
    /// The data is written to its file and synced before this returns. If the batch is not submitted, the file is
    /// removed later.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::EmptyConfState`], [`Error::SnapshotOutOfDate`], [`Error::SnapshotTermFalls`];
    /// [`Error::Log`] when the file cannot be written.
    pub fn install_snapshot(&mut self, group: u64, snapshot: &Snapshot) -> Result<()> {
        let (place, before) = self.view(group)?;
        let mut view = before;
        let (at, conf) = snapshot_meta(snapshot);
        view.install(Some(self.groups.draft(place)?), at, conf, Newer::ThanCommit)?;
        let file = self.stage_install(group, snapshot, None, before.hard())?;
        view.installed(file);
        self.settle(place, view);
        Ok(())
    }

    /// Stages the removal of the entries up to and including `index`. Removing what is already gone does nothing.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::CompactBeyondApplied`], [`Error::CompactBeyondSnapshot`].
    pub fn compact(&mut self, group: u64, index: u64) -> Result<()> {
        let (place, mut view) = self.view(group)?;
        if let Some(to) = view.compact(self.groups.draft(place)?, index)? {
            self.groups.purge(group, to)?;
            self.settle(place, view);
        }
        Ok(())
    }

    /// Stages the removal of a group and everything it has. Afterwards the id can be used for another group.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn remove_group(&mut self, group: u64) -> Result<()> {
        self.view(group)?;
        self.groups.remove_group(group)?;
        self.changes_snapshots = true;
        Ok(())
    }

    fn stage_entries(&mut self, group: u64, entries: &[Entry]) -> Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        let mut appender = self.groups.append(group, first.index)?;
        for entry in entries {
            entry::push(&mut appender, entry)?;
        }
        Ok(())
    }

    fn stage_hard(&mut self, group: u64, hard: Hard) -> Result<()> {
        let value = fields::hard(&hard);
        Ok(self.groups.set(group, fields::HARD, value.at, &value.bytes)?)
    }

    /// The only staging step that can fail: it writes the snapshot's file, unless it was received as one, before it
    /// stages anything.
    fn stage_install(
        &mut self,
        group: u64,
        snapshot: &Snapshot,
        received: Option<ReceivedSnapshot>,
        hard: Hard,
    ) -> Result<SnapshotRef> {
        let (at, conf) = snapshot_meta(snapshot);
        let file = match received {
            Some(received) => received.take(),
            None => self.shared.snapshots().write(&Meta { group, at, conf }, &snapshot.data)?,
        };
        self.files.push((group, file));
        self.changes_snapshots = true;
        self.groups.reset(group, Some(at), fields::encode(&Fixed::from_snapshot(hard, file), conf))?;
        Ok(file)
    }

    /// The group's position in the batch below, and its view for trying out an operation.
    fn view(&mut self, group: u64) -> Result<(usize, View), Error> {
        let place = self.groups.existing(group)?;
        if let Some(view) = self.views.get(place) {
            return Ok((place, *view));
        }
        // Read after the versions: a change in between makes the batch conflict.
        let view = View::of(group, &self.groups.draft(place)?.slot.contents.read());
        self.views.push(view);
        Ok((place, view))
    }

    /// The operation is staged: the view it was tried on becomes the group's.
    fn settle(&mut self, place: usize, view: View) {
        if let Some(settled) = self.views.get_mut(place) {
            *settled = view;
        }
    }

    pub(crate) fn is_of(&self, shared: &Shared) -> bool {
        self.shared.is_same(shared)
    }

    /// Submits the batch to the log. Snapshots that it replaces are removed once it is durable.
    pub(crate) fn submit(mut self, flush: Flush) -> Result<Ticket> {
        let mut replaced = Vec::new();
        let frees = self.groups.frees_room();
        let referring = self.changes_snapshots.then(|| self.shared.referring());
        let ticket = self.groups.submit(flush, frees, &mut |group, state| {
            replaced.extend(fields::fixed_of(state).snapshot.map(|file| (group, file)));
        })?;
        drop(referring);
        if let Some(purger) = self.shared.purger() {
            purger.submitted(ticket.end(), frees);
        }
        // From here on the files belong to the groups.
        self.files.clear();
        for (group, file) in replaced {
            self.shared.snapshots().discard(group, file, ticket.end());
        }
        Ok(ticket)
    }
}

impl Drop for WriteBatch {
    fn drop(&mut self) {
        for (group, file) in self.files.drain(..) {
            self.shared.snapshots().discard(group, file, Lsn::ZERO);
        }
    }
}

fn snapshot_meta(snapshot: &Snapshot) -> (Position, &ConfState) {
    let meta = snapshot.get_metadata();
    let at = Position { index: meta.index, term: meta.term };
    (at, meta.get_conf_state())
}
