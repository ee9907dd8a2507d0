//! The keeper's thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::manager::{Keeper, Spare, Surplus};
use crate::error::{Error, Result};
use crate::format::DATA_START;
use crate::lsn::{Lsn, SegmentId};
use crate::mutation::{Mutation, mutated};
use crate::segment::{
    Commits, Plan, RESERVE, Room, SealInput, Segment, SegmentReader, Summary, Tip, Unprepared, make_reserve,
    prepare, seal, size_of,
};
use crate::trace::span;

/// What the keeper has to do. A commit may be waiting for a segment, so that goes first, as long as the rest is not far behind.
#[derive(Debug)]
pub(super) struct Jobs {
    prepare: Option<(Lsn, Room)>,
    queue: VecDeque<Job>,
    next_id: SegmentId,
    stop: bool,
    /// The keeper sleeps with no time limit.
    asleep: bool,
    /// Somebody began to work who may hang: the keeper is to look after a while, also if it sees nobody at work by then, so
    /// that it is not woken each time.
    watch: bool,
}

#[derive(Debug)]
enum Job {
    /// A segment has its first durable block: the superblock is to name it.
    Started { newest: SegmentId, durable: Lsn },
    /// There are files that are no part of the log.
    RemoveSurplus,
    /// A segment has ended and its successor is durable.
    Seal { id: SegmentId, end: Lsn, digest: u32 },
}

impl Jobs {
    pub(super) fn new(next_id: SegmentId, surplus: bool) -> Self {
        let queue = surplus.then_some(Job::RemoveSurplus).into_iter().collect();
        Jobs { prepare: None, queue, next_id, stop: false, asleep: false, watch: false }
    }

    fn is_empty(&self) -> bool {
        self.prepare.is_none() && self.queue.is_empty()
    }

    fn take_id(&mut self) -> SegmentId {
        let id = self.next_id;
        self.next_id = id.next();
        id
    }

    fn take(&mut self) -> Option<Work> {
        if self.queue.len() > MOST_BEHIND {
            return self.queue.pop_front().map(Work::Job);
        }
        match self.prepare.take() {
            Some((first_lsn, room)) => Some(Work::Prepare(self.take_id(), first_lsn, room)),
            None => self.queue.pop_front().map(Work::Job),
        }
    }
}

/// With more jobs than this the next segment waits for its turn, and commits may have to wait for it: a log that is written
/// faster than its segments can be sealed would else be read whole when it opens after a crash. A rotation makes two jobs.
const MOST_BEHIND: usize = 4;

/// What is done next.
#[derive(Debug)]
enum Work {
    Prepare(SegmentId, Lsn, Room),
    Job(Job),
}

/// The name of the thread.
pub(crate) const KEEPER: &str = "seawall-keeper";

/// Those for whom segments are made ready.
pub(crate) trait Customer {
    /// Here is the segment that was wanted, or why it could not be made.
    fn offer(&self, segment: Result<Arc<Segment>>);

    /// Everything below is durable.
    fn durable(&self) -> Lsn;

    /// The keeper begins to work: somebody is to notice should it hang.
    fn watch(&self);
}

/// What goes on while a segment is made ready.
struct Meanwhile<'a> {
    keeper: &'a Keeper,
    customer: &'a dyn Customer,
}

