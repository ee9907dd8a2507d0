//! The new log. It is written in a temporary directory, read back from the files, compared with the source entry by
//! entry, and only then moved into place. So either all of it exists or nothing.
//!
//! If the destination is missing, the directory of the log is renamed to it. If it exists and is empty, it may be a
//! separate file system, which allows no rename over or into it: the log is written in a subdirectory, and its files
//! are moved up, the superblock last. Without a superblock they are not a log.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use raft::eraftpb::{Entry, SnapshotMetadata};
use raft::{GetEntriesContext, Storage as _};
use seawall::Ticket;
use seawall::raft::{GroupStorage, RaftLog, RaftOptions, Recovered};

use super::plan::{Plan, Planned};
use super::source::{Source, Unread};
use crate::failure::Failure;
use crate::style;

/// The directory for the log being written. It is removed on drop unless the log was moved into place.
pub(super) struct Target {
    place: Place,
    at: PathBuf,
    node_id: Option<u64>,
    placed: bool,
}

/// The destination of the log.
enum Place {
    /// A missing directory.
    Missing(PathBuf),
    /// An empty directory.
    Empty(PathBuf),
}

/// What `mkfs` leaves in a new file system.
const LOST_AND_FOUND: &str = "lost+found";

impl Target {
    /// Creates the directory, beside `into` or inside it; `into` must be empty or missing.
    pub(super) fn beside(into: &Path, source: &Path, node_id: Option<u64>) -> Result<Target, Failure> {
        let refuse = |why: &str| Failure::Undone(format!("{}: {why}", into.display()));
        let missing = !into.try_exists().map_err(|e| refuse(&e.to_string()))?;
        let path = if missing { std::path::absolute(into) } else { fs::canonicalize(into) };
        let path = path.map_err(|e| refuse(&e.to_string()))?;
        if !missing && !is_empty(&path).map_err(|e| refuse(&e.to_string()))? {
            return Err(refuse("it is not empty; a new log needs a missing or an empty directory"));
        }
        let at = if missing { beside_of(&path) } else { Some(path.join(".importing")) };
        let at = at.ok_or_else(|| refuse("it must be a named directory"))?;
        let above = at.parent().and_then(|above| fs::canonicalize(above).ok());
        let above = above.ok_or_else(|| refuse("its parent directory is missing"))?;
        if fs::canonicalize(source).is_ok_and(|source| above.starts_with(source)) {
            return Err(refuse("it is inside the directory to import from"));
        }
        fs::create_dir(&at).map_err(|e| {
            let hint = "the log is built there; if an import was interrupted, remove it";
            Failure::Undone(format!("cannot create {}: {e}; {hint}", at.display()))
        })?;
        let place = if missing { Place::Missing(path) } else { Place::Empty(path) };
        Ok(Target { place, at, node_id, placed: false })
    }

