//! The `seawall` tool reports what is there and changes nothing; its exit status distinguishes whole from damaged.

mod codec_support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use raft::eraftpb::{ConfState, Entry, HardState};
use seawall::raft::{RaftLog, RaftOptions};
use seawall::{Batch, Label, Options, Wal};

fn seawall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall")).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn log(dir: &Path) -> Wal {
    let wal = Options::new().segment_size(64 << 10).owner(3).open(dir).unwrap();
    let mut batch = Batch::new();
    batch.push(b"plain words");
    batch.push_labelled(Label { kind: 1, stream: 77, sequence: 5, extra: 2 }, &[b"labelled words"]);
    wal.commit(batch).unwrap();
    wal
}

/// Payloads that the tool's build cannot decode are shown as stored, with a note.
#[test]
fn encoded_payloads_are_shown_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let wal = Options::new().codec(codec_support::xor(1)).open(dir.path()).unwrap();
    wal.append(b"hidden").unwrap();
    wal.close().unwrap();
    let shown = text(&seawall(&["dump", at]));
    assert!(shown.contains("11 bytes encoded by codec 300: xor!"), "{shown}");
    let record: serde_json::Value = serde_json::from_slice(&seawall(&["dump", at, "--json"]).stdout).unwrap();
    // "xor!", the key, and each byte of the payload with its lowest bit turned.
    assert_eq!((&record["encoded_by"], &record["payload"]), (&300.into(), &"786f72210169686565646f".into()));
    assert_eq!(seawall(&["verify", at]).status.code(), Some(0));
    assert_eq!(seawall(&["inspect", at]).status.code(), Some(0));
}

