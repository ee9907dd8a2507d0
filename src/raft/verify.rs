//! Checking a Raft log without opening it: what [`seawall::verify`](crate::verify) checks, and what the groups need on top.
//!
//! | found | by |
//! |---|---|
//! | damage in the log | [`crate::verify`] |
//! | a group that is not whole, as after a cut | the groups, put together as an open does it |
//! | a snapshot that a group refers to, missing or damaged | reading it to its end; an open reads the beginning |
//!
//! So the verdict stands to [`RaftOptions::open`] as that of a log stands to its open: what it calls whole opens and can be
//! read to the end, what the open refuses it calls damaged.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::error::{Error, Result};
use super::options::RaftOptions;
use super::snapshot::{self, SnapshotFiles, is_snapshot};
use super::view::RaftView;
use crate::error::{Error as LogError, OPEN_DIRECTORY};
use crate::io::{Disk, RealDisk};
use crate::lsn::SegmentId;
use crate::retry::{Fault, Sure, unsettled, until_sure};
use crate::verify::verify_on_with;
use crate::{LogView, Verdict, VerifyProgress, VerifyReport};

/// What [`verify`] found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RaftVerifyReport {
    /// What is to be said of the log itself. Files in `snapshots` that are not the log's are among its foreign ones.
    pub log: VerifyReport,
    /// How many groups there are, whole or not.
    pub groups: usize,
    /// How many snapshots verify to their end.
    pub snapshots: usize,
    /// What is wrong with groups and with snapshots that they refer to.
    pub problems: Vec<Error>,
}

impl RaftVerifyReport {
    /// What all this comes to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.problems.is_empty() { self.log.verdict() } else { Verdict::Damaged }
    }
}

impl fmt::Display for RaftVerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{} groups, {} snapshots verify", self.log, self.groups, self.snapshots)?;
        for problem in &self.problems {
            write!(f, "\nrefused: {problem}")?;
        }
        Ok(())
    }
}

/// Reads and verifies everything in the Raft log in `dir`, also beside a running writer. Takes no lock and changes nothing.
///
/// # Errors
/// As [`crate::verify`].
pub fn verify(dir: impl AsRef<Path>) -> Result<RaftVerifyReport> {
    let dir = dir.as_ref();
    let disk = RealDisk::open(dir).map_err(|e| LogError::io(OPEN_DIRECTORY, dir, e))?;
    verify_on(&(Arc::new(disk) as Arc<dyn Disk>), &RaftOptions::new(), |_| {})
}

/// As [`verify`], for a directory of a given disk; tells how far it is with the log, which is most of it. Of `options`, the
/// node id is compared, and the codecs are used.
///
/// # Errors
/// As [`verify`]; `OwnerMismatch` for another node's directory.
pub fn verify_on(
    disk: &Arc<dyn Disk>,
    options: &RaftOptions,
    progress: impl FnMut(VerifyProgress),
) -> Result<RaftVerifyReport> {
    let mut log = verify_on_with(disk, progress)?;
    if let (Some(expected), Some(found)) = (options.node(), log.owner)
        && expected != found
    {
        return Err(LogError::OwnerMismatch { dir: disk.path().to_owned(), expected, found }.into());
    }
    let faults = |looked: &Result<Groups>| match looked {
        Ok(groups) => groups.problems.iter().map(|e| GroupFault::of(e, groups.oldest)).collect(),
        Err(_) => Vec::new(),
    };
    let (groups, problems) = match until_sure(disk, || Groups::look(disk, options), faults) {
        Sure::Whole(looked) => (looked?, Vec::new()),
        Sure::Wrong(looked, certain) => {
            let mut groups = looked?;
            let oldest = groups.oldest;
            let mut problems = std::mem::take(&mut groups.problems);
            problems.retain(|e| certain.contains(&GroupFault::of(e, oldest)));
            (groups, problems)
        }
        Sure::Unsettled => return Err(unsettled(disk.path()).into()),
    };
    log.foreign.extend(groups.foreign);
    Ok(RaftVerifyReport { log, groups: groups.count, snapshots: groups.snapshots, problems })
}

/// One look at the groups.
struct Groups {
    count: usize,
    snapshots: usize,
    problems: Vec<Error>,
    foreign: Vec<String>,
    /// The view's oldest segment.
    oldest: SegmentId,
}

impl Groups {
    fn look(disk: &Arc<dyn Disk>, options: &RaftOptions) -> Result<Groups> {
        let mut found = Groups {
            count: 0,
            snapshots: 0,
            problems: Vec::new(),
            foreign: foreign(disk)?,
            oldest: SegmentId::new(u64::MAX),
        };
        let view = match LogView::open_damaged_on(disk) {
            Ok(view) => view,
            // Not even which log this is can be known, and that is said already.
            Err(LogError::Corruption(_)) => return Ok(found),
            Err(e) => return Err(e.into()),
        };
        let view = options.below()?.codecs().fold(view, |view, codec| view.decode_with(Arc::clone(codec)));
        found.oldest = view.oldest();
        let (groups, mut problems) = RaftView::salvage(&view)?;
        // The log's own damage is in the log's own report.
        problems.retain(|e| !matches!(e, Error::Log(LogError::Corruption(_))));
        let files = SnapshotFiles::of(disk, view.uuid())?;
        for (group, file) in groups.snapshots() {
            match files.verify(group, file) {
                Ok(()) => found.snapshots += 1,
                Err(e @ LogError::Corruption(_)) => problems.push(e.into()),
                Err(e) => return Err(e.into()),
            }
        }
        (found.count, found.problems) = (groups.groups().len(), problems);
        Ok(found)
    }
}

/// Files among the snapshots with a name that no snapshot has.
fn foreign(disk: &Arc<dyn Disk>) -> Result<Vec<String>> {
    let io = |op| move |e| LogError::io(op, disk.path().join(snapshot::DIRECTORY), e);
    let directory = match disk.open_dir(snapshot::DIRECTORY) {
        Ok(directory) => directory,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io("open")(e).into()),
    };
    let mut names = directory.list().map_err(io("list"))?;
    names.retain(|name| !is_snapshot(name));
    names.sort();
    Ok(names.into_iter().map(|name| format!("{}/{name}", snapshot::DIRECTORY)).collect())
}

/// What is wrong, and with what. A snapshot's file has a name that is never given twice; everything else is said of all
/// records that there were, so it says nothing once some of them were released.
#[derive(PartialEq)]
struct GroupFault {
    what: String,
    rests_on: Option<SegmentId>,
}

impl GroupFault {
    fn of(e: &Error, oldest: SegmentId) -> Self {
        let rests_on = (!matches!(e, Error::Log(_))).then_some(oldest);
        GroupFault { what: e.to_string(), rests_on }
    }
}

impl Fault for GroupFault {
    fn rests_on(&self) -> Option<SegmentId> {
        self.rests_on
    }
}
