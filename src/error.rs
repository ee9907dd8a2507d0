//! Errors, worded so that the person on call knows where to look and what to do.

mod hint;
mod repair_problem;

use std::fmt;
use std::io;
use std::num::NonZeroU16;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::lsn::{Lsn, SegmentId, StreamRange};

pub(crate) use hint::{FIND_LOG, OPEN_DIRECTORY, SYNC_NAMES};
pub use repair_problem::RepairProblem;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong with a log.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another handle has the log open for writing.
    #[error(
        "{dir} is locked: another process, or another handle in this one, has this log open. \
         Close it first; a killed process leaves no lock behind", dir = dir.display()
    )]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },

    /// The handle belongs to the process that opened it, and this is another one: a child made by `fork`. Nothing was
    /// done.
    #[error(
        "{dir}: this handle belongs to the process that opened it, and this is a child of that process. Nothing was done. \
         A program that daemonizes must open the log afterwards; a child that needs the log must open it itself, after \
         the parent has closed it", dir = dir.display()
    )]
    OtherProcess {
        /// The log's directory.
        dir: PathBuf,
    },

    /// The operating system refused an operation.
    #[error("{op} {path}: {source}{hint}", path = path.display(), hint = hint::of(op, source))]
    Io {
        /// The operation: "write", "fdatasync", "open", ...
        op: &'static str,
        /// The file or directory it was applied to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },

    /// Bytes that are proven to have been durable are damaged or missing. Nothing was changed.
    #[error("{0}")]
    Corruption(Box<Corruption>),

    /// The file was written in a newer format. It may be perfectly intact.
    #[error(
        "{path}: format version {found} is not supported; this build reads up to {supported}. \
         The file is not damaged: open it with a newer release", path = path.display()
    )]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// The version it carries.
        found: u32,
        /// The newest version that this build reads.
        supported: u32,
    },

    /// A file of another log lies in this log's directory.
    #[error(
        "{path} belongs to log {found}, this directory to log {expected}. \
         Move the file to where it belongs", path = path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The log that the directory belongs to.
        expected: LogUuid,
        /// The log that the file says it belongs to.
        found: LogUuid,
    },

    /// The directory is pinned to an owner other than the one in the options.
    #[error(
        "{dir} belongs to owner {found}, but was opened as owner {expected}. \
         Check the directory and the identity that the program was started with", dir = dir.display()
    )]
    OwnerMismatch {
        /// The log's directory.
        dir: PathBuf,
        /// The owner in the options.
        expected: u64,
        /// The owner in the superblock.
        found: u64,
    },

    /// An earlier write or sync of this handle failed, so it can acknowledge nothing any more.
    ///
    /// What was acknowledged before is safe. What was submitted but not acknowledged may or may not be there after
    /// reopening, as after a crash.
    #[error(
        "the log is poisoned: {op} {path} failed earlier ({message}). What was acknowledged is safe; \
         close the log, find the cause, and open it again", path = path.display()
    )]
    Poisoned {
        /// The operation that failed.
        op: &'static str,
        /// The file or directory it failed on.
        path: PathBuf,
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The system's message.
        message: Arc<str>,
    },

    /// The log has run out of addresses or segment numbers. Ordinary use of a log never gets there.
    #[error(
        "{dir}: no addresses or segment numbers remain after LSN {lsn} and segment {id}. \
         Write what is needed into a new log", dir = dir.display()
    )]
    Exhausted {
        /// The log's directory.
        dir: PathBuf,
        /// Where the next segment would begin.
        lsn: Lsn,
        /// The number it would have.
        id: SegmentId,
    },

    /// An internal invariant was violated: a defect in this crate. If it could affect what is durable, the handle
    /// acknowledges nothing any more.
    #[error(
        "{what}. This is a defect of seawall and says nothing about the files: please report it, with this message. What was \
         acknowledged is safe; close the log and open it again"
    )]
    Internal {
        /// What was violated, and where.
        what: Arc<str>,
    },

    /// The log was closed.
    #[error("the log is closed; open it again")]
    Closed,

    /// A record exceeds the log's limit. A larger one could not be read back.
    #[error(
        "a record of {size} bytes exceeds the limit of {max} (`Options::max_record_size`). Nothing was submitted: \
         raise the limit, or split the record"
    )]
    RecordTooLarge {
        /// The payload's size in bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },

    /// A payload was encoded by a codec that this handle does not have.
    #[error(
        "{file}: the payload of the record at LSN {lsn} was encoded by codec {id}, which this handle does not have{hint}. \
         The log is intact: pass the codec to `Options::codec` or `Options::decode_with`, \
         or to `LogView::decode_with`", file = file.display(), hint = codec_hint(*id)
    )]
    UnknownCodec {
        /// The segment's file.
        file: PathBuf,
        /// The record's address.
        lsn: Lsn,
        /// The codec's number.
        id: NonZeroU16,
    },
    /// A payload's stored bytes are intact, but its codec cannot decode them.
    #[error(
        "{file} at offset {offset}: codec {id} cannot decode the payload of the record at LSN {lsn}: {source}. \
         The stored bytes match their checksum, so they are intact: check that the codec has the \
         key and the version that they were written with", file = file.display()
    )]
    Undecodable {
        /// The segment's file.
        file: PathBuf,
        /// Offset of the record in the file.
        offset: u64,
        /// The record's address.
        lsn: Lsn,
        /// The codec's number.
        id: NonZeroU16,
        /// The codec's message.
        #[source]
        source: DecodeError,
    },
    /// A batch's payloads did not pass through the log's codec. Nothing was stored.
    #[error(
        "the log stores payloads through {log}, but the batch was made with {batch}: \
         make batches for this log with `Wal::batch`", log = codec_name(*log), batch = codec_name(*batch)
    )]
    CodecMismatch {
        /// The number of the log's codec, if it has one.
        log: Option<NonZeroU16>,
        /// The number of the batch's codec, if it has one. If it is the same, the codec itself is a different one.
        batch: Option<NonZeroU16>,
    },
    /// A batch does not fit into one block.
    #[error(
        "a batch of {size} bytes exceeds the limit of {max}, which follows from `Options::segment_size`: \
         a batch is atomic, so it must fit into one segment. Nothing was submitted: split it, or use larger segments"
    )]
    BatchTooLarge {
        /// The batch's size in the log, in bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },

    /// The records at this address were released.
    #[error("record {lsn} was released: the log starts at {first}. Read from there")]
    Released {
        /// The address asked for.
        lsn: Lsn,
        /// The first address that is kept.
        first: Lsn,
    },

    /// No record starts at this address.
    #[error(
        "no record starts at {lsn}: the log ends at {next}. Use addresses from appending, from tickets, or from \
         reading; they cannot be guessed"
    )]
    NotFound {
        /// The address asked for.
        lsn: Lsn,
        /// Where the log ends.
        next: Lsn,
    },

    /// A repair or an undo is not possible. Nothing was changed.
    #[error("cannot repair or undo {path}: {problem}", path = path.display())]
    Repair {
        /// The log's directory, or the file that prevents it.
        path: PathBuf,
        /// Why not, and what to do.
        problem: RepairProblem,
    },

    /// An option or a combination of options is invalid.
    #[error("invalid options: {what}")]
    InvalidOptions {
        /// Which one, and what would be valid.
        what: String,
    },
}

