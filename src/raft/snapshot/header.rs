//! Header and trailer of a snapshot file: the bytes before and after its chunks. The parent module has the diagram.

use ::raft::eraftpb::ConfState;
use crc32fast::Hasher;

use super::super::codec::conf::decode_conf;
use super::identity::Identity;
use crate::groups::ContentProblem;
use crate::groups::bytes::{Cursor, Put};

const MAGIC: &[u8; 8] = b"SEAWSNAP";
const END_MAGIC: &[u8; 8] = b"SEAWSEND";
pub(super) const VERSION: u32 = 1;
/// The header's length without the ConfState.
pub(super) const FIXED: usize = 80;
const CHECKED: usize = 76;
pub(super) const TRAILER: usize = 20;
/// Length of the checksum that precedes each chunk.
pub(super) const SUM: usize = 4;

/// A verified header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) conf: ConfState,
    pub(super) data_len: u64,
    pub(super) chunk: u32,
    /// Where the first chunk begins.
    pub(super) data_at: u64,
}

/// What the first bytes of a file indicate before their checksum is verified.
pub(super) enum Announced {
    /// A header of this version, with a ConfState of this length.
    Ours(u32),
    /// A header of another version.
    Version(u32),
    /// Not a header.
    Nothing,
}

impl Header {
    /// The header of a file with `data_len` bytes of data in chunks of this length; `conf` is the encoded ConfState.
    pub(super) fn encode(identity: &Identity, conf: &[u8], data_len: u64, chunk: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + conf.len());
        out.put(MAGIC);
        out.put_u32(VERSION);
        out.put_len(conf.len());
        out.put(&identity.encode());
        out.put_u64(data_len);
        out.put_len(chunk);
        let sum = sum_of(&out, conf);
        out.put_u32(sum);
        out.put(conf);
        out
    }

    pub(super) fn announced(fixed: &[u8; FIXED]) -> Announced {
        let fields = || {
            let mut cursor = Cursor::new(fixed);
            let magic = cursor.bytes(8)?;
            Ok::<_, ContentProblem>((magic == MAGIC, cursor.u32()?, cursor.u32()?))
        };
        match fields() {
            Ok((true, VERSION, conf_len)) => Announced::Ours(conf_len),
            Ok((true, version, _)) => Announced::Version(version),
            _ => Announced::Nothing,
        }
    }

    /// Decodes the header if it verifies and belongs to this snapshot.
    pub(super) fn decode(
        identity: &Identity,
        fixed: &[u8; FIXED],
        conf: &[u8],
    ) -> Result<Header, ContentProblem> {
        let mut cursor = Cursor::new(fixed);
        let checked = cursor.bytes(CHECKED)?;
        if cursor.u32()? != sum_of(checked, conf) {
            return Err(ContentProblem::Field("checksum"));
        }
        let mut cursor = Cursor::new(checked);
        cursor.bytes(16)?;
        let expected = identity.encode();
        if cursor.bytes(expected.len())? != expected {
            return Err(ContentProblem::Field("identity"));
        }
        let (data_len, chunk) = (cursor.u64()?, cursor.u32()?);
        if chunk == 0 {
            return Err(ContentProblem::Field("chunk length"));
        }
        Ok(Header { conf: decode_conf(conf)?, data_len, chunk, data_at: data_at(conf) })
    }

    /// The length of the whole file according to the header.
    pub(super) fn file_len(&self) -> Option<u64> {
        let sums = self.chunks().checked_mul(SUM as u64)?;
        self.data_at.checked_add(self.data_len)?.checked_add(sums)?.checked_add(TRAILER as u64)
    }

    pub(super) fn chunks(&self) -> u64 {
        self.data_len.div_ceil(u64::from(self.chunk).max(1))
    }
}

/// Where the first chunk begins after a header with this ConfState.
pub(super) fn data_at(conf: &[u8]) -> u64 {
    (FIXED + conf.len()) as u64
}

/// The trailer after this many chunks, whose checksums went through `sums`.
pub(super) fn trailer(identity: &Identity, chunks: u64, sums: &Hasher) -> Vec<u8> {
    // The number of chunks precedes their checksums in the sum, but is known only afterwards.
    let mut sum = identity.hasher(chunks);
    sum.combine(sums);
    let mut out = Vec::with_capacity(TRAILER);
    out.put(END_MAGIC);
    out.put_u64(chunks);
    out.put_u32(sum.finalize());
    out
}

fn sum_of(checked: &[u8], conf: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(checked);
    hasher.update(conf);
    hasher.finalize()
}
