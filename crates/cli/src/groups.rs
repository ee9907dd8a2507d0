//! `seawall groups`.

use std::path::Path;

use seawall::LogView;
use seawall::error::Corruption;
use seawall::groups::GroupView;
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
use seawall::raft::Recovered;
use serde_json::{Value, json};

use crate::account::{self, Part, Segment};
use crate::failure::Failure;
use crate::verify::problem;
use crate::{Health, style, view};

/// What is known about a group.
pub(crate) enum State {
    #[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
    Raft(Box<Recovered>),
    /// Of another protocol or none: beginning and end of its log, and its fields.
    Plain { first: u64, end: u64, last_term: u64, fields: Vec<Field> },
}

/// A field of a group's state, which only its program can interpret.
pub(crate) struct Field {
    number: u8,
    index: u64,
    term: u64,
    bytes: usize,
}

impl State {
    fn plain(view: &GroupView, id: u64) -> Option<State> {
        let (indexes, state) = (view.indexes(id)?, view.state(id)?);
        let field = |(field, at, bytes): (seawall::groups::Field, seawall::groups::Position, &[u8])| Field {
            number: field.number(),
            index: at.index,
            term: at.term,
            bytes: bytes.len(),
        };
        Some(State::Plain {
            first: indexes.start,
            end: indexes.end,
            last_term: view.last(id).map_or(0, |last| last.term),
            fields: state.fields().map(field).collect(),
        })
    }
}

/// A group and its live bytes.
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) state: State,
    pub(crate) total: Part,
    /// Live bytes by segment, oldest first.
    pub(crate) pins: Vec<(u64, u64)>,
}

impl Row {
    pub(crate) fn json(&self) -> Value {
        let pins: Vec<Value> =
            self.pins.iter().map(|(id, bytes)| json!({ "segment": id, "live_bytes": bytes })).collect();
        let of_state = match &self.state {
            #[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
            State::Raft(s) => json!({
                "term": s.term, "vote": s.vote, "commit": s.commit, "applied": s.applied,
                "first": s.first_index, "last": s.last_index, "voters": s.conf_state.voters,
                "snapshot": s.snapshot.map(|(index, term)| json!({ "index": index, "term": term })),
            }),
            State::Plain { first, end, last_term, fields } => json!({
                "first": first, "end": end, "last_term": last_term,
                "fields": fields.iter().map(Field::json).collect::<Vec<_>>(),
            }),
        };
        let mut row = json!({
            "group": self.id, "live_bytes": self.total.live, "dead_bytes": self.total.bytes - self.total.live,
            "relocated_bytes": self.total.relocated, "pins": pins,
        });
        if let (Some(row), Value::Object(of_state)) = (row.as_object_mut(), of_state) {
            row.extend(of_state);
        }
        row
    }
}

impl Field {
    fn json(&self) -> Value {
        json!({ "field": self.number, "index": self.index, "term": self.term, "bytes": self.bytes })
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
        let state = match groups {
            #[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
            account::Groups::Raft(view) => State::Raft(Box::new(view.recovered(id)?)),
            account::Groups::Plain(view) => State::plain(view, id)?,
        };
        Some(Row { id, state, total, pins })
    };
    groups.ids().into_iter().filter_map(row).collect()
}

/// What can be known about the groups, and the problems.
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
        let (groups, wrong) = account::groups(account::kind(dir, log), log)?;
        let Some(groups) = groups else {
            return Err(Failure::Undone(format!("{} holds no groups", dir.display())));
        };
        let (segments, damage) = account::segments(log, Some(&groups))?;
        Ok(Found { rows: rows(&groups, &segments), wrong, damage })
    };
    let found = view::read(dir, look, Found::is_wrong)?;
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
    match found.rows.first() {
        Some(first) => println!("{}", heading(first)),
        None => println!("no groups"),
    }
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

/// Note on groups in a damaged log.
const BEHIND: &str = "the groups are shown as far as they can be read; after damage in a segment without a footer, a group may have more or less";

/// The heading for rows like this one.
pub(crate) fn heading(row: &Row) -> String {
    style::heading(&match row.state {
        #[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
        State::Raft(_) => format!(
            "{:>8} {:>6} {:>6} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}  pins",
            "group", "term", "vote", "commit", "applied", "first", "last", "live bytes", "snapshot"
        ),
        State::Plain { .. } => format!(
            "{:>8} {:>9} {:>9} {:>9} {:>11} {:>24}  pins",
            "group", "first", "end", "last term", "live bytes", "fields"
        ),
    })
}

pub(crate) fn line(row: &Row) -> String {
    let pins = match row.pins.as_slice() {
        [] => "nothing".to_owned(),
        [(one, _)] => format!("segment {one}"),
        [(oldest, bytes), .., (newest, _)] => {
            format!("segments {oldest} to {newest}, {bytes} bytes in the oldest")
        }
    };
    match &row.state {
        #[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
        State::Raft(s) => {
            let snapshot = s.snapshot.map_or("none".to_owned(), |(index, _)| index.to_string());
            format!(
                "{:>8} {:>6} {:>6} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}  {pins}",
                row.id,
                s.term,
                s.vote,
                s.commit,
                s.applied,
                s.first_index,
                s.last_index,
                row.total.live,
                snapshot
            )
        }
        State::Plain { first, end, last_term, fields } => {
            let fields: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.number, f.index)).collect();
            let (id, live, fields) = (row.id, row.total.live, fields.join(", "));
            format!("{id:>8} {first:>9} {end:>9} {last_term:>9} {live:>11} {fields:>24}  {pins}")
        }
    }
}
