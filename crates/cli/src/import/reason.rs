//! Why a group cannot be imported as it is, and what would help.

use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Reason {
    #[error("it has nothing under the HardState's key; without its vote a node could vote twice in a term")]
    NoHardState,
    #[error("what is under the {what}'s key is none: {why}")]
    Value { what: &'static str, why: String },
    #[error(
        "entry {index}: {why}; only entries of the raft crate (eraftpb.Entry of protobuf 2) can be imported"
    )]
    NotEntry { index: u64, why: String },
    #[error("the term falls from {before} to {term} at entry {index}: that is no Raft log")]
    TermFalls { index: u64, term: u64, before: u64 },
    #[error(
        "its log begins at entry {first}, and the term of the entry before that is not known: raft needs it; \
         --truncated-state-key names where the program keeps it"
    )]
    NoBoundary { first: u64 },
    #[error("the truncated state ends at entry {boundary}, and its log begins at entry {first} only")]
    Gap { boundary: u64, first: u64 },
    #[error("the truncated state has term {stored} at entry {index}, the entry itself has {found}")]
    BoundaryTerm { index: u64, stored: u64, found: u64 },
    #[error(
        "its HardState is of term {term}, and its last entry of {last}: the HardState is older than the log"
    )]
    HardStateBehind { term: u64, last: u64 },
    #[error(
        "its HardState says that entry {commit} is committed, its log goes from {first} to {last}; {HINT}"
    )]
    Commit { commit: u64, first: u64, last: u64 },
    #[error("the last index stored with its HardState is {stored}, its log ends at {last}")]
    LastIndex { stored: u64, last: u64 },
    #[error("its members are not known: --conf-state-key, or --voters with --learners")]
    NoMembers,
    #[error("its members make no sense: {0}")]
    Members(&'static str),
    #[error(
        "members change at entry {change}, and it is not known whether the members given are those before or after it: \
         --conf-state-index"
    )]
    MembersUnclear { change: u64 },
    #[error(
        "members are given for entry {index}; that has to be one from {lowest} to {commit}, which are committed"
    )]
    MembersIndex { index: u64, lowest: u64, commit: u64 },
}

const HINT: &str =
    "raft would not start on that. Where all entries were compacted, --truncated-state-key says up to which";
