//! The superblock: what must be known before the first segment is read.
//!
//! ```text
//! file "superblock": two slots of 4096 bytes, each
//!  0  u32 checksum of 4..88
//!  4  u32 magic "SWSB"
//!  8  u32 format version
//! 12  u32 1 = the log has an owner
//! 16  [16] log uuid
//! 32  u64 sequence of this write
//! 40  u64 oldest segment that is kept
//! 48  u64 newest segment that has a durable block, not below the oldest; 0 = none yet
//! 56  u64 durable LSN
//! 64  u64 owner
//! 72  u64 segment that was made ready last, 0 = none
//! 80  u64 its first LSN
//! 88  zero to the end of the slot
//! ```
//!
//! A segment is named here as ready before its first block is written: whatever happens to its file afterwards, it
//! existed. Its generation page names the one prepared before it.
//!
//! A change writes the second slot, syncs, writes the first with the same content, and syncs. A torn write leaves the
//! other slot intact, and one slot that goes bad later hides nothing. The slot with the higher sequence number
//! counts.

use byteorder::{ByteOrder as _, LittleEndian as LE};

use super::{Invalid, PAGE, VERSION, check_page, checksum, is_zero};
use crate::error::LogUuid;
use crate::lsn::{Lsn, SegmentId};

/// The superblock's file name.
pub const FILE_NAME: &str = "superblock";

const MAGIC: u32 = u32::from_le_bytes(*b"SWSB");
const LEN: usize = 88;

/// The content of the superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The log's identity.
    pub uuid: LogUuid,
    /// Rises with each write.
    pub sequence: u64,
    /// The oldest segment that is kept; those before it may be gone.
    pub oldest: SegmentId,
    /// The newest segment that is known to have a durable block.
    pub newest: Option<SegmentId>,
    /// Everything below is durable.
    pub durable: Lsn,
    /// The owner that the directory is pinned to.
    pub owner: Option<u64>,
    /// The segment prepared last, which may be in use by now: its number and its first LSN. When this was written its
    /// file was durable and complete except for blocks and header page.
    pub ready: Option<(SegmentId, Lsn)>,
}

impl Superblock {
    /// The initial content for a new log.
    #[must_use]
    pub fn of_new_log(uuid: LogUuid) -> Self {
        Superblock {
            uuid,
            sequence: 1,
            oldest: SegmentId::new(1),
            newest: None,
            durable: Lsn::ZERO,
            owner: None,
            ready: None,
        }
    }

    /// Encodes one slot.
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        LE::write_u32(&mut page[4..8], MAGIC);
        LE::write_u32(&mut page[8..12], VERSION);
        LE::write_u32(&mut page[12..16], u32::from(self.owner.is_some()));
        page[16..32].copy_from_slice(&self.uuid.0);
        LE::write_u64(&mut page[32..40], self.sequence);
        LE::write_u64(&mut page[40..48], self.oldest.get());
        LE::write_u64(&mut page[48..56], self.newest.map_or(0, SegmentId::get));
        LE::write_u64(&mut page[56..64], self.durable.get());
        LE::write_u64(&mut page[64..72], self.owner.unwrap_or(0));
        let (ready, ready_first) = self.ready.unwrap_or_default();
        LE::write_u64(&mut page[72..80], ready.get());
        LE::write_u64(&mut page[80..88], ready_first.get());
        let crc = checksum("superblock", &page[4..LEN]);
        LE::write_u32(&mut page[..4], crc);
        page
    }

    /// Decodes a slot.
    ///
    /// # Errors
    /// Why it is not valid.
    pub fn decode(page: &[u8; PAGE]) -> Result<Self, Invalid> {
        let uuid = check_page(page, "superblock", MAGIC, LEN)?;
        let (flag, owner) = (LE::read_u32(&page[12..16]), LE::read_u64(&page[64..72]));
        let newest = LE::read_u64(&page[48..56]);
        let (ready, ready_first) = (LE::read_u64(&page[72..80]), LE::read_u64(&page[80..88]));
        let oldest = LE::read_u64(&page[40..48]);
        let without = (flag == 0 && owner != 0) || (ready == 0 && ready_first != 0);
        // The newest segment is never released, so no log writes one below its oldest.
        let below = newest != 0 && newest < oldest;
        if flag > 1 || without || below || !is_zero(&page[88..]) {
            return Err(Invalid::Field);
        }
        Ok(Superblock {
            uuid,
            sequence: LE::read_u64(&page[32..40]),
            oldest: SegmentId::new(oldest),
            newest: (newest != 0).then(|| SegmentId::new(newest)),
            durable: Lsn::new(LE::read_u64(&page[56..64])),
            owner: (flag == 1).then_some(owner),
            ready: (ready != 0).then(|| (SegmentId::new(ready), Lsn::new(ready_first))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_counts() {
        let sb = Superblock {
            uuid: LogUuid([3; 16]),
            sequence: 9,
            oldest: SegmentId::new(2),
            newest: Some(SegmentId::new(5)),
            durable: Lsn::new(1 << 40),
            owner: Some(0),
            ready: Some((SegmentId::new(7), Lsn::new(1 << 41))),
        };
        let page = sb.encode();
        assert_eq!(Superblock::decode(&page), Ok(sb));
        for bit in 0..PAGE * 8 {
            let mut p = page;
            p[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&p).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newest_segment_below_the_oldest_is_not_a_superblock() {
        let of = |oldest, newest| Superblock {
            oldest: SegmentId::new(oldest),
            newest: Some(SegmentId::new(newest)),
            ..Superblock::of_new_log(LogUuid([3; 16]))
        };
        assert_eq!(Superblock::decode(&of(5, 5).encode()), Ok(of(5, 5)));
        assert_eq!(Superblock::decode(&of(6, 5).encode()), Err(Invalid::Field));
    }
}
