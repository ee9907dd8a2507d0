//! From the segments to the groups, at open.
//!
//! Each segment is taken as its summary: the footer's, or one made from its records when there is none. Summaries are
//! applied oldest first. Older segments may have been released; what is left of the groups that they held is either
//! made whole by a later State record, or belongs to a group that is removed further on. Nothing else is tolerated:
//! every group has to be whole in the end.
//!
//! A removed group leaves no residue: the record of its removal is younger than all its other records, and releasing
//! frees the oldest first. As long as one of those is left, so is the removal.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{ContentProblem, Error, Result};
use super::fold;
use super::group::{Cell, Group};
use super::groups::Groups;
use super::summary::{Before, Effect, SegmentSummary};
use crate::error::Result as LogResult;
use crate::{SegmentInfo, Wal};

/// Fills `groups` with what the log holds.
pub(crate) fn replay(wal: &Wal, groups: &Groups) -> Result<()> {
    // Summaries of segments sealed meanwhile wait in their queue.
    let mut order = groups.order.lock();
    let mut found: HashMap<u64, Group> = HashMap::new();
    for segment in wal.segments() {
        if segment.first_lsn == segment.end_lsn {
            continue;
        }
        let summary = summary_of(wal, &segment)?;
        for (id, effect) in &summary.effects {
            if let Some((_, state)) = &effect.state {
                order.incarnation = order.incarnation.max(state.incarnation);
            }
            apply(&mut found, *id, effect, &summary)?;
        }
    }
    for (id, group) in &found {
        group.verify_whole(*id)?;
    }
    for (id, mut group) in found {
        group.full.conf = groups.members.share(group.full.conf);
        groups.put(Cell::new(id, group));
    }
    Ok(())
}

/// A footer's summary that this build does not understand is as good as none.
fn summary_of(wal: &Wal, segment: &SegmentInfo) -> Result<SegmentSummary> {
    let kept: LogResult<_> = wal.summary(segment.id);
    if let Some(summary) = kept?
        && let Ok(summary) = SegmentSummary::decode(segment.id, &summary)
    {
        return Ok(summary);
    }
    fold::summarize(&wal.segment_reader(segment.id)?)
}

/// Adds what one segment did to one group.
pub(crate) fn apply(
    found: &mut HashMap<u64, Group>,
    id: u64,
    effect: &Effect,
    summary: &SegmentSummary,
) -> Result<()> {
    if effect.before == Before::Gone {
        found.remove(&id);
    }
    if effect.removed {
        return Ok(());
    }
    let group = found.entry(id).or_default();
    if let Some((lsn, state)) = &effect.state {
        match effect.before {
            Before::EntriesGone => group.install(state.clone(), *lsn),
            Before::Stands | Before::Gone => group.restate(state.clone(), *lsn),
        }
    }
    // What was appended replaces nothing that was relocated into the same segment: see `summary`.
    for range in &effect.relocated {
        group.replay_relocated(range, &summary.positions).map_err(|index| Error::Content {
            group: id,
            index,
            lsn: summary.positions.first_lsn,
            problem: ContentProblem::Order,
        })?;
    }
    if let Some(range) = &effect.appended {
        group.cut_for(range.slice.first);
        group.push_mapped(range, &summary.positions);
    }
    if let Some(to) = effect.compacted {
        group.compact(to);
    }
    if let Some(hard) = effect.hard {
        group.set_hard(hard);
    }
    if let Some(applied) = effect.applied {
        group.set_applied(applied);
    }
    if let Some((index, conf)) = &effect.conf {
        group.set_conf(*index, Arc::clone(conf));
    }
    if let Some(snapshot) = effect.snapshot {
        group.set_snapshot(snapshot);
    }
    // A State in the middle of the segment may have said that some of its entries are compacted.
    group.trim();
    // What is found at open is durable.
    group.reset_lsn = None;
    Ok(())
}
