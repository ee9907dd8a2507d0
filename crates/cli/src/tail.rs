//! `seawall tail`.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use seawall::{Error, LogView, Lsn, SegmentReader};

use crate::failure::Failure;
use crate::records::{Choice, Shown};
use crate::{Health, view};

/// Follow a running log until Ctrl-C. The records shown are written; only the writer knows whether they are durable.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log's directory
    dir: PathBuf,
    /// Start at this LSN; by default at the present end of the log
    #[arg(long)]
    from: Option<u64>,
    /// Stop after this many records
    #[arg(long)]
    count: Option<u64>,
    /// Polling interval in milliseconds
    #[arg(long, default_value_t = 100)]
    every: u64,
    #[command(flatten)]
    choice: Choice,
}

/// What was shown so far.
struct Place {
    /// Records below were shown or skipped.
    next: Lsn,
    /// A block begins there, if known.
    block: Option<Lsn>,
}

pub(crate) fn run(args: &Args, as_json: bool) -> Result<Health, Failure> {
    let end = view::read(&args.dir, |log| whole(log).map(LogView::end_lsn), |_| false)?;
    let mut at = Place { next: args.from.map_or(end, Lsn::new), block: None };
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut out = std::io::stdout().lock();
    while left > 0 {
        let (records, seen) = view::read(&args.dir, |log| news(args, log, &at), |_| false)?;
        for record in records.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            // The reader of the output may have closed it.
            if writeln!(out, "{}", args.choice.line(record, as_json)).and_then(|()| out.flush()).is_err() {
                return Ok(Health::Good);
            }
            left -= 1;
        }
        at = seen;
        if left > 0 {
            std::thread::sleep(Duration::from_millis(args.every));
        }
    }
    Ok(Health::Good)
}

/// A log that an open refuses has no end to wait at.
fn whole(log: &LogView) -> Result<&LogView, Failure> {
    log.damage().map_or(Ok(log), |c| Err(Failure::Damaged(c.to_string())))
}

/// The records from a place on, and the place after them.
fn news(args: &Args, log: &LogView, at: &Place) -> Result<(Vec<Shown>, Place), Failure> {
    let log = whole(log)?;
    let mut records = Vec::new();
    for segment in log.segments().iter().filter(|s| s.end_lsn() > at.next) {
        records.extend(of_segment(args, segment, at)?);
    }
    let next = at.next.max(log.end_lsn());
    Ok((records, Place { next, block: (next == log.end_lsn()).then_some(next) }))
}

fn of_segment(args: &Args, segment: &SegmentReader, at: &Place) -> Result<Vec<Shown>, Error> {
    let known = at.block.filter(|block| *block >= segment.first_lsn());
    let heads = known.map_or_else(|| segment.heads(), |block| segment.heads_from(block));
    heads
        .filter(|head| head.as_ref().map_or(true, |h| h.lsn >= at.next && args.choice.takes(h)))
        .map(|head| Shown::read(segment, head?.lsn))
        .collect()
}
