//! `seawall repair --drop-groups`.

use std::sync::Arc;

use seawall::error::Corruption;
use seawall::groups::repair::{DropPlan, LostEntries};
use seawall::io::Disk;
use seawall::repair::Repaired;
use serde_json::{Value, json};

use super::{Args, health, interrupted, print_done, print_problems, undo_dir};
use crate::account::{self, Kind};
use crate::failure::Failure;
use crate::verify::problem;
use crate::{Health, style, view};

const REJOIN: &str = "THE DROPPED REPLICAS LOSE ENTRIES AND VOTES THAT THEY HAD ACKNOWLEDGED. This node must not vote or rejoin as the \
                      same node in those groups: remove it from them, and add it again under a new id";

/// What would be dropped, or was dropped.
struct Plan {
    is_raft: bool,
    problems: Vec<Corruption>,
    dropped: Vec<Dropped>,
    /// The groups that stay, each with the index of its last entry.
    stay: Vec<(u64, u64)>,
    opens_as_it_is: bool,
    end_lsn: u64,
}

/// A dropped group, as text and as JSON.
struct Dropped {
    group: u64,
    /// Its unreadable parts.
    needs: Vec<String>,
    /// What is dropped with it.
    rest: String,
    json: Value,
}

pub(super) fn run(args: &Args, disk: &Arc<dyn Disk>, as_json: bool) -> Result<Health, Failure> {
    // If not even a view is possible, the plan says why.
    let kind = view::open_damaged(&args.dir).map_or(Kind::Raft, |log| account::kind(&args.dir, &log));
    let (plan, done) = match kind {
        Kind::Groups => of_groups(args, disk)?,
        Kind::Raft => of_raft(args, disk)?,
        Kind::Records => return Err(Failure::Undone(format!("{} holds no groups", args.dir.display()))),
    };
    if as_json {
        println!("{:#}", plan.document(done.as_ref()));
    } else {
        print_problems(&plan.problems);
        plan.print_groups();
        plan.print_end(args, done.as_ref());
    }
    Ok(health(done.as_ref(), &plan.problems))
}

/// The plan, and what was done with --yes.
type Outcome = Result<(Plan, Option<Repaired>), Failure>;

fn of_groups(args: &Args, disk: &Arc<dyn Disk>) -> Outcome {
    let plan = DropPlan::of(disk, &view::options())?;
    let dropped = plan.dropped().iter().map(|(group, lost)| {
        let indexes = plan.indexes(*group).unwrap_or_default();
        Dropped {
            group: *group,
            needs: needs(lost),
            rest: format!("all entries from index {} to below {}, its state", indexes.start, indexes.end),
            json: json!({
                "group": group,
                "entries": entries(lost),
                "first": indexes.start,
                "end": indexes.end,
            }),
        }
    });
    let last =
        |group| plan.indexes(group).and_then(|indexes| indexes.end.checked_sub(1)).map(|last| (group, last));
    let seen = Plan {
        is_raft: false,
        problems: plan.problems().to_vec(),
        dropped: dropped.collect(),
        stay: plan.survivors().filter_map(last).collect(),
        // Damage for which an open refuses cannot be attributed to a single group.
        opens_as_it_is: true,
        end_lsn: plan.end_lsn().get(),
    };
    let done = match args.yes {
        true => Some(plan.apply(undo_dir(args)?.as_ref()).map_err(|e| interrupted(e.into(), args))?),
        false => None,
    };
    Ok((seen, done))
}

