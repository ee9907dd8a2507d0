//! Reading a log without opening it: no lock, no change, also beside a running writer.

use std::path::Path;
use std::sync::Arc;

use crate::codec::{Codec, Decoder};
use crate::cores::Cores;
use crate::error::{Corruption, Error, LogUuid, Result};
use crate::format::superblock::Superblock;
use crate::io::{Access, Disk, open_directory};
use crate::lsn::{Lsn, SegmentId};
use crate::options::{MOST_DECODED, Options, TailPolicy};
use crate::recovery::{Catalog, Look, Loose, assumed, survey};
use crate::report::Cut;
use crate::retry::{Outcome, Place, unsettled, until_certain};
use crate::segment::{Segment, SegmentReader, SuperblockFile, last_block_end, load_footer};
use crate::size::in_memory;

/// A read-only view of a log as it was at one moment. Later writes are not in it. A segment that a writer releases
/// can be read until its file is reused; then its records read as damaged, and [`LogView::has_released`] says why.
#[derive(Debug)]
pub struct LogView {
    uuid: LogUuid,
    owner: Option<u64>,
    closed: bool,
    end: Lsn,
    segments: Vec<SegmentReader>,
    cuts: Vec<Cut>,
    damage: Option<Corruption>,
    disk: Arc<dyn Disk>,
    /// No segment before this one was part of the log.
    oldest: SegmentId,
}

impl LogView {
    /// Reads the state of the log in `dir`.
    ///
    /// # Errors
    /// As [`Options::open`](crate::Options::open), except for the lock; [`Error::Io`] when a writer changes the log
    /// faster than it can be read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_on(&open_directory(dir.as_ref())?)
    }

    /// Like [`LogView::open`], for a directory on the given disk.
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

    /// Like [`LogView::open`], but accepts a log that an open refuses; [`LogView::damage`] says why. The newest
    /// segment then ends after its last block that verifies. Where the chain of segments is broken, each file is
    /// taken at its word. Read them with [`SegmentReader::salvage`].
    ///
    /// # Errors
    /// As [`LogView::open`], except for damage; [`Error::Corruption`] only when no file says which log it belongs to.
    pub fn open_damaged(dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_damaged_on(&open_directory(dir.as_ref())?)
    }

    /// Like [`LogView::open_damaged`], for a directory on the given disk.
    ///
    /// # Errors
    /// As [`LogView::open_damaged`].
    pub fn open_damaged_on(disk: &Arc<dyn Disk>) -> Result<Self> {
        Self::look(disk)
    }

    /// The same, read with the codecs that these options name.
    #[must_use]
    pub fn with_codecs_of(self, options: &Options) -> Self {
        options.codecs().fold(self, |view, codec| view.decode_with(Arc::clone(codec)))
    }

    fn look(disk: &Arc<dyn Disk>) -> Result<Self> {
        let faults = |looked: &Result<Self>| match looked {
            Ok(view) => view.damage.iter().map(Place::of).collect(),
            Err(e) => Place::of_failure(e).into_iter().collect(),
        };
        match until_certain(disk, || Self::look_once(disk), faults) {
            Outcome::Intact(looked) | Outcome::Faulty(looked, _) => looked,
            Outcome::Unsettled => Err(unsettled(disk.path())),
        }
    }

    fn look_once(disk: &Arc<dyn Disk>) -> Result<Self> {
        let sb = match SuperblockFile::read(disk) {
            Ok(sb) => sb,
            Err(Error::Corruption(c)) => {
                return match assumed(disk)? {
                    Some(sb) => Self::piece_by_piece(disk, &sb, *c),
                    None => Err(Error::Corruption(c)),
                };
            }
            Err(e) => return Err(e),
        };
        let catalog = match Catalog::read(disk, &sb, Access::Read, false) {
            Ok(catalog) => catalog,
            Err(Error::Corruption(c)) => return Self::piece_by_piece(disk, &sb, *c),
            Err(e) => return Err(e),
        };
        let look = Look {
            policy: TailPolicy::Truncate,
            mmap: false,
            cores: Cores::available(true),
            newest_only: false,
        };
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
            disk: Arc::clone(disk),
            oldest: sb.oldest,
        })
    }

    /// What can be read of a log whose chain is broken, file by file.
    fn piece_by_piece(disk: &Arc<dyn Disk>, sb: &Superblock, damage: Corruption) -> Result<Self> {
        let mut segments = Vec::new();
        for piece in Loose::read(disk, sb)?.pieces {
            if let (Some(end), Some(footer)) = (piece.sealed, load_footer(&piece.segment, piece.end, false)?)
                && footer.footer.digest == end.digest
            {
                piece.segment.set_footer(footer);
            }
            segments.push((piece.segment, piece.end));
        }
        Ok(LogView { damage: Some(damage), ..Self::of(disk, sb, segments) })
    }

    /// A view of the log that these segments would form.
    pub(crate) fn of(disk: &Arc<dyn Disk>, sb: &Superblock, segments: Vec<(Arc<Segment>, Lsn)>) -> Self {
        let segments: Vec<_> = segments.into_iter().map(|(segment, end)| reader(segment, end)).collect();
        LogView {
            uuid: sb.uuid,
            owner: sb.owner,
            closed: false,
            end: segments.last().map_or(Lsn::ZERO, SegmentReader::end_lsn),
            segments,
            cuts: Vec::new(),
            damage: None,
            disk: Arc::clone(disk),
            oldest: sb.oldest,
        }
    }

    /// Adds a codec that records in the log were encoded with. If two have the same number, the first one is used.
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

    /// The owner that the directory is pinned to.
    #[must_use]
    pub fn owner(&self) -> Option<u64> {
        self.owner
    }

    /// Whether the log was closed cleanly, rather than killed or left running.
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

    /// No segment before this one was part of the log.
    #[must_use]
    pub fn oldest(&self) -> SegmentId {
        self.oldest
    }

    /// Whether a writer has released this segment since. If so, its file may be gone or reused, and damage read in it
    /// is a false alarm. Ask after reading. Everything else in the view stays as it is, so damage there is real.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corruption`] when the superblock cannot be read any more.
    pub fn has_released(&self, segment: SegmentId) -> Result<bool> {
        Ok(SuperblockFile::read(&self.disk)?.oldest > segment)
    }

    /// Whether a writer has released any of the view's segments since.
    ///
    /// # Errors
    /// As [`LogView::has_released`].
    pub fn has_changed(&self) -> Result<bool> {
        Ok(SuperblockFile::read(&self.disk)?.oldest > self.oldest)
    }

    /// Why an open would refuse the log, as far as its newest segment and the footers tell.
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

/// The end of the last block of the newest segment that verifies.
fn last_good(catalog: &Catalog) -> Result<Lsn> {
    match catalog.members.last() {
        Some(newest) => last_block_end(&newest.segment),
        None => Ok(Lsn::ZERO),
    }
}

/// A reader without a codec, up to `end`.
fn reader(segment: Arc<Segment>, end: Lsn) -> SegmentReader {
    // A record is no longer than a segment of its log.
    let most = in_memory(segment.generation.capacity).max(MOST_DECODED);
    SegmentReader::new(segment, end, Decoder::new(most))
}
