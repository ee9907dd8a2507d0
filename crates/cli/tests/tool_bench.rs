//! `seawall bench DIR` removes what it created in DIR, however it ends, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Everything below a directory: a digest of a file's content, nothing for a directory.
type Tree = BTreeMap<PathBuf, Option<u64>>;

fn digest(content: &[u8]) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    Some(hasher.finish())
}

fn tree(dir: &Path) -> Tree {
    let mut all = Tree::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(tree(&path));
            all.insert(path, None);
        } else {
            let content = digest(&std::fs::read(&path).unwrap());
            all.insert(path, content);
        }
    }
    all
}

/// A directory with a log in it, and with files named like the bench's own.
fn furnished() -> (tempfile::TempDir, Tree) {
    let dir = tempfile::tempdir().unwrap();
    let wal = seawall::Options::new().segment_size(64 << 10).open(dir.path()).unwrap();
    wal.append(b"a record").unwrap();
    wal.close().unwrap();
    std::fs::write(dir.path().join("device"), b"mine").unwrap();
    for name in ["seawall-bench-0", "seawall-bench", "blocking-1", "tickets"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("device"), b"mine too").unwrap();
    }
    let before = tree(dir.path());
    (dir, before)
}

/// Runs the bench in a shell that did this before; its process then becomes the bench's, with the same number.
fn bench(dir: &Path, before: &str) -> Output {
    let script = format!("{before}\nexec \"$0\" bench \"$1\" --seconds 0.4");
    Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_seawall")]).arg(dir).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn nothing_is_left_when_it_went_well() {
    let (dir, before) = furnished();
    let output = bench(dir.path(), "");
    assert_eq!((output.status.code(), said(&output)), (Some(0), String::new()));
    assert_eq!(tree(dir.path()), before);
}

/// The device's file fails while it is being filled.
#[test]
fn nothing_is_left_when_a_file_cannot_be_written() {
    let (dir, before) = furnished();
    // The limit of a file's size, in blocks of 512 bytes; a write beyond it is an error when its signal is ignored.
    let output = bench(dir.path(), "trap '' XFSZ; ulimit -f 2048");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said(&output).contains("too large"), "{}", said(&output));
    assert_eq!(tree(dir.path()), before);
}

/// Some of its logs are open, with their threads at work, when the next one cannot be opened.
#[test]
fn nothing_is_left_when_a_log_cannot_be_opened() {
    let mut stages = BTreeSet::new();
    // Three files are always open, one is the device; and a directory cannot be emptied without opening it and one in
    // it.
    for files in 5..40 {
        let (dir, before) = furnished();
        let output = bench(dir.path(), &format!("ulimit -n {files}"));
        assert_eq!(tree(dir.path()), before, "{files} files: {output:?}");
        if output.status.success() {
            break;
        }
        let text = said(&output);
        let log = ["blocking-1/", "blocking-16/", "tickets/"].into_iter().find(|name| text.contains(name));
        stages.insert(log.unwrap_or("the device"));
    }
    assert!(stages.len() >= 3, "{stages:?}");
}

/// A directory with the bench's name that it did not make is not removed.
#[test]
fn a_directory_in_its_way_is_left_as_it_is() {
    for made in [
        "mkdir \"$1/seawall-bench-$$\"; echo mine >\"$1/seawall-bench-$$/device\"",
        "echo mine >\"$1/seawall-bench-$$\"",
    ] {
        let (dir, before) = furnished();
        let output = bench(dir.path(), made);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(said(&output).contains("cannot create"), "{}", said(&output));
        let after = tree(dir.path());
        let new: Vec<_> = after.iter().filter(|(path, _)| !before.contains_key(*path)).collect();
        assert!(new.iter().any(|(_, content)| **content == digest(b"mine\n")), "{new:?}");
        assert!(before.iter().all(|(path, content)| after.get(path) == Some(content)));
    }
}
