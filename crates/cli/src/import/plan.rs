//! Decides about each group before anything is written.
//!
//! ```text
//!            boundary                     commit          last
//!   - - - - - - -|---------------------------|--------------|
//!     compacted    first entry to import        HardState: term, vote, commit
//!                ConfState holds here, or at an entry up to the commit index
//! ```
//!
//! Nothing is guessed. The term at the boundary is the program's own record of it, or the group is not imported: raft
//! compares it with the leader's, and a wrong one makes two different logs look the same. The index of the members is
//! known if no entry after the boundary changes them, committed or not; otherwise it must be given, because raft
//! applies the changes after it.

use std::ops::RangeInclusive;

use raft::eraftpb::{ConfState, HardState};

use super::choice::{Args, Given, Key, given};
use super::decode::{self, Boundary, Stored};
use super::reason::Reason;
use super::source::Source;
use super::survey::{Log, Stop};
use crate::failure::Failure;
use crate::style;

/// The groups to import, and those that cannot be.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) groups: Vec<Planned>,
    pub(super) left: Vec<(u64, Reason)>,
}

/// A group to import.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) id: u64,
    pub(super) begins: Boundary,
    /// The boundary's index if there are no entries.
    pub(super) last: u64,
    pub(super) hard: HardState,
    pub(super) members: ConfState,
    pub(super) members_index: u64,
}

impl Planned {
    pub(super) fn indexes(&self) -> RangeInclusive<u64> {
        self.begins.index.saturating_add(1)..=self.last
    }

    pub(super) fn entries(&self) -> u64 {
        self.last - self.begins.index
    }
}

/// What the source has for a group.
#[derive(Clone, Debug, Default)]
struct Found {
    log: Log,
    hard: Option<Vec<u8>>,
    truncated: Option<Vec<u8>>,
    members: Option<Vec<u8>>,
}

