//! Seawall: a write-ahead log storage engine.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod error;
pub mod io;
mod lsn;

pub use error::{Error, Result};
pub use lsn::{Label, Lsn, SegmentId, StreamRange};
