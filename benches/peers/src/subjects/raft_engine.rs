//! raft-engine with its default options, and with prefilled files that are recycled.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use raft::eraftpb::Entry;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::seawall::{entries, entry};
use crate::measure::Pool;
use crate::subject::{Groups, Log};

#[derive(Clone)]
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// Each writer is a separate group, as in a store of many groups.
const WRITERS: usize = 1024;

struct RaftEngine {
    engine: Engine,
    next: Vec<AtomicU64>,
}

fn config(dir: &Path) -> Config {
    // What the others keep, so that files are freed during a run here too.
    let purge_threshold = ReadableSize::mb(512);
    Config { dir: dir.to_str().expect("a path").to_owned(), purge_threshold, ..Config::default() }
}

pub fn open(dir: &Path) -> Box<dyn Log> {
    open_with(config(dir))
}

fn recycling(dir: &Path) -> Config {
    Config { enable_log_recycle: true, prefill_for_recycle: true, ..config(dir) }
}

pub fn open_recycling(dir: &Path) -> Box<dyn Log> {
    open_with(recycling(dir))
}

fn open_with(config: Config) -> Box<dyn Log> {
    let next = (0..WRITERS).map(|_| AtomicU64::new(1)).collect();
    Box::new(RaftEngine { engine: Engine::open(config).expect("open"), next })
}

impl Log for RaftEngine {
    fn append(&self, writer: usize, record: &[u8]) {
        let index = self.next[writer].fetch_add(1, Ordering::Relaxed);
        let mut batch = LogBatch::with_capacity(1);
        batch.add_entries::<Entries>(1 + writer as u64, &[entry(index, record)]).expect("add");
        self.engine.write(&mut batch, true).expect("write");
    }

    fn append_many(&self, records: &[&[u8]]) {
        let first = self.next[0].fetch_add(records.len() as u64, Ordering::Relaxed);
        let entries: Vec<Entry> =
            (first..).zip(records).map(|(index, record)| entry(index, record)).collect();
        let mut batch = LogBatch::with_capacity(records.len());
        batch.add_entries::<Entries>(1, &entries).expect("add");
        self.engine.write(&mut batch, true).expect("write");
    }

    fn forget(&self) {
        for (writer, next) in self.next.iter().enumerate() {
            let next = next.load(Ordering::Relaxed);
            if next > 1 {
                self.engine.compact_to(1 + writer as u64, next - 1);
            }
        }
        self.engine.purge_expired_files().expect("purge");
    }
}

struct RaftEngineGroups(Engine);

pub fn open_groups(dir: &Path, _: u64) -> Box<dyn Groups> {
    Box::new(RaftEngineGroups(Engine::open(config(dir)).expect("open")))
}

pub fn open_groups_recycling(dir: &Path, _: u64) -> Box<dyn Groups> {
    Box::new(RaftEngineGroups(Engine::open(recycling(dir)).expect("open")))
}

impl Groups for RaftEngineGroups {
    fn append(&self, groups: &[u64], first: u64, count: u64, data: &Pool) {
        let mut batch = LogBatch::with_capacity(groups.len());
        for group in groups {
            batch.add_entries::<Entries>(*group, &entries(*group, first, count, data)).expect("add");
        }
        self.0.write(&mut batch, true).expect("write");
    }

    fn read(&self, group: u64, low: u64, high: u64) -> usize {
        let mut entries = Vec::new();
        self.0.fetch_entries_to::<Entries>(group, low, high, None, &mut entries).expect("entries");
        entries.iter().map(|e| e.data.len()).sum()
    }

    fn compact(&self, group: u64, index: u64) {
        self.0.compact_to(group, index + 1);
    }

    fn purge(&self) {
        self.0.purge_expired_files().expect("purge");
    }

    fn close(self: Box<Self>) {}
}
