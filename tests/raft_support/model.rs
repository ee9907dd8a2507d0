//! The expected state of a group: a plain list of entries and a few numbers, and the steps that change it.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft::Storage;
use raft::eraftpb::{ConfState, Entry, Snapshot};
use seawall::io::sim::Rng;
use seawall::raft::{Error, RaftLog, Result, WriteBatch};

use super::{conf, entries, entry, hard, snapshot};

/// The expected state of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Index and term before the first entry.
    pub compacted: (u64, u64),
    pub entries: Vec<Entry>,
    /// Term, vote, commit.
    pub hard: (u64, u64, u64),
    pub applied: (u64, u64),
    pub conf: (u64, ConfState),
    pub snapshot: Option<Snapshot>,
}

/// All groups.
pub type Models = BTreeMap<u64, Arc<Model>>;

impl Model {
    /// A group that was just created.
    pub fn new(voters: &[u64]) -> Self {
        Model { conf: (0, conf(voters)), ..Model::default() }
    }

    /// A group that was just created after this entry.
    pub fn behind(at: (u64, u64), voters: &[u64]) -> Self {
        Model {
            compacted: at,
            hard: (at.1, 0, at.0),
            applied: at,
            conf: (at.0, conf(voters)),
            ..Model::default()
        }
    }

    pub fn last(&self) -> (u64, u64) {
        self.entries.last().map_or(self.compacted, |e| (e.index, e.term))
    }

    pub fn term(&self, index: u64) -> Option<u64> {
        if index == self.compacted.0 {
            return Some(self.compacted.1);
        }
        self.entries.iter().find(|e| e.index == index).map(|e| e.term)
    }

    pub fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |s| s.get_metadata().index)
    }

    /// Index and term of its last entry, and its compacted and commit index: for messages.
    pub fn brief(&self) -> String {
        format!(
            "compacted {:?} last {:?} hard {:?} applied {:?} conf {} snapshot {}",
            self.compacted,
            self.last(),
            self.hard,
            self.applied,
            self.conf.0,
            self.snapshot_index()
        )
    }
}

/// One step, as numbers that are adapted to the group's state when it is taken.
#[derive(Clone, Debug)]
pub enum Step {
    /// Entries from `back` before the end on, of a term `rise` above the HardState's.
    Append {
        back: u64,
        count: u64,
        rise: u64,
        size: usize,
        commit: u64,
    },
    Hard {
        term: u64,
        vote: u64,
        commit: u64,
    },
    Applied {
        ahead: u64,
    },
    Conf {
        ahead: u64,
        voters: u64,
    },
    Save {
        ahead: u64,
        size: usize,
    },
    Compact {
        ahead: u64,
    },
    Install {
        ahead: u64,
        rise: u64,
    },
    Remove,
    Create,
    CreateBehind {
        index: u64,
        term: u64,
    },
    Purge,
    Reopen,
}

impl Step {
    /// A step that goes into a batch; small, so that a few fit into a small segment.
    pub fn any_for_batch(rng: &mut Rng) -> Step {
        let size = |rng: &mut Rng, n| usize::try_from(rng.below(n)).unwrap();
        match rng.below(16) {
            0..=6 => Step::Append {
                back: rng.below(12).saturating_sub(6),
                count: 1 + rng.below(8),
                rise: rng.below(2),
                size: size(rng, 300),
                commit: rng.below(10),
            },
            7 | 8 => Step::Hard { term: rng.below(2), vote: rng.below(3), commit: rng.below(8) },
            9..=11 => Step::Applied { ahead: rng.below(8) },
            12 => Step::Conf { ahead: rng.below(6), voters: 1 + rng.below(4) },
            13 | 14 => Step::Compact { ahead: rng.below(8) },
            _ => Step::Install { ahead: rng.below(12), rise: rng.below(2) },
        }
    }
}

/// Whether an operation was accepted; a refusal must be expected. Errors from below are passed on.
fn agreed<T: std::fmt::Debug>(result: Result<T>, fits: bool, what: &Step) -> Result<bool> {
    match result {
        Err(e @ Error::Log(_)) => Err(e),
        other => {
            assert_eq!(other.is_ok(), fits, "{what:?}: {other:?}");
            Ok(fits)
        }
    }
}

/// Stages one step in the batch and applies it to the model; both must agree whether it is allowed.
pub fn take(batch: &mut WriteBatch, id: u64, m: &mut Model, step: &Step) -> Result<()> {
    let (last, _) = m.last();
    let commit = m.hard.2;
    match *step {
        Step::Append { .. } => return take_append(batch, id, m, step),
        Step::Hard { term, vote, commit: ahead } => {
            let hs = (m.hard.0 + term, vote, commit + ahead);
            let fits = hs.2 <= last && (term > 0 || m.hard.1 == 0 || vote == m.hard.1);
            if agreed(batch.set_hard_state(id, &hard(hs.0, hs.1, hs.2)), fits, step)? {
                m.hard = hs;
            }
        }
        Step::Applied { ahead } => {
            let index = m.applied.0 + ahead;
            let term = m.term(index).unwrap_or(0);
            if agreed(batch.set_applied(id, index, term), index <= commit, step)? {
                m.applied = (index, term);
            }
        }
        Step::Conf { ahead, voters } => {
            let index = m.conf.0 + ahead;
            let cs = conf(&(1..=voters).collect::<Vec<_>>());
            if agreed(batch.set_conf_state(id, index, &cs), index <= commit, step)? {
                m.conf = (index, cs);
            }
        }
        Step::Compact { ahead } => {
            let index = m.compacted.0 + ahead;
            let fits = ahead == 0 || (index <= m.applied.0 && index <= m.snapshot_index());
            if agreed(batch.compact(id, index), fits, step)? {
                m.compacted = (index, m.term(index).unwrap());
                m.entries.retain(|e| e.index > index);
            }
        }
        Step::Install { .. } => return take_install(batch, id, m, step),
        Step::Save { .. }
        | Step::Remove
        | Step::Create
        | Step::CreateBehind { .. }
        | Step::Purge
        | Step::Reopen => {}
    }
    Ok(())
}

