//! Looking at a log without opening it: no lock, no change, also beside a running writer.

use std::path::Path;
use std::sync::Arc;

use crate::codec::{Codec, Decoder};
use crate::cores::Cores;
use crate::error::{Corruption, Error, LogUuid, Result};
use crate::format::superblock::Superblock;
use crate::io::{Access, Disk, RealDisk};
use crate::lsn::Lsn;
use crate::options::{MOST_DECODED, TailPolicy};
use crate::recovery::{Catalog, Look, survey};
use crate::report::Cut;
use crate::segment::{Segment, SegmentReader, SuperblockFile, last_block_end};

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
    damage: Option<Corruption>,
}

/// So many times is looked again when a file is gone.
const LOOKS: usize = 20;

impl LogView {
    /// Looks at the log in `dir`.
    ///
    /// # Errors
    /// As [`Options::open`](crate::Options::open), but for the lock.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let disk = RealDisk::open(dir).map_err(|e| Error::io(crate::error::OPEN_DIRECTORY, dir, e))?;
        Self::open_on(&(Arc::new(disk) as Arc<dyn Disk>))
    }

    /// As [`LogView::open`], for a directory of a given disk.
    ///
    /// # Errors
    /// As [`LogView::open`].
    pub fn open_on(disk: &Arc<dyn Disk>) -> Result<Self> {
        let view = Self::look(disk)?;
        match view.damage {
            Some(damage) => Err(damage.into()),
            None => Ok(view),
        }
    }

    /// As [`LogView::open`], also of a log that an open refuses for damage in its newest segment: that segment then ends
    /// behind its last block that verifies. Read it with [`SegmentReader::salvage`].
    ///
    /// # Errors
    /// As [`LogView::open`], when the superblock or the chain of segments is damaged.
    pub fn open_damaged(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let disk = RealDisk::open(dir).map_err(|e| Error::io(crate::error::OPEN_DIRECTORY, dir, e))?;
        Self::open_damaged_on(&(Arc::new(disk) as Arc<dyn Disk>))
    }

    /// As [`LogView::open_damaged`], for a directory of a given disk.
    ///
    /// # Errors
    /// As [`LogView::open_damaged`].
    pub fn open_damaged_on(disk: &Arc<dyn Disk>) -> Result<Self> {
        Self::look(disk)
    }

    /// A writer may give a released file another name, or remove it, between our listing it and our opening it: then the
    /// next listing does not have it.
    fn look(disk: &Arc<dyn Disk>) -> Result<Self> {
        for _ in 0..LOOKS {
            match Self::look_once(disk) {
                Err(Error::Io { op: "open", source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound => {}
                looked => return looked,
            }
        }
        Self::look_once(disk)
    }

    fn look_once(disk: &Arc<dyn Disk>) -> Result<Self> {
        let sb = SuperblockFile::read(disk)?;
        let catalog = Catalog::read(disk, &sb, Access::Read, false)?;
        let look = Look { policy: TailPolicy::Truncate, mmap: false, cores: Cores::available(true) };
        let (end, closed, cuts, damage) = match survey(&catalog, &sb, look) {
            Ok(found) => (found.end(), found.was_closed(), found.into_cuts(), None),
            Err(Error::Corruption(c)) => (last_good(&catalog)?, false, Vec::new(), Some(*c)),
            Err(e) => return Err(e),
        };
        let of = |m: &crate::recovery::Member| {
            let own_end = m.segment.end().unwrap_or(end).max(m.segment.first_lsn());
            reader(Arc::clone(&m.segment), own_end)
        };
        Ok(LogView {
            uuid: sb.uuid,
            owner: sb.owner,
            closed,
            end,
            segments: catalog.members.iter().map(of).collect(),
            cuts,
            damage,
        })
    }

    /// The log that these segments would be.
    pub(crate) fn of(sb: &Superblock, segments: Vec<(Arc<Segment>, Lsn)>) -> Self {
        let segments: Vec<_> = segments.into_iter().map(|(segment, end)| reader(segment, end)).collect();
        LogView {
            uuid: sb.uuid,
            owner: sb.owner,
            closed: false,
            end: segments.last().map_or(Lsn::ZERO, SegmentReader::end_lsn),
            segments,
            cuts: Vec::new(),
            damage: None,
        }
    }

    /// The same view, with a codec that records in the log were encoded by. Of two with one number the first one counts.
    #[must_use]
    pub fn decode_with(mut self, codec: Arc<dyn Codec>) -> Self {
        for segment in &mut self.segments {
            segment.decoder.add(Arc::clone(&codec));
        }
        self
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

    /// Why an open would refuse the log, as far as looking at its newest segment and at footers tells.
    #[must_use]
    pub fn damage(&self) -> Option<&Corruption> {
        self.damage.as_ref()
    }

    /// What an open would cut off.
    #[must_use]
    pub fn would_cut(&self) -> &[Cut] {
        &self.cuts
    }
}

/// Behind the last block of the newest segment that verifies.
fn last_good(catalog: &Catalog) -> Result<Lsn> {
    match catalog.members.last() {
        Some(newest) => last_block_end(&newest.segment),
        None => Ok(Lsn::ZERO),
    }
}

/// A reader without a codec, up to `end`.
fn reader(segment: Arc<Segment>, end: Lsn) -> SegmentReader {
    // A record is no longer than a segment of its log.
    let most = usize::try_from(segment.life.capacity).unwrap_or(usize::MAX).max(MOST_DECODED);
    SegmentReader::new(segment, end, Decoder::new(most))
}
