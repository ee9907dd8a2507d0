//! `seawall groups`.

use std::path::Path;

use seawall::LogView;
use seawall::error::Corruption;
use seawall::raft::Recovered;
use serde_json::{Value, json};

use crate::account::{self, Part, Segment};
use crate::failure::Failure;
use crate::verify::problem;
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

/// What can be known of the groups, and what is wrong.
struct Found {
    rows: Vec<Row>,
    wrong: Vec<String>,
    damage: Vec<Corruption>,
}

impl Found {
    fn is_wrong(&self) -> bool {
        !self.wrong.is_empty() || !self.damage.is_empty()
    }
}

pub(crate) fn run(dir: &Path, as_json: bool) -> Result<Health, Failure> {
    let look = |log: &LogView| {
        let (groups, wrong) = account::salvaged(log)?;
        let (segments, damage) = account::segments(log, Some(&groups))?;
        Ok(Found { rows: rows(&groups, &segments), wrong, damage })
    };
    let found = view::read(dir, look, Found::is_wrong)?;
    if (found.rows.is_empty() || !found.wrong.is_empty()) && !account::is_raft(dir) {
        let why = format!("{} is no Raft log: its records make no groups", dir.display());
        return Err(Failure::Undone(why));
    }
    if as_json {
        let document = json!({
            "groups": found.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "damage": found.damage.iter().map(problem).collect::<Vec<_>>(),
            "wrong": found.wrong,
        });
        println!("{document:#}");
    } else {
        print(&found);
    }
    Ok(if found.is_wrong() { Health::Damaged } else { Health::Good })
}

fn print(found: &Found) {
    println!("{}", heading());
    found.rows.iter().for_each(|row| println!("{}", line(row)));
    for damage in &found.damage {
        println!("{}", style::wrong(&format!("damaged: {damage}")));
    }
    for wrong in &found.wrong {
        println!("{}", style::wrong(&format!("an open refuses: {wrong}")));
    }
    if !found.damage.is_empty() {
        println!("{}", style::wrong(BEHIND));
    }
}

/// What is to be thought of groups in a damaged log.
const BEHIND: &str = "the groups are shown as far as they can be read; behind damage without a footer one may have more, or less";

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
