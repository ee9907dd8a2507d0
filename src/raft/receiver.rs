//! A leader's snapshot that comes beside raft's message, piece by piece.
//!
//! Raft looks at a snapshot's metadata only. So a program that drives raft itself can let the message carry no data, stream
//! them on a way of its own, and install what came together with the Ready that restores it. The guide's chapter on Raft
//! says how; nothing is on disk that would not be if the message had carried all of it.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use ::raft::eraftpb::{ConfState, SnapshotMetadata};

use super::check::{Newer, View};
use super::error::{Error, Result};
use super::snapshot::{FileWriter, Meta};
use super::state::SnapshotRef;
use super::store::Shared;
use crate::groups::Position;
use crate::groups::contents::Slot;
use crate::groups::draft::Draft;

/// Takes the data of a leader's snapshot, of any size, with memory for one chunk of it.
///
/// As [`SnapshotSink`](super::SnapshotSink), but what comes of it is installed by a batch:
/// [`WriteBatch::ready_received`](crate::raft::WriteBatch::ready_received).
#[must_use = "a snapshot is received by `finish`"]
pub struct SnapshotReceiver {
    writer: FileWriter,
    slot: Arc<Slot>,
    conf: ConfState,
    shared: Shared,
}

impl fmt::Debug for SnapshotReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReceiver")
            .field("group", &self.slot.id)
            .field("written", &self.written())
            .finish_non_exhaustive()
    }
}

impl SnapshotReceiver {
    pub(crate) fn begin(shared: &Shared, slot: &Arc<Slot>, metadata: &SnapshotMetadata) -> Result<Self> {
        let (at, conf) = (Position { index: metadata.index, term: metadata.term }, metadata.get_conf_state());
        let contents = slot.contents.read();
        if contents.gone {
            return Err(Error::NoSuchGroup { group: slot.id });
        }
        let (draft, mut view) = (Draft::of(Arc::clone(slot), &contents), View::of(slot.id, &contents));
        // The draft asks the group for terms.
        drop(contents);
        view.install(Some(&draft), at, conf, Newer::OrAtCommit)?;
        let writer = FileWriter::create(shared.snapshots(), &Meta { group: slot.id, at, conf })?;
        Ok(SnapshotReceiver { writer, slot: Arc::clone(slot), conf: conf.clone(), shared: shared.clone() })
    }

    /// How many bytes of data it was given.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.writer.written()
    }

    /// Ends the data. They are durable when this returns, and the group is as it was.
    ///
    /// # Errors
    /// What made an earlier write fail, if one did; [`Error::Log`] when it cannot be written.
    pub fn finish(self) -> Result<ReceivedSnapshot> {
        let SnapshotReceiver { writer, slot, conf, shared } = self;
        let file = writer.finish()?;
        Ok(ReceivedSnapshot { file, installing: false, slot, conf, shared })
    }
}

impl Write for SnapshotReceiver {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.writer.take(buf).map_err(|e| Error::from(e).into())
    }

    /// Does nothing: a chunk is written when it is full, and nothing is durable before [`SnapshotReceiver::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A leader's snapshot, whole and durable, that waits for being installed. Dropped, it is removed.
#[must_use = "a snapshot that was received has to be installed"]
pub struct ReceivedSnapshot {
    file: SnapshotRef,
    /// The file belongs to a batch.
    installing: bool,
    slot: Arc<Slot>,
    conf: ConfState,
    shared: Shared,
}

impl fmt::Debug for ReceivedSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedSnapshot")
            .field("group", &self.slot.id)
            .field("index", &self.file.at.index)
            .field("term", &self.file.at.term)
            .finish_non_exhaustive()
    }
}

impl ReceivedSnapshot {
    /// Whether this is the snapshot that this group is to be given.
    pub(crate) fn check(&self, slot: &Arc<Slot>, at: Position, conf: &ConfState) -> Result<()> {
        if Arc::ptr_eq(slot, &self.slot) && at == self.file.at && *conf == self.conf {
            return Ok(());
        }
        Err(Error::OtherSnapshot { group: slot.id, index: at.index, received: self.file.at.index })
    }

    /// The file, which the caller installs or removes from now on.
    pub(crate) fn take(mut self) -> SnapshotRef {
        self.installing = true;
        self.file
    }
}

impl Drop for ReceivedSnapshot {
    fn drop(&mut self) {
        if !self.installing {
            self.shared.snapshots().discard(self.slot.id, self.file, crate::Lsn::ZERO);
            self.shared.sweep_snapshots();
        }
    }
}
