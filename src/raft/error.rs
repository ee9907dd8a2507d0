//! Errors of a Raft log; each names the group and the index concerned.

use std::io;

use ::raft::StorageError;

use crate::Lsn;
use crate::groups;

pub use crate::groups::ContentProblem;

/// The result of everything in the Raft layer that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of a Raft log.
///
/// All except [`Error::Log`], [`Error::Content`] and [`Error::Incomplete`] are refusals: the operation was checked
/// before anything was staged, and nothing changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log below failed, or found damage.
    #[error(transparent)]
    Log(#[from] crate::Error),

    /// Node id 0 is invalid: raft uses it for "nobody".
    #[error("node id 0 is invalid: raft uses it for \"nobody\"; number the nodes from 1")]
    InvalidNodeId,

    /// The log has no such group, or it was removed.
    #[error("group {group} does not exist in this log, or was removed; create it with `create_group`")]
    NoSuchGroup {
        /// The group asked for.
        group: u64,
    },

    /// The group already exists.
    #[error("group {group} exists; open it with `group`, or remove it first")]
    GroupExists {
        /// The group.
        group: u64,
    },

    /// Another batch changed the group after this one was checked.
    #[error("group {group} was changed by another batch since this one was checked: build the batch again")]
    BatchConflict {
        /// The group that changed.
        group: u64,
    },

    /// The batch was made by another log.
    #[error("the batch was made by another log: submit it to the one whose `batch` made it")]
    ForeignBatch,

    /// An entry would leave a gap in the log.
    #[error("group {group}: entry {index} would leave a gap: append from {expected}")]
    Gap {
        /// The group.
        group: u64,
        /// The entry's index.
        index: u64,
        /// The highest index that could be appended.
        expected: u64,
    },

    /// An entry lies in the compacted part of the log.
    #[error(
        "group {group}: entry {index} is below the first index {first}: entries there were compacted. \
         Continue from {first}, or from a snapshot"
    )]
    BelowFirst {
        /// The group.
        group: u64,
        /// The entry's index.
        index: u64,
        /// The log's first index.
        first: u64,
    },

    /// An index that has no successor. Raft needs the number after its last index.
    #[error(
        "group {group}: index {index} is the highest possible number, but the log needs the one after its \
         last index: reject its source"
    )]
    IndexExhausted {
        /// The group.
        group: u64,
        /// The index.
        index: u64,
    },

    /// The entries of one call are not consecutive.
    #[error(
        "group {group}: entry {index} follows where {expected} was expected: entries of one call must be \
         consecutive, so split it"
    )]
    NotContiguous {
        /// The group.
        group: u64,
        /// The entry's index.
        index: u64,
        /// The expected index.
        expected: u64,
    },

    /// An entry's term is lower than that of the entry before it.
    #[error(
        "group {group}: entry {index} has term {term}, but the one before it has {previous}. Terms must never \
         fall: reject the message that contained it"
    )]
    TermFalls {
        /// The group.
        group: u64,
        /// The entry's index.
        index: u64,
        /// Its term.
        term: u64,
        /// The term of the entry before it.
        previous: u64,
    },

    /// An entry would overwrite one that is committed.
    #[error(
        "group {group}: entry {index} would overwrite a committed one (commit is {commit}): reject the \
         message that contained it, and check that this directory is the node's own"
    )]
    OverwritesCommitted {
        /// The group.
        group: u64,
        /// The entry's index.
        index: u64,
        /// The commit index.
        commit: u64,
    },

    /// A `HardState` has a lower term than the one stored.
    #[error(
        "group {group}: HardState term {term} is below the stored {current}. Terms must never fall: store \
         the HardStates in raft's order"
    )]
    HardStateTermFalls {
        /// The group.
        group: u64,
        /// The term offered.
        term: u64,
        /// The term stored.
        current: u64,
    },

    /// A `HardState` has a lower commit index than the one stored.
    #[error(
        "group {group}: HardState commit {index} is below the stored {current}. It must never fall: store \
         the HardStates in raft's order"
    )]
    CommitFalls {
        /// The group.
        group: u64,
        /// The commit index offered.
        index: u64,
        /// The commit index stored.
        current: u64,
    },

    /// A `HardState` changes a vote that was given in the same term.
    #[error(
        "group {group}: in term {term} the vote went to {current} and cannot change to {vote}: vote in \
         a higher term, and check that this directory is the node's own"
    )]
    VoteChanges {
        /// The group.
        group: u64,
        /// The term.
        term: u64,
        /// The vote offered.
        vote: u64,
        /// The vote stored.
        current: u64,
    },

    /// A `HardState` commits entries that the log does not have. Raft would refuse to start with it.
    #[error(
        "group {group}: HardState commit {index} is beyond the last index {last}: append the entries first"
    )]
    CommitBeyondLast {
        /// The group.
        group: u64,
        /// The commit index offered.
        index: u64,
        /// The log's last index.
        last: u64,
    },

    /// A snapshot is not beyond what is committed, so it contains nothing new.
    #[error("group {group}: snapshot at {index} is out of date because commit is {commit}: ignore it")]
    SnapshotOutOfDate {
        /// The group.
        group: u64,
        /// The snapshot's index.
        index: u64,
        /// The commit index.
        commit: u64,
    },

    /// A snapshot's term contradicts the log.
    #[error(
        "group {group}: snapshot at {index} has term {term}, which is below {previous}, the term \
         before it: reject it, because it belongs to another history"
    )]
    SnapshotTermFalls {
        /// The group.
        group: u64,
        /// The snapshot's index.
        index: u64,
        /// The snapshot's term.
        term: u64,
        /// The term of the newest entry known to be committed.
        previous: u64,
    },

    /// A snapshot names no members. A group restored from it could never elect a leader.
    #[error(
        "group {group}: snapshot at {index} has an empty ConfState, so no leader could be elected from \
         it: create it with the members at that index"
    )]
    EmptyConfState {
        /// The group.
        group: u64,
        /// The snapshot's index.
        index: u64,
    },

    /// The received snapshot is not the one to be installed.
    #[error(
        "group {group}: the snapshot to be installed is at {index}; the one received at {received} differs in index, term \
         or members, or belongs to another group: receive the right one"
    )]
    OtherSnapshot {
        /// The group.
        group: u64,
        /// The index of the snapshot to be installed; 0 if there is none.
        index: u64,
        /// The index of the received one.
        received: u64,
    },

    /// A snapshot of a state that is not applied yet.
    #[error(
        "group {group}: snapshot at {index} is beyond the applied index {applied}: record what is \
         applied first"
    )]
    SnapshotBeyondApplied {
        /// The group.
        group: u64,
        /// The snapshot's index.
        index: u64,
        /// The applied index.
        applied: u64,
    },

    /// A snapshot that is not newer than the present one.
    #[error("group {group}: snapshot at {index} is not newer than the one at {current}: keep that one")]
    SnapshotNotNewer {
        /// The group.
        group: u64,
        /// The snapshot's index.
        index: u64,
        /// The index of the present snapshot.
        current: u64,
    },

    /// Compaction would remove entries that the state machine has not applied.
    #[error(
        "group {group}: compaction to {index} is beyond the applied index {applied}: apply first, or \
         compact less"
    )]
    CompactBeyondApplied {
        /// The group.
        group: u64,
        /// The last index to be removed.
        index: u64,
        /// The applied index.
        applied: u64,
    },

    /// Compaction would remove entries that no durable snapshot covers: a lagging follower could not catch up.
    #[error(
        "group {group}: compaction to {index} is beyond the newest snapshot ({snapshot}, 0 = none): \
         save a snapshot first"
    )]
    CompactBeyondSnapshot {
        /// The group.
        group: u64,
        /// The last index to be removed.
        index: u64,
        /// The newest snapshot's index; 0 if there is none.
        snapshot: u64,
    },

    /// An applied index is beyond the commit index. Raft would refuse to start with it.
    #[error(
        "group {group}: applied {index} is beyond commit {commit}: store the HardState first or in the \
         same batch"
    )]
    AppliedBeyondCommit {
        /// The group.
        group: u64,
        /// The applied index offered.
        index: u64,
        /// The commit index.
        commit: u64,
    },

    /// An applied index is below the stored one.
    #[error(
        "group {group}: applied {index} is below the stored {current}. It must never fall: report what is \
         applied in order"
    )]
    AppliedFalls {
        /// The group.
        group: u64,
        /// The applied index offered.
        index: u64,
        /// The applied index stored.
        current: u64,
    },

    /// A term given with an index differs from the one in the log.
    #[error(
        "group {group}: index {index} has term {expected}, not {term}: take the term from the log, or \
         check its source"
    )]
    TermMismatch {
        /// The group.
        group: u64,
        /// The index.
        index: u64,
        /// The term offered.
        term: u64,
        /// The term in the log.
        expected: u64,
    },

    /// A `ConfState` for an index below that of the stored one.
    #[error(
        "group {group}: ConfState of index {index} is older than the stored one of index {current}: store \
         them in the order of their changes"
    )]
    ConfStateFalls {
        /// The group.
        group: u64,
        /// The index offered.
        index: u64,
        /// The index of the stored one.
        current: u64,
    },

    /// A `ConfState` for an index that is not committed.
    #[error(
        "group {group}: ConfState of index {index} is beyond commit {commit}: store the HardState first or in \
         the same batch"
    )]
    ConfStateBeyondCommit {
        /// The group.
        group: u64,
        /// The index offered.
        index: u64,
        /// The commit index.
        commit: u64,
    },

    /// Stored bytes verify but cannot be interpreted by this build.
    #[error(
        "the record at LSN {lsn} (group {group}, index {index}) cannot be interpreted: {problem}. \
         Nothing was changed: open it with the release that wrote it; if that also refuses, restore this node from a \
         replica or a backup"
    )]
    Content {
        /// The group in the record's label.
        group: u64,
        /// The index in the record's label.
        index: u64,
        /// Where the record lies.
        lsn: Lsn,
        /// What is wrong with it.
        problem: ContentProblem,
    },

    /// After replay a group's log is incomplete. Nothing was changed.
    #[error(
        "group {group} is incomplete: {what} at index {index}. Nothing was changed: \
         keep the directory as it is, and restore this node from a replica or a backup"
    )]
    Incomplete {
        /// The group.
        group: u64,
        /// The index at which something is first missing.
        index: u64,
        /// What is missing.
        what: Missing,
    },
}

