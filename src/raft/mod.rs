//! tikv/raft 0.7 on [`groups`](crate::groups): all groups of one node in one log.
//!
//! A [`RaftLog`] keeps the entries, HardState, ConfState and snapshots of any number of groups. A [`GroupStorage`] is
//! the view of one group and implements `raft::Storage` of raft 0.7. Everything is written through a [`WriteBatch`],
//! which is checked against the stored state before anything is staged, and becomes durable as a whole or not at all.
//!
//! ```text
//!   raft ── Ready ──> WriteBatch ── submit ──> Wal            one block, one sync, any number of groups
//!    ^                 checks         │
//!    │                                └──────> groups in memory: terms by runs, a position per entry
//!    └── Storage ── GroupStorage <───────────────┘             positions of sealed segments: mapped, in place
//! ```
//!
//! # A group from nothing
//!
//! ```
//! use raft::Storage;
//! use raft::eraftpb::{ConfState, Entry, HardState};
//! use seawall::raft::RaftOptions;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let log = RaftOptions::new().node_id(1).open(dir.path())?;
//! let group = log.create_group(7, ConfState::from((vec![1, 2, 3], vec![])))?;
//!
//! let mut entry = Entry::default();
//! entry.index = 1;
//! entry.term = 1;
//! entry.data = b"set x = 1".to_vec().into();
//! let mut hs = HardState::default();
//! hs.term = 1;
//! hs.commit = 1;
//!
//! let mut batch = log.batch();
//! batch.append(7, &[entry])?;
//! batch.set_hard_state(7, &hs)?;
//! log.commit(batch)?; // Entry and HardState are durable, together.
//! assert_eq!(group.last_index()?, 1);
//!
//! // What raft must never do is refused before anything is staged.
//! let mut batch = log.batch();
//! hs.commit = 0;
//! assert!(batch.set_hard_state(7, &hs).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # Order
//!
//! A batch is checked without a lock. At the moment it gets its place in the log, the groups are compared with the
//! state that was checked, and updated. So they change in log order, and readers see what a restart would find.
//! Entries are readable as soon as they are submitted. Only the ticket tells when they are durable.
//!
//! # Layers
//!
//! Entries, positions, space, purging, replay and the view of a log that is not open belong to [`crate::groups`].
//! This module has raft's rules (`check`), the content of a group's fields (`codec`), snapshot files (`snapshot`,
//! `sink`, `receiver`), the shared part of the handles (`store`), and the handles: [`WriteBatch`], [`GroupStorage`],
//! [`RaftLog`], and above them [`Node`].

mod batch;
mod check;
mod codec;
mod error;
mod log;
pub mod node;
mod options;
mod receiver;
pub mod repair;
mod sink;
mod snapshot;
mod state;
mod storage;
mod store;
mod verify;
mod view;

pub use crate::groups::{GroupSpace, Pin, PurgeReport, SegmentSpace, Space};
pub use batch::WriteBatch;
pub use error::{ContentProblem, Error, Missing, Result};
pub use log::RaftLog;
pub use node::{
    Applied, Apply, Driven, Node, NodeConfig, NodeError, NodeResult, NodeStatus, Output, PeerState,
    PeerStatus, Proposal, ProposalError, ReadId, Role, SnapshotWriter, drive_all,
};
pub use options::RaftOptions;
pub use receiver::{ReceivedSnapshot, SnapshotReceiver};
pub use sink::SnapshotSink;
pub use snapshot::SnapshotSource;
pub use storage::{GroupStorage, Recovered};
pub use verify::{RaftVerifyReport, verify, verify_on};
pub use view::RaftView;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_and_batches_go_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<RaftLog>();
        shared::<GroupStorage>();
        shared::<WriteBatch>();
        shared::<Error>();
    }
}
