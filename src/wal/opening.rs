//! Opening the log: the lock, recovery, and the threads and parts of an open log put together.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Inner, Wal};
use crate::commit::{Pipeline, Segments};
use crate::error::{Error, Result};
use crate::io::process::Opener;
use crate::io::{Disk, Lock, RealDisk};
use crate::lsn::Lsn;
use crate::monitor::Monitor;
use crate::options::{Checked, Options};
use crate::recovery::{self, LOCK};
use crate::retention::{Customer, Holds, KEEPER, Keeper, KeeperParts, random_salt};
use crate::segment::{Room, Segment, Summarizer, Tip};
use crate::stats::Counters;
use crate::trace::{event, span};

/// Takes the lock that stands for the log in this directory.
pub(crate) fn take_lock(disk: &Arc<dyn Disk>) -> Result<Box<dyn Lock>> {
    disk.lock(LOCK).map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked { dir: disk.path().to_owned() },
        _ => Error::io("lock", disk.path().join(LOCK), e),
    })
}

impl Options {
    /// Opens the log in `dir`, making directory and log when they are missing.
    ///
    /// # Errors
    /// [`Error::Locked`] when it is open already; [`Error::Corruption`] when bytes that are proven to have been durable
    /// are damaged; [`Error::UnsupportedVersion`], [`Error::Foreign`], [`Error::OwnerMismatch`],
    /// [`Error::InvalidOptions`], [`Error::Io`]. Nothing is changed then, but for what an error while the tail is written
    /// again leaves behind, which the next open removes.
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<Wal> {
        self.open_on(self.disk(dir.as_ref())?)
    }

    /// Opens the log in a directory of a given disk.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open_on(&self, disk: Arc<dyn Disk>) -> Result<Wal> {
        Wal::open_with(disk, &self.check()?, None)
    }

    /// Opens a log whose footers hold a layer's own summaries.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open_with_summarizer(&self, disk: Arc<dyn Disk>, summarizer: Arc<dyn Summarizer>) -> Result<Wal> {
        Wal::open_with(disk, &self.check()?, Some(summarizer))
    }

    /// As [`Options::open_with_summarizer`], by who holds the lock already: nobody else comes in between.
    #[cfg_attr(not(any(feature = "raft-protobuf", feature = "raft-prost")), allow(dead_code))] // for a layer above
    pub(crate) fn open_locked(
        &self,
        disk: Arc<dyn Disk>,
        lock: Box<dyn Lock>,
        summarizer: Arc<dyn Summarizer>,
    ) -> Result<Wal> {
        Wal::open_locked(disk, lock, &self.check()?, Some(summarizer))
    }

    /// The directory `dir` as the disk that [`Options::open_on`] takes.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened, or made.
    pub fn disk(&self, dir: &Path) -> Result<Arc<dyn Disk>> {
        let create = self.check()?.create;
        let disk = if create { RealDisk::open_or_create(dir) } else { RealDisk::open(dir) };
        Ok(Arc::new(disk.map_err(|e| Error::io(crate::error::OPEN_DIRECTORY, dir, e))?))
    }
}

/// What the commit path asks of those who keep segments, answered by the keeper.
#[derive(Debug)]
struct Kept {
    keeper: Arc<Keeper>,
    /// Back to the commit path, which holds this.
    pipeline: Weak<Pipeline>,
}

impl Customer for Weak<Pipeline> {
    fn offer(&self, segment: Result<Arc<Segment>>) {
        if let Some(pipeline) = self.upgrade() {
            pipeline.offer(segment);
        }
    }

    fn durable(&self) -> Lsn {
        self.upgrade().map_or(Lsn::ZERO, |pipeline| pipeline.durable())
    }

    fn watch(&self) {
        if let Some(pipeline) = self.upgrade() {
            pipeline.watch();
        }
    }
}

/// For whom the keeper's thread works. It goes with the thread, and tells whether that ended as it should.
struct OfThread(Weak<Pipeline>);

impl Customer for OfThread {
    fn offer(&self, segment: Result<Arc<Segment>>) {
        self.0.offer(segment);
    }

    fn durable(&self) -> Lsn {
        Customer::durable(&self.0)
    }

