//! Each decoder of `seawall::format`, on raw bytes and on bytes with a correct checksum.
//!
//! Whatever decodes must encode to the same bytes: there is only one encoding, and no bit is ignored.

use seawall::error::LogUuid;
use seawall::format::block::{BLOCK_HEADER, BlockHeader};
use seawall::format::footer::{FOOTER_HEADER, Footer};
use seawall::format::record::{PLAIN_HEADER, RecordHeader, encode_unsealed, reseal};
use seawall::format::segment::{Generation, SegmentHeader, file_name, parse_file_name};
use seawall::format::superblock::Superblock;
use seawall::format::{Identity, PAGE, crc32};
use seawall::{Lsn, SegmentId};

use super::cursor::Cursor;

const UUID: LogUuid = LogUuid::from_bytes([7; 16]);

/// One input.
pub fn run(input: &[u8]) {
    let mut input = Cursor::new(input);
    let (kind, signed) = (input.below(7), input.below(4) > 0);
    match kind {
        0 => block(&mut input, signed),
        1 => record(&mut input, signed),
        2 => generation(&mut input, signed),
        3 => segment_header(&mut input, signed),
        4 => footer(&mut input, signed),
        5 => superblock(&mut input, signed),
        _ => name(&mut input),
    }
}

/// `N` bytes, padded with zeros after the input's end.
fn bytes<const N: usize>(input: &mut Cursor<'_>) -> [u8; N] {
    let mut all = [0; N];
    let taken = input.take(N);
    all[..taken.len()].copy_from_slice(taken);
    all
}

fn sign(bytes: &mut [u8], end: usize, seal: u32) {
    let crc = crc32(&bytes[4..end]) ^ seal;
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    Cursor::new(&bytes[at..]).u64()
}

fn block(input: &mut Cursor<'_>, signed: bool) {
    let (identity, lsn) = (Identity::new(UUID, 1), Lsn::new(input.u64()));
    let mut b: [u8; BLOCK_HEADER] = bytes(input);
    if signed {
        b[4..6].copy_from_slice(b"SB");
        b[8..16].copy_from_slice(&lsn.get().to_le_bytes());
        sign(&mut b, BLOCK_HEADER, identity.seal(lsn));
    }
    if let Ok(header) = BlockHeader::decode(&b, &identity, lsn) {
        assert_eq!(header.encode(&identity), b);
        assert!(header.padded_len(512) >= u64::from(header.body_len) + BLOCK_HEADER as u64);
        assert!(BlockHeader::decode(&b, &Identity::new(UUID, 2), lsn).is_err());
        assert!(BlockHeader::decode(&b, &identity, Lsn::new(lsn.get() ^ 512)).is_err());
    }
}

/// A record is encoded and read back; and any bytes are read as one.
fn record(input: &mut Cursor<'_>, signed: bool) {
    let (identity, lsn) = (Identity::new(UUID, 1), Lsn::new(input.u64()));
    let mut raw = input.take(64).to_vec();
    let covered = if raw.get(12) == Some(&2) { 40 } else { PLAIN_HEADER };
    if signed && raw.len() >= covered {
        sign(&mut raw, covered, identity.seal(lsn));
    }
    let Ok(header) = RecordHeader::decode(&raw, &identity, lsn) else { return };
    assert!(header.padded_len() >= u64::from(header.payload_len));
    let payload = input.take(300);
    let mut again = Vec::new();
    encode_unsealed(&mut again, header.label, header.codec, &[payload], payload.len() as u32);
    assert_eq!(reseal(&mut again, lsn, |l| identity.seal(l)), 1);
    let read = RecordHeader::decode(&again, &identity, lsn).expect("an encoded record decodes");
    assert_eq!((read.label, read.payload_len as usize), (header.label, payload.len()));
    assert_eq!(read.padded_len(), again.len() as u64);
    assert_eq!(&again[read.header_len()..][..payload.len()], payload);
    assert_eq!(read.payload_crc, crc32(payload));
    // The header of the input, given the same payload, is the same header.
    if (header.payload_len, header.payload_crc) == (read.payload_len, read.payload_crc) {
        assert_eq!(again[..read.header_len()], raw[..header.header_len()]);
    }
}

fn generation(input: &mut Cursor<'_>, signed: bool) {
    let mut page: [u8; PAGE] = bytes(input);
    if signed {
        page[4..8].copy_from_slice(b"SWLF");
        page[8..12].copy_from_slice(&1u32.to_le_bytes());
        sign(&mut page, 72, 0);
    }
    if let Ok(generation) = Generation::decode(&page) {
        assert_eq!(generation.encode(), page);
    }
}

fn segment_header(input: &mut Cursor<'_>, signed: bool) {
    let mut page: [u8; PAGE] = bytes(input);
    if signed {
        page[4..8].copy_from_slice(b"SWSH");
        let seal = Identity::new(UUID, u64_at(&page, 24)).seal(Lsn::new(u64_at(&page, 16)));
        sign(&mut page, 64, seal);
    }
    if let Ok(header) = SegmentHeader::decode(&page, UUID) {
        assert_eq!(header.encode(UUID), page);
        assert!(SegmentHeader::decode(&page, LogUuid::from_bytes([8; 16])).is_err());
    }
}

fn footer(input: &mut Cursor<'_>, signed: bool) {
    let identity = Identity::new(UUID, 1);
    let mut b: [u8; FOOTER_HEADER] = bytes(input);
    let (id, end) = (SegmentId::new(u64_at(&b, 8)), Lsn::new(u64_at(&b, 16)));
    if signed {
        b[4..8].copy_from_slice(b"SWFT");
        sign(&mut b, FOOTER_HEADER, identity.seal(end));
    }
    if let Ok(footer) = Footer::decode(&b, &identity, id, end) {
        assert_eq!(footer.encode(&identity), b);
        assert!(footer.total_len() >= footer.body_offset());
        assert!(footer.body_offset() >= FOOTER_HEADER as u64 + u64::from(footer.head_len));
    }
}

fn superblock(input: &mut Cursor<'_>, signed: bool) {
    let mut page: [u8; PAGE] = bytes(input);
    if signed {
        page[4..8].copy_from_slice(b"SWSB");
        page[8..12].copy_from_slice(&1u32.to_le_bytes());
        sign(&mut page, 88, 0);
    }
    if let Ok(sb) = Superblock::decode(&page) {
        assert_eq!(sb.encode(), page);
    }
}

/// A valid name has only one spelling, and every segment's name is read back.
fn name(input: &mut Cursor<'_>) {
    let (id, lsn) = (SegmentId::new(input.u64() | 1), Lsn::new(input.u64()));
    assert_eq!(parse_file_name(&file_name(id, lsn)), Some((id, lsn)));
    let text = String::from_utf8_lossy(input.take(64)).into_owned();
    for name in [text.clone(), format!("{text}.seg")] {
        if let Some((id, lsn)) = parse_file_name(&name) {
            assert_eq!(file_name(id, lsn), name);
        }
    }
}
