//! Many logs in one: groups of entries, for any protocol or none.
//!
//! A [`GroupLog`] keeps any number of groups in one write-ahead log. A group is a contiguous run of entries, each
//! with an index and a term, an opaque kind and payload, and a small [`State`] for a protocol above. A [`WriteBatch`]
//! changes any number of groups and becomes durable as a whole or not at all, with one sync. Streams without a
//! protocol use it directly: partitions of a broker, or an outbox per receiver. This crate's Raft layer is built on
//! it.
//!
//! ```text
//!   WriteBatch ── submit ──> Wal              one block, one sync, any number of groups
//!    checks        │
//!                  └───────> groups in memory: terms by runs, a position per entry
//!                             positions of sealed segments: mapped, in place
//! ```
//!
//! # Streams without a protocol
//!
//! ```
//! use seawall::groups::GroupLog;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let log = GroupLog::open(dir.path())?;
//! let orders = log.create_group(1, None)?;
//! let payments = log.create_group(2, None)?;
//!
//! let (indexes, _) = orders.append(&["order 17", "order 18"])?;
//! let (_, ticket) = payments.append(&["payment 4"])?;
//! ticket.wait()?; // All three are durable, with one sync.
//! assert_eq!(indexes, 0..2);
//! assert_eq!(orders.entries(0..2, u64::MAX)?[1].payload, "order 18");
//!
//! // Drop what was consumed.
//! let mut batch = log.batch();
//! batch.purge(1, orders.last()?.unwrap())?;
//! log.commit(batch)?;
//! log.purge()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Order
//!
//! A batch is checked without a lock. At the moment it gets its place in the log, the groups are compared with the
//! state that was checked, and updated. So they change in log order, and readers see what a restart would find.
//! Entries are readable as soon as they are submitted. Only the ticket tells when they are durable.
//!
//! # Layers
//!
//! Each module knows those above it in this list, and none below:
//!
//! | | |
//! |---|---|
//! | `error`, `bytes`, `state`, `stored` | errors; encoding of fields; positions, fields, the beginning of a log |
//! | `codec` | encoding of records |
//! | `terms`, `run`, `index` | positions and terms of a group's entries |
//! | `summary` | what a segment does to each group, kept in its footer |
//! | `contents` | one group in memory |
//! | `replay`, `slots` | from segments to groups; all groups |
//! | `store` | the log and its groups, shared by everything below |
//! | `draft`, `batch`, `entries` | changing and reading groups |
//! | `space`, `recount` | which bytes are live |
//! | `relocate`, `purge`, `purger` | what is freed, and when |
//! | `shared`, `group`, `log` | the shared part of the handles, and the handles |
//! | `view`, `verify`, `repair` | reading and repairing a log that is not open |

mod batch;
pub(crate) mod bytes;
pub(crate) mod codec;
pub(crate) mod contents;
pub(crate) mod draft;
pub(crate) mod entries;
mod error;
mod group;
pub(crate) mod index;
mod log;
pub(crate) mod options;
pub(crate) mod purge;
pub(crate) mod purger;
pub(crate) mod recount;
mod relocate;
pub mod repair;
pub(crate) mod replay;
mod run;
mod shared;
pub(crate) mod slots;
pub(crate) mod space;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod stored;
pub(crate) mod summary;
mod terms;
pub(crate) mod verify;
mod view;

pub use batch::{Appender, WriteBatch};
pub use codec::LABEL_KINDS;
pub use error::{ContentProblem, Error, Missing, Result};
pub use group::{Entry, Group};
pub use log::GroupLog;
pub use options::GroupOptions;
pub use purge::{Pin, PurgeReport};
pub use space::{GroupSpace, SegmentSpace, Space};
pub use state::{EntryKind, Field, Position, State};
pub use verify::{GroupVerifyReport, verify, verify_on};
pub use view::GroupView;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_and_batches_go_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<GroupLog>();
        shared::<Group>();
        shared::<WriteBatch>();
        shared::<Error>();
    }
}
