//! The log of all groups of one node.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ::raft::eraftpb::{ConfState, SnapshotMetadata};
use parking_lot::{Mutex, MutexGuard};

use super::batch::{WriteBatch, label};
use super::check;
use super::codec::state::encode_state;
use super::codec::{Kind, StateKind};
use super::error::{Error, Result};
use super::group::{Cell, Group};
use super::groups::{GroupSummarizer, Groups};
use super::options::{PurgeLimits, RaftOptions};
use super::purge::{self, PurgeReport};
use super::purger::Purger;
use super::recount;
use super::replay::replay;
use super::snapshot::{self, Snapshots};
use super::space::{self, Space};
use super::state::{EntryId, FullState, SnapshotRef};
use super::storage::GroupStorage;
use crate::commit::FlushedBy;
use crate::cores::Cores;
use crate::io::Disk;
use crate::segment::Room;
use crate::stats::Counter;
use crate::{BackupReport, Lsn, Options, Ticket, Wal};

/// The Raft groups of one node, in one log.
///
/// Everything is written through a [`WriteBatch`]: the Readys of any number of groups become durable together, with one
/// sync. A [`GroupStorage`] is the view of one group that raft reads from.
///
/// A clone is another handle on the same log.
#[derive(Clone)]
pub struct RaftLog {
    /// Dropped before `inner`; joins the purge thread.
    purger: Option<Arc<Purger>>,
    inner: Arc<Inner>,
}

struct Inner {
    wal: Wal,
    groups: Arc<Groups>,
    snapshots: Arc<Snapshots>,
    limits: PurgeLimits,
    written: Written,
    /// Held by whoever purges: two at a time would relocate the same records.
    purging: Mutex<()>,
}

/// How much was written since the log was opened.
#[derive(Debug)]
pub(crate) struct Written {
    /// Where the log ended then.
    opened_at: Lsn,
    /// The bytes of records that were relocated.
    pub(crate) relocated: Counter,
    /// What was appended when the log was last purged.
    pub(crate) at_last_purge: AtomicU64,
}

impl fmt::Debug for RaftLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftLog")
            .field("dir", &self.inner.wal.disk().path())
            .field("node_id", &self.node_id())
            .finish_non_exhaustive()
    }
}

