//! The commit path under a model checker: `RUSTFLAGS="--cfg shuttle" cargo test --lib --release commit::model`.
//!
//! Shuttle runs a scenario's threads one at a time and chooses at each lock, condition variable, atomic, park and I/O
//! call which one continues. A scenario ends only when every thread has ended, so a lost wake-up is a deadlock, which
//! shuttle reports with the schedule that leads to it.
//!
//! ```text
//!  writers, waiters, wakers, closer, manager --> Pipeline --> ModelFile: written, synced (time passes in each call)
//!        |                                                       ^
//!        +---- acknowledged up to here? must be synced up to here+
//! ```
//!
//! `SEAWALL_SCHEDULES` sets the number of schedules for each scenario.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // these are tests

use std::io;
use std::sync::{Arc, Mutex as StdMutex};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner, thread};

use super::{Batch, Pipeline, PipelineParts, SubmitOptions, Ticket};
use crate::error::{Error, LogUuid, Result};
use crate::format::DATA_START;
use crate::format::segment::Generation;
use crate::io::Opener;
use crate::io::{Allocated, File};
use crate::lsn::{Lsn, SegmentId};
use crate::monitor::Monitor;
use crate::options::Options;
use crate::segment::{Progress, Segment, SpacePool, Supply, Tip};
use crate::stats::Counters;
use crate::sync::{Condvar, Mutex};

const SEGMENT: u64 = 16 << 10;

/// A device's view of one file: addresses, not bytes.
#[derive(Clone, Copy, Debug)]
struct Extent {
    first: Lsn,
    written: Lsn,
    synced: Lsn,
}

/// The device. Its own lock is never held at a scheduling point.
#[derive(Debug, Default)]
struct Device {
    extents: StdMutex<Vec<Extent>>,
    /// The number, from 0, of the sync that fails; and how many syncs there were.
    failing: Option<usize>,
    syncs: StdMutex<usize>,
}

impl Device {
    /// Whether everything written below `end` is on the device.
    fn holds(&self, end: Lsn) -> bool {
        let extents = self.extents.lock().unwrap();
        let covered = extents.iter().map(|e| e.synced).max().unwrap_or(Lsn::ZERO);
        covered >= end && extents.iter().filter(|e| e.first < end).all(|e| e.synced >= e.written.min(end))
    }
}

#[derive(Debug)]
struct ModelFile {
    device: Arc<Device>,
    at: usize,
}

impl File for ModelFile {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        thread::yield_now();
        let mut extents = self.device.extents.lock().unwrap();
        if let Some(data) = offset.checked_sub(DATA_START) {
            let (earlier, rest) = extents.split_at_mut(self.at);
            assert!(
                earlier.iter().all(|e| e.written == e.synced),
                "a successor was written before its predecessor was durable"
            );
            let extent = &mut rest[0];
            let start = extent.first.plus(data);
            assert_eq!(start, extent.written, "blocks are written in order, without gaps");
            extent.written = start.plus(buf.len() as u64);
        }
        Ok(buf.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let covered = self.device.extents.lock().unwrap()[self.at].written;
        thread::yield_now();
        let nth = {
            let mut syncs = self.device.syncs.lock().unwrap();
            *syncs += 1;
            *syncs - 1
        };
        assert!(self.device.failing.is_none_or(|f| nth <= f), "a sync after the one that failed");
        if self.device.failing == Some(nth) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let mut extents = self.device.extents.lock().unwrap();
        extents[self.at].synced = covered;
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(SEGMENT)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, _: u64) -> io::Result<Allocated> {
        Ok(Allocated::Reserved)
    }

    fn as_std(&self) -> Option<&std::fs::File> {
        None
    }
}

/// The segment manager: makes segments on request.
#[derive(Debug)]
struct Manager {
    device: Arc<Device>,
    asked: Mutex<Asked>,
    changed: Condvar,
    capacity: u64,
}

#[derive(Debug, Default)]
struct Asked {
    first: Option<Lsn>,
    made: u64,
    stop: bool,
}

impl Supply for Manager {
    fn want(&self, first_lsn: Lsn, _: SpacePool) {
        self.asked.lock().first = Some(first_lsn);
        self.changed.notify_all();
    }

    fn started(&self, segment: &Arc<Segment>, predecessor: Tip) {
        assert!(self.device.holds(predecessor.end));
        assert!(predecessor.end <= segment.first_lsn());
    }

    fn watch(&self) {}

    fn has_work(&self) -> bool {
        self.asked.lock().first.is_some()
    }

    fn work(&self, offer: &dyn Fn(Result<Arc<Segment>>)) {
        let mut asked = self.asked.lock();
        let first = asked.first.take().unwrap();
        asked.made += 1;
        let id = SegmentId::new(asked.made);
        drop(asked);
        offer(self.make(id, first));
    }

    fn rest(&self) -> bool {
        let mut asked = self.asked.lock();
        while asked.first.is_none() && !asked.stop {
            self.changed.wait(&mut asked);
        }
        asked.first.is_some()
    }

