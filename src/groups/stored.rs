//! Where records lie.

use crate::Lsn;

/// Where a record lies, and how many bytes it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) lsn: Lsn,
    pub(crate) bytes: u32,
}
