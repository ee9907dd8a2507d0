//! The undo directory: copies of what a repair changes, and a manifest of the earlier state.
//!
//! ```text
//! repair-1/
//!   superblock, *.seg     as they were: what the repair changes, and what the log may write to after the next open
//!   snapshots/            as it was, if a layer above keeps files there
//!   manifest              written last: with it, the copy is complete
//! ```
//!
//! Ended segments with a good footer are not copied, because nothing writes to them any more. The manifest records
//! their length and checksum, so that an undo can tell whether they are unchanged.

use std::path::PathBuf;
use std::sync::Arc;

use crc32fast::Hasher;

use crate::error::{Error, LogUuid, RepairProblem, Result};
use crate::format::segment::parse_file_name;
use crate::format::superblock::FILE_NAME;
use crate::format::{TEMPORARY, crc32};
use crate::io::{Access, Disk, File, PIECE, read_full_at, sync_names, write_all_at};
use crate::recovery::is_temporary;

/// Prefix of the names of undo directories in the log's directory; a number follows.
pub const UNDO_DIR_PREFIX: &str = "repair-";

/// The manifest's file name.
pub(super) const MANIFEST: &str = "manifest";

const TITLE: &str = "seawall repair 1";

/// Length and checksum of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) len: u64,
    pub(super) crc: u32,
}

/// A file before the repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The subdirectory; `None` for the log's own directory.
    pub(super) directory: Option<String>,
    pub(super) name: String,
    pub(super) print: Print,
    /// Whether there is a copy of it.
    pub(super) copied: bool,
}

/// The state before the repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) uuid: String,
    /// The subdirectories whose files were copied.
    pub(super) directories: Vec<Layer>,
    pub(super) entries: Vec<Entry>,
}

/// A subdirectory in which a higher layer keeps files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub directory: String,
    /// The ending of its files' names; temporary ones have a further suffix.
    pub ending: String,
}

impl Layer {
    fn has_named(&self, name: &str) -> bool {
        name.strip_suffix(TEMPORARY).unwrap_or(name).ends_with(&self.ending)
    }
}

/// Whether a file of this name belongs to the log and matters, in its own directory or in that of a higher layer.
pub(super) fn is_ours(layer: Option<&Layer>, name: &str) -> bool {
    match layer {
        None => name == FILE_NAME || parse_file_name(name).is_some() || is_temporary(name),
        Some(layer) => layer.has_named(name),
    }
}

/// This directory, or the given subdirectory, created if missing.
pub(super) fn place(disk: &Arc<dyn Disk>, directory: Option<&str>) -> Result<Arc<dyn Disk>> {
    match directory {
        None => Ok(Arc::clone(disk)),
        Some(name) => disk.subdir(name).map_err(|e| Error::io("make", disk.path().join(name), e)),
    }
}

/// This directory, or the given subdirectory if it exists.
pub(super) fn existing(disk: &Arc<dyn Disk>, directory: Option<&str>) -> Result<Option<Arc<dyn Disk>>> {
    let Some(name) = directory else { return Ok(Some(Arc::clone(disk))) };
    match disk.open_dir(name) {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("open", disk.path().join(name), e)),
    }
}

/// Copies what will be changed, so that [`undo`](super::undo()) can restore it: every file of the log except the
/// `untouched` ones, and these directories. Copies into `undo_dir`, which must be empty, or into a new directory in the
/// log's. Returns that directory and the copied files; all of it is durable then. The lock must be held.
pub(super) fn copy_to_undo_dir(
    disk: &Arc<dyn Disk>,
    undo_dir: Option<&Arc<dyn Disk>>,
    uuid: LogUuid,
    untouched: &[&str],
    directories: &[Layer],
) -> Result<(PathBuf, Vec<String>)> {
    let undo_dir = undo_dir.map_or_else(|| fresh_undo_dir(disk), |given| Ok(Arc::clone(given)))?;
    let copied = save(disk, &undo_dir, uuid, untouched, directories)?;
    Ok((undo_dir.path().to_owned(), copied))
}

/// The first of `repair-1`, `repair-2`, ... in the log's directory that is empty or missing; created if missing.
fn fresh_undo_dir(disk: &Arc<dyn Disk>) -> Result<Arc<dyn Disk>> {
    for number in 1..=u32::MAX {
        let name = format!("{UNDO_DIR_PREFIX}{number}");
        let io = |op| {
            let path = disk.path().join(&name);
            move |e| Error::io(op, path, e)
        };
        let undo_dir = disk.subdir(&name).map_err(io("make"))?;
        if undo_dir.list().map_err(io("list"))?.is_empty() {
            return Ok(undo_dir);
        }
    }
    Err(Error::Repair { path: disk.path().to_owned(), problem: RepairProblem::UndoDirInUse })
}