    fn stop(&self) {
        self.asked.lock().stop = true;
        self.changed.notify_all();
    }
}

impl Manager {
    fn make(&self, id: SegmentId, first_lsn: Lsn) -> Result<Arc<Segment>> {
        let at = {
            let mut extents = self.device.extents.lock().unwrap();
            extents.push(Extent { first: first_lsn, written: first_lsn, synced: first_lsn });
            extents.len() - 1
        };
        let generation = Generation {
            uuid: LogUuid([1; 16]),
            id,
            salt: id.get(),
            first_lsn,
            capacity: self.capacity,
            block_align: 512,
            recycled: false,
            before: None,
        };
        let file = Arc::new(ModelFile { device: Arc::clone(&self.device), at });
        Segment::new(generation, file, format!("{id}"), "model".into(), false).map(Arc::new)
    }
}

/// A log in the model: what the threads of a scenario share.
#[derive(Clone)]
struct Log {
    pipeline: Arc<Pipeline>,
    device: Arc<Device>,
}

impl Log {
    fn open(options: &Options, failing: Option<usize>) -> Self {
        let options = options.clone().segment_size(SEGMENT).block_align(512).check().unwrap();
        let device = Arc::new(Device { failing, ..Device::default() });
        let segments = Arc::new(Manager {
            device: Arc::clone(&device),
            asked: Mutex::default(),
            changed: Condvar::new(),
            capacity: options.capacity,
        });
        let counters = Arc::new(Counters::default());
        let pipeline = Arc::new(Pipeline::new(PipelineParts {
            opener: Opener::of(std::path::Path::new("model")),
            monitor: Arc::new(Monitor::new(&options, Arc::clone(&counters), Arc::default())),
            progress: Arc::new(Progress::new(Lsn::ZERO, options.threads)),
            options,
            counters,
            segments: Arc::clone(&segments) as _,
            tip: Tip { segment: None, end: Lsn::ZERO, digest: 0 },
            current: None,
        }));
        pipeline.start_manager().unwrap();
        segments.want(Lsn::ZERO, SpacePool::Ordinary);
        Log { pipeline, device }
    }

    fn check_acknowledged(&self, end: Lsn) {
        assert!(self.device.holds(end), "acknowledged up to {end}, but not on the device");
    }

    fn append(&self, len: usize) -> Result<Lsn> {
        let batch = batch(len);
        let first = self.pipeline.commit(&batch)?;
        self.check_acknowledged(first.plus(batch.size_in_log()));
        Ok(first)
    }

    fn submit(&self, len: usize) -> Result<Ticket> {
        self.pipeline.submit(&batch(len), SubmitOptions::new())
    }

    fn wait(&self, ticket: Ticket) -> Result<Lsn> {
        let end = ticket.end();
        let first = ticket.wait()?;
        self.check_acknowledged(end);
        Ok(first)
    }

