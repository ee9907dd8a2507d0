//! W4, W7, W9 for the groups' own files: a damaged snapshot is detected no later than it is read, and named; a
//! damaged footer costs a scan or an error, and never gives a wrong answer.
//!
//! `cargo test --test raft_damage -- --nocapture` prints the results for each kind of damage.
#![cfg(feature = "raft")]

mod common;
mod damage_support;
mod raft_support;

use std::sync::Arc;
use std::time::Duration;

use damage_support::ways::blocks;
use damage_support::{Damage, Files, Outcome, files_of, print_head, print_row, segments, tally};
use raft_support::model::{Models, see};
use raft_support::{conf, entry, hard};
use seawall::Options;
use seawall::Verdict;
use seawall::error::Corruption;
use seawall::io::Disk;
use seawall::io::sim::SimDisk;
use seawall::raft::{Error, RaftLog, RaftOptions, verify_on};

fn open(disk: &SimDisk) -> Result<RaftLog, Error> {
    let wal = Options::new()
        .segment_size(16 << 10)
        .block_align(8)
        .mmap(false)
        .threads(false)
        .idle_marker(Duration::from_secs(3600));
    RaftOptions::new().node_id(1).wal(wal).snapshot_chunk(100).open_on(Arc::new(disk.clone()))
}

fn append(log: &RaftLog, group: u64, from: u64, to: u64, term: u64) {
    let list: Vec<_> = (from..=to)
        .map(|index| {
            let mut e = entry(index, term);
            e.data = vec![index as u8; 5].into();
            e
        })
        .collect();
    let mut batch = log.batch();
    batch.append(group, &list).unwrap();
    batch.set_hard_state(group, &hard(term, 1, to)).unwrap();
    batch.set_applied(group, to, term).unwrap();
    log.commit(batch).unwrap();
}

/// A closed log of four segments, three of them with footers; two groups, each with a snapshot of three chunks.
fn sample() -> (Files, Models) {
    let mut disk = SimDisk::new();
    let mut models = Models::new();
    for run in 0..4 {
        let log = open(&disk).unwrap();
        for group in 1..=2 {
            if run == 0 {
                log.create_group(group, conf(&[1, 2])).unwrap();
            }
            append(&log, group, run * 6 + 1, run * 6 + 6, run + 1);
        }
        if run == 1 {
            for group in 1..=2 {
                let data = vec![group as u8 * 3; 250];
                log.group(group).unwrap().save_snapshot(8 + group, conf(&[1, 2]), data).unwrap();
            }
            let mut batch = log.batch();
            batch.compact(1, 5).unwrap();
            log.commit(batch).unwrap();
        }
        models = see(&log).unwrap();
        log.wal().close().unwrap();
        drop(log);
        disk = disk.kill();
    }
    (files_of(&disk), models)
}

/// Whole, refused by name with nothing changed, or an error on reading; and `verify` agrees. Anything else is wrong.
fn judge(disk: &SimDisk, models: &Models, named: &str) -> Result<Outcome, String> {
    let damaged = disk.kill();
    let outcome = opened(disk, models, named)?;
    let report = match verify_on(&(Arc::new(damaged) as Arc<dyn Disk>), &RaftOptions::new(), |_| {}) {
        Ok(report) => report,
        Err(Error::Log(seawall::Error::UnsupportedVersion { .. })) if outcome == Outcome::Refused => {
            return Ok(outcome);
        }
        Err(e) => return Err(format!("{outcome:?}, and verify fails: {e}")),
    };
    // A verification is stricter: it reads ended segments in full, while an open reads the footer, and a read of the
    // groups what is live.
    let newest = segments(&files_of(disk)).pop().unwrap_or_default();
    let unread = || {
        let ended =
            |c: &Corruption| c.file.extension().is_some_and(|e| e == "seg") && !c.file.ends_with(&newest);
        report.problems.is_empty() && report.log.problems.iter().all(ended)
    };
    let agrees = match (outcome, report.verdict()) {
        (Outcome::Whole, verdict) => verdict == Verdict::Whole || verdict == Verdict::Damaged && unread(),
        (Outcome::Refused | Outcome::Found, verdict) => {
            verdict == Verdict::Damaged && report.to_string().contains(named)
        }
        _ => false,
    };
    if agrees {
        Ok(outcome)
    } else {
        Err(format!("{outcome:?}, and verify says {:?}: {report}", report.verdict()))
    }
}

