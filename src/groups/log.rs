//! The handle on a log of groups.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::batch::WriteBatch;
use super::error::{Error, Result};
use super::group::Group;
use super::options::GroupOptions;
use super::purge::{self, PurgeReport};
use super::recount::recount;
use super::shared::Shared;
use super::space::{Space, account};
use super::state::{Position, State};
use crate::io::Disk;
use crate::{BackupReport, Flush, Lsn, Ticket, Wal};

/// Many logs in one: the entries of any number of groups become durable together with one sync.
///
/// Everything is written through a [`WriteBatch`]. A [`Group`] reads one group, and appends to it if nothing else has
/// to happen in the same commit. A clone is another handle on the same log.
#[derive(Clone)]
pub struct GroupLog {
    shared: Shared,
}

impl fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupLog").field("dir", &self.wal().disk().path()).finish_non_exhaustive()
    }
}

impl GroupLog {
    /// Opens the log in this directory with the default options, creating it if it is missing.
    ///
    /// # Errors
    /// As [`GroupOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<GroupLog> {
        GroupOptions::new().open(dir)
    }

    /// Creates a group with an empty state whose log begins at index 0, or after the entry `after`. It is durable
    /// when this returns.
    ///
    /// # Errors
    /// [`Error::GroupExists`]; [`Error::IndexExhausted`]; [`Error::Log`].
    pub fn create_group(&self, id: u64, after: Option<Position>) -> Result<Group> {
        let mut batch = self.batch();
        batch.create_group(id, after, State::new())?;
        let slot = batch.created(id)?;
        self.commit(batch)?;
        Ok(Group::new(self.shared.clone(), slot))
    }

    /// The group with this id.
    #[must_use]
    pub fn group(&self, id: u64) -> Option<Group> {
        let slot = self.shared.store().is_here().then(|| self.shared.store().slots.get(id)).flatten();
        slot.map(|slot| Group::new(self.shared.clone(), slot))
    }

    /// The ids of all groups, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        if self.shared.store().is_here() { self.shared.store().slots.ids() } else { Vec::new() }
    }

    /// An empty batch.
    #[must_use]
    pub fn batch(&self) -> WriteBatch {
        WriteBatch::new(Arc::clone(self.shared.store()))
    }

    /// Commits a batch: submits it and waits until it is durable. Returns the address of its first record.
    ///
    /// # Errors
    /// As [`GroupLog::submit`]; and [`Error::Log`] when it cannot be made durable.
    pub fn commit(&self, batch: WriteBatch) -> Result<Lsn> {
        Ok(self.submit_with(batch, Flush::ByCaller)?.wait()?)
    }

    /// Submits a batch. When this returns, its order is fixed and its entries are readable, but nothing is durable
    /// before the ticket says so.
    ///
    /// # Errors
    /// [`Error::BatchConflict`] when another batch changed one of the groups after this one was checked,
    /// [`Error::NoSuchGroup`] when one was removed, [`Error::GroupExists`] when one was created,
    /// [`Error::ForeignBatch`] for a batch of another log; [`Error::Log`]: `RecordTooLarge`, `BatchTooLarge`,
    /// `Poisoned`, `Closed`. In all these cases nothing in the batch was done.
    pub fn submit(&self, batch: WriteBatch) -> Result<Ticket> {
        self.submit_with(batch, Flush::Now)
    }

    /// Like [`GroupLog::submit`], with a choice of who makes the batch durable.
    ///
    /// # Errors
    /// As [`GroupLog::submit`].
    pub fn submit_with(&self, batch: WriteBatch, flush: Flush) -> Result<Ticket> {
        self.shared.submit(batch, flush)
    }

    /// Durably removes a group and everything it has. The id can be used again.
    ///
    /// # Errors
    /// As [`WriteBatch::remove_group`] and [`GroupLog::commit`].
    pub fn remove_group(&self, id: u64) -> Result<()> {
        let mut batch = self.batch();
        batch.remove_group(id)?;
        self.commit(batch).map(|_| ())
    }

    /// Frees the segments that no group needs. Where it is worth it, live records in the oldest segments are
    /// relocated: they are written again at the end of the log, a bounded number of bytes at a time. So a lagging
    /// group cannot pin segments. Call this regularly, for example after each segment's worth of writes, or have it
    /// called ([`GroupOptions::purge_in_background`]). Then the segment files, without their footers, take at most
    /// twice the live bytes plus three segments.
    ///
    /// Appends and reads continue meanwhile.
    ///
    /// # Errors
    /// [`Error::Log`] when the log below fails or finds damage in records to be relocated. Nothing is freed before
    /// its replacement is durable.
    pub fn purge(&self) -> Result<PurgeReport> {
        self.shared.store().check_opener()?;
        purge::purge(self.shared.store())
    }

    /// Why the last purge by [`GroupOptions::purge_in_background`] failed, if it did. Nothing is lost: what should
    /// have been freed is still there, and it will be retried.
    #[must_use]
    pub fn background_purge_error(&self) -> Option<Error> {
        if let Err(elsewhere) = self.shared.store().check_opener() {
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
        self.shared.store().check_opener()?;
        Ok(account(self.wal(), self.shared.store().slots.all())?.space())
    }

    /// The same as [`GroupLog::space`], but recounted from the headers of all records instead of remembered sizes, as
    /// of one moment during the call; for checking. Copies the in-memory data of all groups.
    ///
    /// # Errors
    /// [`Error::Log`] when the log below fails, or a header does not verify.
    pub fn recount_space(&self) -> Result<Space> {
        self.shared.store().check_opener()?;
        Ok(recount(self.shared.store())?.space())
    }

    /// Copies the log into this directory, which must be empty or missing: all groups as they are at one moment, with
    /// everything verified on the way.
    ///
    /// A replica restored from a backup has forgotten what it acknowledged since. See the guide before you start one.
    ///
    /// # Errors
    /// As [`Wal::backup`].
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.shared.store().check_opener()?;
        Ok(self.shared.store().wal.backup(dir)?)
    }

    /// The log below. Other users may append to it: records without a label, or with kinds below 0x80, are theirs.
    /// [`GroupLog::purge`] releases what no group needs, so other users must hold what they need with [`Wal::hold`].
    #[must_use]
    pub fn wal(&self) -> &Wal {
        &self.shared.store().wal
    }

    /// Makes everything submitted durable and closes the log; later calls of any handle fail.
    ///
    /// # Errors
    /// [`Error::Log`] when the last writes fail.
    pub fn close(&self) -> Result<()> {
        self.shared.store().check_opener()?;
        if let Some(purger) = self.shared.purger() {
            purger.stop();
        }
        Ok(self.shared.store().wal.close()?)
    }
}

impl GroupOptions {
    /// Opens the log in this directory, creating it if it is missing.
    ///
    /// # Errors
    /// [`Error::Log`] with an error of the log below: `Locked`, `Corruption`, and so on; [`Error::Incomplete`] when a
    /// group is incomplete; [`Error::Content`] for a record of a newer release.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<GroupLog> {
        let disk = self.below().disk(dir.as_ref())?;
        self.open_on(disk)
    }

    /// Opens the log in this directory on any file system.
    ///
    /// # Errors
    /// As [`GroupOptions::open`].
    pub fn open_on(self, disk: Arc<dyn Disk>) -> Result<GroupLog> {
        Ok(GroupLog { shared: Shared::open(self.below(), disk, self.limits())? })
    }
}

impl Group {
    /// The log that holds the group.
    #[must_use]
    pub fn log(&self) -> GroupLog {
        GroupLog { shared: self.shared().clone() }
    }
}
