//! Small logs, ways to damage them, and the results.

// Each test file uses its part.
#![allow(dead_code)]

pub mod ways;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use seawall::error::{Corruption, CorruptionReason};
use seawall::format::segment::parse_file_name;
use seawall::io::Disk;
use seawall::io::sim::SimDisk;
use seawall::{Batch, Error, Label, Lsn, Options, TailPolicy, Verdict, Wal, verify_on};

use crate::common::{self, evidence, open};

pub type Files = BTreeMap<String, Vec<u8>>;
pub type Records = Vec<(Lsn, Vec<u8>)>;

pub fn files_of(disk: &SimDisk) -> Files {
    disk.files().into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
}

pub fn disk_of(files: &Files) -> SimDisk {
    let disk = SimDisk::new();
    for (name, bytes) in files {
        disk.put(name, bytes);
    }
    disk
}

pub fn segments(files: &Files) -> Vec<String> {
    files.keys().filter(|n| n.ends_with(".seg")).cloned().collect()
}

/// How the log was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Closed: all of it is proven.
    Closed,
    /// Killed: nothing proves its newest block.
    Killed,
}

/// A log, and what is known about it.
pub struct Sample {
    pub left: Left,
    pub files: Files,
    pub records: Records,
    /// The files at earlier times.
    pub older: Vec<Files>,
    /// Another log with the same content.
    pub other: Files,
}

/// Blocks as dense as possible, in the smallest segments.
pub fn tight() -> Options {
    common::options().segment_size(16 << 10).block_align(8)
}

impl Sample {
    /// A log that was opened four times, and so of four segments with a few small blocks each.
    pub fn new(left: Left) -> Self {
        let (files, records, older) = build(left);
        Sample { left, files, records, older, other: build(left).0 }
    }
}

fn build(left: Left) -> (Files, Records, Vec<Files>) {
    let mut disk = SimDisk::new();
    let (mut records, mut older) = (Vec::new(), Vec::new());
    for run in 0..4u64 {
        let wal = open(&tight(), &disk).unwrap();
        for n in 0..3 {
            push(&wal, run * 3 + n, &mut records);
            older.push(files_of(&disk));
        }
        if run < 3 || left == Left::Closed {
            wal.close().unwrap();
        }
        let end = disk.kill();
        drop(wal);
        disk = end;
    }
    (files_of(&disk), records, older)
}

/// A batch of two records: one of zeros, one not.
fn push(wal: &Wal, n: u64, records: &mut Records) {
    let mut batch = Batch::new();
    let mut pushed = Vec::new();
    for m in 0..2u64 {
        let len = usize::try_from(8 + (n * 5 + m * 3) % 20).unwrap();
        let payload = vec![if m == 0 { 0 } else { u8::try_from(n + 1).unwrap() }; len];
        let label = Label { kind: 1, stream: 40 + m, sequence: n, extra: 0 };
        pushed.push((batch.push_labelled(label, &[&payload]), payload));
    }
    let first = wal.commit(&batch).unwrap();
    records.extend(pushed.into_iter().map(|(o, p)| (o.from_first(first), p)));
}

/// The result for a damaged log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// None of the content is affected.
    Whole,
    /// Refused at open, and nothing changed.
    Refused,
    /// Opened; a read of an affected record returns an error, and so does `verify`.
    Found,
    /// Opened without its newest blocks, which nothing proves durable, and reported.
    Cut,
    /// The same, but nothing shows that anything was ever written there.
    Unseen,
}

/// Changed files; `None` for removed ones.
pub struct Damage {
    pub what: String,
    pub changes: Vec<(String, Option<Vec<u8>>)>,
}

impl Damage {
    pub fn apply(&self, base: &SimDisk) -> SimDisk {
        let disk = base.kill();
        for (name, bytes) in &self.changes {
            match bytes {
                Some(bytes) => disk.put(name, bytes),
                None => drop(disk.take(name)),
            }
        }
        disk
    }
}

/// Opens a damaged log and classifies the result; an error if that breaks a guarantee, or if `verify` disagrees with
/// the open and the readers.
pub fn examine(options: &Options, disk: &SimDisk, records: &Records) -> Result<Outcome, String> {
    let damaged = disk.kill();
    let outcome = opened(options, disk, records)?;
    agrees(&damaged, outcome)?;
    Ok(outcome)
}

/// What a verification must report about a log with this result. It is stricter than an open in one respect: it reads
/// what nothing else reads, the padding of blocks and the summaries in footers.
fn agrees(damaged: &SimDisk, outcome: Outcome) -> Result<(), String> {
    let report = match verify_on(&(Arc::new(damaged.kill()) as Arc<dyn Disk>)) {
        Ok(report) => report,
        Err(Error::Foreign { .. } | Error::UnsupportedVersion { .. }) if outcome == Outcome::Refused => {
            return Ok(());
        }
        Err(e) => return Err(format!("{outcome:?}, and verify fails: {e}")),
    };
    let unread = |c: &Corruption| matches!(c.reason, CorruptionReason::Padding | CorruptionReason::Footer);
    let agrees = match (outcome, report.verdict()) {
        (Outcome::Whole | Outcome::Unseen, Verdict::Whole) | (Outcome::Cut, Verdict::Cuts) => true,
        // What was cut held no record.
        (Outcome::Whole, Verdict::Cuts) => cuts(damaged),
        (Outcome::Refused | Outcome::Found, verdict) => verdict == Verdict::Damaged,
        (_, Verdict::Damaged) => report.problems.iter().all(unread),
        _ => false,
    };
    if agrees {
        Ok(())
    } else {
        Err(format!("{outcome:?}, and verify says {:?}: {report}", report.verdict()))
    }
}

