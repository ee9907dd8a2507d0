//! Undo: restores every file to its state before the repair, bit for bit.
//!
//! First everything is checked: the copies against the manifest, and the files that were not copied against their
//! earlier state. Then the copies are written under temporary names and synced, the files are renamed, and newer
//! files are removed. After an interruption, run it again.

use std::sync::Arc;

use super::undo_dir::{Entry, Layer, MANIFEST, Manifest, copy, existing, is_ours, list, place, print_of};
use crate::error::{Error, RepairProblem, Result};
use crate::format::{TEMPORARY, UNDO};
use crate::io::{Disk, sync_names};
use crate::recovery::is_foreign;
use crate::wal::take_lock;

/// The result of an undo.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Undone {
    /// The files that were restored.
    pub restored: Vec<String>,
    /// The newer files that were removed.
    pub removed: Vec<String>,
}

/// Restores what [`Plan::apply`](super::Plan::apply) copied into `undo_dir`, and removes newer segments: whatever was
/// written to the repaired log is lost. Afterwards `undo_dir` counts as used.
///
/// # Errors
/// [`Error::Locked`] beside a writer; [`Error::Repair`] when there is no complete copy, when it does not verify, or
/// when a file that was not copied has changed because the repaired log released it: nothing was changed.
/// [`Error::Io`]: run it again.
pub fn undo(disk: &Arc<dyn Disk>, undo_dir: &Arc<dyn Disk>) -> Result<Undone> {
    let lock = take_lock(disk)?;
    let manifest = Manifest::read(undo_dir)?;
    for entry in &manifest.entries {
        check(disk, undo_dir, entry)?;
    }
    let mut done = Undone::default();
    for layer in manifest.directories.iter().map(Some).chain([None]) {
        restore(disk, undo_dir, &manifest, layer, &mut done)?;
    }
    let used = format!("{MANIFEST}.undone");
    undo_dir.rename(MANIFEST, &used).map_err(|e| Error::io("rename", undo_dir.path().join(MANIFEST), e))?;
    sync_names(&**undo_dir)?;
    drop(lock);
    Ok(done)
}

fn check(disk: &Arc<dyn Disk>, undo_dir: &Arc<dyn Disk>, entry: &Entry) -> Result<()> {
    let (root, problem) = match entry.copied {
        true => (undo_dir, RepairProblem::CopyDamaged),
        false => (disk, RepairProblem::ChangedSince),
    };
    let refuse = || Error::Repair { path: root.path().join(entry.path()), problem };
    let Some(place) = existing(root, entry.directory.as_deref())? else { return Err(refuse()) };
    match print_of(&place, &entry.name) {
        Ok(print) if print == entry.print => Ok(()),
        Ok(_) => Err(refuse()),
        Err(e) if e.io_kind() == Some(std::io::ErrorKind::NotFound) => Err(refuse()),
        Err(e) => Err(e),
    }
}

/// Restores one directory.
fn restore(
    disk: &Arc<dyn Disk>,
    undo_dir: &Arc<dyn Disk>,
    manifest: &Manifest,
    layer: Option<&Layer>,
    done: &mut Undone,
) -> Result<()> {
    let directory = layer.map(|layer| layer.directory.as_str());
    let here: Vec<&Entry> = manifest.entries.iter().filter(|e| e.directory.as_deref() == directory).collect();
    let (from, to) = match existing(undo_dir, directory)? {
        Some(from) => (from, place(disk, directory)?),
        // There was no such directory, so there are no copies of it; files added since are removed.
        None => match existing(disk, directory)? {
            Some(to) => (Arc::clone(&to), to),
            None => return Ok(()),
        },
    };
    let copied = || here.iter().filter(|e| e.copied);
    let temporary = |name: &str| format!("{name}{UNDO}{TEMPORARY}");
    for entry in copied() {
        copy(&from, &to, &entry.name, &temporary(&entry.name))?;
    }
    for entry in copied() {
        let name = temporary(&entry.name);
        to.rename(&name, &entry.name).map_err(|e| Error::io("rename", to.path().join(&name), e))?;
        done.restored.push(entry.path());
    }
    for name in list(&to)? {
        let known = here.iter().any(|e| e.name == name);
        if !known && is_ours(layer, &name) && (layer.is_some() || !is_foreign(&to, &name)) {
            to.remove(&name).map_err(|e| Error::io("remove", to.path().join(&name), e))?;
            done.removed.push(name);
        }
    }
    sync_names(&*to)
}