    /// Writes all groups; they are durable when this returns.
    pub(super) fn write(&self, source: &Source, plan: &Plan) -> Result<(), Failure> {
        let log = self.open()?;
        let bar = style::bar(plan.groups.len() as u64, "groups written");
        let mut last: Option<Ticket> = None;
        for group in &plan.groups {
            last = Some(write_group(&log, source, group).map_err(|e| in_group(group.id, e))?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        if let Some(last) = last {
            last.wait()?;
        }
        Ok(log.close()?)
    }

    /// Reads everything back and compares it with the source.
    pub(super) fn compare(&self, source: &Source, plan: &Plan) -> Result<(), Failure> {
        let log = self.open()?;
        let wanted: Vec<u64> = plan.groups.iter().map(|group| group.id).collect();
        if log.groups() != wanted {
            return Err(Failure::Undone("the groups read back differ from those written".to_owned()));
        }
        let bar = style::bar(plan.groups.len() as u64, "groups compared");
        for group in &plan.groups {
            let storage = log.group(group.id).ok_or_else(|| differs(group.id, "the group"))?;
            same_state(&storage, group)?;
            same_entries(&storage, source, group)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        log.close()?;
        drop(log);
        let report = seawall::verify(&self.at)?;
        if report.is_ok() { Ok(()) } else { Err(Failure::Undone(format!("what was written: {report}"))) }
    }

    /// Moves the log into place, durably.
    pub(super) fn name(mut self) -> Result<(), Failure> {
        let refuse = |path: &Path, e: &std::io::Error| Failure::Undone(format!("{}: {e}", path.display()));
        let (at, place) =
            (self.at.clone(), std::mem::replace(&mut self.place, Place::Missing(PathBuf::new())));
        let (into, above) = match &place {
            Place::Missing(into) => {
                fs::rename(&at, into).map_err(|e| refuse(into, &e))?;
                (into, into.parent().unwrap_or(Path::new("/")))
            }
            Place::Empty(into) => {
                // From here on the remains of an interrupted import are not removed: they may be the log.
                self.placed = true;
                move_up(&at, into).map_err(|e| refuse(into, &e))?;
                (into, into.as_path())
            }
        };
        self.placed = true;
        let synced = File::open(above).and_then(|dir| dir.sync_all());
        synced.map_err(|e| {
            Failure::Undone(format!(
                "{} is complete, but whether its name survives a power failure is unknown: syncing {}: {e}",
                into.display(),
                above.display()
            ))
        })
    }

    fn open(&self) -> Result<RaftLog, Failure> {
        let options = RaftOptions::new();
        let options = match self.node_id {
            Some(id) => options.node_id(id),
            None => options,
        };
        Ok(options.open(&self.at)?)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        if let Err(e) = fs::remove_dir_all(&self.at) {
            eprintln!("seawall: cannot remove the unfinished log in {}: {e}", self.at.display());
        }
    }
}

/// Whether a directory contains only what a new file system has.
fn is_empty(directory: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() != LOST_AND_FOUND || !entry.file_type()?.is_dir() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A name beside the directory, on the same file system.
fn beside_of(path: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(path.file_name()?);
    name.push(".importing");
    Some(fs::canonicalize(path.parent()?).ok()?.join(name))
}

/// Moves everything in a directory into its parent, and the superblock after everything else is durable there.
fn move_up(from: &Path, to: &Path) -> std::io::Result<()> {
    let superblock = seawall::format::superblock::FILE_NAME;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if name != superblock {
            fs::rename(from.join(&name), to.join(&name))?;
        }
    }
    File::open(to)?.sync_all()?;
    fs::rename(from.join(superblock), to.join(superblock))?;
    fs::remove_dir(from)
}

fn write_group(log: &RaftLog, source: &Source, group: &Planned) -> Result<Ticket, Failure> {
    let (id, begins) = (group.id, group.begins);
    let known_at_begin = group.members_index == begins.index;
    if begins.index == 0 {
        log.create_group(id, if known_at_begin { group.members.clone() } else { Default::default() })?;
    } else {
        let mut metadata =
            SnapshotMetadata { index: begins.index, term: begins.term, ..SnapshotMetadata::default() };
        metadata.set_conf_state(group.members.clone());
        log.create_group_behind(id, &metadata)?;
    }
    // One batch is written while the next is read.
    let mut before: Option<Ticket> = None;
    for some in source.entries(id, group.indexes()) {
        let mut batch = log.batch();
        batch.append(id, &some.map_err(unread)?)?;
        if let Some(before) = before.replace(log.submit(batch)?) {
            before.wait()?;
        }
    }
    // Last, because entries at or below the commit index are refused.
    let mut batch = log.batch();
    batch.set_hard_state(id, &group.hard)?;
    if !known_at_begin {
        batch.set_conf_state(id, group.members_index, &group.members)?;
    }
    Ok(log.submit(batch)?)
}

fn same_state(storage: &GroupStorage, group: &Planned) -> Result<(), Failure> {
    let got: Recovered = storage.recover();
    let (begins, hard) = (group.begins, &group.hard);
    let term_before =
        storage.term(begins.index).map_err(|e| in_group(group.id, Failure::Undone(e.to_string())))?;
    let checks = [
        ("the HardState", (got.term, got.vote, got.commit) == (hard.term, hard.vote, hard.commit)),
        ("the first index", got.first_index == begins.index.saturating_add(1)),
        ("the last index", got.last_index == group.last),
        ("the term before the first entry", term_before == begins.term),
        ("the applied index", (got.applied, got.applied_term) == (begins.index, begins.term)),
        ("the ConfState", got.conf_state == group.members),
        ("the ConfState's index", got.conf_state_index == group.members_index),
        ("the snapshot", got.snapshot.is_none()),
    ];
    match checks.iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(differs(group.id, what)),
        None => Ok(()),
    }
}

fn same_entries(storage: &GroupStorage, source: &Source, group: &Planned) -> Result<(), Failure> {
    for some in source.entries(group.id, group.indexes()) {
        let some = some.map_err(unread)?;
        let (Some(first), Some(last)) = (some.first(), some.last()) else { continue };
        let got = storage
            .entries(first.index, last.index.saturating_add(1), None, GetEntriesContext::empty(false))
            .map_err(|e| in_group(group.id, Failure::Undone(e.to_string())))?;
        let differing = some.iter().zip(&got).find(|(a, b)| !same_entry(a, b));
        if let Some((entry, _)) = differing {
            return Err(differs(group.id, &format!("entry {}", entry.index)));
        }
        if got.len() != some.len() {
            return Err(differs(group.id, &format!("the number of entries from {} on", first.index)));
        }
    }
    Ok(())
}

/// `sync_log` is deprecated in raft and not stored.
fn same_entry(a: &Entry, b: &Entry) -> bool {
    (a.index, a.term, a.entry_type) == (b.index, b.term, b.entry_type)
        && a.data == b.data
        && a.context == b.context
}

fn differs(group: u64, what: &str) -> Failure {
    Failure::Undone(format!("group {group}: {what} read back differs from the source; nothing was kept"))
}

fn in_group(group: u64, e: Failure) -> Failure {
    match e {
        Failure::Damaged(why) => Failure::Damaged(format!("group {group}: {why}")),
        Failure::Undone(why) => Failure::Undone(format!("group {group}: {why}")),
    }
}

/// All of it was already read when the import was planned.
fn unread(e: Unread) -> Failure {
    match e {
        Unread::Damaged(why) => Failure::Damaged(why),
        Unread::NotEntry { index, why } => Failure::Damaged(format!("entry {index}: {why}")),
    }
}
