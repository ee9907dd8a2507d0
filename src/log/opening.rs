//! Assembles an open log: recovery, its parts, and its threads.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Log;
use crate::commit::{Pipeline, PipelineParts};
use crate::error::Result;
use crate::io::Opener;
use crate::io::{Disk, Lock};
use crate::lsn::{Lsn, SegmentId};
use crate::monitor::Monitor;
use crate::options::Checked;
use crate::recovery::{self, Opened};
use crate::report::Recovery;
use crate::retention::{Holds, SegmentManager, SegmentManagerParts, random_salt};
use crate::segment::{Progress, SpacePool, Summarizer, Supply as _};
use crate::stats::Counters;
use crate::trace::{event, span};

impl Log {
    /// Opens the log on `disk`, whose lock is held.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        lock: Box<dyn Lock>,
        options: &Checked,
        summarizer: Option<Arc<dyn Summarizer>>,
    ) -> Result<Arc<Log>> {
        let _span = span!(INFO, "open", dir = disk.path().display().to_string());
        let opened = recovery::open(&disk, options, &mut random_salt).inspect_err(|e| {
            event!(error, dir = disk.path().display().to_string(), error = e.to_string(), "open refused")
        })?;
        tell_recovery(&*disk, &opened.report);
        let (log, to_do) = Log::assemble(disk, lock, options, summarizer, opened)?;
        log.segments.want(to_do.next_segment, SpacePool::Ordinary);
        for (id, end, digest) in to_do.footers {
            log.segments.want_footer(id, end, digest);
        }
        log.observed.tell(|o| o.opened(&log.recovery));
        Ok(Arc::new(log))
    }

    /// Assembles the parts, and starts the segment manager if the log has threads.
    fn assemble(
        disk: Arc<dyn Disk>,
        lock: Box<dyn Lock>,
        options: &Checked,
        summarizer: Option<Arc<dyn Summarizer>>,
        opened: Opened,
    ) -> Result<(Log, ToDo)> {
        let to_do = ToDo {
            next_segment: opened.current.as_ref().map_or(opened.tip.end, |s| s.limit()),
            footers: opened.without_footer(),
        };
        let opener = Opener::of(disk.path());
        let counters = Arc::new(Counters::default());
        let superblock_caller = Arc::clone(&opened.superblock.caller);
        let monitor = Arc::new(Monitor::new(options, Arc::clone(&counters), superblock_caller));
        let progress = Arc::new(Progress::new(opened.tip.end, options.threads));
        let segments = Arc::new(SegmentManager::new(SegmentManagerParts {
            disk: Arc::clone(&disk),
            options: options.clone(),
            superblock: opened.superblock,
            segments: opened.segments,
            spare: opened.leftovers.spare,
            replaced: opened.leftovers.replaced,
            newest: opened.tip.segment,
            next_id: opened.next_id,
            progress: Arc::clone(&progress),
            summarizer,
            counters: Arc::clone(&counters),
            monitor: Arc::clone(&monitor),
        }));
        let pipeline = Arc::new(Pipeline::new(PipelineParts {
            options: options.clone(),
            opener: opener.clone(),
            counters: Arc::clone(&counters),
            monitor: Arc::clone(&monitor),
            progress,
            segments: Arc::clone(&segments) as _,
            tip: opened.tip,
            current: opened.current,
        }));
        if options.threads {
            pipeline.start_manager()?;
        }
        counters.opened(&opened.report);
        let recovery = Recovery { without_mapping: segments.table.without_mapping(), ..opened.report };
        let (observed, lock) = (options.observed.clone(), Mutex::new(Some(lock)));
        let holds = Arc::new(Holds::new(opener.clone()));
        Ok((
            Log { opener, disk, pipeline, segments, counters, monitor, observed, recovery, holds, lock },
            to_do,
        ))
    }
}

/// The first tasks of the segment manager.
struct ToDo {
    /// Where the next segment begins.
    next_segment: Lsn,
    /// Ended segments without a footer: where each one ended, and the digest of its last block.
    footers: Vec<(SegmentId, Lsn, u32)>,
}

fn tell_recovery(disk: &dyn Disk, report: &Recovery) {
    let dir = disk.path().display();
    event!(info, dir = dir.to_string(), found = report.to_string(), "log opened");
    for cut in &report.cut {
        event!(warn, dir = dir.to_string(), cut = cut.to_string(), "unproven tail cut");
    }
}
