//! For a higher layer that repairs its own data in a log.
//!
//! ```text
//!  lock ── read the log again ── save ── open, with the lock held ── append the repair ── close
//!          \________ the log as it was ____/ \________ undo restores the earlier state _______/
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

/// A log that is locked but not open. Dropping it releases the lock.
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

    /// Copies what a repair may change into `undo_dir`, which must be empty, or into a new directory `repair-<n>` in
    /// the log's directory, so that [`undo`](super::undo) can restore it: all files of the log except the `untouched`
    /// ones, which neither the repair nor later use of the log writes to, and those of the `layers`.
    ///
    /// # Errors
    /// [`Error::Repair`](crate::Error::Repair) when `undo_dir` is in use; [`Error::Io`](crate::Error::Io). Nothing
    /// was changed.
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

    /// Opens the log under the held lock, so that no other process can open it in between. Segments are made like
    /// those of the view. Of `options`, those for writing have no effect.
    ///
    /// # Errors
    /// As [`Options::open_on`].
    pub fn open(self, options: &Options, view: &LogView, summarizer: Arc<dyn Summarizer>) -> Result<Wal> {
        let capacity = view.segments().iter().map(SegmentReader::capacity).max();
        // As large as the largest existing file, because some may have been made from the reserve.
        let size = capacity.map_or(0, |capacity| capacity.saturating_add(DATA_START));
        let align = view.segments().last().map(SegmentReader::block_align);
        options.as_found(size, align).open_locked(self.disk, self.lock, summarizer)
    }
}
