//! Footers: the description of a sealed segment, so that opening the log need not read its blocks.
//!
//! ```text
//! footer, after the last block, at a multiple of 8
//!  0  u32 checksum of 4..72, sealed at the end LSN
//!  4  u32 magic "SWFT"
//!  8  u64 segment id
//! 16  u64 end LSN
//! 24  u32 digest of the last block
//! 28  u32 checksum of the summary's head
//! 32  u32 length of the head in bytes
//! 36  u32 checksum of the summary's body
//! 40  u64 length of the body in bytes
//! 48  u64 number of records
//! 56  u64 number of blocks, marker blocks included
//! 64  u64 zero
//! 72  the head, zeros up to a multiple of 8, the body
//! ```
//!
//! The head is read and verified when the log is opened. The body is used in place. Only a full verification checks
//! its checksum, so a reader that uses a part of it must be able to detect a wrong one from the data it leads to. The
//! body is durable before the fixed part is written, so a crash never leaves a footer with half a body.
//!
//! A footer is written only after the successor's header and first block are durable. So the newest segment has none,
//! and a torn footer is never taken for a torn block.

use byteorder::{ByteOrder as _, LittleEndian as LE};

use super::{Identity, Invalid, align_up, checksum, is_zero};
use crate::lsn::{Lsn, SegmentId};

/// The size of a footer without the summary, in bytes.
pub const FOOTER_HEADER: usize = 72;

const MAGIC: u32 = u32::from_le_bytes(*b"SWFT");

/// The fixed part of a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The segment.
    pub id: SegmentId,
    /// The address after its last block.
    pub end: Lsn,
    /// The digest of its last block.
    pub digest: u32,
    /// The checksum of the summary's head.
    pub head_crc: u32,
    /// The length of the summary's head.
    pub head_len: u32,
    /// The checksum of the summary's body.
    pub body_crc: u32,
    /// The length of the summary's body.
    pub body_len: u64,
    /// Number of records in the segment.
    pub records: u64,
    /// Number of blocks in the segment.
    pub blocks: u64,
}

impl Footer {
    /// The fixed part's bytes.
    #[must_use]
    pub fn encode(&self, identity: &Identity) -> [u8; FOOTER_HEADER] {
        let mut b = [0; FOOTER_HEADER];
        LE::write_u32(&mut b[4..8], MAGIC);
        LE::write_u64(&mut b[8..16], self.id.get());
        LE::write_u64(&mut b[16..24], self.end.get());
        LE::write_u32(&mut b[24..28], self.digest);
        LE::write_u32(&mut b[28..32], self.head_crc);
        LE::write_u32(&mut b[32..36], self.head_len);
        LE::write_u32(&mut b[36..40], self.body_crc);
        LE::write_u64(&mut b[40..48], self.body_len);
        LE::write_u64(&mut b[48..56], self.records);
        LE::write_u64(&mut b[56..64], self.blocks);
        let crc = checksum("footer", &b[4..]) ^ identity.seal(self.end);
        LE::write_u32(&mut b[..4], crc);
        b
    }

    /// Decodes the footer of segment `id` that ends at `end`.
    ///
    /// # Errors
    /// Why these bytes are not that footer.
    pub fn decode(
        b: &[u8; FOOTER_HEADER],
        identity: &Identity,
        id: SegmentId,
        end: Lsn,
    ) -> Result<Self, Invalid> {
        // The cheap comparison comes first: a search for footers calls this for every possible position.
        if LE::read_u32(&b[4..8]) != MAGIC {
            return Err(if is_zero(b) { Invalid::Unwritten } else { Invalid::Checksum });
        }
        if LE::read_u32(&b[..4]) != checksum("footer", &b[4..]) ^ identity.seal(end) {
            return Err(Invalid::Checksum);
        }
        let footer = Footer {
            id: SegmentId::new(LE::read_u64(&b[8..16])),
            end: Lsn::new(LE::read_u64(&b[16..24])),
            digest: LE::read_u32(&b[24..28]),
            head_crc: LE::read_u32(&b[28..32]),
            head_len: LE::read_u32(&b[32..36]),
            body_crc: LE::read_u32(&b[36..40]),
            body_len: LE::read_u64(&b[40..48]),
            records: LE::read_u64(&b[48..56]),
            blocks: LE::read_u64(&b[56..64]),
        };
        if footer.id == id && footer.end == end && is_zero(&b[64..]) {
            Ok(footer)
        } else {
            Err(Invalid::Field)
        }
    }

    /// Offset of the body from the footer's first byte.
    #[must_use]
    pub fn body_offset(&self) -> u64 {
        align_up(FOOTER_HEADER as u64 + u64::from(self.head_len), 8)
    }

    /// The footer's size, summary included.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        self.body_offset().saturating_add(self.body_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LogUuid;

    #[test]
    fn every_bit_counts() {
        let identity = Identity::new(LogUuid([5; 16]), 77);
        let footer = Footer {
            id: SegmentId::new(4),
            end: Lsn::new(123_456),
            digest: 1,
            head_crc: 2,
            head_len: 3,
            body_crc: 4,
            body_len: 5,
            records: 6,
            blocks: 7,
        };
        let bytes = footer.encode(&identity);
        assert_eq!(Footer::decode(&bytes, &identity, footer.id, footer.end), Ok(footer));
        assert_eq!(footer.total_len(), 80 + 5);
        for bit in 0..FOOTER_HEADER * 8 {
            let mut b = bytes;
            b[bit / 8] ^= 1 << (bit % 8);
            assert!(Footer::decode(&b, &identity, footer.id, footer.end).is_err(), "bit {bit}");
        }
        assert!(Footer::decode(&bytes, &identity, SegmentId::new(5), footer.end).is_err());
        assert!(Footer::decode(&bytes, &identity, footer.id, Lsn::new(8)).is_err());
    }
}
