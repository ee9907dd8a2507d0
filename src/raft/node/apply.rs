//! Committed entries on their way through the state machine, and the resulting configuration.
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

/// Work for the state machine, in order. When it is done, report it with
/// [`Node::report_applied`](super::Node::report_applied).
#[derive(Clone, Debug)]
#[must_use = "work that is not applied and reported blocks everything after it"]
pub enum Apply {
    /// Committed entries without a gap. This includes entries without a command (empty ones that raft writes itself,
    /// and configuration changes, which the node handles); [`Apply::commands`] leaves them out.
    Entries(Vec<Entry>),
    /// A snapshot, durable here, that replaces the whole state machine.
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

    /// The entries with a command: the data given to [`Node::propose`](super::Node::propose).
    pub fn commands(&self) -> impl Iterator<Item = &Entry> {
        let entries = match self {
            Apply::Entries(entries) => entries.as_slice(),
            Apply::Snapshot(_) => &[],
        };
        entries.iter().filter(|e| {
            // Raft's own entries have neither.
            e.get_entry_type() == EntryType::EntryNormal && !(e.data.is_empty() && e.context.is_empty())
        })
    }
}

/// What was handed out and not yet reported.
#[derive(Debug)]
pub(super) struct Applying {
    /// Everything up to here is applied and reported.
    pub(super) applied: u64,
    /// Everything up to here was handed out.
    pub(super) handed_out: u64,
    /// Sizes of what was handed out: the last index, and the bytes.
    sizes: VecDeque<(u64, u64)>,
    unapplied_bytes: u64,
    /// The configuration changes in it.
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

/// The history of configurations by index.
///
/// A snapshot must carry the configuration as of its index, not the present one.
#[derive(Debug)]
pub(super) struct Configurations {
    /// Rising indexes; never empty.
    history: VecDeque<(u64, ConfState)>,
    /// The newest one in storage.
    stored: u64,
}

impl Configurations {
    pub(super) fn new(index: u64, state: ConfState) -> Self {
        Configurations { history: VecDeque::from([(index, state)]), stored: index }
    }

    pub(super) fn push(&mut self, index: u64, state: ConfState) {
        self.history.push_back((index, state));
    }

    /// Starts over from a snapshot's configuration, which storage has already taken over.
    pub(super) fn restart(&mut self, index: u64, state: ConfState) {
        *self = Self::new(index, state);
    }

    /// The lowest index for which the configuration is known.
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

    /// The newest one, if storage does not have it yet.
    pub(super) fn unstored(&self) -> Option<(u64, &ConfState)> {
        self.history.back().filter(|(index, _)| *index > self.stored).map(|(index, state)| (*index, state))
    }

    pub(super) fn set_stored(&mut self, index: u64) {
        self.stored = self.stored.max(index);
    }

    /// Indexes below this one will not be asked for again.
    pub(super) fn forget_below(&mut self, index: u64) {
        while self.history.get(1).is_some_and(|(from, _)| *from <= index) {
            self.history.pop_front();
        }
    }
}

/// Whether raft can be started with this configuration; if not, the reason.
///
/// raft 0.7.0 (`confchange::restore`, `Raft::restore`) panics if it cannot rebuild a ConfState exactly.
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
        return Err("its configuration has a node that is both voter and learner");
    }
    if next.iter().any(|id| !outgoing.contains(id) || voters.contains(id)) {
        return Err("its configuration has a next learner that is not an outgoing voter");
    }
    if outgoing.is_empty() && state.auto_leave {
        return Err("its configuration leaves a joint state without being in one");
    }
    Ok(())
}