impl Error {
    /// An I/O error with operation and path.
    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Error::Io { op, path: path.into(), source: Arc::new(source) }
    }

    pub(crate) fn internal(what: impl Into<Arc<str>>) -> Self {
        Error::Internal { what: what.into() }
    }

    /// The error returned to every caller after `self` has made a handle on the log in `dir` unusable.
    pub(crate) fn poison(&self, dir: &Path) -> Self {
        match self {
            Error::Io { op, path, source } => Error::Poisoned {
                op,
                path: path.clone(),
                kind: source.kind(),
                message: source.to_string().into(),
            },
            Error::Poisoned { .. } => self.clone(),
            other => Error::Poisoned {
                op: "append to",
                path: dir.to_owned(),
                kind: io::ErrorKind::Other,
                message: other.to_string().into(),
            },
        }
    }

    /// Whether the disk or a quota is full: nothing was submitted, and the call may be retried once there is space.
    ///
    /// Never true for [`Error::Poisoned`], whatever its cause: space does not help a log that must be reopened.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let full =
            |e: &io::Error| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Error::Io { source, .. } if full(source))
    }

    /// The operating system's error kind, if this is an I/O failure.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Error::Io { source, .. } => Some(source.kind()),
            Error::Poisoned { kind, .. } => Some(*kind),
            _ => None,
        }
    }
}

