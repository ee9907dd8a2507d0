//! Real logs, built in the process: opened several times, closed or killed, with older copies and a twin.

use std::sync::OnceLock;

use seawall::io::sim::{Rng, SimDisk};
use seawall::{Batch, Lsn, Options, Wal};

use super::directory::{Files, files_of, options, shared};
use super::evidence::Written;

/// A log, and what is known about it.
#[derive(Debug)]
pub struct RealLog {
    /// The directory at several times; the last one is the present.
    pub versions: Vec<Files>,
    /// The same things were done to this one: another log of the same content.
    pub twin: Files,
    /// Every record, with whether it is the last one of its batch.
    pub records: Vec<(Written, bool)>,
    /// Where the present begins.
    pub first: Lsn,
}

/// How a log was made.
struct Plan {
    align: u32,
    /// It is killed and opened again before each of these batches.
    kills: &'static [u64],
    /// It is closed and opened again before each of these.
    closes: &'static [u64],
    /// Everything before is released at each of these.
    releases: &'static [u64],
    closed: bool,
}

const BATCHES: u64 = 20;

const PLANS: &[Plan] = &[
    Plan { align: 512, kills: &[], closes: &[], releases: &[], closed: true },
    Plan { align: 512, kills: &[], closes: &[], releases: &[], closed: false },
    Plan { align: 4096, kills: &[], closes: &[], releases: &[], closed: false },
    Plan { align: 8, kills: &[9], closes: &[], releases: &[], closed: false },
    Plan { align: 512, kills: &[6, 19], closes: &[13], releases: &[], closed: false },
    Plan { align: 512, kills: &[], closes: &[], releases: &[9, 13, 17], closed: false },
    Plan { align: 4096, kills: &[12], closes: &[5], releases: &[8, 16], closed: true },
    Plan { align: 512, kills: &[1, 2, 3], closes: &[4], releases: &[], closed: false },
];

/// The logs, built once for the process.
pub fn logs() -> &'static [RealLog] {
    static LOGS: OnceLock<Vec<RealLog>> = OnceLock::new();
    LOGS.get_or_init(|| PLANS.iter().map(build).collect())
}

fn build(plan: &Plan) -> RealLog {
    let mut log = grow(plan);
    log.twin = grow(plan).versions.pop().unwrap_or_default();
    log
}

fn grow(plan: &Plan) -> RealLog {
    let options: Options = options().block_align(plan.align).spare_segments(1);
    let mut disk = SimDisk::new();
    let open = |disk: &SimDisk| options.open_on(shared(disk)).expect("a real log opens");
    let mut wal = open(&disk);
    let mut log = RealLog { versions: Vec::new(), twin: Files::new(), records: Vec::new(), first: Lsn::ZERO };
    let mut rng = Rng::new(1);
    for n in 0..BATCHES {
        if plan.kills.contains(&n) {
            disk = disk.kill();
            wal = open(&disk);
        }
        if plan.closes.contains(&n) {
            wal.close().expect("a real log closes");
            wal = open(&disk);
        }
        if plan.releases.contains(&n) {
            wal.release(wal.durable_lsn()).expect("what is durable can be released");
        }
        append(&wal, &mut rng, n, &mut log.records);
        if n % 4 == 3 {
            log.versions.push(files_of(&disk));
        }
    }
    if plan.closed {
        wal.close().expect("a real log closes");
    }
    log.first = wal.first_lsn();
    log.versions.push(files_of(&disk));
    log
}

fn append(wal: &Wal, rng: &mut Rng, n: u64, records: &mut Vec<(Written, bool)>) {
    let mut batch = Batch::new();
    let count = 1 + rng.below(3);
    let mut pushed = Vec::new();
    for m in 0..count {
        let len = usize::try_from(rng.below(1200)).unwrap_or(0);
        let fill = if m == 0 { 0 } else { n.to_le_bytes()[0] };
        let payload = vec![fill; len];
        pushed.push((batch.push(&payload), payload));
    }
    let first = wal.commit(&batch).expect("a real log takes a batch");
    let last = pushed.len() - 1;
    let written = pushed.into_iter().enumerate();
    records.extend(written.map(|(i, (offset, payload))| ((offset.from_first(first), payload), i == last)));
}
