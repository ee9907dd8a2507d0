//! Groups in a log with a codec: nothing that went through it can be read from the log's files, an open without it is
//! refused, and raft is given the entries that it would be given without.
#![cfg(feature = "raft")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::field_reassign_with_default
)]

mod codec_support;
mod raft_support;

use std::path::Path;
use std::sync::Arc;

use codec_support::{Xor, all, xor};
use raft::eraftpb::Entry;
use raft_support::{Node, check_recount, conf, entries, entry, hard};
use seawall::raft::{Error, RaftLog, RaftOptions, RaftView};
use seawall::{Codec, LogView, Options};

const SECRET: &[u8] = b"this is nobody's business";

fn with(codec: Arc<dyn Codec>) -> RaftOptions {
    RaftOptions::new().node_id(1).wal(Options::new().segment_size(64 << 10).codec(codec))
}

fn secret_entry(index: u64, term: u64) -> Entry {
    let mut e = entry(index, term);
    e.data = SECRET.repeat(40).into();
    e.context = SECRET.to_vec().into();
    e
}

/// Two groups with entries and States; one of them lags, so that its entries are relocated.
fn fill(log: &RaftLog) {
    for id in [7, 8] {
        log.create_group(id, conf(&[1, 2])).unwrap();
    }
    for first in (1..400).step_by(20) {
        let mut batch = log.batch();
        for id in [7, 8] {
            if id == 8 && first > 41 {
                continue;
            }
            let list: Vec<Entry> = (first..first + 20).map(|i| secret_entry(i, 1)).collect();
            batch.append(id, &list).unwrap();
            batch.set_hard_state(id, &hard(1, 2, first + 19)).unwrap();
            batch.set_applied(id, first + 19, 1).unwrap();
        }
        log.commit(batch).unwrap();
        let group = log.group(7).unwrap();
        group.save_snapshot(first + 19, conf(&[1, 2]), b"the snapshot").unwrap();
        let mut batch = log.batch();
        batch.compact(7, first + 15).unwrap();
        log.commit(batch).unwrap();
        log.purge().unwrap();
    }
}

fn check(log: &RaftLog) {
    let group = log.group(8).unwrap();
    let read = entries(&group, 1, 61, None).unwrap();
    assert_eq!(read, (1..=60).map(|i| secret_entry(i, 1)).collect::<Vec<_>>());
    assert_eq!(group.hard_state(), hard(1, 2, 60));
    assert_eq!(group.conf_state(), conf(&[1, 2]));
    let group = log.group(7).unwrap();
    assert_eq!(
        entries(&group, 397, 401, None).unwrap(),
        (397..=400).map(|i| secret_entry(i, 1)).collect::<Vec<_>>()
    );
    check_recount(log);
}

fn contains(dir: &Path, what: &[u8]) -> bool {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap().path())
        .filter(|p| p.is_file())
        .any(|path| std::fs::read(path).unwrap().windows(what.len()).any(|w| w == what))
}

#[test]
fn relocated_reopened_and_viewed_groups_are_whole() {
    for codec in all() {
        let mut node = Node::with(with(Arc::clone(&codec)));
        fill(node.log());
        let relocated = node.log().purge().unwrap().total_relocated;
        assert!(relocated > 0, "the test relocates nothing");
        check(node.log());
        node.reopen();
        check(node.log());
        node.close();
        let view = LogView::open(node.dir.path()).unwrap().decode_with(codec);
        assert_eq!(RaftView::of(&view).unwrap().recovered(8).unwrap().last_index, 60);
    }
}

#[test]
fn no_payload_can_be_read_without_the_codec() {
    let mut node = Node::with(with(xor(0x77)));
    fill(node.log());
    node.close();
    assert!(!contains(node.dir.path(), SECRET));
    // The control: without a codec it can.
    let mut plain = Node::with(RaftOptions::new().node_id(1).wal(Options::new().segment_size(64 << 10)));
    fill(plain.log());
    plain.close();
    assert!(contains(plain.dir.path(), SECRET));

    let without = RaftOptions::new().open(node.dir.path()).unwrap_err();
    assert!(matches!(&without, Error::Log(seawall::Error::UnknownCodec { .. })), "{without}");
    let other = with(xor(0x78)).open(node.dir.path()).unwrap_err();
    assert!(matches!(&other, Error::Log(seawall::Error::Undecodable { .. })), "{other}");
    check(&with(xor(0x77)).open(node.dir.path()).unwrap());
}

/// The limit of `Storage::entries` is on the sizes that raft knows, whatever is stored.
#[test]
fn raft_is_given_as_much_as_it_asks_for() {
    let plain = Node::new();
    let list: Vec<Entry> = (1..=50)
        .map(|i| {
            let mut e = entry(i, 1);
            e.data = vec![b'z'; 10 * i as usize].into();
            e
        })
        .collect();
    plain.create(1);
    plain.append(1, &list);
    for codec in all() {
        let node = Node::with(with(codec));
        node.create(1);
        node.append(1, &list);
        for max in [0, 1, 20, 100, 500, 3000, 100_000] {
            let expected = entries(&plain.group(1), 1, 51, Some(max)).unwrap();
            assert_eq!(entries(&node.group(1), 1, 51, Some(max)).unwrap(), expected, "limit {max}");
        }
    }
}

/// What is relocated goes through the codec of the day, so an old codec is needed only as long as there is something of it.
#[test]
fn relocation_moves_a_log_to_the_present_codec() {
    let second: Arc<dyn Codec> = Arc::new(Xor { id: 301, key: 9 });
    let dir = tempfile::tempdir().unwrap();
    fill(&with(xor(4)).open(dir.path()).unwrap());
    let wal = Options::new().segment_size(64 << 10).codec(Arc::clone(&second)).decode_with(xor(4));
    let log = RaftOptions::new().node_id(1).wal(wal).open(dir.path()).unwrap();
    check(&log);
    for index in (401..2000).step_by(20) {
        let mut batch = log.batch();
        batch.append(7, &(index..index + 20).map(|i| secret_entry(i, 1)).collect::<Vec<_>>()).unwrap();
        batch.set_hard_state(7, &hard(1, 2, index + 19)).unwrap();
        batch.set_applied(7, index + 19, 1).unwrap();
        log.commit(batch).unwrap();
        log.group(7).unwrap().save_snapshot(index + 19, conf(&[1, 2]), b"the snapshot").unwrap();
        let mut batch = log.batch();
        batch.compact(7, index + 15).unwrap();
        log.commit(batch).unwrap();
        log.purge().unwrap();
    }
    drop(log);
    let ids: std::collections::BTreeSet<u16> = LogView::open(dir.path())
        .unwrap()
        .segments()
        .iter()
        .flat_map(|s| s.heads().filter_map(|head| head.unwrap().codec.map(|id| id.get())).collect::<Vec<_>>())
        .collect();
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), [301]);
    let log = with(second).open(dir.path()).unwrap();
    assert_eq!(entries(&log.group(8).unwrap(), 1, 61, None).unwrap().len(), 60);
}
