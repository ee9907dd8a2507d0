//! Shared by the tests of the import: a raft-engine log, and the tool.
// Each test file uses a part of it, and none exports it.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use parking_lot::Mutex;
use raft::eraftpb::{ConfState, Entry, HardState, SnapshotMetadata};
use raft::{GetEntriesContext, Storage as _};
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use seawall::raft::{RaftLog, RaftOptions};

pub struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

pub const KEYS: [&str; 6] =
    ["--hard-state-key", "hs", "--truncated-state-key", "meta", "--conf-state-key", "0x636f"];

/// A raft-engine log, and a place for the results.
pub struct Source {
    pub dir: tempfile::TempDir,
    /// Batches of more bytes than this are compressed; 0 for none.
    compress_from: u64,
    pub engine: Option<Engine>,
}

/// Held while a process is started, and while a log is closed: a child that has not executed the tool yet holds the
/// lock.
pub static STARTING: Mutex<()> = Mutex::new(());

impl Source {
    pub fn new() -> Source {
        Source::compressing(8 << 10)
    }

    pub fn compressing(compress_from: u64) -> Source {
        let dir = tempfile::tempdir().unwrap();
        let mut source = Source { dir, compress_from, engine: None };
        source.reopen();
        source
    }

    pub fn old(&self) -> PathBuf {
        self.dir.path().join("old")
    }

    pub fn made(&self) -> PathBuf {
        self.dir.path().join("new")
    }

    pub fn reopen(&mut self) {
        let config = Config {
            dir: self.old().to_str().unwrap().to_owned(),
            target_file_size: ReadableSize::kb(64),
            batch_compression_threshold: ReadableSize(self.compress_from),
            purge_threshold: ReadableSize::kb(128),
            ..Config::default()
        };
        self.engine = Some(Engine::open(config).unwrap());
    }

    pub fn close(&mut self) {
        let _no_child = STARTING.lock();
        self.engine = None;
    }

    pub fn write(&self, stage: impl FnOnce(&mut LogBatch)) {
        let mut batch = LogBatch::with_capacity(16);
        stage(&mut batch);
        self.engine.as_ref().unwrap().write(&mut batch, true).unwrap();
    }

    pub fn append(&self, group: u64, entries: &[Entry]) {
        self.write(|batch| batch.add_entries::<Entries>(group, entries).unwrap());
    }

    pub fn put(&self, group: u64, key: &str, value: &impl protobuf::Message) {
        self.write(|batch| batch.put_message(group, key.as_bytes().to_vec(), value).unwrap());
    }

    pub fn purge(&self) {
        self.engine.as_ref().unwrap().purge_expired_files().unwrap();
    }

    pub fn compact(&self, group: u64, first: u64) {
        self.engine.as_ref().unwrap().compact_to(group, first);
    }

    /// A group with entries, HardState and members.
    pub fn group(&self, id: u64, entries: &[Entry], hard: &HardState) {
        self.append(id, entries);
        self.put(id, "hs", hard);
        self.put(id, "co", &ConfState::from((vec![1, 2, 3], vec![4])));
    }

    pub fn import(&self, more: &[&str]) -> Output {
        let (from, into) = (self.old(), self.made());
        let line = ["import-raft-engine", from.to_str().unwrap(), into.to_str().unwrap()];
        seawall(&[&line, more].concat())
    }

    /// Imports, and opens the result.
    #[track_caller]
    pub fn imported(&self, more: &[&str]) -> RaftLog {
        let output = self.import(more);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        RaftOptions::new().open(self.made()).unwrap()
    }

    /// Expects a refusal with this status and these words, and no remains.
    #[track_caller]
    pub fn refused(&self, more: &[&str], status: i32, words: &[&str]) {
        let before = contents(&self.old());
        let output = self.import(more);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output));
        for word in words {
            assert!(text(&output).contains(word), "{word}: {}", text(&output));
        }
        assert!(contents(&self.old()) == before);
        let left: Vec<_> =
            std::fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["old"]);
    }
}

pub fn seawall(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let starting = STARTING.lock();
    let child = command.spawn().unwrap();
    drop(starting);
    child.wait_with_output().unwrap()
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    files.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

pub fn entry(index: u64, term: u64) -> Entry {
    let mut e = Entry::default();
    e.index = index;
    e.term = term;
    e.data = format!("{index}@{term};").repeat(1 + usize::try_from(index % 40).unwrap()).into_bytes().into();
    e
}

pub fn entries(range: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    range.map(|index| entry(index, term)).collect()
}

pub fn hard(term: u64, vote: u64, commit: u64) -> HardState {
    let mut hs = HardState::default();
    hs.term = term;
    hs.vote = vote;
    hs.commit = commit;
    hs
}

pub fn metadata(index: u64, term: u64, voters: &[u64]) -> SnapshotMetadata {
    let mut meta = SnapshotMetadata::default();
    meta.index = index;
    meta.term = term;
    meta.set_conf_state(ConfState::from((voters.to_vec(), vec![])));
    meta
}

pub fn read(log: &RaftLog, group: u64) -> Vec<Entry> {
    let group = log.group(group).unwrap();
    let (first, last) = (group.first_index().unwrap(), group.last_index().unwrap());
    group.entries(first, last + 1, None, GetEntriesContext::empty(false)).unwrap()
}
