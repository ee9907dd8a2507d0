//! The `seawall` tool says what is there, changes nothing, and its exit status tells whole from damaged.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // outside #[test] functions too

use std::path::Path;
use std::process::{Command, Output};

use seawall::{Batch, Label, Options, Wal};

fn seawall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall")).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn log(dir: &Path) -> Wal {
    let wal = Options::new().segment_size(64 << 10).owner(3).open(dir).unwrap();
    let mut batch = Batch::new();
    batch.push(b"plain words");
    batch.push_labelled(Label { kind: 1, stream: 77, sequence: 5, extra: 2 }, &[b"labelled words"]);
    wal.commit(batch).unwrap();
    wal
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap())
        .map(|f| (f.file_name().into_string().unwrap(), std::fs::read(f.path()).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_whole_log_beside_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let wal = log(dir.path());
    for command in ["verify", "inspect", "dump"] {
        let output = seawall(&[command, &at]);
        assert_eq!(output.status.code(), Some(0), "{command}: {}", text(&output));
    }
    assert!(text(&seawall(&["dump", &at])).contains("plain words"));
    let one = text(&seawall(&["dump", &at, "--stream", "77", "--json"]));
    let record: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!(record["label"]["sequence"], 5);
    assert_eq!(record["payload"], "6c6162656c6c656420776f726473");
    wal.close().unwrap();
    let document: serde_json::Value =
        serde_json::from_slice(&seawall(&["inspect", &at, "--json"]).stdout).unwrap();
    assert_eq!((&document["owner"], &document["closed"]), (&3.into(), &true.into()));
    assert_eq!(document["segments"][0]["records"], 2);
}

#[test]
fn a_damaged_log_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    log(dir.path()).close().unwrap();
    let segment = contents(dir.path()).into_iter().find(|(n, _)| n.ends_with(".seg")).unwrap().0;
    let path = dir.path().join(&segment);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192 + 40 + 16] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let before = contents(dir.path());
    let output = seawall(&["verify", &at, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["ok"], false);
    assert!(document["problems"][0]["file"].as_str().unwrap().ends_with(&segment));
    for command in ["inspect", "dump"] {
        assert_eq!(seawall(&[command, &at]).status.code(), Some(1), "{command}");
    }
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    for args in
        [vec!["verify", &at], vec!["inspect", "/nowhere/at/all"], vec!["dump", "Cargo.toml"], vec!["fly"]]
    {
        let output = seawall(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
        assert!(!output.stderr.is_empty());
    }
}
