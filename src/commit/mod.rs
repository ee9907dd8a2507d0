//! The commit path: makes batches durable with one write and one sync for everyone who waits.
//!
//! ```text
//!  submit / commit        lock: order + copy          the flush (one owner at a time)
//!  frame, checksum  --->  [staging]            --->   close block, write, fdatasync,  ---> wake those it covered
//!  (own thread)                                       then publish the durable LSN
//! ```
//!
//! **Invariants**
//!
//! 1. The durable LSN rises only after `fdatasync` returned `Ok` for the file that holds everything below it, and the
//!    file's name was durable before its first block was written (the `prepare` of its segment returned).
//! 2. Blocks are flushed in order, one at a time; a segment's first block is written after all of its predecessor is
//!    durable.
//! 3. While `flushing` is set it has exactly one owner: a blocked caller or the committer thread. The owner flushes,
//!    passes ownership on, or clears it; no thread sleeps while `flushing` is false and a block with waiters is
//!    staged.
//! 4. After a failed write or sync, `poison` is set and never cleared: nothing is acknowledged any more, every waiter
//!    is woken with the error, and the sync is not retried.
//! 5. A violation of these poisons the log: through `panic_guard` if an assertion fails in a thread that flushes, through
//!    `Pipeline::broken` if a thread that stages or waits finds it.
//!
//! **Who flushes.** A blocking caller that finds no flush running becomes the leader: it flushes until its own block
//! is durable, wakes the waiters of that block, and hands over to a thread that waits for the next block. For tickets
//! that no thread waits on, the committer thread leads; it also writes the idle marker block.

mod batch;
mod buffer;
mod committer;
mod flush;
mod manage;
#[cfg(all(test, shuttle))]
mod model;
mod panic_guard;
mod pipeline;
mod staging;
mod submission;
mod ticket;
mod waiter;

pub use batch::{Batch, RecordOffset};
pub(crate) use pipeline::{Pipeline, PipelineParts};
pub use submission::{Flush, Placement, SubmitOptions};
pub use ticket::Ticket;
