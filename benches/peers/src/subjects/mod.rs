//! The logs that are compared.

mod device;
mod okaywal;
mod open_wal;
mod raft_engine;
mod seawall;
mod wal_db;

use crate::subject::{GroupSubject, Subject};

pub use device::{Device, padded};

/// Ours comes first: ratios are against the others.
pub const LOGS: &[Subject] = &[
    Subject { name: "seawall", open: seawall::open, shared: true },
    Subject { name: "raft-engine", open: raft_engine::open, shared: true },
    Subject { name: "raft-engine, recycling", open: raft_engine::open_recycling, shared: true },
    Subject { name: "okaywal", open: okaywal::open, shared: true },
    Subject { name: "wal-db", open: wal_db::open, shared: true },
    Subject { name: "open-wal", open: open_wal::open, shared: false },
];

pub const GROUP_STORES: &[GroupSubject] = &[
    GroupSubject { name: "seawall", open: seawall::open_groups },
    GroupSubject { name: "raft-engine", open: raft_engine::open_groups },
];

/// Only where files are freed and reused.
pub const RECYCLING: GroupSubject =
    GroupSubject { name: "raft-engine, recycling", open: raft_engine::open_groups_recycling };