/// Copies what a repair may change; returns the files. On failure all copies are removed again.
pub(super) fn save(
    disk: &Arc<dyn Disk>,
    undo_dir: &Arc<dyn Disk>,
    uuid: LogUuid,
    untouched: &[&str],
    directories: &[Layer],
) -> Result<Vec<String>> {
    if !list(undo_dir)?.is_empty() {
        let path = undo_dir.path().to_owned();
        return Err(Error::Repair { path, problem: RepairProblem::UndoDirInUse });
    }
    let mut manifest =
        Manifest { uuid: uuid.to_string(), directories: directories.to_vec(), entries: Vec::new() };
    let mut begun = Vec::new();
    let saved = copy_all(disk, undo_dir, untouched, &mut manifest, &mut begun)
        .and_then(|()| write(undo_dir, &manifest));
    if let Err(e) = saved {
        for (directory, name) in begun {
            // A failure to remove a copy adds nothing to the reason.
            drop(existing(undo_dir, directory.as_deref()).map(|d| d.map(|d| d.remove(&name))));
        }
        return Err(e);
    }
    Ok(manifest.entries.into_iter().filter(|e| e.copied).map(|e| e.path()).collect())
}

impl Entry {
    pub(super) fn path(&self) -> String {
        match &self.directory {
            None => self.name.clone(),
            Some(directory) => format!("{directory}/{}", self.name),
        }
    }
}

fn copy_all(
    disk: &Arc<dyn Disk>,
    undo_dir: &Arc<dyn Disk>,
    untouched: &[&str],
    manifest: &mut Manifest,
    begun: &mut Vec<(Option<String>, String)>,
) -> Result<()> {
    let inner = manifest.directories.clone();
    for layer in std::iter::once(None).chain(inner.into_iter().map(Some)) {
        let directory = layer.as_ref().map(|layer| layer.directory.clone());
        let Some(from) = existing(disk, directory.as_deref())? else { continue };
        let to = place(undo_dir, directory.as_deref())?;
        let mut names = list(&from)?;
        names.retain(|name| is_ours(layer.as_ref(), name));
        names.sort();
        for name in names {
            let copied = directory.is_some() || !untouched.contains(&name.as_str());
            if copied {
                // Noted before it exists, so that half a copy is removed too.
                begun.push((directory.clone(), name.clone()));
            }
            let print = if copied { copy(&from, &to, &name, &name)? } else { print_of(&from, &name)? };
            manifest.entries.push(Entry { directory: directory.clone(), name, print, copied });
        }
        sync_names(&*to)?;
    }
    Ok(())
}

pub(super) fn list(disk: &Arc<dyn Disk>) -> Result<Vec<String>> {
    disk.list().map_err(|e| Error::io("list", disk.path(), e))
}

/// Length and checksum of a file.
pub(super) fn print_of(disk: &Arc<dyn Disk>, name: &str) -> Result<Print> {
    let path = disk.path().join(name);
    let file = disk.open(name, Access::Read).map_err(|e| Error::io("open", &path, e))?;
    read_through(&*file, |_, _| Ok(())).map_err(|e| Error::io("read", path, e))
}

/// Copies a file to another name or directory and syncs it, but not its name. Overwrites an existing file.
pub(super) fn copy(from: &Arc<dyn Disk>, to: &Arc<dyn Disk>, name: &str, new_name: &str) -> Result<Print> {
    let path = from.path().join(name);
    let source = from.open(name, Access::Read).map_err(|e| Error::io("open", &path, e))?;
    let new_path = to.path().join(new_name);
    let target = match to.create(new_name) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => to.open(new_name, Access::ReadWrite),
        made => made,
    };
    let target = target.map_err(|e| Error::io("create", &new_path, e))?;
    let mut failed = None;
    let print = read_through(&*source, |bytes, at| {
        write_all_at(&*target, bytes, at).inspect_err(|e| {
            failed = Some(Error::io("write", &new_path, std::io::Error::from(e.kind())));
        })
    });
    let print = print.map_err(|e| failed.take().unwrap_or_else(|| Error::io("read", &path, e)))?;
    target.set_len(print.len).map_err(|e| Error::io("truncate", &new_path, e))?;
    target.sync_all().map_err(|e| Error::io("fsync", &new_path, e))?;
    Ok(print)
}

