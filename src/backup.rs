//! A consistent copy of a running log.
//!
//! ```text
//!  capture   an empty batch ── durable: the copy ends here, D ── the segments up to D, held
//!  copy      each segment: every record verified, the blocks up to D copied, synced
//!  finish    the directory synced ── superblock: a log that ends at D
//! ```
//!
//! **Invariants.** What the copy holds does not change in the original while it is copied. Blocks below D are not
//! rewritten, and a held segment is not recycled; it is read through its open file, so it may lose its name. No
//! segment is released between reading D and listing the segments, so they reach up to D. A directory with segments
//! but no superblock is refused, so an interrupted copy is never taken for a log.
//!
//! Files are copied and never linked, because they change in place: the newest segment is appended to, an ended one
//! gets its footer, and a released one starts another generation.
//!
//! The copy is the same log up to D, with the same identity. If both continue, two logs claim to be the same one:
//! restore a copy in place of the original, not beside it.

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
    /// The first address in the backup.
    pub first_lsn: Lsn,
    /// Where it ends: everything below is in it, nothing above.
    pub end_lsn: Lsn,
    /// Number of segments.
    pub segments: usize,
    /// Number of records.
    pub records: u64,
    /// Number of bytes copied.
    pub bytes: u64,
}

/// The log at one moment: what was durable then, held until it is copied.
#[derive(Debug)]
pub struct Capture {
    opener: Opener,
    superblock: Superblock,
    segments: Vec<Arc<Segment>>,
    end: Lsn,
}

/// A copy without a superblock. No open accepts it as a log.
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
    /// Copies everything that is durable now into this directory, which must be empty or missing. Afterwards the
    /// directory holds a separate log, closed at [`BackupReport::end_lsn`]; every record was verified on the way.
    /// Appends, reads and releases continue meanwhile.
    ///
    /// The copy has the identity of this log: it is meant to take its place. A replica restored from a backup has
    /// forgotten what it promised since; see the guide before you start one.
    ///
    /// # Errors
    /// [`Error::Io`], with `AlreadyExists` when the directory is not empty; [`Error::Corruption`] when a record of
    /// this log does not verify; [`Error::Poisoned`], [`Error::Closed`]. What was copied so far is then not a log.
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.opener().check()?;
        let dir = dir.as_ref();
        let disk =
            RealDisk::open_or_create(dir).map_err(|e| Error::io(crate::error::OPEN_DIRECTORY, dir, e))?;
        self.capture()?.copy_to(Arc::new(disk))?.finish()
    }

    /// Makes everything submitted so far durable and holds what is durable then, so that it can be copied later.
    /// Segments released meanwhile keep their space until then.
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
                // From here on a crash leaves a directory that is refused, rather than one that looks unused.
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
        // Verifying does not need decoding; records are copied as stored.
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

    /// How much of a segment is copied. The newest segment of the copy gets no footer, which would promise a
    /// successor, and gets its full length, as an unsealed file has.
    fn extent(&self, segment: &Segment, is_newest: bool) -> Extent {
        let blocks = segment.offset(self.end_in(segment));
        let footer = segment.footer().filter(|_| !is_newest).map_or(0, |f| f.footer.total_len());
        let full = segment.generation.file_len();
        let copied = blocks.saturating_add(footer);
        Extent { copied, len: if is_newest { full } else { copied } }
    }
}

/// How much of a file is copied, and the length of the copy.
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
    /// The directory, for files that belong beside the log. They must be durable before the copy is finished.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Turns the copy into a log.
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
