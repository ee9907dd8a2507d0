//! Positions of records.

use crate::Lsn;

/// A record's position and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) lsn: Lsn,
    pub(crate) bytes: u32,
}
