//! LZ4, from `lz4_flex`, in its variants without `unsafe`.
//!
//! ```text
//!  0  u32 length of the payload in bytes
//!  4  one LZ4 block
//! ```

use std::num::NonZeroU16;

use byteorder::{ByteOrder as _, LittleEndian as LE};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::Codec;
use crate::error::DecodeError;

const LENGTH: usize = 4;

/// Payloads shorter than this are not worth compressing.
const LEAST: usize = 64;

/// The maximum number of payload bytes that one byte of an LZ4 block can produce.
const MOST_PER_BYTE: u64 = 255;

/// Compresses payloads with LZ4. A payload that would shrink by less than a sixteenth is stored as it is.
///
/// The codec's number is 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lz4;

impl Lz4 {
    /// The codec's number in the log.
    pub const ID: NonZeroU16 = NonZeroU16::MIN;
}

impl Codec for Lz4 {
    fn id(&self) -> NonZeroU16 {
        Lz4::ID
    }

    fn encode(&self, payload: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let joined;
        let payload = match payload {
            [one] => *one,
            many => {
                joined = many.concat();
                joined.as_slice()
            }
        };
        let Ok(len) = u32::try_from(payload.len()) else { return false };
        if payload.len() < LEAST {
            return false;
        }
        out.resize(LENGTH + get_maximum_output_size(payload.len()), 0);
        let Some((head, block)) = out.split_first_chunk_mut::<LENGTH>() else { return false };
        LE::write_u32(head, len);
        let Ok(compressed) = compress_into(payload, block) else { return false };
        out.truncate(LENGTH + compressed);
        out.len() <= payload.len() - payload.len() / 16
    }

    fn decode(&self, stored: &[u8], max_len: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let invalid = |what: String| Err(DecodeError::Invalid(what));
        let Some((head, block)) = stored.split_first_chunk::<LENGTH>() else {
            return invalid(format!("{} bytes are too few for an LZ4 block", stored.len()));
        };
        let announced = LE::read_u32(head);
        let len = announced as usize;
        if len > max_len {
            return Err(DecodeError::TooLong { len: announced.into(), max: max_len as u64 });
        }
        if u64::from(announced) > MOST_PER_BYTE.saturating_mul(block.len() as u64) {
            return invalid(format!("{} bytes of LZ4 cannot expand to {len} bytes", block.len()));
        }
        out.resize(len, 0);
        match decompress_into(block, out) {
            Ok(found) if found == len => Ok(()),
            Ok(found) => invalid(format!("the LZ4 block has {found} bytes, but {len} were announced")),
            Err(e) => invalid(format!("LZ4: {e}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(stored: &[u8], max_len: usize) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        Lz4.decode(stored, max_len, &mut out).map(|()| out)
    }

    #[test]
    fn an_announced_length_gets_no_memory_before_it_is_plausible() {
        let mut stored = vec![0xff; 100];
        LE::write_u32(&mut stored[..4], 1 << 30);
        assert!(matches!(decoded(&stored, 1 << 20), Err(DecodeError::TooLong { len, .. }) if len == 1 << 30));
        assert!(matches!(decoded(&stored, usize::MAX), Err(DecodeError::Invalid(_))));
        assert!(matches!(decoded(&stored[..3], 10), Err(DecodeError::Invalid(_))));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            parts in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..600), 1..4),
        ) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let (mut out, payload) = (Vec::new(), parts.concat());
            if Lz4.encode(&slices, &mut out) {
                prop_assert!(out.len() < payload.len());
                prop_assert_eq!(decoded(&out, payload.len()).unwrap(), payload);
            } else {
                prop_assert!(payload.len() < 1000, "two bits a byte were not compressed: {}", payload.len());
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(stored in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(payload) = decoded(&stored, 5000) {
                prop_assert!(payload.len() <= 5000);
            }
        }
    }
}
