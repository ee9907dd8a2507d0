//! Whatever is done to several groups, and whenever the log is closed and opened again, they say what a plain list of
//! entries says; and an operation is refused exactly when the list says that it must be.
#![cfg(feature = "raft")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::field_reassign_with_default
)]

mod raft_support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use raft::Storage;
use raft::eraftpb::{ConfState, Entry, Snapshot};
use raft_support::*;
use seawall::raft::{RaftLog, WriteBatch};

/// What one group should be.
#[derive(Clone, Debug, Default)]
struct Model {
    compacted: (u64, u64),
    entries: Vec<Entry>,
    hard: (u64, u64, u64),
    applied: (u64, u64),
    conf: (u64, ConfState),
    snapshot: Option<Snapshot>,
}

impl Model {
    fn last(&self) -> (u64, u64) {
        self.entries.last().map_or(self.compacted, |e| (e.index, e.term))
    }

    fn term(&self, index: u64) -> Option<u64> {
        if index == self.compacted.0 {
            return Some(self.compacted.1);
        }
        self.entries.iter().find(|e| e.index == index).map(|e| e.term)
    }

    fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |s| s.get_metadata().index)
    }
}

/// One step, in numbers that are made to fit the group's state when it is taken.
#[derive(Clone, Debug)]
enum Step {
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
    Purge,
    Reopen,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let kind = prop_oneof![
        8 => (0u64..12, 1u64..30, 0u64..2, 0usize..350, 0u64..40).prop_map(|(back, count, rise, size, commit)| {
            Step::Append { back: back.saturating_sub(6), count, rise, size, commit }
        }),
        3 => (0u64..2, 0u64..3, 0u64..20).prop_map(|(term, vote, commit)| Step::Hard { term, vote, commit }),
        3 => (0u64..30).prop_map(|ahead| Step::Applied { ahead }),
        1 => (0u64..10, 1u64..5).prop_map(|(ahead, voters)| Step::Conf { ahead, voters }),
        2 => (0u64..30, 0usize..9000).prop_map(|(ahead, size)| Step::Save { ahead, size }),
        2 => (0u64..30).prop_map(|ahead| Step::Compact { ahead }),
        1 => (0u64..30, 0u64..2).prop_map(|(ahead, rise)| Step::Install { ahead, rise }),
        1 => Just(Step::Remove),
        1 => Just(Step::Create),
        3 => Just(Step::Purge),
        2 => Just(Step::Reopen),
    ];
    (1u64..4, kind)
}