/// What a group lacks after replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// There are records of the group but no State record for them to build on.
    #[error("its State record is missing")]
    State,
    /// Entries between two others, or right after the compacted part.
    #[error("entries are missing")]
    Entries,
    /// The log ends before the commit index.
    #[error("committed entries are missing")]
    Committed,
    /// The applied index lies outside the log.
    #[error("the applied index lies outside the log")]
    Applied,
}

/// Refusals of the layer below keep their names here.
impl From<groups::Error> for Error {
    fn from(e: groups::Error) -> Self {
        use groups::Error as Below;
        match e {
            Below::Log(e) => Error::Log(e),
            Below::NoSuchGroup { group } => Error::NoSuchGroup { group },
            Below::GroupExists { group } => Error::GroupExists { group },
            Below::BatchConflict { group } => Error::BatchConflict { group },
            Below::ForeignBatch => Error::ForeignBatch,
            Below::Gap { group, index, expected } => Error::Gap { group, index, expected },
            Below::BelowFirst { group, index, first } => Error::BelowFirst { group, index, first },
            Below::IndexExhausted { group, index } => Error::IndexExhausted { group, index },
            Below::NotContiguous { group, index, expected } => {
                Error::NotContiguous { group, index, expected }
            }
            Below::TermMismatch { group, index, term, expected } => {
                Error::TermMismatch { group, index, term, expected }
            }
            Below::Content { group, index, lsn, problem } => Error::Content { group, index, lsn, problem },
            Below::Incomplete { group, index, what } => {
                let what = match what {
                    groups::Missing::State => Missing::State,
                    groups::Missing::Entries => Missing::Entries,
                };
                Error::Incomplete { group, index, what }
            }
        }
    }
}

/// The error of [`SnapshotSink`](super::SnapshotSink) and [`SnapshotSource`](super::SnapshotSource): the system's
/// error kind, `InvalidData` for damage, with this error inside (`io::Error::get_ref`).
impl From<Error> for io::Error {
    fn from(e: Error) -> Self {
        let kind = match &e {
            Error::Log(crate::Error::Corruption(_)) => io::ErrorKind::InvalidData,
            Error::Log(below) => below.io_kind().unwrap_or(io::ErrorKind::Other),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, e)
    }
}

/// The error that raft 0.7 expects from a failed call of its `Storage`.
///
/// Raft gives a meaning to `Compacted`, `Unavailable` and `SnapshotTemporarilyUnavailable`, which `GroupStorage`
/// returns directly; it stops at any other error (`raft_log.rs`, `slice` and `term`).
impl From<Error> for ::raft::Error {
    fn from(e: Error) -> Self {
        ::raft::Error::Store(match e {
            Error::BelowFirst { .. } => StorageError::Compacted,
            Error::SnapshotOutOfDate { .. } => StorageError::SnapshotOutOfDate,
            other => StorageError::Other(Box::new(other)),
        })
    }
}
