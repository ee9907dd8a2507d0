//! Reads the Raft groups of a log without opening it: no lock, no change, also beside a running writer. See
//! [`GroupView`], which builds the groups.

use super::check;
use super::codec::fields;
use std::sync::Arc;

use super::error::{Error, Result};
use super::snapshot::SnapshotFiles;
use super::state::SnapshotRef;
use super::storage::Recovered;
use crate::error::LogUuid;
use crate::groups::GroupView;
use crate::io::Disk;
use crate::{LogView, RecordHead};

/// The groups of a log at one moment.
#[derive(Debug)]
pub struct RaftView {
    /// Their fields were checked.
    groups: GroupView,
}

impl RaftView {
    /// The groups of this log. Reads the headers of all its records.
    ///
    /// # Errors
    /// As [`RaftOptions::open`](super::RaftOptions::open), except for the lock and the snapshot files, which are not
    /// examined.
    pub fn of(log: &LogView) -> Result<RaftView> {
        let (view, incomplete) = RaftView::with_incomplete(log)?;
        incomplete.into_iter().next().map_or(Ok(view), Err)
    }

    /// Like [`RaftView::of`], for a log with possible gaps, such as one after a repair cut: the complete groups, and
    /// for each of the others an error that says what it lacks. An open refuses a log with such a group.
    ///
    /// # Errors
    /// As [`RaftView::of`], except for [`Error::Incomplete`].
    pub fn with_incomplete(log: &LogView) -> Result<(RaftView, Vec<Error>)> {
        let (groups, incomplete) = GroupView::with_incomplete(log)?;
        let mut incomplete: Vec<Error> = incomplete.into_iter().map(Error::from).collect();
        let (view, wrong) = RaftView::checked(groups, true);
        incomplete.extend(wrong);
        match incomplete.iter().position(|e| !matches!(e, Error::Incomplete { .. })) {
            Some(at) => Err(incomplete.swap_remove(at)),
            None => Ok((view, incomplete)),
        }
    }

    /// Like [`RaftView::of`], for a damaged log ([`LogView::open_damaged`]), skipping what cannot be read: the groups
    /// as far as they can be known, and all problems, damage first. A good footer describes what its segment held;
    /// after damage in any other segment, a group may be older than it was.
    ///
    /// # Errors
    /// As [`RaftView::of`], except for problems of the log and its groups.
    pub fn salvage(log: &LogView) -> Result<(RaftView, Vec<Error>)> {
        let (groups, wrong) = GroupView::salvage(log)?;
        let mut wrong: Vec<Error> = wrong.into_iter().map(Error::from).collect();
        let (view, more) = RaftView::checked(groups, false);
        for e in more {
            // An incomplete group was already reported.
            let named =
                |known: &Error| incomplete_group(known).is_some_and(|id| incomplete_group(&e) == Some(id));
            if !wrong.iter().any(named) {
                wrong.push(e);
            }
        }
        Ok((view, wrong))
    }

    /// Removes the groups whose fields cannot be interpreted and, if `whole` is set, those that raft could not be
    /// started with; returns the problems too.
    fn checked(mut groups: GroupView, whole: bool) -> (RaftView, Vec<Error>) {
        let wrong = |(id, contents)| check::verify_whole(id, contents).err().map(|e| (id, e));
        let wrong: Vec<(u64, Error)> = groups.contents().filter_map(wrong).collect();
        for (id, e) in &wrong {
            if whole || matches!(e, Error::Content { .. }) {
                groups.remove(*id);
            }
        }
        (RaftView { groups }, wrong.into_iter().map(|(_, e)| e).collect())
    }

    /// The ids of all groups, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        self.groups.groups()
    }

    /// What a node would start this group with.
    #[must_use]
    pub fn recovered(&self, group: u64) -> Option<Recovered> {
        self.groups.get(group).map(Recovered::of)
    }

    /// The snapshots that groups refer to, by ascending group.
    pub(super) fn snapshots(&self) -> Vec<(u64, SnapshotRef)> {
        let of = |(id, contents): (u64, &crate::groups::contents::Contents)| {
            Some((id, fields::fixed_of(&contents.root.state).snapshot?))
        };
        self.groups.contents().filter_map(of).collect()
    }

    /// The groups that refer to a snapshot whose file is missing in this directory, or for which an open would refuse the log,
    /// each with the error.
    ///
    /// # Errors
    /// `Io` when the directory of snapshots cannot be opened.
    pub fn lost_snapshots(&self, disk: &Arc<dyn Disk>, log: LogUuid) -> Result<Vec<(u64, Error)>> {
        let files = SnapshotFiles::of(disk, log)?;
        let lost = |(group, file)| Some((group, files.check(group, file).err()?.into()));
        Ok(self.snapshots().into_iter().filter_map(lost).collect())
    }

    /// Whether some group needs this record.
    #[must_use]
    pub fn is_live(&self, record: &RecordHead) -> bool {
        self.groups.is_live(record)
    }

    /// Whether this record is an entry that was rewritten so that its old segment can be released.
    #[must_use]
    pub fn is_relocated(record: &RecordHead) -> bool {
        GroupView::is_relocated(record)
    }
}

fn incomplete_group(e: &Error) -> Option<u64> {
    match e {
        Error::Incomplete { group, .. } => Some(*group),
        _ => None,
    }
}
