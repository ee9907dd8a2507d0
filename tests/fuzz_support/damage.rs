//! Damage to a real log, chosen by the input.

use super::cursor::Cursor;
use super::directory::Files;
use super::real_log::RealLog;

/// Damages `files`, a version of `log`, until the input ends, at most eight times; returns what was done.
pub fn damage(input: &mut Cursor<'_>, log: &RealLog, files: &mut Files) -> Vec<String> {
    let mut done = Vec::new();
    while !input.is_empty() && done.len() < 8 {
        let kind = input.below(12);
        let names: Vec<String> = files.keys().cloned().collect();
        let Some(name) = names.get(input.index(names.len())) else { break };
        done.push(format!("{kind} {name}"));
        match kind {
            0..=5 => hit_bytes(input, kind, files.entry(name.clone()).or_default()),
            6 => drop(files.remove(name)),
            7 => roll_back(input, log, name, files),
            8 => from_twin(input, log, name, files),
            9 => swap_files(input, &names, name, files),
            10 => swap_sectors(input, files.entry(name.clone()).or_default()),
            _ => roll_back_all(input, log, files),
        }
    }
    done
}

/// A place in a file: anywhere, or the start of a sector.
fn place(input: &mut Cursor<'_>, len: usize) -> usize {
    let unit = match input.below(4) {
        0 => 1,
        1 => 8,
        2 => 512,
        _ => 4096,
    };
    input.index(len.div_ceil(unit)) * unit
}

fn hit_bytes(input: &mut Cursor<'_>, kind: u8, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = place(input, bytes.len());
    let end = (at + [1, 8, 512, 4096][usize::from(input.below(4))]).min(bytes.len());
    match kind {
        0 => bytes[at] ^= 1 << input.below(8),
        1 => bytes.truncate(at),
        2 => {
            let fill = input.u8();
            bytes.resize(bytes.len() + at % 8192, fill);
        }
        3 => {
            let fill = input.u8();
            bytes[at..end].fill(fill);
        }
        4 => {
            let new = input.take(end - at);
            bytes[at..at + new.len()].copy_from_slice(new);
        }
        _ => {
            let to = place(input, bytes.len());
            let len = (end - at).min(bytes.len() - to);
            bytes.copy_within(at..at + len, to);
        }
    }
}

/// One file as it was.
fn roll_back(input: &mut Cursor<'_>, log: &RealLog, name: &str, files: &mut Files) {
    let older = &log.versions[input.index(log.versions.len())];
    // A file that no longer exists comes back under its old name.
    let name = if input.below(4) == 3 {
        older.keys().nth(input.index(older.len())).cloned().unwrap_or_default()
    } else {
        name.to_owned()
    };
    if let Some(bytes) = older.get(&name) {
        files.insert(name, bytes.clone());
    }
}

/// The whole directory as it was.
fn roll_back_all(input: &mut Cursor<'_>, log: &RealLog, files: &mut Files) {
    files.clone_from(&log.versions[input.index(log.versions.len())]);
}

/// A file of the twin, or a sector of it.
fn from_twin(input: &mut Cursor<'_>, log: &RealLog, name: &str, files: &mut Files) {
    let (Some(theirs), Some(ours)) = (log.twin.get(name), files.get_mut(name)) else { return };
    if input.below(4) == 0 {
        ours.clone_from(theirs);
        return;
    }
    let at = place(input, ours.len().min(theirs.len()));
    let end = (at + [512, 4096][usize::from(input.below(2))]).min(ours.len()).min(theirs.len());
    if at < end {
        ours[at..end].copy_from_slice(&theirs[at..end]);
    }
}

fn swap_files(input: &mut Cursor<'_>, names: &[String], name: &str, files: &mut Files) {
    let other = &names[input.index(names.len())];
    let (mine, theirs) = (files.get(name).cloned(), files.get(other).cloned());
    if let (Some(mine), Some(theirs)) = (mine, theirs) {
        files.insert(other.clone(), mine);
        // Sometimes a copy instead of a swap.
        if input.below(3) > 0 {
            files.insert(name.to_owned(), theirs);
        }
    }
}

fn swap_sectors(input: &mut Cursor<'_>, bytes: &mut [u8]) {
    let size = [512, 4096][usize::from(input.below(2))];
    let sectors = bytes.len() / size;
    if sectors == 0 {
        return;
    }
    let (a, b) = (input.index(sectors) * size, input.index(sectors) * size);
    for i in 0..size {
        bytes.swap(a + i, b + i);
    }
}