    fn watch(&self) {
        self.0.watch();
    }
}

impl Drop for OfThread {
    fn drop(&mut self) {
        if let Some(pipeline) = self.0.upgrade().filter(|_| std::thread::panicking()) {
            pipeline.abandon(KEEPER);
        }
    }
}

impl Segments for Kept {
    fn want(&self, first_lsn: Lsn, room: Room) {
        self.keeper.want(first_lsn, room);
    }

    fn hurry(&self) {
        self.keeper.hurry.store(true, Ordering::Relaxed);
    }

    fn watch(&self) {
        self.keeper.watch();
    }

    fn started(&self, segment: &Arc<Segment>, predecessor: Tip) {
        self.keeper.started(segment, predecessor);
    }

    fn run_inline(&self) {
        self.keeper.run_pending(&self.pipeline);
    }
}

impl Wal {
    /// Opens the log in `dir` with the default options.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(dir)
    }

    fn open_with(
        disk: Arc<dyn Disk>,
        options: &Checked,
        summarizer: Option<Arc<dyn Summarizer>>,
    ) -> Result<Self> {
        let lock = take_lock(&disk)?;
        Wal::open_locked(disk, lock, options, summarizer)
    }

    fn open_locked(
        disk: Arc<dyn Disk>,
        lock: Box<dyn Lock>,
        options: &Checked,
        summarizer: Option<Arc<dyn Summarizer>>,
    ) -> Result<Self> {
        let _span = span!(INFO, "open", dir = disk.path().display().to_string());
        let opened = recovery::open(&disk, options, &mut random_salt).inspect_err(|e| {
            event!(error, dir = disk.path().display().to_string(), error = e.to_string(), "open refused")
        })?;
        event!(
            info,
            dir = disk.path().display().to_string(),
            found = opened.report.to_string(),
            "log opened"
        );
        for cut in &opened.report.cut {
            event!(warn, dir = disk.path().display().to_string(), cut = cut.to_string(), "unproven tail cut");
        }
        let opener = Opener::of(disk.path());
        let counters = Arc::new(Counters::default());
        let superblock_caller = Arc::clone(&opened.superblock.caller);
        let monitor = Arc::new(Monitor::new(options, Arc::clone(&counters), superblock_caller));
        let without_footer = opened.without_footer();
        let keeper = Arc::new(Keeper::new(KeeperParts {
            disk: Arc::clone(&disk),
            options: options.clone(),
            superblock: opened.superblock,
            segments: opened.segments,
            spare: opened.leftovers.spare,
            replaced: opened.leftovers.replaced,
            newest: opened.tip.segment,
            next_id: opened.next_id,
            summarizer,
            counters: Arc::clone(&counters),
            monitor: Arc::clone(&monitor),
        }));
        let next_first = opened.current.as_ref().map_or(opened.tip.end, |s| s.limit());
        let pipeline = Arc::new_cyclic(|pipeline| {
            let kept = Kept { keeper: Arc::clone(&keeper), pipeline: Weak::clone(pipeline) };
            let (options, opener) = (options.clone(), opener.clone());
            let (counters, monitor) = (Arc::clone(&counters), Arc::clone(&monitor));
            Pipeline::new(options, opener, counters, monitor, Arc::new(kept), opened.tip, opened.current)
        });
        let thread = match options.threads {
            true => Some(keeper.start(Box::new(OfThread(Arc::downgrade(&pipeline))))?),
            false => None,
        };
        keeper.want(next_first, Room::Ordinary);
        for (id, end, digest) in without_footer {
            keeper.want_footer(id, end, digest);
        }
        counters.opened(&opened.report);
        let mut report = opened.report;
        report.without_mapping = keeper.table.without_mapping();
        let inner = Arc::new(Inner {
            holds: Arc::new(Holds::new(opener.clone())),
            opener,
            disk,
            pipeline,
            keeper,
            keeper_thread: Mutex::new(thread),
            counters,
            monitor,
            observed: options.observed.clone(),
            recovery: report,
            lock: Mutex::new(Some(lock)),
        });
        inner.observed.tell(|o| o.opened(&inner.recovery));
        Ok(Wal { inner })
    }
}