fn codec_hint(id: NonZeroU16) -> &'static str {
    if id.get() < 256 {
        " (numbers below 256 are this crate's: 1 is `Lz4`, with the feature `lz4`)"
    } else {
        ""
    }
}

fn codec_name(id: Option<NonZeroU16>) -> String {
    id.map_or_else(|| "no codec".to_owned(), |id| format!("codec {id}"))
}

/// Why stored bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The decoded payload would exceed the limit.
    #[error(
        "the payload has {len} bytes, but the limit is {max} (`Options::max_record_size`, 16 MiB at least)"
    )]
    TooLong {
        /// Its length in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The codec did not encode these bytes, or used another key.
    #[error("{0}")]
    Invalid(String),
}

/// Damage to bytes that are proven to have been durable.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Corruption {
    /// The damaged file. If a segment is missing: the file that names it. If a file of a higher layer is missing:
    /// that file.
    pub file: PathBuf,
    /// Offset of the first byte that does not verify, or of the name of what is missing.
    pub offset: u64,
    /// The LSNs that may be affected; the empty range at zero if the file is not one of the log's own.
    pub lsns: Range<Lsn>,
    /// What is wrong there.
    pub reason: CorruptionReason,
    /// The evidence that this was durable.
    pub witness: Option<Witness>,
    /// The streams and sequence numbers affected, as far as surviving headers tell.
    pub hit: Vec<StreamRange>,
    /// The missing segment, if its number is known.
    pub missing: Option<SegmentId>,
    /// Whether the file is not one of the log's own.
    beside: bool,
}

impl Corruption {
    pub(crate) fn new(
        file: impl AsRef<Path>,
        offset: u64,
        lsns: Range<Lsn>,
        reason: CorruptionReason,
    ) -> Self {
        Corruption {
            file: file.as_ref().to_owned(),
            offset,
            lsns,
            reason,
            witness: None,
            hit: Vec::new(),
            missing: None,
            beside: false,
        }
    }

    /// A segment named by this file is missing.
    pub(crate) fn missing_segment(id: SegmentId, named_by: impl AsRef<Path>, offset: u64, lsn: Lsn) -> Self {
        let reason = CorruptionReason::MissingSegment;
        Corruption { missing: Some(id), ..Corruption::new(named_by, offset, lsn..lsn, reason) }
    }

    pub(crate) fn witnessed(mut self, witness: Option<Witness>) -> Self {
        self.witness = witness;
        self
    }

    pub(crate) fn hitting(mut self, hit: Vec<StreamRange>) -> Self {
        self.hit = hit;
        self
    }

    /// Whether the file lies beside the log and is not one of its own.
    pub(crate) fn is_beside_the_log(&self) -> bool {
        self.beside
    }

    /// The file is not one of the log's own: a record names it, it has no addresses, and a repair of the log leaves
    /// it alone.
    #[cfg_attr(not(any(feature = "raft-protobuf", feature = "raft-prost")), allow(dead_code))] // for a layer above
    pub(crate) fn beside_the_log(file: impl AsRef<Path>, offset: u64, reason: CorruptionReason) -> Self {
        Corruption { beside: true, ..Corruption::new(file, offset, Range::default(), reason) }
    }
}

