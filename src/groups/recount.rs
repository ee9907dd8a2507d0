//! Live bytes counted record by record, to hold the account against.
//!
//! [`account`](super::space) follows from the groups' positions and from sizes that runs and summaries remember. Here
//! nothing is remembered: every record header of the log is read, and each is asked whether some group needs it. The two
//! share the definition of what is live, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::codec::Kind;
use super::error::Result;
use super::group::{Cell, Group};
use super::log::RaftLog;
use super::space::{Account, GroupLive, StateSize};
use crate::{Batch, RecordHead};

/// The same account as [`super::space::account`], made the long way. Nothing enters the log meanwhile.
pub(crate) fn recount(log: &RaftLog) -> Result<Account> {
    // In this order, as a purge takes them: what it frees would be missed here.
    let purging = log.hold_purges();
    let order = log.groups_in_memory().order.lock();
    // An empty batch is as durable as everything before it, and only what is durable can be walked.
    log.wal().submit(Batch::new())?.wait()?;
    let cells: HashMap<u64, Arc<Cell>> =
        log.groups_in_memory().all().into_iter().map(|cell| (cell.id, cell)).collect();
    let mut live: BTreeMap<u64, BTreeMap<usize, u64>> =
        cells.keys().map(|id| (*id, BTreeMap::new())).collect();
    let mut states = StateSize::in_log(log.wal());
    let segments = log.wal().segments();
    for (n, segment) in segments.iter().enumerate() {
        for head in log.wal().segment_reader(segment.id)?.heads() {
            let head = head?;
            let Some(cell) = head.label.and_then(|label| cells.get(&label.stream)) else { continue };
            let bytes = needed(&cell.group.read(), &head, &mut states);
            if let (Some(of_group), true) = (live.get_mut(&cell.id), bytes > 0) {
                *of_group.entry(n).or_insert(0) += bytes;
            }
        }
    }
    drop(order);
    drop(purging);
    let of = |cell: Arc<Cell>| {
        let by_segment = live.remove(&cell.id).unwrap_or_default();
        GroupLive { cell, by_segment }
    };
    let mut cells: Vec<_> = cells.into_values().collect();
    cells.sort_unstable_by_key(|cell| cell.id);
    Ok(Account { segments, groups: cells.into_iter().map(of).collect() })
}

/// How many live bytes this record is.
fn needed(group: &Group, head: &RecordHead, states: &mut StateSize) -> u64 {
    let is_state = head.label.is_some_and(|l| matches!(Kind::from_u8(l.kind), Ok(Kind::State(_))));
    match (group.needs(head), is_state) {
        (false, _) => 0,
        (true, true) => states.of(group),
        (true, false) => Batch::record_size(u64::from(head.payload_len), true),
    }
}
