//! Blocks: what one group commit writes, and the unit of atomicity.
//!
//! ```text
//! block header, 40 bytes, at a multiple of the segment's block align
//!  0  u32 checksum of 4..40, sealed at the block's LSN
//!  4  u16 magic "SB"
//!  6  u8  kind: 1 = data, 2 = marker
//!  7  u8  zero
//!  8  u64 LSN of this block
//! 16  u64 durable LSN when this block was written: all below was on the device
//! 24  u32 body length in bytes (the records, without this header and the padding after them)
//! 28  u32 number of records
//! 32  u32 digest of the block before (its checksum field); 0 when the log has none
//! 36  u32 zero
//! 40  records, then zeros up to the next multiple of the block align
//! ```
//!
//! A block needs no checksum over its records: each record's header has its own, sealed with the address, and no
//! address is written twice in one generation of a file. A **marker block** has no records. It is written when the
//! log falls idle or is closed, so that its durable LSN proves the preceding block.

use byteorder::{ByteOrder as _, LittleEndian as LE};

use super::{Identity, Invalid, align_up, checksum, is_zero};
use crate::lsn::Lsn;

/// The size of a block header in bytes.
pub const BLOCK_HEADER: usize = 40;

const MAGIC: u16 = u16::from_le_bytes(*b"SB");

/// The purpose of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Holds records.
    Data,
    /// Holds no records; proves that everything before it is durable.
    Marker,
}

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// The purpose of the block.
    pub kind: BlockKind,
    /// Its address.
    pub lsn: Lsn,
    /// Everything below was durable when this block was written.
    pub durable: Lsn,
    /// Size in bytes of the records after the header.
    pub body_len: u32,
    /// Number of records.
    pub records: u32,
    /// The digest of the preceding block.
    pub previous: u32,
}

impl BlockHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self, identity: &Identity) -> [u8; BLOCK_HEADER] {
        let mut b = [0; BLOCK_HEADER];
        LE::write_u16(&mut b[4..6], MAGIC);
        b[6] = match self.kind {
            BlockKind::Data => 1,
            BlockKind::Marker => 2,
        };
        LE::write_u64(&mut b[8..16], self.lsn.get());
        LE::write_u64(&mut b[16..24], self.durable.get());
        LE::write_u32(&mut b[24..28], self.body_len);
        LE::write_u32(&mut b[28..32], self.records);
        LE::write_u32(&mut b[32..36], self.previous);
        let crc = checksum("block", &b[4..]) ^ identity.seal(self.lsn);
        LE::write_u32(&mut b[..4], crc);
        b
    }

    /// Decodes the header at `lsn`.
    ///
    /// # Errors
    /// Why these bytes are not a block header of this generation at this address.
    pub fn decode(b: &[u8; BLOCK_HEADER], identity: &Identity, lsn: Lsn) -> Result<Self, Invalid> {
        // The cheap comparisons come first: a search for blocks calls this for every possible position.
        if LE::read_u16(&b[4..6]) != MAGIC || LE::read_u64(&b[8..16]) != lsn.get() {
            return Err(if is_zero(b) { Invalid::Unwritten } else { Invalid::Checksum });
        }
        if LE::read_u32(&b[..4]) != checksum("block", &b[4..]) ^ identity.seal(lsn) {
            return Err(Invalid::Checksum);
        }
        let header = BlockHeader {
            kind: match b[6] {
                1 => BlockKind::Data,
                2 => BlockKind::Marker,
                _ => return Err(Invalid::Field),
            },
            lsn,
            durable: Lsn::new(LE::read_u64(&b[16..24])),
            body_len: LE::read_u32(&b[24..28]),
            records: LE::read_u32(&b[28..32]),
            previous: LE::read_u32(&b[32..36]),
        };
        let known = b[7] == 0
            && is_zero(&b[36..])
            && header.durable <= lsn
            && header.body_len.is_multiple_of(8)
            && (header.kind == BlockKind::Data) == (header.records > 0)
            && (header.records == 0) == (header.body_len == 0);
        if known { Ok(header) } else { Err(Invalid::Field) }
    }

    /// What the next block stores of this one: the checksum field of the encoded header.
    #[must_use]
    pub fn digest(encoded: &[u8; BLOCK_HEADER]) -> u32 {
        LE::read_u32(&encoded[..4])
    }

    /// The block's size in the log, padding included.
    #[must_use]
    pub fn padded_len(&self, block_align: u32) -> u64 {
        align_up(BLOCK_HEADER as u64 + u64::from(self.body_len), u64::from(block_align))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LogUuid;

    #[test]
    fn every_bit_counts() {
        let identity = Identity::new(LogUuid([5; 16]), 77);
        let header = BlockHeader {
            kind: BlockKind::Data,
            lsn: Lsn::new(4096),
            durable: Lsn::new(4096),
            body_len: 64,
            records: 2,
            previous: 17,
        };
        let bytes = header.encode(&identity);
        assert_eq!(BlockHeader::decode(&bytes, &identity, header.lsn), Ok(header));
        for bit in 0..BLOCK_HEADER * 8 {
            let mut b = bytes;
            b[bit / 8] ^= 1 << (bit % 8);
            assert!(BlockHeader::decode(&b, &identity, header.lsn).is_err(), "bit {bit}");
        }
        let other_generation = Identity::new(LogUuid([5; 16]), 78);
        assert_eq!(BlockHeader::decode(&bytes, &other_generation, header.lsn), Err(Invalid::Checksum));
        assert_eq!(BlockHeader::decode(&bytes, &identity, Lsn::new(8192)), Err(Invalid::Checksum));
    }

    #[test]
    fn one_zero_field_is_not_unwritten() {
        let identity = Identity::new(LogUuid([5; 16]), 77);
        let header = BlockHeader {
            kind: BlockKind::Marker,
            lsn: Lsn::new(4096),
            durable: Lsn::new(4096),
            body_len: 0,
            records: 0,
            previous: 17,
        };
        for range in [0..4, 4..8, 8..16, 16..24] {
            let mut b = header.encode(&identity);
            b[range.clone()].fill(0);
            assert_eq!(BlockHeader::decode(&b, &identity, header.lsn), Err(Invalid::Checksum), "{range:?}");
        }
        assert_eq!(BlockHeader::decode(&[0; BLOCK_HEADER], &identity, header.lsn), Err(Invalid::Unwritten));
    }
}
