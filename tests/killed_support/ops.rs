//! Operations on a group: as a line of text, on a log, and on the state of a group.

use seawall::raft::{Result, WriteBatch};

use super::View;
use crate::raft_support::{entry, hard, snapshot};

/// The members of every group.
pub const MEMBERS: &[u64] = &[1, 2];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Create,
    Remove,
    /// Entries, if any, replacing existing ones, with a HardState and an applied index.
    Append {
        from: u64,
        to: u64,
        term: u64,
        vote: u64,
        commit: u64,
        applied: u64,
    },
    /// A snapshot from another node, and entries after it.
    Install {
        index: u64,
        term: u64,
        more: u64,
    },
    /// The application's own snapshot.
    Save {
        index: u64,
    },
    Compact {
        index: u64,
    },
}

impl Op {
    pub fn to_words(self) -> String {
        match self {
            Op::Create => "create".to_owned(),
            Op::Remove => "remove".to_owned(),
            Op::Append { from, to, term, vote, commit, applied } => {
                format!("append {from} {to} {term} {vote} {commit} {applied}")
            }
            Op::Install { index, term, more } => format!("install {index} {term} {more}"),
            Op::Save { index } => format!("save {index}"),
            Op::Compact { index } => format!("compact {index}"),
        }
    }

    pub fn from_words(words: &[&str]) -> Option<Op> {
        let n: Vec<u64> = words.get(1..)?.iter().map_while(|w| w.parse().ok()).collect();
        Some(match (*words.first()?, &n[..]) {
            ("create", []) => Op::Create,
            ("remove", []) => Op::Remove,
            ("append", &[from, to, term, vote, commit, applied]) => {
                Op::Append { from, to, term, vote, commit, applied }
            }
            ("install", &[index, term, more]) => Op::Install { index, term, more },
            ("save", &[index]) => Op::Save { index },
            ("compact", &[index]) => Op::Compact { index },
            _ => return None,
        })
    }

    /// Puts whatever is possible into a batch. `after` is the resulting state of the group.
    pub fn stage(self, batch: &mut WriteBatch, group: u64, after: &View) -> Result<()> {
        match self {
            Op::Append { from, to, term, vote, commit, applied } => {
                let list: Vec<_> = (from..=to).map(|index| entry(index, term)).collect();
                batch.append(group, &list)?;
                batch.set_hard_state(group, &hard(term, vote, commit))?;
                batch.set_applied(group, applied, after.at(applied))
            }
            Op::Install { index, term, more } => {
                batch.install_snapshot(group, &snapshot(index, term, MEMBERS))?;
                let list: Vec<_> = (index + 1..=index + more).map(|index| entry(index, term)).collect();
                batch.append(group, &list)?;
                batch.set_hard_state(group, &hard(term, 2, index))
            }
            Op::Compact { index } => batch.compact(group, index),
            Op::Create | Op::Remove | Op::Save { .. } => Ok(()),
        }
    }

    /// The resulting state of the group.
    pub fn apply(self, before: Option<&View>) -> Option<View> {
        let mut view = match self {
            Op::Create => return Some(View { first: 1, terms: vec![0], ..View::default() }),
            Op::Remove => return None,
            _ => before.cloned().unwrap_or_default(),
        };
        match self {
            Op::Append { from, to, term, vote, commit, applied } => {
                if from <= to {
                    view.terms.truncate((from + 1 - view.first) as usize);
                    view.terms.extend((from..=to).map(|_| term));
                }
                (view.term, view.vote, view.commit, view.applied) = (term, vote, commit, applied);
            }
            Op::Install { index, term, more } => {
                let terms = vec![term; more as usize + 1];
                let (commit, applied, snapshot) = (index, index, Some((index, term)));
                view = View { first: index + 1, terms, term, vote: 2, commit, applied, snapshot };
            }
            Op::Save { index } => view.snapshot = Some((index, view.at(index))),
            Op::Compact { index } => {
                view.terms.drain(..(index + 1 - view.first) as usize);
                view.first = index + 1;
            }
            Op::Create | Op::Remove => {}
        }
        Some(view)
    }
}
