//! After any operations on several groups, and with any bytes of the ended segments corrupted: dropping groups drops
//! exactly those with a damaged live entry or snapshot, and all others match a plain list of entries.
#![cfg(feature = "raft")]

mod raft_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use raft_support::model::*;
use raft_support::*;
use seawall::format::DATA_START;
use seawall::format::record::LABELLED_HEADER;
use seawall::io::Disk;
use seawall::io::sim::SimDisk;
use seawall::raft::repair::DropPlan;
use seawall::raft::{RaftLog, RaftOptions};
use seawall::repair::undo;
use seawall::{LogView, Options, verify_on};

fn settings() -> RaftOptions {
    let wal = Options::new()
        .segment_size(32 << 10)
        .block_align(512)
        .mmap(false)
        .threads(false)
        .idle_marker(Duration::from_secs(3600));
    RaftOptions::new().node_id(1).wal(wal).snapshot_chunk(300)
}

fn on(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn open(disk: &SimDisk) -> RaftLog {
    settings().open_on(on(disk)).unwrap()
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let kind = prop_oneof![
        10 => (0u64..12, 1u64..8, 0u64..2, 0usize..350, 0u64..20).prop_map(|(back, count, rise, size, commit)| {
            Step::Append { back: back.saturating_sub(6), count, rise, size, commit }
        }),
        2 => (0u64..2, 0u64..3, 0u64..20).prop_map(|(term, vote, commit)| Step::Hard { term, vote, commit }),
        3 => (0u64..20).prop_map(|ahead| Step::Applied { ahead }),
        1 => (0u64..10, 1u64..5).prop_map(|(ahead, voters)| Step::Conf { ahead, voters }),
        2 => (0u64..20, 0usize..900).prop_map(|(ahead, size)| Step::Save { ahead, size }),
        2 => (0u64..20).prop_map(|ahead| Step::Compact { ahead }),
        1 => (0u64..30, 0u64..2).prop_map(|(ahead, rise)| Step::Install { ahead, rise }),
        1 => Just(Step::Remove),
        1 => Just(Step::Create),
        2 => Just(Step::Purge),
        1 => Just(Step::Reopen),
    ];
    (1u64..6, kind)
}

/// Takes these steps in the log and in the models.
fn run(disk: &SimDisk, models: &mut Models, steps: &[(u64, Step)]) {
    let mut log = open(disk);
    for (id, step) in steps {
        let known = models.contains_key(id);
        match step {
            Step::Purge => drop(log.purge().unwrap()),
            Step::Reopen => {
                log.close().unwrap();
                log = open(disk);
            }
            Step::Remove if known => {
                log.remove_group(*id).unwrap();
                models.remove(id);
            }
            Step::Append { .. } | Step::Create if !known => {
                log.create_group(*id, conf(&[1, 2, 3])).unwrap();
                models.insert(*id, Arc::new(Model::new(&[1, 2, 3])));
            }
            _ => {}
        }
        let Some(m) = models.get_mut(id).map(Arc::make_mut) else { continue };
        if let Step::Save { ahead, size } = step {
            save(&log, *id, m, *ahead, *size).unwrap();
        }
        let mut batch = log.batch();
        take(&mut batch, *id, m, step).unwrap();
        log.commit(batch).unwrap();
    }
    log.close().unwrap();
}

/// Which bytes are corrupted: their position, as a fraction of all bytes of ended segments, and their number.
type Spoilt = Vec<(f64, usize)>;

/// Position of the newest record of each entry, header and payload, by group and index; found by reading the whole
/// log.
fn newest(view: &LogView) -> BTreeMap<(u64, u64), (u64, u64)> {
    let mut all = BTreeMap::new();
    for head in view.segments().iter().flat_map(|s| s.heads().map(|h| h.unwrap()).collect::<Vec<_>>()) {
        let Some(label) = head.label.filter(|l| matches!(l.kind, 0x80..=0xbf)) else { continue };
        let len = LABELLED_HEADER as u64 + u64::from(head.payload_len);
        all.insert((label.stream, label.sequence), (head.lsn.get(), head.lsn.get() + len));
    }
    all
}

/// Corrupts bytes of the ended segments; returns the groups with a live entry there.
fn spoil(disk: &SimDisk, models: &Models, spoilt: &Spoilt) -> BTreeSet<u64> {
    let view = LogView::open_on(&on(disk)).unwrap();
    let (_, ended) = view.segments().split_last().unwrap();
    let total: u64 = ended.iter().map(|s| s.end_lsn().get() - s.first_lsn().get()).sum();
    let mut ranges = Vec::new();
    for (part, len) in spoilt {
        let mut at = (part * total as f64) as u64;
        for segment in ended {
            let span = segment.end_lsn().get() - segment.first_lsn().get();
            if at < span {
                let end = (at + *len as u64).min(span);
                ranges.push((segment, at, end));
                break;
            }
            at -= span;
        }
    }
    let places = newest(&view);
    let mut hit = BTreeSet::new();
    let mut changed: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (segment, from, to) in ranges {
        let name = segment.file_name().to_owned();
        let bytes = changed.entry(name.clone()).or_insert_with(|| disk.contents(&name).unwrap());
        let file = |at: u64| usize::try_from(DATA_START + at).unwrap();
        // Set, not flipped: what is corrupted twice stays so. A byte that already has the value gets another one.
        let was = disk.contents(&name).unwrap();
        (file(from)..file(to)).for_each(|at| bytes[at] = was[at] ^ 0xa5);
        let first = segment.first_lsn().get();
        for (id, m) in models {
            let lies_there = |e: &raft::eraftpb::Entry| {
                let (start, end) = places[&(*id, e.index)];
                start < first + to && first + from < end
            };
            if m.entries.iter().any(lies_there) {
                hit.insert(*id);
            }
        }
    }
    for (name, bytes) in changed {
        disk.put(&name, bytes);
    }
    hit
}

/// Corrupts or removes the snapshots of these groups, if they have one; returns the groups that had.
fn spoil_snapshots(disk: &SimDisk, models: &Models, of: &[(u64, bool)]) -> BTreeSet<u64> {
    let mut hit = BTreeSet::new();
    for (id, remove) in of {
        let Some(snapshot) = models.get(id).and_then(|m| m.snapshot.as_ref()) else { continue };
        let start = format!("snapshots/{id:016x}-{:016x}-", snapshot.get_metadata().index);
        let name = disk.files().into_iter().rfind(|n| n.starts_with(&start)).unwrap();
        let mut bytes = disk.contents(&name).unwrap();
        if *remove {
            disk.remove(&name).unwrap();
        } else {
            *bytes.last_mut().unwrap() ^= 1;
            disk.put(&name, bytes);
        }
        hit.insert(*id);
    }
    hit
}

fn own(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let ours = |n: &String| !n.starts_with("repair-") && n != "lock" && n != "reserve";
    disk.files().into_iter().filter(ours).map(|n| (n.clone(), disk.contents(&n).unwrap())).collect()
}

fn compare(disk: &SimDisk, models: &Models) {
    let log = open(disk);
    assert_eq!(see(&log).unwrap(), *models);
    log.close().unwrap();
}

fn drop_and_go_on(
    steps: &[(u64, Step)],
    spoilt: &Spoilt,
    snapshots: &[(u64, bool)],
    after: &[(u64, Step)],
) -> bool {
    let (disk, mut models) = (SimDisk::new(), Models::new());
    run(&disk, &mut models, steps);
    // Once more, so that every ended segment has its footer.
    run(&disk, &mut models, &[(9, Step::Create)]);
    let view = LogView::open_on(&on(&disk)).unwrap();
    let (_, ended) = view.segments().split_last().unwrap();
    assert!(ended.iter().all(|s| s.summary().is_some()), "a footer is missing");
    if ended.is_empty() {
        return false;
    }
    let mut gone = spoil(&disk, &models, spoilt);
    gone.extend(spoil_snapshots(&disk, &models, snapshots));
    let before = own(&disk);
    let plan = DropPlan::of(&on(&disk), &settings()).unwrap();
    assert!(own(&disk) == before, "a plan changes nothing");
    let dropped: BTreeSet<u64> = plan.dropped().iter().map(|d| d.group).collect();
    assert_eq!(dropped, gone, "{:?}", plan.dropped());
    let done = plan.apply(None).unwrap();
    models.retain(|id, _| !gone.contains(id));
    compare(&disk, &models);
    compare(&disk, &models);
    if done.undo_dir.is_some() {
        let way_back = disk.kill();
        undo(&on(&way_back), &on(&way_back).subdir("repair-1").unwrap()).unwrap();
        assert!(own(&way_back) == before, "undo does not give back what was there");
    }
    run(&disk, &mut models, after);
    compare(&disk, &models);
    drop(verify_on(&on(&disk)).unwrap());
    !gone.is_empty() && !models.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_groups_that_are_hit_go(
        steps in proptest::collection::vec(step(), 30..160),
        spoilt in proptest::collection::vec((0.0..1.0f64, 1usize..1500), 1..4),
        snapshots in proptest::collection::vec((1u64..6, any::<bool>()), 0..2),
        after in proptest::collection::vec(step(), 5..60),
    ) {
        drop_and_go_on(&steps, &spoilt, &snapshots, &after);
    }
}

/// The drawn damage must affect some groups and spare others, or it would prove nothing.
#[test]
fn some_groups_are_hit_and_some_are_spared() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut both = 0;
    for _ in 0..12 {
        let steps = proptest::collection::vec(step(), 100..160).new_tree(&mut runner).unwrap().current();
        let spoilt = vec![(0.5, 300), (0.1, 20)];
        both += usize::from(drop_and_go_on(&steps, &spoilt, &[], &[]));
    }
    assert!(both >= 4, "{both} of 12");
}