impl Plan {
    /// Reads every group once.
    pub(super) fn of(source: &Source, args: &Args) -> Result<Plan, Failure> {
        let ids = source.groups();
        check_named(args, &ids)?;
        let mut plan = Plan { groups: Vec::new(), left: Vec::new() };
        let bar = style::bar(ids.len() as u64, "groups read");
        for id in ids {
            match plan_group(source, args, id) {
                Ok(planned) => plan.groups.push(planned),
                Err(Stop::Group(reason)) => plan.left.push((id, reason)),
                Err(Stop::All(failure)) => return Err(failure),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(plan)
    }
}

/// A named group that does not exist is a mistake that would otherwise go unnoticed.
fn check_named(args: &Args, ids: &[u64]) -> Result<(), Failure> {
    fn groups<T>(all: &[Given<T>]) -> impl Iterator<Item = u64> {
        all.iter().filter_map(|g| g.group)
    }
    let named = groups(&args.voters).chain(groups(&args.learners)).chain(groups(&args.conf_state_index));
    match named.into_iter().find(|id| !ids.contains(id)) {
        Some(id) => Err(Failure::Undone(format!("there is no group {id} in {}", args.dir.display()))),
        None => Ok(()),
    }
}

fn plan_group(source: &Source, args: &Args, id: u64) -> Result<Planned, Stop> {
    let value = |key: &Option<Key>| key.as_ref().and_then(|key| source.value(id, &key.0));
    let hard = value(&args.hard_state_key);
    if hard.is_none() {
        return Err(Reason::NoHardState.into());
    }
    let found = Found {
        log: Log::read(source, id)?,
        hard,
        truncated: value(&args.truncated_state_key),
        members: value(&args.conf_state_key),
    };
    Ok(judge(id, args, &found)?)
}

fn judge(id: u64, args: &Args, found: &Found) -> Result<Planned, Reason> {
    let Some(hard) = &found.hard else { return Err(Reason::NoHardState) };
    let stored = decode::hard_state(args.hard_state_format, hard)
        .map_err(|why| Reason::Value { what: "HardState", why })?;
    let (boundary, members_there) = match &found.truncated {
        Some(bytes) => {
            let (boundary, members) = decode::truncated_state(args.truncated_state_format, bytes)
                .map_err(|why| Reason::Value { what: "truncated state", why })?;
            (Some(boundary), members)
        }
        None => (None, None),
    };
    let begins = begins(boundary, &found.log)?;
    let last = end(begins, &found.log)?;
    check_hard(&stored, begins, last)?;
    let hard = stored.hard;
    let (members, known_at) = members(id, args, found, members_there, begins)?;
    let Some(members) = members else {
        // A joining node learns its members from its first snapshot.
        let joins = last == Boundary::default();
        let members = ConfState::default();
        let planned = Planned { id, begins, last: last.index, hard, members, members_index: 0 };
        return if joins { Ok(planned) } else { Err(Reason::NoMembers) };
    };
    check_members(&members)?;
    let members_index = match (known_at, found.log.change_above(begins.index)) {
        (Some(index), _) => index,
        (None, None) => begins.index,
        (None, Some(change)) => match given(&args.conf_state_index, id) {
            None => return Err(Reason::MembersUnclear { change }),
            Some(index) if (begins.index..=hard.commit).contains(index) => *index,
            Some(index) => {
                let (lowest, commit) = (begins.index, hard.commit);
                return Err(Reason::MembersIndex { index: *index, lowest, commit });
            }
        },
    };
    Ok(Planned { id, begins, last: last.index, hard, members, members_index })
}

/// The entry after which the imported log begins. Entries up to it that raft-engine still has are no longer needed.
fn begins(stored: Option<Boundary>, log: &Log) -> Result<Boundary, Reason> {
    let Some((first, _)) = log.span() else { return Ok(stored.unwrap_or_default()) };
    let Some(Boundary { index, term }) = stored else {
        return if first == 1 { Ok(Boundary::default()) } else { Err(Reason::NoBoundary { first }) };
    };
    if first > index.saturating_add(1) {
        return Err(Reason::Gap { boundary: index, first });
    }
    if let Some(found) = log.term(index)
        && found != term
    {
        return Err(Reason::BoundaryTerm { index, stored: term, found });
    }
    Ok(Boundary { index, term })
}

/// The last entry, or the boundary.
fn end(begins: Boundary, log: &Log) -> Result<Boundary, Reason> {
    let index = begins.index.saturating_add(1);
    let Some(term) = log.term(index) else { return Ok(begins) };
    if term < begins.term {
        return Err(Reason::TermFalls { index, term, before: begins.term });
    }
    let last = log.span().map_or(begins.index, |(_, last)| last);
    Ok(Boundary { index: last, term: log.term(last).unwrap_or(term) })
}

fn check_hard(stored: &Stored, begins: Boundary, last: Boundary) -> Result<(), Reason> {
    let HardState { term, commit, .. } = stored.hard;
    if term < last.term {
        return Err(Reason::HardStateBehind { term, last: last.term });
    }
    if !(begins.index..=last.index).contains(&commit) {
        return Err(Reason::Commit { commit, first: begins.index.saturating_add(1), last: last.index });
    }
    match stored.last_index {
        Some(index) if index != last.index => Err(Reason::LastIndex { stored: index, last: last.index }),
        _ => Ok(()),
    }
}

/// The members, and the index from which they hold, if known.
fn members(
    id: u64,
    args: &Args,
    found: &Found,
    at_boundary: Option<ConfState>,
    begins: Boundary,
) -> Result<(Option<ConfState>, Option<u64>), Reason> {
    if let Some(bytes) = &found.members {
        let members = decode::conf_state(bytes).map_err(|why| Reason::Value { what: "ConfState", why })?;
        return Ok((Some(members), None));
    }
    if at_boundary.is_some() {
        return Ok((at_boundary, Some(begins.index)));
    }
    let learners = given(&args.learners, id).cloned().unwrap_or_default();
    let members = given(&args.voters, id).map(|voters| ConfState::from((voters.clone(), learners)));
    Ok((members, None))
}

fn check_members(members: &ConfState) -> Result<(), Reason> {
    let lists = [&members.voters, &members.learners, &members.voters_outgoing, &members.learners_next];
    let twice = |list: &[u64]| list.iter().enumerate().any(|(n, id)| list.iter().take(n).any(|i| i == id));
    if members.voters.is_empty() {
        return Err(Reason::Members("there is no voter"));
    }
    if lists.iter().any(|list| list.contains(&0)) {
        return Err(Reason::Members("0 is not a valid node id"));
    }
    if lists.iter().any(|list| twice(list)) {
        return Err(Reason::Members("a node occurs twice"));
    }
    if members.learners.iter().any(|id| members.voters.contains(id) || members.voters_outgoing.contains(id)) {
        return Err(Reason::Members("a learner is also a voter"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
