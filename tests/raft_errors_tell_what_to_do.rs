//! Errors of the Raft layer as its user encounters them: each says what happened, to which group, index or file, and
//! what to do next. Every variant of `raft::Error` occurs here.
#![cfg(feature = "raft")]

mod codec_support;
mod errors_support;
mod raft_support;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codec_support::xor;
use errors_support::{Met, check, met, met_in, variants};
use raft_support::*;
use seawall::io::sim::{Call, Fault, FaultPlan, SimDisk, Trigger};
use seawall::raft::{Error, RaftOptions, Result, WriteBatch};
use seawall::{Batch, Label, Lsn, Options};

const SITUATIONS: &[fn() -> Vec<Met>] = &[
    entries_that_do_not_fit,
    hard_states_that_fall_or_run_ahead,
    states_of_the_state_machine_out_of_order,
    compaction_of_what_is_needed,
    snapshots_to_install,
    snapshots_to_save,
    groups_and_batches,
    a_wrong_directory,
    a_damaged_snapshot,
    a_snapshot_of_a_newer_release,
    a_missing_snapshot,
    a_failing_disk,
    a_codec_that_is_not_given,
    records_that_mean_nothing,
    groups_that_are_not_whole,
];

#[test]
fn each_error_says_what_happened_where_and_what_to_do() {
    let all: Vec<Met> = SITUATIONS.iter().flat_map(|situation| situation()).collect();
    check(include_str!("../src/raft/error.rs"), "Error", &all, &[]);
}

/// The reasons that two of the variants carry.
#[test]
fn each_reason_why_a_group_cannot_be_replayed_is_met() {
    let source = include_str!("../src/raft/error.rs");
    let reasons =
        |all: Vec<(Error, String)>| all.into_iter().filter_map(|(e, _)| reason(&e)).collect::<BTreeSet<_>>();
    let below = include_str!("../src/groups/error.rs");
    assert_eq!(reasons(meaningless()), variants(below, "ContentProblem").into_iter().collect());
    assert_eq!(reasons(lacking()), variants(source, "Missing").into_iter().collect());
}

fn reason(e: &Error) -> Option<String> {
    let said = match e {
        Error::Content { problem, .. } => format!("{problem:?}"),
        Error::Incomplete { what, .. } => format!("{what:?}"),
        _ => return None,
    };
    Some(said.chars().take_while(char::is_ascii_alphanumeric).collect())
}

/// The error of a new batch for group 7 of [`seasoned`] for this operation.
fn refused(call: impl Fn(&mut WriteBatch) -> Result<()>) -> Error {
    let node = seasoned();
    call(&mut node.log().batch()).unwrap_err()
}

fn entries_that_do_not_fit() -> Vec<Met> {
    vec![
        met(refused(|b| b.append(7, &[entry(42, 3)])), "group 7: entry 42 would leave a gap: append from 41"),
        met(
            refused(|b| b.append(7, &[entry(10, 2)])),
            "group 7: entry 10 is below the first index 11: entries there were compacted. Continue from \
             11, or from a snapshot",
        ),
        met(
            refused(|b| b.append(7, &[entry(25, 9)])),
            "group 7: entry 25 would overwrite a committed one (commit is 25): reject the message that \
             contained it, and check that this directory is the node's own",
        ),
        met(
            refused(|b| b.append(7, &[entry(41, 3), entry(43, 3)])),
            "group 7: entry 43 follows where 42 was expected: entries of one call must be consecutive, \
             so split it",
        ),
        met(
            refused(|b| b.append(7, &[entry(41, 2)])),
            "group 7: entry 41 has term 2, but the one before it has 3. Terms must never fall: reject \
             the message that contained it",
        ),
        met(
            refused(|b| b.install_snapshot(7, &snapshot(u64::MAX, 3, &[1]))),
            "group 7: index 18446744073709551615 is the highest possible number, but the log needs the \
             one after its last index: reject its source",
        ),
    ]
}

fn hard_states_that_fall_or_run_ahead() -> Vec<Met> {
    vec![
        met(
            refused(|b| b.set_hard_state(7, &hard(2, 2, 25))),
            "group 7: HardState term 2 is below the stored 3. Terms must never fall: store the \
             HardStates in raft's order",
        ),
        met(
            refused(|b| b.set_hard_state(7, &hard(3, 2, 24))),
            "group 7: HardState commit 24 is below the stored 25. It must never fall: store the \
             HardStates in raft's order",
        ),
        met(
            refused(|b| b.set_hard_state(7, &hard(3, 1, 25))),
            "group 7: in term 3 the vote went to 2 and cannot change to 1: vote in a higher term, and check that this \
             directory is the node's own",
        ),
        met(
            refused(|b| b.set_hard_state(7, &hard(3, 2, 41))),
            "group 7: HardState commit 41 is beyond the last index 40: append the entries first",
        ),
    ]
}

