//! The oracle: Raft's guarantees, checked from outside the nodes.
//!
//! ```text
//!   every entry that any log ever held   (index, term) -> digest, term before it      log matching
//!   every leader                         term -> node                                 election safety
//!   every committed entry                index -> term, hash of the state after it    state-machine safety
//!                                        and the term in which that was first seen    leader completeness
//!   every configuration                  applied index -> members                     they follow from the log, too
//! ```
//!
//! Log matching is checked entry by entry: where index and term agree, the entry and the term before it must agree,
//! and by induction everything before. So each entry of each log is checked once, when it appears there, and all of
//! them when a log is opened.

use std::collections::hash_map::{Entry as Slot, HashMap};
use std::collections::{BTreeMap, VecDeque};

use raft::eraftpb::{ConfState, Entry};
use raft::{GetEntriesContext, Storage as _};
use seawall::raft::{GroupStorage, Node, NodeStatus, Role};

use super::events::{Checked, Kind, Violation};
use super::machine::{Machine, chain, digest};

/// A committed entry.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    pub term: u64,
    pub digest: u64,
    /// The state after it.
    pub hash: u64,
    /// The term of the first node seen to know of it; at least the one it was committed in.
    seen_in: u64,
}

/// What is known about one group.
#[derive(Debug, Default)]
pub struct Facts {
    entries: HashMap<(u64, u64), (u64, u64)>,
    leaders: BTreeMap<u64, u64>,
    /// From index 1 on.
    committed: Vec<Committed>,
    /// The members, according to nodes that had applied this much.
    configurations: HashMap<u64, Members>,
}

/// Voters, learners, outgoing voters and learners to be, each sorted.
type Members = [Vec<u64>; 4];

fn members(conf: &ConfState) -> Members {
    let lists =
        [conf.get_voters(), conf.get_learners(), conf.get_voters_outgoing(), conf.get_learners_next()];
    lists.map(|ids| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    })
}

/// The last seen content of one node's log.
#[derive(Debug, Default)]
struct Mirror {
    /// The index before the first.
    base: u64,
    terms: VecDeque<u64>,
}

impl Mirror {
    fn last(&self) -> u64 {
        self.base + self.terms.len() as u64
    }

    fn term(&self, index: u64) -> Option<u64> {
        self.terms.get(usize::try_from(index.checked_sub(self.base + 1)?).ok()?).copied()
    }
}

/// The result of examining a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct News {
    /// A leader that was not known before.
    pub elected: bool,
    /// Entries not known to be committed before.
    pub committed: u64,
}

#[derive(Debug, Default)]
pub struct Oracle {
    groups: BTreeMap<u64, Facts>,
    mirrors: BTreeMap<(u64, u64), Mirror>,
}

impl Oracle {
    pub fn facts(&mut self, group: u64) -> &mut Facts {
        self.groups.entry(group).or_default()
    }

    /// The node's log was replaced: everything in it will be examined.
    pub fn forget_log(&mut self, node: u64, group: u64) {
        self.mirrors.remove(&(node, group));
    }

    /// Examines what is new in a node's log.
    pub fn look_at_log(&mut self, node: u64, storage: &GroupStorage) -> Checked {
        let group = storage.id();
        let facts = self.groups.entry(group).or_default();
        let mirror = self.mirrors.entry((node, group)).or_default();
        let unreadable =
            |e: raft::Error| Violation::new(Kind::Unexplained, format!("node {node}, group {group}: {e}"));
        let (first, last) =
            (storage.first_index().map_err(unreadable)?, storage.last_index().map_err(unreadable)?);
        let mut same = mirror.last().min(last);
        while same >= first && mirror.term(same) != storage.term(same).ok() {
            same -= 1;
        }
        let same = same.max(first - 1);
        if same < last {
            let new = storage
                .entries(same + 1, last + 1, None, GetEntriesContext::empty(false))
                .map_err(unreadable)?;
            facts.add(node, storage.term(same).map_err(unreadable)?, &new)?;
            if same > mirror.last() || same < mirror.base {
                *mirror = Mirror { base: same, terms: VecDeque::new() };
            }
            mirror.terms.truncate((same - mirror.base) as usize);
            mirror.terms.extend(new.iter().map(|e| e.term));
        } else if same < mirror.base || same > mirror.last() {
            *mirror = Mirror { base: same, terms: VecDeque::new() };
        } else {
            mirror.terms.truncate((same - mirror.base) as usize);
        }
        while mirror.base + 1 < first && mirror.terms.pop_front().is_some() {
            mirror.base += 1;
        }
        Ok(())
    }

    /// Examines a node between two calls: is it a leader, may it be one, what does it consider committed.
    pub fn look_at_node(&mut self, status: &NodeStatus, storage: &GroupStorage) -> Checked<News> {
        let facts = self.groups.entry(status.group).or_default();
        let mut news = News::default();
        if status.role == Role::Leader {
            news.elected = facts.leads(status.id, status.term)?;
            if news.elected {
                facts.is_complete(status, storage)?;
            }
        }
        news.committed = facts.commits(status, storage)?;
        Ok(news)
    }

