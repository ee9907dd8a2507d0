//! `seawall import-raft-engine` converts a raft-engine log to a Seawall log with the same groups, entries and states,
//! entirely or not at all; what raft could not be started with, or what is incomplete, is refused with a reason.

mod import_support;

use std::path::PathBuf;

use import_support::*;
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeV2, ConfState, Entry, EntryType, SnapshotMetadata};
use raft::{Storage as _, StorageError};
use raft_engine::MessageExt;
use seawall::raft::{Node, NodeConfig};

#[test]
fn groups_come_over_with_entries_states_and_members() {
    // With the default, batches of this size are compressed.
    for compress_from in [0, 8 << 10] {
        let mut source = Source::compressing(compress_from);
        // One that moves to the other queue, and one that waits for its first snapshot.
        source.group(1 << 40, &entries(1..=5, 3), &hard(3, 0, 5));
        source.put(9, "hs", &hard(2, 1, 0));
        // More than is read at a time, and overwritten twice.
        source.append(7, &entries(1..=5000, 1));
        source.append(7, &entries(4500..=4900, 2));
        let mut special = entry(4800, 4);
        special.context = b"whose proposal it was".to_vec().into();
        let large = Entry { data: vec![9; 3 << 20].into(), ..entry(4801, 4) };
        let empty = Entry { data: Vec::new().into(), ..entry(4802, 5) };
        for entry in [&special, &large, &empty] {
            source.append(7, std::slice::from_ref(entry));
        }
        source.put(7, "hs", &hard(6, 2, 4799));
        source.put(7, "co", &ConfState::from((vec![1, 2, 3], vec![4])));
        source.purge();
        source.close();
        let rewritten = source.old().join("0000000000000001.rewrite").metadata().unwrap().len() > 100;
        assert_eq!(rewritten, compress_from == 0);
        let before = contents(&source.old());

        let log = source.imported(&KEYS);
        assert!(contents(&source.old()) == before, "the source changed");
        assert_eq!(log.groups(), [7, 9, 1 << 40]);
        let mut want = [entries(1..=4499, 1), entries(4500..=4799, 2)].concat();
        want.extend([special, large, empty]);
        let got = read(&log, 7);
        assert_eq!(got.len(), want.len());
        let differing = got.iter().zip(&want).find(|(got, want)| got != want);
        assert!(differing.is_none(), "entry {}", differing.unwrap().1.index);
        let state = log.group(7).unwrap().recover();
        assert_eq!((state.term, state.vote, state.commit, state.last_index), (6, 2, 4799, 4802));
        assert_eq!(state.conf_state, ConfState::from((vec![1, 2, 3], vec![4])));
        assert_eq!(read(&log, 1 << 40), entries(1..=5, 3));
        let waits = log.group(9).unwrap().recover();
        assert_eq!((waits.term, waits.vote, waits.last_index), (2, 1, 0));
        assert_eq!(waits.conf_state, ConfState::default());
        drop(log);
        assert_eq!(seawall(&["verify", source.made().to_str().unwrap()]).status.code(), Some(0));
    }
}

#[test]
fn a_compacted_group_begins_behind_what_the_program_knows_of() {
    let mut source = Source::new();
    source.group(7, &entries(1..=50, 2), &hard(4, 3, 60));
    source.append(7, &entries(51..=70, 4));
    source.compact(7, 41);
    source.close();
    let refusal = ["group 7: its log begins at entry 41", "--truncated-state-key"];
    source.refused(&["--hard-state-key", "hs", "--conf-state-key", "co"], 2, &refusal);
    source.refused(&KEYS, 2, &refusal);

    source.reopen();
    source.put(7, "meta", &metadata(40, 2, &[1, 2, 3]));
    source.close();
    let log = source.imported(&[&KEYS[..], &["--node-id", "1"]].concat());
    assert_eq!(read(&log, 7), [entries(41..=50, 2), entries(51..=70, 4)].concat());
    let group = log.group(7).unwrap();
    assert_eq!((group.first_index().unwrap(), group.term(40).unwrap(), group.applied()), (41, 2, (40, 2)));
    // There is no snapshot to be had that would be one of nothing.
    assert_eq!(group.snapshot(0, 2), Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable)));

    // A node continues from what its state machine holds.
    drop(Node::new(NodeConfig::new(1).applied(55, 4), group.clone()).unwrap());
    let mut batch = log.batch();
    batch.set_applied(7, 55, 4).unwrap();
    log.commit(batch).unwrap();
    group.save_snapshot(55, group.conf_state(), b"state at 55").unwrap();
    let mut batch = log.batch();
    batch.compact(7, 55).unwrap();
    log.commit(batch).unwrap();
    assert_eq!(group.first_index().unwrap(), 56);
}

