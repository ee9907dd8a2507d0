//! Giving segments back.
//!
//! A group needs its newest State record and its entries from the first index on. The log below frees whole segments
//! from the oldest on, so the lowest address that any group needs decides.
//!
//! ```text
//!  segment   | 1      | 2      | 3      | 4      | 5 (written) |
//!  group 7     S                 e e e    e e e    e
//!  group 8              S                   e e    e e
//!  group 9     S                                               an idle group: a State and nothing else
//!              \___________/
//!               no entries here: S of 7, 8 and 9 are written again in 5, and 1 and 2 can go
//! ```
//!
//! A State that lies below every group's first entry is all that keeps a segment; it is written again at the end of the
//! log. A segment that holds live entries stays until they are compacted; the report names who holds the oldest one.
//!
//! What memory says may not be durable yet: a compaction that a crash undoes needs its entries again. So nothing is
//! released before everything submitted up to the decision is durable.

use std::sync::Arc;

use super::batch::label;
use super::codec::state::encode_state;
use super::codec::{Kind, StateKind};
use super::error::Result;
use super::group::{Cell, Group};
use super::log::RaftLog;
use crate::{Batch, Lsn, RecordOffset, SegmentInfo, Ticket, Wal};

/// So many State records are written again by one purge.
const MOST_STATES: usize = 4096;

/// State records are written again in batches of about this many bytes, so that they fit into small segments too.
const BATCH_BYTES: u64 = 16 << 10;

/// What a purge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeReport {
    /// Records below this address are no longer kept.
    pub released_to: Lsn,
    /// How many segments were freed.
    pub segments_freed: usize,
    /// How many groups' State records were written again to let segments go.
    pub states_rewritten: usize,
    /// The groups that need the oldest segment that is left, ascending by address; empty when that is the one being
    /// written.
    pub pinned_by: Vec<Pin>,
    /// How many obsolete snapshot files could not be removed yet.
    pub snapshots_left: usize,
}

/// A group that keeps the oldest segment from being freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// The group.
    pub group: u64,
    /// The lowest address that it needs.
    pub lsn: Lsn,
    /// How many bytes of log lie from there to the end.
    pub bytes: u64,
}

pub(crate) fn purge(log: &RaftLog) -> Result<PurgeReport> {
    let wal = log.wal();
    let before = wal.segments();
    let mut report = PurgeReport::default();
    let order = log.groups_in_memory().order.lock();
    let cells = log.groups_in_memory().all();
    let stale = stale_states(&cells, &before, wal.next_lsn());
    report.states_rewritten = stale.len();
    restate(wal, &stale)?;
    // An empty batch is as durable as everything before it.
    let barrier = wal.submit(Batch::new())?;
    report.released_to = lowest(&cells).unwrap_or(barrier.end());
    drop(order);
    log.groups_in_memory().adopt_left();
    barrier.wait()?;
    wal.release(report.released_to)?;

    let after = wal.segments();
    let freed = |s: &&SegmentInfo| !after.iter().any(|a| a.id == s.id);
    report.segments_freed = before.iter().filter(freed).count();
    report.pinned_by = pins(&cells, &after, wal.next_lsn());
    report.snapshots_left = log.sweep_snapshots();
    Ok(report)
}

fn lowest(cells: &[Arc<Cell>]) -> Option<Lsn> {
    cells.iter().filter_map(|cell| cell.group.read().lowest_lsn()).min()
}

/// The groups whose State record is all that keeps a segment, oldest first.
fn stale_states(cells: &[Arc<Cell>], segments: &[SegmentInfo], next: Lsn) -> Vec<Arc<Cell>> {
    let entries_from =
        cells.iter().filter_map(|cell| cell.group.read().first_entry_lsn()).min().unwrap_or(next);
    let free = segments.iter().take_while(|s| s.sealed && s.end_lsn <= entries_from);
    let Some(reach) = free.last().map(|s| s.end_lsn) else { return Vec::new() };
    let mut stale: Vec<(Lsn, &Arc<Cell>)> = cells
        .iter()
        .filter_map(|cell| cell.group.read().state_lsn.map(|lsn| (lsn, cell)))
        .filter(|(lsn, _)| *lsn < reach)
        .collect();
    stale.sort_unstable_by_key(|(lsn, _)| *lsn);
    stale.into_iter().take(MOST_STATES).map(|(_, cell)| Arc::clone(cell)).collect()
}

/// Writes the groups' State records again. The order lock is held, so what is written is what the log says up to here;
/// and it says nothing new, so no batch that was checked before has to be refused.
fn restate(wal: &Wal, cells: &[Arc<Cell>]) -> Result<()> {
    let mut batch = Batch::new();
    let mut staged: Vec<(&Arc<Cell>, RecordOffset)> = Vec::new();
    for cell in cells {
        let group = cell.group.read();
        let compacted = group.full.compacted;
        let label = label(Kind::State(StateKind::Restated), cell.id, compacted.index, compacted.term);
        staged.push((cell, batch.push_labelled(label, &[&encode_state(&group.full)])));
        drop(group);
        if batch.size_in_log() >= BATCH_BYTES {
            note(&wal.submit(&batch)?, &mut staged);
            batch.clear();
        }
    }
    if !batch.is_empty() {
        note(&wal.submit(&batch)?, &mut staged);
    }
    Ok(())
}

fn note(ticket: &Ticket, staged: &mut Vec<(&Arc<Cell>, RecordOffset)>) {
    for (cell, record) in staged.drain(..) {
        let mut group = cell.group.write();
        let full = group.full.clone();
        group.restate(full, ticket.lsn_of(record));
    }
}

/// Who needs the oldest segment, if it is not the one being written. A State record in it can be written again, so it
/// counts only when there is nothing else in the way, which is when there were too many of them for one purge.
fn pins(cells: &[Arc<Cell>], segments: &[SegmentInfo], next: Lsn) -> Vec<Pin> {
    let Some(oldest) = segments.first().filter(|s| s.sealed) else { return Vec::new() };
    let pinned = |lowest: fn(&Group) -> Option<Lsn>| {
        let pin = |cell: &Arc<Cell>| {
            let group = cell.group.read();
            let lsn = lowest(&group).filter(|lsn| !group.gone && *lsn < oldest.end_lsn)?;
            Some(Pin { group: cell.id, lsn, bytes: next.distance_from(lsn).unwrap_or(0) })
        };
        let mut pins: Vec<Pin> = cells.iter().filter_map(pin).collect();
        pins.sort_unstable_by_key(|pin| pin.lsn);
        pins
    };
    let by_entries = pinned(Group::first_entry_lsn);
    if by_entries.is_empty() { pinned(Group::lowest_lsn) } else { by_entries }
}
