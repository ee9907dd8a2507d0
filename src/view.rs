//! Looking at a log without opening it: no lock, no change, also beside a running writer.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, LogUuid, Result};
use crate::io::{Access, Disk, RealDisk};
use crate::lsn::Lsn;
use crate::options::TailPolicy;
use crate::recovery::{Catalog, Cut, Look, survey};
use crate::segment::{FoundSuperblock, SegmentReader, SuperblockFile};

/// A log as it was at one moment, to be read. What a running writer adds later is not in it, and what it frees meanwhile
/// can still be read.
#[derive(Debug)]
pub struct LogView {
    uuid: LogUuid,
    owner: Option<u64>,
    closed: bool,
    end: Lsn,
    segments: Vec<SegmentReader>,
    cuts: Vec<Cut>,
}

impl LogView {
    /// Looks at the log in `dir`.
    ///
    /// # Errors
    /// As [`Options::open`](crate::Options::open), but for the lock.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let disk = RealDisk::open(dir).map_err(|e| Error::io("open directory", dir, e))?;
        Self::open_on(&(Arc::new(disk) as Arc<dyn Disk>))
    }

    /// As [`LogView::open`], for a directory of a given disk.
    ///
    /// # Errors
    /// As [`LogView::open`].
    pub fn open_on(disk: &Arc<dyn Disk>) -> Result<Self> {
        let sb = match SuperblockFile::find(disk, Access::Read)? {
            FoundSuperblock::Some(file) => *file.content(),
            FoundSuperblock::Damaged(c) => return Err(c.into()),
            FoundSuperblock::None => {
                return Err(Error::io("find a log in", disk.path(), std::io::ErrorKind::NotFound.into()));
            }
        };
        let catalog = Catalog::read(disk, &sb, Access::Read, false)?;
        let found = survey(&catalog, &sb, Look { policy: TailPolicy::Truncate, mmap: false, threads: true })?;
        let end = found.end();
        let reader = |m: &crate::recovery::Member| {
            let own_end = m.segment.end().unwrap_or(end).max(m.segment.first_lsn());
            SegmentReader::new(Arc::clone(&m.segment), own_end)
        };
        Ok(LogView {
            uuid: sb.uuid,
            owner: sb.owner,
            closed: found.was_closed(),
            end,
            segments: catalog.members.iter().map(reader).collect(),
            cuts: found.into_cuts(),
        })
    }

    /// The log's identity.
    #[must_use]
    pub fn uuid(&self) -> LogUuid {
        self.uuid
    }

    /// Whom the directory is pinned to.
    #[must_use]
    pub fn owner(&self) -> Option<u64> {
        self.owner
    }

    /// Whether the last life closed the log.
    #[must_use]
    pub fn was_closed(&self) -> bool {
        self.closed
    }

    /// Where the log ends.
    #[must_use]
    pub fn end_lsn(&self) -> Lsn {
        self.end
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[SegmentReader] {
        &self.segments
    }

    /// What an open would cut off.
    #[must_use]
    pub fn would_cut(&self) -> &[Cut] {
        &self.cuts
    }
}
