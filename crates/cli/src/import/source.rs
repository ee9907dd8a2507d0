//! A raft-engine log: its contents, and the parts that cannot be trusted.
//!
//! raft-engine considers a damaged end torn by a crash, cuts it and continues; and it leaves out files that a gap in
//! the numbers separates from newer ones. Either may contain entries that this node acknowledged, so both are errors
//! here unless accepted. Unwritten space after the last record is neither.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft::eraftpb::Entry;
use raft_engine::{Config, Engine, MessageExt, RecoveryMode};

use super::catch_panic::catch_panic;
use super::read_only_files::{Cut, ReadOnlyFiles};
use crate::failure::Failure;

/// Number of entries, or of their bytes, read at a time.
const ENTRIES: u64 = 4096;
const BYTES: usize = 1 << 20;

/// Entries as the raft crate defines them.
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// What raft-engine leaves out when it opens the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Tail(Cut),
    /// This file and all older ones of its queue.
    Files {
        newest: PathBuf,
    },
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Tail(cut) => {
                write!(f, "{}: {} bytes from offset {} on", cut.file.display(), cut.bytes, cut.offset)
            }
            Lost::Files { newest } => {
                write!(f, "{} and older ones: the file with the next number is missing", newest.display())
            }
        }
    }
}

/// Why entries could not be read.
#[derive(Debug)]
pub(crate) enum Unread {
    Damaged(String),
    /// It is intact, but not an entry of the raft crate.
    NotEntry {
        index: u64,
        why: String,
    },
}

/// A key of a group, and the length of its value.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) key: Vec<u8>,
    pub(crate) value_len: usize,
}

/// An open, locked raft-engine log whose files do not change.
pub(crate) struct Source {
    dir: PathBuf,
    engine: Engine<ReadOnlyFiles>,
    lost: Vec<Lost>,
}

impl Source {
    /// Opens the log in this directory, and in its second directory for when that was full.
    pub(crate) fn open(dir: &Path, spill: Option<&Path>, accept_recovery: bool) -> Result<Source, Failure> {
        let mut lost = holes(dir, spill)?;
        let files = ReadOnlyFiles::default();
        let cuts = files.cuts();
        let config = config(dir, spill)?;
        let opened = catch_panic(|| Engine::open_with_file_system(config, Arc::new(files)));
        lost.extend(cuts.lock().drain(..).filter(|cut| !cut.blank).map(Lost::Tail));
        let list: String = lost.iter().map(|lost| format!("\n  {lost}")).collect();
        let engine = match opened {
            Ok(Ok(engine)) => engine,
            Ok(Err(e)) => return Err(refused(dir, &e)),
            Err(said) => {
                let why =
                    format!("{}: raft-engine panics: {said}. Before that it left out:{list}", dir.display());
                return Err(Failure::Damaged(why));
            }
        };
        if !lost.is_empty() && !accept_recovery {
            return Err(Failure::Damaged(format!(
                "{}: raft-engine would leave out what it considers torn or obsolete, but entries that this node acknowledged \
                 may be in it:{list}\nImport another replica, or accept what the program's next open would see: --accept-recovery",
                dir.display(),
            )));
        }
        Ok(Source { dir: dir.to_owned(), engine, lost })
    }

    /// What was left out and accepted.
    pub(crate) fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// The ids of all groups, ascending.
    pub(crate) fn groups(&self) -> Vec<u64> {
        let mut ids = self.engine.raft_groups();
        ids.sort_unstable();
        ids
    }

    /// First and last index; `None` if the group has no entries.
    pub(crate) fn span(&self, group: u64) -> Option<(u64, u64)> {
        Some((self.engine.first_index(group)?, self.engine.last_index(group)?))
    }

    /// The group's keys, ascending.
    pub(crate) fn keys(&self, group: u64) -> Result<Vec<Key>, Failure> {
        let mut keys = Vec::new();
        let each = |key: &[u8], value: &[u8]| {
            keys.push(Key { key: key.to_vec(), value_len: value.len() });
            true
        };
        self.engine.scan_raw_messages(group, None, None, false, each).map_err(|e| refused(&self.dir, &e))?;
        Ok(keys)
    }

    pub(crate) fn value(&self, group: u64, key: &[u8]) -> Option<Vec<u8>> {
        self.engine.get(group, key)
    }

    /// The entries with these indexes, in chunks.
    pub(crate) fn entries(
        &self,
        group: u64,
        indexes: RangeInclusive<u64>,
    ) -> impl Iterator<Item = Result<Vec<Entry>, Unread>> {
        let (mut next, last) = indexes.into_inner();
        std::iter::from_fn(move || {
            if next > last {
                return None;
            }
            let some = self.some_entries(group, next, last);
            next = some.as_ref().ok().and_then(|e| e.last()).map_or(u64::MAX, |e| e.index.saturating_add(1));
            Some(some)
        })
    }