    /// A leader from before the newest entry was committed must also have it, if its term is later.
    pub fn look_at_old_leader(&mut self, status: &NodeStatus, storage: &GroupStorage) -> Checked {
        self.groups.entry(status.group).or_default().is_complete(status, storage)
    }
}

impl Facts {
    pub fn committed(&self) -> u64 {
        self.committed.len() as u64
    }

    pub fn committed_at(&self, index: u64) -> Option<&Committed> {
        self.committed.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// Entries in a node's log, the first of them after one of term `before`.
    pub fn add(&mut self, node: u64, mut before: u64, entries: &[Entry]) -> Checked {
        for e in entries {
            let is = (digest(e), before);
            match self.entries.entry((e.index, e.term)) {
                Slot::Vacant(slot) => drop(slot.insert(is)),
                Slot::Occupied(slot) if *slot.get() == is => {}
                Slot::Occupied(slot) => {
                    let what = format!(
                        "node {node} has another entry {} of term {}, or another before it: {is:x?}, elsewhere {:x?}",
                        e.index,
                        e.term,
                        slot.get()
                    );
                    return Err(Violation::new(Kind::LogMatching, what));
                }
            }
            before = e.term;
        }
        Ok(())
    }

    /// Records that a node leads; returns whether that is new.
    pub fn leads(&mut self, node: u64, term: u64) -> Checked<bool> {
        match self.leaders.insert(term, node) {
            None => Ok(true),
            Some(other) if other == node => Ok(false),
            Some(other) => {
                let what = format!("term {term} has two leaders, {other} and {node}");
                Err(Violation::new(Kind::ElectionSafety, what))
            }
        }
    }

    fn is_complete(&self, status: &NodeStatus, storage: &GroupStorage) -> Checked {
        // Of what was committed in earlier terms the last entry is enough, because the logs match.
        let earlier = self.committed.iter().rposition(|c| c.seen_in < status.term);
        let Some(at) = earlier else { return Ok(()) };
        let index = at as u64 + 1;
        match storage.term(index) {
            Err(raft::Error::Store(raft::StorageError::Compacted)) => Ok(()),
            Ok(term) if Some(term) == self.committed_at(index).map(|c| c.term) => Ok(()),
            found => {
                let what = format!(
                    "node {} leads term {} without committed entry {index} {:?}: {found:?}",
                    status.id,
                    status.term,
                    self.committed_at(index)
                );
                Err(Violation::new(Kind::LeaderCompleteness, what))
            }
        }
    }

    /// Records a node's commit index; returns how many commits are new.
    fn commits(&mut self, status: &NodeStatus, storage: &GroupStorage) -> Checked<u64> {
        let known = self.committed();
        let wrong = |what: String| {
            Err(Violation::new(Kind::StateMachineSafety, format!("node {}: {what}", status.id)))
        };
        for index in known.min(status.commit).max(1)..=status.commit {
            let term = match storage.term(index) {
                Ok(term) => term,
                Err(raft::Error::Store(raft::StorageError::Compacted)) if index <= known => continue,
                Err(e) => return wrong(format!("says that {index} is committed and has no such entry: {e}")),
            };
            match self.committed_at(index) {
                Some(other) if other.term == term => continue,
                Some(other) => return wrong(format!("committed {index} of term {term}, others {other:?}")),
                None => {}
            }
            if !self.commit((index, term), status.term) {
                return wrong(format!("committed {index} of term {term}, which no log held"));
            }
        }
        Ok(self.committed() - known)
    }

    /// Records the next committed entry according to a node in this term; `false` if no log held it.
    pub fn commit(&mut self, at: (u64, u64), seen_in: u64) -> bool {
        let Some((digest, _)) = self.entries.get(&at).copied() else { return false };
        let before = self.committed.last().map_or(0, |c| c.hash);
        self.committed.push(Committed { term: at.1, digest, hash: chain(before, digest), seen_in });
        true
    }

    /// Nodes that have applied the same have the same members.
    pub fn configured(&mut self, node: &Node) -> Checked {
        let (status, stored) = (node.status(), node.storage().recover());
        // A snapshot, or an earlier run, may be ahead of what is applied.
        if status.failed || status.first > status.applied + 1 || stored.conf_state_index > status.applied {
            return Ok(());
        }
        let is = members(&node.conf_state());
        let known = self.configurations.entry(status.applied).or_insert_with(|| is.clone());
        if *known == is {
            return Ok(());
        }
        let what = format!("node {} has members {is:?} at {}, others {known:?}", status.id, status.applied);
        Err(Violation::new(Kind::StateMachineSafety, what))
    }

    /// Records that a node's state machine is at this state.
    pub fn applies(&self, node: u64, machine: &Machine) -> Checked {
        let expected = self.committed_at(machine.index).map(|c| (c.term, c.hash));
        if machine.index == 0 || expected == Some((machine.term, machine.hash)) {
            return Ok(());
        }
        let what = format!("node {node} is at {machine:x?}, expected {expected:x?}");
        Err(Violation::new(Kind::StateMachineSafety, what))
    }
}