fn read_through(
    file: &dyn File,
    mut piece: impl FnMut(&[u8], u64) -> std::io::Result<()>,
) -> std::io::Result<Print> {
    let (mut hasher, mut len) = (Hasher::new(), 0);
    let mut buffer = vec![0; PIECE];
    loop {
        let got = read_full_at(file, &mut buffer, len)?;
        let (bytes, _) = buffer.split_at(got);
        if bytes.is_empty() {
            return Ok(Print { len, crc: hasher.finalize() });
        }
        hasher.update(bytes);
        piece(bytes, len)?;
        len += bytes.len() as u64;
    }
}

fn write(undo_dir: &Arc<dyn Disk>, manifest: &Manifest) -> Result<()> {
    let temporary = format!("{MANIFEST}{TEMPORARY}");
    let io = |op| {
        let path = undo_dir.path().join(&temporary);
        move |e| Error::io(op, path, e)
    };
    let file = undo_dir.create(&temporary).map_err(io("create"))?;
    write_all_at(&*file, manifest.encode().as_bytes(), 0).map_err(io("write"))?;
    file.sync_all().map_err(io("fsync"))?;
    undo_dir.rename(&temporary, MANIFEST).map_err(io("rename"))?;
    sync_names(&**undo_dir)
}

impl Manifest {
    /// Human-readable lines; the last one holds the checksum of the others.
    fn encode(&self) -> String {
        let mut text = format!("{TITLE}\nlog {}\n", self.uuid);
        for layer in &self.directories {
            text.push_str(&format!("directory {} {}\n", layer.directory, layer.ending));
        }
        for e in &self.entries {
            let what = if e.copied { "copied" } else { "left" };
            text.push_str(&format!("{what} {} {:08x} {}\n", e.print.len, e.print.crc, e.path()));
        }
        let sum = crc32(text.as_bytes());
        text.push_str(&format!("end {sum:08x}\n"));
        text
    }

    fn decode(text: &str) -> Option<Self> {
        let (body, sum) = text.strip_suffix('\n')?.rsplit_once("end ")?;
        if u32::from_str_radix(sum, 16).ok()? != crc32(body.as_bytes()) {
            return None;
        }
        let mut lines = body.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let uuid = lines.next()?.strip_prefix("log ")?.to_owned();
        let mut manifest = Manifest { uuid, directories: Vec::new(), entries: Vec::new() };
        for line in lines {
            let (what, rest) = line.split_once(' ')?;
            if what == "directory" {
                let (directory, ending) = rest.split_once(' ')?;
                let (directory, ending) = (directory.to_owned(), ending.to_owned());
                manifest.directories.push(Layer { directory, ending });
                continue;
            }
            let mut fields = rest.splitn(3, ' ');
            let len = fields.next()?.parse().ok()?;
            let crc = u32::from_str_radix(fields.next()?, 16).ok()?;
            let path = fields.next()?;
            let (directory, name) = match path.split_once('/') {
                Some((directory, name)) => (Some(directory.to_owned()), name.to_owned()),
                None => (None, path.to_owned()),
            };
            let copied = what == "copied";
            manifest.entries.push(Entry { directory, name, print: Print { len, crc }, copied });
        }
        Some(manifest)
    }

    /// The manifest of a complete copy.
    pub(super) fn read(undo_dir: &Arc<dyn Disk>) -> Result<Self> {
        let path = undo_dir.path().join(MANIFEST);
        let refuse = |problem| Err(Error::Repair { path: path.clone(), problem });
        let file = match undo_dir.open(MANIFEST, Access::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return refuse(RepairProblem::NoManifest),
            Err(e) => return Err(Error::io("open", path, e)),
        };
        let mut bytes = Vec::new();
        read_through(&*file, |piece, _| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .map_err(|e| Error::io("read", &path, e))?;
        match std::str::from_utf8(&bytes).ok().and_then(Manifest::decode) {
            Some(manifest) => Ok(manifest),
            None => refuse(RepairProblem::Manifest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_and_every_byte_of_it_counts() {
        let entry = |directory: Option<&str>, name: &str, copied| Entry {
            directory: directory.map(str::to_owned),
            name: name.to_owned(),
            print: Print { len: 9000, crc: 0xbeef },
            copied,
        };
        let manifest = Manifest {
            uuid: LogUuid::from_bytes([7; 16]).to_string(),
            directories: vec![Layer { directory: "snapshots".to_owned(), ending: ".snap".to_owned() }],
            entries: vec![
                entry(None, "superblock", true),
                entry(Some("snapshots"), "a b", true),
                entry(None, "x", false),
            ],
        };
        let text = manifest.encode();
        assert_eq!(Manifest::decode(&text).as_ref(), Some(&manifest));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let other = String::from_utf8(bytes).unwrap();
            assert_ne!(Manifest::decode(&other).as_ref(), Some(&manifest), "byte {at}");
            assert!(Manifest::decode(&text[..at]).is_none());
        }
    }
}
