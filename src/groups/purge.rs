//! Purging: returns segments to the file system.
//!
//! A group needs its newest State record and its entries from the first index on. The log below frees whole segments,
//! oldest first, so the lowest address that any group needs decides.
//!
//! ```text
//!  segment   | 1      | 2      | 3      | 4      | 5 (written) |
//!  group 7     S                 x x x    x x x    e e
//!  group 8     e e      S                   x x    x e              a lagging group
//!  group 9     S                                                    an idle group: only a State
//!              \_______________________________/
//!               S of 7 and 9, e of 8, then S of 8 are rewritten in 5: after that, 1 to 4 can be freed
//! ```
//!
//! Live records in the oldest segments are relocated (`relocate`), oldest segment first, so that what can be released
//! is always a prefix. That costs writes, so it is done only
//!
//! * where little of a segment is live: an eighth or less is rewritten to free the whole, or
//! * while the files take more than twice the live bytes plus two segments, less what is appended while relocation is
//!   under way (at most a quarter of the live bytes).
//!
//! **Why the bound holds.** Say a lagging group has L live bytes while others append and purge. Relocation must write
//! L bytes before the dead segments after them can be freed; rewriting a segment full of live bytes frees as much as
//! it costs. If a call may write b bytes and a bytes are appended between calls, others append L a/b until it is
//! done. So it begins that much earlier, and the disk takes at most 2 L; the partial segments at either end are in
//! the three on top. As b is at least 4 a, that is at most L/4. Then everything others appended up to there is free.
//! In one round they append 3/4 L to L, so 1 to 4/3 bytes are relocated per appended byte: less, because the two
//! segments on top count for more; more, because packed records come with headers and padding. It is also capped, at
//! 3/2 plus one round, for logs that cannot be packed, with records that fill slightly more than half a segment.
//!
//! The state in memory may not be durable yet: a purge undone by a crash needs its entries again, and a relocated
//! record needs its old place. So nothing is released before everything submitted up to the decision is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::contents::Slot;
use super::error::{Error, Result};
use super::relocate::Relocation;
use super::space::{Account, GroupSpace, account, disk_bytes, span};
use super::store::Store;
use crate::mutation::or_fault;
use crate::trace::span;
use crate::{Batch, Lsn, SegmentInfo};

/// A segment is always worth relocating if at most this fraction of it is live.
const CHEAP: u64 = 8;

/// Relocated bytes per appended byte.
const PACE: u64 = 4;

/// The result of a purge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeReport {
    /// Records below this address are no longer kept.
    pub released_to: Lsn,
    /// Number of segments freed.
    pub segments_freed: usize,
    /// Total size of their files in bytes.
    pub bytes_freed: u64,
    /// Number of State records rewritten to free segments.
    pub states_rewritten: usize,
    /// Number of entries rewritten to free segments.
    pub entries_relocated: usize,
    /// Bytes of those States and entries.
    pub bytes_relocated: u64,
    /// Bytes appended to the log since it was opened, headers and padding included, without relocation.
    pub total_appended: u64,
    /// Bytes of all records relocated since the log was opened.
    pub total_relocated: u64,
    /// Bytes that some group needs.
    pub live_bytes: u64,
    /// Bytes of the segment files, without footers.
    pub disk_bytes: u64,
    /// The groups that need the oldest remaining segment, those with the most bytes in it first; empty if that
    /// segment is the one being written.
    pub pinned_by: Vec<Pin>,
    /// The lowest address held by another user of the log ([`Wal::hold`](crate::Wal::hold)), if any.
    pub held_from: Option<Lsn>,
    /// The groups whose log exceeds [`GroupOptions::group_limit`](super::GroupOptions::group_limit), largest first.
    pub over_limit: Vec<GroupSpace>,
    /// Relocation ended early because the disk is full. What could be freed was freed anyway.
    pub no_room: bool,
}

impl PurgeReport {
    /// Bytes relocated per byte appended since the log was opened.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a ratio for people
    pub fn write_amplification(&self) -> f64 {
        if self.total_appended == 0 { 0.0 } else { self.total_relocated as f64 / self.total_appended as f64 }
    }
}

/// A group that prevents the oldest segment from being freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// The group.
    pub group: u64,
    /// The lowest address that it needs, or the beginning of that address's segment.
    pub lsn: Lsn,
    /// Bytes of log from there to the end.
    pub bytes: u64,
    /// Bytes of the oldest segment that it needs.
    pub live_bytes: u64,
}

pub(crate) fn purge(store: &Store) -> Result<PurgeReport> {
    let _one_at_a_time = store.hold_purges();
    let _span = span!(INFO, "purge");
    let wal = &store.wal;
    let before = wal.segments();
    let mut report = PurgeReport { released_to: release(store)?, ..PurgeReport::default() };
    let account = account(wal, store.slots.all())?;
    match relocate_and_release(store, &account, &mut report) {
        Err(Error::Log(e)) if e.is_full() => report.no_room = true,
        done => done?,
    }
    describe(store, &before, &mut report)?;
    Ok(report)
}