#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
fn of_raft(args: &Args, disk: &Arc<dyn Disk>) -> Outcome {
    use seawall::raft::RaftOptions;
    use seawall::raft::repair::DropPlan;
    let plan = DropPlan::of(disk, &RaftOptions::new().wal(view::options()))?;
    let seen = Plan {
        is_raft: true,
        problems: plan.problems().to_vec(),
        dropped: plan.dropped().iter().map(raft_group).collect(),
        stay: plan.survivors().iter().map(|(group, state)| (*group, state.last_index)).collect(),
        opens_as_it_is: plan.opens_as_it_is(),
        end_lsn: plan.end_lsn().get(),
    };
    let done = match args.yes {
        true => Some(plan.apply(undo_dir(args)?.as_ref()).map_err(|e| interrupted(e.into(), args))?),
        false => None,
    };
    Ok((seen, done))
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
fn of_raft(_: &Args, _: &Arc<dyn Disk>) -> Outcome {
    Err(Failure::Undone("this build has no Raft layer".to_owned()))
}

#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
fn raft_group(dropped: &seawall::raft::repair::Dropped) -> Dropped {
    let state = &dropped.state;
    let mut needs = needs(&dropped.entries);
    needs.extend(dropped.snapshot.iter().map(|s| {
        format!(
            "it needs its snapshot at index {} (term {}), which cannot be read: {}",
            s.index, s.term, s.reason
        )
    }));
    let snapshot =
        state.snapshot.map_or(String::new(), |(index, _)| format!(", its snapshot at index {index}"));
    Dropped {
        group: dropped.group,
        needs,
        rest: format!(
            "entries {} to {}, commit {}, term {}, its vote, its members{snapshot}",
            state.first_index, state.last_index, state.commit, state.term
        ),
        json: json!({
            "group": dropped.group,
            "entries": entries(&dropped.entries),
            "snapshot": dropped.snapshot.map(|s| json!({ "index": s.index, "term": s.term, "reason": s.reason.to_string() })),
            "first": state.first_index,
            "last": state.last_index,
            "commit": state.commit,
            "term": state.term,
            "vote": state.vote,
        }),
    }
}

fn needs(lost: &[LostEntries]) -> Vec<String> {
    let text = |e: &LostEntries| {
        format!("it needs entries {} to {} (term {}), which cannot be read", e.first, e.last, e.term)
    };
    lost.iter().map(text).collect()
}

fn entries(lost: &[LostEntries]) -> Vec<Value> {
    lost.iter().map(|e| json!({ "first": e.first, "last": e.last, "term": e.term })).collect()
}

impl Plan {
    fn print_groups(&self) {
        for dropped in &self.dropped {
            let title = style::heading(&format!("group {} is dropped", dropped.group));
            println!("{title}: {}", dropped.needs.join("; "));
            println!("  everything else it has is dropped as well: {}", dropped.rest);
        }
        if !self.dropped.is_empty() {
            println!("{} groups stay, with everything they have", self.stay.len());
            if self.is_raft {
                println!("{}", style::wrong(REJOIN));
            }
        }
    }

    fn print_end(&self, args: &Args, done: Option<&Repaired>) {
        match done {
            Some(done) if done.undo_dir.is_some() => {
                print_done(args, done);
                println!(
                    "the damage stays in its segment until a purge frees it; `verify` reports it until then"
                );
            }
            _ if self.dropped.is_empty() && !self.problems.is_empty() => {
                println!(
                    "no group needs what is damaged: none is dropped, nothing was changed, and a purge will free the segment"
                );
            }
            _ if self.dropped.is_empty() => {}
            _ => println!("nothing was changed; add --yes to apply"),
        }
    }

    /// Like the document of the other choices, with the dropped groups.
    fn document(&self, done: Option<&Repaired>) -> Value {
        let stay = self.stay.iter();
        json!({
            "done": done.is_some_and(|d| d.undo_dir.is_some()),
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
            "opens_as_it_is": self.opens_as_it_is,
            "end_lsn": self.end_lsn,
            "footers": [],
            "files": [],
            "superblock": null,
            "loss": null,
            "groups": {
                "must_not_rejoin": self.is_raft && !self.dropped.is_empty(),
                "incomplete": [],
                "unread": null,
                "stay": stay.map(|(group, last)| json!({ "group": group, "last": last })).collect::<Vec<_>>(),
            },
            "dropped": self.dropped.iter().map(|dropped| &dropped.json).collect::<Vec<_>>(),
            "undo_dir": done.and_then(|d| d.undo_dir.as_ref()).map(|undo_dir| undo_dir.display().to_string()),
            "copied": done.map(|d| d.copied.clone()),
            "written": null,
        })
    }
}
