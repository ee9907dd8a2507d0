//! Keeping records from being released, for several users of one log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::io::Opener;
use crate::lsn::Lsn;

/// What the users of a log hold.
#[derive(Debug)]
pub(crate) struct Holds {
    opener: Opener,
    /// The lowest address that each of them needs. Locked during a release, so no hold is taken on what is being released.
    all: Mutex<Vec<Arc<AtomicU64>>>,
}

/// The lowest address that is held. No hold is taken as long as this is kept.
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

    /// Holds what lies at and above `lsn`, if `is_there` says that it was not released.
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

/// Keeps records from being released, from [`Wal::hold`](crate::Wal::hold) until it is dropped.
///
/// It lives in memory only: after a restart, a user of the log takes its hold again before anything is released.
#[must_use = "records are held as long as this is kept"]
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
    /// The lowest address that is held.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        Lsn::new(self.lsn.load(Ordering::Acquire))
    }

    /// Lets go of the records below `lsn`. A hold never moves down: a lower address changes nothing.
    pub fn advance(&self, lsn: Lsn) {
        self.lsn.fetch_max(lsn.get(), Ordering::AcqRel);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that is not there.
        if self.holds.opener.is_here() {
            self.holds.all.lock().retain(|held| !Arc::ptr_eq(held, &self.lsn));
        }
    }
}