/// Releases what nothing needs; returns up to where.
///
/// The lowest address that a group needs never falls, because its records are always rewritten further up. So groups
/// may change while they are examined one by one. A group created meanwhile lies above the earlier end of the log.
fn release(store: &Store) -> Result<Lsn> {
    let end = store.wal.next_lsn();
    let slots = store.slots.all();
    let lowest = slots.iter().filter_map(|slot| slot.contents.read().lowest_lsn()).min();
    let to = lowest.map_or(end, |lowest| lowest.min(end));
    // The state in memory may not be durable yet. An empty batch is as durable as everything before it.
    let everything = store.wal.submit(Batch::new())?;
    or_fault!(everything.wait()?, RelocationOrder => everything.lsn());
    store.wal.release(to)?;
    Ok(to)
}

/// The number of bytes that one purge may relocate.
struct Budget {
    /// In total.
    all: u64,
    /// Where it is not cheap.
    expensive: u64,
    /// Bytes appended until everything live is relocated, at the present rate.
    ahead: u64,
}

impl Budget {
    fn new(store: &Store, live: u64) -> Budget {
        let written = &store.written;
        let appended = store.appended();
        let before = written.at_last_purge.swap(appended, Ordering::Relaxed);
        let limit = store.limits.relocate;
        let recent = appended.saturating_sub(before);
        let pace = recent.saturating_mul(PACE);
        let all = if limit == 0 { 0 } else { limit.max(pace) };
        let most = (appended / 2).saturating_mul(3).saturating_add(live);
        let expensive = all.min(most.saturating_sub(written.relocated.get()));
        // At most the share of one call or, if several calls are needed, what is appended between them.
        let calls = live.checked_div(all).unwrap_or(0);
        Budget { all, expensive, ahead: calls.saturating_mul(recent).min(live / PACE) }
    }
}

/// Relocates live records of the oldest segments, as long as that is worth it and the budget lasts, and releases the
/// segments.
fn relocate_and_release(store: &Store, account: &Account, report: &mut PurgeReport) -> Result<()> {
    let Some(size) = account.segments.last().map(|s| s.file_bytes) else { return Ok(()) };
    let live = account.live_bytes();
    let budget = Budget::new(store, live);
    let aim = live.saturating_mul(2).saturating_add(2 * size).saturating_sub(budget.ahead);
    let mut relocation = Relocation::new(store, size);
    // Relocated but not yet released, because each release waits for the disk: number of files, and bytes of their
    // replacements.
    let (mut waiting, mut released_at) = (0, 0);
    for (n, segment) in account.segments.iter().enumerate().filter(|(_, s)| s.sealed) {
        let now = store.wal.segments();
        if !now.iter().any(|s| s.id == segment.id) {
            continue;
        }
        // A segment held by another user cannot be freed.
        if store.wal.lowest_hold().is_some_and(|held| held < segment.end_lsn) {
            break;
        }
        let is_cheap = account.live_in(n) <= span(segment) / CHEAP;
        if !is_cheap && disk_bytes(&now).saturating_sub(waiting) <= aim {
            break;
        }
        let slots: Vec<&Arc<Slot>> = account.holders(n).into_iter().map(|(slot, _)| slot).collect();
        let limit = if is_cheap { budget.all } else { budget.expensive };
        if !relocation.segment(segment, &slots, limit)? {
            break;
        }
        waiting += segment.file_bytes.saturating_sub(segment.footer_bytes);
        if relocation.bytes().saturating_sub(released_at) >= size / 2 {
            relocation.flush()?;
            report.released_to = release(store)?;
            (waiting, released_at) = (0, relocation.bytes());
        }
    }
    relocation.flush()?;
    // Done even if nothing can be freed yet: after the purge, moved records are durable, or the purge failed.
    if waiting > 0 || relocation.bytes() > released_at {
        report.released_to = release(store)?;
    }
    report.states_rewritten = relocation.moved.states;
    report.entries_relocated = relocation.moved.entries;
    report.bytes_relocated = relocation.moved.bytes;
    Ok(())
}

/// Describes the present state.
fn describe(store: &Store, before: &[SegmentInfo], report: &mut PurgeReport) -> Result<()> {
    let account = account(&store.wal, store.slots.all())?;
    let is_freed = |s: &&SegmentInfo| !account.segments.iter().any(|now| now.id == s.id);
    report.segments_freed = before.iter().filter(is_freed).count();
    report.bytes_freed = before.iter().filter(is_freed).map(|s| s.file_bytes).sum();
    report.live_bytes = account.live_bytes();
    report.disk_bytes = disk_bytes(&account.segments);
    report.pinned_by = pins(&account, store.wal.next_lsn());
    report.held_from = store.wal.lowest_hold();
    report.over_limit = account.groups_above(store.limits.group);
    report.total_appended = store.appended();
    report.total_relocated = store.written.relocated.get();
    Ok(())
}

/// The groups that need the oldest segment, unless it is the one being written.
fn pins(account: &Account, next: Lsn) -> Vec<Pin> {
    if !account.segments.first().is_some_and(|s| s.sealed) {
        return Vec::new();
    }
    let pin = |(slot, live_bytes): (&Arc<Slot>, u64)| {
        let lsn = slot.contents.read().lowest_lsn()?;
        Some(Pin { group: slot.id, lsn, bytes: next.distance_from(lsn).unwrap_or(0), live_bytes })
    };
    account.holders(0).into_iter().filter_map(pin).collect()
}
