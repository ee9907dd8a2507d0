//! Writes a snapshot piece by piece.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use ::raft::eraftpb::ConfState;

use super::check;
use super::error::{Error, Result};
use super::snapshot::{FileWriter, Meta};
use super::store::Shared;
use crate::groups::contents::Slot;

/// Writes a snapshot of the application's state, of any size, with memory for one chunk
/// (`RaftOptions::snapshot_chunk`).
///
/// Nothing is durable or referred to before [`SnapshotSink::finish`] returns. A sink dropped without it leaves
/// nothing; remnants of a killed process are removed at the next open.
///
/// A sink keeps the log open. Nothing else waits for it: groups are written, compacted and purged meanwhile. Errors
/// from [`Write::write`] have the [`Error`] inside (`io::Error::get_ref`) and the operating system's kind:
/// `StorageFull` when the disk is full, which does not endanger the log because it keeps a reserve. After an error a
/// sink accepts no more data.
///
/// An example is at [`SnapshotSource`](super::SnapshotSource).
#[must_use = "a snapshot is only saved by calling `finish`"]
pub struct SnapshotSink {
    /// Dropped before `shared`: while the log is open, no other process cleans its directory up.
    writer: FileWriter,
    slot: Arc<Slot>,
    index: u64,
    conf: ConfState,
    shared: Shared,
}

impl fmt::Debug for SnapshotSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotSink")
            .field("group", &self.slot.id)
            .field("index", &self.index)
            .field("written", &self.written())
            .finish_non_exhaustive()
    }
}

impl SnapshotSink {
    pub(crate) fn begin(shared: &Shared, slot: &Arc<Slot>, index: u64, conf: &ConfState) -> Result<Self> {
        let at = check::save_snapshot(slot.id, &slot.contents.read(), index, conf)?;
        let writer = FileWriter::create(shared.snapshots(), &Meta { group: slot.id, at, conf })?;
        Ok(SnapshotSink { writer, slot: Arc::clone(slot), index, conf: conf.clone(), shared: shared.clone() })
    }

    /// The index at which the data must have been taken.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Bytes of data written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.writer.written()
    }

    pub(crate) fn take_all(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.writer.take_all(bytes)?)
    }

    /// Ends the snapshot. When this returns it is durable and the group's newest; older ones are removed. Afterwards
    /// the log can be compacted up to its index.
    ///
    /// # Errors
    /// The error of an earlier failed write. [`Error::SnapshotNotNewer`] when a newer one was saved or installed
    /// meanwhile, [`Error::BelowFirst`] when the group has continued from another snapshot, [`Error::NoSuchGroup`]
    /// when it was removed; [`Error::Log`] when the file cannot be written. The group is then unchanged, and the file
    /// is removed.
    pub fn finish(self) -> Result<()> {
        let SnapshotSink { writer, slot, index: _, conf, shared } = self;
        let file = writer.finish()?;
        shared.refer_durably(&slot, &conf, file)
    }
}

impl Write for SnapshotSink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.writer.take(buf).map_err(|e| Error::from(e).into())
    }

    /// Does nothing: a chunk is written when it is full, and nothing is durable before [`SnapshotSink::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
