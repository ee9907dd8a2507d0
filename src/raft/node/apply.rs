//! Committed entries on their way through the state machine, and the configuration that follows from them.
//!
//! ```text
//!                handed out as Apply            reported by Node::report_applied
//!   committed ──────────────────────> state machine ──────────────────> applied ──> stored with a later batch
//!                (by the caller's own thread)          │
//!                                                      └── configuration changes among them take effect in raft here,
//!                                                          and the ConfState is stored with the next batch
//! ```

use std::collections::VecDeque;

use ::raft::eraftpb::{ConfState, Entry, EntryType, Snapshot};

/// Something for the state machine, in order. When it is done, report it by [`Node::report_applied`](super::Node::report_applied).
#[derive(Clone, Debug)]
#[must_use = "what is not applied and reported holds up everything after it"]
pub enum Apply {
    /// Committed entries without a gap. Those that carry no command (empty ones that raft writes itself, and
    /// configuration changes, which the node sees to) are among them; [`Apply::commands`] leaves them out.
    Entries(Vec<Entry>),
    /// A snapshot, durable here, to replace the whole state machine with.
    Snapshot(Snapshot),
}

impl Apply {
    /// The index and term to report when all of this is applied.
    #[must_use]
    pub fn last(&self) -> (u64, u64) {
        match self {
            Apply::Entries(entries) => entries.last().map_or((0, 0), |e| (e.index, e.term)),
            Apply::Snapshot(snapshot) => (snapshot.get_metadata().index, snapshot.get_metadata().term),
        }
    }

    /// The entries that carry a command: what was given to [`Node::propose`](super::Node::propose).
    pub fn commands(&self) -> impl Iterator<Item = &Entry> {
        let entries = match self {
            Apply::Entries(entries) => entries.as_slice(),
            Apply::Snapshot(_) => &[],
        };
        entries.iter().filter(|e| {
            // raft's own have neither.
            e.get_entry_type() == EntryType::EntryNormal && !(e.data.is_empty() && e.context.is_empty())
        })
    }
}

/// What is handed out and not yet reported.
#[derive(Debug)]
pub(super) struct Applying {
    /// All up to here is applied and reported.
    pub(super) applied: u64,
    /// Up to here it was handed out.
    pub(super) handed_out: u64,
    /// Sizes of what was handed out: up to which index, how many bytes.
    sizes: VecDeque<(u64, u64)>,
    unapplied_bytes: u64,
    /// Configuration changes among it.
    changes: VecDeque<Entry>,
}

impl Applying {
    pub(super) fn new(applied: u64) -> Self {
        Applying {
            applied,
            handed_out: applied,
            sizes: VecDeque::new(),
            unapplied_bytes: 0,
            changes: VecDeque::new(),
        }
    }

    pub(super) fn hand_out(&mut self, apply: &Apply) {
        let (last, _) = apply.last();
        let bytes = match apply {
            Apply::Entries(entries) => {
                let changes = entries.iter().filter(|e| e.get_entry_type() != EntryType::EntryNormal);
                self.changes.extend(changes.cloned());
                entries.iter().map(|e| e.data.len() as u64).sum()
            }
            Apply::Snapshot(snapshot) => snapshot.get_data().len() as u64,
        };
        self.handed_out = self.handed_out.max(last);
        self.unapplied_bytes += bytes;
        self.sizes.push_back((last, bytes));
    }

    pub(super) fn unapplied_bytes(&self) -> u64 {
        self.unapplied_bytes
    }

    /// The next configuration change at or below `index`.
    pub(super) fn next_change(&mut self, index: u64) -> Option<Entry> {
        if self.changes.front()?.index <= index { self.changes.pop_front() } else { None }
    }

    pub(super) fn report(&mut self, index: u64) {
        self.applied = index;
        while let Some((_, bytes)) = self.sizes.front().filter(|(last, _)| *last <= index) {
            self.unapplied_bytes = self.unapplied_bytes.saturating_sub(*bytes);
            self.sizes.pop_front();
        }
    }
}

/// Which configuration held from which index on.
///
/// A snapshot at an index must carry the configuration as of that index, not the one of today.
#[derive(Debug)]
pub(super) struct Configurations {
    /// Rising indexes; never empty.
    history: VecDeque<(u64, ConfState)>,
    /// The newest one that storage has.
    stored: u64,
}

impl Configurations {
    pub(super) fn new(index: u64, state: ConfState) -> Self {
        Configurations { history: VecDeque::from([(index, state)]), stored: index }
    }

    pub(super) fn push(&mut self, index: u64, state: ConfState) {
        self.history.push_back((index, state));
    }

    /// The snapshot brings its configuration, and storage took it from there.
    pub(super) fn restart(&mut self, index: u64, state: ConfState) {
        *self = Self::new(index, state);
    }

    /// From which index on it is known which configuration holds.
    pub(super) fn known_from(&self) -> u64 {
        self.history.front().map_or(0, |(index, _)| *index)
    }

    pub(super) fn newest_index(&self) -> u64 {
        self.history.back().map_or(0, |(index, _)| *index)
    }

    /// The configuration as of `index`.
    pub(super) fn at(&self, index: u64) -> Option<&ConfState> {
        self.history.iter().rev().find(|(from, _)| *from <= index).map(|(_, state)| state)
    }

    /// The newest one, when storage does not have it yet.
    pub(super) fn unstored(&self) -> Option<(u64, &ConfState)> {
        self.history.back().filter(|(index, _)| *index > self.stored).map(|(index, state)| (*index, state))
    }

    pub(super) fn set_stored(&mut self, index: u64) {
        self.stored = self.stored.max(index);
    }

    /// Nobody will ask for indexes below this one again.
    pub(super) fn forget_below(&mut self, index: u64) {
        while self.history.get(1).is_some_and(|(from, _)| *from <= index) {
            self.history.pop_front();
        }
    }
}

/// Whether raft can be started with this configuration; what is wrong with it otherwise.
///
/// raft 0.7.0 (`confchange::restore`, `Raft::restore`) panics over a ConfState that it cannot rebuild as it is.
pub(super) fn check_conf_state(state: &ConfState) -> Result<(), &'static str> {
    let (voters, outgoing) = (state.get_voters(), state.get_voters_outgoing());
    let (learners, next) = (state.get_learners(), state.get_learners_next());
    if voters.is_empty() {
        return Err("its configuration has no voters");
    }
    let all = [voters, outgoing, learners, next];
    if all.iter().any(|ids| ids.contains(&0)) {
        return Err("its configuration has a node with id 0");
    }
    for ids in all {
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != ids.len() {
            return Err("its configuration lists a node twice");
        }
    }
    if learners.iter().any(|id| voters.contains(id) || outgoing.contains(id)) {
        return Err("its configuration has a node that is voter and learner");
    }
    if next.iter().any(|id| !outgoing.contains(id) || voters.contains(id)) {
        return Err("its configuration has a next learner that is no outgoing voter");
    }
    if outgoing.is_empty() && state.auto_leave {
        return Err("its configuration leaves a joint state that it is not in");
    }
    Ok(())
}
