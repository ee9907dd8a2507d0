//! The file format: pure encoding and decoding, no I/O.
//!
//! `docs/FORMAT.md` is the normative text. A log is a directory:
//!
//! ```text
//! superblock                              two slots: the log's identity, its oldest and newest segment
//! 00000000000000000001-0000000000000000.seg
//! 00000000000000000002-0000000003ffe000.seg      <segment id>-<first LSN>.seg
//!
//! a segment file
//! 0            4096        8192                        end
//! +------------+-----------+-------+-------+-- - - ----+----------+
//! | generation | segment   | block | block |    block  | footer   |
//! | page       | header    |       |       |           | (sealed) |
//! +------------+-----------+-------+-------+-- - - ----+----------+
//!                          ^ first LSN; the byte at LSN l lies at 8192 + (l - first LSN)
//! ```
//!
//! Two rules apply throughout. Every field is under a checksum, and every checksum is *sealed*: mixed with the
//! identity of the log, with the file's present generation, and with the address ([`Identity::seal`]), so that the
//! same bytes elsewhere, or from an earlier generation of the file, do not verify. And a header whose bytes are all
//! zero is never valid; "never written" means exactly that the whole header is zero.

pub mod block;
pub mod footer;
pub mod record;
pub mod segment;
pub mod superblock;

use std::sync::LazyLock;

use byteorder::{ByteOrder as _, LittleEndian as LE};

use crate::error::LogUuid;
use crate::lsn::Lsn;

/// The format version that this build writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// Where the data of a segment begins in its file: after the generation page and the header page.
pub const DATA_START: u64 = 2 * PAGE as u64;

/// Size of the pages before the data, and of a superblock slot.
pub const PAGE: usize = 4096;

/// The suffix of a file that is not complete yet: an interrupted open, snapshot or repair may leave it.
pub const TEMPORARY: &str = ".tmp";

/// The part before that suffix in the names that an interrupted undo of a repair leaves.
pub const UNDO: &str = ".undo";

/// Why bytes were not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// All bytes of the header are zero: nothing was ever written here.
    Unwritten,
    /// The checksum does not match, or there are too few bytes.
    Checksum,
    /// The checksum matches, but a field has a value that this version does not know.
    Field,
    /// The checksum matches, but the version is newer.
    Version(u32),
}

/// The identity mixed into every checksum of one generation of a segment file.
///
/// The salt is drawn anew for each generation, so a block left by an earlier generation does not verify even if it
/// has the same position and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    seed: u64,
}

impl Identity {
    /// The identity of the generation with this salt of a file of this log.
    #[must_use]
    pub fn new(uuid: LogUuid, salt: u64) -> Self {
        let raw = u128::from_le_bytes(uuid.0);
        #[allow(clippy::cast_possible_truncation)] // the two halves of the identity
        let (low, high) = (raw as u64, (raw >> 64) as u64);
        Identity { seed: mix(low ^ mix(high ^ mix(salt))) }
    }

    /// The value that a checksum of bytes at `lsn` is XORed with.
    ///
    /// CRC-32 is linear, so a checksum computed without an identity can be bound to one later with a single XOR: a
    /// record is checksummed on its own thread before its address is known.
    #[inline]
    #[must_use]
    pub fn seal(&self, lsn: Lsn) -> u32 {
        let z = mix(self.seed ^ lsn.get());
        #[allow(clippy::cast_possible_truncation)] // the upper half, chosen
        let upper = (z >> 32) as u32;
        upper
    }
}

/// A bijection of 64 bits in which every input bit reaches every output bit (the finaliser of `SplitMix64`).
#[inline]
fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The CRC-32 (IEEE, as in zlib) of `bytes`.
#[inline]
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    // A new hasher queries the processor's features each time, which takes longer than a header's checksum.
    static NEW: LazyLock<crc32fast::Hasher> = LazyLock::new(crc32fast::Hasher::new);
    let mut hasher = NEW.clone();
    hasher.update(bytes);
    hasher.finalize()
}

/// The checksum of a header's fields. `codec` names the header for tests that leave a field out of the checksum.
#[inline]
#[cfg_attr(not(mutation), allow(unused_variables))]
fn checksum(codec: &str, covered: &[u8]) -> u32 {
    #[cfg(mutation)]
    let covered = &crate::mutation::covered(codec, covered);
    crc32(covered)
}

/// `n` rounded up to a multiple of `align`, a power of two.
#[inline]
#[must_use]
pub const fn align_up(n: u64, align: u64) -> u64 {
    n.saturating_add(align - 1) & !(align - 1)
}

/// Checks the common part of a generation page and a superblock slot: a checksum of the first `len` bytes, unsealed
/// because the log's identity is not known yet, a magic number, the version, and the log's UUID, which is returned.
fn check_page(page: &[u8; PAGE], codec: &str, magic: u32, len: usize) -> Result<LogUuid, Invalid> {
    if is_zero(page) {
        return Err(Invalid::Unwritten);
    }
    let (_, covered) = page.split_at(len).0.split_at(4);
    if LE::read_u32(&page[..4]) != checksum(codec, covered) || LE::read_u32(&page[4..8]) != magic {
        return Err(Invalid::Checksum);
    }
    let version = LE::read_u32(&page[8..12]);
    if version != VERSION {
        return Err(Invalid::Version(version));
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&page[16..32]);
    Ok(LogUuid(uuid))
}

/// Whether all bytes are zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<16>();
    chunks.iter().all(|c| u128::from_ne_bytes(*c) == 0) && rest.iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_the_ieee_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn seals_differ_by_log_generation_and_address() {
        let (a, b) = (LogUuid([1; 16]), LogUuid([2; 16]));
        let base = Identity::new(a, 7).seal(Lsn::new(64));
        assert_ne!(base, Identity::new(b, 7).seal(Lsn::new(64)));
        assert_ne!(base, Identity::new(a, 8).seal(Lsn::new(64)));
        assert_ne!(base, Identity::new(a, 7).seal(Lsn::new(72)));
        assert_eq!(base, Identity::new(a, 7).seal(Lsn::new(64)));
    }

    #[test]
    fn zero_means_every_byte() {
        let mut bytes = [0u8; 40];
        assert!(is_zero(&bytes));
        for i in 0..bytes.len() {
            bytes[i] = 1;
            assert!(!is_zero(&bytes), "byte {i}");
            bytes[i] = 0;
        }
    }
}
