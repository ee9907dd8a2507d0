//! Numbers of bytes, between a file (`u64`), memory (`usize`) and a header's field (`u32`).
//!
//! Conversions stand here and nowhere else, so that none of them is answered by a plausible value.

// A segment is mapped whole, and lengths in footers and blocks may be larger than 32 bits can say.
const _: () = assert!(usize::BITS >= u64::BITS, "seawall needs a 64-bit target");

/// A number of bytes as one of memory: the same, on every target that this crate builds for.
#[inline]
pub(crate) const fn in_memory(bytes: u64) -> usize {
    #[allow(clippy::cast_possible_truncation)] // see above
    let bytes = bytes as usize;
    bytes
}

/// At most `most` of the bytes that are left.
#[inline]
pub(crate) fn at_most(most: usize, left: u64) -> usize {
    in_memory(left.min(most as u64))
}

/// The length of something that the log's limits keep below 4 GiB, as headers have it.
#[inline]
pub(crate) fn in_header(len: usize) -> u32 {
    assert!(u32::try_from(len).is_ok(), "{len} bytes are over the limit of what a header can say");
    #[allow(clippy::cast_possible_truncation)] // just asserted
    let len = len as u32;
    len
}
