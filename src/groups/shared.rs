//! What the handles on a log of groups share: the store, and the thread that purges.

use std::sync::Arc;

use super::batch::WriteBatch;
use super::error::{Error, Result};
use super::options::PurgeLimits;
use super::purge::purge;
use super::purger::Purger;
use super::store::Store;
use crate::io::Disk;
use crate::{Flush, Options, Ticket};

/// Kept by every handle that the program has. A clone is another one on the same log.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// Dropped before `store`; joins the purge thread, which has the store alone.
    purger: Option<Arc<Purger<Error>>>,
    store: Arc<Store>,
}

impl Shared {
    pub(super) fn open(options: &Options, disk: Arc<dyn Disk>, limits: PurgeLimits) -> Result<Shared> {
        let mut shared = Shared { purger: None, store: Store::open(options, disk, limits)? };
        if let Some(step) = limits.every.filter(|_| options.has_threads()) {
            let store = Arc::clone(&shared.store);
            let purge = move || purge(&store).map(|_| ());
            shared.purger = Some(Arc::new(Purger::start(&shared.store.wal, step, purge)?));
        }
        Ok(shared)
    }

    /// Puts a batch into the log.
    pub(super) fn submit(&self, batch: WriteBatch, flush: Flush) -> Result<Ticket> {
        self.store.check_opener()?;
        if !Arc::ptr_eq(&self.store, batch.store()) {
            return Err(Error::ForeignBatch);
        }
        let frees = batch.frees_room();
        let ticket = batch.submit(flush, frees, &mut |_, _| {})?;
        if let Some(purger) = &self.purger {
            purger.submitted(ticket.end(), frees);
        }
        Ok(ticket)
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(super) fn purger(&self) -> Option<&Purger<Error>> {
        self.purger.as_deref()
    }
}
