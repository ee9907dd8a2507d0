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

/// So often is looked at most.
const LOOKS: usize = 50;

/// How far [`verify_with`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The bytes that were read.
    pub done: u64,
    /// The bytes that are to be read: more than before when something was found and all is read once more, to tell damage
    /// from what a running writer is doing.
    pub total: u64,
}

/// Counts what is read, over all looks.
struct Meter<'a> {
    tell: &'a mut dyn FnMut(VerifyProgress),
    at: VerifyProgress,
}

impl<'a> Meter<'a> {
    fn new(tell: &'a mut dyn FnMut(VerifyProgress)) -> Self {
        Meter { tell, at: VerifyProgress::default() }
    }

    /// A look at all of this begins. What an earlier look left unread nobody will read.
    fn begin(&mut self, catalog: &Catalog) {
        let sealed: u64 = catalog.sealed().map(|(member, end)| extent(member, end.end)).sum();
        let newest = catalog.members.last().map_or(0, room);
        self.at.total = self.at.done.saturating_add(sealed).saturating_add(newest);
        (self.tell)(self.at);
    }

    fn add(&mut self, bytes: u64) {
        self.at.done = self.at.done.saturating_add(bytes);
        (self.tell)(self.at);
    }
}

/// The bytes of a segment up to its end.
fn extent(member: &Member, end: Lsn) -> u64 {
    end.distance_from(member.segment.first_lsn()).unwrap_or(0)
}

/// What is read of the newest segment: where its blocks end, the rest is searched for evidence that there were more.
fn room(newest: &Member) -> u64 {
    extent(newest, newest.segment.limit())
}

/// Reads and verifies everything in the log in `dir`. Takes no lock and changes nothing, ever.
///
/// # Errors
/// [`Error::Io`] when something cannot be read, [`Error::UnsupportedVersion`], [`Error::Foreign`]. Damage is no error
/// here: it is what the report is about.
pub fn verify(dir: impl AsRef<Path>) -> Result<VerifyReport> {
    verify_with(dir, |_| {})
}

/// As [`verify`], and tells how far it is: at the beginning, after each segment, and so at the end. Each call has read at
/// least as much as the one before.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(dir: impl AsRef<Path>, mut progress: impl FnMut(VerifyProgress)) -> Result<VerifyReport> {
    let dir = dir.as_ref();
    let disk = RealDisk::open(dir).map_err(|e| Error::io(crate::error::OPEN_DIRECTORY, dir, e))?;
    let (disk, mut meter) = (Arc::new(disk) as Arc<dyn Disk>, Meter::new(&mut progress));
    look_until_sure(|| check(&disk, &mut meter))
}

/// As [`verify`], for a directory of a given disk.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(disk: &Arc<dyn Disk>) -> Result<VerifyReport> {
    look_until_sure(|| check(disk, &mut Meter::new(&mut |_| {})))
}

fn look_until_sure(mut look: impl FnMut() -> Result<VerifyReport>) -> Result<VerifyReport> {
    // A running writer may write a block, start a segment or free one between two of our reads. What is really wrong is
    // wrong in the same way the next time.
    let mut last = look();
    for _ in 1..LOOKS {
        if last.as_ref().is_ok_and(VerifyReport::is_ok) {
            break;
        }
        let again = look();
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

fn check(disk: &Arc<dyn Disk>, meter: &mut Meter<'_>) -> Result<VerifyReport> {
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
    meter.begin(&catalog);
    check_sealed(&catalog, &mut report, meter)?;
    let look = Look { policy: TailPolicy::Truncate, mmap: false, cores: Cores::available(true) };
    match survey(&catalog, &sb, look) {
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
    if let Some(newest) = catalog.members.last() {
        meter.add(room(newest));
    }
    Ok(report)
}

/// Every byte of the ended segments, footers included.
fn check_sealed(catalog: &Catalog, report: &mut VerifyReport, meter: &mut Meter<'_>) -> Result<()> {
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
        meter.add(extent(member, end.end));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(at: u64) -> Result<VerifyReport> {
        let lsns = Lsn::new(at)..Lsn::new(at + 1);
        let found = Corruption::new("a segment", at, lsns, CorruptionReason::Payload);
        Ok(VerifyReport { problems: vec![found], ..VerifyReport::empty() })
    }

    fn gone(at: usize) -> Result<VerifyReport> {
        Err(Error::io("open", format!("file {at}"), std::io::ErrorKind::NotFound.into()))
    }

    /// What these looks come to in the end, and how many there were.
    fn seen(finds: impl Fn(usize) -> Result<VerifyReport>) -> (String, usize) {
        let mut looks = 0;
        let found = look_until_sure(|| {
            looks += 1;
            finds(looks)
        });
        (told(found), looks)
    }

    fn told(found: Result<VerifyReport>) -> String {
        found.map_or_else(|e| e.to_string(), |report| report.to_string())
    }

    #[test]
    fn what_differs_from_look_to_look_is_a_writers_doing() {
        let whole = || Ok(VerifyReport::empty());
        assert_eq!(seen(|_| whole()), (told(whole()), 1));
        for wrong in [1, 2, 9, LOOKS - 1] {
            let damaged = |n| if n > wrong { whole() } else { problem(n as u64) };
            assert_eq!(seen(damaged), (told(whole()), wrong + 1));
            let changing = |n| if n > wrong { whole() } else { gone(n) };
            assert_eq!(seen(changing), (told(whole()), wrong + 1));
        }
        // One fault in every other look is not the same one twice.
        let mixed = |n| {
            if n > 8 {
                whole()
            } else if n % 2 == 0 {
                problem(1)
            } else {
                gone(1)
            }
        };
        assert_eq!(seen(mixed), (told(whole()), 9));
    }

    #[test]
    fn what_two_looks_find_alike_is_so() {
        assert_eq!(seen(|_| problem(1)), (told(problem(1)), 2));
        assert_eq!(seen(|n| problem(n.min(4) as u64)), (told(problem(4)), 5));
        assert_eq!(seen(|n| gone(n.min(4))), (told(gone(4)), 5));
    }

    #[test]
    fn what_never_stays_the_same_is_told_as_it_was_last() {
        assert_eq!(seen(|n| problem(n as u64)), (told(problem(LOOKS as u64)), LOOKS));
        assert_eq!(seen(gone), (told(gone(LOOKS)), LOOKS));
    }
}
