//! Seawall with its default options.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use raft::eraftpb::{ConfState, Entry};
use raft::{GetEntriesContext, Storage as _};
use seawall::raft::{RaftLog, RaftOptions};
use seawall::{Batch, Lsn, Ticket, Wal};

use crate::measure::Pool;
use crate::subject::{Groups, Log};

struct Seawall {
    wal: Wal,
    /// What was released last: not every record triggers a release.
    released: AtomicU64,
}

impl Seawall {
    /// Submits records one by one; the last ticket stands for all.
    fn submit(&self, records: &[&[u8]]) -> Ticket {
        let mut batch = Batch::new();
        let mut last = None;
        for record in records {
            batch.clear();
            batch.push(record);
            last = Some(self.wal.submit(&batch).expect("submit"));
        }
        last.expect("at least one")
    }
}

pub fn open(dir: &Path) -> Box<dyn Log> {
    Box::new(Seawall { wal: Wal::open(dir).expect("open"), released: AtomicU64::new(0) })
}

impl Log for Seawall {
    fn append(&self, _: usize, record: &[u8]) {
        self.wal.append(record).expect("append");
    }

    fn append_many(&self, records: &[&[u8]]) {
        self.submit(records).wait().expect("wait");
    }

    fn append_rounds(&self, records: &[&[u8]], rounds: usize) {
        const AHEAD: usize = 16;
        let mut tickets = VecDeque::new();
        for _ in 0..rounds {
            tickets.push_back(self.submit(records));
            if tickets.len() > AHEAD {
                tickets.pop_front().map(Ticket::wait).transpose().expect("wait");
            }
        }
        for ticket in tickets {
            ticket.wait().expect("wait");
        }
    }

    fn forget(&self) {
        let durable = self.wal.durable_lsn();
        if durable.get() - self.released.load(Ordering::Relaxed) > 64 << 20 {
            self.released.store(durable.get(), Ordering::Relaxed);
            self.wal.release(Lsn::new(durable.get())).expect("release");
        }
    }
}

struct SeawallGroups(RaftLog);

pub fn open_groups(dir: &Path, groups: u64) -> Box<dyn Groups> {
    let log = RaftOptions::new().node_id(1).open(dir).expect("open");
    if log.groups().is_empty() {
        std::thread::scope(|scope| {
            for part in 0..16 {
                let log = &log;
                scope.spawn(move || {
                    for group in (1..=groups).filter(|g| g % 16 == part) {
                        let members = ConfState::from((vec![1, 2, 3], vec![]));
                        log.create_group(group, members).expect("create a group");
                    }
                });
            }
        });
    }
    Box::new(SeawallGroups(log))
}

/// Entries of a group, each with different data.
pub fn entries(group: u64, first: u64, count: u64, data: &Pool) -> Vec<Entry> {
    (first..first + count).map(|index| entry(index, data.record(group * 1_000_003 + index))).collect()
}

pub fn entry(index: u64, data: &[u8]) -> Entry {
    let mut entry = Entry::default();
    (entry.index, entry.term) = (index, 1);
    entry.data = data.to_vec().into();
    entry
}

impl Groups for SeawallGroups {
    fn append(&self, groups: &[u64], first: u64, count: u64, data: &Pool) {
        let mut batch = self.0.batch();
        for group in groups {
            batch.append(*group, &entries(*group, first, count, data)).expect("append");
        }
        self.0.commit(batch).expect("commit");
    }

    fn read(&self, group: u64, low: u64, high: u64) -> usize {
        let storage = self.0.group(group).expect("a group");
        let entries = storage.entries(low, high, None, GetEntriesContext::empty(false)).expect("entries");
        entries.iter().map(|e| e.data.len()).sum()
    }

    fn compact(&self, group: u64, index: u64) {
        let mut hard = raft::eraftpb::HardState::default();
        (hard.term, hard.commit) = (1, index);
        let mut batch = self.0.batch();
        batch.set_hard_state(group, &hard).expect("hard state");
        batch.set_applied(group, index, 1).expect("applied");
        self.0.commit(batch).expect("commit");
        let storage = self.0.group(group).expect("a group");
        let members = ConfState::from((vec![1, 2, 3], vec![]));
        storage.save_snapshot(index, members, vec![]).expect("snapshot");
        let mut batch = self.0.batch();
        batch.compact(group, index).expect("compact");
        self.0.commit(batch).expect("commit");
    }

    fn purge(&self) {
        self.0.purge().expect("purge");
    }

    fn close(self: Box<Self>) {
        self.0.close().expect("close");
    }
}
