//! For a layer above that repairs what it keeps in a log.
//!
//! ```text
//!  lock ── look at the log once more ── save ── open, with the lock held ── append what repairs it ── close
//!          \_________ the log as it was ______/ \___________ undo gives back what was there ____________/
//! ```

use std::sync::Arc;

use super::repaired::Repaired;
use super::undo_dir::{Layer, copy_to_undo_dir};
use crate::error::Result;
use crate::format::DATA_START;
use crate::io::{Disk, Lock};
use crate::options::Options;
use crate::segment::{SegmentReader, Summarizer};
use crate::view::LogView;
use crate::wal::{Wal, take_lock};

/// A log that is locked and not open. Dropping it gives up the lock.
#[derive(Debug)]
pub struct OfflineLog {
    disk: Arc<dyn Disk>,
    lock: Box<dyn Lock>,
}

impl OfflineLog {
    /// Takes the lock of the log in `disk`.
    ///
    /// # Errors
    /// [`Error::Locked`](crate::Error::Locked) beside a writer; [`Error::Io`](crate::Error::Io).
    pub fn lock(disk: &Arc<dyn Disk>) -> Result<OfflineLog> {
        Ok(OfflineLog { disk: Arc::clone(disk), lock: take_lock(disk)? })
    }

    /// Copies what a repair may change into `undo_dir`, which must be empty, or into a new directory `repair-<n>` in the log's, so
    /// that [`undo`](super::undo) can put it back: all files of the log but the `untouched`, which neither the repair nor a
    /// later use of the log writes to, and those of the `layers`.
    ///
    /// # Errors
    /// [`Error::Repair`](crate::Error::Repair) when `undo_dir` is in use; [`Error::Io`](crate::Error::Io). Nothing was changed.
    pub fn save(
        &self,
        view: &LogView,
        undo_dir: Option<&Arc<dyn Disk>>,
        untouched: &[&str],
        layers: &[Layer],
    ) -> Result<Repaired> {
        let (at, copied) = copy_to_undo_dir(&self.disk, undo_dir, view.uuid(), untouched, layers)?;
        Ok(Repaired { undo_dir: Some(at), copied, ..Repaired::nothing() })
    }

    /// Opens the log with the lock held, so nobody else comes in between. Its segments are made as those of the view are. Of
    /// `options`, what has to do with writing has no effect.
    ///
    /// # Errors
    /// As [`Options::open_on`].
    pub fn open(self, options: &Options, view: &LogView, summarizer: Arc<dyn Summarizer>) -> Result<Wal> {
        let capacity = view.segments().iter().map(SegmentReader::capacity).max();
        // As large as the largest file that is there: some may have been made of the reserve.
        let size = capacity.map_or(0, |capacity| capacity.saturating_add(DATA_START));
        let align = view.segments().last().map(SegmentReader::block_align);
        options.as_found(size, align).open_locked(self.disk, self.lock, summarizer)
    }
}
