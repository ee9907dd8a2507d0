//! The guide: chapters for those who build on the log, and for those who run it. Their code is compiled and run with the tests.

/// What it is like to use the log.
#[doc = include_str!("../docs/guide/start.md")]
pub mod start {}

/// What is promised, on what it rests, and what happens after a crash.
#[doc = include_str!("../docs/guide/durability.md")]
pub mod durability {}

/// Many logs in one without any Raft: partitions, outboxes, journals.
#[doc = include_str!("../docs/guide/streams.md")]
pub mod streams {}

/// A working node, and what is left to your program.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
#[doc = include_str!("../docs/guide/raft.md")]
pub mod raft {}

/// Ten thousand groups in one log: writing for many at once, and giving space back.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
#[doc = include_str!("../docs/guide/many_groups.md")]
pub mod many_groups {}

/// When to save a snapshot, what compaction gives up, and what becomes of members that lag.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
#[doc = include_str!("../docs/guide/snapshots.md")]
pub mod snapshots {}

/// Statistics, metrics, traces, and an observer of your own.
#[doc = include_str!("../docs/guide/observing.md")]
pub mod observing {}

/// A codec of your own between what you give and what is stored.
#[doc = include_str!("../docs/guide/codec.md")]
pub mod codec {}

/// Sizes, copies, full disks, and what to watch.
#[doc = include_str!("../docs/guide/operating.md")]
pub mod operating {}

/// Every error: what happened, what became of acknowledged data, what to do.
#[doc = include_str!("../docs/guide/errors.md")]
pub mod errors {}

/// Crashes at every call, for your own program.
#[doc = include_str!("../docs/guide/testing.md")]
pub mod testing {}

/// The promise about bytes, names and versions.
#[doc = include_str!("../docs/guide/compatibility.md")]
pub mod compatibility {}

/// Which call becomes which, and how a log is taken along.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
#[doc = include_str!("../docs/guide/from_raft_engine.md")]
pub mod from_raft_engine {}