impl From<Corruption> for Error {
    fn from(c: Corruption) -> Self {
        Error::Corruption(Box::new(c))
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}: ", self.file.display(), self.offset)?;
        match self.missing {
            Some(id) => write!(f, "segment {id}, which it names, is missing")?,
            None => write!(f, "{}", self.reason)?,
        }
        if !self.beside {
            write!(f, " (LSN {} to {})", self.lsns.start, self.lsns.end)?;
        }
        if let Some(witness) = &self.witness {
            write!(f, "; it was durable: {witness}")?;
        }
        for (n, hit) in self.hit.iter().take(8).enumerate() {
            let lead = if n == 0 { "; it affects" } else { "," };
            write!(f, "{lead} stream {} [{}..={}]", hit.stream, hit.first, hit.last)?;
        }
        if self.hit.len() > 8 {
            write!(f, " and {} more streams", self.hit.len() - 8)?;
        }
        write!(
            f,
            ". Nothing was changed: keep the directory as it is, and restore this node from a replica or a backup"
        )?;
        if !self.beside {
            write!(f, "; without either, `seawall repair` shows what can be kept")?;
        }
        Ok(())
    }
}

/// What does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CorruptionReason {
    /// Both slots of the superblock.
    Superblock,
    /// The first page of a segment file, which starts its generation.
    GenerationPage,
    /// The header of a segment.
    SegmentHeader,
    /// The header of a block.
    BlockHeader,
    /// A block's chain to the one before it.
    BlockChain,
    /// The header of a record.
    RecordHeader,
    /// The payload of a record.
    Payload,
    /// Padding that is not zero.
    Padding,
    /// A footer, or the summary in it.
    Footer,
    /// A segment that this file says must exist does not: [`Corruption::missing`] is its number, if known.
    MissingSegment,
    /// Two segments claim the same addresses, or neighbours disagree about where one ends.
    SegmentChain,
    /// The log ends before an address that is proven durable.
    MissingTail,
    /// A file is shorter than its contents require.
    ShortFile,
    /// The content of a higher layer contradicts itself.
    Content,
    /// A file that a record refers to is not there.
    MissingFile,
}

impl fmt::Display for CorruptionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CorruptionReason::Superblock => "neither slot of the superblock verifies",
            CorruptionReason::GenerationPage => "the first page of the segment does not verify",
            CorruptionReason::SegmentHeader => "the segment header does not verify",
            CorruptionReason::BlockHeader => "a block header does not verify",
            CorruptionReason::BlockChain => "a block does not follow from the one before it",
            CorruptionReason::RecordHeader => "a record header does not verify",
            CorruptionReason::Payload => "a payload does not match its checksum",
            CorruptionReason::Padding => "padding is not zero",
            CorruptionReason::Footer => "the footer does not verify, or contradicts what follows",
            CorruptionReason::MissingSegment => "a segment that must be there is missing",
            CorruptionReason::SegmentChain => "the segments contradict each other",
            CorruptionReason::MissingTail => "the log ends too early",
            CorruptionReason::ShortFile => "the file is too short",
            CorruptionReason::Content => "the content contradicts itself",
            CorruptionReason::MissingFile => "the file is missing",
        })
    }
}

/// The evidence that an address was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its source.
    pub source: WitnessSource,
    /// Everything below this address was on the device.
    pub durable: Lsn,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            WitnessSource::Block(lsn) => write!(f, "the block at LSN {lsn}")?,
            WitnessSource::Footer => f.write_str("the segment's footer")?,
            WitnessSource::Successor => f.write_str("the header of the next segment")?,
            WitnessSource::Superblock => f.write_str("the superblock")?,
        }
        write!(f, " says that everything below {} was", self.durable)
    }
}

/// Source of the evidence that an address was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WitnessSource {
    /// A later block, at this address.
    Block(Lsn),
    /// The footer of the segment.
    Footer,
    /// The header of the following segment.
    Successor,
    /// The superblock.
    Superblock,
}

/// The identity of a log: random, drawn at its creation, and part of each of its files.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogUuid(pub(crate) [u8; 16]);

impl LogUuid {
    /// The identity with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        LogUuid(bytes)
    }

    /// The identity's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for LogUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, b) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{b:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for LogUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
