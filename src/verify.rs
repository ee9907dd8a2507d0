//! Checking a log without opening it: no lock, no change, also beside a running writer.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cores::Cores;
use crate::error::{Corruption, CorruptionReason, Error, LogUuid, Result};
use crate::io::{Access, Disk, RealDisk};
use crate::lsn::{Lsn, SegmentId};
use crate::options::TailPolicy;
use crate::recovery::{Catalog, Look, Member, scan_sealed, survey};
use crate::report::Cut;
use crate::segment::{FoundSuperblock, LoadedFooter, load_footer};

/// What [`verify`] found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The log's identity.
    pub uuid: Option<LogUuid>,
    /// Whom the directory is pinned to.
    pub owner: Option<u64>,
    /// Where the log begins.
    pub first_lsn: Lsn,
    /// Where it ends.
    pub end_lsn: Lsn,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentCheck>,
    /// Everything that does not verify and is proven to have been durable. An open refuses a log in which it meets one.
    pub problems: Vec<Corruption>,
    /// What an open would cut off. Beside a running writer, this may be a block that is being written.
    pub torn: Vec<Cut>,
}

/// What was found of one segment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentCheck {
    /// The file's name.
    pub file: String,
    /// The segment's number.
    pub id: SegmentId,
    /// The address of its first byte.
    pub first_lsn: Lsn,
    /// The address behind its last block that verifies.
    pub end_lsn: Lsn,
    /// Blocks that verify.
    pub blocks: u64,
    /// Records that verify.
    pub records: u64,
    /// Whether it has a footer. An ended segment without one costs time when the log is opened, nothing else.
    pub footer: bool,
}

impl VerifyReport {
    /// Whether every byte that is proven to have been durable verifies.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    fn empty() -> Self {
        VerifyReport {
            uuid: None,
            owner: None,
            first_lsn: Lsn::ZERO,
            end_lsn: Lsn::ZERO,
            segments: Vec::new(),
            problems: Vec::new(),
            torn: Vec::new(),
        }
    }

    fn add(&mut self, found: Result<()>) -> Result<()> {
        match found {
            Err(Error::Corruption(c)) => {
                let known = self.problems.iter().any(|p| p.file == c.file && p.offset == c.offset);
                if !known {
                    self.problems.push(*c);
                }
                Ok(())
            }
            other => other,
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
        Ok(())
    }
}

/// Reads and verifies everything in the log in `dir`. Takes no lock and changes nothing, ever.
///
/// # Errors
/// [`Error::Io`] when something cannot be read, [`Error::UnsupportedVersion`], [`Error::Foreign`]. Damage is no error
/// here: it is what the report is about.
pub fn verify(dir: impl AsRef<Path>) -> Result<VerifyReport> {
    let dir = dir.as_ref();
    let disk = RealDisk::open(dir).map_err(|e| Error::io(crate::error::OPEN_DIRECTORY, dir, e))?;
    verify_on(&(Arc::new(disk) as Arc<dyn Disk>))
}

/// As [`verify`], for a directory of a given disk.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(disk: &Arc<dyn Disk>) -> Result<VerifyReport> {
    // A running writer may write a block, start a segment or free one between two of our reads. What is really wrong is
    // wrong in the same way the next time.
    let mut last = check(disk);
    for _ in 0..50 {
        if last.as_ref().is_ok_and(VerifyReport::is_ok) {
            break;
        }
        let again = check(disk);
        if same(&last, &again) {
            return again;
        }
        last = again;
        std::thread::sleep(Duration::from_millis(20));
    }
    last
}

/// Whether two looks found the same fault.
fn same(a: &Result<VerifyReport>, b: &Result<VerifyReport>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => {
            let places = |r: &VerifyReport| -> Vec<_> {
                r.problems.iter().map(|p| (p.file.clone(), p.offset, p.lsns.clone())).collect()
            };
            places(a) == places(b)
        }
        (Err(a), Err(b)) => a.to_string() == b.to_string(),
        _ => false,
    }
}

fn check(disk: &Arc<dyn Disk>) -> Result<VerifyReport> {
    let mut report = VerifyReport::empty();
    let sb = match crate::segment::SuperblockFile::find(disk, Access::Read)? {
        FoundSuperblock::Some(file) => *file.content(),
        FoundSuperblock::Damaged(c) => {
            report.problems.push(c);
            return Ok(report);
        }
        FoundSuperblock::None => {
            return Err(Error::io(crate::error::FIND_LOG, disk.path(), std::io::ErrorKind::NotFound.into()));
        }
    };
    (report.uuid, report.owner) = (Some(sb.uuid), sb.owner);
    let catalog = match Catalog::read(disk, &sb, Access::Read, false) {
        Ok(catalog) => catalog,
        Err(e) => {
            report.add(Err(e))?;
            return Ok(report);
        }
    };
    report.first_lsn = catalog.members.first().map_or(Lsn::ZERO, |m| m.segment.first_lsn());
    check_sealed(&catalog, &mut report)?;
    match survey(
        &catalog,
        &sb,
        Look { policy: TailPolicy::Truncate, mmap: false, cores: Cores::available(true) },
    ) {
        Ok(survey) => {
            report.end_lsn = survey.end();
            if let (Some(newest), Some((blocks, records))) = (catalog.members.last(), survey.newest_counts())
            {
                report.segments.push(segment_check(newest, survey.end(), blocks, records, false));
            }
            report.torn = survey.into_cuts();
        }
        Err(e) => report.add(Err(e))?,
    }
    Ok(report)
}

/// Every byte of the ended segments, footers included.
fn check_sealed(catalog: &Catalog, report: &mut VerifyReport) -> Result<()> {
    for (member, end) in catalog.sealed() {
        let footer = load_footer(&member.segment, end.end, false)?;
        match scan_sealed(member, &end) {
            Ok((blocks, records)) => {
                if let Some(loaded) = &footer {
                    report.add(check_footer(member, loaded, blocks, records))?;
                }
                report.segments.push(segment_check(member, end.end, blocks, records, footer.is_some()));
            }
            Err(e) => report.add(Err(e))?,
        }
    }
    Ok(())
}

fn check_footer(member: &Member, loaded: &LoadedFooter, blocks: u64, records: u64) -> Result<()> {
    if loaded.agrees_with(blocks, records) {
        return Ok(());
    }
    let end = loaded.footer.end;
    Err(member.segment.damage(end, end, CorruptionReason::Footer).into())
}

fn segment_check(member: &Member, end: Lsn, blocks: u64, records: u64, footer: bool) -> SegmentCheck {
    SegmentCheck {
        file: member.segment.name.clone(),
        id: member.segment.id(),
        first_lsn: member.segment.first_lsn(),
        end_lsn: end,
        blocks,
        records,
        footer,
    }
}