impl RaftLog {
    /// Opens the log in this directory with the default options, making it when it is missing.
    ///
    /// # Errors
    /// As [`RaftOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<RaftLog> {
        RaftOptions::new().open(dir)
    }

    pub(crate) fn start(
        options: &Options,
        disk: Arc<dyn Disk>,
        snapshot_chunk: usize,
        limits: PurgeLimits,
    ) -> Result<RaftLog> {
        let groups = Arc::new(Groups::default());
        let summarizer = GroupSummarizer::new(Arc::clone(&groups), options.has_threads());
        let wal = options.open_with_summarizer(disk, Arc::new(summarizer))?;
        replay(&wal, &groups, Cores::available(options.has_threads()))?;
        groups.adopt_left();
        let snapshots = open_snapshots(&wal, &groups, snapshot_chunk)?;
        let written = Written {
            opened_at: wal.next_lsn(),
            relocated: Counter::named("seawall_raft_relocated_bytes_total"),
            at_last_purge: AtomicU64::new(0),
        };
        let purging = Mutex::new(());
        let inner = Arc::new(Inner { wal, groups, snapshots, limits, written, purging });
        let mut log = RaftLog { purger: None, inner };
        if let Some(step) = limits.every.filter(|_| options.has_threads()) {
            log.purger = Some(Arc::new(Purger::start(log.clone(), step)?));
        }
        Ok(log)
    }

    /// The raft node that the directory belongs to, once one was given.
    #[must_use]
    pub fn node_id(&self) -> Option<u64> {
        self.inner.wal.owner()
    }

    /// Makes a group that starts at index 0 with these members; all members of a new group start alike. A node that
    /// joins a group later starts with an empty `ConfState` and learns it from its first snapshot.
    ///
    /// The group is durable when this returns.
    ///
    /// # Errors
    /// [`Error::GroupExists`]; [`Error::Log`].
    pub fn create_group(&self, id: u64, conf_state: ConfState) -> Result<GroupStorage> {
        self.create(id, FullState { conf: Arc::new(conf_state), ..FullState::default() })
    }

    /// Makes a group whose log begins behind an entry that the state machine holds already: index, term and members are
    /// the metadata's. For a node whose state and earlier log were kept elsewhere, and that goes on here.
    ///
    /// The log has no snapshot of the group then. `Storage::snapshot` answers `SnapshotTemporarilyUnavailable`, and nothing
    /// can be compacted, until one is saved ([`GroupStorage::save_snapshot`]). The HardState has the metadata's term, no
    /// vote, and its index as the commit index: a node that has one brings it with [`WriteBatch::set_hard_state`] before
    /// it runs.
    ///
    /// The group is durable when this returns.
    ///
    /// # Errors
    /// [`Error::GroupExists`]; [`Error::EmptyConfState`]; [`Error::SnapshotOutOfDate`] for index 0, behind which
    /// [`RaftLog::create_group`] makes a group; [`Error::IndexExhausted`]; [`Error::Log`].
    pub fn create_group_behind(&self, id: u64, metadata: &SnapshotMetadata) -> Result<GroupStorage> {
        let at = EntryId { index: metadata.index, term: metadata.term };
        check::begin_behind(id, at, metadata.get_conf_state())?;
        self.create(id, FullState::behind(at, Arc::new(metadata.get_conf_state().clone())))
    }

    fn create(&self, id: u64, full: FullState) -> Result<GroupStorage> {
        self.check_opener()?;
        let mut order = self.inner.groups.order.lock();
        if self.inner.groups.get(id).is_some() {
            return Err(Error::GroupExists { group: id });
        }
        let full = FullState {
            incarnation: order.incarnation + 1,
            conf: self.inner.groups.members.share(full.conf),
            ..full
        };
        let mut batch = self.inner.wal.batch();
        let label = label(Kind::State(StateKind::Created), id, full.compacted.index, full.compacted.term);
        let record = batch.push_labelled(label, &[&encode_state(&full)]);
        let ticket = self.inner.wal.submit_for(&batch, Room::Ordinary, FlushedBy::Caller)?;
        order.incarnation = full.incarnation;
        let cell = Cell::new(id, Group::created(full, ticket.lsn_of(record)));
        self.inner.groups.put(Arc::clone(&cell));
        drop(order);
        self.inner.groups.adopt_left();
        ticket.wait()?;
        Ok(GroupStorage::new(self.clone(), cell))
    }

    /// The group with this id.
    #[must_use]
    pub fn group(&self, id: u64) -> Option<GroupStorage> {
        let here = self.is_here().then(|| self.inner.groups.get(id)).flatten();
        here.map(|cell| GroupStorage::new(self.clone(), cell))
    }

    /// The ids of all groups, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        if self.is_here() { self.inner.groups.ids() } else { Vec::new() }
    }

    /// An empty batch.
    #[must_use]
    pub fn batch(&self) -> WriteBatch {
        WriteBatch::new(self.clone())
    }

    /// Puts a batch into the log and waits until it is durable. Returns the address of its first record.
    ///
    /// # Errors
    /// As [`RaftLog::submit`]; and [`Error::Log`] when it cannot be made durable.
    pub fn commit(&self, batch: WriteBatch) -> Result<Lsn> {
        Ok(self.put(batch, FlushedBy::Caller)?.wait()?)
    }

    /// Puts a batch into the log. When this returns its order is fixed and its entries can be read, but nothing is
    /// durable before the ticket says so, and no message that depends on it may leave before that.
    ///
    /// # Errors
    /// [`Error::BatchConflict`] when another batch changed one of the groups since this one was checked,
    /// [`Error::NoSuchGroup`] when one was removed, [`Error::ForeignBatch`] for a batch of another log; [`Error::Log`]:
    /// `RecordTooLarge`, `BatchTooLarge`, `Poisoned`, `Closed`. In all these cases nothing of the batch was done.
    pub fn submit(&self, batch: WriteBatch) -> Result<Ticket> {
        self.put(batch, FlushedBy::Committer)
    }

    fn put(&self, batch: WriteBatch, flusher: FlushedBy) -> Result<Ticket> {
        self.check_opener()?;
        if !Arc::ptr_eq(&self.inner, &batch.log().inner) {
            return Err(Error::ForeignBatch);
        }
        let order = self.inner.groups.order.lock();
        batch.verify()?;
        let frees = batch.frees_room();
        let room = if frees { Room::Reserve } else { Room::Ordinary };
        let ticket = self.inner.wal.submit_for(batch.records(), room, flusher)?;
        batch.apply(&ticket);
        drop(order);
        self.inner.groups.adopt_left();
        if let Some(purger) = &self.purger {
            purger.submitted(ticket.end(), frees);
        }
        Ok(ticket)
    }

    /// Removes a group and all it has, durably. The id can be used again.
    ///
    /// # Errors
    /// As [`WriteBatch::remove_group`] and [`RaftLog::commit`].
    pub fn remove_group(&self, id: u64) -> Result<()> {
        let mut batch = self.batch();
        batch.remove_group(id)?;
        self.commit(batch)?;
        self.sweep_snapshots();
        Ok(())
    }

    /// Frees the segments that no group needs. What is still live in the oldest ones is relocated, that is written again
    /// at the end of the log, where that is worth it and a bounded number of bytes at a time; so no group can pin
    /// segments by lagging. Call it regularly, say whenever a segment's worth was written, or have it called
    /// ([`RaftOptions::purge_in_background`]): then the segments' files
    /// (without their footers) take at most twice the live bytes and three segments more.
    ///
    /// Appends and reads go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Log`] when the log below fails, or finds damage in what is to be relocated. Nothing is freed before what
    /// replaces it is durable.
    pub fn purge(&self) -> Result<PurgeReport> {
        self.check_opener()?;
        let _one_at_a_time = self.inner.purging.lock();
        purge::purge(self)
    }

    /// Why the last purge by [`RaftOptions::purge_in_background`] failed, if it did. Nothing is lost by it: what was to be
    /// freed is still there, and it is tried again.
    #[must_use]
    pub fn background_purge_error(&self) -> Option<Error> {
        if let Err(elsewhere) = self.check_opener() {
            return Some(elsewhere);
        }
        self.purger.as_ref().and_then(|purger| purger.last_error())
    }

    /// What the segments hold: live and dead bytes of each, and what each group pins. Looks at each group, but at no
    /// entry whose size is known.
    ///
    /// # Errors
    /// [`Error::Log`] when a record's header cannot be read.
    pub fn space(&self) -> Result<Space> {
        self.check_opener()?;
        Ok(space::account(self.wal(), self.inner.groups.all())?.space())
    }

    /// The same as [`RaftLog::space`], counted anew from the headers of all records instead of what is remembered about
    /// them: for tests, and for those who doubt. Batches wait meanwhile.
    ///
    /// # Errors
    /// [`Error::Log`] when the log below fails, or a header does not verify.
    pub fn recount_space(&self) -> Result<Space> {
        self.check_opener()?;
        Ok(recount::recount(self)?.space())
    }

    /// Copies the log and the snapshots that its groups refer to into this directory, which must be empty or missing: all
    /// groups as they are at one moment, with everything verified on the way. Batches wait for one sync while that moment is
    /// captured, and go on while it is copied.
    ///
    /// A replica that is restored from a backup has forgotten votes and entries that it acknowledged since. Raft does not
    /// survive that: remove it from its groups and add it as a new one, or restore all replicas of a group from backups and
    /// start from there.
    ///
    /// # Errors
    /// As [`Wal::backup`]; [`Error::Log`] also when a snapshot does not verify.
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.check_opener()?;
        self.backup_on(Options::new().disk(dir.as_ref())?)
    }

    /// As [`RaftLog::backup`], into a directory of any file system.
    ///
    /// # Errors
    /// As [`RaftLog::backup`].
    pub fn backup_on(&self, disk: Arc<dyn Disk>) -> Result<BackupReport> {
        self.check_opener()?;
        let _kept = self.inner.snapshots.keep();
        let order = self.inner.groups.order.lock();
        let capture = self.inner.wal.capture()?;
        let cells = self.inner.groups.all();
        let snapshot = |cell: &Arc<Cell>| Some((cell.id, cell.group.read().full.snapshot?));
        let files: Vec<_> = cells.iter().filter_map(snapshot).collect();
        drop(order);
        self.inner.groups.adopt_left();
        let copy = capture.copy_to(disk)?;
        let beside = copy
            .disk()
            .subdir(snapshot::DIRECTORY)
            .map_err(|e| crate::Error::io("open", copy.disk().path().join(snapshot::DIRECTORY), e))?;
        let bytes = self.inner.snapshots.copy_to(&*beside, &files)?;
        let mut report = copy.finish()?;
        report.bytes += bytes;
        Ok(report)
    }

    /// The log below.
    ///
    /// [`RaftLog::purge`] releases what no group needs, records that others wrote there included. Labels belong to the
    /// Raft layer: a record of somebody else must have none.
    #[must_use]
    pub fn wal(&self) -> &Wal {
        &self.inner.wal
    }

    /// Makes everything submitted durable and closes the log; what is asked of any handle after that fails.
    ///
    /// # Errors
    /// [`Error::Log`] when the last writes fail.
    pub fn close(&self) -> Result<()> {
        self.check_opener()?;
        if let Some(purger) = &self.purger {
            purger.stop();
        }
        Ok(self.inner.wal.close()?)
    }

    /// Whether this is the process that opened the log. Elsewhere no lock may be taken.
    pub(crate) fn is_here(&self) -> bool {
        self.inner.wal.opener().is_here()
    }

    pub(crate) fn check_opener(&self) -> Result<()> {
        Ok(self.inner.wal.opener().check()?)
    }

    /// No purge frees anything while this is held.
    pub(crate) fn hold_purges(&self) -> MutexGuard<'_, ()> {
        self.inner.purging.lock()
    }

    pub(crate) fn groups_in_memory(&self) -> &Groups {
        &self.inner.groups
    }

    pub(crate) fn limits(&self) -> PurgeLimits {
        self.inner.limits
    }

    pub(crate) fn written(&self) -> &Written {
        &self.inner.written
    }

    /// How many bytes of log were appended on behalf of others since it was opened, headers and padding included.
    pub(crate) fn appended(&self) -> u64 {
        let grown = self.inner.wal.next_lsn().distance_from(self.inner.written.opened_at).unwrap_or(0);
        grown.saturating_sub(self.inner.written.relocated.get())
    }

    pub(crate) fn snapshots(&self) -> &Arc<Snapshots> {
        &self.inner.snapshots
    }

    /// Removes obsolete snapshot files; says how many have to wait.
    pub(crate) fn sweep_snapshots(&self) -> usize {
        self.inner.snapshots.sweep(self.inner.wal.durable_lsn())
    }

    /// Makes a file that is whole the group's newest snapshot, or removes it. Its record changes nothing that a batch
    /// checks, so none is refused for it.
    pub(crate) fn refer_durably(&self, cell: &Cell, conf: &ConfState, file: SnapshotRef) -> Result<()> {
        let saved = self.refer_to_snapshot(cell, conf, file);
        if saved.is_err() {
            self.inner.snapshots.discard(cell.id, file, Lsn::ZERO);
        }
        let durable = saved.and_then(|ticket| Ok(ticket.wait()?));
        self.sweep_snapshots();
        durable.map(|_| ())
    }

    /// The commit point of a saved snapshot.
    fn refer_to_snapshot(&self, cell: &Cell, conf: &ConfState, file: SnapshotRef) -> Result<Ticket> {
        let order = self.inner.groups.order.lock();
        // Somebody may have installed or saved a newer one while the file was being written.
        let at = check::save_snapshot(cell.id, &cell.group.read(), file.at.index, conf)?;
        let mut batch = self.inner.wal.batch();
        batch.push_labelled(label(Kind::Snapshot, cell.id, at.index, at.term), &[&file.serial.to_le_bytes()]);
        // On a full disk too: without a snapshot nothing can be compacted.
        let ticket = self.inner.wal.submit_from_reserve(&batch)?;
        let mut group = cell.group.write();
        if let Some(old) = group.full.snapshot {
            self.inner.snapshots.discard(cell.id, old, ticket.end());
        }
        group.set_snapshot(file);
        drop(group);
        drop(order);
        self.inner.groups.adopt_left();
        Ok(ticket)
    }
}

/// Finds the snapshots that groups refer to, and removes all others.
fn open_snapshots(wal: &Wal, groups: &Groups, chunk: usize) -> Result<Arc<Snapshots>> {
    let disk = wal.disk().subdir(snapshot::DIRECTORY).map_err(|e| {
        let path = wal.disk().path().join(snapshot::DIRECTORY);
        crate::Error::io("open", path, e)
    })?;
    let snapshots = Arc::new(Snapshots::new(disk, wal.uuid(), chunk));
    let mut referred = Vec::new();
    for cell in groups.all() {
        if let Some(file) = cell.group.read().full.snapshot {
            snapshots.open(cell.id, file)?;
            referred.push((cell.id, file));
        }
    }
    snapshots.remove_orphans(&referred)?;
    Ok(snapshots)
}
