//! The shared part of the handles on a log of groups: the store, and the purge thread.

use std::sync::Arc;

use super::batch::WriteBatch;
use super::error::{Error, Result};
use super::options::PurgeLimits;
use super::purge::purge;
use super::purger::Purger;
use super::store::Store;
use crate::io::Disk;
use crate::{Flush, Options, Ticket};

/// Owned by every handle of the program. A clone is another handle on the same log.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// Dropped before `store`; joins the purge thread, which holds only the store.
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

    /// Submits a batch to the log.
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