impl Commits for Meanwhile<'_> {
    fn durable(&self) -> Lsn {
        self.customer.durable()
    }

    fn hurry(&self) -> bool {
        // Without threads nobody commits meanwhile.
        !self.keeper.options.threads || self.keeper.hurry.load(Ordering::Relaxed)
    }

    fn rest(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start(self: &Arc<Self>, customer: Box<dyn Customer + Send>) -> Result<JoinHandle<()>> {
        let keeper = Arc::clone(self);
        std::thread::Builder::new()
            .name(KEEPER.into())
            .spawn(move || keeper.run(&*customer))
            .map_err(|e| Error::io("start a thread for", self.disk.path(), e))
    }

    /// Ends the thread once it has done what was asked so far.
    pub(crate) fn stop(&self) {
        self.jobs.lock().stop = true;
        self.hurry.store(true, Ordering::Relaxed);
        self.work.notify_all();
    }

    /// The segment that begins at `first_lsn` is to be made ready, out of this room.
    pub(crate) fn want(&self, first_lsn: Lsn, room: Room) {
        self.jobs.lock().prepare = Some((first_lsn, room));
        self.work.notify_all();
    }

    /// Somebody begins to work: the keeper is to notice should that hang.
    pub(crate) fn watch(&self) {
        let mut jobs = self.jobs.lock();
        if jobs.asleep {
            jobs.watch = true;
            self.work.notify_all();
        }
    }

    pub(super) fn enqueue_started(&self, newest: SegmentId, predecessor: Tip) {
        let mut jobs = self.jobs.lock();
        jobs.queue.push_back(Job::Started { newest, durable: predecessor.end });
        if let Some(id) = predecessor.segment {
            jobs.queue.push_back(Job::Seal { id, end: predecessor.end, digest: predecessor.digest });
        }
        drop(jobs);
        self.work.notify_all();
    }

    /// An ended segment was found without a footer.
    pub(crate) fn want_footer(&self, id: SegmentId, end: Lsn, digest: u32) {
        self.jobs.lock().queue.push_back(Job::Seal { id, end, digest });
        self.work.notify_all();
    }

    fn run(&self, customer: &dyn Customer) {
        loop {
            self.run_pending(customer);
            self.monitor.tell_overdue();
            let mut jobs = self.jobs.lock();
            if jobs.is_empty() {
                if jobs.stop {
                    return;
                }
                self.rest(&mut jobs);
            }
        }
    }

    /// Sleeps until there is a job, or a call of somebody else may have to be told of.
    fn rest(&self, jobs: &mut MutexGuard<'_, Jobs>) {
        let look = std::mem::take(&mut jobs.watch).then(|| self.monitor.limit());
        match self.monitor.next_look().or(look) {
            Some(time) => {
                // Whatever ended the wait, everything is looked at again.
                let _timed_out = self.work.wait_for(jobs, time);
            }
            None => {
                jobs.asleep = true;
                self.work.wait(jobs);
                jobs.asleep = false;
            }
        }
    }

    /// Does what was asked so far.
    pub(crate) fn run_pending(&self, customer: &dyn Customer) {
        loop {
            let Some(work) = self.jobs.lock().take() else { return };
            let at_work = self.monitor.at_work();
            customer.watch();
            match work {
                Work::Prepare(id, first_lsn, room) => {
                    let made =
                        self.prepare_segment(id, first_lsn, room, &Meanwhile { keeper: self, customer });
                    self.note(&made);
                    customer.offer(made.clone());
                    self.hurry.store(false, Ordering::Relaxed);
                    self.tell_prepared(&made);
                }
                Work::Job(job) => {
                    let done = self.run_job(&job);
                    self.note(&done);
                    self.tell_failure(&done);
                }
            }
            drop(at_work);
            self.monitor.tell_returned();
        }
    }

    fn prepare_segment(
        &self,
        id: SegmentId,
        first_lsn: Lsn,
        room: Room,
        commits: &dyn Commits,
    ) -> Result<Arc<Segment>> {
        let made = self.ready_segment(id, first_lsn, room, commits);
        if room == Room::Ordinary {
            self.monitor.note_segment(made.as_ref().err());
        }
        let segment = made?;
        let mut ready = self.ready.lock();
        ready.unnamed = None;
        ready.named.push(Arc::clone(&segment));
        Ok(segment)
    }

    /// The segment that was made ready and could not be named, or else a new one; named.
    fn ready_segment(
        &self,
        id: SegmentId,
        first_lsn: Lsn,
        room: Room,
        commits: &dyn Commits,
    ) -> Result<Arc<Segment>> {
        let unnamed = self.ready.lock().unnamed.clone();
        let segment = match unnamed {
            Some(segment) => segment,
            None => {
                let made = match room {
                    Room::Ordinary => self.prepare_ordinary(id, first_lsn, commits),
                    Room::Reserve => self.prepare_from_reserve(id, first_lsn, commits),
                };
                self.counters.segments_prepared.add(u64::from(made.is_ok()));
                let segment = Arc::new(made?);
                let mut ready = self.ready.lock();
                ready.last = Some(segment.id());
                ready.unnamed = Some(Arc::clone(&segment));
                segment
            }
        };
        self.name_ready(&segment)?;
        Ok(segment)
    }

    /// Names a segment in the superblock, with what has become of the ones before it meanwhile.
    fn name_ready(&self, segment: &Segment) -> Result<()> {
        if mutated(Mutation::ReadyName) {
            return Ok(());
        }
        let started = self.table.newest_with_a_block();
        self.superblock.lock().update(|sb| {
            sb.ready = Some((segment.id(), segment.first_lsn()));
            if let Some((newest, start)) = started {
                sb.newest = sb.newest.max(Some(newest));
                sb.durable = sb.durable.max(start);
            }
        })
    }

    fn prepare(&self, plan: &Plan, recycled: Option<&str>, commits: &dyn Commits) -> Result<Segment> {
        prepare(&self.disk, plan, recycled, commits, &self.monitor.background).map_err(
            |Unprepared { error, left }| {
                // The reserve that is left is the reserve.
                if let Some((name, bytes)) = left.filter(|(name, _)| name != RESERVE) {
                    self.surplus.lock().push(Surplus { name, bytes });
                }
                error
            },
        )
    }

    /// As [`Keeper::prepare`], of a new file. A name that was taken since the log was opened is left alone.
    fn prepare_new(&self, plan: &Plan, commits: &dyn Commits) -> Result<Segment> {
        const ATTEMPTS: usize = 16;
        let mut plan = *plan;
        for _ in 1..ATTEMPTS {
            match self.prepare(&plan, None, commits) {
                Err(Error::Io { op: "create", source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists =>
                {
                    plan.id = self.jobs.lock().take_id();
                }
                made => return made,
            }
        }
        self.prepare(&plan, None, commits)
    }

    fn tell_prepared(&self, made: &Result<Arc<Segment>>) {
        self.tell_failure(made);
        if let Ok(segment) = made {
            let recycled = segment.life.recycled && segment.room == Room::Ordinary;
            self.options.observed.tell(|o| o.prepared(segment.id(), recycled));
        }
    }

    fn prepare_ordinary(&self, id: SegmentId, first_lsn: Lsn, commits: &dyn Commits) -> Result<Segment> {
        let _span = span!(DEBUG, "prepare", segment = id.get());
        // What is left over may be what fills the disk; that it cannot be removed is no reason not to go on.
        let removed = self.remove_surplus(&self.monitor.background);
        self.note(&removed);
        self.replenish_reserve()?;
        let recycled = self.take_spare();
        let plan = Plan { id, first_lsn, ..self.plan(self.options.capacity, Room::Ordinary) };
        let Some(recycled) = recycled else { return self.prepare_new(&plan, commits) };
        let segment = self.prepare(&plan, Some(&recycled), commits)?;
        self.counters.segments_recycled.add(1);
        Ok(segment)
    }

    fn prepare_from_reserve(&self, id: SegmentId, first_lsn: Lsn, commits: &dyn Commits) -> Result<Segment> {
        let bytes = self.reserve.swap(0, Ordering::Relaxed);
        if bytes == 0 {
            let full = std::io::ErrorKind::StorageFull.into();
            return Err(Error::io(
                "use the reserve, which is used up:",
                self.disk.path().join(RESERVE),
                full,
            ));
        }
        let align = u64::from(self.options.block_align);
        let plan = self.plan((bytes - DATA_START) & !(align - 1), Room::Reserve);
        self.prepare(&Plan { id, first_lsn, ..plan }, Some(RESERVE), commits)
    }

    fn plan(&self, capacity: u64, room: Room) -> Plan {
        Plan {
            uuid: self.uuid,
            id: SegmentId::default(),
            before: self.ready.lock().last,
            first_lsn: Lsn::ZERO,
            capacity,
            block_align: self.options.block_align,
            salt: if mutated(Mutation::Salt) { 1 } else { random_salt() },
            mmap: self.options.mmap,
            room,
        }
    }

    fn take_spare(&self) -> Option<String> {
        let mut spares = self.spares.lock();
        let at = spares.iter().position(Spare::unused);
        at.map(|at| spares.swap_remove(at).name)
    }

    /// Makes the reserve whole if it is not, out of a spare's space if need be.
    fn replenish_reserve(&self) -> Result<()> {
        let (want, caller) = (self.options.reserve, &self.monitor.background);
        let mut have = self.reserve.load(Ordering::Relaxed);
        while have < want {
            have = make_reserve(&self.disk, want, caller)?;
            self.reserve.store(have, Ordering::Relaxed);
            if have < want {
                let full = || {
                    Error::io("fill", self.disk.path().join(RESERVE), std::io::ErrorKind::StorageFull.into())
                };
                let name = self.take_spare().ok_or_else(full)?;
                let bytes = size_of(&self.disk, &name);
                self.surplus.lock().push(Surplus { name, bytes });
                self.remove_surplus(caller)?;
            }
        }
        Ok(())
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
        // Released meanwhile: its file may already be in another life, which only this thread starts.
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

/// A number that no earlier life of any file drew: from the randomness the standard library seeds its maps with.
pub(crate) fn random_salt() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    hasher.write_u128(now.as_nanos());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(n: u64) -> Job {
        Job::Seal { id: SegmentId::new(n), end: Lsn::ZERO, digest: 0 }
    }

    #[test]
    fn the_next_segment_goes_first_unless_footers_are_far_behind() {
        let mut jobs = Jobs::new(SegmentId::new(1), false);
        jobs.queue.extend((0..MOST_BEHIND as u64 + 2).map(seal));
        jobs.prepare = Some((Lsn::ZERO, Room::Ordinary));
        let before =
            std::iter::from_fn(|| jobs.take()).take_while(|work| matches!(work, Work::Job(_))).count();
        assert_eq!(before, 2);
        let after = std::iter::from_fn(|| jobs.take()).filter(|work| matches!(work, Work::Job(_))).count();
        assert_eq!(after, MOST_BEHIND);
        assert_eq!(jobs.next_id, SegmentId::new(2));
    }
}
