//! What a repair did.

use std::path::PathBuf;

/// What a repair did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Repaired {
    /// Where the copies are; `None` when there was nothing to do.
    pub undo_dir: Option<PathBuf>,
    /// The files that were copied before anything was changed.
    pub copied: Vec<String>,
    /// The file that the last segment was written into, or the superblock.
    pub written: Option<String>,
    /// The files that are no longer part of the log.
    pub removed: Vec<String>,
    /// The files whose footer was taken away.
    pub footers: Vec<String>,
}

impl Repaired {
    /// Of what there was nothing to do about.
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
