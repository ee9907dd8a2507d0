//! `seawall verify`.

use std::path::Path;

use seawall::error::Corruption;
use seawall::io::open_directory;
use seawall::{Cut, Verdict, VerifyProgress, VerifyReport};
use serde_json::{Value, json};

use crate::account::{self, Kind};
use crate::failure::Failure;
use crate::{Health, style, view};

/// The result for a log.
pub(crate) struct Found {
    pub(crate) log: VerifyReport,
    pub(crate) verdict: Verdict,
    pub(crate) groups: Option<OfGroups>,
}

/// The result for a log's groups.
pub(crate) struct OfGroups {
    groups: usize,
    /// Number of valid Raft snapshots; `None` for groups of another protocol.
    snapshots: Option<usize>,
    pub(crate) problems: Vec<String>,
}

impl Found {
    pub(crate) fn health(&self) -> Health {
        match self.verdict {
            Verdict::Whole => Health::Good,
            Verdict::Cuts => Health::Cuts,
            Verdict::Damaged => Health::Damaged,
        }
    }
}

pub(crate) fn run(dir: &Path, as_json: bool) -> Result<Health, Failure> {
    let found = watched(dir, as_json)?;
    if as_json {
        println!("{:#}", document(&found));
    } else {
        println!("{}", found.log);
        if let Some(of) = &found.groups {
            match of.snapshots {
                Some(snapshots) => println!("{} groups, {snapshots} snapshots verify", of.groups),
                None => println!("{} groups", of.groups),
            }
            of.problems.iter().for_each(|problem| println!("refused: {problem}"));
        }
        println!("{}", found.verdict);
    }
    Ok(found.health())
}

/// Verifies, and shows progress if it takes a while. JSON output is for programs.
pub(crate) fn watched(dir: &Path, as_json: bool) -> Result<Found, Failure> {
    if as_json {
        return verify(dir, |_| {});
    }
    let bar = style::late_bytes("verifying");
    let found = verify(dir, |at| {
        bar.set_length(at.total);
        bar.set_position(at.done);
    });
    bar.finish_and_clear();
    found
}

fn verify(dir: &Path, progress: impl FnMut(VerifyProgress)) -> Result<Found, Failure> {
    // If the log cannot be read, its groups are skipped, and the verification reports the problem.
    match view::open_damaged(dir).map_or(Kind::Records, |log| account::kind(dir, &log)) {
        Kind::Raft => verify_raft(dir, progress),
        Kind::Groups => verify_groups(dir, progress),
        Kind::Records => {
            let log = seawall::verify_with(dir, progress)?;
            Ok(Found { verdict: log.verdict(), log, groups: None })
        }
    }
}

fn verify_groups(dir: &Path, progress: impl FnMut(VerifyProgress)) -> Result<Found, Failure> {
    let found = seawall::groups::verify_on(&open_directory(dir)?, &view::options(), progress)?;
    let verdict = found.verdict();
    let problems = found.problems.iter().map(ToString::to_string).collect();
    let groups = OfGroups { groups: found.groups, snapshots: None, problems };
    Ok(Found { log: found.log, verdict, groups: Some(groups) })
}

#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
fn verify_raft(dir: &Path, progress: impl FnMut(VerifyProgress)) -> Result<Found, Failure> {
    use seawall::raft::RaftOptions;
    let options = RaftOptions::new().wal(view::options());
    let found = seawall::raft::verify_on(&open_directory(dir)?, &options, progress)?;
    let verdict = found.verdict();
    let problems = found.problems.iter().map(ToString::to_string).collect();
    let groups = OfGroups { groups: found.groups, snapshots: Some(found.snapshots), problems };
    Ok(Found { log: found.log, verdict, groups: Some(groups) })
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
fn verify_raft(_: &Path, _: impl FnMut(VerifyProgress)) -> Result<Found, Failure> {
    Err(Failure::Undone("this build has no Raft layer".to_owned()))
}

fn document(found: &Found) -> Value {
    let report = &found.log;
    json!({
        "ok": found.verdict != Verdict::Damaged,
        "verdict": match found.verdict {
            Verdict::Whole => "whole",
            Verdict::Cuts => "cuts",
            Verdict::Damaged => "damaged",
        },
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
        "foreign": report.foreign,
        "groups": found.groups.as_ref().map(|of| json!({
            "count": of.groups,
            "snapshots": of.snapshots,
            "problems": of.problems,
        })),
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
