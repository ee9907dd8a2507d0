//! Repairing a damaged log: only what was chosen, only after what it changes was copied, and with a way back.
//!
//! ```text
//!  Plan::of ──> what would be lost; nothing is changed
//!     |
//!   apply:  lock ── copies and manifest, synced ── new last segment, synced ── the rest removed ── superblock
//!           \____ the log as it was, and refused ____/ \______ refused, or the new log; undo gives back the old ______/
//! ```
//!
//! An open refuses a log of which something is damaged that was durable, because nobody but its owner can know what the
//! loss means. Without a replica or a backup, this is the way to continue with what is left:
//!
//! * [`Choice::Cut`] gives up everything from the first damage on. What is whole before it stays, with its addresses. The
//!   last segment that stays is written again into a new file, up to the damage, so that nothing of what lies behind can
//!   come back to life: neither as blocks nor as evidence that something is missing.
//! * [`Choice::RebuildFooters`] takes away footers whose summary is damaged. The next open reads those segments whole, and
//!   writes new ones. No record is lost.
//! * [`Choice::RebuildSuperblock`] makes a superblock of what the segments say, when the file is gone or both of its slots are
//!   damaged. No record is lost that is there.
//!
//! **A Raft replica that lost entries it had acknowledged must not go on as the same node**: it may have voted, or counted
//! towards a majority, with what is gone. Remove it from its groups and add it again under another id.

mod loss;
mod offline;
mod undo;
mod undo_dir;

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Corruption, Error, LogUuid, RepairProblem, Result};
use crate::format::superblock::Superblock;
use crate::io::{Access, Disk, sync_names};
use crate::lsn::{Lsn, SegmentId};
use crate::recovery::{Footing, KeptSegment, Prefix, Rebuilt, Rewrite, rebuild};
use crate::retention::random_salt;
use crate::segment::{FoundSuperblock, Segment, SpacePool, SuperblockFile, clear_footer};
use crate::verify::{damage_on, damage_under};
use crate::view::LogView;
use crate::wal::take_lock;

pub use loss::Loss;
pub use offline::OfflineLog;
pub use undo::{Undone, undo};
pub use undo_dir::Layer;

/// What the directories for copies are called, in the log's own; a number follows.
pub const UNDO_DIR_PREFIX: &str = "repair-";

/// What is to be done about the damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Give up everything from the first damage on. Damaged footers before it are taken away too.
    Cut,
    /// Take away damaged footers, so that they are written anew; nothing else.
    RebuildFooters,
    /// Make the superblock anew of what the segments say; nothing else. [`Plan::superblock`] is what it would say. Segments that
    /// the log had released, and not removed yet, come back with it.
    RebuildSuperblock {
        /// Whom the directory is pinned to ([`Options::owner`](crate::Options::owner); of a Raft log, the node id). No segment
        /// says it: without it the log belongs to nobody, until it is opened with an owner.
        owner: Option<u64>,
        /// The segment that the log begins with, where the segments do not tell. All older ones are given up.
        oldest: Option<SegmentId>,
    },
}

/// A superblock as it would be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewSuperblock {
    /// The log's identity.
    pub uuid: LogUuid,
    /// The segment that the log begins with.
    pub oldest: SegmentId,
    /// The segment before that one, if there was one: it was released or it is lost, and nobody can tell which.
    pub before: Option<SegmentId>,
    /// The newest segment that has a durable block.
    pub newest: Option<SegmentId>,
    /// Everything below is durable.
    pub durable: Lsn,
    /// Whom the directory is pinned to.
    pub owner: Option<u64>,
}

/// What a repair would do. Making one changes nothing.
#[derive(Debug)]
pub struct Plan {
    disk: Arc<dyn Disk>,
    choice: Choice,
    superblock: Superblock,
    rebuilt: Option<Rebuilt>,
    prefix: Prefix,
    problems: Vec<Corruption>,
    problems_left: Vec<Corruption>,
    loss: Option<Loss>,
    accepted: bool,
    directories: Vec<Layer>,
}

