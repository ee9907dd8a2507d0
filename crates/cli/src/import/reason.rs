//! Why a group cannot be imported as it is, and what would help.

use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Reason {
    #[error("it has nothing under the HardState's key; without its vote a node could vote twice in a term")]
    NoHardState,
    #[error("the value under the {what}'s key is not valid: {why}")]
    Value { what: &'static str, why: String },
    #[error(
        "entry {index}: {why}; only entries of the raft crate (eraftpb.Entry of protobuf 2) can be imported"
    )]
    NotEntry { index: u64, why: String },
    #[error("the term falls from {before} to {term} at entry {index}: that is not a Raft log")]
    TermFalls { index: u64, term: u64, before: u64 },
    #[error(
        "its log begins at entry {first}, but the term of the entry before it is unknown and raft needs it: \
         --truncated-state-key says where the program keeps it"
    )]
    NoBoundary { first: u64 },
    #[error("the truncated state ends at entry {boundary}, but its log begins only at entry {first}")]
    Gap { boundary: u64, first: u64 },
    #[error("the truncated state has term {stored} at entry {index}, but the entry itself has {found}")]
    BoundaryTerm { index: u64, stored: u64, found: u64 },
    #[error(
        "its HardState has term {term}, but its last entry has {last}: the HardState is older than the log"
    )]
    HardStateBehind { term: u64, last: u64 },
    #[error(
        "its HardState says that entry {commit} is committed, but its log goes from {first} to {last}; {HINT}"
    )]
    Commit { commit: u64, first: u64, last: u64 },
    #[error("the last index stored with its HardState is {stored}, but its log ends at {last}")]
    LastIndex { stored: u64, last: u64 },
    #[error("its members are unknown: give --conf-state-key, or --voters with --learners")]
    NoMembers,
    #[error("its members are invalid: {0}")]
    Members(&'static str),
    #[error(
        "members change at entry {change}, and it is unknown whether the given members are those before or after it: \
         give --conf-state-index"
    )]
    MembersUnclear { change: u64 },
    #[error(
        "members are given for entry {index}, but it must be a committed entry, from {lowest} to {commit}"
    )]
    MembersIndex { index: u64, lowest: u64, commit: u64 },
}

const HINT: &str =
    "raft would not start with that. If all entries were compacted, --truncated-state-key says up to which";
