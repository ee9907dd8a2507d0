//! Drops the groups that need something unreadable, and no others: an entry ([`crate::groups::repair`]), or the
//! snapshot that the group refers to.
//!
//! What a group has besides entries (HardState, ConfState, applied index, the snapshot that it refers to) is in the
//! summaries of segments, so an unreadable record of that kind costs nothing.
//!
//! **A dropped replica must not continue under its old id**: it has acknowledged entries and given votes that are now
//! forgotten. Remove it from the group, and add this node again under a new id.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use seawall::Options;
//! use seawall::raft::RaftOptions;
//! use seawall::raft::repair::DropPlan;
//!
//! let disk = Options::new().create_if_missing(false).disk("/var/lib/node-1".as_ref())?;
//! let plan = DropPlan::of(&disk, &RaftOptions::new())?;
//! for dropped in plan.dropped() {
//!     println!("group {} cannot continue: {:?} {:?}", dropped.group, dropped.entries, dropped.snapshot);
//! }
//! let done = plan.apply(None)?;
//! println!("the copies are in {:?}", done.undo_dir);
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check;
use super::codec::fields;
use super::error::Result;
use super::options::RaftOptions;
use super::snapshot::{self, SnapshotFiles};
use super::storage::Recovered;
use crate::Lsn;
use crate::error::{Corruption, CorruptionReason, Error as LogError};
use crate::groups::contents::Contents;
use crate::groups::repair::Damage;
use crate::io::Disk;
use crate::repair::{Layer, OfflineLog, Repaired};

pub use crate::groups::repair::LostEntries;

/// The files that a Raft log keeps beside its segments, its snapshots: a repair of the log copies them too.
#[must_use]
pub fn files_beside_the_log() -> Layer {
    Layer { directory: snapshot::DIRECTORY.to_owned(), ending: snapshot::SUFFIX.to_owned() }
}

/// What dropping groups would do. Making a plan changes nothing.
#[derive(Debug)]
pub struct DropPlan {
    disk: Arc<dyn Disk>,
    options: RaftOptions,
    damage: Damage,
    /// Everything that does not verify, in segments and in snapshots.
    problems: Vec<Corruption>,
    dropped: Vec<Dropped>,
    survivors: BTreeMap<u64, Recovered>,
    accepted: bool,
}

/// A group that needs something unreadable. Everything else it has is dropped as well.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Dropped {
    /// The group.
    pub group: u64,
    /// What is known about it.
    pub state: Recovered,
    /// The unreadable entries that it needs, ascending.
    pub entries: Vec<LostEntries>,
    /// Its snapshot, if that is unreadable.
    pub snapshot: Option<LostSnapshot>,
}

/// An unreadable snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostSnapshot {
    /// The index of the last entry in it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// What is wrong with its file.
    pub reason: CorruptionReason,
}

impl DropPlan {
    /// Examines the Raft log in `disk` and determines which groups would be dropped. Takes no lock and changes
    /// nothing. Uses the node id and the codecs of `options`.
    ///
    /// # Errors
    /// [`Error::Log`](super::Error::Log) with [`LogError::Repair`] when the affected groups cannot be determined: its
    /// problem says why, and what else can be done. With `Corruption` when both slots of the superblock are damaged,
    /// with `Io` when something cannot be read: copy the directory to a healthy device, and repair the copy. With
    /// `OwnerMismatch` for another node's directory. [`Error::Incomplete`](super::Error::Incomplete) when a group
    /// lacks something that is not damaged but missing, as after a cut; [`Error::Content`](super::Error::Content).
    pub fn of(disk: &Arc<dyn Disk>, options: &RaftOptions) -> Result<DropPlan> {
        let damage = Damage::of(disk, &options.below()?)?;
        for (id, contents) in &damage.groups {
            check::verify_whole(*id, contents)?;
        }
        let snapshots = lost_snapshots(disk, &damage)?;
        let mut plan = DropPlan {
            disk: Arc::clone(disk),
            options: options.clone(),
            problems: damage.problems.clone(),
            dropped: Vec::new(),
            survivors: BTreeMap::new(),
            accepted: snapshots.values().all(|lost| lost.opens),
            damage,
        };
        for (id, contents) in &plan.damage.groups {
            let entries = plan.damage.lost.get(id).cloned().unwrap_or_default();
            let snapshot = snapshots.get(id).map(|lost| lost.what);
            let state = Recovered::of(contents);
            if entries.is_empty() && snapshot.is_none() {
                plan.survivors.insert(*id, state);
            } else {
                plan.dropped.push(Dropped { group: *id, state, entries, snapshot });
            }
        }
        plan.problems.extend(snapshots.into_values().map(|lost| lost.problem));
        Ok(plan)
    }