fn states_of_the_state_machine_out_of_order() -> Vec<Met> {
    vec![
        met(
            refused(|b| b.set_applied(7, 26, 3)),
            "group 7: applied 26 is beyond commit 25: store the HardState first or in the same batch",
        ),
        met(
            refused(|b| b.set_applied(7, 19, 2)),
            "group 7: applied 19 is below the stored 20. It must never fall: report what is applied in order",
        ),
        met(
            refused(|b| b.set_applied(7, 22, 2)),
            "group 7: index 22 has term 3, not 2: take the term from the log, or check its source",
        ),
        met(
            refused(|b| b.set_conf_state(7, 17, &conf(&[1]))),
            "group 7: ConfState of index 17 is older than the stored one of index 18: store them in the \
             order of their changes",
        ),
        met(
            refused(|b| b.set_conf_state(7, 26, &conf(&[1]))),
            "group 7: ConfState of index 26 is beyond commit 25: store the HardState first or in the \
             same batch",
        ),
    ]
}

fn compaction_of_what_is_needed() -> Vec<Met> {
    vec![
        met(
            refused(|b| b.compact(7, 21)),
            "group 7: compaction to 21 is beyond the applied index 20: apply first, or compact less",
        ),
        met(
            refused(|b| b.compact(7, 16)),
            "group 7: compaction to 16 is beyond the newest snapshot (15, 0 = none): save a snapshot first",
        ),
    ]
}

fn snapshots_to_install() -> Vec<Met> {
    let install = |index, term, voters: &'static [u64]| {
        refused(move |b| b.install_snapshot(7, &snapshot(index, term, voters)))
    };
    vec![
        met(install(20, 3, &[1]), "group 7: snapshot at 20 is out of date because commit is 25: ignore it"),
        met(
            install(50, 2, &[1]),
            "group 7: snapshot at 50 has term 2, which is below 3, the term before it: reject it, \
             because it belongs to another history",
        ),
        met(
            install(50, 3, &[]),
            "group 7: snapshot at 50 has an empty ConfState, so no leader could be elected from it: \
             create it with the members at that index",
        ),
        met(
            another_snapshot_than_raft_s(),
            "group 7: the snapshot to be installed is at 0; the one received at 50 differs in index, \
             term or members, or belongs to another group: receive the right one",
        ),
    ]
}

fn another_snapshot_than_raft_s() -> Error {
    let node = seasoned();
    let metadata = snapshot(50, 3, &[1]).get_metadata().clone();
    let mut receiver = node.group(7).snapshot_receiver(&metadata).unwrap();
    receiver.write_all(b"the data").unwrap();
    let received = receiver.finish().unwrap();
    node.log().batch().ready_received(7, &raft::Ready::default(), received).unwrap_err()
}

fn snapshots_to_save() -> Vec<Met> {
    let node = seasoned();
    let save = |index| node.group(7).save_snapshot(index, conf(&[1]), b"x").unwrap_err();
    vec![
        met(save(21), "group 7: snapshot at 21 is beyond the applied index 20: record what is applied first"),
        met(save(14), "group 7: snapshot at 14 is not newer than the one at 15: keep that one"),
    ]
}

fn groups_and_batches() -> Vec<Met> {
    let node = seasoned();
    let another = seasoned();
    let (mut first, mut second) = (node.log().batch(), node.log().batch());
    first.append(7, &[entry(41, 3)]).unwrap();
    second.append(7, &[entry(41, 4)]).unwrap();
    node.log().commit(first).unwrap();
    let mut all = vec![
        met(
            node.log().commit(second).unwrap_err(),
            "group 7 was changed by another batch since this one was checked: build the batch again",
        ),
        met(
            node.log().commit(another.log().batch()).unwrap_err(),
            "the batch was made by another log: submit it to the one whose `batch` made it",
        ),
        met(
            node.log().create_group(7, conf(&[1])).unwrap_err(),
            "group 7 exists; open it with `group`, or remove it first",
        ),
        met(
            node.log().remove_group(8).unwrap_err(),
            "group 8 does not exist in this log, or was removed; create it with `create_group`",
        ),
    ];
    let old = node.group(7);
    node.log().remove_group(7).unwrap();
    all.push(met(
        old.snapshot_data().unwrap_err(),
        "group 7 does not exist in this log, or was removed; create it with `create_group`",
    ));
    all
}

