//! Addresses in the log.
//!
//! The log is one endless sequence of bytes; an [`Lsn`] is an address in it. Segment files are windows on that
//! sequence: a segment that begins at LSN `b` keeps the byte at LSN `l` at a fixed distance from `l - b` in its file,
//! so an LSN finds its bytes without an index. LSNs only rise; there may be unused addresses between two segments.

use std::fmt;

/// A log sequence number: the byte address of a record, a block or the end of the log.
///
/// LSNs order records as they were committed. They are addresses, not counts: neighbouring records differ by the size
/// of the first one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// The first address of every log.
    pub const ZERO: Lsn = Lsn(0);
    /// An address that no log reaches.
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// The address with this raw value, as returned by [`Lsn::get`].
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Lsn(raw)
    }

    /// The raw value.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on; stays at [`Lsn::MAX`] instead of wrapping.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Lsn(self.0.saturating_add(bytes))
    }

    /// Number of bytes from `base` to `self`; `base` must not be higher.
    #[inline]
    pub(crate) fn since(self, base: Lsn) -> u64 {
        assert!(base.0 <= self.0, "LSN {self} lies before {base}");
        self.0 - base.0
    }

    /// Number of bytes from `base` to `self`, or `None` if `self` is lower.
    #[must_use]
    pub const fn distance_from(self, base: Lsn) -> Option<u64> {
        self.0.checked_sub(base.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lsn({})", self.0)
    }
}

/// The number of a segment. It rises by at least one with each segment of a log and is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentId(u64);

impl SegmentId {
    /// The segment with this number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        SegmentId(raw)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        SegmentId(self.0.saturating_add(1))
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a program attaches to a record besides its payload: a kind and three numbers with a meaning of its own.
///
/// The label is part of the record's header and protected by the header's checksum, separate from the payload's. A
/// record with a damaged payload still says what it was, and errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Label {
    /// The kind of record, in the writer's own numbering.
    pub kind: u8,
    /// Which of the logical logs sharing this log it belongs to.
    pub stream: u64,
    /// Its number in that stream.
    pub sequence: u64,
    /// Another number, opaque to the log.
    pub extra: u64,
}

/// The range of sequence numbers of one stream affected by damage, as far as surviving record headers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRange {
    /// The stream ([`Label::stream`]).
    pub stream: u64,
    /// The lowest sequence number seen there.
    pub first: u64,
    /// The highest sequence number seen there.
    pub last: u64,
}
