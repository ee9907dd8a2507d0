//! The expected state of groups: plain lists of entries, and the rules by which operations are accepted or refused.

use std::collections::BTreeMap;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use raft::{GetEntriesContext, Storage};
use seawall::raft::{Error, RaftLog, Result, WriteBatch};

use super::cursor::Cursor;

/// All groups.
pub type Groups = BTreeMap<u64, Model>;

/// The expected state of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Index and term of the last removed entry.
    pub compacted: (u64, u64),
    /// The others.
    pub entries: Vec<Entry>,
    /// Term, vote and commit.
    pub hard: (u64, u64, u64),
    /// Index and term.
    pub applied: (u64, u64),
    /// The members, and since when.
    pub conf: (u64, ConfState),
    /// The newest snapshot, with its data.
    pub snapshot: Option<Snapshot>,
}

/// A ConfState of these voters.
pub fn conf(voters: u64) -> ConfState {
    let mut cs = ConfState::default();
    cs.voters = (1..=voters).collect();
    cs
}

fn hard((term, vote, commit): (u64, u64, u64)) -> HardState {
    let mut hs = HardState::default();
    (hs.term, hs.vote, hs.commit) = (term, vote, commit);
    hs
}

fn snapshot(at: (u64, u64), voters: u64, data: Vec<u8>) -> Snapshot {
    let mut s = Snapshot::default();
    s.data = data.into();
    (s.mut_metadata().index, s.mut_metadata().term) = at;
    s.mut_metadata().set_conf_state(conf(voters));
    s
}

/// The entry that a snapshot stands for and the members there.
pub fn metadata((index, term): (u64, u64), voters: u64) -> SnapshotMetadata {
    snapshot((index, term), voters, Vec::new()).take_metadata()
}

impl Model {
    /// A new group.
    pub fn new(voters: u64) -> Self {
        Model { conf: (0, conf(voters)), ..Model::default() }
    }

    /// A new group after this entry.
    pub fn behind(at: (u64, u64), voters: u64) -> Self {
        Model {
            compacted: at,
            hard: (at.1, 0, at.0),
            applied: at,
            conf: (at.0, conf(voters)),
            ..Model::default()
        }
    }

    fn last(&self) -> (u64, u64) {
        self.entries.last().map_or(self.compacted, |e| (e.index, e.term))
    }

    fn term(&self, index: u64) -> u64 {
        match self.entries.iter().find(|e| e.index == index) {
            Some(entry) => entry.term,
            None if index == self.compacted.0 => self.compacted.1,
            None => 0,
        }
    }

    fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |s| s.get_metadata().index)
    }
}

/// What a log exposes of its groups; every index is queried.
pub fn observe(log: &RaftLog) -> Groups {
    log.groups().into_iter().map(|id| (id, observe_group(log, id))).collect()
}

fn observe_group(log: &RaftLog, id: u64) -> Model {
    let group = log.group(id).expect("a listed group is there");
    let (first, last) = (group.first_index().expect("first"), group.last_index().expect("last"));
    let all = GetEntriesContext::empty(false);
    let entries = group.entries(first, last + 1, None, all).unwrap_or_else(|e| panic!("group {id}: {e}"));
    let term = |index| group.term(index).unwrap_or_else(|e| panic!("group {id}, term of {index}: {e}"));
    for entry in &entries {
        assert_eq!(term(entry.index), entry.term);
    }
    let hs = group.hard_state();
    Model {
        compacted: (first - 1, term(first - 1)),
        entries,
        hard: (hs.term, hs.vote, hs.commit),
        applied: group.applied(),
        conf: (group.recover().conf_state_index, group.conf_state()),
        snapshot: group.snapshot_data().unwrap_or_else(|e| panic!("group {id}: {e}")),
    }
}

/// An operation was accepted, or refused by a rule; or the log below failed.
pub type Taken = std::result::Result<(), seawall::Error>;

/// Compares the answer with the rule.
fn judge<T>(what: &str, fits: bool, answer: Result<T>) -> std::result::Result<bool, seawall::Error> {
    match answer {
        Err(Error::Log(e)) => Err(e),
        answer => {
            let refused = answer.err();
            assert_eq!(refused.is_none(), fits, "{what}: {refused:?}");
            Ok(fits)
        }
    }
}

/// Stages an operation in a batch, and applies it to the model.
pub fn stage(input: &mut Cursor<'_>, batch: &mut WriteBatch, id: u64, m: &mut Model) -> Taken {
    match input.below(8) {
        0..=2 => append(input, batch, id, m),
        3 => hard_state(input, batch, id, m),
        4 => applied(input, batch, id, m),
        5 => conf_state(input, batch, id, m),
        6 => compact(input, batch, id, m),
        _ => install(input, batch, id, m),
    }
}

