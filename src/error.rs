//! What can go wrong, said so that the person on call knows where to look and what to do.

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
    /// Somebody has the log open for writing.
    #[error(
        "{dir} is locked: another process, or another handle in this one, has this log open. \
         Close it first; a killed process leaves no lock behind", dir = dir.display()
    )]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },

    /// The handle belongs to the process that opened it, and this is another one: a child made by `fork`. Nothing was done.
    #[error(
        "{dir}: this handle belongs to the process that opened it, and this is a child of that process. Nothing was done: \
         a program that turns into a daemon opens the log afterwards; a child that wants the log opens it itself, when \
         the parent has closed it", dir = dir.display()
    )]
    OtherProcess {
        /// The log's directory.
        dir: PathBuf,
    },

    /// The operating system refused an operation.
    #[error("{op} {path}: {source}{hint}", path = path.display(), hint = hint::of(op, source))]
    Io {
        /// What was being done: "write", "fdatasync", "open", ...
        op: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },

    /// Bytes that are proven to have been durable are damaged or missing. Nothing was changed.
    #[error("{0}")]
    Corruption(Box<Corruption>),

    /// The file was written by a newer format; it may be in perfect order.
    #[error(
        "{path}: format version {found} is not supported, this build reads up to {supported}. \
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

    /// The directory is pinned to another owner than the one in the options.
    #[error(
        "{dir} belongs to owner {found}, it was opened as owner {expected}. \
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

    /// An earlier write or sync of this handle failed, so nothing can be acknowledged by it any more.
    ///
    /// What was acknowledged before is safe. What was submitted and not acknowledged may or may not be there after
    /// reopening, as after a crash.
    #[error(
        "the log is poisoned: {op} {path} failed earlier ({message}). What was acknowledged is safe; \
         close the log, look into the cause, and open it again", path = path.display()
    )]
    Poisoned {
        /// The operation that failed.
        op: &'static str,
        /// The file or directory it failed on.
        path: PathBuf,
        /// The class of the failure.
        kind: io::ErrorKind,
        /// What the system said.
        message: Arc<str>,
    },

    /// The log has no addresses or segment numbers left. No log that was only ever written to gets there.
    #[error(
        "{dir}: no addresses or segment numbers are left after LSN {lsn} and segment {id}. \
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

    /// Something that always holds did not: a defect of this crate. The handle acknowledges nothing any more if it could matter
    /// to what is durable.
    #[error(
        "{what}. This is a defect of seawall and says nothing about the files: please report it, with this message. What was \
         acknowledged is safe; close the log and open it again"
    )]
    Internal {
        /// What does not hold, and where.
        what: Arc<str>,
    },

    /// The log was closed.
    #[error("the log is closed; open it again")]
    Closed,

    /// A record is larger than the log's limit, and larger ones could not be read back.
    #[error(
        "a record of {size} bytes is over the limit of {max} (`Options::max_record_size`). Nothing was submitted: \
         raise the limit, or split the record"
    )]
    RecordTooLarge {
        /// The payload's size in bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },

    /// A payload was encoded by a codec that this handle was not given.
    #[error(
        "{file}: the payload of the record at LSN {lsn} was encoded by codec {id}, which this handle does not have{hint}. \
         Nothing is wrong with the log: give the codec with `Options::codec` or `Options::decode_with`, \
         or with `LogView::decode_with`", file = file.display(), hint = codec_hint(*id)
    )]
    UnknownCodec {
        /// The segment's file.
        file: PathBuf,
        /// The record's address.
        lsn: Lsn,
        /// The codec's number.
        id: NonZeroU16,
    },
    /// A payload's stored bytes are those that were written, and its codec cannot decode them.
    #[error(
        "{file} at offset {offset}: codec {id} cannot decode the payload of the record at LSN {lsn}: {source}. \
         The stored bytes are those that were written, for their checksum is right: check whether the codec has the \
         key, and is the version, that they were written with", file = file.display()
    )]
    Undecodable {
        /// The segment's file.
        file: PathBuf,
        /// Where in the file the record begins.
        offset: u64,
        /// The record's address.
        lsn: Lsn,
        /// The codec's number.
        id: NonZeroU16,
        /// What the codec said.
        #[source]
        source: DecodeError,
    },
    /// A batch's payloads did not go through the log's codec. Nothing of it was stored.
    #[error(
        "the log stores payloads through {log}, and the batch was made with {batch}: \
         make batches for this log with `Wal::batch`", log = codec_name(*log), batch = codec_name(*batch)
    )]
    CodecMismatch {
        /// The number of the log's codec, if it has one.
        log: Option<NonZeroU16>,
        /// The number of the codec that the batch was made with, if it was; if it is the same, the codec itself is another.
        batch: Option<NonZeroU16>,
    },
    /// A batch does not fit into one block.
    #[error(
        "a batch of {size} bytes is over the limit of {max}, which follows from `Options::segment_size`: \
         a batch is atomic and so lies in one segment. Nothing was submitted: split it, or use larger segments"
    )]
    BatchTooLarge {
        /// The batch's size in the log, in bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },

    /// The records at this address were released.
    #[error("record {lsn} was released: the log starts at {first}. Read from there on")]
    Released {
        /// The address asked for.
        lsn: Lsn,
        /// The first address that is kept.
        first: Lsn,
    },

    /// No record starts at this address.
    #[error(
        "no record starts at {lsn}: the log ends at {next}. Addresses come from appending, from tickets, and from \
         reading; none can be guessed"
    )]
    NotFound {
        /// The address asked for.
        lsn: Lsn,
        /// Where the log ends.
        next: Lsn,
    },

    /// A repair, or its undoing, cannot be done. Nothing was changed.
    #[error("cannot repair or undo, {path}: {problem}", path = path.display())]
    Repair {
        /// The log's directory, or the file that stands in the way.
        path: PathBuf,
        /// Why not, and what to do.
        problem: RepairProblem,
    },

    /// An option, or a combination of them, cannot work.
    #[error("invalid options: {what}")]
    InvalidOptions {
        /// Which, and what would work.
        what: String,
    },
}

