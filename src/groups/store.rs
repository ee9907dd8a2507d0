//! What batches, purges, relocation and the handles on a log of groups share.
//!
//! **Order.** A batch is checked without a lock. When it is submitted, the log calls back at the moment when the batch gets
//! its place: the groups are compared with what was checked, and change. So they change in the order of the log, and what
//! is read is what a restart would find.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, MutexGuard};

use super::error::Result;
use super::options::PurgeLimits;
use super::replay::replay;
use super::slots::{GroupSummarizer, Slots};
use crate::cores::Cores;
use crate::counter::Counter;
use crate::io::Disk;
use crate::{Lsn, Options, Wal};

/// The groups of a log, and the log.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) wal: Wal,
    pub(crate) slots: Arc<Slots>,
    pub(crate) limits: PurgeLimits,
    pub(crate) written: Written,
    /// Held during a purge: two at a time would relocate the same records.
    purging: Mutex<()>,
}

/// How much was written since the log was opened.
#[derive(Debug)]
pub(crate) struct Written {
    /// Where the log ended then.
    opened_at: Lsn,
    /// The bytes of records that were relocated.
    pub(crate) relocated: Counter,
    /// What was appended when the log was last purged.
    pub(crate) at_last_purge: AtomicU64,
}

impl Store {
    /// Opens the log and fills the groups.
    pub(crate) fn open(options: &Options, disk: Arc<dyn Disk>, limits: PurgeLimits) -> Result<Arc<Store>> {
        let slots = Arc::new(Slots::to_fill());
        let summarizer = GroupSummarizer::new(Arc::clone(&slots));
        let wal = options.open_with_summarizer(disk, Arc::new(summarizer))?;
        replay(&wal, &slots, Cores::available(options.has_threads()))?;
        slots.filled();
        let written = Written {
            opened_at: wal.next_lsn(),
            relocated: Counter::named("seawall_raft_relocated_bytes_total"),
            at_last_purge: AtomicU64::new(0),
        };
        Ok(Arc::new(Store { wal, slots, limits, written, purging: Mutex::new(()) }))
    }

    /// Whether this is the process that opened the log. Elsewhere no lock may be taken.
    pub(crate) fn is_here(&self) -> bool {
        self.wal.opener().is_here()
    }

    pub(crate) fn check_opener(&self) -> Result<()> {
        Ok(self.wal.opener().check()?)
    }

    /// No purge frees anything while this is held.
    pub(crate) fn hold_purges(&self) -> MutexGuard<'_, ()> {
        self.purging.lock()
    }

    /// How many bytes of log were appended on behalf of others since it was opened, headers and padding included.
    pub(crate) fn appended(&self) -> u64 {
        let grown = self.wal.next_lsn().distance_from(self.written.opened_at).unwrap_or(0);
        grown.saturating_sub(self.written.relocated.get())
    }
}
