//! Errors of a log of groups; each names the group and the index concerned.

use std::sync::Arc;

use crate::Lsn;

/// The result of everything in this layer that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of a log of groups.
///
/// All except [`Error::Log`], [`Error::Content`] and [`Error::Incomplete`] are refusals: the operation was checked
/// before anything was staged, and nothing changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log below failed, or found damage.
    #[error(transparent)]
    Log(#[from] crate::Error),

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

    /// An entry would leave a gap in the log, or a truncation would start beyond its end.
    #[error("group {group}: entry {index} would leave a gap: append from {expected}")]
    Gap {
        /// The group.
        group: u64,
        /// The entry's index.
        index: u64,
        /// The highest index that could be appended.
        expected: u64,
    },

    /// An index lies in the purged part of the log.
    #[error(
        "group {group}: entry {index} is below the first index {first}: entries there were purged. \
         Continue from {first}"
    )]
    BelowFirst {
        /// The group.
        group: u64,
        /// The entry's index.
        index: u64,
        /// The log's first index.
        first: u64,
    },

    /// An index that has no successor. A log needs the number after its last index.
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

impl Error {
    /// An invariant of this layer was violated.
    pub(crate) fn internal(what: impl Into<Arc<str>>) -> Error {
        Error::Log(crate::Error::internal(what))
    }
}

/// Why stored bytes cannot be interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentProblem {
    /// The record's kind does not exist in this format.
    #[error("its kind {0:#04x} is unknown; it may come from a newer release")]
    UnknownKind(u8),
    /// The payload's version does not exist in this format.
    #[error("its version {0} is unknown; it comes from a newer release")]
    UnknownVersion(u32),
    /// The payload ends before its declared length.
    #[error("it is cut short")]
    Short,
    /// There are bytes after the payload's end.
    #[error("it is too long")]
    Trailing,
    /// A field has an invalid value.
    #[error("its field \"{0}\" is out of range")]
    Field(&'static str),
    /// The order of records within one segment is impossible.
    #[error("it contradicts the records before it")]
    Order,
}

/// What a group lacks after replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// There are records of the group but no State record for them to build on.
    #[error("its State record is missing")]
    State,
    /// Entries between two others, or right after the purged part.
    #[error("entries are missing")]
    Entries,
}
