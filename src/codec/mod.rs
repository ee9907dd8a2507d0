//! Codecs: transform payloads on their way into the log and back, for compression or encryption.
//!
//! ```text
//!  push ── parts ──> Codec::encode ──> record: id of the codec, stored bytes, their length and checksum
//!                                        │
//!  Record::payload <── Codec::decode <───┴─ read, and verified, first
//! ```
//!
//! **Invariants.** A record states which codec encoded it, or that it is stored unchanged; nothing is guessed from
//! its bytes. Only verified bytes are decoded. A log with a codec accepts no batch that was made without it; only
//! data already stored in the log may be rewritten as it is.

#[cfg(feature = "lz4")]
mod lz4;

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

#[cfg(feature = "lz4")]
pub use lz4::Lz4;

use crate::error::DecodeError;

/// Encodes and decodes payloads; see [`Options::codec`](crate::Options::codec).
///
/// Each record is encoded separately. Not encoded: labels, lengths, empty payloads, summaries in footers, and files
/// that a layer above keeps beside the log.
///
/// The methods are called on the thread that pushes into a batch or reads, without holding any lock of the log.
pub trait Codec: Send + Sync {
    /// The codec's number in the log. It must not change while the log holds records that the codec encoded. Numbers
    /// below 256 are reserved for this crate.
    fn id(&self) -> NonZeroU16;

    /// Appends the encoded form of a payload, given in pieces, to `out`, which is empty. Returns `false` if the
    /// payload should be stored as it is; then `out` is ignored. A codec that encrypts must always return `true`;
    /// otherwise the payload is stored unencrypted.
    fn encode(&self, payload: &[&[u8]], out: &mut Vec<u8>) -> bool;

    /// Decodes `stored` and appends the payload to `out`, which is empty. If the payload would be longer than
    /// `max_len`, it must refuse before allocating memory for it. `stored` has been verified: up to a 32-bit
    /// checksum, it is what [`encode`](Codec::encode) produced.
    ///
    /// # Errors
    /// Why these bytes cannot be decoded.
    fn decode(&self, stored: &[u8], max_len: usize, out: &mut Vec<u8>) -> Result<(), DecodeError>;
}

/// Encodes the payloads of new records.
#[derive(Clone, Default)]
pub(crate) struct Encoder(Option<Arc<dyn Codec>>);

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.id(), f)
    }
}

impl Encoder {
    /// Stores payloads unchanged.
    pub(crate) const fn none() -> Self {
        Encoder(None)
    }

    pub(crate) const fn new(codec: Option<Arc<dyn Codec>>) -> Self {
        Encoder(codec)
    }

    pub(crate) fn id(&self) -> Option<NonZeroU16> {
        self.0.as_ref().map(|codec| codec.id())
    }

    /// Whether both are the same codec, not merely two with the same number: another one may have another key.
    #[inline]
    pub(crate) fn is(&self, other: &Encoder) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The number of the codec that encoded the payload into `out`; `None` if it should be stored as it is.
    #[inline]
    pub(crate) fn encode(&self, payload: &[&[u8]], out: &mut Vec<u8>) -> Option<NonZeroU16> {
        let codec = self.0.as_ref()?;
        if payload.iter().all(|part| part.is_empty()) {
            return None;
        }
        out.clear();
        codec.encode(payload, out).then(|| codec.id())
    }
}

/// Decodes stored payloads.
#[derive(Clone)]
pub(crate) struct Decoder {
    codecs: Vec<Arc<dyn Codec>>,
    /// The maximum payload size.
    max_len: usize,
}

/// Why a payload was not decoded.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The codec is not known.
    Unknown,
    /// The codec failed.
    Failed(DecodeError),
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.codecs.iter().map(|codec| codec.id())).finish()
    }
}

impl Decoder {
    /// A decoder that knows no codec yet.
    pub(crate) const fn new(max_len: usize) -> Self {
        Decoder { codecs: Vec::new(), max_len }
    }

    /// Adds a codec. `false` if there already is a different one with this number.
    pub(crate) fn add(&mut self, codec: Arc<dyn Codec>) -> bool {
        let same = self.codecs.iter().find(|known| known.id() == codec.id());
        if let Some(known) = same {
            return Arc::ptr_eq(known, &codec);
        }
        self.codecs.push(codec);
        true
    }

    pub(crate) fn decode(&self, id: NonZeroU16, stored: &[u8]) -> Result<Vec<u8>, Refused> {
        let codec = self.codecs.iter().find(|codec| codec.id() == id).ok_or(Refused::Unknown)?;
        let mut payload = Vec::new();
        codec.decode(stored, self.max_len, &mut payload).map_err(Refused::Failed)?;
        if payload.len() > self.max_len {
            let (len, max) = (payload.len() as u64, self.max_len as u64);
            return Err(Refused::Failed(DecodeError::TooLong { len, max }));
        }
        Ok(payload)
    }
}
