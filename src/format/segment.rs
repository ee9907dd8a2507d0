//! The two pages before a segment's data, and the segment's file name.
//!
//! The **generation page** is written and synced before the file can become part of the log. It fixes the salt that
//! is mixed into all checksums of this generation. The **header page** is written together with the segment's first
//! block: a file with a valid header page is part of the log, one without is an unused spare. They are separate
//! sectors because the first is durable long before the second is written.
//!
//! ```text
//! generation page, at 0                        header page, at 4096
//!  0  u32 checksum of 4..80                      0  u32 checksum of 4..64, sealed at first LSN
//!  4  u32 magic "SWLF"                           4  u32 magic "SWSH"
//!  8  u32 format version                         8  u64 segment id
//! 12  u32 block align, bytes                    16  u64 first LSN
//! 16  [16] log uuid                             24  u64 salt (again: the page is self-contained)
//! 32  u64 segment id                            32  u64 predecessor's id, 0 = none
//! 40  u64 salt                                  40  u64 predecessor's end LSN
//! 48  u64 first LSN                             48  u32 predecessor's last digest
//! 56  u64 capacity: bytes for blocks            52  u32 zero
//! 64  u8  1 = had an earlier generation         56  u64 durable LSN when it was written
//! 65  [7] zero                                  64  zero to the end of the page
//! 72  u64 segment made ready before, 0 = none
//! 80  zero to the end of the page
//! ```

use byteorder::{ByteOrder as _, LittleEndian as LE};

use super::{DATA_START, Identity, Invalid, PAGE, VERSION, check_page, checksum, is_zero};
use crate::error::LogUuid;
use crate::lsn::{Lsn, SegmentId};

const GENERATION_MAGIC: u32 = u32::from_le_bytes(*b"SWLF");
const HEADER_MAGIC: u32 = u32::from_le_bytes(*b"SWSH");
const GENERATION_LEN: usize = 80;
const HEADER_LEN: usize = 64;

/// The identity of a file from when it is prepared until it is removed or recycled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The log that the file belongs to.
    pub uuid: LogUuid,
    /// The segment's number.
    pub id: SegmentId,
    /// Drawn anew for this generation.
    pub salt: u64,
    /// The address of the first byte of data.
    pub first_lsn: Lsn,
    /// Bytes of blocks that the file was filled for.
    pub capacity: u64,
    /// Alignment of block addresses relative to the first LSN.
    pub block_align: u32,
    /// Whether unwritten places may hold bytes of an earlier generation.
    pub recycled: bool,
    /// The segment prepared before this one. It existed when this one was named in the superblock.
    pub before: Option<SegmentId>,
}

impl Generation {
    /// The identity that this generation's checksums are sealed with.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::new(self.uuid, self.salt)
    }

    /// Length of the file in bytes until it is sealed.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        // Saturates because forged pages may contain anything.
        DATA_START.saturating_add(self.capacity)
    }

    /// Encodes the page.
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        LE::write_u32(&mut page[4..8], GENERATION_MAGIC);
        LE::write_u32(&mut page[8..12], VERSION);
        LE::write_u32(&mut page[12..16], self.block_align);
        page[16..32].copy_from_slice(&self.uuid.0);
        LE::write_u64(&mut page[32..40], self.id.get());
        LE::write_u64(&mut page[40..48], self.salt);
        LE::write_u64(&mut page[48..56], self.first_lsn.get());
        LE::write_u64(&mut page[56..64], self.capacity);
        page[64] = u8::from(self.recycled);
        LE::write_u64(&mut page[72..80], self.before.map_or(0, SegmentId::get));
        let crc = checksum("generation", &page[4..GENERATION_LEN]);
        LE::write_u32(&mut page[..4], crc);
        page
    }

    /// Decodes the generation from a page.
    ///
    /// # Errors
    /// Why this is not such a page.
    pub fn decode(page: &[u8; PAGE]) -> Result<Self, Invalid> {
        let uuid = check_page(page, "generation", GENERATION_MAGIC, GENERATION_LEN)?;
        let generation = Generation {
            uuid,
            block_align: LE::read_u32(&page[12..16]),
            id: SegmentId::new(LE::read_u64(&page[32..40])),
            salt: LE::read_u64(&page[40..48]),
            first_lsn: Lsn::new(LE::read_u64(&page[48..56])),
            capacity: LE::read_u64(&page[56..64]),
            recycled: page[64] == 1,
            before: Some(SegmentId::new(LE::read_u64(&page[72..80]))).filter(|id| id.get() != 0),
        };
        let known = matches!(generation.block_align, 8..=4096)
            && generation.block_align.is_power_of_two()
            && page[64] <= 1
            && is_zero(&page[65..72])
            && is_zero(&page[80..])
            && generation.id.get() != 0
            && generation.before.is_none_or(|before| before < generation.id)
            && generation.capacity.is_multiple_of(u64::from(generation.block_align))
            && generation.first_lsn.get().checked_add(generation.capacity).is_some();
        if known { Ok(generation) } else { Err(Invalid::Field) }
    }
}

