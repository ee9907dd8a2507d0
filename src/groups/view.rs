//! Reads the groups of a log without opening it: no lock, no change, also beside a running writer.
//!
//! The groups of a [`LogView`] are built as an open builds them, segment by segment, but from the records themselves:
//! no footer is trusted, and none is needed. What is live follows from the groups, by the same definition as in
//! [`GroupLog::space`](super::GroupLog::space): an entry at its newest place, and one State record per group.

use std::collections::BTreeMap;
use std::ops::Range;

use super::codec::Kind;
use super::contents::Contents;
use super::error::{Error, Result};
use super::replay::{Halt, Part, merge, of_rest};
use super::state::{Position, State};
use crate::{LogView, RecordHead};

/// The groups of a log at one moment.
#[derive(Debug)]
pub struct GroupView {
    groups: BTreeMap<u64, Contents>,
}

impl GroupView {
    /// The groups of this log. Reads the headers of all its records.
    ///
    /// # Errors
    /// As [`GroupOptions::open`](super::GroupOptions::open), except for the lock.
    pub fn of(log: &LogView) -> Result<GroupView> {
        let (view, incomplete) = GroupView::with_incomplete(log)?;
        incomplete.into_iter().next().map_or(Ok(view), Err)
    }

    /// Like [`GroupView::of`], for a log with possible gaps, such as one after a repair cut: the complete groups, and
    /// for each of the others an error that says what it lacks, by group id. An open refuses a log with such a group.
    ///
    /// # Errors
    /// As [`GroupView::of`], except for [`Error::Incomplete`].
    pub fn with_incomplete(log: &LogView) -> Result<(GroupView, Vec<Error>)> {
        let parts = log.segments().iter().map(Part::of_records).collect::<Result<Vec<_>>>()?;
        let (mut groups, mut incomplete) = (BTreeMap::new(), Vec::new());
        for (id, contents) in merge(&parts).map_err(Halt::into_error)? {
            match contents.verify_whole(id) {
                Ok(()) => drop(groups.insert(id, contents)),
                Err(e) => incomplete.push(e),
            }
        }
        Ok((GroupView { groups }, incomplete))
    }

    /// Like [`GroupView::of`], for a damaged log ([`LogView::open_damaged`]), skipping what cannot be read: the
    /// groups as far as they can be known, and all problems, damage first. A good footer describes what its segment
    /// held; after damage in any other segment, a group may be older than it was.
    ///
    /// # Errors
    /// As [`GroupView::of`], except for problems of the log and its groups.
    pub fn salvage(log: &LogView) -> Result<(GroupView, Vec<Error>)> {
        let (merged, mut wrong) = of_rest(log.segments())?;
        for (id, contents) in &merged {
            wrong.extend(contents.verify_whole(*id).err());
        }
        Ok((GroupView { groups: merged.into_iter().collect() }, wrong))
    }

    /// The ids of all groups, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        self.groups.keys().copied().collect()
    }

    /// The indexes that have an entry in this group.
    #[must_use]
    pub fn indexes(&self, group: u64) -> Option<Range<u64>> {
        self.groups.get(&group).map(|contents| contents.first_index()..contents.end_index())
    }

    /// The last entry of this group, or the last purged one if there are no entries.
    #[must_use]
    pub fn last(&self, group: u64) -> Option<Position> {
        self.groups.get(&group).and_then(Contents::last)
    }

    /// The state of this group.
    #[must_use]
    pub fn state(&self, group: u64) -> Option<&State> {
        self.groups.get(&group).map(|contents| &contents.root.state)
    }

    /// Whether some group needs this record.
    #[must_use]
    pub fn is_live(&self, record: &RecordHead) -> bool {
        let group = record.label.and_then(|label| self.groups.get(&label.stream));
        group.is_some_and(|contents| contents.needs(record))
    }

    /// Whether this record is an entry that was rewritten so that its old segment can be released.
    #[must_use]
    pub fn is_relocated(record: &RecordHead) -> bool {
        record.label.is_some_and(|label| matches!(Kind::of(label), Some(Kind::Relocated(_))))
    }

    // For a higher layer, which checks its protocol's rules on them.

    #[cfg_attr(not(any(feature = "raft-protobuf", feature = "raft-prost")), allow(dead_code))]
    pub(crate) fn contents(&self) -> impl Iterator<Item = (u64, &Contents)> {
        self.groups.iter().map(|(id, contents)| (*id, contents))
    }

    #[cfg_attr(not(any(feature = "raft-protobuf", feature = "raft-prost")), allow(dead_code))]
    pub(crate) fn get(&self, group: u64) -> Option<&Contents> {
        self.groups.get(&group)
    }

    #[cfg_attr(not(any(feature = "raft-protobuf", feature = "raft-prost")), allow(dead_code))]
    pub(crate) fn remove(&mut self, group: u64) {
        self.groups.remove(&group);
    }
}
