//! The shared part of the handles on a Raft log: the groups below, the snapshots beside them, and the purge thread.

use std::collections::HashSet;
use std::sync::Arc;

use ::raft::eraftpb::ConfState;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::check;
use super::codec::fields;
use super::error::{Error, Result};
use super::snapshot::{self, Snapshots};
use super::state::SnapshotRef;
use crate::groups;
use crate::groups::contents::Slot;
use crate::groups::options::PurgeLimits;
use crate::groups::purge::{PurgeReport, purge};
use crate::groups::purger::Purger;
use crate::groups::store::Store;
use crate::io::Disk;
use crate::{Flush, Lsn, Options, Ticket, Wal};

/// Owned by every handle of the program. A clone is another handle on the same log.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// Dropped before `files`; joins the purge thread, which has a handle without a purger.
    purger: Option<Arc<Purger<Error>>>,
    files: Arc<Files>,
}

/// The log and its snapshots.
#[derive(Debug)]
struct Files {
    store: Arc<Store>,
    snapshots: Arc<Snapshots>,
    /// Read-locked by a change of a group's snapshot until the change has its place in the log; write-locked by a
    /// backup, which copies the log and the files that it refers to.
    referring: RwLock<()>,
    /// The groups that a node drives.
    driven: Mutex<HashSet<u64>>,
}

/// The right to drive a group; one node has it at a time.
#[derive(Debug)]
pub(crate) struct Drive {
    shared: Shared,
    group: u64,
}

impl Drop for Drive {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that is not there.
        if self.shared.is_here() {
            self.shared.files.driven.lock().remove(&self.group);
        }
    }
}

impl Shared {
    pub(crate) fn open(
        options: &Options,
        disk: Arc<dyn Disk>,
        snapshot_chunk: usize,
        limits: PurgeLimits,
    ) -> Result<Shared> {
        let store = Store::open(options, disk, limits)?;
        for slot in store.slots.all() {
            check::verify_whole(slot.id, &slot.contents.read())?;
        }
        let snapshots = open_snapshots(&store, snapshot_chunk)?;
        let files =
            Arc::new(Files { store, snapshots, referring: RwLock::new(()), driven: Mutex::default() });
        let mut shared = Shared { purger: None, files };
        if let Some(step) = limits.every.filter(|_| options.has_threads()) {
            let of_thread = shared.clone();
            let purge = move || of_thread.purge().map(|_| ());
            shared.purger = Some(Arc::new(Purger::start(shared.wal(), step, purge)?));
        }
        Ok(shared)
    }

    pub(crate) fn is_same(&self, other: &Shared) -> bool {
        Arc::ptr_eq(&self.files, &other.files)
    }

    pub(crate) fn wal(&self) -> &Wal {
        &self.files.store.wal
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.files.store
    }

    pub(crate) fn snapshots(&self) -> &Arc<Snapshots> {
        &self.files.snapshots
    }

    pub(crate) fn purger(&self) -> Option<&Purger<Error>> {
        self.purger.as_deref()
    }

    /// Whether the current process opened the log. In another process no lock may be taken.
    pub(crate) fn is_here(&self) -> bool {
        self.files.store.is_here()
    }

    pub(crate) fn check_opener(&self) -> Result<()> {
        Ok(self.files.store.check_opener()?)
    }

    /// The right to drive this group, unless somebody has it.
    pub(crate) fn drive(&self, group: u64) -> Option<Drive> {
        let is_free = self.files.driven.lock().insert(group);
        is_free.then(|| Drive { shared: self.clone(), group })
    }

    /// Held until a change of a group's snapshot has its place in the log.
    pub(crate) fn referring(&self) -> RwLockReadGuard<'_, ()> {
        self.files.referring.read()
    }

    /// No group changes its snapshot while this is held.
    pub(crate) fn hold_references(&self) -> RwLockWriteGuard<'_, ()> {
        self.files.referring.write()
    }

    pub(crate) fn purge(&self) -> Result<PurgeReport> {
        let report = purge(&self.files.store)?;
        self.sweep_snapshots();
        Ok(report)
    }

    /// Removes obsolete snapshot files; returns the number that must wait, because their replacement is not durable
    /// yet or because they cannot be removed.
    pub(crate) fn sweep_snapshots(&self) -> usize {
        self.files.snapshots.sweep(self.wal().durable_lsn())
    }

    /// Makes a complete file the group's newest snapshot, or removes it. Its record changes nothing that a batch
    /// checks, so no batch is refused for it.
    pub(crate) fn refer_durably(&self, slot: &Slot, conf: &ConfState, file: SnapshotRef) -> Result<()> {
        let saved = self.refer_to_snapshot(slot, conf, file);
        if saved.is_err() {
            self.files.snapshots.discard(slot.id, file, Lsn::ZERO);
        }
        let durable = saved.and_then(|ticket| Ok(ticket.wait()?));
        self.sweep_snapshots();
        durable.map(|_| ())
    }

    /// The commit point of a saved snapshot.
    fn refer_to_snapshot(&self, slot: &Slot, conf: &ConfState, file: SnapshotRef) -> Result<Ticket> {
        let value = fields::snapshot(file);
        let _referring = self.files.referring.read();
        loop {
            let mut batch = groups::WriteBatch::new(Arc::clone(&self.files.store));
            batch.set(slot.id, fields::SNAPSHOT, value.at, &value.bytes)?;
            // A newer one may have been installed or saved while the file was being written. If that happens from
            // here on, the batch is refused and this check is repeated.
            check::save_snapshot(slot.id, &slot.contents.read(), file.at.index, conf)?;
            let old = snapshot_of(slot);
            // Also on a full disk: without a snapshot nothing can be compacted.
            match batch.submit(Flush::Now, true, &mut |_, _| {}) {
                Ok(ticket) => {
                    if let Some(old) = old {
                        self.files.snapshots.discard(slot.id, old, ticket.end());
                    }
                    return Ok(ticket);
                }
                Err(groups::Error::BatchConflict { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// The snapshot that a group refers to.
pub(crate) fn snapshot_of(slot: &Slot) -> Option<SnapshotRef> {
    fields::fixed_of(&slot.contents.read().root.state).snapshot
}

/// Finds the snapshots that groups refer to, and removes all others.
fn open_snapshots(store: &Store, chunk: usize) -> Result<Arc<Snapshots>> {
    let wal = &store.wal;
    let disk = wal.disk().subdir(snapshot::DIRECTORY).map_err(|e| {
        let path = wal.disk().path().join(snapshot::DIRECTORY);
        crate::Error::io("open", path, e)
    })?;
    let snapshots = Arc::new(Snapshots::new(disk, wal.uuid(), chunk));
    let mut referred = Vec::new();
    for slot in store.slots.all() {
        if let Some(file) = snapshot_of(&slot) {
            snapshots.open(slot.id, file)?;
            referred.push((slot.id, file));
        }
    }
    snapshots.remove_orphans(&referred)?;
    Ok(snapshots)
}
