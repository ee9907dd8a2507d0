//! Addresses in the log.
//!
//! The log is one endless run of bytes; an [`Lsn`] is an address in it. Segment files are windows on that run: a
//! segment that begins at LSN `b` keeps the byte at LSN `l` at a fixed distance from `l - b` in its file, so an LSN
//! finds its bytes with no index. LSNs only rise; between two segments there may be addresses that hold nothing.

use std::fmt;

/// A log sequence number: the byte address of a record, a block or the end of the log.
///
/// LSNs order records as they were committed. They are addresses, not counts: two neighbouring records differ by the
/// bytes that the first one takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// The first address of every log.
    pub const ZERO: Lsn = Lsn(0);
    /// An address that no log reaches.
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// The address with this raw value, as [`Lsn::get`] gave it.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Lsn(raw)
    }

    /// The raw value.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on; stays at [`Lsn::MAX`] rather than wrap.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Lsn(self.0.saturating_add(bytes))
    }

    /// How many bytes `self` lies beyond `base`, which is not behind it.
    #[inline]
    pub(crate) fn since(self, base: Lsn) -> u64 {
        assert!(base.0 <= self.0, "LSN {self} lies before {base}");
        self.0 - base.0
    }

    /// How many bytes `self` lies beyond `base`, or `None` when it lies before it.
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

/// The number of a segment: rises by at least one with each segment of a log and is never used twice.
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

/// What a program writes on a record besides its payload: a kind and three numbers of its own meaning.
///
/// The label stands in the record's header, under the header's checksum, apart from the payload's. A record whose
/// payload is damaged still says what it was, and errors name it. The Raft layer keeps group, index and term here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Label {
    /// What sort of record this is, in the writer's own numbering.
    pub kind: u8,
    /// Which of the many logical logs that share this one it belongs to.
    pub stream: u64,
    /// Its number in that stream.
    pub sequence: u64,
    /// A further number, opaque to the log.
    pub extra: u64,
}

/// The sequence numbers of one stream that damage touches, as far as surviving record headers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRange {
    /// The stream ([`Label::stream`]).
    pub stream: u64,
    /// The lowest sequence number seen there.
    pub first: u64,
    /// The highest sequence number seen there.
    pub last: u64,
}
