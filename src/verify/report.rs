//! What a verification found.

use std::fmt;

use crate::error::{Corruption, LogUuid};
use crate::lsn::{Lsn, SegmentId};
use crate::report::Cut;

/// What [`verify`](super::verify) found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The log's identity.
    pub uuid: Option<LogUuid>,
    /// The owner that the directory is pinned to.
    pub owner: Option<u64>,
    /// Where the log begins.
    pub first_lsn: Lsn,
    /// Where it ends.
    pub end_lsn: Lsn,
    /// Its segments, oldest first, including damaged ones.
    pub segments: Vec<SegmentCheck>,
    /// Everything that does not verify although it is proven to have been durable. Reasons for an open to refuse the
    /// log come first.
    pub problems: Vec<Corruption>,
    /// What an open would cut off. Beside a running writer, this may be a block that is being written.
    pub torn: Vec<Cut>,
    /// Names of files in the log's directory that do not belong to the log. They do no harm, and the log's guarantees
    /// do not cover them.
    pub foreign: Vec<String>,
}

/// The result for one segment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentCheck {
    /// The file's name.
    pub file: String,
    /// The segment's number.
    pub id: SegmentId,
    /// The address of its first byte.
    pub first_lsn: Lsn,
    /// The address after its last block that verifies.
    pub end_lsn: Lsn,
    /// Blocks that verify.
    pub blocks: u64,
    /// Records that verify.
    pub records: u64,
    /// Whether it has a footer. Without one, an ended segment only costs time when the log is opened.
    pub footer: bool,
}

/// The result of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An open accepts the log as it is, and everything in it can be read.
    Whole,
    /// An open accepts the log and cuts off a tail that nothing proves durable. With
    /// [`TailPolicy::Refuse`](crate::TailPolicy::Refuse) it refuses.
    Cuts,
    /// Something durable is damaged. Either an open refuses the log, or it accepts it and a read of the damaged part
    /// returns the error: an open does not read everything, a verification does.
    Damaged,
}

impl VerifyReport {
    /// The overall result.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.problems.as_slice(), self.torn.as_slice()) {
            ([], []) => Verdict::Whole,
            ([], _) => Verdict::Cuts,
            _ => Verdict::Damaged,
        }
    }

    /// Whether every byte that is proven to have been durable verifies. An open may still cut something off; see
    /// [`VerifyReport::verdict`].
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn empty() -> Self {
        VerifyReport {
            uuid: None,
            owner: None,
            first_lsn: Lsn::ZERO,
            end_lsn: Lsn::ZERO,
            segments: Vec::new(),
            problems: Vec::new(),
            torn: Vec::new(),
            foreign: Vec::new(),
        }
    }

    /// Adds a problem unless it is already known.
    pub(super) fn add(&mut self, found: Corruption) {
        let same =
            |p: &Corruption| (&p.file, p.offset, p.missing) == (&found.file, found.offset, found.missing);
        if !self.problems.iter().any(same) {
            self.problems.push(found);
        }
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: u64 = self.segments.iter().map(|s| s.records).sum();
        let blocks: u64 = self.segments.iter().map(|s| s.blocks).sum();
        write!(f, "{} segments, {blocks} blocks, {records} records verify", self.segments.len())?;
        for problem in &self.problems {
            write!(f, "\ncorrupt: {problem}")?;
        }
        for torn in &self.torn {
            write!(f, "\nwould be cut: {torn}")?;
        }
        for name in &self.foreign {
            write!(f, "\nnot part of the log: {name}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Whole => "the log is whole",
            Verdict::Cuts => "the log opens, and an open will cut off the unproven tail; nothing was changed",
            Verdict::Damaged => "the log is damaged; nothing was changed",
        })
    }
}
