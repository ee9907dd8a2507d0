//! A workload on a simulated disk, and the oracle that judges the state after a crash.

// Each test file uses its part.
#![allow(dead_code)]

pub mod evidence;
pub mod forgetful;

use std::sync::Arc;
use std::time::Duration;

use seawall::io::sim::{Rng, SimDisk};
use seawall::{Batch, Error, Lsn, Options, Record, Wal};

/// A log in small pieces, on one thread.
pub fn options() -> Options {
    Options::new().segment_size(24 << 10).threads(false).idle_marker(Duration::from_secs(3600))
}

pub fn open(options: &Options, disk: &SimDisk) -> Result<Wal, Error> {
    options.open_on(forgetful::disk(disk))
}

/// What was requested of a log, and what it promised.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// Every batch that was submitted, in order.
    pub batches: Vec<Arc<Submitted>>,
    /// Number of acknowledged batches; what an open exposed counts too.
    pub acknowledged: usize,
    /// The address of each batch's first record, as far as known.
    pub lsns: Vec<Option<Lsn>>,
    /// Batches before this one may be gone.
    pub released: usize,
}

/// A batch that was submitted.
#[derive(Debug)]
pub struct Submitted {
    /// Distinguishes it from every other.
    pub id: u64,
    pub records: Vec<Vec<u8>>,
}

/// Why a recovered log is wrong.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// W1: an acknowledged batch is not there.
    Lost { batch: usize },
    /// W2: half a batch.
    Torn { batch: usize },
    /// W3: something that was never submitted, or at another place.
    Phantom { lsn: Lsn },
    /// W4: refused although nothing that is proven is damaged.
    Refused(String),
}

impl Oracle {
    /// Submits and awaits one random batch.
    pub fn append(&mut self, wal: &Wal, rng: &mut Rng) -> Result<(), Error> {
        let batch = self.random_batch(rng);
        let mut b = Batch::new();
        for record in &batch.records {
            b.push(record);
        }
        self.batches.push(Arc::new(batch));
        self.lsns.push(None);
        let lsn = wal.commit(&b)?;
        *self.lsns.last_mut().unwrap() = Some(lsn);
        self.acknowledged = self.batches.len();
        Ok(())
    }

    /// The newest batch was refused, and nothing of it was submitted.
    pub fn forget_last(&mut self) {
        self.batches.pop();
        self.lsns.pop();
    }

    /// The newest batch was meant to have one record more.
    pub fn lengthen_last(&mut self) {
        if let Some(last) = self.batches.last_mut() {
            let records = last.records.iter().cloned().chain([Vec::new()]).collect();
            *last = Arc::new(Submitted { id: !last.id, records });
        }
    }

    /// A number that distinguishes states of knowledge.
    pub fn key(&self) -> u64 {
        let counts = [self.batches.len(), self.acknowledged, self.released].map(|n| n as u64);
        let numbers = self.batches.iter().map(|b| b.id).chain(counts);
        numbers.fold(0, |sum: u64, n| Rng::new(sum ^ n).draw())
    }

    fn random_batch(&self, rng: &mut Rng) -> Submitted {
        let id = rng.draw();
        let count = 1 + rng.below(4);
        let records = (0..count)
            .map(|_| {
                let len = match rng.below(4) {
                    0 => 0,
                    1 => rng.below(40),
                    2 => rng.below(1000),
                    _ => rng.below(3500),
                };
                // Payloads full of zeros are as good as any.
                let fill = rng.below(3);
                let seed = rng.draw();
                let mut inner = Rng::new(seed);
                (0..len).map(|_| if fill == 0 { 0 } else { inner.draw().to_le_bytes()[0] }).collect()
            })
            .collect();
        Submitted { id, records }
    }

    /// Releases everything before batch `batch`.
    pub fn release(&mut self, wal: &Wal, batch: usize) -> Result<(), Error> {
        if let Some(Some(lsn)) = self.lsns.get(batch) {
            self.released = self.released.max(batch);
            wal.release(*lsn)?;
        }
        Ok(())
    }

    /// Checks the contents of a log after a reopen; from then on they are promised.
    pub fn check(&mut self, wal: &Wal) -> Result<(), Wrong> {
        let records: Vec<Record> =
            wal.iter().collect::<Result<_, _>>().map_err(|e| Wrong::Refused(e.to_string()))?;
        let Some(start) = self.find_start(&records) else {
            return match records.first() {
                Some(record) => Err(Wrong::Phantom { lsn: record.lsn() }),
                None => Err(Wrong::Lost { batch: self.released }),
            };
        };
        let mut rest = &records[..];
        let mut batch = start;
        while !rest.is_empty() {
            let first = rest[0].lsn();
            let Some(expected) = self.batches.get(batch).map(|b| &b.records) else {
                return Err(Wrong::Phantom { lsn: first });
            };
            if let Some(Some(lsn)) = self.lsns.get(batch)
                && *lsn != first
            {
                return Err(Wrong::Phantom { lsn: first });
            }
            if rest.len() < expected.len() {
                return Err(Wrong::Torn { batch });
            }
            for (want, got) in expected.iter().zip(rest) {
                if want != got.payload() {
                    return Err(Wrong::Phantom { lsn: got.lsn() });
                }
            }
            self.lsns[batch] = Some(first);
            rest = &rest[expected.len()..];
            batch += 1;
        }
        if batch < self.acknowledged {
            return Err(Wrong::Lost { batch });
        }
        // What was exposed is promised; what was not recovered never was.
        self.acknowledged = batch;
        self.batches.truncate(batch);
        self.lsns.truncate(batch);
        Ok(())
    }

    /// The batch of the first record: no batch that must still exist is missing before it.
    fn find_start(&self, records: &[Record]) -> Option<usize> {
        match records.first() {
            // The newest segment is never released, so acknowledged batches never leave the log empty.
            None => (self.acknowledged == 0).then_some(0),
            Some(first) => {
                let known = self.lsns.iter().position(|l| *l == Some(first.lsn()));
                // Only the very first batch can be unknown and yet the first.
                let start = known.unwrap_or(0);
                (start <= self.released).then_some(start)
            }
        }
    }
}
