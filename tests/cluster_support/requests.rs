//! Requests of clients and the answers they got.

use seawall::raft::{Proposal, ProposalError, ReadId};

use super::events::{Checked, Kind, Violation};
use super::oracle::Facts;

struct Open {
    node: u64,
    group: u64,
    is_change: bool,
    proposal: Proposal,
}

/// A pending read; its answer must contain everything committed when it was requested.
struct Read {
    node: u64,
    group: u64,
    id: ReadId,
    committed: u64,
}

/// Pending reads: their messages may be lost.
const READS: usize = 40;

#[derive(Default)]
pub struct Requests {
    open: Vec<Open>,
    reads: Vec<Read>,
}

impl Requests {
    pub fn proposed(&mut self, node: u64, group: u64, is_change: bool, proposal: Proposal) {
        self.open.push(Open { node, group, is_change, proposal });
    }

    pub fn asked(&mut self, node: u64, group: u64, id: ReadId, committed: u64) {
        if self.reads.len() == READS {
            self.reads.remove(0);
        }
        self.reads.push(Read { node, group, id, committed });
    }

    /// Records a node's answer; returns whether it was still awaited.
    pub fn answered(&mut self, node: u64, group: u64, id: ReadId, index: u64) -> Checked<bool> {
        let is_it = |r: &Read| (r.node, r.group) == (node, group) && r.id == id;
        let Some(at) = self.reads.iter().position(is_it) else { return Ok(false) };
        let read = self.reads.remove(at);
        if index < read.committed {
            let what = format!(
                "node {node}, group {group}: a read was given index {index}, {} was committed before",
                read.committed
            );
            return Err(Violation::new(Kind::StaleRead, what));
        }
        Ok(true)
    }

    /// Checks the outcomes of proposals made at this node; returns the configuration changes that took effect.
    pub fn look(&mut self, node: u64, group: u64, facts: &Facts) -> Checked<u64> {
        let (mut changes, mut wrong) = (0, None);
        self.open.retain(|open| {
            if (open.node, open.group) != (node, group) {
                return true;
            }
            let Some(outcome) = open.proposal.outcome() else { return true };
            let (index, term) = open.proposal.position();
            let is_committed = facts.committed_at(index).map(|c| c.term == term);
            let right = match &outcome {
                Ok(_) => is_committed == Some(true),
                Err(ProposalError::Dropped { .. }) => is_committed == Some(false),
                Err(_) => true,
            };
            if !right {
                wrong = Some(format!("proposal at {index} of term {term}: {outcome:?}, {is_committed:?}"));
            }
            changes += u64::from(open.is_change && outcome.is_ok());
            false
        });
        match wrong {
            None => Ok(changes),
            Some(what) => {
                Err(Violation::new(Kind::WrongOutcome, format!("node {node}, group {group}: {what}")))
            }
        }
    }

    /// The process has ended, and its answers are no longer awaited.
    pub fn gone(&mut self, node: u64) {
        self.open.retain(|open| open.node != node);
        self.reads.retain(|read| read.node != node);
    }
}
