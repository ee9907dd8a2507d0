//! Records: one payload with its header.
//!
//! ```text
//! record, at a multiple of 8
//!  0  u32 checksum of the rest of the header, sealed at the record's LSN
//!  4  u32 payload length in bytes
//!  8  u32 checksum of the payload
//! 12  u8  form: 1 = plain, header of 16 bytes; 2 = labelled, header of 40 bytes
//! 13  u8  label kind (plain: 0)
//! 14  u16 codec: 0 = the payload is stored unchanged, else the number of the codec that encoded it
//! 16  u64 label stream       } labelled
//! 24  u64 label sequence     } only
//! 32  u64 label extra        }
//! 16 or 40: payload, then zeros up to the next multiple of 8
//! ```
//!
//! Length and checksum are those of the payload as stored, encoded or not: a record can be verified without its
//! codec.
//!
//! The payload's checksum is computed without an identity, on the thread that owns the payload. The header contains
//! it, and the header is sealed. So a payload from elsewhere is accepted only if it is, up to a 32-bit checksum, the
//! same payload.
//!
//! The form determines how many bytes the header's checksum covers, so it is used before it is verified. It chooses
//! between two constants, and a wrong choice fails the checksum.

use std::num::NonZeroU16;

use byteorder::{ByteOrder as _, LittleEndian as LE};

use super::{Identity, Invalid, align_up, checksum, crc32, is_zero};
use crate::lsn::{Label, Lsn};

/// The header of a record without a label.
pub const PLAIN_HEADER: usize = 16;
/// The header of a record with a label.
pub const LABELLED_HEADER: usize = 40;
/// Alignment of records, relative to their block.
pub const RECORD_ALIGN: usize = 8;

const PLAIN: u8 = 1;
const LABELLED: u8 = 2;

/// The verified header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The record's label, if it has one.
    pub label: Option<Label>,
    /// The codec that encoded the payload, if any.
    pub codec: Option<NonZeroU16>,
    /// The stored payload's length in bytes.
    pub payload_len: u32,
    /// The stored payload's checksum.
    pub payload_crc: u32,
}

impl RecordHeader {
    /// Decodes the header of the record at `lsn` from the start of `bytes`.
    ///
    /// # Errors
    /// Why these bytes are not a record header of this generation at this address.
    #[inline(always)]
    pub fn decode(bytes: &[u8], identity: &Identity, lsn: Lsn) -> Result<Self, Invalid> {
        let plain = bytes.first_chunk::<PLAIN_HEADER>().ok_or(Invalid::Checksum)?;
        let (covered, label) = match plain[12] {
            PLAIN => (&plain[4..], None),
            LABELLED => {
                let b = bytes.first_chunk::<LABELLED_HEADER>().ok_or(Invalid::Checksum)?;
                let label = Label {
                    kind: b[13],
                    stream: LE::read_u64(&b[16..24]),
                    sequence: LE::read_u64(&b[24..32]),
                    extra: LE::read_u64(&b[32..40]),
                };
                (&b[4..], Some(label))
            }
            0 if is_zero(plain) => return Err(Invalid::Unwritten),
            _ => return Err(Invalid::Checksum),
        };
        if LE::read_u32(&plain[..4]) != checksum("record", covered) ^ identity.seal(lsn) {
            return Err(Invalid::Checksum);
        }
        if label.is_none() && plain[13] != 0 {
            return Err(Invalid::Field);
        }
        Ok(RecordHeader {
            label,
            codec: NonZeroU16::new(LE::read_u16(&plain[14..16])),
            payload_len: LE::read_u32(&plain[4..8]),
            payload_crc: LE::read_u32(&plain[8..12]),
        })
    }

    /// The header's size in bytes.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        header_len(self.label.is_some())
    }

    /// The record's size in the log: header, payload and padding.
    #[inline]
    #[must_use]
    pub fn padded_len(&self) -> u64 {
        align_up(self.header_len() as u64 + u64::from(self.payload_len), RECORD_ALIGN as u64)
    }
}

const fn header_len(labelled: bool) -> usize {
    if labelled { LABELLED_HEADER } else { PLAIN_HEADER }
}

/// The size in the log of a record with this payload.
#[must_use]
pub fn record_len(payload: u64, labelled: bool) -> u64 {
    align_up((header_len(labelled) as u64).saturating_add(payload), RECORD_ALIGN as u64)
}

