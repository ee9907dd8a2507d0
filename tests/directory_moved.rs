//! W14: from open to close a log reads and writes the directory that it opened, even if its path leads elsewhere
//! meanwhile.

mod process_support;
#[cfg(feature = "raft")]
mod raft_support;

use std::path::Path;
use std::sync::Arc;

use process_support::alone;
use seawall::io::Disk;
use seawall::io::sim::SimDisk;
use seawall::{Error, Lsn, Options, Wal, verify};

fn options() -> Options {
    Options::new().segment_size(64 << 10)
}

/// Rotates about ten times.
fn append_200(wal: &Wal) -> Vec<Lsn> {
    (0..200u8).map(|n| wal.append([n; 3000]).unwrap()).collect()
}

fn holds_200(dir: &Path) {
    assert!(verify(dir).unwrap().is_ok());
    let wal = options().open(dir).unwrap();
    let read: Vec<u8> = wal.iter().map(|r| r.unwrap().payload()[0]).collect();
    assert_eq!(read, (0..200u8).collect::<Vec<_>>());
}

#[test]
fn w14_a_relative_path_is_where_it_was_when_the_log_was_opened() {
    if !alone("w14_a_relative_path_is_where_it_was_when_the_log_was_opened") {
        return;
    }
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::env::set_current_dir(there.path()).unwrap();
    let bystander = options().open("hello.log").unwrap();
    bystander.append(b"the bystander's").unwrap();
    bystander.close().unwrap();
    std::env::set_current_dir(here.path()).unwrap();
    let wal = options().open("hello.log").unwrap();
    std::env::set_current_dir(there.path()).unwrap();
    append_200(&wal);
    let error = options().open(here.path().join("hello.log")).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }));
    // Messages name the original path.
    let debug = format!("{wal:?}");
    assert!(
        debug.contains(here.path().canonicalize().unwrap().join("hello.log").to_str().unwrap()),
        "{debug}"
    );
    wal.close().unwrap();
    holds_200(&here.path().join("hello.log"));
    let bystander = options().open(there.path().join("hello.log")).unwrap();
    assert_eq!(bystander.iter().count(), 1);
}

#[test]
fn w14_a_directory_that_is_renamed_and_replaced_takes_the_log_along() {
    let above = tempfile::tempdir().unwrap();
    let (dir, old) = (above.path().join("log"), above.path().join("log.old"));
    let wal = options().open(&dir).unwrap();
    std::fs::rename(&dir, &old).unwrap();
    std::fs::create_dir(&dir).unwrap();
    append_200(&wal);
    wal.close().unwrap();
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    holds_200(&old);
}

#[test]
fn w14_a_directory_that_is_removed_is_an_error_before_anything_more_is_acknowledged() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("log");
    let wal = options().open(&dir).unwrap();
    wal.append(b"one").unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    // What the open files have is kept; the next file cannot be made.
    let error = (0..200).find_map(|_| wal.append([7; 3000]).err()).expect("an error at the next file");
    assert!(error.to_string().contains("removed while the log was open"), "{error}");
    assert!(!dir.exists());
}

/// The simulated disk behaves like a real one.
#[test]
fn w14_the_same_on_the_simulated_disk() {
    let top = SimDisk::new();
    let log = top.subdir("log").unwrap();
    let wal = options().threads(false).open_on(Arc::clone(&log)).unwrap();
    append_200(&wal);
    top.move_directory("log", "log.old").unwrap();
    let new = top.subdir("log").unwrap();
    append_200(&wal);
    assert!(new.list().unwrap().is_empty());
    wal.close().unwrap();
    let moved = options().threads(false).open_on(top.open_dir("log.old").unwrap()).unwrap();
    assert_eq!(moved.iter().count(), 400);
    moved.close().unwrap();
    drop(moved);
    let crashed = top.crash(seawall::io::sim::CrashStyle::LoseAll);
    let wal = options().threads(false).open_on(crashed.open_dir("log.old").unwrap()).unwrap();
    assert_eq!(wal.iter().count(), 400);
    crashed.remove_directory("log.old").unwrap();
    assert!((0..200).any(|_| wal.append([7; 3000]).is_err()));
}

#[cfg(feature = "raft")]
#[test]
fn w14_snapshots_and_backups_follow_the_directory() {
    use raft::eraftpb::ConfState;
    use raft_support::write_applied;
    use seawall::raft::RaftOptions;

    let above = tempfile::tempdir().unwrap();
    let (dir, old) = (above.path().join("log"), above.path().join("log.old"));
    let members = ConfState::from((vec![1], vec![]));
    let open = |dir: &Path| RaftOptions::new().node_id(1).wal(options()).open(dir).unwrap();
    let log = open(&dir);
    let group = log.create_group(7, members.clone()).unwrap();
    std::fs::rename(&dir, &old).unwrap();
    std::fs::create_dir_all(dir.join("snapshots")).unwrap();
    for index in 1..=100 {
        write_applied(&log, 7, index, 3000);
        if index % 20 == 0 {
            group.save_snapshot(index, members.clone(), b"state").unwrap();
            let mut batch = log.batch();
            batch.compact(7, index - 5).unwrap();
            log.commit(batch).unwrap();
            log.purge().unwrap();
        }
    }
    let copy = above.path().join("copy");
    log.backup(&copy).unwrap();
    log.close().unwrap();
    assert_eq!(std::fs::read_dir(dir.join("snapshots")).unwrap().count(), 0);
    for dir in [&old, &copy] {
        let group = open(dir).group(7).unwrap();
        assert_eq!(group.snapshot_data().unwrap().unwrap().data, b"state".as_slice());
        assert_eq!((group.recover().first_index, group.recover().last_index), (96, 100));
    }
}
