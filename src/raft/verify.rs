//! Verifies a Raft log without opening it: everything that [`seawall::verify`](crate::verify) checks, and what the
//! groups need in addition.
//!
//! | finding | source |
//! |---|---|
//! | damage in the log | [`crate::verify`] |
//! | an incomplete group, as after a cut | the groups, built as an open would build them |
//! | a snapshot that a group refers to, missing or damaged | reading it to its end; an open reads only the beginning |
//!
//! The verdicts correspond to [`RaftOptions::open`] as those of a plain log do to its open: what it calls whole can
//! be opened and read to the end, and what an open would refuse, it calls damaged.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::error::{Error, Result};
use super::options::RaftOptions;
use super::snapshot::{self, SnapshotFiles, is_snapshot};
use super::view::RaftView;
use crate::error::Error as LogError;
use crate::groups::verify::{Found, Looked, damaged_view, look_until_certain, verify_log};
use crate::io::{Disk, open_directory};
use crate::{Verdict, VerifyProgress, VerifyReport};

/// The result of [`verify`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RaftVerifyReport {
    /// The result for the log itself. Foreign files in `snapshots` are included in its list.
    pub log: VerifyReport,
    /// Number of groups, complete or not.
    pub groups: usize,
    /// Number of snapshots that verify to their end.
    pub snapshots: usize,
    /// Problems of groups and of the snapshots that they refer to.
    pub problems: Vec<Error>,
}

impl RaftVerifyReport {
    /// The overall result.
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

/// Reads and verifies everything in the Raft log in `dir`, also beside a running writer. Takes no lock and changes
/// nothing.
///
/// # Errors
/// As [`crate::verify`].
pub fn verify(dir: impl AsRef<Path>) -> Result<RaftVerifyReport> {
    verify_on(&open_directory(dir.as_ref())?, &RaftOptions::new(), |_| {})
}

/// Like [`verify`], for a directory on the given disk, with reports of the progress in the log, which is most of the
/// work. Uses the node id and the codecs of `options`.
///
/// # Errors
/// As [`verify`]; `OwnerMismatch` for another node's directory.
pub fn verify_on(
    disk: &Arc<dyn Disk>,
    options: &RaftOptions,
    progress: impl FnMut(VerifyProgress),
) -> Result<RaftVerifyReport> {
    let below = options.below()?;
    let mut log = verify_log(disk, &below, progress)?;
    let looked = look_until_certain(disk, || {
        let foreign = foreign(disk)?;
        let view = match damaged_view(disk, &below)? {
            Ok(view) => view,
            Err(e) => return Ok(Looked::nothing(Seen { foreign, ..Seen::default() }, e)),
        };
        let (groups, mut problems) = RaftView::salvage(&view)?;
        let mut seen = Seen { groups: groups.groups().len(), snapshots: 0, foreign };
        let files = SnapshotFiles::of(disk, view.uuid())?;
        for (group, file) in groups.snapshots() {
            match files.verify(group, file) {
                Ok(()) => seen.snapshots += 1,
                Err(e @ LogError::Corruption(_)) => problems.push(e.into()),
                Err(e) => return Err(e.into()),
            }
        }
        Ok::<_, Error>(Looked { oldest: view.oldest(), seen, problems })
    })?;
    let Seen { groups, snapshots, foreign } = looked.seen;
    log.foreign.extend(foreign);
    Ok(RaftVerifyReport { log, groups, snapshots, problems: looked.problems })
}

/// The result of one look.
#[derive(Default)]
struct Seen {
    groups: usize,
    snapshots: usize,
    foreign: Vec<String>,
}

impl Found for Error {
    fn below(&self) -> Option<&LogError> {
        match self {
            Error::Log(e) => Some(e),
            _ => None,
        }
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