    /// Whether no group would be dropped: nothing is damaged, or nothing that a group still needs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty()
    }

    /// Everything that does not verify, in segments and in the snapshots that groups refer to.
    #[must_use]
    pub fn problems(&self) -> &[Corruption] {
        &self.problems
    }

    /// The groups that would be dropped, by ascending id.
    #[must_use]
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// The groups that would stay, with everything they have, and what is known about each.
    #[must_use]
    pub fn survivors(&self) -> &BTreeMap<u64, Recovered> {
        &self.survivors
    }

    /// Whether an open accepts the log as it is, so that only reads of the damaged parts fail.
    #[must_use]
    pub fn opens_as_it_is(&self) -> bool {
        self.accepted
    }

    /// Where the log ends. Dropping groups gives up nothing after the damage.
    #[must_use]
    pub fn end_lsn(&self) -> Lsn {
        self.damage.view.end_lsn()
    }

    /// Performs the repair: copies files into `undo_dir`, which must be empty, or into a new directory `repair-<n>`
    /// in the log's directory, then removes the groups. [`undo`](crate::repair::undo) restores the earlier state, as
    /// long as the log has not released anything that was not copied.
    ///
    /// # Errors
    /// [`LogError::Locked`] beside a writer; [`LogError::Repair`] when the log has changed since the plan was made,
    /// or `undo_dir` is in use: nothing was changed. [`LogError::Io`]: run it again, or undo it; nothing was changed
    /// if the copies were not complete yet.
    pub fn apply(&self, undo_dir: Option<&Arc<dyn Disk>>) -> Result<Repaired> {
        let log = OfflineLog::lock(&self.disk)?;
        let again = DropPlan::of(&self.disk, &self.options)?;
        if !again.damage.is_same(&self.damage) || again.dropped != self.dropped {
            return Err(again.damage.changed().into());
        }
        let directories = [files_beside_the_log()];
        let groups = again.dropped.iter().map(|dropped| dropped.group);
        Ok(again.damage.drop_groups(log, undo_dir, &directories, groups)?)
    }
}

/// An unreadable snapshot that a group refers to.
struct Unreadable {
    what: LostSnapshot,
    problem: Corruption,
    /// Whether an open of the log accepts the file, because it reads only the beginning.
    opens: bool,
}

/// The unreadable snapshots, by group. All others were read to their end.
fn lost_snapshots(disk: &Arc<dyn Disk>, damage: &Damage) -> Result<BTreeMap<u64, Unreadable>> {
    let of = |(id, c): (&u64, &Contents)| Some((*id, fields::fixed_of(&c.root.state).snapshot?));
    let referred: Vec<_> = damage.groups.iter().filter_map(of).collect();
    let mut lost = BTreeMap::new();
    if referred.is_empty() {
        return Ok(lost);
    }
    let snapshots = SnapshotFiles::of(disk, damage.view.uuid())?;
    for (id, file) in referred {
        match snapshots.verify(id, file) {
            Ok(()) => {}
            Err(LogError::Corruption(problem)) => {
                let what = LostSnapshot { index: file.at.index, term: file.at.term, reason: problem.reason };
                let opens = snapshots.check(id, file).is_ok();
                lost.insert(id, Unreadable { what, problem: *problem, opens });
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(lost)
}
