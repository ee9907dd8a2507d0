//! Repairs a damaged log: only as requested, only after copying what will change, and with an undo.
//!
//! ```text
//!  Plan::of ──> what would be lost; nothing is changed
//!     |
//!   apply:  lock ── copies and manifest, synced ── new last segment, synced ── the rest removed ── superblock
//!           \____ the log as it was, and refused ____/ \______ refused, or the new log; undo gives back the old ______/
//! ```
//!
//! An open refuses a log in which something durable is damaged, because only its owner can know what the loss means.
//! Without a replica or a backup, this is how to continue with what is left:
//!
//! * [`Choice::Cut`] gives up everything from the first damage on. What is intact before it stays, with its
//!   addresses. The last segment that stays is rewritten into a new file up to the damage, so that nothing after the
//!   damage can come back, neither as blocks nor as evidence that something is missing.
//! * [`Choice::RebuildFooters`] removes footers with a damaged summary. The next open reads those segments in full
//!   and writes new ones. No record is lost.
//! * [`Choice::RebuildSuperblock`] rebuilds the superblock from the segments if the file is gone or both of its slots
//!   are damaged. No existing record is lost.
//!
//! **A replica that lost acknowledged records must not continue as the same member**: it may have voted with them, or
//! counted towards a majority. Remove it from its cluster and add it again under another id.

mod loss;
mod offline;
mod repaired;
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
pub use repaired::Repaired;
pub use undo::{Undone, undo};
use undo_dir::copy_to_undo_dir;
pub use undo_dir::{Layer, UNDO_DIR_PREFIX};

/// How to repair the damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Give up everything from the first damage on. Damaged footers before it are removed too.
    Cut,
    /// Remove damaged footers so that they are rewritten; nothing else.
    RebuildFooters,
    /// Rebuild the superblock from the segments; nothing else. [`Plan::superblock`] shows the result. Segments that
    /// the log had released but not yet removed come back.
    RebuildSuperblock {
        /// The owner to pin the directory to ([`Options::owner`](crate::Options::owner)).
        /// The segments do not record it: without it the log has no owner until it is opened with one.
        owner: Option<u64>,
        /// The first segment of the log, if the segments do not determine it. All older ones are given up.
        oldest: Option<SegmentId>,
    },
}

/// The superblock that would be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewSuperblock {
    /// The log's identity.
    pub uuid: LogUuid,
    /// The first segment of the log.
    pub oldest: SegmentId,
    /// The segment before that one, if there was one. Whether it was released or lost is unknown.
    pub before: Option<SegmentId>,
    /// The newest segment that has a durable block.
    pub newest: Option<SegmentId>,
    /// Everything below is durable.
    pub durable: Lsn,
    /// The owner that the directory is pinned to.
    pub owner: Option<u64>,
}

/// What a repair would do. Making a plan changes nothing.
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

impl Plan {
    /// Examines the log in `disk` and plans the repair. Takes no lock and changes nothing.
    ///
    /// # Errors
    /// [`Error::Repair`] when nothing would be left, or when the segments do not reveal enough for a superblock;
    /// [`Error::Corruption`] when the superblock is missing or damaged and the choice is a different one;
    /// [`Error::Io`] when something cannot be read: copy the directory to a healthy device and repair the copy.
    /// [`Error::UnsupportedVersion`], [`Error::Foreign`].
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

    /// Also copies files in this subdirectory of the log's directory. A higher layer keeps them there and may remove
    /// them once the log has lost the references to them. Only names with this ending are copied, or with this ending
    /// followed by `.tmp`; other files are left alone.
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

    /// The superblock that would be written, if any.
    #[must_use]
    pub fn superblock(&self) -> Option<NewSuperblock> {
        let rebuilt = self.rebuilt.as_ref()?;
        let Superblock { uuid, oldest, newest, durable, owner, .. } = rebuilt.superblock;
        Some(NewSuperblock { uuid, oldest, before: rebuilt.before, newest, durable, owner })
    }

    /// What would not verify under the new superblock; it needs a further repair.
    #[must_use]
    pub fn problems_left(&self) -> &[Corruption] {
        &self.problems_left
    }

