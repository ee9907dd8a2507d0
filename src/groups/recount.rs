//! Counts live bytes record by record, to check the account.
//!
//! [`account`](super::space) is computed from the groups' positions and from sizes that runs and summaries remember.
//! Here nothing is remembered: every record header in the log is read and compared with what the groups need. Only
//! the definition of what is live is shared.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::contents::{Contents, Slot};
use super::error::{Error, Result};
use super::space::{Account, GroupLive};
use super::store::Store;
use crate::{Batch, Lsn, SubmitOptions};

/// A group at one moment.
struct Copied {
    slot: Arc<Slot>,
    contents: Contents,
    by_segment: BTreeMap<usize, u64>,
}

/// The same account as [`super::space::account`], recounted from all records, as of one moment during the call.
pub(crate) fn recount(store: &Store) -> Result<Account> {
    // What a purge frees would be missing here.
    let purging = store.hold_purges();
    let (end, mut groups) = copy_groups(store)?;
    let mut segments = store.wal.segments();
    segments.retain(|segment| segment.first_lsn < end);
    for (n, segment) in segments.iter().enumerate() {
        for head in store.wal.segment_reader(segment.id)?.heads() {
            let head = head?;
            if head.lsn >= end {
                break;
            }
            let Some(group) = head.label.and_then(|label| groups.get_mut(&label.stream)) else { continue };
            if group.contents.needs(&head) {
                let bytes = Batch::record_size(u64::from(head.payload_len), true);
                *group.by_segment.entry(n).or_insert(0) += bytes;
            }
        }
    }
    drop(purging);
    let of = |group: Copied| GroupLive { slot: group.slot, by_segment: group.by_segment };
    let mut groups: Vec<GroupLive> = groups.into_values().map(of).collect();
    groups.sort_unstable_by_key(|group| group.slot.id);
    Ok(Account { segments, groups })
}

/// The groups as of one point in the order of the log, below which everything is durable; and that point.
fn copy_groups(store: &Store) -> Result<(Lsn, HashMap<u64, Copied>)> {
    let mut copied = HashMap::new();
    // An empty batch is as durable as everything before it, and only durable records can be walked.
    let ticket = store.wal.submit_with(
        Batch::new(),
        SubmitOptions::new(),
        || Ok::<_, Error>(()),
        |_| {
            for slot in store.slots.all() {
                let contents = slot.contents.read().clone();
                copied.insert(slot.id, Copied { slot, contents, by_segment: BTreeMap::new() });
            }
        },
    )?;
    let end = ticket.end();
    ticket.wait()?;
    Ok((end, copied))
}