/// Whether the first two pages of a file are those of a segment: written, damaged, or about to be written. Anything
/// else is foreign.
#[must_use]
pub fn looks_like_a_segment(generation: &[u8; PAGE], header: &[u8; PAGE]) -> bool {
    let has = |page: &[u8; PAGE], magic| LE::read_u32(&page[4..8]) == magic;
    is_zero(generation) || has(generation, GENERATION_MAGIC) || has(header, HEADER_MAGIC)
}

/// Whether segment `id` may end at `end`. Numbers and addresses saturate instead of wrapping, so values near the end
/// of the 64 bits would not be distinct; more than a segment of addresses is kept free. The last `reserve` numbers
/// are not used: writing leaves some for opening the log again.
#[must_use]
pub fn has_room(id: SegmentId, end: Lsn, reserve: u64) -> bool {
    id.get() < u64::MAX - reserve && end.get() < u64::MAX - (1 << 33)
}

/// Where a segment ended, as recorded by its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// The segment.
    pub id: SegmentId,
    /// The address after its last block.
    pub end: Lsn,
    /// The digest of its last block ([`super::block::BlockHeader::digest`]); 0 if it has none.
    pub digest: u32,
}

/// The header that makes a file part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The segment's number.
    pub id: SegmentId,
    /// The address of its first byte of data.
    pub first_lsn: Lsn,
    /// The salt of the generation that the page was written in.
    pub salt: u64,
    /// The segment before it, if the log has one.
    pub predecessor: Option<Predecessor>,
    /// Everything below was durable when this page was written.
    pub durable: Lsn,
}

impl SegmentHeader {
    /// The digest that the segment's first block must name as that of its predecessor.
    #[must_use]
    pub fn previous_digest(&self) -> u32 {
        self.predecessor.map_or(0, |p| p.digest)
    }

    /// Encodes the page.
    #[must_use]
    pub fn encode(&self, uuid: LogUuid) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        LE::write_u32(&mut page[4..8], HEADER_MAGIC);
        LE::write_u64(&mut page[8..16], self.id.get());
        LE::write_u64(&mut page[16..24], self.first_lsn.get());
        LE::write_u64(&mut page[24..32], self.salt);
        if let Some(p) = self.predecessor {
            LE::write_u64(&mut page[32..40], p.id.get());
            LE::write_u64(&mut page[40..48], p.end.get());
            LE::write_u32(&mut page[48..52], p.digest);
        }
        LE::write_u64(&mut page[56..64], self.durable.get());
        let seal = Identity::new(uuid, self.salt).seal(self.first_lsn);
        let crc = checksum("header", &page[4..HEADER_LEN]) ^ seal;
        LE::write_u32(&mut page[..4], crc);
        page
    }

    /// Decodes the header from a page.
    ///
    /// # Errors
    /// Why this is not such a page of this log.
    pub fn decode(page: &[u8; PAGE], uuid: LogUuid) -> Result<Self, Invalid> {
        if is_zero(page) {
            return Err(Invalid::Unwritten);
        }
        let header = SegmentHeader {
            id: SegmentId::new(LE::read_u64(&page[8..16])),
            first_lsn: Lsn::new(LE::read_u64(&page[16..24])),
            salt: LE::read_u64(&page[24..32]),
            predecessor: match LE::read_u64(&page[32..40]) {
                0 => None,
                id => Some(Predecessor {
                    id: SegmentId::new(id),
                    end: Lsn::new(LE::read_u64(&page[40..48])),
                    digest: LE::read_u32(&page[48..52]),
                }),
            },
            durable: Lsn::new(LE::read_u64(&page[56..64])),
        };
        let seal = Identity::new(uuid, header.salt).seal(header.first_lsn);
        if LE::read_u32(&page[..4]) != checksum("header", &page[4..HEADER_LEN]) ^ seal
            || LE::read_u32(&page[4..8]) != HEADER_MAGIC
        {
            return Err(Invalid::Checksum);
        }
        let known = is_zero(&page[52..56])
            && is_zero(&page[HEADER_LEN..])
            && (header.predecessor.is_some() || is_zero(&page[32..52]))
            // Nothing after the segment's beginning existed when its first block was written.
            && header.durable <= header.first_lsn
            && header.predecessor.is_none_or(|p| p.end <= header.first_lsn);
        if known { Ok(header) } else { Err(Invalid::Field) }
    }
}

