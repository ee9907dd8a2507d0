//! Receives a leader's snapshot separately from raft's message, piece by piece.
//!
//! Raft reads only a snapshot's metadata. So a program that drives raft itself can send the message without data,
//! stream the data separately, and install the result together with the Ready that restores it. The guide's chapter
//! on Raft explains how. The result on disk is the same as if the message had carried everything.

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

/// Receives the data of a leader's snapshot, of any size, with memory for one chunk.
///
/// Like [`SnapshotSink`](super::SnapshotSink), but a batch installs the result:
/// [`WriteBatch::ready_received`](crate::raft::WriteBatch::ready_received).
#[must_use = "a snapshot is only received by calling `finish`"]
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
        // The draft reads terms from the group.
        drop(contents);
        view.install(Some(&draft), at, conf, Newer::OrAtCommit)?;
        let writer = FileWriter::create(shared.snapshots(), &Meta { group: slot.id, at, conf })?;
        Ok(SnapshotReceiver { writer, slot: Arc::clone(slot), conf: conf.clone(), shared: shared.clone() })
    }

    /// Bytes of data received so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.writer.written()
    }

    /// Ends the data. It is durable when this returns, and the group is unchanged.
    ///
    /// # Errors
    /// The error of an earlier failed write; [`Error::Log`] when the file cannot be written.
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

/// A complete and durable snapshot from a leader, waiting to be installed. It is removed if dropped.
#[must_use = "a received snapshot must be installed"]
pub struct ReceivedSnapshot {
    file: SnapshotRef,
    /// The file now belongs to a batch.
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
    /// Whether this is the snapshot that the group is to install.
    pub(crate) fn check(&self, slot: &Arc<Slot>, at: Position, conf: &ConfState) -> Result<()> {
        if Arc::ptr_eq(slot, &self.slot) && at == self.file.at && *conf == self.conf {
            return Ok(());
        }
        Err(Error::OtherSnapshot { group: slot.id, index: at.index, received: self.file.at.index })
    }

    /// Hands over the file; the caller must install or remove it.
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
