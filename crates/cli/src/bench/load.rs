//! The measured loads: the device alone, and logs under three loads.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use seawall::{Batch, Options, Ticket, Wal};

use super::latency::Latencies;
use crate::failure::Failure;

/// Bytes of a record; one of them fills the minimum page of a commit.
pub(super) const RECORD: usize = 1024;

/// Minimum bytes written by a commit.
const PAGE: usize = 4096;

/// Size of the file used to measure the device.
const FILE: u64 = 64 << 20;

/// Number of records in flight when they are submitted with tickets.
const IN_FLIGHT: usize = 256;

/// A repeatable operation.
pub(super) trait Load {
    fn name(&self) -> String;
    /// Repeats it for this long; returns the elapsed time.
    fn run(&mut self, turn: Duration, latencies: &mut Latencies) -> Result<Duration, Failure>;
}

/// A file that was already written once, like a segment, so that a sync has no metadata to write.
pub(super) struct Device {
    file: File,
    at: u64,
}

impl Device {
    pub(super) fn new(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join("device");
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        Ok(Device { file, at: 0 })
    }

    /// Writes one page after the other and syncs each; `syncs` has the times of the syncs alone.
    pub(super) fn run(
        &mut self,
        turn: Duration,
        all: &mut Latencies,
        syncs: &mut Latencies,
    ) -> Result<Duration, Failure> {
        let page = [0x5a; PAGE];
        let start = Instant::now();
        while start.elapsed() < turn {
            let before = Instant::now();
            self.file.write_all_at(&page, self.at)?;
            let written = Instant::now();
            self.file.sync_data()?;
            syncs.add(written.elapsed());
            all.add(before.elapsed());
            self.at = (self.at + PAGE as u64) % FILE;
        }
        Ok(start.elapsed())
    }
}

/// A log and its writers.
pub(super) struct Log {
    wal: Wal,
    writers: Writers,
}

enum Writers {
    /// This many threads, each waiting for its record.
    Blocking(usize),
    /// One thread that waits for the oldest of many tickets.
    Tickets,
}

impl Log {
    pub(super) fn blocking(dir: &Path, threads: usize) -> Result<Self, Failure> {
        Self::new(dir, Writers::Blocking(threads))
    }

    pub(super) fn tickets(dir: &Path) -> Result<Self, Failure> {
        Self::new(dir, Writers::Tickets)
    }

    fn new(dir: &Path, writers: Writers) -> Result<Self, Failure> {
        let name = match writers {
            Writers::Blocking(threads) => format!("blocking-{threads}"),
            Writers::Tickets => "tickets".to_owned(),
        };
        Ok(Log { wal: Options::new().segment_size(16 << 20).open(dir.join(name))?, writers })
    }

    /// What was written is not needed: the log never takes more space than a few segments.
    fn release(&self, done: u64) -> Result<(), Failure> {
        if done.is_multiple_of(4096) {
            self.wal.release(self.wal.durable_lsn())?;
        }
        Ok(())
    }

    fn write_blocking(&self, turn: Duration, releases: bool) -> Result<Latencies, Failure> {
        let (record, mut latencies, mut done) = (vec![0x5a; RECORD], Latencies::default(), 0);
        let start = Instant::now();
        while start.elapsed() < turn {
            let before = Instant::now();
            self.wal.append(&record)?;
            latencies.add(before.elapsed());
            done += 1;
            if releases {
                self.release(done)?;
            }
        }
        Ok(latencies)
    }

    fn write_tickets(&self, turn: Duration) -> Result<Latencies, Failure> {
        let (record, mut latencies, mut done) = (vec![0x5a; RECORD], Latencies::default(), 0);
        let mut waiting: VecDeque<(Instant, Ticket)> = VecDeque::new();
        let start = Instant::now();
        while start.elapsed() < turn || !waiting.is_empty() {
            if start.elapsed() < turn && waiting.len() < IN_FLIGHT {
                let mut batch = Batch::new();
                batch.push(&record);
                let before = Instant::now();
                waiting.push_back((before, self.wal.submit(&batch)?));
                continue;
            }
            let Some((before, ticket)) = waiting.pop_front() else { continue };
            ticket.wait()?;
            latencies.add(before.elapsed());
            done += 1;
            self.release(done)?;
        }
        Ok(latencies)
    }
}

impl Load for Log {
    fn name(&self) -> String {
        match self.writers {
            Writers::Blocking(1) => "a log, 1 blocking writer".to_owned(),
            Writers::Blocking(threads) => format!("a log, {threads} blocking writers"),
            Writers::Tickets => format!("a log, 1 writer, {IN_FLIGHT} tickets in flight"),
        }
    }

    fn run(&mut self, turn: Duration, latencies: &mut Latencies) -> Result<Duration, Failure> {
        let start = Instant::now();
        match self.writers {
            Writers::Tickets => latencies.merge(&self.write_tickets(turn)?),
            Writers::Blocking(threads) => {
                let log = &*self;
                let done: Vec<_> = std::thread::scope(|scope| {
                    let writers: Vec<_> =
                        (0..threads).map(|n| scope.spawn(move || log.write_blocking(turn, n == 0))).collect();
                    writers.into_iter().map(|w| w.join()).collect()
                });
                for found in done {
                    latencies.merge(&found.map_err(|_| Failure::Undone("a writer panicked".to_owned()))??);
                }
            }
        }
        Ok(start.elapsed())
    }
}