/// Stages one step in the batch and takes it in the model; both must agree whether it may be taken.
fn take(batch: &mut WriteBatch, id: u64, m: &mut Model, step: &Step) {
    let (last, _) = m.last();
    let commit = m.hard.2;
    match *step {
        Step::Append { back, count, rise, size, commit: ahead } => {
            let first = last + 1 - back.min(last + 1);
            let term = m.hard.0.max(m.last().1) + rise;
            let list: Vec<Entry> = (first..first + count)
                .map(|index| {
                    let mut e = entry(index, term);
                    e.data = vec![index as u8; size].into();
                    e.context = vec![7; size % 3].into();
                    e
                })
                .collect();
            let fits = first > m.compacted.0 && first > commit;
            let appended = batch.append(id, &list);
            assert_eq!(appended.is_ok(), fits, "append {first}..: {appended:?}");
            if fits {
                m.entries.retain(|e| e.index < first);
                m.entries.extend(list);
                let vote = if term > m.hard.0 { 0 } else { m.hard.1 };
                let hs = (term, vote, (commit + ahead).min(m.last().0));
                batch.set_hard_state(id, &hard(hs.0, hs.1, hs.2)).unwrap();
                m.hard = hs;
            }
        }
        Step::Hard { term, vote, commit: ahead } => {
            let hs = (m.hard.0 + term, vote, commit + ahead);
            let fits = hs.2 <= last && (term > 0 || m.hard.1 == 0 || vote == m.hard.1);
            assert_eq!(batch.set_hard_state(id, &hard(hs.0, hs.1, hs.2)).is_ok(), fits);
            if fits {
                m.hard = hs;
            }
        }
        Step::Applied { ahead } => {
            let index = m.applied.0 + ahead;
            let term = m.term(index).unwrap_or(0);
            let fits = index <= commit;
            assert_eq!(batch.set_applied(id, index, term).is_ok(), fits);
            if fits {
                m.applied = (index, term);
            }
        }
        Step::Conf { ahead, voters } => {
            let index = m.conf.0 + ahead;
            let cs = conf(&(1..=voters).collect::<Vec<_>>());
            let fits = index <= commit;
            assert_eq!(batch.set_conf_state(id, index, &cs).is_ok(), fits);
            if fits {
                m.conf = (index, cs);
            }
        }
        Step::Compact { ahead } => {
            let index = m.compacted.0 + ahead;
            let fits = ahead == 0 || (index <= m.applied.0 && index <= m.snapshot_index());
            assert_eq!(batch.compact(id, index).is_ok(), fits);
            if fits {
                m.compacted = (index, m.term(index).unwrap());
                m.entries.retain(|e| e.index > index);
            }
        }
        Step::Install { ahead, rise } => {
            let index = commit + ahead;
            let term = m.term(commit).unwrap() + rise;
            let snap = snapshot(index, term, &[1, 2, 3, ahead + 4]);
            let fits = ahead > 0;
            assert_eq!(batch.install_snapshot(id, &snap).is_ok(), fits);
            if fits {
                let vote = if term > m.hard.0 { 0 } else { m.hard.1 };
                m.hard = (m.hard.0.max(term), vote, index);
                m.applied = (index, term);
                m.compacted = (index, term);
                m.entries.clear();
                m.conf = (index, snap.get_metadata().get_conf_state().clone());
                m.snapshot = Some(snap);
            }
        }
        Step::Save { .. } | Step::Remove | Step::Create | Step::Purge | Step::Reopen => {}
    }
}

fn save(log: &RaftLog, id: u64, m: &mut Model, ahead: u64, size: usize) {
    let index = m.snapshot_index() + ahead;
    let fits = ahead > 0 && index <= m.applied.0;
    let saved = log.group(id).unwrap().save_snapshot(index, conf(&[id, 2]), vec![index as u8; size]);
    assert_eq!(saved.is_ok(), fits, "{saved:?}");
    if fits {
        let mut snap = snapshot(index, m.term(index).unwrap(), &[id, 2]);
        snap.data = vec![index as u8; size].into();
        m.snapshot = Some(snap);
    }
}

fn compare(log: &RaftLog, models: &BTreeMap<u64, Model>) {
    assert_eq!(log.groups(), models.keys().copied().collect::<Vec<_>>());
    for (id, m) in models {
        let group = log.group(*id).unwrap();
        let (last, _) = m.last();
        assert_eq!(group.first_index().unwrap(), m.compacted.0 + 1);
        assert_eq!(group.last_index().unwrap(), last);
        for index in m.compacted.0..=last {
            assert_eq!(group.term(index).unwrap(), m.term(index).unwrap());
        }
        assert_eq!(entries(&group, m.compacted.0 + 1, last + 1, None).unwrap(), m.entries);
        assert_eq!(group.hard_state(), hard(m.hard.0, m.hard.1, m.hard.2));
        assert_eq!(group.applied(), m.applied);
        assert_eq!((group.recover().conf_state_index, group.conf_state()), m.conf);
        assert_eq!(group.snapshot_data().unwrap(), m.snapshot);
        assert_eq!(group.durable_index(), last);
    }
}

