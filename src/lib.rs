//! Seawall: a write-ahead log storage engine.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod commit;
pub mod error;
pub mod format;
pub mod io;
mod lsn;
mod options;
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
pub mod raft;
mod reader;
mod recovery;
mod retention;
mod segment;
mod stats;
mod verify;
mod wal;

pub use commit::{Batch, RecordOffset, Ticket};
pub use error::{Error, LogUuid, Result};
pub use lsn::{Label, Lsn, SegmentId, StreamRange};
pub use options::{Options, TailPolicy};
pub use reader::{Follow, Iter};
pub use recovery::{Cut, Recovery};
pub use segment::{Heads, Record, RecordHead, SegmentReader, Summarizer, Summary};
pub use stats::Stats;
pub use verify::{SegmentCheck, VerifyReport, verify, verify_on};
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
