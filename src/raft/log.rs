//! The log of all groups of one node.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ::raft::eraftpb::{ConfState, SnapshotMetadata};

use super::batch::WriteBatch;
use super::check;
use super::codec::fields;
use super::error::{Error, Result};
use super::options::RaftOptions;
use super::snapshot;
use super::state::Fixed;
use super::storage::GroupStorage;
use super::store::{Shared, snapshot_of};
use crate::groups::purge::PurgeReport;
use crate::groups::recount::recount;
use crate::groups::space::{Space, account};
use crate::groups::{self, Position};
use crate::io::Disk;
use crate::{BackupReport, Flush, Lsn, Options, Ticket, Wal};

/// All Raft groups of one node, in one log.
///
/// Everything is written through a [`WriteBatch`]: the Readys of any number of groups become durable together with
/// one sync. Raft reads one group through a [`GroupStorage`].
///
/// A clone is another handle on the same log.
#[derive(Clone)]
pub struct RaftLog {
    shared: Shared,
}

impl fmt::Debug for RaftLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftLog")
            .field("dir", &self.wal().disk().path())
            .field("node_id", &self.node_id())
            .finish_non_exhaustive()
    }
}

impl RaftLog {
    /// Opens the log in this directory with the default options, creating it if it is missing.
    ///
    /// # Errors
    /// As [`RaftOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<RaftLog> {
        RaftOptions::new().open(dir)
    }

    /// The raft node that the directory belongs to, if one was set.
    #[must_use]
    pub fn node_id(&self) -> Option<u64> {
        self.wal().owner()
    }

    /// Creates a group that starts at index 0 with these members; all members of a new group start alike. A node that
    /// joins a group later starts with an empty `ConfState` and learns it from its first snapshot.
    ///
    /// The group is durable when this returns.
    ///
    /// # Errors
    /// [`Error::GroupExists`]; [`Error::Log`].
    pub fn create_group(&self, id: u64, conf_state: ConfState) -> Result<GroupStorage> {
        self.create(id, Position::default(), &Fixed::default(), &conf_state)
    }

    /// Creates a group whose log begins after an entry that the state machine already contains; `metadata` has index,
    /// term and members. For a node whose state and earlier log were kept elsewhere.
    ///
    /// The log has no snapshot of the group then. `Storage::snapshot` returns `SnapshotTemporarilyUnavailable`, and
    /// nothing can be compacted, until one is saved ([`GroupStorage::save_snapshot`]). The HardState has the
    /// metadata's term, no vote, and its index as the commit index: a node with a HardState of its own stores it with
    /// [`WriteBatch::set_hard_state`] before it runs.
    ///
    /// The group is durable when this returns.
    ///
    /// # Errors
    /// [`Error::GroupExists`]; [`Error::EmptyConfState`]; [`Error::SnapshotOutOfDate`] for index 0, for which
    /// [`RaftLog::create_group`] exists; [`Error::IndexExhausted`]; [`Error::Log`].
    pub fn create_group_behind(&self, id: u64, metadata: &SnapshotMetadata) -> Result<GroupStorage> {
        let (at, conf) = (Position { index: metadata.index, term: metadata.term }, metadata.get_conf_state());
        check::begin_behind(id, at, conf)?;
        self.create(id, at, &Fixed::behind(at), conf)
    }

    fn create(&self, id: u64, after: Position, fixed: &Fixed, conf: &ConfState) -> Result<GroupStorage> {
        let store = self.shared.store();
        store.check_opener()?;
        let mut batch = groups::WriteBatch::new(Arc::clone(store));
        batch.create_group(id, Some(after), fields::encode(fixed, conf))?;
        let slot = batch.created(id)?;
        batch.submit(Flush::ByCaller, false, &mut |_, _| {})?.wait()?;
        Ok(GroupStorage::new(self.shared.clone(), slot))
    }

    /// The group with this id.
    #[must_use]
    pub fn group(&self, id: u64) -> Option<GroupStorage> {
        let here = self.shared.is_here().then(|| self.shared.store().slots.get(id)).flatten();
        here.map(|slot| GroupStorage::new(self.shared.clone(), slot))
    }

    /// The ids of all groups, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        if self.shared.is_here() { self.shared.store().slots.ids() } else { Vec::new() }
    }

    /// An empty batch.
    #[must_use]
    pub fn batch(&self) -> WriteBatch {
        WriteBatch::new(self.shared.clone())
    }

    /// Commits a batch: submits it and waits until it is durable. Returns the address of its first record.
    ///
    /// # Errors
    /// As [`RaftLog::submit`]; and [`Error::Log`] when it cannot be made durable.
    pub fn commit(&self, batch: WriteBatch) -> Result<Lsn> {
        Ok(self.put(batch, Flush::ByCaller)?.wait()?)
    }

    /// Submits a batch. When this returns, its order is fixed and its entries are readable, but nothing is durable
    /// before the ticket says so, and no message that depends on it may be sent before that.
    ///
    /// # Errors
    /// [`Error::BatchConflict`] when another batch changed one of the groups after this one was checked,
    /// [`Error::NoSuchGroup`] when one was removed, [`Error::ForeignBatch`] for a batch of another log;
    /// [`Error::Log`]: `RecordTooLarge`, `BatchTooLarge`, `Poisoned`, `Closed`. In all these cases nothing in the
    /// batch was done.
    pub fn submit(&self, batch: WriteBatch) -> Result<Ticket> {
        self.put(batch, Flush::Now)
    }

    fn put(&self, batch: WriteBatch, flush: Flush) -> Result<Ticket> {
        self.shared.check_opener()?;
        if !batch.is_of(&self.shared) {
            return Err(Error::ForeignBatch);
        }
        batch.submit(flush)
    }

    /// Durably removes a group and everything it has. The id can be used again.
    ///
    /// # Errors
    /// As [`WriteBatch::remove_group`] and [`RaftLog::commit`].
    pub fn remove_group(&self, id: u64) -> Result<()> {
        let mut batch = self.batch();
        batch.remove_group(id)?;
        self.commit(batch)?;
        self.shared.sweep_snapshots();
        Ok(())
    }

    /// Frees the segments that no group needs. Where it is worth it, live records in the oldest segments are
    /// relocated: they are written again at the end of the log, a bounded number of bytes at a time. So a lagging
    /// group cannot pin segments. Call this regularly, for example after each segment's worth of writes, or have it
    /// called ([`RaftOptions::purge_in_background`]). Then the segment files, without their footers, take at most
    /// twice the live bytes plus three segments.
    ///
    /// Appends and reads continue meanwhile.
    ///
    /// # Errors
    /// [`Error::Log`] when the log below fails or finds damage in records to be relocated. Nothing is freed before
    /// its replacement is durable.
    pub fn purge(&self) -> Result<PurgeReport> {
        self.shared.check_opener()?;
        self.shared.purge()
    }

    /// Removes obsolete snapshot files; returns the number left: those whose replacement is not durable yet, and
    /// those that could not be removed. [`RaftLog::purge`] does the same.
    #[must_use]
    pub fn obsolete_snapshots(&self) -> usize {
        self.shared.sweep_snapshots()
    }

    /// Why the last purge by [`RaftOptions::purge_in_background`] failed, if it did. Nothing is lost: what should
    /// have been freed is still there, and it will be retried.
    #[must_use]
    pub fn background_purge_error(&self) -> Option<Error> {
        if let Err(elsewhere) = self.shared.check_opener() {
            return Some(elsewhere);
        }
        self.shared.purger().and_then(|purger| purger.last_error())
    }

    /// Space usage: live and dead bytes of each segment, and what each group pins. Visits each group, but no entry
    /// whose size is known.
    ///
    /// # Errors
    /// [`Error::Log`] when a record's header cannot be read.
    pub fn space(&self) -> Result<Space> {
        self.shared.check_opener()?;
        Ok(account(self.wal(), self.shared.store().slots.all())?.space())
    }

    /// The same as [`RaftLog::space`], but recounted from the headers of all records instead of remembered sizes; for
    /// checking. Batches wait meanwhile.
    ///
    /// # Errors
    /// [`Error::Log`] when the log below fails, or a header does not verify.
    pub fn recount_space(&self) -> Result<Space> {
        self.shared.check_opener()?;
        Ok(recount(self.shared.store())?.space())
    }

    /// Copies the log and the snapshots that its groups refer to into this directory, which must be empty or missing:
    /// all groups as they are at one moment, with everything verified on the way. Batches that install or remove
    /// snapshots wait for one sync while that moment is captured; others do not wait.
    ///
    /// A replica restored from a backup has forgotten votes and entries that it acknowledged since. Raft does not
    /// survive that: remove it from its groups and add it as a new one, or restore all replicas of a group from
    /// backups and start from there.
    ///
    /// # Errors
    /// As [`Wal::backup`]; [`Error::Log`] also when a snapshot does not verify.
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.shared.check_opener()?;
        self.backup_on(Options::new().disk(dir.as_ref())?)
    }

    /// Like [`RaftLog::backup`], into a directory on any file system.
    ///
    /// # Errors
    /// As [`RaftLog::backup`].
    pub fn backup_on(&self, disk: Arc<dyn Disk>) -> Result<BackupReport> {
        self.shared.check_opener()?;
        let _kept = self.shared.snapshots().keep();
        let store = self.shared.store();
        let unchanged = self.shared.hold_references();
        let capture = store.wal.capture()?;
        let slots = store.slots.all();
        let files: Vec<_> = slots.iter().filter_map(|slot| Some((slot.id, snapshot_of(slot)?))).collect();
        drop(unchanged);
        let copy = capture.copy_to(disk)?;
        let beside = copy
            .disk()
            .subdir(snapshot::DIRECTORY)
            .map_err(|e| crate::Error::io("open", copy.disk().path().join(snapshot::DIRECTORY), e))?;
        let bytes = self.shared.snapshots().copy_to(&*beside, &files)?;
        let mut report = copy.finish()?;
        report.bytes += bytes;
        Ok(report)
    }

    /// The log below.
    ///
    /// Other users may append to it: records without a label, or with kinds below 0x80, are theirs.
    /// [`RaftLog::purge`] releases what no group needs, so other users must hold what they need with [`Wal::hold`].
    #[must_use]
    pub fn wal(&self) -> &Wal {
        self.shared.wal()
    }

    /// Makes everything submitted durable and closes the log; later calls on any handle fail.
    ///
    /// # Errors
    /// [`Error::Log`] when the last writes fail.
    pub fn close(&self) -> Result<()> {
        self.shared.check_opener()?;
        if let Some(purger) = self.shared.purger() {
            purger.stop();
        }
        Ok(self.wal().close()?)
    }

    /// Whether the current process opened the log.
    pub(crate) fn is_here(&self) -> bool {
        self.shared.is_here()
    }

    pub(crate) fn check_opener(&self) -> Result<()> {
        self.shared.check_opener()
    }
}

impl RaftOptions {
    /// Opens the log in this directory, creating it if it is missing.
    ///
    /// # Errors
    /// [`Error::InvalidNodeId`] for node 0. [`Error::Log`] with an error of the log below: `Locked`, `OwnerMismatch`,
    /// `Corruption`, and so on; `Corruption` also when a snapshot that a group refers to is missing or damaged.
    /// [`Error::Incomplete`] when a group is incomplete; [`Error::Content`] for a record of a newer release.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<RaftLog> {
        let disk = self.below()?.disk(dir.as_ref())?;
        self.open_on(disk)
    }

    /// Opens the log in this directory on any file system.
    ///
    /// # Errors
    /// As [`RaftOptions::open`].
    pub fn open_on(self, disk: Arc<dyn Disk>) -> Result<RaftLog> {
        let chunk = self.checked_chunk()?;
        Ok(RaftLog { shared: Shared::open(&self.below()?, disk, chunk, self.limits())? })
    }
}

impl GroupStorage {
    /// The log that holds the group.
    #[must_use]
    pub fn log(&self) -> RaftLog {
        RaftLog { shared: self.shared().clone() }
    }
}
