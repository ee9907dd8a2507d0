//! Byte counts: conversions between a file (`u64`), memory (`usize`) and a header field (`u32`).
//!
//! All conversions are here, so that none of them silently yields a plausible value.

// A segment is mapped whole, and lengths in footers and blocks may exceed 32 bits.
const _: () = assert!(usize::BITS >= u64::BITS, "seawall needs a 64-bit target");

/// A byte count in memory: lossless on every supported target.
#[inline]
pub(crate) const fn in_memory(bytes: u64) -> usize {
    #[allow(clippy::cast_possible_truncation)] // see above
    let bytes = bytes as usize;
    bytes
}

/// At most `most` of the remaining bytes.
#[inline]
pub(crate) fn at_most(most: usize, left: u64) -> usize {
    in_memory(left.min(most as u64))
}

/// A length for a header field. The log's limits keep it below 4 GiB.
#[inline]
pub(crate) fn in_header(len: usize) -> u32 {
    assert!(u32::try_from(len).is_ok(), "{len} bytes do not fit a header field");
    #[allow(clippy::cast_possible_truncation)] // just asserted
    let len = len as u32;
    len
}
