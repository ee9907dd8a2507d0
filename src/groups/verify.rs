//! Verifies a log of groups without opening it: everything that [`seawall::verify`](crate::verify) checks, and that
//! every group is complete.
//!
//! The verdicts correspond to those of a plain log: what it calls whole can be opened and read to the end, and what
//! an open would refuse, it calls damaged.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::error::{Error, Result};
use super::view::GroupView;
use crate::error::{Corruption, Error as LogError};
use crate::io::{Disk, open_directory};
use crate::retry::{Fault, Outcome, Place, unsettled, until_certain};
use crate::{LogView, Options, SegmentId, Verdict, VerifyProgress, VerifyReport, verify_on_with};

/// The result of [`verify`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupVerifyReport {
    /// The result for the log itself.
    pub log: VerifyReport,
    /// Number of groups, complete or not.
    pub groups: usize,
    /// Problems of groups.
    pub problems: Vec<Error>,
}

impl GroupVerifyReport {
    /// The overall result.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.problems.is_empty() { self.log.verdict() } else { Verdict::Damaged }
    }
}

impl fmt::Display for GroupVerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{} groups", self.log, self.groups)?;
        for problem in &self.problems {
            write!(f, "\nrefused: {problem}")?;
        }
        Ok(())
    }
}

/// Reads and verifies everything in the log of groups in `dir`, also beside a running writer. Takes no lock and
/// changes nothing.
///
/// # Errors
/// As [`crate::verify`].
pub fn verify(dir: impl AsRef<Path>) -> Result<GroupVerifyReport> {
    verify_on(&open_directory(dir.as_ref())?, &Options::new(), |_| {})
}

/// Like [`verify`], for a directory on the given disk, with reports of the progress in the log, which is most of the
/// work. Uses the owner and the codecs of `options`.
///
/// # Errors
/// As [`verify`]; `OwnerMismatch` for a directory of another owner.
pub fn verify_on(
    disk: &Arc<dyn Disk>,
    options: &Options,
    progress: impl FnMut(VerifyProgress),
) -> Result<GroupVerifyReport> {
    let log = verify_log(disk, options, progress)?;
    let looked = look_until_certain(disk, || {
        let view = match damaged_view(disk, options)? {
            Ok(view) => view,
            Err(e) => return Ok(Looked::nothing(0, e)),
        };
        let (groups, problems) = GroupView::salvage(&view)?;
        Ok(Looked { oldest: view.oldest(), seen: groups.groups().len(), problems })
    })?;
    Ok(GroupVerifyReport { log, groups: looked.seen, problems: looked.problems })
}

/// Verifies the log itself and its owner.
pub(crate) fn verify_log(
    disk: &Arc<dyn Disk>,
    options: &Options,
    progress: impl FnMut(VerifyProgress),
) -> Result<VerifyReport> {
    let log = verify_on_with(disk, progress)?;
    match (options.expected_owner(), log.owner) {
        (Some(expected), Some(found)) if expected != found => {
            Err(LogError::OwnerMismatch { dir: disk.path().to_owned(), expected, found }.into())
        }
        _ => Ok(log),
    }
}

/// The log, damaged or not; the problem if not even its identity is known.
pub(crate) fn damaged_view(
    disk: &Arc<dyn Disk>,
    options: &Options,
) -> Result<std::result::Result<LogView, LogError>> {
    match LogView::open_damaged_on(disk) {
        Ok(view) => Ok(Ok(view.with_codecs_of(options))),
        Err(e @ LogError::Corruption(_)) => Ok(Err(e)),
        Err(e) => Err(e.into()),
    }
}

/// One look at the groups.
pub(crate) struct Looked<T, E> {
    /// The log's oldest segment at that time.
    pub(crate) oldest: SegmentId,
    pub(crate) seen: T,
    pub(crate) problems: Vec<E>,
}

impl<T, E: From<LogError>> Looked<T, E> {
    /// A look that found only this problem.
    pub(crate) fn nothing(seen: T, problem: LogError) -> Looked<T, E> {
        Looked { oldest: SegmentId::new(u64::MAX), seen, problems: vec![problem.into()] }
    }
}

/// An error that a look at groups may find.
pub(crate) trait Found: fmt::Display + From<LogError> {
    /// The error of the log below, if it is one.
    fn below(&self) -> Option<&LogError>;
}

impl Found for Error {
    fn below(&self) -> Option<&LogError> {
        match self {
            Error::Log(e) => Some(e),
            _ => None,
        }
    }
}

/// Looks until it is certain what is wrong with groups. Damage in the log's own segments also makes it look again,
/// because groups cannot be seen past it; but such damage is left out in the end, because the verification of the log
/// reports it.
pub(crate) fn look_until_certain<T, E: Found>(
    disk: &Arc<dyn Disk>,
    look: impl Fn() -> Result<Looked<T, E>, E>,
) -> Result<Looked<T, E>, E> {
    let faults = |looked: &Result<Looked<T, E>, E>| match looked {
        Ok(looked) => looked.problems.iter().map(|e| GroupFault::of(e, looked.oldest)).collect(),
        Err(_) => Vec::new(),
    };
    match until_certain(disk, look, faults) {
        Outcome::Intact(looked) => looked,
        Outcome::Faulty(looked, certain) => {
            let mut looked = looked?;
            let oldest = looked.oldest;
            looked
                .problems
                .retain(|e| damage_of_the_log(e).is_none() && certain.contains(&GroupFault::of(e, oldest)));
            Ok(looked)
        }
        Outcome::Unsettled => Err(unsettled(disk.path()).into()),
    }
}

fn damage_of_the_log<E: Found>(e: &E) -> Option<&Corruption> {
    match e.below() {
        Some(LogError::Corruption(c)) if !c.is_beside_the_log() => Some(c),
        _ => None,
    }
}

/// A fault and what it rests on. A file beside the log has a name that is never reused, and damage in a segment
/// concerns that segment. Any other fault concerns all records present at the time, so it is void once some of them
/// were released.
#[derive(PartialEq)]
struct GroupFault {
    what: String,
    rests_on: Option<SegmentId>,
}

impl GroupFault {
    fn of<E: Found>(e: &E, oldest: SegmentId) -> Self {
        let rests_on = match (e.below(), damage_of_the_log(e)) {
            (None, _) => Some(oldest),
            (Some(_), Some(damage)) => Place::of(damage).rests_on(),
            (Some(_), None) => None,
        };
        GroupFault { what: e.to_string(), rests_on }
    }
}

impl Fault for GroupFault {
    fn rests_on(&self) -> Option<SegmentId> {
        self.rests_on
    }
}
