//! Retention: the segments of the log, the superblock that names them, and the files that are reused.
//!
//! Everything here is off the commit path. The *segment manager* prepares the next segment, writes the superblock
//! after a rotation, and gives ended segments their footers; the commit path runs it in a thread of its own. Releases
//! run on the caller's thread.
//!
//! **Order of a release.** The superblock that names the new oldest segment is durable before any older file is
//! touched: a crash in between leaves files that the next open removes, never a log whose oldest segment is missing
//! unexplained. The newest segment with a durable block is never released: it records where the log ends.

mod files;
mod hold;
mod jobs;
mod manager;
mod ready;
mod table;
mod work;

pub use hold::Hold;
pub(crate) use hold::Holds;
pub(crate) use manager::{SegmentManager, SegmentManagerParts};
pub(crate) use ready::random_salt;
pub(crate) use table::SegmentTable;
