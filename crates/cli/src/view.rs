//! Reads a log with the codecs of this build.

use std::path::Path;

use seawall::{LogView, Options};

use crate::failure::Failure;

/// Maximum number of attempts.
const READS: usize = 50;

/// Applies `read` to the log, skipping damage. Problems count only if everything read stayed part of the log to the
/// end: what a writer released meanwhile may read as anything.
pub(crate) fn read<T>(
    dir: &Path,
    mut read: impl FnMut(&LogView) -> Result<T, Failure>,
    wrong: impl Fn(&T) -> bool,
) -> Result<T, Failure> {
    for _ in 0..READS {
        let log = open_damaged(dir)?;
        let found = read(&log);
        if found.as_ref().is_ok_and(|found| !wrong(found)) || !changed(&log) {
            return found;
        }
    }
    Err(Failure::Undone("a writer releases segments faster than they can be read: try again".to_owned()))
}

/// A log without a superblock has no writer.
fn changed(log: &LogView) -> bool {
    log.has_changed().unwrap_or(false)
}

pub(crate) fn open_damaged(dir: &Path) -> seawall::Result<LogView> {
    LogView::open_damaged(dir).map(decoding)
}

/// Options for changing a log, with the codecs of this build.
#[cfg(feature = "lz4")]
pub(crate) fn options() -> Options {
    Options::new().decode_with(std::sync::Arc::new(seawall::Lz4))
}

#[cfg(not(feature = "lz4"))]
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
