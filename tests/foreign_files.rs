//! W14: a log never touches foreign files, whatever their names.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use seawall::{Error, Options, Wal};

fn options() -> Options {
    Options::new().segment_size(64 << 10).spare_segments(0)
}

fn segment_name(id: u64, lsn: u64) -> String {
    format!("{id:020}-{lsn:016x}.seg")
}

/// A log whose first segments were released, and the name that its third one had.
fn released(dir: &Path) {
    let wal = options().open(dir).unwrap();
    for _ in 0..40 {
        wal.append([7; 10_000]).unwrap();
    }
    wal.release(wal.durable_lsn()).unwrap();
    wal.close().unwrap();
    assert!(wal.segments().first().unwrap().id.get() > 5);
}

fn reopen_and_rotate(dir: &Path) {
    let wal = options().open(dir).unwrap();
    for _ in 0..40 {
        wal.append([7; 10_000]).unwrap();
    }
    wal.release(wal.durable_lsn()).unwrap();
    wal.close().unwrap();
}

#[test]
fn w14_files_with_temporary_names_of_others_stay() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    released(dir.path());
    std::fs::write(dir.path().join("notes.tmp"), "mine").unwrap();
    let target = elsewhere.path().join("precious");
    std::fs::write(&target, "mine").unwrap();
    symlink(&target, dir.path().join("link.tmp")).unwrap();
    reopen_and_rotate(dir.path());
    assert_eq!(std::fs::read(dir.path().join("notes.tmp")).unwrap(), b"mine");
    assert_eq!(std::fs::read(dir.path().join("link.tmp")).unwrap(), b"mine");
    // One of the log's own files does not.
    let own = dir.path().join(format!("{}.tmp", segment_name(1000, 4096)));
    std::fs::write(&own, [0; 4096]).unwrap();
    reopen_and_rotate(dir.path());
    assert!(!own.exists());
}

#[test]
fn w14_a_foreign_file_with_a_segments_name_stays() {
    let dir = tempfile::tempdir().unwrap();
    released(dir.path());
    let (old, new) = (segment_name(2, 1 << 16), segment_name(1 << 20, 1 << 40));
    for name in [&old, &new] {
        std::fs::write(dir.path().join(name), "a letter that somebody saved here").unwrap();
    }
    reopen_and_rotate(dir.path());
    reopen_and_rotate(dir.path());
    for name in [&old, &new] {
        assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), b"a letter that somebody saved here");
    }
    // Another log's segment stays too, but beside the kept ones it is refused.
    let other = tempfile::tempdir().unwrap();
    released(other.path());
    let names =
        std::fs::read_dir(other.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let segment = names.filter(|n| n.ends_with(".seg")).max().unwrap();
    std::fs::copy(other.path().join(&segment), dir.path().join(segment_name(3, 3 << 16))).unwrap();
    reopen_and_rotate(dir.path());
    assert!(dir.path().join(segment_name(3, 3 << 16)).exists());
    std::fs::copy(other.path().join(&segment), dir.path().join(segment_name(1 << 21, 1 << 41))).unwrap();
    assert!(matches!(options().open(dir.path()), Err(Error::Foreign { .. })));
}

#[test]
fn w14_what_is_no_file_is_refused_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    released(dir.path());
    let make_fifo = |name: &str| {
        assert!(Command::new("mkfifo").arg(dir.path().join(name)).status().unwrap().success());
    };
    // A FIFO with a segment's name and no other end: nothing waits for it.
    make_fifo(&segment_name(1, 0));
    make_fifo(&segment_name(1 << 20, 1 << 40));
    let _socket =
        std::os::unix::net::UnixListener::bind(dir.path().join(segment_name(1 << 21, 1 << 41))).unwrap();
    symlink("/etc/hostname", dir.path().join(segment_name(1 << 22, 1 << 42))).unwrap();
    reopen_and_rotate(dir.path());
    // With the name of a file that the log needs.
    for name in ["reserve", "superblock", "lock"] {
        let path = dir.path().join(name);
        let kept = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let error = options().open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(error.to_string().contains("this is a directory"), "{error}");
        std::fs::remove_dir(&path).unwrap();
        make_fifo(name);
        let error = options().open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
        std::fs::remove_file(&path).unwrap();
        symlink("/etc/hostname", &path).unwrap();
        assert!(options().open(dir.path()).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, kept).unwrap();
    }
    reopen_and_rotate(dir.path());
}

#[test]
fn w14_a_name_that_somebody_took_is_left_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    wal.append([7; 10_000]).unwrap();
    while wal.stats().segments_prepared < 2 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // The names of the next two but one.
    let first = wal.segments()[0].first_lsn.get();
    let capacity = (64 << 10) - 8192;
    for (id, nth) in [(3, 2), (4, 3), (5, 3)] {
        std::fs::write(dir.path().join(segment_name(id, first + nth * capacity)), "mine").unwrap();
    }
    for _ in 0..40 {
        wal.append([7; 10_000]).unwrap();
    }
    let taken = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|path| path.is_file() && std::fs::read(path).unwrap() == b"mine");
    assert_eq!(taken.count(), 3);
    wal.close().unwrap();
    assert_eq!(Wal::open(dir.path()).unwrap().iter().count(), 41);
}

#[cfg(feature = "raft")]
#[test]
fn w14_snapshots_behind_a_link_are_refused() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let foreign =
        elsewhere.path().join("0000000000000007-0000000000000001-0000000000000001-0000000000000001.snap");
    std::fs::write(&foreign, "another log's snapshot").unwrap();
    symlink(elsewhere.path(), dir.path().join("snapshots")).unwrap();
    let error = seawall::raft::RaftLog::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("snapshots"), "{error}");
    assert!(foreign.exists());
}