/// The name of a segment's file.
#[must_use]
pub fn file_name(id: SegmentId, first_lsn: Lsn) -> String {
    format!("{:020}-{:016x}.seg", id.get(), first_lsn.get())
}

/// The segment that a file name stands for; `None` for any other name.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<(SegmentId, Lsn)> {
    let (id, lsn) = name.strip_suffix(".seg")?.split_once('-')?;
    let parsed = (SegmentId::new(id.parse().ok()?), Lsn::new(u64::from_str_radix(lsn, 16).ok()?));
    // Only the canonical spelling: names with "+1", other leading zeros, or upper case are foreign.
    (file_name(parsed.0, parsed.1) == name && parsed.0.get() != 0).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation() -> Generation {
        Generation {
            uuid: LogUuid(*b"0123456789abcdef"),
            id: SegmentId::new(3),
            salt: 0x1122_3344_5566_7788,
            first_lsn: Lsn::new(8192),
            capacity: 1 << 20,
            block_align: 512,
            recycled: true,
            before: Some(SegmentId::new(1)),
        }
    }

    #[test]
    fn every_bit_of_both_pages_counts() {
        let header = SegmentHeader {
            id: SegmentId::new(3),
            first_lsn: Lsn::new(8192),
            salt: 99,
            predecessor: Some(Predecessor {
                id: SegmentId::new(2),
                end: Lsn::new(8000),
                digest: 0xdead_beef,
            }),
            durable: Lsn::new(8000),
        };
        let uuid = generation().uuid;
        let (generation_page, header_page) = (generation().encode(), header.encode(uuid));
        assert_eq!(Generation::decode(&generation_page), Ok(generation()));
        assert_eq!(SegmentHeader::decode(&header_page, uuid), Ok(header));
        assert!(SegmentHeader::decode(&header_page, LogUuid([9; 16])).is_err());
        for bit in 0..PAGE * 8 {
            let flip = |page: &[u8; PAGE]| {
                let mut p = *page;
                p[bit / 8] ^= 1 << (bit % 8);
                p
            };
            assert!(Generation::decode(&flip(&generation_page)).is_err(), "generation bit {bit}");
            assert!(SegmentHeader::decode(&flip(&header_page), uuid).is_err(), "header bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_not_damage() {
        let mut page = generation().encode();
        LE::write_u32(&mut page[8..12], VERSION + 1);
        let crc = checksum("generation", &page[4..GENERATION_LEN]);
        LE::write_u32(&mut page[..4], crc);
        assert_eq!(Generation::decode(&page), Err(Invalid::Version(VERSION + 1)));
    }

    #[test]
    fn names_have_one_spelling() {
        let name = file_name(SegmentId::new(12), Lsn::new(0xabc));
        assert_eq!(parse_file_name(&name), Some((SegmentId::new(12), Lsn::new(0xabc))));
        for other in [
            "12-abc.seg",
            "00000000000000000012-0000000000000ABC.seg",
            "00000000000000000000-0000000000000abc.seg",
            "superblock",
            "",
            "+0000000000000000012-0000000000000abc.seg",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
