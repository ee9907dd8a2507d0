//! `seawall groups`.

use std::path::Path;

use seawall::raft::Recovered;
use serde_json::{Value, json};

use crate::account::{self, Part, SNAPSHOTS, Segment};
use crate::failure::Failure;
use crate::looks::beside_a_writer;
use crate::{Health, style, view};

/// A group, and what it has where.
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) state: Recovered,
    pub(crate) total: Part,
    /// Live bytes by segment, oldest first.
    pub(crate) pins: Vec<(u64, u64)>,
}

impl Row {
    pub(crate) fn json(&self) -> Value {
        let s = &self.state;
        json!({
            "group": self.id, "term": s.term, "vote": s.vote, "commit": s.commit, "applied": s.applied,
            "first": s.first_index, "last": s.last_index, "voters": s.conf_state.voters,
            "snapshot": s.snapshot.map(|(index, term)| json!({ "index": index, "term": term })),
            "live_bytes": self.total.live, "dead_bytes": self.total.bytes - self.total.live,
            "relocated_bytes": self.total.relocated,
            "pins": self.pins.iter().map(|(id, bytes)| json!({ "segment": id, "live_bytes": bytes })).collect::<Vec<_>>(),
        })
    }
}

pub(crate) fn rows(groups: &account::Groups, segments: &[Segment]) -> Vec<Row> {
    let row = |id: u64| {
        let mut total = Part::default();
        let mut pins = Vec::new();
        for segment in segments {
            let Some(part) = segment.streams.get(&id) else { continue };
            total.add(*part);
            if part.live > 0 {
                pins.push((segment.id, part.live));
            }
        }
        Some(Row { id, state: groups.recovered(id)?, total, pins })
    };
    groups.groups().into_iter().filter_map(row).collect()
}

pub(crate) fn run(dir: &Path, as_json: bool) -> Result<Health, Failure> {
    let rows = beside_a_writer(|| {
        let log = view::open(dir)?;
        let groups = account::groups(&log).map_err(|e| no_raft_log(dir, e))?;
        Ok(rows(&groups, &account::segments(&log, Some(&groups))?))
    })?;
    if as_json {
        println!("{:#}", json!({ "groups": rows.iter().map(Row::json).collect::<Vec<_>>() }));
        return Ok(Health::Good);
    }
    println!("{}", heading());
    for row in &rows {
        println!("{}", line(row));
    }
    Ok(Health::Good)
}

/// Records with labels need not be Raft's. A Raft log has a directory for snapshots from its first opening on.
fn no_raft_log(dir: &Path, e: Failure) -> Failure {
    match e {
        Failure::Damaged(_) if !dir.join(SNAPSHOTS).is_dir() => {
            Failure::Undone(format!("{} is no Raft log: its records make no groups", dir.display()))
        }
        e => e,
    }
}

pub(crate) fn heading() -> String {
    style::heading(&format!(
        "{:>8} {:>6} {:>6} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}  pins",
        "group", "term", "vote", "commit", "applied", "first", "last", "live bytes", "snapshot"
    ))
}

pub(crate) fn line(row: &Row) -> String {
    let s = &row.state;
    let snapshot = s.snapshot.map_or("none".to_owned(), |(index, _)| index.to_string());
    let pins = match row.pins.as_slice() {
        [] => "nothing".to_owned(),
        [(one, _)] => format!("segment {one}"),
        [(oldest, bytes), .., (newest, _)] => {
            format!("segments {oldest} to {newest}, {bytes} bytes in the oldest")
        }
    };
    format!(
        "{:>8} {:>6} {:>6} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}  {pins}",
        row.id, s.term, s.vote, s.commit, s.applied, s.first_index, s.last_index, row.total.live, snapshot
    )
}
