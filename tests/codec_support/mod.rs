//! Codecs for tests.
// Each test file uses a part of it.
#![allow(dead_code)]

use std::num::NonZeroU16;
use std::sync::Arc;

use seawall::{Codec, DecodeError};

/// Hides payloads as an encrypting codec would, without its strength: the stored form is five bytes longer, is never
/// the payload, and can be decoded only with the same key.
#[derive(Clone, Copy, Debug)]
pub struct Xor {
    pub id: u16,
    pub key: u8,
}

pub const XOR: u16 = 300;

pub fn xor(key: u8) -> Arc<dyn Codec> {
    Arc::new(Xor { id: XOR, key })
}

/// The codecs of this build.
pub fn all() -> Vec<Arc<dyn Codec>> {
    vec![
        xor(0x5a),
        #[cfg(feature = "lz4")]
        Arc::new(seawall::Lz4),
    ]
}

impl Codec for Xor {
    fn id(&self) -> NonZeroU16 {
        NonZeroU16::new(self.id).unwrap()
    }

    fn encode(&self, payload: &[&[u8]], out: &mut Vec<u8>) -> bool {
        assert!(out.is_empty());
        out.extend_from_slice(&[b'x', b'o', b'r', b'!', self.key]);
        out.extend(payload.iter().copied().flatten().map(|b| b ^ self.key));
        true
    }

    fn decode(&self, stored: &[u8], max_len: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        assert!(out.is_empty());
        match stored.strip_prefix(&[b'x', b'o', b'r', b'!', self.key]) {
            Some(hidden) if hidden.len() <= max_len => {
                out.extend(hidden.iter().map(|b| b ^ self.key));
                Ok(())
            }
            Some(hidden) => Err(DecodeError::TooLong { len: hidden.len() as u64, max: max_len as u64 }),
            None => Err(DecodeError::Invalid("another key".into())),
        }
    }
}
