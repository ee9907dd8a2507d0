//! `seawall dump`.

use std::io::Write as _;
use std::path::PathBuf;

use seawall::{LogView, Record, Result};
use serde_json::json;

use crate::Health;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log's directory
    dir: PathBuf,
    /// From this LSN on
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Up to this LSN, not included
    #[arg(long, default_value_t = u64::MAX)]
    to: u64,
    /// Only records of this stream (a Raft group)
    #[arg(long)]
    stream: Option<u64>,
    /// Whole payloads in hexadecimal, not only their beginnings
    #[arg(long)]
    hex: bool,
}

pub(crate) fn run(args: &Args, as_json: bool) -> Result<Health> {
    let log = LogView::open(&args.dir)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for segment in log.segments() {
        for head in segment.heads() {
            let head = head?;
            let lsn = head.lsn.get();
            let other_stream = args.stream.is_some_and(|s| head.label.is_none_or(|l| l.stream != s));
            if lsn < args.from || lsn >= args.to || other_stream {
                continue;
            }
            let line = line(&segment.read(head.lsn)?, args.hex, as_json);
            // Whoever reads the output may have had enough: that is no failure of the log.
            if writeln!(out, "{line}").is_err() {
                return Ok(Health::Good);
            }
        }
    }
    drop(out.flush());
    Ok(Health::Good)
}

fn line(record: &Record, whole: bool, as_json: bool) -> String {
    let payload = record.payload();
    let shown = if whole || as_json { payload } else { payload.get(..32).unwrap_or(payload) };
    let label = record.label();
    if as_json {
        let label = label
            .map(|l| json!({ "kind": l.kind, "stream": l.stream, "sequence": l.sequence, "extra": l.extra }));
        return json!({ "lsn": record.lsn().get(), "label": label, "payload": hex(shown) }).to_string();
    }
    let label = label.map_or(String::new(), |l| {
        format!(" kind {} stream {} [{}] {}", l.kind, l.stream, l.sequence, l.extra)
    });
    let text = if whole { hex(shown) } else { shown.escape_ascii().to_string() };
    let more = if shown.len() < payload.len() { "..." } else { "" };
    format!("{:>14}{label} {} bytes: {text}{more}", record.lsn(), payload.len())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
