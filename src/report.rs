//! The result of opening a log.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::CorruptionReason;
use crate::lsn::{Lsn, StreamRange};

/// What opening the log found and did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Recovery {
    /// Whether this open created the log.
    pub created: bool,
    /// Whether the log ended with a marker block when it was last used: everything it wrote is proven durable, and no
    /// write was under way.
    pub clean: bool,
    /// Segments that are part of the log.
    pub segments: u64,
    /// Those that had to be read whole.
    pub scanned: u64,
    /// Blocks in the log.
    pub blocks: u64,
    /// Records in the log.
    pub records: u64,
    /// Bytes of blocks in the log.
    pub bytes: u64,
    /// Bytes that were valid but not proven durable. They were rewritten and synced before this open returned.
    pub rewritten: u64,
    /// Segments read by `pread` because the system refused to map them, although
    /// [`Options::mmap`](crate::Options::mmap) asks for it; see [`Stats::without_mapping`](crate::Stats).
    pub without_mapping: u64,
    /// What was cut off.
    pub cut: Vec<Cut>,
    /// Segment files that were not part of the log: unused spares, and files that were released or replaced. They are
    /// reused or removed in the background.
    pub leftovers: Vec<String>,
    /// How long it took.
    pub time: Duration,
}

/// A piece of an unproven tail that an open cut off.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cut {
    /// The file.
    pub file: PathBuf,
    /// Offset of the first byte that does not verify.
    pub offset: u64,
    /// The addresses that were cut off.
    pub lsns: Range<Lsn>,
    /// Number of bytes.
    pub bytes: u64,
    /// What does not verify there.
    pub reason: CorruptionReason,
    /// The highest address that is proven durable. The cut begins at or above it, so nothing in it is known to have
    /// been acknowledged.
    pub proven: Lsn,
    /// The streams of the records in it, as far as headers tell.
    pub streams: Vec<StreamRange>,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cut {} bytes of {} at offset {} (LSN {} to {}): {}; not proven durable: the highest LSN known to be durable is {}",
            self.bytes,
            self.file.display(),
            self.offset,
            self.lsns.start,
            self.lsns.end,
            self.reason,
            self.proven
        )
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.created {
            return write!(f, "new log");
        }
        write!(
            f,
            "{} segments ({} read whole), {} blocks, {} records, {} bytes in {:.1} ms; {}",
            self.segments,
            self.scanned,
            self.blocks,
            self.records,
            self.bytes,
            self.time.as_secs_f64() * 1e3,
            if self.clean { "closed cleanly" } else { "not closed cleanly" }
        )?;
        if self.rewritten > 0 {
            write!(f, "; {} unproven bytes rewritten", self.rewritten)?;
        }
        if self.without_mapping > 0 {
            write!(f, "; {} segments could not be mapped and are read by pread", self.without_mapping)?;
        }
        for cut in &self.cut {
            write!(f, "; {cut}")?;
        }
        Ok(())
    }
}
