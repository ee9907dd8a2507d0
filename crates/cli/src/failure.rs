//! Why a command ended early, and its exit status.

use std::fmt;

/// Why a command ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The log is damaged: status 1.
    Damaged(String),
    /// The command could not be carried out: status 2.
    Undone(String),
}

impl Failure {
    pub(crate) fn status(&self) -> u8 {
        match self {
            Failure::Damaged(_) => 1,
            Failure::Undone(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Damaged(why) | Failure::Undone(why)) = self;
        f.write_str(why)
    }
}

impl From<seawall::Error> for Failure {
    fn from(e: seawall::Error) -> Self {
        match e {
            seawall::Error::Corruption(c) => Failure::Damaged(c.to_string()),
            other => Failure::Undone(other.to_string()),
        }
    }
}

impl From<seawall::groups::Error> for Failure {
    fn from(e: seawall::groups::Error) -> Self {
        use seawall::groups::Error;
        match e {
            Error::Log(e) => e.into(),
            // The records do not form complete groups: an open would refuse them.
            e @ (Error::Incomplete { .. } | Error::Content { .. }) => Failure::Damaged(e.to_string()),
            other => Failure::Undone(other.to_string()),
        }
    }
}

#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
impl From<seawall::raft::Error> for Failure {
    fn from(e: seawall::raft::Error) -> Self {
        use seawall::raft::Error;
        match e {
            Error::Log(e) => e.into(),
            e @ (Error::Incomplete { .. } | Error::Content { .. }) => Failure::Damaged(e.to_string()),
            other => Failure::Undone(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Failure::Undone(e.to_string())
    }
}
