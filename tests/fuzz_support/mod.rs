//! The bodies of the fuzz targets.
//!
//! A body takes bytes, derives actions from them, and panics if the engine breaks a guarantee. The targets in
//! `fuzz/fuzz_targets/` pass libFuzzer's inputs: these sources are the library of that package.
//! `tests/fuzz_corpus.rs` passes the committed seeds and pseudo-random bytes, on stable Rust.
//!
//! ```text
//!   input ── Cursor ──> directory (forged, or a real log with damage) ── open ──> refused: not one byte changed
//!                       operations                                          └──> opened: what is seen is compared
//! ```
//!
//! Checksums would prevent a fuzzer from getting past them, so `forge` writes files with correct checksums and with
//! fields from the input.

// In the ordinary tests these are modules of a test file.
#![allow(unreachable_pub, dead_code)]

pub mod cursor;
pub mod damage;
pub mod decode;
pub mod directory;
pub mod evidence;
pub mod forge;
pub mod open_arbitrary;
pub mod open_mutated;
#[cfg(feature = "raft")]
pub mod raft_arbitrary;
#[cfg(feature = "raft")]
pub mod raft_model;
#[cfg(feature = "raft")]
pub mod raft_ops;
pub mod real_log;
pub mod seeds;
pub mod verify_tool;

/// A target: its name and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("open_arbitrary", open_arbitrary::run),
    ("open_mutated", open_mutated::run),
    ("decode", decode::run),
    ("verify_tool", verify_tool::run),
    #[cfg(feature = "raft")]
    ("raft_ops", raft_ops::run),
    #[cfg(feature = "raft")]
    ("raft_arbitrary", raft_arbitrary::run),
];