    /// What does not verify.
    #[must_use]
    pub fn problems(&self) -> &[Corruption] {
        &self.problems
    }

    /// What would be given up; `None` if no record would be.
    #[must_use]
    pub fn loss(&self) -> Option<&Loss> {
        self.loss.as_ref()
    }

    /// Whether an open accepts the log as it is. Then only reads of the damaged parts fail, and a cut would give up
    /// more than that.
    #[must_use]
    pub fn opens_as_it_is(&self) -> bool {
        self.accepted
    }

    /// The log as it would be after the repair, ready to be read.
    #[must_use]
    pub fn remaining(&self) -> LogView {
        let segment = |k: &KeptSegment| (Arc::clone(&k.member.segment), k.end);
        LogView::of(&self.disk, &self.superblock, self.prefix.kept.iter().map(segment).collect())
    }

    /// The files whose footer would be removed.
    #[must_use]
    pub fn footers_to_rebuild(&self) -> Vec<String> {
        self.footers().map(|k| k.member.segment.name.clone()).collect()
    }

    /// The files that would no longer be part of the log; one of them would be rewritten up to the damage.
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

    /// Performs the repair: copies files into `undo_dir`, which must be empty, or into a new directory `repair-<n>`
    /// in the log's directory, then changes the log.
    ///
    /// # Errors
    /// [`Error::Locked`] beside a writer; [`Error::Repair`] when the log has changed since the plan was made, or
    /// `undo_dir` is in use: nothing was changed. [`Error::Io`]: nothing was changed if the copies were not complete
    /// yet; otherwise [`undo`] restores the earlier state.
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

    /// Everything that determines what a repair does.
    fn key(&self) -> (Superblock, Option<Lsn>, Vec<String>, Vec<String>) {
        (self.superblock, self.prefix.end(), self.files_to_remove(), self.footers_to_rebuild())
    }

    /// The segments that stay as they are, with a damaged footer.
    fn footers(&self) -> impl Iterator<Item = &KeptSegment> {
        let wanted = !matches!(self.choice, Choice::RebuildSuperblock { .. });
        // The last one is rewritten without a footer.
        let rewritten = self.loss.as_ref().and(self.prefix.kept.len().checked_sub(1));
        let kept = self.prefix.kept.iter().enumerate().filter(move |(n, _)| Some(*n) != rewritten);
        kept.map(|(_, k)| k).filter(move |k| wanted && k.footing == Footing::Damaged)
    }

    /// The files that the log never writes to again; at most they are released.
    fn untouched(&self) -> Vec<&str> {
        let ended = self.prefix.kept.split_last().map_or(&[][..], |(_, ended)| ended);
        let good = ended.iter().filter(|k| k.footing == Footing::Good);
        good.map(|k| k.member.segment.name.as_str()).collect()
    }

    fn save(&self, undo_dir: Option<&Arc<dyn Disk>>) -> Result<(PathBuf, Vec<String>)> {
        copy_to_undo_dir(&self.disk, undo_dir, self.superblock.uuid, &self.untouched(), &self.directories)
    }

    /// Changes the log. Returns the file that the last segment was rewritten into.
    fn change(&self) -> Result<Option<String>> {
        let disk = &self.disk;
        // The following steps depend on names that an earlier run may have left in the cache only.
        sync_names(&**disk)?;
        for kept in self.footers() {
            let segment = &kept.member.segment;
            let file = disk.open(&segment.name, Access::ReadWrite);
            let file = file.map_err(|e| Error::io("open", &segment.path, e))?;
            clear_footer(&*file, segment, kept.end)?;
        }
        if self.rebuilt.is_some() {
            // Half written, it is as damaged as before, and refused.
            SuperblockFile::create(disk, self.superblock)?;
            return Ok(Some(crate::format::superblock::FILE_NAME.to_owned()));
        }
        match (&self.loss, self.prefix.kept.last()) {
            (Some(_), Some(last)) => self.cut(last).map(|s| Some(s.name.clone())),
            _ => Ok(None),
        }
    }

    /// Until the superblock is written, its content and the files after the damage are evidence that something is
    /// missing. The new segment has the highest number, so in whichever order files are removed, the log is refused
    /// or cut.
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
