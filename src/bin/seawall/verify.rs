//! `seawall verify`.

use std::path::Path;

use seawall::error::Corruption;
use seawall::{Cut, Result, VerifyReport};
use serde_json::{Value, json};

use crate::{Health, style};

pub(crate) fn run(dir: &Path, as_json: bool) -> Result<Health> {
    let report = watched(dir, as_json)?;
    if as_json {
        println!("{:#}", document(&report));
    } else {
        println!("{report}");
        println!(
            "{}",
            if report.is_ok() { "the log is whole" } else { "the log is damaged; nothing was changed" }
        );
    }
    Ok(if report.is_ok() { Health::Good } else { Health::Damaged })
}

/// Verifies, and shows how far it is when that takes a while. Who reads JSON is a program.
pub(crate) fn watched(dir: &Path, as_json: bool) -> Result<VerifyReport> {
    if as_json {
        return seawall::verify(dir);
    }
    let bar = style::late_bytes("verifying");
    let report = seawall::verify_with(dir, |at| {
        bar.set_length(at.total);
        bar.set_position(at.done);
    });
    bar.finish_and_clear();
    report
}

fn document(report: &VerifyReport) -> Value {
    json!({
        "ok": report.is_ok(),
        "uuid": report.uuid.map(|u| u.to_string()),
        "owner": report.owner,
        "first_lsn": report.first_lsn.get(),
        "end_lsn": report.end_lsn.get(),
        "segments": report.segments.iter().map(|s| json!({
            "file": s.file,
            "id": s.id.get(),
            "first_lsn": s.first_lsn.get(),
            "end_lsn": s.end_lsn.get(),
            "blocks": s.blocks,
            "records": s.records,
            "footer": s.footer,
        })).collect::<Vec<_>>(),
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
        "would_cut": report.torn.iter().map(torn).collect::<Vec<_>>(),
    })
}

pub(crate) fn problem(c: &Corruption) -> Value {
    json!({
        "file": c.file.display().to_string(),
        "offset": c.offset,
        "first_lsn": c.lsns.start.get(),
        "end_lsn": c.lsns.end.get(),
        "reason": c.reason.to_string(),
        "proof": c.witness.map(|w| w.to_string()),
        "streams": c.hit.iter().map(|h| json!({ "stream": h.stream, "first": h.first, "last": h.last })).collect::<Vec<_>>(),
    })
}

pub(crate) fn torn(c: &Cut) -> Value {
    json!({
        "file": c.file.display().to_string(),
        "offset": c.offset,
        "bytes": c.bytes,
        "first_lsn": c.lsns.start.get(),
        "end_lsn": c.lsns.end.get(),
        "reason": c.reason.to_string(),
        "proven_lsn": c.proven.get(),
    })
}