/// Appends a record to `out` with its header not yet sealed. The payload is the concatenation of `parts`, encoded by
/// `codec` if given; together they must not be longer than `payload_len`, which the caller computed from them.
pub fn encode_unsealed(
    out: &mut Vec<u8>,
    label: Option<Label>,
    codec: Option<NonZeroU16>,
    parts: &[&[u8]],
    payload_len: u32,
) {
    let start = out.len();
    let header = header_len(label.is_some());
    out.reserve(header + payload_len as usize + RECORD_ALIGN);
    let mut h = [0u8; LABELLED_HEADER];
    LE::write_u32(&mut h[4..8], payload_len);
    let crc = match parts {
        [one] => crc32(one),
        many => {
            let mut hasher = crc32fast::Hasher::new();
            many.iter().for_each(|part| hasher.update(part));
            hasher.finalize()
        }
    };
    LE::write_u32(&mut h[8..12], crc);
    h[12] = PLAIN;
    if let Some(label) = label {
        h[12] = LABELLED;
        h[13] = label.kind;
        LE::write_u64(&mut h[16..24], label.stream);
        LE::write_u64(&mut h[24..32], label.sequence);
        LE::write_u64(&mut h[32..40], label.extra);
    }
    LE::write_u16(&mut h[14..16], codec.map_or(0, NonZeroU16::get));
    let (used, _) = h.split_at_mut(header);
    let (crc, covered) = used.split_at_mut(4);
    LE::write_u32(crc, checksum("record", covered));
    out.extend_from_slice(used);
    for part in parts {
        out.extend_from_slice(part);
    }
    let end = align_up((out.len() - start) as u64, RECORD_ALIGN as u64);
    #[allow(clippy::cast_possible_truncation)] // a length of bytes in memory
    out.resize(start + end as usize, 0);
}

/// Changes the seal of each record in `body`, whose first byte is at `lsn`: `change(lsn)` is XORed into its checksum.
///
/// For records that were never sealed, pass `|lsn| new.seal(lsn)`; for records that move to another generation of a
/// file, `|lsn| old.seal(lsn) ^ new.seal(lsn)`. Returns the number of records.
pub fn reseal(body: &mut [u8], lsn: Lsn, change: impl Fn(Lsn) -> u32) -> u32 {
    let mut at = 0usize;
    let mut records = 0;
    while let Some(h) = body.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<PLAIN_HEADER>()) {
        let crc = LE::read_u32(&h[..4]) ^ change(lsn.plus(at as u64));
        LE::write_u32(&mut h[..4], crc);
        let len = record_len(u64::from(LE::read_u32(&h[4..8])), h[12] == LABELLED);
        #[allow(clippy::cast_possible_truncation)] // a length of bytes in memory
        {
            at += len as usize;
        }
        records += 1;
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LogUuid;

    fn identity() -> Identity {
        Identity::new(LogUuid([5; 16]), 77)
    }

    fn record(label: Option<Label>, codec: u16, payload: &[u8], lsn: Lsn) -> Vec<u8> {
        let mut out = Vec::new();
        encode_unsealed(
            &mut out,
            label,
            NonZeroU16::new(codec),
            &[payload],
            u32::try_from(payload.len()).unwrap(),
        );
        assert_eq!(reseal(&mut out, lsn, |l| identity().seal(l)), 1);
        out
    }

    #[test]
    fn every_bit_of_the_header_counts() {
        let label = Label { kind: 3, stream: 9, sequence: 100, extra: 4 };
        for (label, codec) in [(None, 0), (Some(label), 0), (None, 1), (Some(label), 0x1234)] {
            let lsn = Lsn::new(4136);
            let bytes = record(label, codec, b"hello", lsn);
            let header = RecordHeader::decode(&bytes, &identity(), lsn).unwrap();
            assert_eq!((header.label, header.codec), (label, NonZeroU16::new(codec)));
            assert_eq!(header.payload_len, 5);
            assert_eq!(header.payload_crc, crc32(b"hello"));
            assert_eq!(header.padded_len(), bytes.len() as u64);
            for bit in 0..header.header_len() * 8 {
                let mut b = bytes.clone();
                b[bit / 8] ^= 1 << (bit % 8);
                assert!(RecordHeader::decode(&b, &identity(), lsn).is_err(), "bit {bit}");
            }
            assert!(RecordHeader::decode(&bytes, &identity(), lsn.plus(8)).is_err());
        }
    }

    #[test]
    fn parts_are_joined_and_a_moved_record_verifies_in_its_new_generation() {
        let (a, b) = (identity(), Identity::new(LogUuid([5; 16]), 78));
        let mut out = Vec::new();
        encode_unsealed(&mut out, None, None, &[b"ab", b"", b"cde"], 5);
        encode_unsealed(&mut out, Some(Label::default()), None, &[], 0);
        let lsn = Lsn::new(40);
        assert_eq!(reseal(&mut out, lsn, |l| a.seal(l)), 2);
        let first = RecordHeader::decode(&out, &a, lsn).unwrap();
        assert_eq!(first.payload_crc, crc32(b"abcde"));
        assert_eq!(&out[16..21], b"abcde");
        assert_eq!(reseal(&mut out, lsn, |l| a.seal(l) ^ b.seal(l)), 2);
        assert!(RecordHeader::decode(&out, &a, lsn).is_err());
        assert_eq!(RecordHeader::decode(&out, &b, lsn), Ok(first));
        assert!(RecordHeader::decode(&out[24..], &b, lsn.plus(24)).is_ok());
    }

    #[test]
    fn arbitrary_bytes_are_refused_quietly() {
        assert_eq!(RecordHeader::decode(&[0; 40], &identity(), Lsn::ZERO), Err(Invalid::Unwritten));
        for len in 0..40 {
            assert!(RecordHeader::decode(&vec![2; len], &identity(), Lsn::ZERO).is_err());
        }
    }
}