fn a_wrong_directory() -> Vec<Met> {
    let mut node = seasoned();
    let dir = node.dir.path().to_owned();
    let locked = RaftOptions::new().open(&dir).unwrap_err();
    node.close();
    vec![
        met_in(
            &dir,
            locked,
            "DIR is locked: another process, or another handle in this one, has this log open. Close it first; a killed \
             process leaves no lock behind",
        ),
        met(
            RaftOptions::new().node_id(0).open(&dir).unwrap_err(),
            "node id 0 is invalid: raft uses it for \"nobody\"; number the nodes from 1",
        ),
        met_in(
            &dir,
            RaftOptions::new().node_id(2).open(&dir).unwrap_err(),
            "DIR belongs to owner 1, but was opened as owner 2. Check the directory and the identity \
             that the program was started with",
        ),
    ]
}

/// The one snapshot that a log has, and its name with the directory in front.
fn snapshot_file(dir: &Path) -> (PathBuf, String) {
    let files: Vec<_> =
        std::fs::read_dir(dir.join("snapshots")).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let name = format!("DIR/snapshots/{}", files[0].file_name().unwrap().to_str().unwrap());
    (files[0].clone(), name)
}

const DAMAGED: &str = "it affects stream 7 [15..=15]. Nothing was changed: keep the directory as it is, \
                       and restore this node from a replica or a backup";

fn a_damaged_snapshot() -> Vec<Met> {
    let mut node = seasoned();
    let (path, name) = snapshot_file(node.dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let expected = format!("{name} at offset 89: a payload does not match its checksum; {DAMAGED}");
    let group = node.group(7);
    let whole = met_in(node.dir.path(), group.snapshot_data().unwrap_err(), expected.as_str());
    // The same, read as a stream: the system's error kind, with this error inside.
    let mut source = group.snapshot_source().unwrap().unwrap();
    let e = source.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::InvalidData);
    let inside = e.get_ref().unwrap().downcast_ref::<Error>().unwrap().clone();
    let streamed = met_in(node.dir.path(), inside, expected);
    drop((source, group));
    // One that is cut short is found when the log is opened.
    node.close();
    std::fs::write(&path, &bytes[..300]).unwrap();
    let cut = RaftOptions::new().open(node.dir.path()).unwrap_err();
    let expected = format!("{name} at offset 300: the file is too short; {DAMAGED}");
    vec![whole, streamed, met_in(node.dir.path(), cut, expected)]
}

