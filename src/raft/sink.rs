//! A snapshot as it is written, one piece after the other.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use ::raft::eraftpb::ConfState;

use super::check;
use super::error::{Error, Result};
use super::snapshot::{FileWriter, Meta};
use super::store::Shared;
use crate::groups::contents::Slot;

/// Writes a snapshot of the application's state, of any size, with memory for one chunk of it
/// (`RaftOptions::snapshot_chunk`).
///
/// Nothing is durable, and nothing refers to it, before [`SnapshotSink::finish`] returns. A sink that is dropped without
/// it leaves nothing; what a process that ends leaves goes at the next open.
///
/// The log stays open as long as a sink does. Nothing else waits for it: groups are written, compacted and purged
/// meanwhile. What [`Write::write`] reports has the [`Error`] inside (`io::Error::get_ref`) and the operating system's kind:
/// `StorageFull` when the disk is full, and then the log, which keeps a reserve, is in no danger. After an error a sink
/// takes nothing more.
///
/// An example is at [`SnapshotSource`](super::SnapshotSource).
#[must_use = "a snapshot is saved by `finish`"]
pub struct SnapshotSink {
    /// Dropped before `shared`: while the log is open, nobody else cleans its directory up.
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

    /// The index that the data must be as of.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many bytes of data it was given.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.writer.written()
    }

    pub(crate) fn take_all(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.writer.take_all(bytes)?)
    }

    /// Ends the snapshot. It is durable when this returns, and the group's newest; older ones are removed. Afterwards the
    /// log can be compacted up to its index.
    ///
    /// # Errors
    /// What made an earlier write fail, if one did. [`Error::SnapshotNotNewer`] when a newer one was saved or installed
    /// meanwhile, [`Error::BelowFirst`] when the group went on from another snapshot, [`Error::NoSuchGroup`] when it was
    /// removed; [`Error::Log`] when it cannot be written. The group is as it was then, and the file is removed.
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
