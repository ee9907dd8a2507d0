//! Tickets: the way to learn that a batch is durable.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::batch::{Batch, RecordOffset};
use super::pipeline::Pipeline;
use super::staging::BlockSeq;
use super::submission::{Placement, SubmitOptions};
use super::waiter::TaskSlot;
use crate::error::{Error, Result};
use crate::lsn::Lsn;

/// A submitted batch that may not be durable yet.
///
/// Dropping a ticket does not affect the batch: it is flushed anyway. Wait with [`Ticket::wait`], or `await` the
/// ticket in any executor.
#[must_use = "a submitted batch is not durable yet: wait for the ticket, or await it"]
pub struct Ticket {
    pipeline: Arc<Pipeline>,
    seq: BlockSeq,
    at: Placement,
    /// Holds a future's waker; in the list of the block once there is one.
    slot: Option<Arc<TaskSlot>>,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("lsn", &self.at.first)
            .field("end", &self.at.end)
            .field("durable", &self.is_durable())
            .finish()
    }
}

impl Pipeline {
    /// Like [`Pipeline::submit_with`], for a caller without an index.
    pub(crate) fn submit(self: &Arc<Self>, batch: &Batch, how: SubmitOptions) -> Result<Ticket> {
        self.submit_with(batch, how, || Ok::<_, Error>(()), |_| {})
    }

    /// See [`Wal::submit_with`](crate::Wal::submit_with).
    pub(crate) fn submit_with<E: From<Error>>(
        self: &Arc<Self>,
        batch: &Batch,
        how: SubmitOptions,
        admit: impl FnMut() -> Result<(), E>,
        place: impl FnOnce(&Placement),
    ) -> Result<Ticket, E> {
        let placed = self.submit_placed(batch, how, admit, place)?;
        Ok(Ticket { pipeline: Arc::clone(self), seq: placed.seq, at: placed.at, slot: None })
    }
}

impl Ticket {
    /// Address of the batch's first record.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.at.first
    }

    /// Address of a record of the batch.
    #[must_use]
    pub fn lsn_of(&self, record: RecordOffset) -> Lsn {
        self.at.lsn_of(record)
    }

    /// The address after the batch: it is durable when [`Wal::durable_lsn`](crate::Wal::durable_lsn) reaches this.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.at.end
    }

    /// Whether the batch is durable. Never `true` before it is.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.pipeline.durable() >= self.at.end
    }

    /// Blocks until the batch is durable; returns the address of its first record.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when it never will be;
    /// [`Error::OtherProcess`].
    pub fn wait(self) -> Result<Lsn> {
        self.pipeline.wait_for(self.seq, self.at.end)?;
        Ok(self.at.first)
    }

    /// Whether the batch is durable, or the error if it never will be; does not block.
    ///
    /// # Errors
    /// As [`Ticket::wait`].
    pub fn try_wait(&self) -> Result<bool> {
        self.pipeline.opener.check()?;
        if self.is_durable() {
            return Ok(true);
        }
        match &self.pipeline.state.lock().poison {
            Some(poison) if !self.is_durable() => Err(poison.clone()),
            _ => Ok(self.is_durable()),
        }
    }
}

impl Future for Ticket {
    type Output = Result<Lsn>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(e) = self.pipeline.opener.check() {
            return Poll::Ready(Err(e));
        }
        if self.is_durable() {
            return Poll::Ready(Ok(self.at.first));
        }
        if let Some(slot) = &self.slot {
            slot.set(cx.waker());
        }
        let pipeline = Arc::clone(&self.pipeline);
        let mut state = pipeline.state.lock();
        // Checked again under the lock, under which the durable LSN is published and the waiters are taken.
        if self.is_durable() {
            return Poll::Ready(Ok(self.at.first));
        }
        if let Some(poison) = &state.poison {
            return Poll::Ready(Err(poison.clone()));
        }
        if self.slot.is_none() {
            let Some(list) = state.waiters(self.seq) else {
                let broken = pipeline.broken(&mut state, "a batch is neither durable nor in a block");
                return Poll::Ready(Err(broken));
            };
            let slot = Arc::new(TaskSlot::default());
            slot.set(cx.waker());
            list.add_task(Arc::clone(&slot));
            self.slot = Some(slot);
            if !state.flushing {
                // It may have been submitted to go out with the next one; now a task waits for it.
                pipeline.work.notify_one();
            }
        }
        Poll::Pending
    }
}
