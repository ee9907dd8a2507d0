//! Looking at a log with the codecs that this build has.

use std::path::Path;

#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
use seawall::Options;
use seawall::{LogView, Result};

pub(crate) fn open(dir: &Path) -> Result<LogView> {
    LogView::open(dir).map(decoding)
}

pub(crate) fn open_damaged(dir: &Path) -> Result<LogView> {
    LogView::open_damaged(dir).map(decoding)
}

/// Options for a log that is to be changed, with the codecs that this build has.
#[cfg(all(feature = "lz4", any(feature = "raft-protobuf", feature = "raft-prost")))]
pub(crate) fn options() -> Options {
    Options::new().decode_with(std::sync::Arc::new(seawall::Lz4))
}

#[cfg(all(not(feature = "lz4"), any(feature = "raft-protobuf", feature = "raft-prost")))]
pub(crate) fn options() -> Options {
    Options::new()
}

#[cfg(feature = "lz4")]
pub(crate) fn decoding(log: LogView) -> LogView {
    log.decode_with(std::sync::Arc::new(seawall::Lz4))
}

#[cfg(not(feature = "lz4"))]
pub(crate) fn decoding(log: LogView) -> LogView {
    log
}
