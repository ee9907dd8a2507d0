//! After any operations on several groups, with reopens at any time, they match plain lists of entries; and an
//! operation is refused exactly when the list says so.
#![cfg(feature = "raft")]

mod codec_support;
mod raft_support;

use std::sync::Arc;

use proptest::prelude::*;
use raft_support::model::*;
use raft_support::*;
use seawall::Codec;
use seawall::raft::RaftLog;

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
        2 => (0u64..25, 1u64..4).prop_map(|(index, term)| Step::CreateBehind { index, term }),
        3 => Just(Step::Purge),
        2 => Just(Step::Reopen),
    ];
    (1u64..4, kind)
}

fn compare(log: &RaftLog, models: &Models) {
    let seen = see(log).unwrap();
    assert_eq!(seen, *models);
    for (id, m) in models {
        assert_eq!(log.group(*id).unwrap().durable_index(), m.last().0);
    }
}

fn run(steps: Vec<(u64, Step)>, together: usize, relocate: u64, codec: Option<Arc<dyn Codec>>) {
    // Small segments, so that a purge finds something to relocate.
    let mut wal = seawall::Options::new().segment_size(64 << 10).block_align(512);
    // Counting States by their known size works for States that are stored unchanged.
    let check_space = if codec.is_some() { check_recount } else { check_space };
    if let Some(codec) = codec {
        wal = wal.codec(codec);
    }
    let mut node = Node::with(options().wal(wal).relocate_bytes(relocate));
    let mut models = Models::new();
    for chunk in steps.chunks(together) {
        // The steps of a chunk go into one batch, as far as steps go into batches.
        let mut batch = node.log().batch();
        for (id, step) in chunk {
            let known = models.contains_key(id);
            if matches!(step, Step::Append { .. }) && !known {
                node.create(*id);
                models.insert(*id, Arc::new(Model::new(&[1, 2, 3])));
            }
            if let Some(m) = models.get_mut(id) {
                take(&mut batch, *id, Arc::make_mut(m), step).unwrap();
            }
        }
        node.log().commit(batch).unwrap();
        for (id, step) in chunk {
            match (step, models.get_mut(id)) {
                (Step::Save { ahead, size }, Some(m)) => {
                    save(node.log(), *id, Arc::make_mut(m), *ahead, *size).unwrap()
                }
                (Step::Remove, Some(_)) => {
                    node.log().remove_group(*id).unwrap();
                    models.remove(id);
                }
                (Step::Create, None) => {
                    node.create(*id);
                    models.insert(*id, Arc::new(Model::new(&[1, 2, 3])));
                }
                (Step::CreateBehind { index, term }, known) => {
                    let known = known.is_some();
                    let create = |models: &mut Models| {
                        create_behind(node.log(), *id, models, (*index, *term), &[1, 2, 3]).unwrap()
                    };
                    create(&mut models);
                    // Existing content is in its way, and nothing of it is left once it is removed.
                    if known {
                        node.log().remove_group(*id).unwrap();
                        models.remove(id);
                        create(&mut models);
                    }
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

/// The directory as a process killed now would leave it.
fn copy_of(dir: &std::path::Path) -> tempfile::TempDir {
    fn copy(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
        // Before the segments that it names: one that is made ready meanwhile is named after it has its name.
        let superblock = "superblock";
        if from.join(superblock).exists() {
            std::fs::copy(from.join(superblock), to.join(superblock))?;
        }
        for file in std::fs::read_dir(from)? {
            let file = file?;
            let target = to.join(file.file_name());
            if target.exists() {
                continue;
            } else if file.file_type()?.is_dir() {
                std::fs::create_dir_all(&target)?;
                copy(&file.path(), &target)?;
            } else {
                std::fs::copy(file.path(), target)?;
            }
        }
        Ok(())
    }
    // The next segment is prepared in the background, so a file may change its name while it is copied.
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
    let mut models = Models::new();
    for id in 1..=3 {
        node.create(id);
        models.insert(id, Arc::new(Model::new(&[1, 2, 3])));
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
                take(&mut batch, *id, Arc::make_mut(m), step).unwrap();
            }
            node.log().commit(batch).unwrap();
            save(node.log(), *id, Arc::make_mut(m), 8, 500).unwrap();
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
        run(steps, together, relocate, None);
    }

    #[test]
    fn groups_are_what_was_done_to_them_also_through_a_codec(
        steps in proptest::collection::vec(step(), 20..120),
        together in 1usize..5,
        relocate in prop_oneof![500u64..5000, Just(1 << 20)],
        codec in 0usize..10,
    ) {
        let codecs = codec_support::all();
        run(steps, together, relocate, codecs.get(codec % codecs.len()).cloned());
    }
}
