//! `seawall repair` first shows what it would do, then does exactly that, warns what a Raft replica must not do
//! afterwards, and can restore everything.

mod raft_support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use raft::eraftpb::{ConfState, Entry, HardState};
use raft_support::write_applied;
use seawall::raft::{Error, RaftLog, RaftOptions};
use seawall::{Batch, LogView, Options};

fn seawall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall")).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// All files below a directory, without a repair's copies.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            let inner = contents(&entry.path()).into_iter().map(|(n, b)| (format!("{name}/{n}"), b));
            all.extend(inner.filter(|(n, _)| !n.starts_with("repair-")));
        } else {
            all.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

/// Corrupts the record at this address, in the file that holds it.
fn spoil(dir: &Path, lsn: seawall::Lsn) {
    let view = LogView::open(dir).unwrap();
    let segment = view.segments().iter().find(|s| s.first_lsn() <= lsn && lsn < s.end_lsn()).unwrap();
    let path = dir.join(segment.file_name());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192 + usize::try_from(lsn.get() - segment.first_lsn().get()).unwrap() + 50] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn options() -> Options {
    Options::new().segment_size(64 << 10)
}

#[test]
fn a_plain_log_is_cut_written_on_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let wal = options().open(dir.path()).unwrap();
    let lsns: Vec<_> = (0..10u8).map(|n| wal.append([n; 2000]).unwrap()).collect();
    // Beside a writer.
    let busy = seawall(&["repair", &at, "--cut", "--yes"]);
    assert_eq!(busy.status.code(), Some(2), "{}", text(&busy));
    assert!(text(&busy).contains("is locked"), "{}", text(&busy));
    wal.close().unwrap();
    spoil(dir.path(), lsns[6]);
    let before = contents(dir.path());
    options().open(dir.path()).unwrap_err();
    for args in [vec![], vec!["--dry-run"]] {
        let output = seawall(&[&["repair", at.as_str(), "--cut"][..], &args].concat());
        assert_eq!(output.status.code(), Some(1));
        for word in [
            "a payload does not match",
            "with 4 records (8000 bytes)",
            "nothing was changed; add --yes \
                                                                         to apply",
        ] {
            assert!(text(&output).contains(word), "{word}: {}", text(&output));
        }
        assert!(!text(&output).contains("RAFT"));
        assert!(contents(dir.path()) == before);
    }
    // A choice is required, and only one.
    for args in [
        vec!["repair", &at],
        vec!["repair", &at, "--cut", "--undo"],
        vec!["repair", &at, "--cut", "--drop-groups"],
        vec!["repair", &at, "--cut", "--yes", "--dry-run"],
    ] {
        assert_eq!(seawall(&args).status.code(), Some(2), "{args:?}");
    }
    let output = seawall(&["repair", &at, "--cut", "--yes", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["done"], &document["loss"]["records"]), (&true.into(), &4.into()));
    assert_eq!(seawall(&["verify", &at]).status.code(), Some(0));
    let wal = options().open(dir.path()).unwrap();
    assert_eq!(wal.iter().map(|r| r.unwrap().lsn()).collect::<Vec<_>>(), lsns[..6]);
    wal.append([9; 30_000]).unwrap();
    wal.append([9; 30_000]).unwrap();
    wal.close().unwrap();
    assert_eq!(options().open(dir.path()).unwrap().iter().count(), 8);
    let look = seawall(&["repair", &at, "--undo"]);
    assert_eq!(look.status.code(), Some(0), "{}", text(&look));
    assert!(contents(dir.path()) != before);
    assert_eq!(seawall(&["repair", &at, "--undo", "--yes"]).status.code(), Some(0));
    let mut after = contents(dir.path());
    after.insert("reserve".to_owned(), before["reserve"].clone());
    assert!(after == before, "{:?} {:?}", after.keys(), before.keys());
    // There is nothing more to undo.
    let again = seawall(&["repair", &at, "--undo", "--yes"]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
}

#[test]
fn a_whole_log_and_what_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    assert_eq!(seawall(&["repair", &at, "--cut", "--yes"]).status.code(), Some(2));
    let wal = options().open(dir.path()).unwrap();
    wal.commit(Batch::new()).ok();
    wal.append(b"x").unwrap();
    wal.close().unwrap();
    let before = contents(dir.path());
    let output = seawall(&["repair", &at, "--cut", "--yes"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("nothing to repair"), "{}", text(&output));
    assert!(contents(dir.path()) == before);
}

/// Two groups of thirty entries; the second commits each, and has snapshots at these indexes.
fn raft_log(dir: &Path, wal: Options, snapshots: &[u64]) -> RaftLog {
    let log = RaftOptions::new().node_id(3).wal(wal).open(dir).unwrap();
    for group in [7, 8] {
        log.create_group(group, ConfState::from((vec![3], vec![]))).unwrap();
    }
    for index in 1..=30 {
        let mut batch = log.batch();
        for group in [7, 8] {
            let mut entry = Entry::default();
            (entry.index, entry.term) = (index, 2);
            entry.data = vec![b'x'; 700].into();
            batch.append(group, &[entry]).unwrap();
        }
        let mut hard = HardState::default();
        (hard.term, hard.vote, hard.commit) = (2, 3, index);
        batch.set_hard_state(8, &hard).unwrap();
        batch.set_applied(8, index, 2).unwrap();
        log.commit(batch).unwrap();
        if snapshots.contains(&index) {
            let group = log.group(8).unwrap();
            group.save_snapshot(index, group.conf_state(), b"state").unwrap();
        }
    }
    log
}

#[test]
fn a_raft_log_says_what_its_groups_lose_and_that_the_node_must_not_rejoin() {
    cut_and_put_back(options());
}

#[cfg(feature = "lz4")]
#[test]
fn so_does_a_compressed_one() {
    cut_and_put_back(options().codec(std::sync::Arc::new(seawall::Lz4)));
}

fn cut_and_put_back(wal: Options) {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    raft_log(dir.path(), wal.clone(), &[25]).close().unwrap();
    let twentieth = LogView::open(dir.path())
        .unwrap()
        .segments()
        .iter()
        .flat_map(|s| s.heads().map(|h| h.unwrap()).collect::<Vec<_>>())
        .find(|h| h.label.is_some_and(|l| (l.stream, l.sequence) == (7, 20)))
        .unwrap();
    spoil(dir.path(), twentieth.lsn);
    let before = contents(dir.path());
    let output = seawall(&["repair", &at, "--cut"]);
    for word in [
        "stream (group) 7: sequence numbers (indexes) 20 to 30",
        "group 7 ends at index 19",
        "MUST NOT VOTE OR REJOIN",
    ] {
        assert!(text(&output).to_uppercase().contains(&word.to_uppercase()), "{word}: {}", text(&output));
    }
    assert!(contents(dir.path()) == before);
    assert_eq!(seawall(&["repair", &at, "--cut", "--yes"]).status.code(), Some(0));
    let log = RaftOptions::new().node_id(3).wal(wal).open(dir.path()).unwrap();
    let last = |group| raft::Storage::last_index(&log.group(group).unwrap()).unwrap();
    assert_eq!((last(7), last(8)), (19, 19));
    log.close().unwrap();
    assert_eq!(seawall(&["repair", &at, "--undo", "--yes"]).status.code(), Some(0));
    let mut after = contents(dir.path());
    after.insert("reserve".to_owned(), before["reserve"].clone());
    // The snapshot that only the cut part referred to is back, too.
    assert!(after == before, "{:?} {:?}", after.keys(), before.keys());
}

#[test]
fn a_group_that_is_not_whole_after_a_cut_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let log = raft_log(dir.path(), options(), &[10, 29]);
    // The beginning of the log is freed: what group 8 still needs is rewritten after the damage.
    let mut batch = log.batch();
    batch.compact(8, 25).unwrap();
    log.commit(batch).unwrap();
    let mut n = 0;
    while log.wal().first_lsn() == seawall::Lsn::ZERO && n < 200 {
        log.purge().unwrap();
        n += 1;
    }
    let first = log.wal().first_lsn();
    log.close().unwrap();
    let head = LogView::open(dir.path())
        .unwrap()
        .segments()
        .iter()
        .flat_map(|s| s.heads().map(|h| h.unwrap()).collect::<Vec<_>>())
        .filter(|h| h.lsn > first.plus(9000))
        .find(|h| h.label.is_some_and(|l| l.stream == 7))
        .unwrap();
    spoil(dir.path(), head.lsn);
    let output = seawall(&["repair", &at, "--cut", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let incomplete = document["groups"]["incomplete"].as_array().unwrap();
    let done = seawall(&["repair", &at, "--cut", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    let opened = RaftOptions::new().node_id(3).wal(options()).open(dir.path());
    match opened {
        Ok(_) => assert!(incomplete.is_empty(), "{document}"),
        Err(Error::Incomplete { .. } | Error::Log(seawall::Error::Corruption(_))) => {
            assert!(incomplete.iter().any(|i| i.as_str().unwrap().starts_with("group 8 ")), "{document}");
            assert!(text(&done).contains("an open of the Raft log will still refuse"), "{}", text(&done));
        }
        Err(e) => panic!("{e}"),
    }
}

/// Three groups of two hundred entries, in several segments; 8 has a snapshot at 150 and keeps what follows it.
fn three_groups(dir: &Path, wal: Options) -> RaftLog {
    let log = RaftOptions::new().node_id(3).wal(wal).open(dir).unwrap();
    for group in 7..=9 {
        log.create_group(group, ConfState::from((vec![3, group], vec![]))).unwrap();
    }
    for index in 1..=200 {
        let mut batch = log.batch();
        for group in 7..=9 {
            let mut entry = Entry::default();
            (entry.index, entry.term) = (index, 1 + index / 100);
            // Neither so regular that a codec leaves little of it, nor so irregular that it does nothing.
            entry.data =
                (0..700u64).map(|n| if n % 2 == 0 { b'x' } else { (n * n * index / 7) as u8 }).collect();
            batch.append(group, &[entry]).unwrap();
            let mut hard = HardState::default();
            (hard.term, hard.vote, hard.commit) = (1 + index / 100, 3, index);
            batch.set_hard_state(group, &hard).unwrap();
            batch.set_applied(group, index, 1 + index / 100).unwrap();
        }
        log.commit(batch).unwrap();
    }
    log.group(8).unwrap().save_snapshot(150, ConfState::from((vec![3], vec![])), b"state").unwrap();
    let mut batch = log.batch();
    batch.compact(8, 150).unwrap();
    log.commit(batch).unwrap();
    log
}

/// Where this entry lies.
fn entry_at(dir: &Path, group: u64, index: u64) -> seawall::Lsn {
    let view = LogView::open(dir).unwrap();
    let mut heads = view.segments().iter().flat_map(|s| s.heads().map(|h| h.unwrap()).collect::<Vec<_>>());
    let is_it = |l: seawall::Label| (l.stream, l.sequence) == (group, index) && matches!(l.kind, 0x80..=0xbf);
    heads.find(|h| h.label.is_some_and(is_it)).unwrap().lsn
}

/// All entries of a group, and what else a node starts with.
fn all_of(log: &RaftLog, group: u64) -> (Vec<Entry>, seawall::raft::Recovered, Option<Vec<u8>>) {
    let group = log.group(group).unwrap();
    let state = group.recover();
    let context = raft::GetEntriesContext::empty(false);
    let entries =
        raft::Storage::entries(&group, state.first_index, state.last_index + 1, None, context).unwrap();
    let snapshot = group.snapshot_data().unwrap().map(|s| s.data.to_vec());
    (entries, state, snapshot)
}

#[test]
fn single_groups_are_dropped_and_put_back() {
    drop_and_put_back(options());
}

#[cfg(feature = "lz4")]
#[test]
fn so_are_compressed_ones() {
    drop_and_put_back(options().codec(std::sync::Arc::new(seawall::Lz4)));
}

fn drop_and_put_back(wal: Options) {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let log = three_groups(dir.path(), wal.clone());
    let kept = [8, 9].map(|group| all_of(&log, group));
    log.close().unwrap();
    spoil(dir.path(), entry_at(dir.path(), 7, 20));
    // What 8 has compacted is needed by no group.
    spoil(dir.path(), entry_at(dir.path(), 8, 21));
    let before = contents(dir.path());
    for args in [vec![], vec!["--dry-run"]] {
        let output = seawall(&[&["repair", at.as_str(), "--drop-groups"][..], &args].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        for word in [
            "damaged: ",
            "group 7 is dropped: it needs entries 20 to 20 (term 1), which cannot be read",
            "everything else it has is dropped as well: entries 1 to 200, commit 200, term 3",
            "2 groups stay, with everything they have",
            "must not vote or rejoin as the same node",
            "nothing was changed; add --yes to apply",
        ] {
            assert!(text(&output).contains(word), "{word}: {}", text(&output));
        }
        assert!(contents(dir.path()) == before);
    }
    let output = seawall(&["repair", &at, "--drop-groups", "--yes", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["done"], &document["opens_as_it_is"]), (&true.into(), &true.into()));
    let expected = serde_json::json!([{
        "group": 7, "entries": [{ "first": 20, "last": 20, "term": 1 }], "snapshot": null,
        "first": 1, "last": 200, "commit": 200, "term": 3, "vote": 3
    }]);
    assert_eq!(document["dropped"], expected);
    let raft = serde_json::json!({
        "must_not_rejoin": true, "incomplete": [], "unread": null,
        "stay": [{ "group": 8, "last": 200 }, { "group": 9, "last": 200 }]
    });
    assert_eq!(document["groups"], raft);
    // The same fields as a cut's.
    let cut = seawall(&["repair", &at, "--cut", "--json"]);
    let cut: serde_json::Value = serde_json::from_slice(&cut.stdout).unwrap();
    let fields = |d: &serde_json::Value| d.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&document), fields(&cut));
    // The damage is still there, until purging frees it.
    assert_eq!(seawall(&["verify", &at]).status.code(), Some(1));
    let again = seawall(&["repair", &at, "--drop-groups", "--yes"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("no group needs what is damaged"), "{}", text(&again));
    let log = RaftOptions::new().node_id(3).wal(wal).open(dir.path()).unwrap();
    assert_eq!(log.groups(), [8, 9]);
    assert!([8, 9].map(|group| all_of(&log, group)) == kept);
    log.close().unwrap();
    assert_eq!(seawall(&["repair", &at, "--undo", "--yes"]).status.code(), Some(0));
    let mut after = contents(dir.path());
    after.insert("reserve".to_owned(), before["reserve"].clone());
    assert!(after == before, "{:?} {:?}", after.keys(), before.keys());
}

#[test]
fn a_group_without_its_snapshot_is_dropped_so_that_the_others_open() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    three_groups(dir.path(), options()).close().unwrap();
    let snapshots = dir.path().join("snapshots");
    let file = std::fs::read_dir(&snapshots).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(file).unwrap();
    RaftOptions::new().node_id(3).wal(options()).open(dir.path()).unwrap_err();
    let output = seawall(&["repair", &at, "--drop-groups", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for word in
        ["group 8 is dropped: it needs its snapshot at index 150 (term 2), which cannot be read", "done; "]
    {
        assert!(text(&output).contains(word), "{word}: {}", text(&output));
    }
    let log = RaftOptions::new().node_id(3).wal(options()).open(dir.path()).unwrap();
    assert_eq!(log.groups(), [7, 9]);
}

#[test]
fn what_cannot_be_told_to_be_one_groups_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    three_groups(dir.path(), options()).close().unwrap();
    spoil(dir.path(), entry_at(dir.path(), 9, 200));
    let before = contents(dir.path());
    let output = seawall(&["repair", &at, "--drop-groups", "--yes"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    for word in ["as the newest segment", "seawall repair --cut"] {
        assert!(text(&output).contains(word), "{word}: {}", text(&output));
    }
    assert!(contents(dir.path()) == before);
    let help = seawall(&["repair", "--help"]);
    assert!(text(&help).contains("--drop-groups"), "{}", text(&help));
}

/// All commands refuse a Raft log without its superblock in the same words; one choice rebuilds it, and it can be
/// undone.
#[test]
fn a_superblock_is_made_anew_and_taken_away_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let log = RaftOptions::new().node_id(3).wal(options()).open(dir.path()).unwrap();
    let group = log.create_group(7, ConfState::from((vec![3], vec![]))).unwrap();
    for index in 1..=60 {
        write_applied(&log, 7, index, 2000);
    }
    group.save_snapshot(40, group.conf_state(), b"state").unwrap();
    let known = group.recover();
    drop(group);
    log.close().unwrap();
    drop(log);
    std::fs::remove_file(dir.path().join("superblock")).unwrap();
    let before = contents(dir.path());
    let refused = RaftOptions::new().node_id(3).wal(options()).open(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("superblock"), "{refused}");
    for args in [vec!["verify", &at], vec!["groups", &at], vec!["repair", &at, "--cut"]] {
        let output = seawall(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(&refused), "{args:?}: {}", text(&output));
    }
    let output = seawall(&["repair", &at, "--rebuild-superblock", "--dry-run"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for word in ["a new superblock", "no owner: ", "nothing was changed"] {
        assert!(text(&output).contains(word), "{word}: {}", text(&output));
    }
    let without_lock = |mut files: BTreeMap<String, Vec<u8>>| {
        files.remove("lock");
        files
    };
    assert!(contents(dir.path()) == before);
    let output = seawall(&["repair", &at, "--rebuild-superblock", "--owner", "3", "--yes", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&done["superblock"]["owner"], &done["written"]), (&3.into(), &"superblock".into()));
    assert_eq!(seawall(&["verify", &at]).status.code(), Some(0));
    let other = RaftOptions::new().node_id(4).wal(options()).open(dir.path()).unwrap_err();
    assert!(matches!(other, Error::Log(seawall::Error::OwnerMismatch { found: 3, .. })), "{other}");
    let log = RaftOptions::new().node_id(3).wal(options()).open(dir.path()).unwrap();
    assert_eq!(log.group(7).unwrap().recover(), known);
    log.close().unwrap();
    drop(log);
    let output = seawall(&["repair", &at, "--undo", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(without_lock(contents(dir.path())) == without_lock(before));
    // The flags belong to that choice.
    assert_eq!(seawall(&["repair", &at, "--cut", "--owner", "3"]).status.code(), Some(2));
}

/// A dry run writes nothing, not even an empty directory.
#[test]
fn a_dry_run_makes_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let log = RaftOptions::new().node_id(3).wal(options()).open(dir.path()).unwrap();
    log.create_group(7, ConfState::from((vec![3], vec![]))).unwrap();
    log.close().unwrap();
    drop(log);
    std::fs::remove_dir(dir.path().join("snapshots")).unwrap();
    for args in [vec!["repair", &at, "--drop-groups"], vec!["repair", &at, "--cut"], vec!["verify", &at]] {
        let output = seawall(&args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().all(|e| !e.unwrap().path().is_dir()));
}

/// Groups of a program without Raft.
fn plain_groups(dir: &Path) -> seawall::groups::GroupLog {
    let log = seawall::groups::GroupOptions::new().wal(options()).open(dir).unwrap();
    for group in 1..=3 {
        log.create_group(group, None).unwrap();
    }
    for n in 0..100u8 {
        for group in 1..=3 {
            log.group(group).unwrap().append(&[[n; 700]]).unwrap().1.wait().unwrap();
        }
    }
    log
}

/// `verify` names the groups for which an open refuses the log, and `repair` drops them or shows what a cut leaves of
/// each.
#[test]
fn groups_of_another_protocol_are_verified_dropped_and_cut() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    plain_groups(dir.path()).close().unwrap();
    let whole = seawall(&["verify", &at, "--json"]);
    let whole: serde_json::Value = serde_json::from_slice(&whole.stdout).unwrap();
    let expected = serde_json::json!({ "count": 3, "snapshots": null, "problems": [] });
    assert_eq!((&whole["verdict"], &whole["groups"]), (&"whole".into(), &expected));

    spoil(dir.path(), entry_at(dir.path(), 2, 5));
    let before = contents(dir.path());
    let shown = seawall(&["repair", &at, "--drop-groups"]);
    assert_eq!(shown.status.code(), Some(1), "{}", text(&shown));
    for word in [
        "group 2 is dropped: it needs entries 5 to 5 (term 0), which cannot be read",
        "all entries from index 0 to below 100, its state",
        "2 groups stay, with everything they have",
    ] {
        assert!(text(&shown).contains(word), "{word}: {}", text(&shown));
    }
    assert!(!text(&shown).contains("vote"), "{}", text(&shown));
    let cut = seawall(&["repair", &at, "--cut", "--json"]);
    let cut: serde_json::Value = serde_json::from_slice(&cut.stdout).unwrap();
    assert_eq!(cut["groups"]["must_not_rejoin"], false);
    assert_eq!(cut["groups"]["stay"][1], serde_json::json!({ "group": 2, "last": 4 }));
    assert!(contents(dir.path()) == before);

    let done = seawall(&["repair", &at, "--drop-groups", "--yes", "--json"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    let done: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["dropped"][0]["group"], 2);
    assert_eq!(done["groups"]["stay"][1], serde_json::json!({ "group": 3, "last": 99 }));
    let log = seawall::groups::GroupOptions::new().wal(options()).open(dir.path()).unwrap();
    assert_eq!(log.groups(), [1, 3]);
    log.close().unwrap();
    assert_eq!(seawall(&["repair", &at, "--undo", "--yes"]).status.code(), Some(0));
}

/// What an open of the groups refuses and the log itself does not: a group that lacks entries.
#[test]
fn a_group_of_another_protocol_that_lacks_something_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    plain_groups(dir.path()).close().unwrap();
    // Released below the groups, so the log itself is whole.
    let wal = options().open(dir.path()).unwrap();
    let second = wal.segments()[1].first_lsn;
    wal.release(second).unwrap();
    wal.close().unwrap();
    let verified = seawall(&["verify", &at]);
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified));
    assert!(text(&verified).contains("refused: group 1 is incomplete"), "{}", text(&verified));
    let dropped = seawall(&["repair", &at, "--drop-groups"]);
    assert_eq!(dropped.status.code(), Some(1), "{}", text(&dropped));
}
