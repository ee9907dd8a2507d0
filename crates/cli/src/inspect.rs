//! `seawall inspect`.

use std::path::{Path, PathBuf};

use seawall::error::Corruption;
use seawall::{Cut, LogView};
use serde_json::{Value, json};

use crate::account::{self, Groups, Segment};
use crate::failure::Failure;
use crate::verify::{problem, torn};
use crate::{Health, style, view};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log's directory
    pub(crate) dir: PathBuf,
    /// Only this segment, and what each stream has in it
    #[arg(long)]
    segment: Option<u64>,
    /// Only this stream (a Raft group), and what it has in each segment
    #[arg(long, conflicts_with = "segment")]
    group: Option<u64>,
}

/// What can be read, and the problems.
struct Found {
    log: LogFacts,
    groups: Option<Groups>,
    segments: Vec<Segment>,
    damage: Vec<Corruption>,
    wrong: Vec<String>,
}

/// Facts about the log as a whole.
struct LogFacts {
    uuid: String,
    owner: Option<u64>,
    closed: bool,
    end: u64,
    cuts: Vec<Cut>,
}

impl Found {
    fn is_wrong(&self) -> bool {
        !self.wrong.is_empty() || !self.damage.is_empty()
    }

    fn health(&self) -> Health {
        if self.is_wrong() { Health::Damaged } else { Health::Good }
    }
}

fn look(dir: &Path, log: &LogView) -> Result<Found, Failure> {
    let (groups, wrong) = account::groups(account::kind(dir, log), log)?;
    let (segments, damage) = account::segments(log, groups.as_ref())?;
    let facts = LogFacts {
        uuid: log.uuid().to_string(),
        owner: log.owner(),
        closed: log.was_closed(),
        end: log.end_lsn().get(),
        cuts: log.would_cut().to_vec(),
    };
    Ok(Found { log: facts, groups, segments, damage, wrong })
}

pub(crate) fn run(args: &Args, as_json: bool) -> Result<Health, Failure> {
    let found = view::read(&args.dir, |log| look(&args.dir, log), Found::is_wrong)?;
    match (args.segment, args.group) {
        (Some(id), _) => one_segment(&found.segments, id, found.groups.is_some(), as_json)?,
        (_, Some(id)) => one_group(&found.segments, id, found.groups.as_ref(), as_json)?,
        _ => whole(&found, as_json),
    }
    if !as_json {
        print_wrong(&found);
    }
    Ok(found.health())
}

fn print_wrong(found: &Found) {
    for damage in &found.damage {
        println!("{}", style::wrong(&format!("damaged: {damage}")));
    }
    for wrong in &found.wrong {
        println!("{}", style::wrong(&format!("an open refuses: {wrong}")));
    }
}

fn document(s: &Segment, raft: bool) -> Value {
    // What is dead follows from the groups. In a log without groups only its owner knows.
    let known = |bytes: u64| raft.then_some(bytes);
    json!({
        "file": s.file, "id": s.id, "first_lsn": s.first, "end_lsn": s.end,
        "blocks": s.blocks, "records": s.records, "bytes": s.bytes,
        "live_bytes": known(s.live()), "relocated_bytes": known(s.relocated()), "dead_bytes": known(s.dead()),
    })
}

fn whole(found: &Found, as_json: bool) {
    let (log, segments, raft) = (&found.log, &found.segments, found.groups.is_some());
    if as_json {
        let document = json!({
            "uuid": log.uuid,
            "owner": log.owner,
            "closed": log.closed,
            "end_lsn": log.end,
            "segments": segments.iter().map(|s| document(s, raft)).collect::<Vec<_>>(),
            "would_cut": log.cuts.iter().map(torn).collect::<Vec<_>>(),
            "damage": found.damage.iter().map(problem).collect::<Vec<_>>(),
            "wrong": found.wrong,
        });
        println!("{document:#}");
        return;
    }
    println!("log       {}", log.uuid);
    println!("owner     {}", log.owner.map_or("none".to_owned(), |o| o.to_string()));
    println!("last run {}", if log.closed { "closed cleanly" } else { "not closed, or still running" });
    println!("ends at   LSN {}", log.end);
    println!();
    println!("{}", heading());
    for s in segments {
        println!("{}", line(s, raft));
    }
    let sum = |f: fn(&Segment) -> u64| segments.iter().map(f).sum::<u64>();
    let of_groups = |f: fn(&Segment) -> u64| known(raft, sum(f));
    println!(
        "{:>8} {:>16} {:>16} {:>9} {:>10} {:>12} {:>12} {:>12}",
        "all",
        "",
        "",
        sum(|s| s.blocks),
        sum(|s| s.records),
        sum(|s| s.bytes),
        of_groups(Segment::live),
        of_groups(Segment::dead)
    );
    for cut in &log.cuts {
        println!("\n{} {cut}", style::wrong("the next open would cut:"));
    }
}

