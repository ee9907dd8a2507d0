//! Directories as values, and directories decoded from an input.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use seawall::format::segment::file_name;
use seawall::format::superblock::FILE_NAME;
use seawall::io::Disk;
use seawall::io::sim::SimDisk;
use seawall::{Lsn, Options, SegmentId};

use super::cursor::Cursor;
use super::forge::Forge;

/// File names and contents.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Small segments and one thread, so that the input determines everything.
pub fn options() -> Options {
    Options::new()
        .segment_size(16 << 10)
        .block_align(512)
        .threads(false)
        .mmap(false)
        .idle_marker(Duration::from_secs(3600))
}

/// What is in a directory.
pub fn files_of(disk: &SimDisk) -> Files {
    disk.files().into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap_or_default())).collect()
}

/// A disk with these files on it.
pub fn disk_of(files: &Files) -> SimDisk {
    let disk = SimDisk::new();
    for (name, bytes) in files {
        disk.put(name, bytes.clone());
    }
    disk
}

/// The disk as passed to the engine.
pub fn shared(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// The differences between two directories, for messages.
pub fn difference(before: &Files, after: &Files) -> String {
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differs = names.into_iter().filter(|n| before.get(*n) != after.get(*n));
    let size = |files: &Files, name: &str| files.get(name).map(Vec::len);
    differs.map(|n| format!("{n}: {:?} -> {:?} bytes; ", size(before, n), size(after, n))).collect()
}

/// A directory of up to eight files: raw bytes under any name, and forged segments that form a chain.
pub fn arbitrary(input: &mut Cursor<'_>) -> Files {
    let mut forge = Forge::new(input);
    let mut raw = Files::new();
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let (name, bytes) = match input.below(10) {
            0 => (any_name(input), input.blob()),
            1 => (FILE_NAME.to_owned(), input.blob()),
            2 => {
                let (id, lsn) = (u64::from(input.below(4)) + 1, u64::from(input.below(8)) * 4096);
                (file_name(SegmentId::new(id), Lsn::new(lsn)), input.blob())
            }
            3 => (format!("{}.tmp", input.below(3)), input.blob()),
            4 => (format!("snapshots/{}", any_name(input)), input.blob()),
            _ => {
                forge.segment(input);
                continue;
            }
        };
        raw.insert(name, bytes);
    }
    let mut files = forge.finish(input);
    files.extend(raw);
    files
}

/// A name that a directory can hold.
fn any_name(input: &mut Cursor<'_>) -> String {
    let len = usize::from(input.below(40)) + 1;
    let name: String =
        input.take(len).iter().map(|b| if matches!(b, b'/' | 0) { '_' } else { char::from(*b) }).collect();
    if matches!(name.as_str(), "" | "." | "..") { "x".to_owned() } else { name }
}