fn append(input: &mut Cursor<'_>, batch: &mut WriteBatch, id: u64, m: &mut Model) -> Taken {
    let (back, count) = (u64::from(input.below(8)).saturating_sub(3), u64::from(input.below(24)) + 1);
    let (rise, size) = (u64::from(input.below(2)), usize::from(input.u8()) * 2);
    let first = (m.last().0 + 1).saturating_sub(back);
    let term = m.hard.0.max(m.last().1) + rise;
    let entry = |index: u64| {
        let mut e = Entry::default();
        (e.index, e.term) = (index, term);
        e.data = vec![index.to_le_bytes()[0]; size].into();
        e.context = vec![7; size % 3].into();
        e
    };
    let list: Vec<Entry> = (first..first + count).map(entry).collect();
    let fits = first > m.compacted.0 && first > m.hard.2;
    if judge("append", fits, batch.append(id, &list))? {
        m.entries.retain(|e| e.index < first);
        m.entries.extend(list);
        let vote = if term > m.hard.0 { 0 } else { m.hard.1 };
        m.hard = (term, vote, (m.hard.2 + u64::from(input.below(32))).min(m.last().0));
        judge("hard state of entries", true, batch.set_hard_state(id, &hard(m.hard)))?;
    }
    Ok(())
}

fn hard_state(input: &mut Cursor<'_>, batch: &mut WriteBatch, id: u64, m: &mut Model) -> Taken {
    let (rise, vote, ahead) =
        (u64::from(input.below(2)), u64::from(input.below(3)), u64::from(input.below(16)));
    let hs = (m.hard.0 + rise, vote, m.hard.2 + ahead);
    let fits = hs.2 <= m.last().0 && (rise > 0 || m.hard.1 == 0 || vote == m.hard.1);
    if judge("hard state", fits, batch.set_hard_state(id, &hard(hs)))? {
        m.hard = hs;
    }
    Ok(())
}

fn applied(input: &mut Cursor<'_>, batch: &mut WriteBatch, id: u64, m: &mut Model) -> Taken {
    let index = m.applied.0 + u64::from(input.below(32));
    let at = (index, m.term(index));
    if judge("applied", index <= m.hard.2, batch.set_applied(id, at.0, at.1))? {
        m.applied = at;
    }
    Ok(())
}

fn conf_state(input: &mut Cursor<'_>, batch: &mut WriteBatch, id: u64, m: &mut Model) -> Taken {
    let index = m.conf.0 + u64::from(input.below(16));
    let cs = conf(u64::from(input.below(5)) + 1);
    if judge("conf state", index <= m.hard.2, batch.set_conf_state(id, index, &cs))? {
        m.conf = (index, cs);
    }
    Ok(())
}

fn compact(input: &mut Cursor<'_>, batch: &mut WriteBatch, id: u64, m: &mut Model) -> Taken {
    let ahead = u64::from(input.below(32));
    let index = m.compacted.0 + ahead;
    let fits = ahead == 0 || (index <= m.applied.0 && index <= m.snapshot_index());
    if judge("compact", fits, batch.compact(id, index))? {
        m.compacted = (index, m.term(index));
        m.entries.retain(|e| e.index > index);
    }
    Ok(())
}

fn install(input: &mut Cursor<'_>, batch: &mut WriteBatch, id: u64, m: &mut Model) -> Taken {
    let (ahead, rise) = (u64::from(input.below(32)), u64::from(input.below(2)));
    let at = (m.hard.2 + ahead, m.term(m.hard.2) + rise);
    let snap = snapshot(at, u64::from(input.below(4)) + 1, vec![input.u8(); usize::from(input.u8()) * 20]);
    if judge("install", ahead > 0, batch.install_snapshot(id, &snap))? {
        let vote = if at.1 > m.hard.0 { 0 } else { m.hard.1 };
        let conf = snap.get_metadata().get_conf_state().clone();
        *m = Model {
            compacted: at,
            entries: Vec::new(),
            hard: (m.hard.0.max(at.1), vote, at.0),
            applied: at,
            conf: (at.0, conf),
            snapshot: Some(snap),
        };
    }
    Ok(())
}

/// Saves the application's snapshot.
pub fn save(input: &mut Cursor<'_>, log: &RaftLog, id: u64, m: &mut Model) -> Taken {
    // A group that begins after an entry has no snapshot at first, and knows no term before that entry.
    let from = m.snapshot_index().max(m.compacted.0.saturating_sub(2));
    let index = from + u64::from(input.below(32));
    let (voters, data) = (u64::from(input.below(4)) + 1, vec![input.u8(); usize::from(input.u8()) * 20]);
    let fits = index > m.snapshot_index() && index <= m.applied.0 && index >= m.compacted.0;
    let term = m.term(index);
    let Some(group) = log.group(id) else { panic!("group {id} is gone") };
    let answer = group.save_snapshot(index, conf(voters), &data);
    // Applied before the answer is known: after a failure it may be there.
    if fits {
        m.snapshot = Some(snapshot((index, term), voters, data));
    }
    judge("save", fits, answer).map(|_| ())
}