#[cfg(feature = "lz4")]
#[test]
fn the_tool_knows_lz4() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let wal = Options::new().codec(std::sync::Arc::new(seawall::Lz4)).open(dir.path()).unwrap();
    wal.append(b"again and ".repeat(100)).unwrap();
    wal.close().unwrap();
    let shown = text(&seawall(&["dump", at]));
    assert!(shown.contains("1000 bytes: again and again"), "{shown}");
    assert!(!shown.contains("encoded"), "{shown}");
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap())
        .filter(|f| f.path().is_file())
        .map(|f| (f.file_name().into_string().unwrap(), std::fs::read(f.path()).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_whole_log_beside_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let wal = log(dir.path());
    for command in ["verify", "inspect", "dump"] {
        let output = seawall(&[command, &at]);
        assert_eq!(output.status.code(), Some(0), "{command}: {}", text(&output));
    }
    assert!(text(&seawall(&["dump", &at])).contains("plain words"));
    let one = text(&seawall(&["dump", &at, "--stream", "77", "--json"]));
    let record: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!(record["label"]["sequence"], 5);
    assert_eq!(record["payload"], "6c6162656c6c656420776f726473");
    wal.close().unwrap();
    let document: serde_json::Value =
        serde_json::from_slice(&seawall(&["inspect", &at, "--json"]).stdout).unwrap();
    assert_eq!((&document["owner"], &document["closed"]), (&3.into(), &true.into()));
    assert_eq!(document["segments"][0]["records"], 2);
}

#[test]
fn a_damaged_log_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    log(dir.path()).close().unwrap();
    let segment = contents(dir.path()).into_iter().find(|(n, _)| n.ends_with(".seg")).unwrap().0;
    let path = dir.path().join(&segment);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192 + 40 + 16] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let before = contents(dir.path());
    let output = seawall(&["verify", &at, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["ok"], false);
    assert!(document["problems"][0]["file"].as_str().unwrap().ends_with(&segment));
    for command in ["inspect", "dump"] {
        assert_eq!(seawall(&[command, &at]).status.code(), Some(1), "{command}");
    }
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    for args in
        [vec!["verify", &at], vec!["inspect", "/nowhere/at/all"], vec!["dump", "Cargo.toml"], vec!["fly"]]
    {
        let output = seawall(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
        assert!(!output.stderr.is_empty());
    }
}

/// A Raft log with entries that a compaction made dead.
fn raft_log(dir: &Path) -> RaftLog {
    // No marker blocks but the one at a close: then it is known which block holds what.
    let options = Options::new().segment_size(64 << 10).idle_marker(Duration::from_secs(3600));
    let log = RaftOptions::new().node_id(3).wal(options).open(dir).unwrap();
    log.create_group(7, ConfState::from((vec![3], vec![]))).unwrap();
    log.create_group(8, ConfState::from((vec![3], vec![]))).unwrap();
    for index in 1..=40 {
        let mut batch = log.batch();
        for group in [7, 8] {
            let mut entry = Entry::default();
            (entry.index, entry.term) = (index, 2);
            entry.data = vec![b'a' + (index % 26) as u8; 1000].into();
            batch.append(group, &[entry]).unwrap();
        }
        log.commit(batch).unwrap();
    }
    let mut batch = log.batch();
    let mut hard = HardState::default();
    (hard.term, hard.vote, hard.commit) = (2, 3, 30);
    batch.set_hard_state(7, &hard).unwrap();
    batch.set_applied(7, 30, 2).unwrap();
    log.commit(batch).unwrap();
    let group = log.group(7).unwrap();
    group.save_snapshot(25, group.conf_state(), b"state").unwrap();
    let mut batch = log.batch();
    batch.compact(7, 20).unwrap();
    // Entries of another term replace the last three.
    let mut entry = Entry::default();
    (entry.index, entry.term) = (38, 3);
    let rest: Vec<_> = (38..=40).map(|index| Entry { index, ..entry.clone() }).collect();
    batch.append(8, &rest).unwrap();
    log.commit(batch).unwrap();
    log
}

fn json(args: &[&str]) -> serde_json::Value {
    let output = seawall(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn groups_say_where_they_stand_and_what_they_pin() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let log = raft_log(dir.path());
    let space = log.space().unwrap();
    let found = json(&["groups", &at, "--json"]);
    let seven = &found["groups"][0];
    for (key, value) in
        [("group", 7), ("term", 2), ("vote", 3), ("commit", 30), ("applied", 30), ("first", 21), ("last", 40)]
    {
        assert_eq!(seven[key], value, "{key}");
    }
    assert_eq!(seven["snapshot"]["index"], 25);
    // The tool counts records from outside; the open log counts its positions.
    for group in &space.groups {
        let of = found["groups"].as_array().unwrap().iter().find(|g| g["group"] == group.group).unwrap();
        assert_eq!(of["live_bytes"], group.live_bytes);
        let pins: Vec<_> = group
            .pins
            .iter()
            .map(|(s, b)| serde_json::json!({ "segment": s.get(), "live_bytes": b }))
            .collect();
        assert_eq!(of["pins"], serde_json::Value::from(pins));
    }
    let inspected = json(&["inspect", &at, "--json"]);
    for (segment, of) in space.segments.iter().zip(inspected["segments"].as_array().unwrap()) {
        assert_eq!((&of["id"], &of["live_bytes"]), (&segment.id.get().into(), &segment.live_bytes.into()));
    }
    let first = space.segments[0].id.get().to_string();
    let one = json(&["inspect", &at, "--segment", &first, "--json"]);
    assert_eq!((&one["streams"][0]["stream"], &one["streams"][1]["stream"]), (&7.into(), &8.into()));
    let group = json(&["inspect", &at, "--group", "8", "--json"]);
    assert_eq!((&group["state"]["last"], &group["segments"][0]["segment"]), (&40.into(), &one["id"]));
    let lines = text(&seawall(&["groups", &at]));
    assert!(lines.contains("commit") && lines.lines().count() == 3, "{lines}");
    for args in [["--segment", "99"], ["--group", "99"]] {
        assert_eq!(seawall(&["inspect", &at, args[0], args[1]]).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn groups_of_a_log_that_has_none_or_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    assert_eq!(seawall(&["groups", &at]).status.code(), Some(2));
    raft_log(dir.path()).close().unwrap();
    let segment = contents(dir.path()).into_iter().find(|(n, _)| n.ends_with(".seg")).unwrap().0;
    let path = dir.path().join(&segment);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192 + 40] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let output = seawall(&["groups", &at, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains(&segment));
    let plain = tempfile::tempdir().unwrap();
    log(plain.path()).close().unwrap();
    let output = seawall(&["groups", plain.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("holds no groups"), "{}", text(&output));
}

/// Groups of a program without Raft are shown with what can be known of them.
#[test]
fn groups_of_another_protocol_are_shown_as_what_they_are() {
    use seawall::groups::{Field, GroupLog, Position};
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let log = GroupLog::open(dir.path()).unwrap();
    let (_, ticket) = log.create_group(3, None).unwrap().append(&["a", "b", "c"]).unwrap();
    ticket.wait().unwrap();
    log.create_group(9, Some(Position { index: 41, term: 7 })).unwrap();
    let mut batch = log.batch();
    batch.purge(3, Position { index: 0, term: 0 }).unwrap();
    batch.set(3, Field::ALL[4], Position { index: 2, term: 0 }, b"cursor").unwrap();
    log.commit(batch).unwrap();
    let space = log.space().unwrap();
    log.close().unwrap();
    let found = json(&["groups", at, "--json"]);
    let (three, nine) = (&found["groups"][0], &found["groups"][1]);
    assert_eq!((&three["group"], &three["first"], &three["end"]), (&3.into(), &1.into(), &3.into()));
    let field = serde_json::json!({ "field": 4, "index": 2, "term": 0, "bytes": 6 });
    assert_eq!(three["fields"], serde_json::json!([field]));
    assert_eq!((&nine["first"], &nine["end"], &nine["last_term"]), (&42.into(), &42.into(), &7.into()));
    for group in &space.groups {
        let of = if group.group == 3 { three } else { nine };
        assert_eq!(of["live_bytes"], group.live_bytes);
    }
    let lines = text(&seawall(&["groups", at]));
    assert!(lines.contains("last term") && lines.contains("4: 2"), "{lines}");
    let inspected = json(&["inspect", at, "--json"]);
    assert_eq!(inspected["segments"][0]["live_bytes"], space.segments[0].live_bytes);
    assert_eq!(seawall(&["verify", at]).status.code(), Some(0));
}

/// Damages the header of the oldest segment's fifth block and of the newest one's third, so that both blocks are
/// lost. Returns the file names.
fn damage_two_blocks(dir: &Path) -> [String; 2] {
    let log = seawall::LogView::open(dir).unwrap();
    assert!(log.segments().len() > 1);
    // The newest segment begins with a HardState and the record of the snapshot.
    [(log.segments().first().unwrap(), 5), (log.segments().last().unwrap(), 3)].map(|(segment, block)| {
        let path = dir.join(segment.file_name());
        let mut bytes = std::fs::read(&path).unwrap();
        let headers: Vec<usize> =
            (8192..bytes.len()).step_by(4096).filter(|at| bytes[at + 4..at + 6] == *b"SB").collect();
        bytes[headers[block - 1] + 20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        segment.file_name().to_owned()
    })
}

#[test]
fn a_dump_goes_on_behind_the_damage() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    raft_log(dir.path()).close().unwrap();
    let lines = |args: &[&str]| {
        let output = seawall(&[&["dump", &at, "--json"], args].concat());
        let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (output.status.code(), lines)
    };
    let (status, whole) = lines(&[]);
    assert_eq!(status, Some(0));
    let (_, some) = lines(&["--group", "7", "--index", "5..6"]);
    assert_eq!(some.iter().map(|r| r["label"]["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), [5, 6]);
    let (from, to) = (whole[3]["lsn"].to_string(), whole[9]["lsn"].to_string());
    assert_eq!(lines(&["--from", &from, "--to", &to]).1, whole[3..9]);

    damage_two_blocks(dir.path());
    let (status, rest) = lines(&[]);
    assert_eq!(status, Some(1));
    let (damage, records): (Vec<_>, Vec<_>) = rest.into_iter().partition(|line| line["damage"].is_object());
    assert_eq!(damage.len(), 2, "{damage:?}");
    let lost = |record: &&serde_json::Value| {
        damage.iter().any(|d| {
            let lsn = record["lsn"].as_u64().unwrap();
            let d = &d["damage"];
            (d["first_lsn"].as_u64().unwrap()..d["end_lsn"].as_u64().unwrap()).contains(&lsn)
        })
    };
    let expected: Vec<_> = whole.iter().filter(|r| !lost(r)).cloned().collect();
    assert!(expected.len() < whole.len() && expected.len() > whole.len() - 10);
    assert_eq!(records, expected);
    assert!(text(&seawall(&["dump", &at])).contains("damage: "));
}

#[test]
fn a_tail_shows_what_a_running_writer_adds() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let wal = Options::new().segment_size(64 << 10).open(dir.path()).unwrap();
    let first = wal.append(b"before").unwrap();
    let from = first.get().to_string();
    let shown_in = tempfile::NamedTempFile::new().unwrap();
    let mut tail = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(["tail", &at, "--json", "--every", "5", "--from", &from, "--count", "101"])
        .stdout(shown_in.reopen().unwrap())
        .spawn()
        .unwrap();
    let lsns: Vec<u64> = std::iter::once(first)
        .chain((0..100).map(|n| wal.append(format!("{n:03}").repeat(800)).unwrap()))
        .map(|lsn| lsn.get())
        .collect();
    // A tail that loses a record waits forever for one more.
    let start = std::time::Instant::now();
    let status = loop {
        match tail.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() < std::time::Duration::from_secs(20) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            None => {
                tail.kill().unwrap();
                break tail.wait().unwrap();
            }
        }
    };
    assert_eq!(status.code(), Some(0));
    let shown: Vec<u64> = std::fs::read_to_string(shown_in.path())
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["lsn"].as_u64().unwrap())
        .collect();
    assert_eq!(shown, lsns);
    assert!(text(&seawall(&["tail", &at, "--from", "0", "--count", "1"])).contains("before"));
    assert_eq!(seawall(&["tail", "/nowhere/at/all"]).status.code(), Some(2));
}

#[test]
fn maps_and_reports_show_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let svg = out.path().join("map.svg").to_str().unwrap().to_owned();
    let html = out.path().join("log.html").to_str().unwrap().to_owned();
    let both = || [seawall(&["map", &at, "--svg", &svg]), seawall(&["report", &at, "--html", &html])];
    for output in both() {
        assert_eq!(output.status.code(), Some(2), "an empty directory: {}", text(&output));
    }
    let log = raft_log(dir.path());
    for output in both() {
        assert_eq!(output.status.code(), Some(0), "beside a writer: {}", text(&output));
    }
    let (live, dead, damaged) = (
        "height=\"22\" fill=\"#2a9d8f\"",
        "height=\"22\" fill=\"#d5d8dc\"",
        "height=\"22\" fill=\"#d62828\"",
    );
    let picture = std::fs::read_to_string(&svg).unwrap();
    assert!(picture.contains(live) && picture.contains(dead) && !picture.contains(damaged), "{picture}");
    assert!(picture.contains(">group 7<") && picture.contains(">segment 2<"));
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("The log is whole") && page.contains("Nothing to cut") && page.contains(live));
    assert_eq!(json(&["map", &at, "--svg", &svg, "--json"])["damaged"], false);

    log.close().unwrap();
    let segment = contents(dir.path()).into_iter().find(|(n, _)| n.ends_with(".seg")).unwrap().0;
    let path = dir.path().join(&segment);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192 + 40 + 4096 * 3 + 60] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let before = contents(dir.path());
    for output in both() {
        assert_eq!(output.status.code(), Some(1), "damaged: {}", text(&output));
    }
    assert!(std::fs::read_to_string(&svg).unwrap().contains(damaged));
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("It would refuse") && page.contains(&segment) && page.contains(damaged));
    assert_eq!(contents(dir.path()), before);
}

/// A log with one batch that nothing proves durable, and that is damaged: an open cuts it.
#[test]
fn a_log_that_opens_and_is_cut_has_a_status_of_its_own() {
    let (dir, copy, out) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = copy.path().to_str().unwrap().to_owned();
    let options = || Options::new().segment_size(64 << 10).idle_marker(std::time::Duration::from_secs(3600));
    let wal = options().open(dir.path()).unwrap();
    wal.append([1; 1000]).unwrap();
    wal.append([2; 1000]).unwrap();
    for (name, mut bytes) in contents(dir.path()) {
        if name.ends_with("-0000000000000000.seg") {
            bytes[8192 + 4096 + 500] ^= 1;
        }
        std::fs::write(copy.path().join(name), bytes).unwrap();
    }
    let before = contents(copy.path());
    let output = seawall(&["verify", &at]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(
        text(&output).contains("would be cut") && text(&output).contains("the log opens"),
        "{}",
        text(&output)
    );
    let found: serde_json::Value =
        serde_json::from_slice(&seawall(&["verify", &at, "--json"]).stdout).unwrap();
    assert_eq!((&found["verdict"], &found["ok"]), (&"cuts".into(), &true.into()));
    let html = out.path().join("log.html").to_str().unwrap().to_owned();
    assert_eq!(seawall(&["report", &at, "--html", &html]).status.code(), Some(3));
    assert!(text(&seawall(&["help", "verify"])).contains("3 it opens"));
    assert_eq!(contents(copy.path()), before);
    let wal = options().open(copy.path()).unwrap();
    assert_eq!(wal.recovery().cut.len(), 1);
    wal.append([3; 1000]).unwrap();
    wal.close().unwrap();
    drop(wal);
    assert_eq!(seawall(&["verify", &at]).status.code(), Some(0));
}

/// One bit in a snapshot's file, and damage in two segments: `verify` lists all three and counts the rest; `groups` and
/// `inspect` print what can be read.
#[test]
fn all_damage_is_listed_and_the_rest_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    raft_log(dir.path()).close().unwrap();
    let whole: serde_json::Value = json(&["verify", &at, "--json"]);
    assert_eq!((&whole["verdict"], &whole["groups"]["snapshots"]), (&"whole".into(), &1.into()));
    std::fs::write(dir.path().join("notes.txt"), "not the log's").unwrap();
    let snapshots = dir.path().join("snapshots");
    let snapshot = contents(&snapshots).remove(0).0;
    let mut bytes = std::fs::read(snapshots.join(&snapshot)).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    std::fs::write(snapshots.join(&snapshot), bytes).unwrap();
    let output = seawall(&["verify", &at]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains(&snapshot) && text(&output).contains("not part of the log: notes.txt"),
        "{}",
        text(&output)
    );

    let names = damage_two_blocks(dir.path());
    let before = contents(dir.path());
    let output = seawall(&["verify", &at, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let files: Vec<&str> =
        found["problems"].as_array().unwrap().iter().map(|p| p["file"].as_str().unwrap()).collect();
    assert!(names.iter().all(|name| files.iter().any(|f| f.ends_with(name))), "{files:?}");
    assert!(
        found["groups"]["problems"]
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p.as_str().unwrap().contains(&snapshot))
    );
    let records = |v: &serde_json::Value| -> u64 {
        v["segments"].as_array().unwrap().iter().map(|s| s["records"].as_u64().unwrap()).sum()
    };
    assert!(records(&found) < records(&whole) && records(&found) + 10 > records(&whole), "{found}");
    for args in [vec!["groups", &at], vec!["inspect", &at], vec!["inspect", &at, "--group", "7"]] {
        let output = seawall(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output));
        let shown = text(&output);
        assert!(
            names.iter().all(|name| shown.contains(name.as_str())) && shown.contains("damaged: "),
            "{shown}"
        );
    }
    let output = seawall(&["groups", &at, "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let groups: Vec<u64> =
        found["groups"].as_array().unwrap().iter().map(|g| g["group"].as_u64().unwrap()).collect();
    assert_eq!((groups, found["damage"].as_array().unwrap().len()), (vec![7, 8], 2));
    assert_eq!(contents(dir.path()), before);

    // Also where the chain is broken, and where only the segments identify the log.
    for gone in [names[0].as_str(), "superblock"] {
        std::fs::remove_file(dir.path().join(gone)).unwrap();
        for args in [vec!["verify", &at], vec!["groups", &at], vec!["inspect", &at], vec!["dump", &at]] {
            let output = seawall(&args);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output));
            assert!(text(&output).contains(&names[1]), "{gone} {args:?}: {}", text(&output));
        }
    }
}

/// Only its owner knows what is dead in a log, unless it is Raft's; nothing is called dead that may be needed.
#[test]
fn a_log_of_plain_records_is_drawn_and_counted_as_live() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let svg = format!("{at}/log.svg");
    let wal = Options::new().segment_size(64 << 10).open(dir.path()).unwrap();
    for n in 0..20 {
        wal.append([n; 9000]).unwrap();
    }
    wal.close().unwrap();
    let found = json(&["inspect", &at, "--json"]);
    for segment in found["segments"].as_array().unwrap() {
        assert!(segment["live_bytes"].is_null() && segment["dead_bytes"].is_null(), "{segment}");
    }
    assert_eq!(seawall(&["map", &at, "--svg", &svg]).status.code(), Some(0));
    let picture = std::fs::read_to_string(&svg).unwrap();
    assert!(picture.contains("Which records are dead is unknown here"), "{picture}");
    assert!(picture.matches("#2a9d8f").count() > found["segments"].as_array().unwrap().len(), "{picture}");
}

