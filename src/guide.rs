//! The guide: chapters for those who build on the log and those who operate it. The code in them is compiled and run
//! with the tests.

/// First steps.
#[doc = include_str!("../docs/guide/start.md")]
pub mod start {}

/// What is guaranteed, under which assumptions, and what happens after a crash.
#[doc = include_str!("../docs/guide/durability.md")]
pub mod durability {}

/// Many logs in one without any Raft: partitions, outboxes, journals.
#[doc = include_str!("../docs/guide/streams.md")]
pub mod streams {}

/// A working node, and what remains for your program to do.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
#[doc = include_str!("../docs/guide/raft.md")]
pub mod raft {}

/// Ten thousand groups in one log: batching their writes and reclaiming space.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
#[doc = include_str!("../docs/guide/many_groups.md")]
pub mod many_groups {}

/// When to save a snapshot, what compaction gives up, and what happens to lagging members.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
#[doc = include_str!("../docs/guide/snapshots.md")]
pub mod snapshots {}

/// Statistics, metrics, traces, and an observer of your own.
#[doc = include_str!("../docs/guide/observing.md")]
pub mod observing {}

/// A codec of your own for stored payloads.
#[doc = include_str!("../docs/guide/codec.md")]
pub mod codec {}

/// Sizes, copies, full disks, and what to watch.
#[doc = include_str!("../docs/guide/operating.md")]
pub mod operating {}

/// Every error: what happened, what it means for acknowledged data, what to do.
#[doc = include_str!("../docs/guide/errors.md")]
pub mod errors {}

/// Simulated crashes at every call, for your own program.
#[doc = include_str!("../docs/guide/testing.md")]
pub mod testing {}

/// Compatibility of bytes, names and versions.
#[doc = include_str!("../docs/guide/compatibility.md")]
pub mod compatibility {}

/// Which call corresponds to which, and how to migrate a log.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
#[doc = include_str!("../docs/guide/from_raft_engine.md")]
pub mod from_raft_engine {}
