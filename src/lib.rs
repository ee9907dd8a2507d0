//! Seawall is a write-ahead log storage engine: a segmented, append-only log of checksummed records that acknowledges
//! nothing before it is durable, and a store for [tikv/raft](https://docs.rs/raft) (`raft` 0.7) that keeps the entries,
//! HardState, ConfState and snapshots of any number of groups on one such log, with one fsync for all of them.
//!
//! # The log
//!
//! ```
//! # fn main() -> seawall::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let dir = dir.path();
//! use seawall::{Batch, Wal};
//!
//! let wal = Wal::open(dir)?;
//! let lsn = wal.append(b"hello")?; // durable when it returns
//! assert_eq!(wal.read(lsn)?.payload(), b"hello");
//!
//! let mut batch = Batch::new(); // all of it, or nothing
//! batch.push(b"one").get();
//! batch.push(b"two").get();
//! let ticket = wal.submit(batch)?; // in order and readable; the ticket says when it is durable
//! ticket.wait()?; // or .await it
//!
//! for record in wal.iter() {
//!     println!("{:?}", record?.payload());
//! }
//! wal.release(lsn)?; // records below are no longer needed
//! # Ok(())
//! # }
//! ```
//!
//! # Many logs in one
//!
//! [`groups::GroupLog`] keeps any number of logs in one. Each has entries by index, a small state, truncation and
//! purging, and suits any protocol or none. One sync makes whatever was appended to any of them durable.
//!
//! # Raft
//!
#![cfg_attr(
    any(feature = "raft-protobuf", feature = "raft-prost"),
    doc = "See [`raft`](mod@raft): [`raft::RaftLog`] keeps the groups, [`raft::GroupStorage`] is one group's \
           `raft::Storage`, and [`raft::Node`] drives one so that the usual mistakes around `Ready` and `advance` \
           cannot be written."
)]
#![cfg_attr(
    not(any(feature = "raft-protobuf", feature = "raft-prost")),
    doc = "The Raft layer is behind the feature `raft`, which this build does not have."
)]
//!
//! # Guarantees
//!
//! Tests named after each guarantee check it.
//!
//! | | |
//! |---|---|
//! | W1 | `append` and `commit` return, and a ticket resolves, only after `fdatasync` covered the record and the name of its file is durable |
//! | W2 | after any crash a batch is there whole or not at all |
//! | W3 | recovery yields a prefix of the commit order, with every acknowledged batch and nothing that was never submitted |
//! | W4 | damage below what is proven durable is an error that names file, offset, addresses and streams, and nothing is changed; only an unproven tail is cut, and `open` reports it |
//! | W5 | everything `open` exposes is on the device |
//! | W6 | after a failed write or sync that handle acknowledges nothing again; every waiter gets the error |
//! | W7 | no bytes on disk cause a panic, an unbounded allocation, an endless loop or a wrong answer |
//! | W8 | one writer; a killed one leaves no lock; reading tools need none |
//! | W9 | every read is verified: checksum and identity |
//! | W10 | a Raft operation that breaks the log's invariants is an error before anything is staged |
//! | W11 | records, batches, staged bytes and memory per entry are bounded |
//! | W12 | readable does not mean durable: only the ticket tells when to act on durability |
//! | W13 | a handle belongs to the process that opened it; the lock ends with its opener |
//! | W14 | from open to close the log stays in the directory that it opened, and touches no other files |
//! | W15 | a write or sync that hangs is visible while it hangs, and so are a poisoned log and a full disk: [`Wal::health`] |
//!
//! The guarantees assume a device that keeps what it has acknowledged as synced. The README and `docs/` in the
//! repository say what is out of scope and how each guarantee is tested.
//!
//! The guide has chapters on usage, durability, Raft, operation and testing: `guide` in this documentation,
//! `docs/guide/` in the repository.
//!
//! The command-line tool `seawall` is a package of its own, `seawall-cli`.
//!
//! # Features
//!
//! | | |
//! |---|---|
//! | `raft` (default) | the Raft layer, with exactly one of `raft-protobuf` (default) and `raft-prost` |
//! | `sim` | [`io`]'s simulated disk, for testing your own program |
//! | `lz4` | `Lz4`, a codec that compresses payloads |
//! | `tracing`, `metrics` | events and metrics through those facades |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation, unreachable_pub)]

mod backup;
mod codec;
mod commit;
mod cores;
mod counter;
pub mod error;
pub mod format;
pub mod groups;
#[cfg(any(doc, doctest))]
pub mod guide;
mod health;
pub mod io;
mod log;
mod lsn;
mod monitor;
mod mutation;
mod observe;
mod options;
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
pub mod raft;
mod reader;
mod recovery;
pub mod repair;
mod report;
mod retention;
pub mod retry;
mod segment;
mod size;
mod stats;
mod sync;
mod trace;
mod verify;
mod view;
mod wal;

pub use backup::{BackupReport, Capture, UnfinishedBackup};
pub use codec::Codec;
#[cfg(feature = "lz4")]
pub use codec::Lz4;
pub use commit::{Batch, Flush, Placement, RecordOffset, SubmitOptions, Ticket};
pub use error::{DecodeError, Error, LogUuid, Result};
pub use health::{Condition, DiskCall, Health};
pub use lsn::{Label, Lsn, SegmentId, StreamRange};
pub use observe::{Flushed, Observer};
pub use options::{Options, TailPolicy};
pub use reader::{Follow, Iter, Reader};
pub use report::{Cut, Recovery};
pub use retention::Hold;
pub use segment::{Heads, Record, RecordHead, Salvage, SegmentReader, StoredRecord, Summarizer, Summary};
pub use stats::{Bucket, Histogram, Stats};
pub use verify::{
    SegmentCheck, Verdict, VerifyProgress, VerifyReport, verify, verify_on, verify_on_with, verify_with,
};
pub use view::LogView;
pub use wal::{SegmentInfo, Wal};

#[cfg(all(feature = "raft", not(any(feature = "raft-protobuf", feature = "raft-prost"))))]
compile_error!(
    "the feature `raft` needs a codec of the raft crate: enable `raft-protobuf` or `raft-prost`, exactly one of them"
);
#[cfg(all(feature = "raft-protobuf", feature = "raft-prost"))]
compile_error!(
    "`raft-protobuf` and `raft-prost` exclude each other: the raft crate is built with one codec. \
     Disable the default features to choose `raft-prost`"
);

/// The README's code is compiled with the tests; `examples/hello_log.rs` and `examples/single_node_raft.rs` are run.
#[cfg(all(doctest, any(feature = "raft-protobuf", feature = "raft-prost")))]
#[doc = include_str!("../README.md")]
struct Readme;
