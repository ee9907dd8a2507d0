//! A consistent copy of a running log.
//!
//! ```text
//!  capture   an empty batch ── durable: the copy ends here, D ── the segments up to D, held
//!  copy      each segment: every record verified, the blocks up to D copied, synced
//!  finish    the directory synced ── superblock: a log that ends at D
//! ```
//!
//! **Invariants.** What the copy holds never changes in the original while it is copied: blocks below D are not written
//! again, and a segment that somebody holds is not recycled; it is read through its open file, so it may lose its name.
//! No segment is released between the look at D and the look at the segments, so they reach up to D.
//! Without a superblock a directory that holds segments is refused: a copy that was interrupted is never taken for a log.
//!
//! Files are copied and never linked: the newest segment is appended to, an ended one gets its footer, and a released
//! one starts another generation, all in place.
//!
//! The copy is the same log, with the same identity, up to D. Two that go on from there are two logs that say they are
//! one: restore a copy in place of the original, not beside it.

use std::path::Path;
use std::sync::Arc;

use crate::codec::Decoder;
use crate::commit::{Batch, Flush, SubmitOptions};
use crate::error::{Error, Result};
use crate::format::superblock::Superblock;
use crate::io::Opener;
use crate::io::{Disk, File, Lock, RealDisk, copy_first, sync_names};
use crate::lsn::Lsn;
use crate::recovery::LOCK;
use crate::segment::{Segment, SegmentReader, SuperblockFile};
use crate::wal::Wal;

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// The first address in it.
    pub first_lsn: Lsn,
    /// Where it ends: everything below is in it, nothing beyond.
    pub end_lsn: Lsn,
    /// How many segments.
    pub segments: usize,
    /// How many records.
    pub records: u64,
    /// How many bytes were copied.
    pub bytes: u64,
}

/// A moment of a log: what was durable then, held until it is copied.
#[derive(Debug)]
pub struct Capture {
    opener: Opener,
    superblock: Superblock,
    segments: Vec<Arc<Segment>>,
    end: Lsn,
}

/// A copy without a superblock, which no open takes for a log.
#[derive(Debug)]
#[must_use = "without `finish` the copy is not a log"]
pub struct UnfinishedBackup {
    opener: Opener,
    disk: Arc<dyn Disk>,
    superblock: Superblock,
    report: BackupReport,
    _lock: Box<dyn Lock>,
}

impl Wal {
    /// Copies everything that is durable now into this directory, which must be empty or missing. What the directory holds
    /// afterwards is a log of its own, closed at [`BackupReport::end_lsn`], with every record verified on the way. Appends,
    /// reads and releases go on meanwhile.
    ///
    /// It has the identity of this log: it is meant to take its place. A Raft node that is restored from a backup has
    /// forgotten what it promised since; see the guide before you start one.
    ///
    /// # Errors
    /// [`Error::Io`], with `AlreadyExists` when something lies in the directory; [`Error::Corruption`] when a record of this
    /// log does not verify; [`Error::Poisoned`], [`Error::Closed`]. What was copied then is not a log.
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.opener().check()?;
        let dir = dir.as_ref();
        let disk =
            RealDisk::open_or_create(dir).map_err(|e| Error::io(crate::error::OPEN_DIRECTORY, dir, e))?;
        self.capture()?.copy_to(Arc::new(disk))?.finish()
    }

    /// Takes hold of what is durable once everything submitted so far is, to be copied at leisure. Segments that are
    /// released meanwhile keep their space until then.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Closed`], [`Error::Io`].
    pub fn capture(&self) -> Result<Capture> {
        let barrier = SubmitOptions::new().flush(Flush::ByCaller);
        self.submit_with(Batch::new(), barrier, || Ok::<_, Error>(()), |_| {})?.wait()?;
        let segments = &self.log().segments;
        let held = segments.hold_releases();
        let end = self.durable_lsn();
        let mut captured = segments.table.all();
        captured.retain(|s| s.first_lsn() < end);
        let superblock = segments.superblock();
        drop(held);
        Ok(Capture { opener: self.opener().clone(), superblock, segments: captured, end })
    }
}