fn opened(disk: &SimDisk, models: &Models, named: &str) -> Result<Outcome, String> {
    let damaged = disk.kill();
    let log = match open(disk) {
        Ok(log) => log,
        Err(e) if !e.to_string().contains(named) => return Err(format!("it does not name {named}: {e}")),
        Err(Error::Log(seawall::Error::Corruption(_) | seawall::Error::UnsupportedVersion { .. })) => {
            let same = disk.fingerprint() == damaged.fingerprint();
            return if same { Ok(Outcome::Refused) } else { Err("refused and changed".into()) };
        }
        Err(e) => return Err(format!("another error: {e}")),
    };
    match see(&log) {
        Ok(seen) if seen == *models => Ok(Outcome::Whole),
        Ok(_) => Err("it shows something else".into()),
        Err(e) if e.to_string().contains(named) => Ok(Outcome::Found),
        Err(e) => Err(format!("it does not name {named}: {e}")),
    }
}

fn change(files: &Files, name: &str, what: String, change: impl FnOnce(&mut Vec<u8>)) -> Damage {
    let mut bytes = files[name].clone();
    change(&mut bytes);
    Damage { what: format!("{name}: {what}"), changes: vec![(name.to_owned(), Some(bytes))] }
}

fn bits(files: &Files, name: &str, from: usize) -> Vec<Damage> {
    let flip = |bit: usize| change(files, name, format!("bit {bit}"), |b| b[bit / 8] ^= 1 << (bit % 8));
    (from * 8..files[name].len() * 8).map(flip).collect()
}