    /// Like an executor: polls, and sleeps until woken.
    fn poll_to_the_end(&self, ticket: Ticket) -> Result<Lsn> {
        struct Unpark(thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let end = ticket.end();
        let waker = Arc::new(Unpark(thread::current())).into();
        let mut ticket = std::pin::pin!(ticket);
        loop {
            if let Poll::Ready(done) = ticket.as_mut().poll(&mut Context::from_waker(&waker)) {
                done.inspect(|_| self.check_acknowledged(end))?;
                return Ok(end);
            }
            thread::park();
        }
    }
}

fn batch(len: usize) -> Batch {
    let mut batch = Batch::new();
    batch.push(vec![7; len]);
    batch
}

fn schedules() -> usize {
    std::env::var("SEAWALL_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

/// Runs a scenario under many schedules: half of them random, half with a few well-placed preemptions.
fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let scenario = Arc::new(scenario);
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(100_000);
    let each = schedules() / 2;
    let random = Arc::clone(&scenario);
    Runner::new(RandomScheduler::new(each), config.clone()).run(move || random());
    Runner::new(PctScheduler::new(3, each), config).run(move || scenario());
}

type Part = Box<dyn FnOnce(&Log) + Send>;

fn part(f: impl FnOnce(&Log) + Send + 'static) -> Part {
    Box::new(f)
}

/// Opens a log, runs the parts concurrently, closes it, and checks that every thread ends.
fn together(options: &Options, failing: Option<usize>, parts: Vec<Part>) -> Result<()> {
    let log = Log::open(options, failing);
    let handles: Vec<_> = parts
        .into_iter()
        .map(|part| {
            let log = log.clone();
            thread::spawn(move || part(&log))
        })
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
    log.pipeline.close()
}

fn options() -> Options {
    // The model has no time: a wait for the marker block ends when the schedule says so.
    Options::new().idle_marker(Duration::ZERO)
}

/// After a failure the result is success, if durable, or the error; nothing else, and no one is left waiting.
fn poisoned_or<T>(result: Result<T>) {
    match result {
        Ok(_) | Err(Error::Poisoned { .. }) => {}
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn blocking_writers_are_all_acknowledged_after_their_sync() {
    explore(|| {
        let writer = || {
            part(|log| {
                log.append(10).unwrap();
                log.append(700).unwrap();
            })
        };
        together(&options(), None, vec![writer(), writer(), writer()]).unwrap();
    });
}

#[test]
fn tickets_are_flushed_whether_waited_for_polled_or_dropped() {
    explore(|| {
        let waits = part(|log| {
            let tickets = [log.submit(10).unwrap(), log.submit(20).unwrap()];
            for ticket in tickets {
                log.wait(ticket).unwrap();
            }
        });
        let polls = part(|log| {
            log.poll_to_the_end(log.submit(30).unwrap()).unwrap();
        });
        let drops = part(|log| {
            let dropped = log.submit(40).unwrap();
            let end = dropped.end();
            drop(dropped);
            assert!(log.pipeline.wait_durable_beyond(Lsn::new(end.get() - 1)).unwrap());
            log.check_acknowledged(end);
        });
        together(&options(), None, vec![waits, polls, drops]).unwrap();
    });
}

#[test]
fn a_failed_sync_reaches_everybody_who_waits() {
    for failing in 0..3 {
        explore(move || {
            let blocks = || {
                part(|log| {
                    poisoned_or(log.append(10));
                    poisoned_or(log.append(10));
                })
            };
            let tickets = part(|log| {
                poisoned_or(log.submit(20).and_then(|t| log.wait(t)));
                poisoned_or(log.submit(20).and_then(|t| log.poll_to_the_end(t)));
            });
            let follows = part(|log| poisoned_or(log.pipeline.wait_durable_beyond(Lsn::new(2000))));
            let last = part(move |log| {
                // Enough syncs that the failing one is among them.
                (0..4).for_each(|_| poisoned_or(log.append(600)));
            });
            poisoned_or(together(&options(), Some(failing), vec![blocks(), tickets, follows, last]));
        });
    }
}

#[test]
fn a_rotation_waits_for_its_segment_and_for_its_predecessor() {
    explore(|| {
        let writer = || {
            part(|log| {
                for _ in 0..3 {
                    log.append(3000).unwrap();
                }
            })
        };
        let tickets = part(|log| {
            let all: Vec<_> = (0..3).map(|_| log.submit(2500).unwrap()).collect();
            for ticket in all {
                log.wait(ticket).unwrap();
            }
        });
        together(&options(), None, vec![writer(), writer(), tickets]).unwrap();
    });
}

#[test]
fn a_failed_sync_around_a_rotation_reaches_everybody() {
    for failing in 1..4 {
        explore(move || {
            let writer = || part(|log| (0..3).for_each(|_| poisoned_or(log.append(3000))));
            let tickets = part(|log| {
                let all: Vec<_> = (0..3).map(|_| log.submit(2500)).collect();
                all.into_iter().for_each(|t| poisoned_or(t.and_then(|t| log.wait(t))));
            });
            poisoned_or(together(&options(), Some(failing), vec![writer(), writer(), tickets]));
        });
    }
}

#[test]
fn back_pressure_lets_everybody_through_in_the_end() {
    explore(|| {
        let submits = || {
            part(|log| {
                for _ in 0..3 {
                    drop(log.submit(600).unwrap());
                    assert!(log.pipeline.staged_bytes() <= 1000);
                }
            })
        };
        let writer = part(|log| {
            log.append(600).unwrap();
        });
        together(&options().max_staged_bytes(1000), None, vec![submits(), submits(), writer]).unwrap();
    });
}

#[test]
fn closing_while_others_wait_leaves_nobody_behind() {
    fn closed_or<T>(result: Result<T>) {
        match result {
            Ok(_) | Err(Error::Closed) => {}
            Err(e) => panic!("{e}"),
        }
    }
    explore(|| {
        let writer = part(|log| {
            closed_or(log.append(10));
            closed_or(log.append(10));
        });
        let tickets = part(|log| {
            // What was submitted before the close is made durable by it.
            let ticket = log.submit(20);
            match ticket {
                Ok(ticket) => {
                    log.poll_to_the_end(ticket).unwrap();
                }
                Err(e) => closed_or::<()>(Err(e)),
            }
        });
        let follows = part(|log| closed_or(log.pipeline.wait_durable_beyond(Lsn::new(100_000))));
        let closes = part(|log| log.pipeline.close().unwrap());
        together(&options(), None, vec![writer, tickets, follows, closes]).unwrap();
    });
}

#[test]
fn closing_a_log_whose_sync_fails_leaves_nobody_behind() {
    explore(|| {
        let any = |result: Result<()>| match result {
            Ok(()) | Err(Error::Closed | Error::Poisoned { .. }) => {}
            Err(e) => panic!("{e}"),
        };
        let writer = part(move |log| {
            any(log.append(10).map(drop));
            any(log.append(10).map(drop));
        });
        let tickets = part(move |log| any(log.submit(20).and_then(|t| log.wait(t)).map(drop)));
        let closes = part(move |log| any(log.pipeline.close()));
        any(together(&options(), Some(1), vec![writer, tickets, closes]));
    });
}
