//! Checking a log without opening it: no lock, no change, also beside a running writer.
//!
//! A verification is stricter than an open, which reads only the footer of an ended segment. What an open refuses, a
//! verification calls damaged; what an open cuts, it calls cut; what it calls whole can be opened and read to the
//! end. It may also find damage in a log that opens: damage that a read would have met.
//!
//! It does not stop at the first damage. `check` finds everything in one pass; further passes tell whether a writer
//! caused it ([`crate::retry`]).

mod check;
mod meter;
mod report;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Corruption, Result};
use crate::format::superblock::Superblock;
use crate::io::{Disk, open_directory};
use crate::report::Cut;
use crate::retry::{Outcome, Place, unsettled, until_certain};

use check::{check, check_under, cuts_now};
use meter::Meter;
pub use meter::VerifyProgress;
pub use report::{SegmentCheck, Verdict, VerifyReport};

/// Reads and verifies everything in the log in `dir`. Takes no lock and never changes anything.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when something cannot be read, or when a writer changes the log faster than it can
/// be read;
/// [`Error::UnsupportedVersion`](crate::Error::UnsupportedVersion), [`Error::Foreign`](crate::Error::Foreign). Damage is not an error here: the report describes it.
pub fn verify(dir: impl AsRef<Path>) -> Result<VerifyReport> {
    verify_with(dir, |_| {})
}

/// Like [`verify`], and reports progress: at the beginning and after each segment, and so also at the end. Progress
/// never goes backwards.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(dir: impl AsRef<Path>, progress: impl FnMut(VerifyProgress)) -> Result<VerifyReport> {
    verify_on_with(&open_directory(dir.as_ref())?, progress)
}

/// Like [`verify`], for a directory on the given disk.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(disk: &Arc<dyn Disk>) -> Result<VerifyReport> {
    verify_on_with(disk, |_| {})
}

/// As [`verify_with`], for a directory of a given disk.
///
/// # Errors
/// As [`verify`].
pub fn verify_on_with(disk: &Arc<dyn Disk>, progress: impl FnMut(VerifyProgress)) -> Result<VerifyReport> {
    let mut report = look(disk, progress)?;
    if report.is_ok() && !report.torn.is_empty() && is_being_written(disk, &report.torn) {
        report.torn.clear();
    }
    Ok(report)
}

/// All damage. What an open would cut is not damage.
pub(crate) fn damage_on(disk: &Arc<dyn Disk>) -> Result<Vec<Corruption>> {
    look(disk, |_| {}).map(|report| report.problems)
}

/// What would be damaged if this were the superblock. A log without a superblock has no writer.
pub(crate) fn damage_under(disk: &Arc<dyn Disk>, sb: &Superblock) -> Result<Vec<Corruption>> {
    check_under(disk, sb, &mut Meter::new(&mut |_| {})).map(|report| report.problems)
}

fn look(disk: &Arc<dyn Disk>, mut progress: impl FnMut(VerifyProgress)) -> Result<VerifyReport> {
    let mut meter = Meter::new(&mut progress);
    let places = |looked: &Result<VerifyReport>| match looked {
        Ok(report) => report.problems.iter().map(Place::of).collect(),
        Err(e) => Place::of_failure(e).into_iter().collect(),
    };
    match until_certain(disk, || check(disk, &mut meter), places) {
        Outcome::Intact(looked) => looked,
        Outcome::Faulty(looked, certain) => {
            let mut report = looked?;
            report.problems.retain(|p| certain.contains(&Place::of(p)));
            Ok(report)
        }
        Outcome::Unsettled => Err(unsettled(disk.path())),
    }
}

/// A block that is being written reads as torn, but only for a moment. It is looked at again after each of these
/// times, in milliseconds, without reading the whole log.
const WAITS: [u64; 4] = if cfg!(fuzzing) { [0; 4] } else { [5, 10, 20, 40] };

/// Whether what an open would cut changes over time: then a writer is at work, and an open would find something else.
fn is_being_written(disk: &Arc<dyn Disk>, torn: &[Cut]) -> bool {
    let places = |cuts: &[Cut]| -> Vec<_> { cuts.iter().map(|c| (c.file.clone(), c.lsns.clone())).collect() };
    WAITS.into_iter().any(|wait| {
        std::thread::sleep(Duration::from_millis(wait));
        cuts_now(disk).map_or(true, |now| places(&now) != places(torn))
    })
}
