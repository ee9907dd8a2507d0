//! A payload's way into the log and back, through a codec of one's own: compression, or encryption.
//!
//! ```text
//!  push ── parts ──> Codec::encode ──> record: id of the codec, stored bytes, their length and checksum
//!                                        │
//!  Record::payload <── Codec::decode <───┴─ read, and verified, first
//! ```
//!
//! **Invariants.** A record says by which codec it was encoded, or that it is stored as it was given; nothing is guessed
//! from its bytes. What is decoded has verified before. Into a log with a codec goes no batch that was made without it; only
//! what is stored in the log already may be written again as it is.

#[cfg(feature = "lz4")]
mod lz4;

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

#[cfg(feature = "lz4")]
pub use lz4::Lz4;

use crate::error::DecodeError;

/// Encodes payloads for the log and decodes them: [`Options::codec`](crate::Options::codec).
///
/// Each record is encoded by itself. What is not encoded: labels (in the Raft layer group, index and term), lengths,
/// payloads of no bytes, summaries in footers (in the Raft layer HardStates and ConfStates), and files beside the log, the
/// snapshots' among them.
///
/// The methods are called by the thread that pushes into a batch, or reads; under no lock of the log.
pub trait Codec: Send + Sync {
    /// The codec's number in the log, the same for as long as there are records that it encoded. Numbers below 256 are
    /// this crate's.
    fn id(&self) -> NonZeroU16;

    /// Appends the encoded form of a payload, given in pieces, to `out`, which is empty. `false` when the payload is to
    /// be stored as it is; then what is in `out` is not looked at. A codec that encrypts must always return `true`; otherwise
    /// the payload is stored unencrypted.
    fn encode(&self, payload: &[&[u8]], out: &mut Vec<u8>) -> bool;

    /// Appends the payload that was encoded as `stored` to `out`, which is empty. It must refuse what would be longer
    /// than `max_len` before it has memory for that. `stored` verified: it is, to 32 bits, what
    /// [`encode`](Codec::encode) gave.
    ///
    /// # Errors
    /// Why these bytes have no payload.
    fn decode(&self, stored: &[u8], max_len: usize, out: &mut Vec<u8>) -> Result<(), DecodeError>;
}

/// What payloads of new records go through.
#[derive(Clone, Default)]
pub(crate) struct Encoder(Option<Arc<dyn Codec>>);

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.id(), f)
    }
}

impl Encoder {
    /// Payloads are stored as they are given.
    pub(crate) const fn none() -> Self {
        Encoder(None)
    }

    pub(crate) const fn new(codec: Option<Arc<dyn Codec>>) -> Self {
        Encoder(codec)
    }

    pub(crate) fn id(&self) -> Option<NonZeroU16> {
        self.0.as_ref().map(|codec| codec.id())
    }

    /// Whether both are the same codec, not only one of the same number: it may have another key.
    #[inline]
    pub(crate) fn is(&self, other: &Encoder) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The number of the codec that encoded the payload into `out`; `None` when it is to be stored as it is.
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

/// What stored payloads are decoded by.
#[derive(Clone)]
pub(crate) struct Decoder {
    codecs: Vec<Arc<dyn Codec>>,
    /// No payload is longer.
    max_len: usize,
}

/// Why a payload was not decoded.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Nobody knows how.
    Unknown,
    /// The codec could not.
    Failed(DecodeError),
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.codecs.iter().map(|codec| codec.id())).finish()
    }
}

impl Decoder {
    /// Knows no codec yet.
    pub(crate) const fn new(max_len: usize) -> Self {
        Decoder { codecs: Vec::new(), max_len }
    }

    /// Takes one more codec. `false` when it has one of this number, and not this one.
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