/// What a repair did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Repaired {
    /// Where the copies are; `None` when there was nothing to do.
    pub undo_dir: Option<PathBuf>,
    /// The files that were copied before anything was changed.
    pub copied: Vec<String>,
    /// The file that the last segment was written into, or the superblock.
    pub written: Option<String>,
    /// The files that are no longer part of the log.
    pub removed: Vec<String>,
    /// The files whose footer was taken away.
    pub footers: Vec<String>,
}

impl Repaired {
    /// Of what there was nothing to do about.
    pub(crate) fn nothing() -> Self {
        Repaired {
            undo_dir: None,
            copied: Vec::new(),
            written: None,
            removed: Vec::new(),
            footers: Vec::new(),
        }
    }
}

impl Plan {
    /// Looks at the log in `disk` and says what the repair would do. Takes no lock and changes nothing.
    ///
    /// # Errors
    /// [`Error::Repair`] when nothing would be left, or when the segments do not tell what a superblock has to say;
    /// [`Error::Corruption`] when the superblock is gone or damaged and the choice is another; [`Error::Io`] when something cannot be read: copy the directory to a device that can be
    /// read, and repair the copy. [`Error::UnsupportedVersion`], [`Error::Foreign`].
    pub fn of(disk: &Arc<dyn Disk>, choice: Choice) -> Result<Plan> {
        let found = SuperblockFile::read(disk);
        let (superblock, rebuilt) = match (choice, found) {
            (Choice::RebuildSuperblock { owner, oldest }, Err(Error::Corruption(_))) => {
                let rebuilt = rebuild(disk, oldest, owner)?;
                (rebuilt.superblock, Some(rebuilt))
            }
            (_, found) => (found?, None),
        };
        let problems = damage_on(disk)?;
        let problems_left = match &rebuilt {
            Some(rebuilt) => damage_under(disk, &rebuilt.superblock)?,
            None => Vec::new(),
        };
        let prefix = Prefix::read(disk, &superblock)?;
        let broken = problems.iter().any(|p| p.reason != crate::error::CorruptionReason::Footer);
        let loss = match (choice, prefix.kept.last()) {
            (Choice::Cut, None) if broken => {
                let path = disk.path().to_owned();
                return Err(Error::Repair { path, problem: RepairProblem::NothingLeft });
            }
            (Choice::Cut, Some(last)) if broken => Some(Loss::behind(last, &prefix.beyond, &superblock)?),
            _ => None,
        };
        let accepted = LogView::open_on(disk).is_ok();
        let (disk, directories) = (Arc::clone(disk), Vec::new());
        Ok(Plan {
            disk,
            choice,
            superblock,
            rebuilt,
            prefix,
            problems,
            problems_left,
            loss,
            accepted,
            directories,
        })
    }

    /// Copies also files of this directory in the log's, which the layer above keeps there and may remove once the log has
    /// lost what refers to them: those whose names end so, or so with `.tmp` behind it. All others in it are left alone.
    #[must_use]
    pub fn with_directory(mut self, name: impl Into<String>, ending: impl Into<String>) -> Self {
        self.directories.push(Layer { directory: name.into(), ending: ending.into() });
        self
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rebuilt.is_none() && self.loss.is_none() && self.footers().next().is_none()
    }

    /// The superblock that would be written; `None` when none would be.
    #[must_use]
    pub fn superblock(&self) -> Option<NewSuperblock> {
        let rebuilt = self.rebuilt.as_ref()?;
        let Superblock { uuid, oldest, newest, durable, owner, .. } = rebuilt.superblock;
        Some(NewSuperblock { uuid, oldest, before: rebuilt.before, newest, durable, owner })
    }

    /// What would not verify under the new superblock: choices of what to do about that come after it.
    #[must_use]
    pub fn problems_left(&self) -> &[Corruption] {
        &self.problems_left
    }

    /// What does not verify.
    #[must_use]
    pub fn problems(&self) -> &[Corruption] {
        &self.problems
    }

    /// What would be given up; `None` when no record is.
    #[must_use]
    pub fn loss(&self) -> Option<&Loss> {
        self.loss.as_ref()
    }

