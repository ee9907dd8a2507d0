//! Snapshots of the state machine, and the compaction that they permit.

use ::raft::Storage as _;
use ::raft::eraftpb::ConfState;

use super::Node;
use super::error::{NodeError, NodeResult};
use crate::raft::{GroupStorage, SnapshotSink};

/// Saves one snapshot of the state machine, on any thread, because writing it must not delay ticks.
///
/// It carries the configuration as of its index, which only the node knows.
#[must_use = "the snapshot is only saved by `save`, or by `sink` and its `finish`"]
pub struct SnapshotWriter {
    storage: GroupStorage,
    index: u64,
    conf_state: ConfState,
}

impl std::fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("group", &self.storage.id())
            .field("index", &self.index)
            .finish()
    }
}

impl SnapshotWriter {
    /// The index at which the state machine's data must be taken.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Saves the state machine's data as of [`SnapshotWriter::index`]. It is durable when this returns.
    ///
    /// # Errors
    /// Errors of the store; nothing is changed.
    pub fn save(self, data: impl AsRef<[u8]>) -> NodeResult<()> {
        Ok(self.storage.save_snapshot(self.index, self.conf_state, data)?)
    }

    /// Saves the data piece by piece, if it does not fit into memory. It is durable when
    /// [`SnapshotSink::finish`](crate::raft::SnapshotSink::finish) returns.
    ///
    /// # Errors
    /// Errors of the store; nothing is changed.
    pub fn sink(self) -> NodeResult<SnapshotSink> {
        Ok(self.storage.snapshot_sink(self.index, &self.conf_state)?)
    }
}

impl Node {
    /// Prepares a snapshot as of `index`, which must be applied. The writer can be moved to another thread.
    ///
    /// # Errors
    /// [`NodeError::BadIndex`] for an index that is not applied, that is below the newest snapshot or the start of
    /// the log, or whose configuration is no longer known.
    pub fn snapshot_writer(&mut self, index: u64) -> NodeResult<SnapshotWriter> {
        self.alive()?;
        let recovered = self.storage.recover();
        let applied = self.applying.applied;
        let refuse = |why: String| NodeError::BadIndex { group: self.group, what: "snapshot", index, why };
        if index > applied || index == 0 {
            return Err(refuse(format!("the state machine has applied 1 to {applied}; choose one of these")));
        }
        if let Some(coming) = self.coming_snapshot() {
            return Err(refuse(format!(
                "a leader's snapshot at {coming} is being received; choose an index above it when it is applied"
            )));
        }
        if let Some((newest, _)) = recovered.snapshot.filter(|(newest, _)| *newest >= index) {
            return Err(refuse(format!(
                "the newest snapshot is at {newest}; keep that one, or choose an index above it"
            )));
        }
        let lowest = recovered.first_index.saturating_sub(1).max(self.configurations.known_from());
        if index < lowest {
            return Err(refuse(format!(
                "the entries it needs are kept from {lowest} on; choose an index from there on"
            )));
        }
        let conf_state = match self.configurations.at(index) {
            Some(state) => state.clone(),
            None => {
                return Err(refuse("its configuration is no longer known; choose a higher index".to_owned()));
            }
        };
        // The store accepts a snapshot only at an index that it knows to be applied.
        if self.storage.applied().0 < index {
            self.write_bookkeeping(None)?;
        }
        Ok(SnapshotWriter { storage: self.storage.clone(), index, conf_state })
    }

    /// Saves a snapshot of the state machine as of `index` on this thread. It is durable when this returns, and the
    /// call blocks until then; [`Node::snapshot_writer`] does the work elsewhere.
    ///
    /// # Errors
    /// As [`Node::snapshot_writer`], and errors of the store.
    pub fn save_snapshot(&mut self, index: u64, data: impl AsRef<[u8]>) -> NodeResult<()> {
        self.snapshot_writer(index)?.save(data)
    }

    /// Removes entries up to and including `index`. Peers that still need them get the snapshot.
    ///
    /// # Errors
    /// [`NodeError::BadIndex`] for an index that is not applied or that no durable snapshot covers.
    pub fn compact(&mut self, index: u64) -> NodeResult<()> {
        self.alive()?;
        let applied = self.applying.applied;
        let refuse = |why: String| NodeError::BadIndex { group: self.group, what: "compaction", index, why };
        if index > applied {
            return Err(refuse(format!(
                "the state machine has applied up to {applied}; apply first, or compact less"
            )));
        }
        let snapshot = self.storage.recover().snapshot.map_or(0, |(index, _)| index);
        if index > snapshot {
            return Err(refuse(format!(
                "the newest durable snapshot is at {snapshot}; save one first, or compact less"
            )));
        }
        let first = self.storage.first_index().map_err(|e| self.raft_error(&e))?;
        if index < first {
            return Ok(());
        }
        self.write_bookkeeping(Some(index))?;
        self.configurations.forget_below(snapshot);
        Ok(())
    }
}
