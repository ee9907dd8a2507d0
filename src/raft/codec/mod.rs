//! Encoding of entries and of the fields of a group's state.
//!
//! ```text
//! entry kind  0 normal, 1 ConfChange, 2 ConfChangeV2; plus 4 when a context precedes the data, see `entry`
//!
//! field   set      index         term          bytes
//! 0       log      commit        term          vote u64                  HardState
//! 4       purging  applied       its term      none
//! 5       purging  holds from    0             ConfState, see `conf`
//! 8       itself   snapshot      its term      serial u64                the newest snapshot
//! ```
//!
//! The bytes are the same for both codecs of the raft crate.

pub(crate) mod conf;
pub(crate) mod entry;
pub(crate) mod fields;
