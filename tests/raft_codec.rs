//! Groups in a log with a codec: encoded data cannot be read from the log's files, an open without the codec is
//! refused, and raft gets the same entries as without it.
#![cfg(feature = "raft")]

mod codec_support;
mod raft_support;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use codec_support::{Xor, all, xor};
use raft::eraftpb::Entry;
use raft_support::{Node, check_recount, conf, entries, entry, hard};
use seawall::raft::{Error, RaftLog, RaftOptions, RaftView};
use seawall::{Codec, DecodeError, LogView, Options};

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

/// Group 7 continues with `each` entries from `first` on, and compacts what it has.
fn turn(log: &RaftLog, first: u64, each: u64) {
    let last = first + each - 1;
    let mut batch = log.batch();
    batch.append(7, &(first..=last).map(|i| secret_entry(i, 1)).collect::<Vec<_>>()).unwrap();
    batch.set_hard_state(7, &hard(1, 2, last)).unwrap();
    batch.set_applied(7, last, 1).unwrap();
    log.commit(batch).unwrap();
    log.group(7).unwrap().save_snapshot(last, conf(&[1, 2]), b"the snapshot").unwrap();
    let mut batch = log.batch();
    batch.compact(7, last).unwrap();
    log.commit(batch).unwrap();
}

/// This many turns from `first` on, each followed by a purge, so that what others have in the oldest segments is
/// relocated.
fn churn(log: &RaftLog, first: u64, turns: u64, each: u64) {
    for first in (first..).step_by(each as usize).take(turns as usize) {
        turn(log, first, each);
        log.purge().unwrap();
    }
}

