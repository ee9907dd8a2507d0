//! Holds: protect records from being released, for several users of one log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::io::Opener;
use crate::lsn::Lsn;

/// All holds on a log.
#[derive(Debug)]
pub(crate) struct Holds {
    opener: Opener,
    /// The lowest address that each user needs. Locked during a release, so no hold is taken on what is being
    /// released.
    all: Mutex<Vec<Arc<AtomicU64>>>,
}

/// The lowest held address. No hold can be taken while this exists.
#[derive(Debug)]
pub(crate) struct Lowest<'a> {
    _locked: MutexGuard<'a, Vec<Arc<AtomicU64>>>,
    pub(crate) lsn: Lsn,
}

impl Holds {
    pub(crate) fn new(opener: Opener) -> Self {
        Holds { opener, all: Mutex::default() }
    }

    pub(crate) fn lowest(&self) -> Lowest<'_> {
        let locked = self.all.lock();
        let lowest = locked.iter().map(|lsn| lsn.load(Ordering::Acquire)).min();
        Lowest { _locked: locked, lsn: Lsn::new(lowest.unwrap_or(u64::MAX)) }
    }

    /// Holds everything at and above `lsn` if `is_there` confirms that it was not released.
    pub(crate) fn hold<E>(
        self: &Arc<Self>,
        lsn: Lsn,
        is_there: impl FnOnce() -> Result<(), E>,
    ) -> Result<Hold, E> {
        let mut all = self.all.lock();
        is_there()?;
        let lsn = Arc::new(AtomicU64::new(lsn.get()));
        all.push(Arc::clone(&lsn));
        Ok(Hold { lsn, holds: Arc::clone(self) })
    }
}

/// Protects records from being released, from [`Wal::hold`](crate::Wal::hold) until it is dropped.
///
/// A hold exists in memory only: after a restart, a user of the log must take it again before anything is released.
#[must_use = "records are held until this is dropped"]
pub struct Hold {
    lsn: Arc<AtomicU64>,
    holds: Arc<Holds>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("lsn", &self.lsn()).finish_non_exhaustive()
    }
}

impl Hold {
    /// The lowest held address.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        Lsn::new(self.lsn.load(Ordering::Acquire))
    }

    /// Gives up the records below `lsn`. A hold never moves down: a lower address changes nothing.
    pub fn advance(&self, lsn: Lsn) {
        self.lsn.fetch_max(lsn.get(), Ordering::AcqRel);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that does not exist there.
        if self.holds.opener.is_here() {
            self.holds.all.lock().retain(|held| !Arc::ptr_eq(held, &self.lsn));
        }
    }
}