/// It measures beside a log, and leaves nothing behind.
#[test]
fn bench_says_what_it_measured_and_touches_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    log(dir.path()).close().unwrap();
    let before = contents(dir.path());
    let found = json(&["bench", &at, "--seconds", "0.4", "--json"]);
    let loads = found["loads"].as_array().unwrap();
    assert_eq!(loads.len(), 4);
    for load in loads {
        let number = |key: &str| load[key].as_u64().unwrap();
        assert!(number("operations") > 0 && load["per_second"].as_f64().unwrap() > 0.0, "{load}");
        assert!(number("p50_ns") <= number("p99_ns") && number("p999_ns") <= number("max_ns"), "{load}");
        let bars = load["histogram"].as_array().unwrap();
        assert_eq!(bars.iter().map(|b| b["count"].as_u64().unwrap()).sum::<u64>(), number("operations"));
    }
    assert!(["memory", "too_fast", "plausible"].contains(&found["sync"]["verdict"].as_str().unwrap()));
    let text = text(&seawall(&["bench", &at, "--seconds", "0.4"]));
    for word in ["fdatasync", "16 blocking writers", "p99.9", "█", "power"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(contents(dir.path()), before);
    assert!(std::fs::read_dir(dir.path()).unwrap().all(|e| !e.unwrap().path().is_dir()));
    for args in
        [vec!["bench", "/nowhere/at/all"], vec!["bench", "Cargo.toml"], vec!["bench", &at, "--seconds", "0"]]
    {
        assert_eq!(seawall(&args).status.code(), Some(2), "{args:?}");
    }
}

/// A writer reuses released files while they are read: that is not damage.
#[test]
fn a_picture_beside_a_writer_that_recycles_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap().to_owned();
    let (svg, html) = (format!("{at}/log.svg"), format!("{at}/log.html"));
    let wal = Options::new().segment_size(64 << 10).open(dir.path()).unwrap();
    wal.append(b"first").unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut kept = std::collections::VecDeque::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                kept.push_back(wal.append([7; 9000]).unwrap());
                // So many that reading them takes longer than the writer needs to reuse them.
                if kept.len() > 150 {
                    wal.release(kept.pop_front().unwrap()).unwrap();
                }
            }
        });
        for _ in 0..15 {
            for args in [["map", &at, "--svg", &svg], ["report", &at, "--html", &html]] {
                let output = seawall(&args);
                if output.status.code() != Some(0) {
                    done.store(true, std::sync::atomic::Ordering::Relaxed);
                    panic!("{args:?}: {}", text(&output));
                }
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