    /// Entries from `first` on. If some cannot be read: those before, or the error of the first.
    fn some_entries(&self, group: u64, first: u64, last: u64) -> Result<Vec<Entry>, Unread> {
        let mut end = last.saturating_add(1).min(first.saturating_add(ENTRIES));
        loop {
            match self.fetch(group, first, end) {
                Err(_) if end - first > 1 => end = first + (end - first) / 2,
                Err(Unread::Damaged(why)) => {
                    return Err(Unread::Damaged(format!("group {group}, entry {first}: {why}")));
                }
                fetched => return fetched,
            }
        }
    }

    fn fetch(&self, group: u64, first: u64, end: u64) -> Result<Vec<Entry>, Unread> {
        let mut some = Vec::new();
        let fetched = catch_panic(|| {
            self.engine.fetch_entries_to::<Entries>(group, first, end, Some(BYTES), &mut some)
        });
        match fetched {
            Ok(Ok(_)) if some.first().is_some_and(|e| e.index == first) => Ok(some),
            Ok(Ok(_)) => Err(Unread::Damaged("raft-engine has it, but does not return it".to_owned())),
            Ok(Err(raft_engine::Error::Protobuf(e))) => {
                Err(Unread::NotEntry { index: first, why: e.to_string() })
            }
            Ok(Err(e)) => Err(Unread::Damaged(e.to_string())),
            // It compares the index in the bytes with the one it knows.
            Err(said) => Err(Unread::NotEntry { index: first, why: format!("raft-engine panics: {said}") }),
        }
    }
}

fn config(dir: &Path, spill: Option<&Path>) -> Result<Config, Failure> {
    let text = |path: &Path| {
        let no_text = || Failure::Undone(format!("{}: raft-engine accepts only UTF-8 paths", path.display()));
        path.to_str().map(str::to_owned).ok_or_else(no_text)
    };
    Ok(Config {
        dir: text(dir)?,
        spill_dir: spill.map(text).transpose()?,
        recovery_mode: RecoveryMode::TolerateTailCorruption,
        ..Config::default()
    })
}

fn refused(dir: &Path, e: &raft_engine::Error) -> Failure {
    use raft_engine::Error as E;
    let why = format!("{}: {e}", dir.display());
    match e {
        E::Corruption(_) | E::Codec(_) | E::Protobuf(_) => Failure::Damaged(why),
        _ => Failure::Undone(why),
    }
}

/// Gaps in the file numbers, for each of the two queues.
fn holes(dir: &Path, spill: Option<&Path>) -> Result<Vec<Lost>, Failure> {
    let mut names = BTreeSet::new();
    for dir in [Some(dir), spill].into_iter().flatten() {
        let list = std::fs::read_dir(dir).map_err(|e| Failure::Undone(format!("{}: {e}", dir.display())))?;
        for entry in list {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if let Some((kind, number)) = numbered(name) {
                names.insert((kind, number, path));
            }
        }
    }
    if names.is_empty() {
        return Err(Failure::Undone(format!("{}: there is no raft-engine log", dir.display())));
    }
    let next = names.iter().skip(1);
    let hole = |((kind, number, path), (other, following, _)): (&(_, u64, PathBuf), &(_, u64, PathBuf))| {
        let apart = kind == other && number.checked_add(1) != Some(*following);
        apart.then(|| Lost::Files { newest: path.clone() })
    };
    Ok(names.iter().zip(next).filter_map(hole).collect())
}

/// The two kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Queue {
    Append,
    Rewrite,
}

/// As raft-engine parses them: anything may stand between number and ending.
fn numbered(name: &str) -> Option<(Queue, u64)> {
    let number = name.get(..16)?.parse().ok()?;
    let kinds = [(".raftlog", Queue::Append), (".rewrite", Queue::Rewrite)];
    kinds.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, kind)| (kind, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        dir
    }

    #[test]
    fn a_hole_is_found_in_either_queue_and_across_directories() {
        let dir = files(&[
            "0000000000000003.raftlog",
            "0000000000000004.raftlog",
            "0000000000000001.rewrite",
            "0000000000000009.raftlog.reserved",
            "LOCK",
        ]);
        assert_eq!(holes(dir.path(), None).unwrap(), []);
        let spill = files(&["0000000000000006.raftlog", "0000000000000003.rewrite"]);
        let newest = |name: &str| Lost::Files { newest: dir.path().join(name) };
        assert_eq!(
            holes(dir.path(), Some(spill.path())).unwrap(),
            [newest("0000000000000004.raftlog"), newest("0000000000000001.rewrite")]
        );
    }

    #[test]
    fn a_directory_without_a_log_is_refused() {
        assert!(matches!(holes(files(&["LOCK"]).path(), None), Err(Failure::Undone(_))));
        assert!(matches!(holes(Path::new("/nowhere/at/all"), None), Err(Failure::Undone(_))));
    }
}