fn known(raft: bool, bytes: u64) -> String {
    if raft { bytes.to_string() } else { "-".to_owned() }
}

fn heading() -> String {
    style::heading(&format!(
        "{:>8} {:>16} {:>16} {:>9} {:>10} {:>12} {:>12} {:>12}",
        "segment", "first LSN", "end LSN", "blocks", "records", "bytes", "live", "dead"
    ))
}

fn line(s: &Segment, raft: bool) -> String {
    format!(
        "{:>8} {:>16} {:>16} {:>9} {:>10} {:>12} {:>12} {:>12}",
        s.id,
        s.first,
        s.end,
        s.blocks,
        s.records,
        s.bytes,
        known(raft, s.live()),
        known(raft, s.dead())
    )
}

fn one_segment(segments: &[Segment], id: u64, raft: bool, as_json: bool) -> Result<(), Failure> {
    let segment = segments
        .iter()
        .find(|s| s.id == id)
        .ok_or_else(|| Failure::Undone(format!("the log has no segment {id}; `inspect DIR` lists them")))?;
    if as_json {
        let mut document = document(segment, raft);
        let streams = segment.streams.iter().map(|(stream, p)| {
            json!({
                "stream": stream, "records": p.records, "bytes": p.bytes,
                "live_bytes": raft.then_some(p.live), "relocated_bytes": raft.then_some(p.relocated),
            })
        });
        if let Value::Object(fields) = &mut document {
            fields.insert("streams".to_owned(), streams.collect());
        }
        println!("{document:#}");
        return Ok(());
    }
    println!("{}\n{}\n", heading(), line(segment, raft));
    println!(
        "{}",
        style::heading(&format!("{:>20} {:>10} {:>12} {:>12}", "stream", "records", "bytes", "live"))
    );
    for (stream, p) in &segment.streams {
        println!("{stream:>20} {:>10} {:>12} {:>12}", p.records, p.bytes, known(raft, p.live));
    }
    Ok(())
}

fn one_group(segments: &[Segment], id: u64, groups: Option<&Groups>, as_json: bool) -> Result<(), Failure> {
    let raft = groups.is_some();
    let parts: Vec<_> = segments.iter().filter_map(|s| Some((s, s.streams.get(&id)?))).collect();
    if parts.is_empty() {
        return Err(Failure::Undone(format!("the log has nothing for group {id}")));
    }
    let state = state(groups, segments, id);
    if as_json {
        let list = parts.iter().map(|(s, p)| {
            json!({
                "segment": s.id, "records": p.records, "bytes": p.bytes,
                "live_bytes": raft.then_some(p.live), "relocated_bytes": raft.then_some(p.relocated),
            })
        });
        let state = state.map(|(_, json)| json);
        println!("{:#}", json!({ "stream": id, "state": state, "segments": list.collect::<Vec<_>>() }));
        return Ok(());
    }
    match state {
        Some((text, _)) => println!("{text}\n"),
        None => println!("stream {id}: not a present group\n"),
    }
    println!(
        "{}",
        style::heading(&format!("{:>8} {:>10} {:>12} {:>12}", "segment", "records", "bytes", "live"))
    );
    for (s, p) in &parts {
        println!("{:>8} {:>10} {:>12} {:>12}", s.id, p.records, p.bytes, known(raft, p.live));
    }
    Ok(())
}

/// The group's line in `groups`, as text and JSON.
fn state(groups: Option<&Groups>, segments: &[Segment], id: u64) -> Option<(String, Value)> {
    use crate::groups::{heading, line, rows};
    let row = rows(groups?, segments).into_iter().find(|row| row.id == id)?;
    Some((format!("{}\n{}", heading(&row), line(&row)), row.json()))
}
