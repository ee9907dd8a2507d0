//! Looking at a log with the codecs that this build has.

use std::path::Path;

use seawall::{LogView, Result};

pub(crate) fn open(dir: &Path) -> Result<LogView> {
    LogView::open(dir).map(decoding)
}

pub(crate) fn open_damaged(dir: &Path) -> Result<LogView> {
    LogView::open_damaged(dir).map(decoding)
}

#[cfg(feature = "lz4")]
pub(crate) fn decoding(log: LogView) -> LogView {
    log.decode_with(std::sync::Arc::new(seawall::Lz4))
}

#[cfg(not(feature = "lz4"))]
pub(crate) fn decoding(log: LogView) -> LogView {
    log
}
