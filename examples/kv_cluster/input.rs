//! The input: a directory's files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::Fallible;

/// Larger files are skipped; they would not fit into an entry.
const LARGEST_FILE: u64 = 8 << 20;
/// Maximum total size, so that the trial ends in time for any directory.
const MOST_BYTES: u64 = 48 << 20;
/// Maximum number of files.
const MOST_FILES: usize = 3000;
const LEFT_OUT: [&str; 3] = ["target", ".git", "node_modules"];

/// The files and their contents, by path relative to the directory.
pub(crate) struct Input {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Files skipped because of their size or number.
    pub(crate) skipped: usize,
    pub(crate) bytes: u64,
}

/// Reads the directory.
pub(crate) fn read(dir: &Path, most_files: Option<usize>) -> Fallible<Input> {
    let mut input = Input { files: BTreeMap::new(), skipped: 0, bytes: 0 };
    let most = most_files.unwrap_or(MOST_FILES);
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        let mut entries: Vec<_> =
            fs::read_dir(&next).map_err(|e| format!("{}: {e}", next.display()))?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type()?;
            if kind.is_dir() && !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
                dirs.push(entry.path());
            }
            if !kind.is_file() {
                continue;
            }
            let size = entry.metadata()?.len();
            if size > LARGEST_FILE || input.bytes + size > MOST_BYTES || input.files.len() >= most {
                input.skipped += 1;
                continue;
            }
            let path = entry.path();
            let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
            let content = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            input.bytes += content.len() as u64;
            input.files.insert(name, content);
        }
    }
    if input.files.is_empty() {
        return Err(format!("{}: no files to store there", dir.display()).into());
    }
    Ok(input)
}
