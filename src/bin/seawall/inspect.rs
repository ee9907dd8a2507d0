//! `seawall inspect`.

use std::path::Path;

use seawall::{LogView, Result, SegmentReader};
use serde_json::{Value, json};

use crate::Health;
use crate::verify::torn;

/// A segment's figures.
struct Row {
    file: String,
    id: u64,
    first: u64,
    end: u64,
    blocks: u64,
    records: u64,
    bytes: u64,
}

impl Row {
    fn of(segment: &SegmentReader) -> Result<Self> {
        let (blocks, records) = segment.count()?;
        Ok(Row {
            file: segment.file_name().to_owned(),
            id: segment.id().get(),
            first: segment.first_lsn().get(),
            end: segment.end_lsn().get(),
            blocks,
            records,
            bytes: segment.used_bytes(),
        })
    }

    fn json(&self) -> Value {
        json!({
            "file": self.file, "id": self.id, "first_lsn": self.first, "end_lsn": self.end,
            "blocks": self.blocks, "records": self.records, "bytes": self.bytes,
        })
    }
}

pub(crate) fn run(dir: &Path, as_json: bool) -> Result<Health> {
    let log = LogView::open(dir)?;
    let rows = log.segments().iter().map(Row::of).collect::<Result<Vec<_>>>()?;
    if as_json {
        let document = json!({
            "uuid": log.uuid().to_string(),
            "owner": log.owner(),
            "closed": log.was_closed(),
            "end_lsn": log.end_lsn().get(),
            "segments": rows.iter().map(Row::json).collect::<Vec<_>>(),
            "would_cut": log.would_cut().iter().map(torn).collect::<Vec<_>>(),
        });
        println!("{document:#}");
        return Ok(Health::Good);
    }
    println!("log       {}", log.uuid());
    println!("owner     {}", log.owner().map_or("none".to_owned(), |o| o.to_string()));
    println!(
        "last life {}",
        if log.was_closed() { "closed cleanly" } else { "not closed, or still running" }
    );
    println!("ends at   LSN {}", log.end_lsn());
    println!(
        "\n{:>8} {:>16} {:>16} {:>9} {:>10} {:>12}",
        "segment", "first LSN", "end LSN", "blocks", "records", "bytes"
    );
    for r in &rows {
        println!(
            "{:>8} {:>16} {:>16} {:>9} {:>10} {:>12}",
            r.id, r.first, r.end, r.blocks, r.records, r.bytes
        );
    }
    let sum = |f: fn(&Row) -> u64| rows.iter().map(f).sum::<u64>();
    println!(
        "{:>8} {:>16} {:>16} {:>9} {:>10} {:>12}",
        "all",
        "",
        "",
        sum(|r| r.blocks),
        sum(|r| r.records),
        sum(|r| r.bytes)
    );
    for cut in log.would_cut() {
        println!("\nthe next open would cut: {cut}");
    }
    Ok(Health::Good)
}
