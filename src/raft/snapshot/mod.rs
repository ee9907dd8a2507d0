//! Snapshots: files in the directory `snapshots` beside the log.
//!
//! A snapshot file is complete and durable under its final name before the record that refers to it enters the log;
//! that record is the commit point. A file that no group refers to has no meaning and is removed by the next purge or
//! saved snapshot, or at open.
//!
//! ```text
//!  create <name>.tmp ── write ── fsync ── rename to <name> ── fsync directory ── record committed ── old file removed
//!  \____________________ a crash here leaves an orphan ____________________/ \__ a crash here leaves the old one __/
//! ```
//!
//! The name is `<group>-<index>-<term>-<serial>.snap`, each number 16 hex digits. A serial is never reused, so no two
//! snapshots of a group share a file. All integers in the file are little-endian.
//!
//! ```text
//! header   0 "SEAWSNAP" | 8 version u32 = 1 | 12 ConfState length u32 | 16 log UUID (16)
//!          32 group u64 | 40 index u64 | 48 term u64 | 56 serial u64 | 64 data length u64 | 72 chunk length u32
//!          76 CRC-32 u32 of bytes 0..76 and the ConfState | 80 ConfState
//! chunks   each: CRC-32 u32 | data; all of the chunk length but the last
//! trailer  "SEAWSEND" | number of chunks u64 | CRC-32 u32 of the chunks' checksums
//! ```
//!
//! The header is written last, because only then the length of the data is known; the file keeps its temporary name
//! until after that (`writer`). The same writer serves snapshots given at once and those that come in pieces
//! ([`SnapshotSink`](super::SnapshotSink)), and the same reader serves both kinds of reads ([`SnapshotSource`]);
//! neither holds more than a chunk.
//!
//! The checksums of chunks and trailer begin with the log's UUID, the serial, and the chunk's number, so a chunk from
//! another place, file or log does not verify.

mod copy;
mod files;
mod header;
mod identity;
mod opening;
mod reading;
mod source;
mod sweep;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use files::{DIRECTORY, Meta, Snapshots, is_snapshot};
pub(crate) use identity::SUFFIX;
pub(crate) use reading::SnapshotFiles;
pub use source::SnapshotSource;
pub(crate) use writer::FileWriter;
