//! The groups that remain after a repair, and what they lack.

use std::path::Path;

use seawall::groups::GroupView;
use seawall::repair::Plan;
use serde_json::{Value, json};

use crate::account::{self, Kind};
use crate::{style, view};

const REJOIN: &str = "THIS RAFT REPLICA LOSES ENTRIES AND VOTES THAT IT HAD ACKNOWLEDGED. It must not vote or rejoin as the same \
                      node: remove it from its groups, and add it again under a new id";

/// The groups of a log after the repair.
pub(super) struct After {
    is_raft: bool,
    /// The groups for which an open would refuse the log.
    incomplete: Vec<String>,
    /// The index of the last entry of each of the others.
    last: Vec<(u64, u64)>,
    /// Why the records do not form groups.
    unread: Option<String>,
}

impl After {
    /// What the plan leaves of the groups in this directory, if there are any.
    pub(super) fn of(dir: &Path, plan: &Plan) -> Option<After> {
        let log = view::decoding(plan.remaining());
        let kind = account::kind(dir, &log);
        let read = match kind {
            Kind::Raft => of_raft(dir, &log),
            Kind::Groups => of_groups(&log),
            Kind::Records => return None,
        };
        let is_raft = kind == Kind::Raft;
        Some(match read {
            Ok((last, incomplete)) => After { is_raft, incomplete, last, unread: None },
            Err(why) => After { is_raft, incomplete: Vec::new(), last: Vec::new(), unread: Some(why) },
        })
    }

    pub(super) fn print(&self, loses: bool) {
        if loses {
            for (group, last) in &self.last {
                println!("group {group} ends at index {last}");
            }
            if self.is_raft {
                println!("{}", style::wrong(REJOIN));
            }
        }
        let what = if self.is_raft { "the Raft log" } else { "the groups" };
        for group in &self.incomplete {
            println!("{}", style::wrong(&format!("an open of {what} will still refuse: {group}")));
        }
        if let Some(why) = &self.unread {
            println!("the remaining records form no groups: {why}");
        }
    }

    pub(super) fn json(&self, loses: bool) -> Value {
        json!({
            "must_not_rejoin": self.is_raft && loses,
            "incomplete": self.incomplete,
            "unread": self.unread,
            "stay": self.last.iter().map(|(group, last)| json!({ "group": group, "last": last })).collect::<Vec<_>>(),
        })
    }
}

/// The last index of each complete group, and the problems of the others; or why there are no groups.
type Read = Result<(Vec<(u64, u64)>, Vec<String>), String>;

fn of_groups(log: &seawall::LogView) -> Read {
    let (view, incomplete) = GroupView::with_incomplete(log).map_err(|e| e.to_string())?;
    let last = |id: &u64| view.last(*id).map(|last| (*id, last.index));
    let last = view.groups().iter().filter_map(last).collect();
    Ok((last, incomplete.iter().map(ToString::to_string).collect()))
}

#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
fn of_raft(dir: &Path, log: &seawall::LogView) -> Read {
    use seawall::raft::RaftView;
    let failed = |e: seawall::raft::Error| e.to_string();
    let (view, incomplete) = RaftView::with_incomplete(log).map_err(failed)?;
    let disk = seawall::io::open_directory(dir).map_err(|e| e.to_string())?;
    let lost = view.lost_snapshots(&disk, log.uuid()).map_err(failed)?;
    let mut incomplete: Vec<String> = incomplete.iter().map(ToString::to_string).collect();
    // For example because a later snapshot had replaced it, which is given up by the cut.
    incomplete.extend(lost.iter().map(|(group, e)| format!("group {group} needs its snapshot: {e}")));
    let stays = |group: &u64| !lost.iter().any(|(id, _)| id == group);
    let last = |group: u64| view.recovered(group).map(|state| (group, state.last_index));
    Ok((view.groups().into_iter().filter(stays).filter_map(last).collect(), incomplete))
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
fn of_raft(_: &Path, _: &seawall::LogView) -> Read {
    Err("this build has no Raft layer".to_owned())
}
