//! Giving segments back.
//!
//! A group needs its newest State record and its entries from the first index on. The log below frees whole segments
//! from the oldest on, so the lowest address that any group needs decides.
//!
//! ```text
//!  segment   | 1      | 2      | 3      | 4      | 5 (written) |
//!  group 7     S                 x x x    x x x    e e
//!  group 8     e e      S                   x x    x e              a group that lags
//!  group 9     S                                                    an idle group: a State and nothing else
//!              \_______________________________/
//!               S of 7 and 9, e of 8, then S of 8 are written again in 5: after that, 1 to 4 can go
//! ```
//!
//! What is live in the oldest segments is relocated (`relocate`), oldest segment first, so that what can be released is
//! always a prefix. That costs writes, so it is done only
//!
//! * where little of a segment is left: an eighth or less is written again to free the whole, or
//! * while the files take more than twice the live bytes and two segments, less what is appended while relocation goes
//!   on (a quarter of the live bytes at most).
//!
//! **Why the bound holds.** Say a group that lags has L live bytes, and others append and purge. Relocation has L bytes
//! to write before the dead segments behind them come free; a segment full of live bytes that is written again frees as
//! much as it costs. If a call may write b bytes and a are appended from call to call, others append L a/b until it is
//! through. So it begins that much earlier, and the disk takes 2 L at most; the segments that are begun at either end are
//! in the three on top. As b is at least 4 a, that is L/4 at most. Then what others appended up to there is free. In a
//! round they append 3/4 L to L, so 1 to 4/3 bytes are relocated for each one appended; less, as the two segments on top
//! count for more; more, as packed records come with headers and padding. It is capped besides, at 3/2 and one round,
//! for logs that cannot be packed: records that fill half a segment and a little more.
//!
//! What memory says may not be durable yet: a purge that a crash undoes needs its entries again, and what was
//! relocated needs its old place. So nothing is released before everything submitted up to the decision is durable.

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

/// A segment is worth relocating at any time when no more than this fraction of it is live.
const CHEAP: u64 = 8;

/// This many times what was appended is relocated.
const PACE: u64 = 4;

/// What a purge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeReport {
    /// Records below this address are no longer kept.
    pub released_to: Lsn,
    /// How many segments were freed.
    pub segments_freed: usize,
    /// The bytes of their files.
    pub bytes_freed: u64,
    /// How many groups' State records were written again to let segments go.
    pub states_rewritten: usize,
    /// How many entries were written again to let segments go.
    pub entries_relocated: usize,
    /// How many bytes those States and entries take.
    pub bytes_relocated: u64,
    /// The bytes of log appended since it was opened, headers and padding included, what was relocated not.
    pub total_appended: u64,
    /// The bytes of all records relocated since the log was opened.
    pub total_relocated: u64,
    /// The bytes that some group needs.
    pub live_bytes: u64,
    /// The bytes of the segments' files, their footers not counted.
    pub disk_bytes: u64,
    /// The groups that need the oldest segment that is left, those with the most bytes in it first; empty when that is
    /// the one being written.
    pub pinned_by: Vec<Pin>,
    /// The lowest address that another user of the log holds ([`Wal::hold`](crate::Wal::hold)), if one does.
    pub held_from: Option<Lsn>,
    /// The groups whose log exceeds [`GroupOptions::group_limit`](super::GroupOptions::group_limit), the largest first.
    pub over_limit: Vec<GroupSpace>,
    /// Relocation ended early, because the disk is full. What was free is freed all the same.
    pub no_room: bool,
}

impl PurgeReport {
    /// How many bytes were relocated for each byte appended, since the log was opened.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a ratio for people
    pub fn write_amplification(&self) -> f64 {
        if self.total_appended == 0 { 0.0 } else { self.total_relocated as f64 / self.total_appended as f64 }
    }
}

/// A group that keeps the oldest segment from being freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// The group.
    pub group: u64,
    /// The lowest address that it needs, or the beginning of the segment that it is in.
    pub lsn: Lsn,
    /// How many bytes of log lie from there to the end.
    pub bytes: u64,
    /// How many bytes of the oldest segment it needs.
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

/// Releases what nobody needs; says up to where.
///
/// The lowest address that a group needs never falls: its records are written ever further up. So it does not matter that
/// groups change while they are looked at one after the other. A group that is made meanwhile lies above where the log
/// ended before.
fn release(store: &Store) -> Result<Lsn> {
    let end = store.wal.next_lsn();
    let slots = store.slots.all();
    let lowest = slots.iter().filter_map(|slot| slot.contents.read().lowest_lsn()).min();
    let to = lowest.map_or(end, |lowest| lowest.min(end));
    // What memory said may not be durable yet. An empty batch is as durable as everything before it.
    let everything = store.wal.submit(Batch::new())?;
    or_fault!(everything.wait()?, RelocationOrder => everything.lsn());
    store.wal.release(to)?;
    Ok(to)
}

/// How many bytes one purge may relocate.
struct Budget {
    /// In all.
    all: u64,
    /// Where it is not cheap.
    expensive: u64,
    /// What is appended until all that is live was relocated, at the present rate.
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
        // At most a call's, or where it takes several calls, what is appended between them.
        let calls = live.checked_div(all).unwrap_or(0);
        Budget { all, expensive, ahead: calls.saturating_mul(recent).min(live / PACE) }
    }
}

/// Relocates what is live in the oldest segments, as long as that is worth it and the budget lasts, and releases them.
fn relocate_and_release(store: &Store, account: &Account, report: &mut PurgeReport) -> Result<()> {
    let Some(size) = account.segments.last().map(|s| s.file_bytes) else { return Ok(()) };
    let live = account.live_bytes();
    let budget = Budget::new(store, live);
    let aim = live.saturating_mul(2).saturating_add(2 * size).saturating_sub(budget.ahead);
    let mut relocation = Relocation::new(store, size);
    // Relocated, but not released yet, because each release waits for the disk: files, and what replaces them.
    let (mut waiting, mut released_at) = (0, 0);
    for (n, segment) in account.segments.iter().enumerate().filter(|(_, s)| s.sealed) {
        let now = store.wal.segments();
        if !now.iter().any(|s| s.id == segment.id) {
            continue;
        }
        // What others hold comes free for nobody.
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
    // Also when nothing comes free yet: what was moved is durable when the purge is over, or the purge failed.
    if waiting > 0 || relocation.bytes() > released_at {
        report.released_to = release(store)?;
    }
    report.states_rewritten = relocation.moved.states;
    report.entries_relocated = relocation.moved.entries;
    report.bytes_relocated = relocation.moved.bytes;
    Ok(())
}

/// How things are now.
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

/// Who needs the oldest segment, if it is not the one being written.
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
