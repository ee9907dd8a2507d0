//! `seawall repair --drop-groups`.

use std::sync::Arc;

use seawall::io::Disk;
use seawall::raft::RaftOptions;
use seawall::raft::repair::{DropPlan, Dropped};
use seawall::repair::Repaired;
use serde_json::{Value, json};

use super::{Args, health, interrupted, print_done, print_problems, undo_dir};
use crate::failure::Failure;
use crate::verify::problem;
use crate::{Health, style, view};

const REJOIN: &str = "THE DROPPED REPLICAS LOSE ENTRIES AND VOTES THAT THEY HAD ACKNOWLEDGED. This node must not vote or rejoin as the \
                      same node in those groups: remove it from them, and add it again under a new id";

pub(super) fn run(args: &Args, disk: &Arc<dyn Disk>, as_json: bool) -> Result<Health, Failure> {
    let plan = DropPlan::of(disk, &RaftOptions::new().wal(view::options()))?;
    let done = match args.yes {
        true => Some(plan.apply(undo_dir(args)?.as_ref()).map_err(|e| interrupted(e.into(), args))?),
        false => None,
    };
    if as_json {
        println!("{:#}", document(&plan, done.as_ref()));
    } else {
        print_problems(plan.problems());
        print_groups(&plan);
        print_end(args, &plan, done.as_ref());
    }
    Ok(health(done.as_ref(), plan.problems()))
}

fn print_groups(plan: &DropPlan) {
    for dropped in plan.dropped() {
        let (group, state) = (dropped.group, &dropped.state);
        println!("{}: {}", style::heading(&format!("group {group} is dropped")), unreadable(dropped));
        println!(
            "  all else that it has goes as well: entries {} to {}, commit {}, term {}, its vote, its members{}",
            state.first_index,
            state.last_index,
            state.commit,
            state.term,
            state.snapshot.map_or(String::new(), |(index, _)| format!(", its snapshot at index {index}"))
        );
    }
    if !plan.is_empty() {
        println!("{} groups stay, with all they have", plan.survivors().len());
        println!("{}", style::wrong(REJOIN));
    }
}

/// What of it cannot be read.
fn unreadable(dropped: &Dropped) -> String {
    let mut what: Vec<String> = dropped
        .entries
        .iter()
        .map(|e| {
            format!("it needs entries {} to {} (term {}), which cannot be read", e.first, e.last, e.term)
        })
        .collect();
    what.extend(dropped.snapshot.iter().map(|s| {
        format!(
            "it needs its snapshot at index {} (term {}), which cannot be read: {}",
            s.index, s.term, s.reason
        )
    }));
    what.join("; ")
}

fn print_end(args: &Args, plan: &DropPlan, done: Option<&Repaired>) {
    match done {
        Some(done) if done.undo_dir.is_some() => {
            print_done(args, done);
            println!(
                "what is damaged stays in its segment until purging has freed that; `verify` tells it until then"
            );
        }
        _ if plan.is_empty() && !plan.problems().is_empty() => {
            println!(
                "no group needs what is damaged: none is dropped, nothing was changed, and purging frees the segment in time"
            );
        }
        _ if plan.is_empty() => {}
        _ => println!("nothing was changed; --yes does it"),
    }
}

/// As the other choices', and the groups that are dropped.
fn document(plan: &DropPlan, done: Option<&Repaired>) -> Value {
    let survivors = plan.survivors().iter();
    json!({
        "done": done.is_some_and(|d| d.undo_dir.is_some()),
        "problems": plan.problems().iter().map(problem).collect::<Vec<_>>(),
        "opens_as_it_is": plan.opens_as_it_is(),
        "end_lsn": plan.end_lsn().get(),
        "footers": [],
        "files": [],
        "superblock": null,
        "loss": null,
        "raft": {
            "must_not_rejoin": !plan.is_empty(),
            "incomplete": [],
            "unread": null,
            "groups": survivors.map(|(group, s)| json!({ "group": group, "last": s.last_index })).collect::<Vec<_>>(),
        },
        "dropped": plan.dropped().iter().map(dropped).collect::<Vec<_>>(),
        "undo_dir": done.and_then(|d| d.undo_dir.as_ref()).map(|undo_dir| undo_dir.display().to_string()),
        "copied": done.map(|d| d.copied.clone()),
        "written": null,
    })
}

fn dropped(dropped: &Dropped) -> Value {
    let entries = dropped.entries.iter();
    json!({
        "group": dropped.group,
        "entries": entries.map(|e| json!({ "first": e.first, "last": e.last, "term": e.term })).collect::<Vec<_>>(),
        "snapshot": dropped.snapshot.map(|s| json!({ "index": s.index, "term": s.term, "reason": s.reason.to_string() })),
        "first": dropped.state.first_index,
        "last": dropped.state.last_index,
        "commit": dropped.state.commit,
        "term": dropped.state.term,
        "vote": dropped.state.vote,
    })
}