fn run(steps: Vec<(u64, Step)>, together: usize, relocate: u64) {
    // Small segments, so that a purge finds something to relocate.
    let wal = seawall::Options::new().segment_size(64 << 10).block_align(512);
    let mut node = Node::with(options().wal(wal).relocate_bytes(relocate));
    let mut models: BTreeMap<u64, Model> = BTreeMap::new();
    for chunk in steps.chunks(together) {
        // The steps of a chunk go into one batch, as far as steps go into batches.
        let mut batch = node.log().batch();
        for (id, step) in chunk {
            let known = models.contains_key(id);
            if matches!(step, Step::Append { .. }) && !known {
                node.create(*id);
                models.insert(*id, Model { conf: (0, conf(&[1, 2, 3])), ..Model::default() });
            }
            if let Some(m) = models.get_mut(id) {
                take(&mut batch, *id, m, step);
            }
        }
        node.log().commit(batch).unwrap();
        for (id, step) in chunk {
            match (step, models.get_mut(id)) {
                (Step::Save { ahead, size }, Some(m)) => save(node.log(), *id, m, *ahead, *size),
                (Step::Remove, Some(_)) => {
                    node.log().remove_group(*id).unwrap();
                    models.remove(id);
                }
                (Step::Create, None) => {
                    node.create(*id);
                    models.insert(*id, Model { conf: (0, conf(&[1, 2, 3])), ..Model::default() });
                }
                (Step::Purge, _) => drop(node.log().purge().unwrap()),
                (Step::Reopen, _) => node.reopen(),
                _ => {}
            }
        }
        compare(node.log(), &models);
        check_space(node.log());
    }
    node.reopen();
    compare(node.log(), &models);
    check_space(node.log());
}

/// The directory as a process that is killed now would leave it.
fn copy_of(dir: &std::path::Path) -> tempfile::TempDir {
    fn copy(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
        for file in std::fs::read_dir(from)? {
            let file = file?;
            let target = to.join(file.file_name());
            if file.file_type()?.is_dir() {
                std::fs::create_dir_all(&target)?;
                copy(&file.path(), &target)?;
            } else {
                std::fs::copy(file.path(), target)?;
            }
        }
        Ok(())
    }
    // The next segment is made ready in the background, so a file may change its name while it is copied.
    for _ in 0..100 {
        let to = tempfile::tempdir().unwrap();
        if copy(dir, to.path()).is_ok() {
            return to;
        }
    }
    panic!("the directory does not hold still");
}

#[test]
fn a_process_killed_between_commits_leaves_what_was_committed() {
    let mut node = Node::new();
    let mut models: BTreeMap<u64, Model> = BTreeMap::new();
    for id in 1..=3 {
        node.create(id);
        models.insert(id, Model { conf: (0, conf(&[1, 2, 3])), ..Model::default() });
    }
    for round in 0..30u64 {
        for (id, m) in &mut models {
            let mut batch = node.log().batch();
            let steps = [
                Step::Append { back: (round + id) % 4, count: 20, rise: round % 2, size: 200, commit: 17 },
                Step::Applied { ahead: 10 },
                Step::Conf { ahead: 1, voters: round % 5 + 1 },
                Step::Compact { ahead: 5 },
                Step::Install { ahead: if round % 7 == *id { 30 } else { 0 }, rise: 0 },
            ];
            for step in &steps {
                take(&mut batch, *id, m, step);
            }
            node.log().commit(batch).unwrap();
            save(node.log(), *id, m, 8, 500);
        }
        if round % 10 == 9 {
            node.log().purge().unwrap();
        }
        let copy = copy_of(node.dir.path());
        compare(&options().open(copy.path()).unwrap(), &models);
    }
    node.reopen();
    compare(node.log(), &models);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn groups_are_what_was_done_to_them(
        steps in proptest::collection::vec(step(), 20..120),
        together in 1usize..5,
        relocate in prop_oneof![Just(0u64), 500u64..5000, Just(1 << 20)],
    ) {
        run(steps, together, relocate);
    }
}
