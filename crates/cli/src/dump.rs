//! `seawall dump`.

use std::io::Write as _;
use std::path::PathBuf;

use seawall::error::Corruption;
use seawall::{Error, SegmentReader};
use serde_json::json;

use crate::failure::Failure;
use crate::records::{Choice, Shown};
use crate::verify::problem;
use crate::{Health, style, view};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log's directory
    dir: PathBuf,
    /// Start at this LSN
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Stop before this LSN
    #[arg(long, default_value_t = u64::MAX)]
    to: u64,
    #[command(flatten)]
    choice: Choice,
}

pub(crate) fn run(args: &Args, as_json: bool) -> Result<Health, Failure> {
    let log = view::open_damaged(&args.dir)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut health = Health::Good;
    let bar = style::bar_beside_output(log.segments().len() as u64, "segments");
    for segment in log.segments() {
        bar.inc(1);
        if segment.end_lsn().get() <= args.from || segment.first_lsn().get() >= args.to {
            continue;
        }
        for line in lines(args, segment, as_json) {
            let line = match line {
                Ok(line) => line,
                // A writer freed the segment meanwhile: its file may be in use again.
                Err(Error::Corruption(_)) if log.has_released(segment.id()).unwrap_or(false) => break,
                Err(Error::Corruption(c)) => {
                    health = Health::Damaged;
                    damage(&c, as_json)
                }
                Err(e) => return Err(e.into()),
            };
            // The reader of the output may have closed it, which is not a failure of the log.
            if writeln!(out, "{line}").is_err() {
                return Ok(health);
            }
        }
    }
    drop(out.flush());
    bar.finish_and_clear();
    // Damage not in a record of the newest segment, but in the proof of its end.
    if let Some(c) = log.damage().filter(|_| health == Health::Good) {
        return Err(Failure::Damaged(c.to_string()));
    }
    Ok(health)
}

/// The lines of a segment, and the damage between them.
fn lines<'a>(
    args: &'a Args,
    segment: &'a SegmentReader,
    as_json: bool,
) -> impl Iterator<Item = seawall::Result<String>> + 'a {
    segment.salvage().filter_map(move |head| match head {
        Ok(head) if !(args.from..args.to).contains(&head.lsn.get()) || !args.choice.takes(&head) => None,
        Ok(head) => Some(Shown::read(segment, head.lsn).map(|record| args.choice.line(&record, as_json))),
        Err(Error::Corruption(c)) if c.lsns.end.get() <= args.from || c.lsns.start.get() >= args.to => None,
        Err(e) => Some(Err(e)),
    })
}

fn damage(c: &Corruption, as_json: bool) -> String {
    if as_json { json!({ "damage": problem(c) }).to_string() } else { style::wrong(&format!("damage: {c}")) }
}