#[test]
fn members_that_change_within_the_log_need_their_index() {
    let mut source = Source::new();
    let mut change = entry(4, 1);
    change.set_entry_type(EntryType::EntryConfChangeV2);
    change.data = ConfChangeV2::default().write_to_bytes().unwrap().into();
    source.group(7, &[entries(1..=3, 1), vec![change.clone()], entries(5..=9, 1)].concat(), &hard(1, 1, 8));
    source.close();
    source.refused(&KEYS, 2, &["group 7: members change at entry 4", "--conf-state-index"]);
    let log = source.imported(&[&KEYS[..], &["--conf-state-index", "7=6"]].concat());
    let state = log.group(7).unwrap().recover();
    assert_eq!((state.conf_state.voters, state.conf_state_index), (vec![1, 2, 3], 6));
    assert_eq!(read(&log, 7)[3], change);
}

#[test]
fn what_is_not_what_it_is_said_to_be_is_refused() {
    let mut source = Source::new();
    source.group(7, &entries(1..=9, 1), &hard(1, 1, 8));
    source.close();
    let members = ["--voters", "1,2,3"];
    let with = |more: &[&'static str]| [&members[..], more].concat();
    source.refused(
        &with(&["--hard-state-key", "HS"]),
        2,
        &["group 7: it has nothing under the HardState's key"],
    );
    source.refused(
        &with(&["--hard-state-key", "co"]),
        2,
        &["group 7: the value under the HardState's key is not valid"],
    );
    let local = ["--hard-state-key", "hs", "--hard-state-format", "raft-local-state"];
    source.refused(&with(&local), 2, &["a RaftLocalState has no field 1"]);
    source.refused(&["--hard-state-key", "hs"], 2, &["group 7: its members are unknown"]);
    source.refused(&with(&["--hard-state-key", "hs", "--voters", "8=1"]), 2, &["no group 8"]);
    source.refused(&with(&[]), 2, &["--hard-state-key"]);
    source.refused(&with(&["--hard-state-key", "hs", "--node-id", "0"]), 2, &["--node-id"]);
}

/// As TiKV stores them: its own messages with a HardState, or an index and a term, inside.
#[test]
fn tikvs_messages_are_read() {
    let mut source = Source::new();
    source.append(7, &entries(1..=9, 5));
    source.compact(7, 6);
    let inner = hard(5, 2, 8).write_to_bytes().unwrap();
    let local = [&[0x0a, u8::try_from(inner.len()).unwrap()][..], &inner, &[0x10, 9]].concat();
    source.write(|batch| {
        batch.put(7, vec![1], local).unwrap();
        batch.put(7, vec![2], vec![0x08, 5, 0x10, 5]).unwrap();
    });
    source.close();
    let keys = ["--hard-state-key", "0x01", "--hard-state-format", "raft-local-state"];
    let more = ["--truncated-state-key", "0x02", "--truncated-state-format", "raft-truncated-state"];
    let log = source.imported(&[&keys[..], &more, &["--voters", "1,2"]].concat());
    assert_eq!(read(&log, 7), entries(6..=9, 5));
    assert_eq!(log.group(7).unwrap().hard_state(), hard(5, 2, 8));
}

#[test]
fn entries_of_another_type_are_refused() {
    struct Snapshots;
    impl MessageExt for Snapshots {
        type Entry = SnapshotMetadata;

        fn index(entry: &SnapshotMetadata) -> u64 {
            entry.index
        }
    }
    let mut source = Source::new();
    source.group(7, &entries(1..=9, 1), &hard(1, 1, 8));
    source.write(|batch| batch.add_entries::<Snapshots>(8, &[metadata(1, 1, &[1])]).unwrap());
    source.put(8, "hs", &hard(1, 1, 1));
    source.close();
    source.refused(&KEYS, 2, &["group 8: entry 1: ", "only entries of the raft crate"]);
    // The rest, if requested.
    let log = source.imported(&[&KEYS[..], &["--skip-unimportable"]].concat());
    assert_eq!((log.groups(), read(&log, 7)), (vec![7], entries(1..=9, 1)));
}

#[test]
fn a_target_that_holds_something_is_left_alone() {
    let mut source = Source::new();
    source.group(7, &entries(1..=9, 1), &hard(1, 1, 8));
    // While the program is running.
    let busy = source.import(&KEYS);
    assert_eq!(busy.status.code(), Some(2), "{}", text(&busy));
    assert!(text(&busy).contains("lock"), "{}", text(&busy));
    source.close();
    std::fs::create_dir(source.made()).unwrap();
    drop(source.imported(&KEYS));
    let before = contents(&source.made().join("snapshots"));
    let again = source.import(&KEYS);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
    assert!(text(&again).contains("it is not empty"), "{}", text(&again));
    assert!(contents(&source.made().join("snapshots")) == before);
    // The remains of an interrupted import.
    std::fs::remove_dir_all(source.made()).unwrap();
    std::fs::create_dir(source.dir.path().join("new.importing")).unwrap();
    let interrupted = source.import(&KEYS);
    assert_eq!(interrupted.status.code(), Some(2));
    assert!(text(&interrupted).contains("if an import was interrupted, remove it"), "{}", text(&interrupted));
    // The source is not a possible destination.
    let within = source.old().join("new");
    let output = seawall(
        &[&["import-raft-engine", source.old().to_str().unwrap(), within.to_str().unwrap()][..], &KEYS]
            .concat(),
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("inside the directory to import from"), "{}", text(&output));
}

#[test]
fn a_source_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let output = seawall(&["import-raft-engine", at, "--dry-run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("there is no raft-engine log"), "{}", text(&output));
    assert_eq!(std::fs::read_dir(at).unwrap().count(), 0);
}

/// The file of the append queue with this number.
fn file(source: &Source, number: u64) -> PathBuf {
    source.old().join(format!("{number:016}.raftlog"))
}

#[test]
fn a_torn_tail_is_refused_until_it_is_accepted() {
    let mut source = Source::new();
    source.group(7, &entries(1..=9, 1), &hard(1, 1, 8));
    source.append(7, &[entry(10, 1)]);
    source.close();
    let whole = std::fs::read(file(&source, 1)).unwrap();
    // What a killed program leaves after its last record loses nothing.
    std::fs::write(file(&source, 1), [&whole[..], &[0; 5000]].concat()).unwrap();
    let log = source.imported(&KEYS);
    assert_eq!(read(&log, 7), entries(1..=10, 1));
    drop(log);
    std::fs::remove_dir_all(source.made()).unwrap();
    let torn = [
        ("cut short", whole[..whole.len() - 1].to_vec()),
        ("a bit", {
            let mut bytes = whole.clone();
            let at = bytes.len() - 20;
            bytes[at] ^= 1;
            bytes
        }),
    ];
    for (what, bytes) in torn {
        std::fs::write(file(&source, 1), &bytes).unwrap();
        source.refused(&KEYS, 1, &["0000000000000001.raftlog: ", "--accept-recovery"]);
        let log = source.imported(&[&KEYS[..], &["--accept-recovery"]].concat());
        assert_eq!(read(&log, 7), entries(1..=9, 1), "{what}");
        assert!(std::fs::read(file(&source, 1)).unwrap() == bytes, "{what}: the source changed");
        drop(log);
        std::fs::remove_dir_all(source.made()).unwrap();
    }
}

#[test]
fn files_in_a_second_directory_are_read() {
    let mut source = Source::compressing(0);
    for first in (1..2000).step_by(100) {
        source.append(7, &entries(first..=first + 99, 1));
    }
    source.group(8, &entries(1..=3, 1), &hard(1, 1, 3));
    source.put(7, "hs", &hard(1, 1, 2000));
    source.put(7, "co", &ConfState::from((vec![1], vec![])));
    source.close();
    let spill = tempfile::tempdir().unwrap();
    std::fs::rename(file(&source, 2), spill.path().join("0000000000000002.raftlog")).unwrap();
    source.refused(&KEYS, 1, &["0000000000000001.raftlog and older ones"]);
    let log = source.imported(&[&KEYS[..], &["--spill-dir", spill.path().to_str().unwrap()]].concat());
    assert!(read(&log, 7) == entries(1..=2000, 1));
}

#[test]
fn damage_is_named_and_nothing_is_imported() {
    let mut source = Source::compressing(0);
    for first in (1..4000).step_by(100) {
        source.append(7, &entries(first..=first + 99, 1));
    }
    source.put(7, "hs", &hard(1, 1, 4000));
    source.put(7, "co", &ConfState::from((vec![1], vec![])));
    source.close();
    assert!(file(&source, 4).exists());
    let whole = std::fs::read(file(&source, 2)).unwrap();
    // An entry, which is detected when it is read; and the start of a file, which is detected at once.
    // Of an entry that begins here, the number.
    let number = |at: usize| {
        let text: Vec<u8> = whole[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
        String::from_utf8(text).unwrap().parse::<u64>().ok().filter(|_| whole[at - 1] == b';')
    };
    let (middle, index) = (whole.len() / 2..).find_map(|at| Some((at, number(at)?))).unwrap();
    let last = (1..whole.len()).rev().find(|at| number(*at).is_some()).unwrap();
    // Entries are checksummed per batch. raft-engine cuts a file whose last batch is damaged, whichever file that is.
    let entry = format!("group 7, entry {}: ", (index - 1) / 100 * 100 + 1);
    let cases = [(middle, &entry[..]), (last, "0000000000000002.raftlog: "), (3, "header mismatch")];
    for (at, word) in cases {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(file(&source, 2), &bytes).unwrap();
        for more in [&[][..], &["--accept-recovery"], &["--skip-unimportable"]] {
            source.refused(&[&KEYS[..], more].concat(), 1, &[word]);
        }
    }
    std::fs::remove_file(file(&source, 2)).unwrap();
    source.refused(&KEYS, 1, &["0000000000000001.raftlog and older ones", "next number is missing"]);
    // The remaining part has no beginning.
    source.refused(&[&KEYS[..], &["--accept-recovery"]].concat(), 2, &["group 7: its log begins at entry"]);
}

#[test]
fn a_dry_run_lists_what_there_is_and_writes_nothing() {
    let mut source = Source::new();
    source.group(7, &entries(1..=9, 1), &hard(1, 1, 8));
    source.append(8, &entries(3..=4, 1));
    source.write(|batch| batch.put(8, vec![1, b'"'], b"value".to_vec()).unwrap());
    source.close();
    let from = source.old();
    let look = |more: &[&str]| {
        seawall(&[&["import-raft-engine", from.to_str().unwrap(), "--dry-run"], more].concat())
    };
    let before = contents(&from);
    let output = look(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for line in [
        "group 7: entries 1 to 9",
        "  key 0x636f \"co\": ",
        "  key 0x6873 \"hs\": 6 bytes",
        "group 8: entries 3 to 4",
        "  key 0x0122 ",
    ] {
        assert!(text(&output).contains(line), "{line}: {}", text(&output));
    }
    let output = look(&[&KEYS[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(2), "group 8 cannot be imported");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["done"], false);
    let (seven, eight) = (&document["groups"][0], &document["groups"][1]);
    assert_eq!((&seven["import"]["last"], &seven["reason"]), (&9.into(), &serde_json::Value::Null));
    assert_eq!(seven["keys"][1]["hex"], "6873");
    assert!(eight["reason"].as_str().unwrap().contains("HardState") && eight["import"].is_null());
    assert_eq!(look(&[&KEYS[..], &["--skip-unimportable"]].concat()).status.code(), Some(0));
    assert!(contents(&from) == before);
    assert!(!source.made().exists());
}

/// A new file system can be neither renamed over nor into: the log is made in it, and the directory stays what it was.
#[test]
fn a_place_that_is_there_and_empty_is_filled() {
    use std::os::unix::fs::MetadataExt as _;
    let mut source = Source::new();
    source.group(7, &entries(1..=500, 3), &hard(3, 0, 500));
    source.close();
    std::fs::create_dir_all(source.made().join("lost+found")).unwrap();
    let before = source.made().metadata().unwrap().ino();
    let log = source.imported(&KEYS);
    assert_eq!(read(&log, 7), entries(1..=500, 3));
    drop(log);
    assert_eq!(source.made().metadata().unwrap().ino(), before);
    assert!(source.made().join("lost+found").is_dir() && !source.made().join(".importing").exists());
    assert_eq!(seawall(&["verify", source.made().to_str().unwrap()]).status.code(), Some(0));
}