fn cuts(damaged: &SimDisk) -> bool {
    open(&tight(), &damaged.kill()).is_ok_and(|wal| !wal.recovery().cut.is_empty())
}

fn opened(options: &Options, disk: &SimDisk, records: &Records) -> Result<Outcome, String> {
    let damaged = disk.kill();
    let wal = match open(options, disk) {
        Ok(wal) => wal,
        Err(e) => return refused(&e, &damaged, disk),
    };
    let (mut found, mut missing) = (false, Vec::new());
    for (lsn, payload) in records {
        match wal.read(*lsn) {
            Ok(record) if record.payload() == &payload[..] => {}
            Ok(_) => return Err(format!("another payload at {lsn}")),
            Err(Error::Corruption(c)) => found |= named(&c.file, &damaged)?,
            Err(Error::NotFound { .. } | Error::Released { .. }) => missing.push(*lsn),
            Err(e) => return Err(format!("{lsn}: {e}")),
        }
    }
    let mut iterated = 0;
    for record in wal.iter() {
        match record {
            Ok(record) if !records.iter().any(|(lsn, _)| *lsn == record.lsn()) => {
                return Err(format!("a phantom at {}", record.lsn()));
            }
            Ok(_) => iterated += 1,
            Err(Error::Corruption(_)) => found = true,
            Err(e) => return Err(format!("iterating: {e}")),
        }
    }
    if found {
        return Ok(Outcome::Found);
    }
    if iterated + missing.len() != records.len() {
        return Err(format!("{iterated} iterated, {} missing", missing.len()));
    }
    if missing.is_empty() { Ok(Outcome::Whole) } else { cut(options, &wal, &damaged, &missing) }
}

fn refused(e: &Error, damaged: &SimDisk, disk: &SimDisk) -> Result<Outcome, String> {
    match e {
        Error::Corruption(c) => {
            named(&c.file, damaged)?;
        }
        Error::Foreign { .. } | Error::UnsupportedVersion { .. } => {}
        e => return Err(e.to_string()),
    }
    if disk.fingerprint() == damaged.fingerprint() {
        Ok(Outcome::Refused)
    } else {
        Err(format!("refused and changed: {e}"))
    }
}

/// An error names an existing file, or the superblock, or the file of a removed segment.
fn named(file: &std::path::Path, damaged: &SimDisk) -> Result<bool, String> {
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let should_be = name == "superblock" || parse_file_name(&name).is_some();
    let known = damaged.files().contains(&name) || should_be;
    if known { Ok(true) } else { Err(format!("it names {}", file.display())) }
}

/// What is missing was reported, is no more than an unproven tail, and the other policy would have refused.
fn cut(options: &Options, wal: &Wal, damaged: &SimDisk, missing: &[Lsn]) -> Result<Outcome, String> {
    let proven = evidence::proven(&files_of(damaged));
    let Some(cut) = wal.recovery().cut.first() else {
        let wrong = missing.iter().any(|lsn| *lsn < proven);
        let text = format!("{missing:?} gone without a word, {proven} is proven");
        return if wrong { Err(text) } else { Ok(Outcome::Unseen) };
    };
    if missing.iter().any(|lsn| *lsn < proven || *lsn < cut.lsns.start) {
        return Err(format!("{missing:?} gone, {proven} is proven, {cut}"));
    }
    let disk = damaged.kill();
    match options.clone().tail_policy(TailPolicy::Refuse).open_on(Arc::new(disk.clone())) {
        Err(Error::Corruption(_)) if disk.fingerprint() == damaged.fingerprint() => Ok(Outcome::Cut),
        other => Err(format!("the policy is to refuse: {:?}", other.map(|_| ()))),
    }
}

/// How often a kind of damage had each outcome.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub whole: u64,
    pub refused: u64,
    pub found: u64,
    pub cut: u64,
    pub unseen: u64,
}

impl Counts {
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Whole => self.whole += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Found => self.found += 1,
            Outcome::Cut => self.cut += 1,
            Outcome::Unseen => self.unseen += 1,
        }
    }

    pub fn sum(&self) -> u64 {
        self.whole + self.refused + self.found + self.cut + self.unseen
    }

    pub fn plus(self, o: Counts) -> Counts {
        Counts {
            whole: self.whole + o.whole,
            refused: self.refused + o.refused,
            found: self.found + o.found,
            cut: self.cut + o.cut,
            unseen: self.unseen + o.unseen,
        }
    }
}

/// Inflicts every damage on a log, on all cores. The first violation ends it.
pub fn tally(
    base: &SimDisk,
    damages: &[Damage],
    judge: impl Fn(&SimDisk) -> Result<Outcome, String> + Sync,
) -> Counts {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut counts = Counts::default();
        while let Some(damage) = damages.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = judge(&damage.apply(base)).unwrap_or_else(|e| panic!("{}: {e}", damage.what));
            counts.add(outcome);
        }
        counts
    };
    // More than there are cores: a verification waits a little where it may be reading a block that is being written.
    let threads = 8 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        parts.into_iter().map(|p| p.join().unwrap()).fold(Counts::default(), Counts::plus)
    })
}

/// One line of the table.
pub fn print_row(what: &str, left: &str, c: Counts) {
    println!(
        "{what:<44} {left:<7} {:>7} {:>7} {:>8} {:>7} {:>7} {:>7}",
        c.sum(),
        c.whole,
        c.refused,
        c.found,
        c.cut,
        c.unseen
    );
}

pub fn print_head() {
    println!(
        "{:<44} {:<7} {:>7} {:>7} {:>8} {:>7} {:>7} {:>7}",
        "damage", "log", "states", "whole", "refused", "found", "cut", "unseen"
    );
}
