//! The shared core of batches, purges, relocation and the handles on a log of groups.
//!
//! **Order.** A batch is checked without a lock. When it is submitted, the log calls back at the moment the batch
//! gets its place: the groups are compared with the state that was checked, and updated. So they change in log order,
//! and readers see what a restart would find.

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

/// The log and its groups.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) wal: Wal,
    pub(crate) slots: Arc<Slots>,
    pub(crate) limits: PurgeLimits,
    pub(crate) written: Written,
    /// Held during a purge: two concurrent ones would relocate the same records.
    purging: Mutex<()>,
}

/// Bytes written since the log was opened.
#[derive(Debug)]
pub(crate) struct Written {
    /// The end of the log at that time.
    opened_at: Lsn,
    /// Bytes of relocated records.
    pub(crate) relocated: Counter,
    /// Bytes appended as of the last purge.
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
            relocated: Counter::named("seawall_groups_relocated_bytes_total"),
            at_last_purge: AtomicU64::new(0),
        };
        Ok(Arc::new(Store { wal, slots, limits, written, purging: Mutex::new(()) }))
    }

    /// Whether the current process opened the log. In another process no lock may be taken.
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

    /// Bytes of log appended by others since it was opened, headers and padding included.
    pub(crate) fn appended(&self) -> u64 {
        let grown = self.wal.next_lsn().distance_from(self.written.opened_at).unwrap_or(0);
        grown.saturating_sub(self.written.relocated.get())
    }
}