impl Capture {
    /// Where the copy will end.
    #[must_use]
    pub fn end_lsn(&self) -> Lsn {
        self.end
    }

    /// Copies the segments into an empty directory.
    ///
    /// # Errors
    /// As [`Wal::backup`].
    pub fn copy_to(self, disk: Arc<dyn Disk>) -> Result<UnfinishedBackup> {
        self.opener.check()?;
        let io = |op: &'static str, e| Error::io(op, disk.path(), e);
        if !disk.list().map_err(|e| io("list", e))?.is_empty() {
            return Err(io("back up into", std::io::ErrorKind::AlreadyExists.into()));
        }
        let lock = disk.lock(LOCK).map_err(|e| io("lock", e))?;
        let mut report = BackupReport { end_lsn: self.end, ..BackupReport::default() };
        report.first_lsn = self.segments.first().map_or(self.end, |s| s.first_lsn());
        let newest = self.segments.last().map(|s| s.id());
        for segment in &self.segments {
            let path = disk.path().join(&segment.name);
            let to = disk.create(&segment.name).map_err(|e| Error::io("create", &path, e))?;
            if report.segments == 0 {
                // From here on a crash leaves something that is refused, and not a directory that looks unused.
                sync_names(&*disk)?;
            }
            report.records += self.verify(segment)?;
            let bytes = self.extent(segment, Some(segment.id()) == newest);
            report.bytes += bytes.copied;
            bytes.copy(segment, &*to).map_err(|e| Error::io("copy into", &path, e))?;
            report.segments += 1;
        }
        let superblock = Superblock {
            sequence: 1,
            oldest: self.segments.first().map_or(self.superblock.oldest, |s| s.id()),
            newest,
            durable: self.end,
            ready: None,
            ..self.superblock
        };
        Ok(UnfinishedBackup { opener: self.opener, disk, superblock, report, _lock: lock })
    }

    /// Reads every record of a segment up to the end of the copy.
    fn verify(&self, segment: &Arc<Segment>) -> Result<u64> {
        // Decoding is not needed to verify, and a copy is made without it.
        let reader = SegmentReader::new(Arc::clone(segment), self.end_in(segment), Decoder::new(0));
        let mut records = 0;
        for head in reader.heads() {
            reader.read_stored(head?.lsn)?;
            records += 1;
        }
        Ok(records)
    }

    fn end_in(&self, segment: &Segment) -> Lsn {
        segment.end().map_or(self.end, |end| end.min(self.end))
    }

    /// What is copied of a segment. The newest of the copy has no footer, which would promise a successor, and its full
    /// length, as a file has that is not sealed.
    fn extent(&self, segment: &Segment, is_newest: bool) -> Extent {
        let blocks = segment.offset(self.end_in(segment));
        let footer = segment.footer().filter(|_| !is_newest).map_or(0, |f| f.footer.total_len());
        let full = segment.generation.file_len();
        let copied = blocks.saturating_add(footer);
        Extent { copied, len: if is_newest { full } else { copied } }
    }
}

/// How much of a file is copied, and how long the copy is.
struct Extent {
    copied: u64,
    len: u64,
}

impl Extent {
    fn copy(&self, from: &Segment, to: &dyn File) -> std::io::Result<()> {
        copy_first(&*from.file, to, self.copied)?;
        to.set_len(self.len)?;
        to.sync_all()
    }
}

impl UnfinishedBackup {
    /// The directory, for what belongs beside the log. What is put there must be durable before the copy is finished.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Makes the copy a log.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<BackupReport> {
        self.opener.check()?;
        sync_names(&*self.disk)?;
        SuperblockFile::create(&self.disk, self.superblock)?;
        Ok(self.report)
    }
}