/// Relocated entries are encoded with the present codec, so an old codec is needed only as long as entries use it.
#[test]
fn relocation_moves_a_log_to_the_present_codec() {
    let second: Arc<dyn Codec> = Arc::new(Xor { id: 301, key: 9 });
    let dir = tempfile::tempdir().unwrap();
    fill(&with(xor(4)).open(dir.path()).unwrap());
    let wal = Options::new().segment_size(64 << 10).codec(Arc::clone(&second)).decode_with(xor(4));
    let log = RaftOptions::new().node_id(1).wal(wal).open(dir.path()).unwrap();
    check(&log);
    churn(&log, 401, 80, 20);
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

/// A codec that makes every record longer than its payload.
struct Wordy;

const WORDY: u16 = 302;
const WORDS: usize = 200;

impl Codec for Wordy {
    fn id(&self) -> NonZeroU16 {
        NonZeroU16::new(WORDY).unwrap()
    }

    fn encode(&self, payload: &[&[u8]], out: &mut Vec<u8>) -> bool {
        out.extend([b'w'; WORDS]);
        out.extend(payload.concat());
        true
    }

    fn decode(&self, stored: &[u8], _: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        out.extend(&stored[WORDS..]);
        Ok(())
    }
}

fn sized(segment: u64) -> Options {
    Options::new().segment_size(segment)
}

/// A log with an active group 7 and a lagging group 8 with these entries, opened with one set of options, then with
/// another, under which group 7 continues until the first segment is freed. The result stays the same after another
/// reopen.
fn goes_on_with(before: Options, entries_of_8: &[Entry], after: Options) -> (tempfile::TempDir, RaftLog) {
    let dir = tempfile::tempdir().unwrap();
    let open = |wal: &Options| RaftOptions::new().node_id(1).wal(wal.clone()).open(dir.path()).unwrap();
    let log = open(&before);
    for id in 7..=40 {
        log.create_group(id, conf(&[1, 2])).unwrap();
    }
    for entry in entries_of_8 {
        let mut batch = log.batch();
        batch.append(8, std::slice::from_ref(entry)).unwrap();
        log.commit(batch).unwrap();
    }
    let first = log.wal().segments()[0].id;
    drop(log);
    let log = open(&after);
    churn(&log, 1, 60, 4);
    assert!(log.wal().segments()[0].id > first, "nothing was freed");
    let check = |log: &RaftLog| {
        let read = entries(&log.group(8).unwrap(), 1, entries_of_8.len() as u64 + 1, None).unwrap();
        assert!(read == entries_of_8, "not as they were given");
        check_recount(log);
    };
    check(&log);
    drop(log);
    let log = open(&after);
    check(&log);
    (dir, log)
}

fn entry_of(index: u64, size: usize) -> Entry {
    let mut e = entry(index, 1);
    e.data = vec![b'z'; size].into();
    e
}

/// The codecs of the records of group 8's entries, each once.
fn codecs_of_8(log: &RaftLog) -> BTreeSet<Option<u16>> {
    let mut newest = BTreeMap::new();
    for segment in log.wal().segments() {
        for head in log.wal().segment_reader(segment.id).unwrap().heads() {
            let head = head.unwrap();
            if let Some(label) =
                head.label.filter(|label| label.stream == 8 && matches!(label.kind, 0x80 | 0xa0))
            {
                newest.insert(label.sequence, head.codec.map(NonZeroU16::get));
            }
        }
    }
    newest.into_values().collect()
}

/// Maximum size of a record in a 64 KiB segment.
const MOST: usize = 57_264;

#[test]
fn an_entry_that_the_codec_of_the_day_makes_too_long_is_relocated_as_it_is_stored() {
    let large = [entry_of(1, MOST), entry_of(2, 100)];
    let plain = sized(64 << 10);
    let (_dir, log) = goes_on_with(plain.clone(), &large, plain.clone().codec(xor(3)));
    assert_eq!(codecs_of_8(&log), [None, Some(300)].into(), "what fits goes through the codec");
    // From one codec to a longer one.
    let large = [entry_of(1, MOST - 5), entry_of(2, 100)];
    let both = plain.clone().codec(Arc::new(Wordy)).decode_with(xor(3));
    let (_dir, log) = goes_on_with(plain.codec(xor(3)), &large, both);
    assert_eq!(codecs_of_8(&log), [Some(300), Some(WORDY)].into());
}

#[test]
fn many_small_entries_and_states_that_the_codec_of_the_day_makes_long_are_relocated() {
    let small: Vec<Entry> = (1..=200).map(|index| entry_of(index, 1)).collect();
    let plain = sized(16 << 10);
    let (_dir, log) = goes_on_with(plain.clone(), &small, plain.codec(Arc::new(Wordy)));
    assert_eq!(codecs_of_8(&log), [Some(WORDY)].into());
}

#[test]
fn an_entry_over_a_limit_that_was_lowered_is_relocated() {
    let large = [entry_of(1, 50_000), entry_of(2, 100)];
    let plain = sized(64 << 10);
    let lowered = plain.clone().max_record_size(5000);
    goes_on_with(plain.clone(), &large, lowered.clone());
    let (_dir, log) = goes_on_with(plain.clone().codec(xor(3)), &large, lowered.codec(xor(3)));
    assert_eq!(codecs_of_8(&log), [Some(300)].into());
    let e = log.commit({
        let mut batch = log.batch();
        batch.append(8, &[entry_of(3, 5001)]).unwrap();
        batch
    });
    assert!(matches!(e, Err(Error::Log(seawall::Error::RecordTooLarge { size: 5001, max: 5000 }))), "{e:?}");
}

/// What fits into no segment of the present size stays where it is, and purge reports it.
#[test]
fn segments_that_were_made_smaller_have_no_room_and_larger_ones_have_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = |segment: u64| RaftOptions::new().node_id(1).wal(sized(segment)).open(dir.path()).unwrap();
    let log = open(64 << 10);
    for id in [7, 8] {
        log.create_group(id, conf(&[1, 2])).unwrap();
    }
    let mut batch = log.batch();
    batch.append(8, &[entry_of(1, 50_000)]).unwrap();
    log.commit(batch).unwrap();
    drop(log);
    let log = open(16 << 10);
    let mut refused = None;
    for round in 0..80 {
        turn(&log, 1 + 4 * round, 4);
        refused = refused.or(log.purge().err());
    }
    let refused = refused.unwrap();
    assert!(matches!(refused, Error::Log(seawall::Error::BatchTooLarge { .. })), "{refused}");
    assert!(refused.to_string().ends_with("split it, or use larger segments"), "{refused}");
    drop(log);
    let log = open(64 << 10);
    log.purge().unwrap();
    assert_eq!(entries(&log.group(8).unwrap(), 1, 2, None).unwrap(), [entry_of(1, 50_000)]);
}
