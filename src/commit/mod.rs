//! The commit path: from a batch to durable, with one write and one sync for everybody who is waiting.
//!
//! ```text
//!  submit / commit        lock: order + copy          the flush (one owner at a time)
//!  frame, checksum  --->  [staging]            --->   close block, write, fdatasync,  ---> wake those it covered
//!  (own thread)                                       then publish the durable LSN
//! ```
//!
//! **Invariants**
//!
//! 1. The durable LSN rises only after `fdatasync` of the file that holds all below it returned `Ok`, and the file's name
//!    was durable before its first block was written (the `prepare` of its segment returned).
//! 2. Blocks are flushed in order, one at a time; a segment's first block is written when all of its predecessor is
//!    durable.
//! 3. `flushing` has exactly one owner: a blocked caller, or the committer thread. The owner flushes, or passes it on, or
//!    clears it; nobody sleeps while `flushing` is false and a block with waiters is staged.
//! 4. After a failed write or sync, `poison` is set and never cleared: nothing is acknowledged any more, every waiter is
//!    woken with the error, and the sync is not tried again.
//! 5. What contradicts this poisons the log: an assertion of a thread that flushes, by way of `ends`; what a thread that stages or
//!    waits finds, by `Pipeline::broken`.
//!
//! **Who flushes.** A blocking caller that finds nobody flushing leads: it flushes until its own block is durable, wakes
//! those who waited for it, and hands over to a thread that waits for the next block. With tickets that nobody waits on,
//! the committer thread leads; it also writes the idle marker block.

mod batch;
mod committer;
mod ends;
mod flush;
mod manage;
#[cfg(all(test, shuttle))]
mod model;
mod pipeline;
mod staging;
mod submission;
mod ticket;
mod waiter;

pub use batch::{Batch, RecordOffset};
pub(crate) use pipeline::{Pipeline, PipelineParts};
pub use submission::{Flush, Placement, SubmitOptions};
pub use ticket::Ticket;
