//! Carries out the jobs: the segment manager as the commit path sees it.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::jobs::{Job, Jobs, Work};
use super::manager::SegmentManager;
use crate::error::Result;
use crate::lsn::{Lsn, SegmentId};
use crate::segment::{SealInput, Segment, SegmentReader, SpacePool, Summary, Supply, Tip, seal};
use crate::trace::{event, span};

impl Supply for SegmentManager {
    fn want(&self, first_lsn: Lsn, pool: SpacePool) {
        self.jobs.lock().prepare = Some((first_lsn, pool));
        self.work.notify_all();
    }

    fn started(&self, segment: &Arc<Segment>, predecessor: Tip) {
        event!(debug, segment = segment.id().get(), first_lsn = segment.first_lsn().get(), "segment started");
        self.table.push(Arc::clone(segment), predecessor.end);
        self.ready.lock().named.retain(|ready| ready.id() != segment.id());
        let mut jobs = self.jobs.lock();
        jobs.queue.push_back(Job::Started { newest: segment.id(), durable: predecessor.end });
        if let Some(id) = predecessor.segment {
            jobs.queue.push_back(Job::Seal { id, end: predecessor.end, digest: predecessor.digest });
        }
        drop(jobs);
        self.work.notify_all();
    }

    fn watch(&self) {
        let mut jobs = self.jobs.lock();
        if jobs.asleep {
            jobs.watch = true;
            self.work.notify_all();
        }
    }

    fn has_work(&self) -> bool {
        !self.jobs.lock().is_empty()
    }

    fn work(&self, offer: &dyn Fn(Result<Arc<Segment>>)) {
        // In a log without threads another caller may have done it in the meantime.
        let Some(work) = self.jobs.lock().take() else { return };
        match work {
            Work::Prepare(id, first_lsn, pool) => {
                let made = self.prepare_segment(id, first_lsn, pool);
                self.note(&made);
                offer(made.clone());
                self.progress.set_hurry(false);
                self.tell_prepared(&made);
            }
            Work::Job(job) => {
                let done = self.run_job(&job);
                self.note(&done);
                self.tell_failure(&done);
            }
        }
    }

    fn rest(&self) -> bool {
        let mut jobs = self.jobs.lock();
        if jobs.is_empty() {
            if jobs.stop {
                return false;
            }
            self.sleep(&mut jobs);
        }
        true
    }

    fn stop(&self) {
        self.jobs.lock().stop = true;
        self.progress.set_hurry(true);
        self.work.notify_all();
    }
}

impl SegmentManager {
    /// Requests a footer for an ended segment that was found without one.
    pub(crate) fn want_footer(&self, id: SegmentId, end: Lsn, digest: u32) {
        self.jobs.lock().queue.push_back(Job::Seal { id, end, digest });
        self.work.notify_all();
    }

    /// Sleeps until there is a job, or until another party's call may have to be reported.
    fn sleep(&self, jobs: &mut MutexGuard<'_, Jobs>) {
        let look = std::mem::take(&mut jobs.watch).then(|| self.monitor.limit());
        match self.monitor.next_look().or(look) {
            Some(time) => {
                // Whatever ended the wait, everything is checked again.
                let _timed_out = self.work.wait_for(jobs, time);
            }
            None => {
                jobs.asleep = true;
                self.work.wait(jobs);
                jobs.asleep = false;
            }
        }
    }

    fn tell_prepared(&self, made: &Result<Arc<Segment>>) {
        self.tell_failure(made);
        if let Ok(segment) = made {
            let recycled = segment.generation.recycled && segment.pool == SpacePool::Ordinary;
            self.options.observed.tell(|o| o.prepared(segment.id(), recycled));
        }
    }

    fn run_job(&self, job: &Job) -> Result<()> {
        match *job {
            Job::RemoveSurplus => self.remove_surplus(&self.monitor.background),
            Job::Started { newest, durable } => self.superblock.lock().update(|sb| {
                sb.newest = sb.newest.max(Some(newest));
                sb.durable = sb.durable.max(durable);
            }),
            Job::Seal { id, end, digest } => self.write_footer(id, end, digest),
        }
    }

    fn write_footer(&self, id: SegmentId, end: Lsn, digest: u32) -> Result<()> {
        // If it was released meanwhile, its file may already be in another generation, which only this thread starts.
        let Some(segment) = self.table.get(id).filter(|s| s.footer().is_none()) else { return Ok(()) };
        let _span = span!(DEBUG, "seal", segment = id.get());
        let reader = SegmentReader::new(Arc::clone(&segment), end, self.options.decoder.clone());
        let (blocks, records) = reader.count()?;
        let summary = match &self.summarizer {
            Some(summarizer) => summarizer.summarize(&reader)?,
            None => Summary::default(),
        };
        let input = SealInput { end, digest, records, blocks };
        seal(&segment, &input, &summary, self.options.mmap, &self.monitor.background)?;
        self.counters.segments_sealed.add(1);
        if let (Some(summarizer), Some(footer)) = (&self.summarizer, segment.footer()) {
            summarizer.sealed(id, &footer.summary);
        }
        self.options.observed.tell(|o| o.sealed(id));
        Ok(())
    }
}