impl Error {
    /// An I/O error with its place.
    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Error::Io { op, path: path.into(), source: Arc::new(source) }
    }

    pub(crate) fn internal(what: impl Into<Arc<str>>) -> Self {
        Error::Internal { what: what.into() }
    }

    /// The error that everybody gets once `self` has made a handle on the log in `dir` unusable.
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

    /// Whether the disk, or a quota on it, is full: nothing was submitted, and it may be tried again once there is room.
    ///
    /// Never of [`Error::Poisoned`], whatever its cause: no room helps a log that has to be opened again.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let full =
            |e: &io::Error| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Error::Io { source, .. } if full(source))
    }

    /// The operating system's class of this failure, when it is one.
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
    /// The payload would be longer than the limit.
    #[error(
        "the payload has {len} bytes, and the limit is {max} (`Options::max_record_size`, 16 MiB at least)"
    )]
    TooLong {
        /// Its length in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The codec did not encode these bytes, or not with this key.
    #[error("{0}")]
    Invalid(String),
}

/// Damage to bytes that are proven to have been durable.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Corruption {
    /// The damaged file; the one that names a segment that is missing; or a file of the layer above that is missing.
    pub file: PathBuf,
    /// Where in the file the first byte lies that does not verify, or the name of what is missing.
    pub offset: u64,
    /// The LSNs that cannot be vouched for; none, from zero to zero, when the file is none of the log's own.
    pub lsns: Range<Lsn>,
    /// What is wrong there.
    pub reason: CorruptionReason,
    /// How it is known that this was durable.
    pub witness: Option<Witness>,
    /// The streams and sequence numbers that are hit, as far as surviving headers tell.
    pub hit: Vec<StreamRange>,
    /// The segment that is missing, where its number is known.
    pub missing: Option<SegmentId>,
    /// Whether the file is none of the log's own.
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

    /// A segment is missing that this file names.
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

    /// Whether the file is one beside the log, and not one of the log's own.
    pub(crate) fn is_beside_the_log(&self) -> bool {
        self.beside
    }

    /// The file is none of the log's own: a record names it, it has no addresses, and a repair of the log leaves it alone.
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
            Some(id) => write!(f, "segment {id}, which is named there, is missing")?,
            None => write!(f, "{}", self.reason)?,
        }
        if !self.beside {
            write!(f, " (LSN {} to {})", self.lsns.start, self.lsns.end)?;
        }
        if let Some(witness) = &self.witness {
            write!(f, "; it was durable: {witness}")?;
        }
        for (n, hit) in self.hit.iter().take(8).enumerate() {
            let lead = if n == 0 { "; it hits" } else { "," };
            write!(f, "{lead} stream {} [{}..={}]", hit.stream, hit.first, hit.last)?;
        }
        if self.hit.len() > 8 {
            write!(f, " and {} streams more", self.hit.len() - 8)?;
        }
        write!(
            f,
            ". Nothing was changed: keep the directory as it is and restore this node from a replica or a backup"
        )?;
        if !self.beside {
            write!(f, "; where there is none, `seawall repair` shows what can be kept")?;
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
    /// The page that starts a file's generation.
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
    /// A segment that must be there, by what stands in this file, is not: [`Corruption::missing`] is its number, if known.
    MissingSegment,
    /// Two segments claim the same addresses, or neighbours disagree about where one ends.
    SegmentChain,
    /// The log ends before an address that is proven durable.
    MissingTail,
    /// A file is shorter than what lies in it.
    ShortFile,
    /// The layer above found its own content contradicting itself.
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
    /// What carries it.
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
        write!(f, " says that all below {} was", self.durable)
    }
}

/// What carries the evidence that an address was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WitnessSource {
    /// A later block, at this address.
    Block(Lsn),
    /// The footer of the segment.
    Footer,
    /// The header of the segment after it.
    Successor,
    /// The superblock.
    Superblock,
}

/// The identity of a log: random, made with it, and in every file of it.
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
