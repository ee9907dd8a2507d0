//! Configuration changes: checked when proposed, applied in order, and stored for the next start.

use std::time::Duration;

use ::raft::eraftpb::{ConfChange, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType};
use ::raft::{Changer, GetEntriesContext, StateRole, Storage as _};
use protobuf::Message as _;

use super::error::{NodeError, NodeResult};
use super::proposal::Proposal;
use super::{Node, trace};

/// Entries read at a time when the configuration is brought up to date at start.
const CHUNK: u64 = 1 << 20;

impl Node {
    /// Proposes a change of the group's members. It takes effect on each node when that node reports the entry as
    /// applied; the handle completes when this node has done so.
    ///
    /// # Errors
    /// [`NodeError::ConfChangeRefused`] for a change that raft would silently turn into an empty entry, that does not
    /// fit the configuration, or that removes or demotes this leader (raft 0.7.0 panics when a removed leader commits
    /// again: transfer leadership first); otherwise as [`Node::propose`].
    pub fn propose_conf_change(&mut self, change: ConfChangeV2, timeout: Duration) -> NodeResult<Proposal> {
        self.check_leader()?;
        self.check_change(&change)?;
        let context = self.contexts.next();
        if let Err(e) = self.raw.propose_conf_change(context.as_bytes().to_vec(), change) {
            return Err(self.not_taken(&e));
        }
        Ok(self.open_proposal(context, timeout))
    }

    /// The group's configuration in effect at this node.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        self.raw.raft.prs().conf().to_conf_state()
    }

    /// The index of a snapshot that was received or is being written.
    pub(super) fn coming_snapshot(&self) -> Option<u64> {
        let snapshot = self.raw.raft.raft_log.unstable_snapshot();
        snapshot.as_ref().map(|snapshot| snapshot.get_metadata().index)
    }

    fn check_change(&self, change: &ConfChangeV2) -> NodeResult<()> {
        let refuse = |why: &str| Err(NodeError::ConfChangeRefused { group: self.group, why: why.to_owned() });
        if self.raw.raft.has_pending_conf() {
            return refuse("an earlier change may not be applied yet; wait for it");
        }
        for single in change.get_changes() {
            if single.node_id == 0 {
                return refuse("0 is not a valid node id; number the nodes from 1");
            }
            if single.node_id == self.id && single.get_change_type() != ConfChangeType::AddNode {
                return refuse("it removes or demotes the leader; transfer leadership first");
            }
        }
        let joint = !self.conf_state().get_voters_outgoing().is_empty();
        match (joint, change.get_changes().is_empty()) {
            (true, false) => {
                return refuse(
                    "the group is between two configurations; leave that state with an empty change first",
                );
            }
            (false, true) => {
                return refuse(
                    "an empty change leaves a joint state, but the group is not in one; there is nothing to do",
                );
            }
            _ => {}
        }
        let mut changer = Changer::new(self.raw.raft.prs());
        let tried = if change.leave_joint() {
            changer.leave_joint()
        } else if let Some(auto_leave) = change.enter_joint() {
            changer.enter_joint(auto_leave, change.get_changes())
        } else {
            changer.simple(change.get_changes())
        };
        tried
            .map(|_| ())
            .or_else(|e| refuse(&format!("{e}; check `Node::conf_state`, and propose a change that fits it")))
    }

    /// Applies a committed configuration change, in raft and for the next batch.
    pub(super) fn change_configuration(&mut self, entry: &Entry) {
        // A snapshot or an earlier run may be ahead of this entry and already include its effect. Raft adopts the
        // configuration of a received snapshot before it is written and recorded here.
        if entry.index <= self.configurations.newest_index().max(self.coming_snapshot().unwrap_or(0)) {
            return;
        }
        let done = match entry.get_entry_type() {
            EntryType::EntryConfChange => {
                let mut change = ConfChange::default();
                change
                    .merge_from_bytes(&entry.data)
                    .map_err(|e| e.to_string())
                    .and_then(|()| self.raw.apply_conf_change(&change).map_err(|e| e.to_string()))
            }
            _ => {
                let mut change = ConfChangeV2::default();
                change
                    .merge_from_bytes(&entry.data)
                    .map_err(|e| e.to_string())
                    .and_then(|()| self.raw.apply_conf_change(&change).map_err(|e| e.to_string()))
            }
        };
        match done {
            Ok(state) => {
                trace::event!(info, group = self.group, index = entry.index, "configuration changed");
                self.configurations.push(entry.index, state);
            }
            // Whether a change fits depends only on the configuration, so every member reaches the same verdict.
            Err(why) => self.proposals.rejected((entry.index, entry.term), &why),
        }
        self.leave_office_if_removed();
    }

    /// Steps down if this leader is no longer a voter: raft 0.7.0 lets it continue, and panics at its next commit
    /// (`Raft::maybe_commit` looks up its own progress).
    fn leave_office_if_removed(&mut self) {
        let raft = &mut self.raw.raft;
        if raft.state == StateRole::Leader && !raft.promotable() {
            let term = raft.term;
            raft.become_follower(term, 0);
        }
        self.note_role();
    }

    /// At start, brings raft's configuration up to the state machine's applied index: changes that were applied, but
    /// whose ConfState was not stored before the node ended, are still in the log above the stored applied index.
    pub(super) fn recover_configuration(&mut self, stored_applied: u64) -> NodeResult<()> {
        let mut next = self.configurations.newest_index().max(stored_applied) + 1;
        let end = self.applying.applied + 1;
        next = next.max(self.raw.raft.raft_log.first_index());
        while next < end {
            let entries = self
                .storage
                .entries(next, end, Some(CHUNK), GetEntriesContext::empty(false))
                .map_err(|e| self.raft_error(&e))?;
            let Some(last) = entries.last() else { break };
            next = last.index + 1;
            for entry in entries.iter().filter(|e| e.get_entry_type() != EntryType::EntryNormal) {
                self.change_configuration(entry);
            }
        }
        Ok(())
    }
}