fn a_snapshot_of_a_newer_release() -> Vec<Met> {
    let mut node = seasoned();
    node.close();
    let (path, name) = snapshot_file(node.dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let newer = RaftOptions::new().open(node.dir.path()).unwrap_err();
    vec![met_in(
        node.dir.path(),
        newer,
        format!(
            "{name}: format version 2 is not supported; this build reads up to 1. The file is not \
             damaged: open it with a newer release"
        ),
    )]
}

fn a_missing_snapshot() -> Vec<Met> {
    let mut node = seasoned();
    node.close();
    let (path, name) = snapshot_file(node.dir.path());
    std::fs::remove_file(path).unwrap();
    let missing = RaftOptions::new().open(node.dir.path()).unwrap_err();
    vec![met_in(node.dir.path(), missing, format!("{name} at offset 0: the file is missing; {DAMAGED}"))]
}

fn a_failing_disk() -> Vec<Met> {
    let disk = SimDisk::new();
    let wal = Options::new().segment_size(SEGMENT).threads(false);
    let log = RaftOptions::new().wal(wal).open_on(Arc::new(disk.clone())).unwrap();
    log.create_group(7, conf(&[1])).unwrap();
    let segment =
        format!("DIR/{}", log.wal().segment_reader(log.wal().segments()[0].id).unwrap().file_name());
    disk.plan(FaultPlan::none().with(Trigger::From(Call::Sync, 0), Fault::Os(5)));
    let mut batch = log.batch();
    batch.append(7, &[entry(1, 1)]).unwrap();
    let expected = format!(
        "the log is poisoned: fdatasync {segment} failed earlier (Input/output error (os error 5)). What was acknowledged is \
         safe; close the log, find the cause, and open it again"
    );
    vec![met_in(Path::new("sim"), log.commit(batch).unwrap_err(), expected)]
}

fn a_codec_that_is_not_given() -> Vec<Met> {
    let with = |wal: Options| RaftOptions::new().wal(wal.segment_size(SEGMENT));
    let mut node = Node::with(with(Options::new().codec(xor(1))));
    node.create(7);
    let segment = node.log().wal().segments()[0];
    let name = node.log().wal().segment_reader(segment.id).unwrap().file_name().to_owned();
    node.close();
    let without = with(Options::new()).open(node.dir.path()).unwrap_err();
    vec![met_in(
        node.dir.path(),
        without,
        format!(
            "DIR/{name}: the payload of the record at LSN 40 was encoded by codec 300, which this handle \
             does not have. The log is intact: pass the codec to `Options::codec` or \
             `Options::decode_with`, or to `LogView::decode_with`"
        ),
    )]
}

/// A record of the Raft layer as another program might write it: kind, group, index, term.
fn record(batch: &mut Batch, (kind, stream, sequence, extra): (u8, u64, u64, u64), payload: &[u8]) {
    batch.push_labelled(Label { kind, stream, sequence, extra }, &[payload]);
}

/// The error of an open for records placed after the beginning of group 7, and the address of the first of them.
fn opened_with(records: impl FnOnce(&mut Batch)) -> (Error, Lsn) {
    let mut node = Node::new();
    node.create(7);
    let mut batch = node.log().wal().batch();
    records(&mut batch);
    let lsn = node.log().wal().commit(&batch).unwrap();
    node.close();
    (options().open(node.dir.path()).unwrap_err(), lsn)
}

fn records_that_mean_nothing() -> Vec<Met> {
    meaningless().into_iter().map(|(e, expected)| met(e, expected)).collect()
}

/// The kinds are those of `src/groups/codec/mod.rs`, the fields those of `src/raft/codec/mod.rs`.
fn meaningless() -> Vec<(Error, String)> {
    let content = |label: (u8, u64, u64, u64), payload: &[u8], problem: &str| {
        let (e, lsn) = opened_with(|batch| record(batch, label, payload));
        (e, cannot_be_understood(lsn, label.2, problem))
    };
    // Fields are checked when the group is complete; by then they belong to the State, which is at the beginning.
    let field = |label: (u8, u64, u64, u64), payload: &[u8], problem: &str| {
        let (e, _) = opened_with(|batch| record(batch, label, payload));
        (e, cannot_be_understood(Lsn::new(40), 0, problem))
    };
    vec![
        content((0xef, 7, 5, 0), b"", "its kind 0xef is unknown; it may come from a newer release"),
        field((0xc5, 7, 0, 0), &[9, 0], "its version 9 is unknown; it comes from a newer release"),
        field((0xc0, 7, 0, 1), &[0; 7], "it is cut short"),
        field((0xc0, 7, 0, 1), &[0; 9], "it is too long"),
        content((0x80, 7, u64::MAX, 1), b"x", "its field \"index\" is out of range"),
        field((0xc5, 7, 0, 0), &[1, 2], "its field \"auto_leave\" is out of range"),
        contradiction(),
    ]
}

/// Two entries of one segment with a gap between them.
fn contradiction() -> (Error, String) {
    let (e, first) = opened_with(|batch| {
        record(batch, (0x80, 7, 1, 1), b"12345678");
        record(batch, (0x80, 7, 3, 1), b"12345678");
    });
    let second = first.plus(Batch::record_size(8, true));
    (e, cannot_be_understood(second, 3, "it contradicts the records before it"))
}

fn cannot_be_understood(lsn: Lsn, index: u64, problem: &str) -> String {
    format!(
        "the record at LSN {lsn} (group 7, index {index}) cannot be interpreted: {problem}. Nothing was \
         changed: open it with the release that wrote it; if that also refuses, restore this node from a \
         replica or a backup"
    )
}

fn groups_that_are_not_whole() -> Vec<Met> {
    lacking().into_iter().map(|(e, expected)| met(e, expected)).collect()
}

fn lacking() -> Vec<(Error, String)> {
    let whole = |label: (u8, u64, u64, u64), payload: &[u8], what: &str| {
        let (e, _) = opened_with(|batch| record(batch, label, payload));
        let expected = format!(
            "group {} is incomplete: {what}. Nothing was changed: keep the directory as it is, and \
             restore this node from a replica or a backup",
            label.1
        );
        (e, expected)
    };
    vec![
        whole((0x80, 9, 1, 1), b"x", "its State record is missing at index 1"),
        whole((0x80, 7, 2, 1), b"x", "entries are missing at index 1"),
        whole((0xc0, 7, 5, 1), &[0; 8], "committed entries are missing at index 1"),
        whole((0xc4, 7, 3, 1), b"", "the applied index lies outside the log at index 3"),
    ]
}
