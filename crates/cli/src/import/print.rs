//! Prints what was found, what happens to it, and what to do next.

use std::path::Path;

use raft::eraftpb::ConfState;
use serde_json::{Value, json};

use super::plan::{Plan, Planned};
use super::reason::Reason;
use super::source::{Key, Lost, Source};
use crate::failure::Failure;
use crate::style;

/// A group in the source.
pub(super) struct Row {
    id: u64,
    span: Option<(u64, u64)>,
    keys: Vec<Key>,
}

pub(super) fn rows(source: &Source) -> Result<Vec<Row>, Failure> {
    let row = |id| Ok(Row { id, span: source.span(id), keys: source.keys(id)? });
    source.groups().into_iter().map(row).collect()
}

/// All groups, and what happens to each, if known.
pub(super) fn listing(rows: &[Row], plan: Option<&Plan>) {
    for row in rows {
        let span =
            row.span.map_or("no entries".to_owned(), |(first, last)| format!("entries {first} to {last}"));
        println!("{}: {span}", style::heading(&format!("group {}", row.id)));
        for key in &row.keys {
            println!("  key 0x{} {:?}: {} bytes", hex(&key.key), text(&key.key), key.value_len);
        }
        let Some(plan) = plan else { continue };
        if let Some(group) = plan.groups.iter().find(|g| g.id == row.id) {
            println!("  to import: {}", outline(group));
        }
        if let Some((_, reason)) = plan.left.iter().find(|(id, _)| *id == row.id) {
            println!("  {}", style::wrong(&format!("cannot be imported: {reason}")));
        }
    }
}

pub(super) fn lost(source: &Source) {
    for lost in source.lost() {
        println!("{}", style::wrong(&format!("left out, as raft-engine would: {lost}")));
    }
}

pub(super) fn done(plan: &Plan, into: &Path) {
    for group in &plan.groups {
        println!("group {}: {}", group.id, outline(group));
    }
    for (id, reason) in &plan.left {
        println!("{}", style::wrong(&format!("group {id} is left out: {reason}")));
    }
    let entries: u64 = plan.groups.iter().map(Planned::entries).sum();
    println!(
        "{} groups with {entries} entries are in {}: durable, read back, and identical to the source",
        plan.groups.len(),
        into.display()
    );
    if plan.groups.iter().any(|group| group.begins.index > 0) {
        println!(
            "groups that do not begin at entry 1 have no snapshot here: until the program saves one, their log cannot be compacted \
             and no lagging member can be brought up from this node"
        );
    }
    println!(
        "start each node with what its state machine has applied; once it runs on the new log, the old one must not be used again"
    );
}

fn outline(group: &Planned) -> String {
    let hard = &group.hard;
    let indexes = match group.entries() {
        0 => "no entries".to_owned(),
        _ => format!("entries {} to {}", group.indexes().start(), group.last),
    };
    format!(
        "{indexes}, after entry {} of term {}; term {}, vote {}, commit {}; {} from entry {} on",
        group.begins.index,
        group.begins.term,
        hard.term,
        hard.vote,
        hard.commit,
        members(&group.members),
        group.members_index
    )
}

fn members(conf: &ConfState) -> String {
    let lists = [
        ("voters", &conf.voters),
        ("learners", &conf.learners),
        ("outgoing voters", &conf.voters_outgoing),
        ("next learners", &conf.learners_next),
    ];
    let named = lists.iter().filter(|(_, ids)| !ids.is_empty());
    let shown: Vec<String> = named.map(|(name, ids)| format!("{name} {}", list(ids))).collect();
    if shown.is_empty() { "no members yet".to_owned() } else { shown.join(", ") }
}

fn list(ids: &[u64]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Everything as one document.
pub(super) fn document(rows: &[Row], plan: Option<&Plan>, source: &Source, into: Option<&Path>) -> Value {
    let groups: Vec<Value> = rows.iter().map(|row| group(row, plan)).collect();
    json!({
        "done": into.is_some(),
        "into": into.map(|into| into.display().to_string()),
        "left_out": source.lost().iter().map(Lost::to_string).collect::<Vec<_>>(),
        "groups": groups,
    })
}

fn group(row: &Row, plan: Option<&Plan>) -> Value {
    let planned = plan.and_then(|plan| plan.groups.iter().find(|group| group.id == row.id));
    let reason = plan.and_then(|plan| plan.left.iter().find(|(id, _)| *id == row.id));
    json!({
        "group": row.id,
        "first": row.span.map(|(first, _)| first),
        "last": row.span.map(|(_, last)| last),
        "keys": row.keys.iter().map(|key| json!({
            "hex": hex(&key.key), "text": text(&key.key), "value_bytes": key.value_len,
        })).collect::<Vec<_>>(),
        "import": planned.map(|p| json!({
            "first": p.indexes().start(), "last": p.last, "entries": p.entries(),
            "begins_behind": { "index": p.begins.index, "term": p.begins.term },
            "term": p.hard.term, "vote": p.hard.vote, "commit": p.hard.commit,
            "voters": p.members.voters, "learners": p.members.learners,
            "voters_outgoing": p.members.voters_outgoing, "learners_next": p.members.learners_next,
            "members_index": p.members_index,
        })),
        "reason": reason.map(|(_, reason): &(u64, Reason)| reason.to_string()),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
