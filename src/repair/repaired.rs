//! The result of a repair.

use std::path::PathBuf;

/// What a repair did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Repaired {
    /// The undo directory with the copies; `None` if there was nothing to do.
    pub undo_dir: Option<PathBuf>,
    /// The files copied before anything was changed.
    pub copied: Vec<String>,
    /// The file that the last segment was rewritten into, or the superblock.
    pub written: Option<String>,
    /// The files that are no longer part of the log.
    pub removed: Vec<String>,
    /// The files whose footer was removed.
    pub footers: Vec<String>,
}

impl Repaired {
    /// The result if there was nothing to do.
    pub(crate) fn nothing() -> Self {
        Repaired {
            undo_dir: None,
            copied: Vec::new(),
            written: None,
            removed: Vec::new(),
            footers: Vec::new(),
        }
    }
}
