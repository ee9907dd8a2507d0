//! The subjects: logs, each opened in a directory of its own and used the way its documentation calls fast.
//!
//! Durability is equal: when a call returns, its data has been covered by an `fdatasync` (or `fsync`) that returned.
//! How and how often that happens is up to each log.

use std::path::Path;

use crate::measure::Pool;

/// A log as the workloads see it.
pub trait Log: Sync {
    /// Appends one record; durable when it returns. Called by many threads at once, each with its own number.
    fn append(&self, writer: usize, record: &[u8]);

    /// Appends records one by one and waits once for all of them.
    fn append_many(&self, records: &[&[u8]]);

    /// The same several times; everything is durable when it returns. A log that can have more in flight meanwhile
    /// may do so.
    fn append_rounds(&self, records: &[&[u8]], rounds: usize) {
        (0..rounds).for_each(|_| self.append_many(records));
    }

    /// What was written is no longer needed.
    fn forget(&self) {}
}

/// Something that can be opened.
#[derive(Clone, Copy)]
pub struct Subject {
    pub name: &'static str,
    pub open: fn(&Path) -> Box<dyn Log>,
    /// Whether several threads may append at once.
    pub shared: bool,
}

/// A store for the entries of Raft groups, as the workloads see it.
pub trait Groups: Sync {
    /// Appends `count` entries from index `first` on to each of these groups in one batch; durable when it returns.
    fn append(&self, groups: &[u64], first: u64, count: u64, data: &Pool);

    /// Reads the entries `low..high` of a group; returns the bytes of data they had.
    fn read(&self, group: u64, low: u64, high: u64) -> usize;

    /// Entries up to and including this index are no longer needed.
    fn compact(&self, group: u64, index: u64);

    /// Frees what can be freed.
    fn purge(&self);

    /// Shuts it down cleanly.
    fn close(self: Box<Self>);
}

/// A store that can be opened and reopened.
#[derive(Clone, Copy)]
pub struct GroupSubject {
    pub name: &'static str,
    /// Opens the store of groups 1 to the given number.
    pub open: fn(&Path, u64) -> Box<dyn Groups>,
}