/// A file without its name's hexadecimal padding is not what an error names, so the file's own name is looked for.
fn bare(name: &str) -> String {
    name.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn w4_a_damaged_snapshot_is_found_and_named() {
    let (files, models) = sample();
    let base = damage_support::disk_of(&files);
    let names: Vec<String> = files.keys().filter(|n| n.ends_with(".snap")).cloned().collect();
    assert_eq!(names.len(), 2, "{names:?}");
    print_head();
    for name in &names {
        let other = names.iter().find(|n| *n != name).unwrap();
        let len = files[name].len();
        let mut pieces = Vec::new();
        for at in (0..len).step_by(64) {
            let range = at..(at + 64).min(len);
            for fill in [0, 0xff] {
                pieces
                    .push(change(&files, name, format!("{range:?} {fill}"), |b| b[range.clone()].fill(fill)));
            }
            let theirs = files[other][range.clone()].to_vec();
            pieces.push(change(&files, name, format!("{range:?} of {other}"), |b| {
                b[range].copy_from_slice(&theirs);
            }));
        }
        pieces.push(change(&files, name, "the other's".into(), |b| b.clone_from(&files[other])));
        pieces.push(Damage { what: format!("{name} is gone"), changes: vec![(name.clone(), None)] });
        pieces.push(change(&files, name, "longer".into(), |b| b.push(0)));
        pieces.retain(|d| d.changes[0].1.as_ref() != Some(&files[name]));
        let cuts = (0..len).map(|n| change(&files, name, format!("cut to {n}"), |b| b.truncate(n))).collect();
        for (what, damages) in
            [("every bit of a snapshot", bits(&files, name, 0)), ("a snapshot cut", cuts), ("pieces", pieces)]
        {
            let counts = tally(&base, &damages, |disk| judge(disk, &models, &bare(name)));
            print_row(what, "Closed", counts);
            // Every byte of a snapshot's file counts.
            assert!(counts.whole == 0 && counts.cut == 0, "{what}: {counts:?}");
            assert_eq!(counts.refused + counts.found, damages.len() as u64);
        }
    }
}

#[test]
fn w7_w9_a_damaged_footer_gives_no_wrong_answer() {
    let (files, models) = sample();
    let base = damage_support::disk_of(&files);
    print_head();
    let mut sealed = 0;
    for name in segments(&files) {
        let Some(start) = blocks(&name, &files[&name]).last().map(|b| b.end) else { continue };
        let footer = start..files[&name].len();
        if footer.len() < 72 || files[&name][footer.start..footer.start + 4] == [0; 4] || footer.len() > 4096
        {
            continue;
        }
        sealed += 1;
        let counts = tally(&base, &bits(&files, &name, start), |disk| judge(disk, &models, &bare(&name)));
        print_row("every bit of a footer", "Closed", counts);
        // The fixed part and the summary's head cost a scan; the body is used in place, and what it leads to is checked.
        assert!(counts.refused == 0 && counts.cut == 0 && counts.whole > counts.found, "{counts:?}");
        assert!(counts.whole >= 72 * 8, "{counts:?}");

        let mut others = Vec::new();
        for n in footer.clone() {
            others.push(change(&files, &name, format!("cut to {n}"), |b| b.truncate(n)));
        }
        for fill in [0, 0xff] {
            others.push(change(&files, &name, format!("footer {fill}"), |b| b[footer.clone()].fill(fill)));
        }
        for other in segments(&files).iter().filter(|o| **o != name) {
            let theirs = files[other][blocks(other, &files[other]).last().map_or(8192, |b| b.end)..].to_vec();
            others.push(change(&files, &name, format!("footer of {other}"), |b| {
                b.truncate(footer.start);
                b.extend(&theirs);
            }));
        }
        let counts = tally(&base, &others, |disk| judge(disk, &models, &bare(&name)));
        print_row("a footer cut, zeroed, of another segment", "Closed", counts);
        assert!(counts.cut == 0, "{counts:?}");
    }
    assert_eq!(sealed, 3);
}

/// The log below is cut, or has lost segments or records; a verification of the groups agrees with their open.
#[test]
fn w4_what_a_damaged_log_leaves_of_groups_is_verified_as_it_opens() {
    let (files, models) = sample();
    let base = damage_support::disk_of(&files);
    let names = segments(&files);
    let mut damages = Vec::new();
    for name in &names {
        damages.push(Damage { what: format!("{name} is gone"), changes: vec![(name.clone(), None)] });
        for block in blocks(name, &files[name]) {
            damages.push(change(&files, name, format!("{block:?} zeroed"), |b| b[block.clone()].fill(0)));
            damages.push(change(&files, name, format!("{block:?} flipped"), |b| b[block.start + 45] ^= 1));
        }
    }
    damages.push(Damage { what: "no superblock".into(), changes: vec![("superblock".into(), None)] });
    let counts = tally(&base, &damages, |disk| judge(disk, &models, ""));
    print_head();
    print_row("segments and blocks below the groups", "Closed", counts);
    assert!(counts.refused > 0 && counts.found > 0 && counts.cut == 0, "{counts:?}");
}

/// A cut of the log gives up the record of a newer snapshot, whose older file is already gone: the log is whole, but
/// its groups are not.
#[test]
fn w4_a_snapshot_that_a_cut_lost_is_missed() {
    use seawall::repair::{Choice, Plan};
    let (mut files, _) = sample();
    let name = segments(&files).into_iter().nth(2).unwrap();
    let at = blocks(&name, &files[&name])[1].start + 45;
    files.get_mut(&name).unwrap()[at] ^= 1;
    files.retain(|name, _| !name.ends_with(".snap"));
    let disk = damage_support::disk_of(&files);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    Plan::of(&shared, Choice::Cut).unwrap().apply(None).unwrap();
    assert_eq!(seawall::verify_on(&shared).unwrap().verdict(), Verdict::Whole);
    let report = verify_on(&shared, &RaftOptions::new(), |_| {}).unwrap();
    assert_eq!((report.verdict(), report.groups), (Verdict::Damaged, 2), "{report}");
    // Both groups, not only the first that an open would encounter.
    assert_eq!(report.problems.len(), 2, "{report}");
    let refused = open(&disk).unwrap_err().to_string();
    assert!(report.problems.iter().any(|p| p.to_string() == refused), "{refused}");
    assert!(disk.files().iter().all(|name| !name.starts_with("snapshots/")), "verify made something");
}

#[test]
fn verify_names_what_is_not_the_logs() {
    let (mut files, _) = sample();
    let theirs = ["notes.txt", "snapshots/notes.tmp", "superblock.bak"];
    for name in theirs {
        files.insert(name.into(), b"theirs".to_vec());
    }
    for ours in ["reserve", "lock", "00000000000000000009-0000000000100000.seg.tmp"] {
        files.insert(ours.into(), Vec::new());
    }
    let disk: Arc<dyn Disk> = Arc::new(damage_support::disk_of(&files));
    let report = verify_on(&disk, &RaftOptions::new(), |_| {}).unwrap();
    assert_eq!(report.log.foreign, ["notes.txt", "superblock.bak", "snapshots/notes.tmp"]);
    assert_eq!(report.verdict(), Verdict::Whole, "{report}");
}