fn take_append(batch: &mut WriteBatch, id: u64, m: &mut Model, step: &Step) -> Result<()> {
    let Step::Append { back, count, rise, size, commit: ahead } = *step else { return Ok(()) };
    let ((last, last_term), commit) = (m.last(), m.hard.2);
    let first = last + 1 - back.min(last + 1);
    let term = m.hard.0.max(last_term) + rise;
    let list: Vec<Entry> = (first..first + count)
        .map(|index| {
            let mut e = entry(index, term);
            e.data = vec![index as u8; size].into();
            e.context = vec![7; size % 3].into();
            e
        })
        .collect();
    let fits = first > m.compacted.0 && first > commit;
    if agreed(batch.append(id, &list), fits, step)? {
        m.entries.retain(|e| e.index < first);
        m.entries.extend(list);
        let vote = if term > m.hard.0 { 0 } else { m.hard.1 };
        let hs = (term, vote, (commit + ahead).min(m.last().0));
        agreed(batch.set_hard_state(id, &hard(hs.0, hs.1, hs.2)), true, step)?;
        m.hard = hs;
    }
    Ok(())
}

fn take_install(batch: &mut WriteBatch, id: u64, m: &mut Model, step: &Step) -> Result<()> {
    let Step::Install { ahead, rise } = *step else { return Ok(()) };
    let index = m.hard.2 + ahead;
    let term = m.term(m.hard.2).unwrap() + rise;
    let snap = snapshot(index, term, &[1, 2, 3, ahead + 4]);
    if agreed(batch.install_snapshot(id, &snap), ahead > 0, step)? {
        let vote = if term > m.hard.0 { 0 } else { m.hard.1 };
        m.hard = (m.hard.0.max(term), vote, index);
        m.applied = (index, term);
        m.compacted = (index, term);
        m.entries.clear();
        m.conf = (index, snap.get_metadata().get_conf_state().clone());
        m.snapshot = Some(snap);
    }
    Ok(())
}

/// Creates a group after an entry, if that is allowed.
pub fn create_behind(
    log: &RaftLog,
    id: u64,
    models: &mut Models,
    (index, term): (u64, u64),
    voters: &[u64],
) -> Result<()> {
    let fits = index > 0 && !models.contains_key(&id);
    // Applied to the model first: an error of the log may leave it created.
    if fits {
        models.insert(id, Arc::new(Model::behind((index, term), voters)));
    }
    let metadata = snapshot(index, term, voters).take_metadata();
    let created = log.create_group_behind(id, &metadata).map(|_| ());
    agreed(created, fits, &Step::CreateBehind { index, term }).map(|_| ())
}

/// Saves a snapshot `ahead` of the last one, if that is allowed.
pub fn save(log: &RaftLog, id: u64, m: &mut Model, ahead: u64, size: usize) -> Result<()> {
    let index = m.snapshot_index() + ahead;
    // A group that begins after an entry knows no term before it.
    let fits = ahead > 0 && index <= m.applied.0 && index >= m.compacted.0;
    let data = vec![index as u8; size];
    // Applied to the model first: an error of the log may leave it saved.
    let term = m.term(index);
    if fits {
        let mut snap = snapshot(index, term.unwrap(), &[id, 2]);
        snap.data = data.clone().into();
        m.snapshot = Some(snap);
    }
    let saved = log.group(id).unwrap().save_snapshot(index, conf(&[id, 2]), data);
    agreed(saved, fits, &Step::Save { ahead, size }).map(|_| ())
}

/// Everything visible of the groups.
pub fn see(log: &RaftLog) -> raft::Result<Models> {
    log.groups().into_iter().map(|id| Ok((id, Arc::new(see_one(log, id)?)))).collect()
}

/// Everything visible of a group.
pub fn see_one(log: &RaftLog, id: u64) -> raft::Result<Model> {
    let group = log.group(id).unwrap();
    let (first, last) = (group.first_index()?, group.last_index()?);
    let recovered = group.recover();
    let hs = group.hard_state();
    let snapshot = group
        .snapshot_data()
        .map_err(|e| raft::Error::Store(raft::StorageError::Other(e.to_string().into())))?;
    let model = Model {
        compacted: (first - 1, group.term(first - 1)?),
        entries: entries(&group, first, last + 1, None)?,
        hard: (hs.term, hs.vote, hs.commit),
        applied: group.applied(),
        conf: (recovered.conf_state_index, group.conf_state()),
        snapshot,
    };
    for e in &model.entries {
        assert_eq!(group.term(e.index)?, e.term, "the term of entry {} of group {id}", e.index);
    }
    assert_eq!(model.last().0, last, "the last entry of group {id}");
    Ok(model)
}
