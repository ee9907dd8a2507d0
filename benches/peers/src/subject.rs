//! What is compared: logs, opened in a directory of their own, each used the way its documentation calls fast.
//!
//! Durability is equal: when a call returns, what it was given has been covered by an `fdatasync` (or `fsync`) that
//! returned. How that is come by, and how often, is each log's own affair.

use std::path::Path;

use crate::measure::Pool;

/// A log as the workloads see it.
pub trait Log: Sync {
    /// Appends one record; durable when it returns. Called by many threads at once; each has a number of its own.
    fn append(&self, writer: usize, record: &[u8]);

    /// Appends records one by one and waits once, for all of them.
    fn append_many(&self, records: &[&[u8]]);

    /// The same several times; all is durable when it returns. A log that can have more on its way meanwhile may do so.
    fn append_rounds(&self, records: &[&[u8]], rounds: usize) {
        (0..rounds).for_each(|_| self.append_many(records));
    }

    /// What was written is not needed any more.
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
    /// Appends `count` entries from index `first` on to each of these groups, in one batch; durable when it returns.
    fn append(&self, groups: &[u64], first: u64, count: u64, data: &Pool);

    /// Reads the entries `low..high` of a group; says how many bytes of data they had.
    fn read(&self, group: u64, low: u64, high: u64) -> usize;

    /// Entries up to and including this index are not needed any more.
    fn compact(&self, group: u64, index: u64);

    /// Frees what can be freed.
    fn purge(&self);

    /// Ends it as a program does that is told to.
    fn close(self: Box<Self>);
}

/// A store that can be opened, again too.
#[derive(Clone, Copy)]
pub struct GroupSubject {
    pub name: &'static str,
    /// Opens the store of groups 1 to the given number.
    pub open: fn(&Path, u64) -> Box<dyn Groups>,
}