    /// Whether an open takes the log as it is: then only reading what is damaged fails, and a cut gives up more than
    /// that.
    #[must_use]
    pub fn opens_as_it_is(&self) -> bool {
        self.accepted
    }

    /// The log as it would be. What it shows can be read now.
    #[must_use]
    pub fn remaining(&self) -> LogView {
        let segment = |k: &KeptSegment| (Arc::clone(&k.member.segment), k.end);
        LogView::of(&self.disk, &self.superblock, self.prefix.kept.iter().map(segment).collect())
    }

    /// The files whose footer would be taken away.
    #[must_use]
    pub fn footers_to_rebuild(&self) -> Vec<String> {
        self.footers().map(|k| k.member.segment.name.clone()).collect()
    }

    /// The files that would be no longer part of the log; one of them is written again, up to the damage.
    #[must_use]
    pub fn files_to_remove(&self) -> Vec<String> {
        match (&self.loss, self.prefix.kept.last()) {
            (Some(_), Some(last)) => {
                let beyond = self.prefix.beyond.iter().map(|b| b.name.clone());
                std::iter::once(last.member.segment.name.clone()).chain(beyond).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Does it: copies into `undo_dir`, which must be empty, or into a new directory `repair-<n>` in the log's, and then changes
    /// the log.
    ///
    /// # Errors
    /// [`Error::Locked`] beside a writer; [`Error::Repair`] when the log has changed since, or `undo_dir` is in use: nothing
    /// was changed then. [`Error::Io`]: until the copies are complete, nothing was changed; afterwards [`undo`] gives back
    /// what was there.
    pub fn apply(&self, undo_dir: Option<&Arc<dyn Disk>>) -> Result<Repaired> {
        let lock = take_lock(&self.disk)?;
        let again = Plan { directories: self.directories.clone(), ..Plan::of(&self.disk, self.choice)? };
        if again.key() != self.key() {
            let path = self.disk.path().to_owned();
            return Err(Error::Repair { path, problem: RepairProblem::Changed });
        }
        let (removed, footers) = (again.files_to_remove(), again.footers_to_rebuild());
        let mut done = Repaired { removed, footers, ..Repaired::nothing() };
        if !again.is_empty() {
            let (at, copied) = again.save(undo_dir)?;
            (done.undo_dir, done.copied) = (Some(at), copied);
            done.written = again.change()?;
        }
        drop(lock);
        Ok(done)
    }

    /// What decides about what a repair does.
    fn key(&self) -> (Superblock, Option<Lsn>, Vec<String>, Vec<String>) {
        (self.superblock, self.prefix.end(), self.files_to_remove(), self.footers_to_rebuild())
    }

    /// The segments that stay as they are, with a damaged footer.
    fn footers(&self) -> impl Iterator<Item = &KeptSegment> {
        let wanted = !matches!(self.choice, Choice::RebuildSuperblock { .. });
        // The last one is written again without a footer.
        let rewritten = self.loss.as_ref().and(self.prefix.kept.len().checked_sub(1));
        let kept = self.prefix.kept.iter().enumerate().filter(move |(n, _)| Some(*n) != rewritten);
        kept.map(|(_, k)| k).filter(move |k| wanted && k.footing == Footing::Damaged)
    }

    /// The files that the log never writes to again: they may be released, that is all.
    fn untouched(&self) -> Vec<&str> {
        let ended = self.prefix.kept.split_last().map_or(&[][..], |(_, ended)| ended);
        let good = ended.iter().filter(|k| k.footing == Footing::Good);
        good.map(|k| k.member.segment.name.as_str()).collect()
    }

    fn save(&self, undo_dir: Option<&Arc<dyn Disk>>) -> Result<(PathBuf, Vec<String>)> {
        copy_to_undo_dir(&self.disk, undo_dir, self.superblock.uuid, &self.untouched(), &self.directories)
    }

    /// From here on the log is changed. Says which file the last segment was written into.
    fn change(&self) -> Result<Option<String>> {
        let disk = &self.disk;
        // What follows relies on names that an earlier run may have left in the cache only.
        sync_names(&**disk)?;
        for kept in self.footers() {
            let segment = &kept.member.segment;
            let file = disk.open(&segment.name, Access::ReadWrite);
            let file = file.map_err(|e| Error::io("open", &segment.path, e))?;
            clear_footer(&*file, segment, kept.end)?;
        }
        if self.rebuilt.is_some() {
            // Half written it is as damaged as it was, and refused.
            SuperblockFile::create(disk, self.superblock)?;
            return Ok(Some(crate::format::superblock::FILE_NAME.to_owned()));
        }
        match (&self.loss, self.prefix.kept.last()) {
            (Some(_), Some(last)) => self.cut(last).map(|s| Some(s.name.clone())),
            _ => Ok(None),
        }
    }

    /// Until the superblock is written, what it says and what lies behind are evidence that something is missing; the new
    /// segment has the highest number of all, so whatever is removed in whichever order, the log is refused or cut.
    fn cut(&self, last: &KeptSegment) -> Result<Arc<Segment>> {
        let disk = &self.disk;
        let segment = &last.member.segment;
        let predecessor = last.member.header.predecessor;
        let rewrite = Rewrite {
            disk,
            from: segment,
            start: segment.first_lsn(),
            end: last.end,
            predecessor,
            previous: last.member.header.previous_digest(),
            id: self.prefix.highest_id.next(),
            salt: random_salt(),
            mmap: false,
        };
        let (written, _) = rewrite.run(SpacePool::Ordinary)?;
        for name in self.files_to_remove() {
            disk.remove(&name).map_err(|e| Error::io("remove", disk.path().join(&name), e))?;
        }
        sync_names(&**disk)?;
        self.settle_superblock(last.end, written.id())?;
        Ok(written)
    }

    fn settle_superblock(&self, end: Lsn, newest: SegmentId) -> Result<()> {
        match SuperblockFile::find(&self.disk, Access::ReadWrite)? {
            FoundSuperblock::Some(mut file) => {
                file.repair()?;
                file.update(|sb| {
                    sb.durable = end;
                    sb.newest = Some(newest);
                    sb.ready = None;
                })
            }
            FoundSuperblock::Damaged(c) => Err(c.into()),
            FoundSuperblock::None => Err(Error::io(
                "open",
                self.disk.path().join(crate::format::superblock::FILE_NAME),
                std::io::ErrorKind::NotFound.into(),
            )),
        }
    }
}

/// Copies what is about to be changed, so that [`undo`] can put it back: every file of the log but the `untouched` ones, and
/// these directories. Into `undo_dir`, which must be empty, or into a new directory in the log's; says where, and what. All of
/// it is durable then. The lock must be held.
fn copy_to_undo_dir(
    disk: &Arc<dyn Disk>,
    undo_dir: Option<&Arc<dyn Disk>>,
    uuid: LogUuid,
    untouched: &[&str],
    directories: &[Layer],
) -> Result<(PathBuf, Vec<String>)> {
    let undo_dir = undo_dir.map_or_else(|| fresh_undo_dir(disk), |given| Ok(Arc::clone(given)))?;
    let copied = undo_dir::save(disk, &undo_dir, uuid, untouched, directories)?;
    Ok((undo_dir.path().to_owned(), copied))
}

/// The first directory `repair-1`, `repair-2`, ... in the log's that holds nothing; made if it is missing.
fn fresh_undo_dir(disk: &Arc<dyn Disk>) -> Result<Arc<dyn Disk>> {
    for number in 1..=u32::MAX {
        let name = format!("{UNDO_DIR_PREFIX}{number}");
        let io = |op| {
            let path = disk.path().join(&name);
            move |e| Error::io(op, path, e)
        };
        let undo_dir = disk.subdir(&name).map_err(io("make"))?;
        if undo_dir.list().map_err(io("list"))?.is_empty() {
            return Ok(undo_dir);
        }
    }
    Err(Error::Repair { path: disk.path().to_owned(), problem: RepairProblem::UndoDirInUse })
}
