//! Looking at the groups of a log without opening it: no lock, no change, also beside a running writer.
//!
//! A [`LogView`] is folded into groups as an open does it, segment by segment, from the records themselves: no footer
//! is trusted, and none is needed. What is live follows from the groups, by the same definition as
//! [`RaftLog::space`](super::RaftLog::space): an entry at its newest place, and one State record a group.

use std::collections::HashMap;

use super::codec::Kind;
use super::error::{Error, Result};
use super::group::Group;
use super::replay::{Halt, Part, merge, of_rest};
use super::state::SnapshotRef;
use super::storage::Recovered;
use crate::{LogView, RecordHead};

/// The groups of a log as they were at one moment.
#[derive(Debug)]
pub struct RaftView {
    groups: HashMap<u64, Group>,
}

impl RaftView {
    /// The groups of this log. Reads the headers of all its records.
    ///
    /// # Errors
    /// As [`RaftOptions::open`](super::RaftOptions::open), but for the lock and the snapshots' files, which are not
    /// looked at.
    pub fn of(log: &LogView) -> Result<RaftView> {
        let (view, incomplete) = RaftView::with_incomplete(log)?;
        incomplete.into_iter().next().map_or(Ok(view), Err)
    }

    /// As [`RaftView::of`], for a log that may lack something, as one that a repair cut does: the groups that are whole,
    /// and for each of the others an error that says what it lacks, by group id. An open refuses a log with such a group.
    ///
    /// # Errors
    /// As [`RaftView::of`], but for [`Error::Incomplete`].
    pub fn with_incomplete(log: &LogView) -> Result<(RaftView, Vec<Error>)> {
        let parts = log.segments().iter().map(Part::fold).collect::<Result<Vec<_>>>()?;
        let (mut groups, mut incomplete) = (HashMap::new(), Vec::new());
        for (id, group) in merge(&parts).map_err(Halt::into_error)?.groups {
            match group.verify_whole(id) {
                Ok(()) => drop(groups.insert(id, group)),
                Err(e) => incomplete.push(e),
            }
        }
        Ok((RaftView { groups }, incomplete))
    }

    /// As [`RaftView::of`], of a damaged log ([`LogView::open_damaged`]), past what cannot be read: the groups as far as they
    /// can be known, and everything that is wrong, damage first. Where a segment has a good footer, that says what lay in
    /// it; behind damage in any other one a group may be older than it was.
    ///
    /// # Errors
    /// As [`RaftView::of`], but for what is wrong with the log and its groups.
    pub fn salvage(log: &LogView) -> Result<(RaftView, Vec<Error>)> {
        let (merged, mut wrong) = of_rest(log.segments())?;
        for (id, group) in &merged.groups {
            wrong.extend(group.verify_whole(*id).err());
        }
        Ok((RaftView { groups: merged.groups.into_iter().collect() }, wrong))
    }

    /// The ids of all groups, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.groups.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// What a node would start this group with.
    #[must_use]
    pub fn recovered(&self, group: u64) -> Option<Recovered> {
        self.groups.get(&group).map(Recovered::of)
    }

    /// The snapshots that groups refer to, by ascending group.
    pub(super) fn snapshots(&self) -> Vec<(u64, SnapshotRef)> {
        let mut referred: Vec<_> =
            self.groups.iter().filter_map(|(id, group)| Some((*id, group.full.snapshot?))).collect();
        referred.sort_unstable_by_key(|(id, _)| *id);
        referred
    }

    /// Whether some group needs this record.
    #[must_use]
    pub fn is_live(&self, record: &RecordHead) -> bool {
        let group = record.label.and_then(|label| self.groups.get(&label.stream));
        group.is_some_and(|group| group.needs(record))
    }

    /// Whether this record is an entry that was written again to let its old segment go.
    #[must_use]
    pub fn is_relocated(record: &RecordHead) -> bool {
        record.label.is_some_and(|l| matches!(Kind::from_u8(l.kind), Ok(Kind::Relocated(_))))
    }
}
