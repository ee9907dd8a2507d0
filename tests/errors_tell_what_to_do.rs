//! Errors as a first-time user encounters them: each says what happened, where, and what to do next.

mod codec_support;
mod errors_support;
mod process_support;

use std::path::Path;
use std::sync::Arc;

use errors_support::variants;
use process_support::{alone, drop_privileges, in_forked_child};
use seawall::format::segment::file_name;
use seawall::format::superblock::FILE_NAME;
use seawall::format::{PAGE, VERSION, crc32};
use seawall::io::sim::{Call, Fault, FaultPlan, SimDisk, Trigger};
use seawall::{Batch, Error, Lsn, Options, SegmentId, Wal, verify};

/// Every error is explained in the guide.
#[test]
fn every_error_is_in_the_guide() {
    let page = include_str!("../docs/guide/errors.md");
    let (log, raft) = page.split_once("## Of the Raft layer").unwrap();
    for (source, name, page) in [
        (include_str!("../src/error.rs"), "Error", log),
        (include_str!("../src/error.rs"), "CorruptionReason", log),
        (include_str!("../src/error/repair_problem.rs"), "RepairProblem", log),
        (include_str!("../src/raft/error.rs"), "Error", raft),
        (include_str!("../src/raft/error.rs"), "Missing", raft),
        (include_str!("../src/groups/error.rs"), "Error", raft),
        (include_str!("../src/groups/error.rs"), "ContentProblem", raft),
        (include_str!("../src/raft/node/error.rs"), "NodeError", raft),
        (include_str!("../src/raft/node/proposal.rs"), "ProposalError", raft),
    ] {
        let found = variants(source, name);
        assert!(found.len() >= 4, "{name}: {found:?}");
        for variant in found {
            assert!(
                page.contains(&format!("`{variant}`")),
                "{name}::{variant} is not in docs/guide/errors.md"
            );
        }
    }
}

fn options() -> Options {
    Options::new().segment_size(64 << 10)
}

/// The message, with the directory as DIR.
fn said(dir: &Path, e: &Error) -> String {
    e.to_string().replace(dir.to_str().unwrap(), "DIR")
}

fn refused(dir: &Path, options: &Options) -> String {
    said(dir, &options.open(dir).unwrap_err())
}

/// A closed log with one record; the name of its first segment.
fn log(dir: &Path) -> String {
    let wal = options().open(dir).unwrap();
    wal.append([7; 300]).unwrap();
    wal.close().unwrap();
    file_name(SegmentId::new(1), Lsn::ZERO)
}

#[test]
fn a_wrong_directory() {
    let dir = tempfile::tempdir().unwrap();
    let existing = options().create_if_missing(false);
    assert_eq!(
        refused(dir.path(), &existing),
        "find a log in DIR: entity not found (this directory holds no log: check the path, or set \
         `Options::create_if_missing`)"
    );
    assert_eq!(
        refused(&dir.path().join("nowhere"), &existing),
        "open directory DIR: No such file or directory (os error 2) (check the path, or set \
         `Options::create_if_missing`)"
    );
    assert_eq!(said(dir.path(), &verify(dir.path()).unwrap_err()), refused(dir.path(), &existing));
}

#[test]
fn a_file_in_the_place_of_a_directory_and_the_other_way_round() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    for create in [true, false] {
        let said = refused(&file, &options().create_if_missing(create));
        assert!(said.ends_with("(a log is a directory; this is a file, or a link)"), "{said}");
        assert!(said.starts_with("open directory DIR: "), "{said}");
    }
    std::fs::create_dir(dir.path().join(FILE_NAME)).unwrap();
    assert_eq!(
        refused(dir.path(), &options()),
        "open DIR/superblock: Is a directory (os error 21) (this is a directory with the name of a log \
         file: move it away)"
    );
}

#[test]
fn a_second_opener() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    assert_eq!(
        refused(dir.path(), &options()),
        "DIR is locked: another process, or another handle in this one, has this log open. \
         Close it first; a killed process leaves no lock behind"
    );
    drop(wal);
}

/// Changes a file in place.
fn edit(dir: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_newer_format() {
    for slots in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let segment = log(dir.path());
        let (name, covered, pages) =
            if slots { (FILE_NAME, 88, vec![0, PAGE]) } else { (segment.as_str(), 80, vec![0]) };
        edit(dir.path(), name, |bytes| {
            for at in pages {
                bytes[at + 8..at + 12].copy_from_slice(&(VERSION + 1).to_le_bytes());
                let sum = crc32(&bytes[at + 4..at + covered]);
                bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
            }
        });
        assert_eq!(
            refused(dir.path(), &options()),
            format!(
                "DIR/{name}: format version 2 is not supported; this build reads up to 1. The file is \
                 not damaged: open it with a newer release"
            )
        );
    }
}

#[test]
fn a_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    let segment = log(dir.path());
    edit(dir.path(), &segment, |bytes| bytes[8192 + 100] ^= 1);
    assert_eq!(
        refused(dir.path(), &options()),
        format!(
            "DIR/{segment} at offset 8248: a payload does not match its checksum (LSN 0 to 8192); it was \
             durable: the superblock says that everything below 8192 was. Nothing was changed: keep the \
             directory as it is, and restore this node from a replica or a backup; without either, \
             `seawall repair` shows what can be kept"
        )
    );
}

#[test]
fn an_empty_file() {
    let rest = "Nothing was changed: keep the directory as it is, and restore this node from a replica \
                or a backup; without either, `seawall repair` shows what can be kept";
    let dir = tempfile::tempdir().unwrap();
    let segment = log(dir.path());
    edit(dir.path(), &segment, Vec::clear);
    assert_eq!(
        refused(dir.path(), &options()),
        format!(
            "DIR/{segment} at offset 0: the first page of the segment does not verify (LSN 0 to 8192); \
             it was durable: the superblock says that everything below 8192 was. {rest}"
        )
    );
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());
    edit(dir.path(), FILE_NAME, Vec::clear);
    assert_eq!(
        refused(dir.path(), &options()),
        format!(
            "DIR/superblock at offset 0: neither slot of the superblock verifies (LSN 0 to 18446744073709551615). {rest}"
        )
    );
}

#[test]
fn another_log_and_another_owner() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (segment, _) = (log(one.path()), log(two.path()));
    std::fs::copy(two.path().join(&segment), one.path().join(&segment)).unwrap();
    let uuids = [&one, &two].map(|d| verify(d.path()).map(|r| r.uuid.unwrap().to_string()));
    let said = refused(one.path(), &options());
    assert_eq!(
        said,
        format!(
            "DIR/{segment} belongs to log {}, this directory to log {}. Move the file to where it belongs",
            uuids[1].as_ref().unwrap(),
            said.rsplit_once("to log ").unwrap().1.split('.').next().unwrap()
        )
    );
    let dir = tempfile::tempdir().unwrap();
    drop(options().owner(3).open(dir.path()).unwrap());
    assert_eq!(
        refused(dir.path(), &options().owner(4)),
        "DIR belongs to owner 3, but was opened as owner 4. Check the directory and the identity that \
         the program was started with"
    );
}

#[test]
fn options_that_cannot_work() {
    let dir = tempfile::tempdir().unwrap();
    for (options, said) in [
        (options().segment_size(1), "invalid options: segment_size is 1, but must be from 16 KiB to 4 GiB"),
        (
            options().block_align(100),
            "invalid options: block_align is 100, but must be a power of two from 8 to 4096",
        ),
        (
            options().max_record_size(1 << 20),
            "invalid options: max_record_size is 1048576, but a segment of 65536 bytes has room for \
             57264: lower it, or raise segment_size",
        ),
    ] {
        assert_eq!(refused(dir.path(), &options), said);
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was made");
}

/// The error message if every system call of this kind fails with this error.
fn failing(call: Call, code: i32) -> String {
    let disk = SimDisk::new();
    let open = |disk: &SimDisk| options().threads(false).open_on(Arc::new(disk.clone()));
    open(&disk).unwrap().append(b"x").unwrap();
    disk.plan(FaultPlan::none().with(Trigger::From(call, 0), Fault::Os(code)));
    said(Path::new("sim"), &open(&disk).unwrap_err())
}

#[test]
fn no_permission_and_a_read_only_mount() {
    assert_eq!(
        failing(Call::Open, 13),
        "open DIR/superblock: Permission denied (os error 13) (the process must be able to read and \
         write this directory and all files in it)"
    );
    assert_eq!(
        failing(Call::Lock, 30),
        "lock DIR/lock: Read-only file system (os error 30) (a log is opened for writing; `verify` does \
         not need that. A file system that became read-only on its own has met an error: check the \
         system log)"
    );
}

/// The same on the real system. Root may do everything, so the test gives up root first.
#[test]
fn no_permission_for_a_real_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    if !alone("no_permission_for_a_real_directory") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let locked = dir.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    for (path, mode) in [(dir.path(), 0o755), (&locked, 0o555)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    in_forked_child((), |()| {
        drop_privileges();
        assert_eq!(
            refused(&locked, &options()),
            "lock DIR/lock: Permission denied (os error 13) (the process must be able to read and write \
             this directory and all files in it)"
        );
    });
}

#[test]
fn a_device_that_fails_and_too_many_files() {
    assert_eq!(
        failing(Call::Read, 5),
        "read DIR/superblock: Input/output error (os error 5) (the device failed: check the system log, \
         and copy what can be read to another device)"
    );
    let said = failing(Call::Open, 24);
    assert!(
        said.ends_with(
            "(nothing is damaged: raise this process's limit on open files, `ulimit -n`; a log keeps one \
             open for each segment)"
        ),
        "{said}"
    );
}

/// System failures come with advice, in the message and in the guide.
#[test]
fn each_failure_of_the_system_with_a_usual_cause_has_a_hint_and_stands_on_the_page() {
    let page = include_str!("../docs/guide/errors.md");
    let of_system = page.split_once("### `Io`").unwrap().1.split_once("### `Corruption`").unwrap().0;
    let cases = [
        (Call::Lock, 37, "NFS needs its lock service", "ENOLCK"),
        (Call::Lock, 30, "opened for writing", "EROFS"),
        (Call::Open, 116, "disappeared under the open log", "ESTALE"),
        (Call::Read, 5, "the device failed", "EIO"),
        (Call::Open, 24, "`ulimit -n`", "EMFILE"),
        (Call::Open, 23, "`fs.file-max`", "ENFILE"),
        (Call::Open, 13, "must be able to read and write", "EACCES"),
        (Call::SyncDir, 22, "cannot make names durable", "EINVAL"),
    ];
    for (call, code, hint, name) in cases {
        let said = failing(call, code);
        assert!(said.contains(hint), "{name}: {said}");
        assert!(of_system.contains(name), "{name} is not in docs/guide/errors.md");
    }
    for (code, hint, name, full) in [
        (27, "`ulimit -f`", "EFBIG", false),
        (122, "the quota is used up", "EDQUOT", true),
        (28, "free space, or release records", "ENOSPC", true),
    ] {
        let disk = SimDisk::new();
        let wal = options().threads(false).open_on(Arc::new(disk.clone())).unwrap();
        disk.plan(FaultPlan::none().with(Trigger::From(Call::Resize, 0), Fault::Os(code)));
        let error = wal.append(b"x").unwrap_err();
        assert!(error.to_string().contains(hint), "{error}");
        assert_eq!(error.is_full(), full, "{error}");
        assert!(of_system.contains(name), "{name} is not in docs/guide/errors.md");
        disk.plan(FaultPlan::none());
        wal.append(b"nothing was poisoned").unwrap();
    }
    assert!(failing(Call::SyncDir, 22).starts_with("fsync directory DIR: "));
}

/// A loop that frees space on a full-disk error ends when that does not help.
#[test]
fn a_poisoned_log_is_not_full_whatever_poisoned_it() {
    let disk = SimDisk::new();
    let wal = options().threads(false).open_on(Arc::new(disk.clone())).unwrap();
    wal.append(b"x").unwrap();
    disk.plan(FaultPlan::none().with(Trigger::From(Call::Write, 0), Fault::Os(28)));
    let mut tries = 0;
    while wal.append(b"y").is_err_and(|e| tries == 0 || e.is_full()) {
        tries += 1;
        assert!(tries < 10, "it says that it is full for ever");
    }
    assert!(matches!(wal.append(b"y"), Err(Error::Poisoned { .. })));
}

#[test]
fn a_codec_that_is_not_there_or_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().codec(codec_support::xor(1)).open(dir.path()).unwrap();
    let mut batch = Batch::new();
    batch.push(b"plain");
    assert_eq!(
        said(dir.path(), &wal.submit(&batch).unwrap_err()),
        "the log stores payloads through codec 300, but the batch was made with no codec: make batches \
         for this log with `Wal::batch`"
    );
    let lsn = wal.append(b"hidden").unwrap();
    wal.close().unwrap();
    drop(wal);
    let file = file_name(SegmentId::new(1), Lsn::ZERO);
    let without = options().open(dir.path()).unwrap().read(lsn).unwrap_err();
    assert_eq!(
        said(dir.path(), &without),
        format!(
            "DIR/{file}: the payload of the record at LSN {lsn} was encoded by codec 300, which this \
             handle does not have. The log is intact: pass the codec to `Options::codec` or \
             `Options::decode_with`, or to `LogView::decode_with`"
        )
    );
    let another = options().codec(codec_support::xor(2)).open(dir.path()).unwrap().read(lsn).unwrap_err();
    assert_eq!(
        said(dir.path(), &another),
        format!(
            "DIR/{file} at offset {}: codec 300 cannot decode the payload of the record at LSN {lsn}: \
             another key. The stored bytes match their checksum, so they are intact: check that the \
             codec has the key and the version that they were written with",
            8192 + lsn.get()
        )
    );
}

#[test]
fn a_full_disk() {
    let disk = SimDisk::new();
    disk.set_space(Some(100 << 10));
    let wal = options().threads(false).open_on(Arc::new(disk)).unwrap();
    let mut e = None;
    for _ in 0..40 {
        e = e.or(wal.append([1; 4000]).err());
    }
    let e = e.unwrap();
    assert!(e.is_full());
    let said = said(Path::new("sim"), &e);
    assert!(said.starts_with("allocate DIR/") || said.starts_with("write DIR/"), "{said}");
    assert!(said.ends_with("(nothing is damaged: free space, or release records, and try again)"), "{said}");
}

#[test]
fn an_open_log_that_refuses() {
    let disk = SimDisk::new();
    let wal = options().threads(false).open_on(Arc::new(disk.clone())).unwrap();
    let lsn = wal.append([1; 100]).unwrap();
    let said = |e: &Error| said(Path::new("sim"), e);
    assert_eq!(
        said(&wal.append([0; 60_000]).unwrap_err()),
        "a record of 60000 bytes exceeds the limit of 57264 (`Options::max_record_size`). Nothing was submitted: \
         raise the limit, or split the record"
    );
    let mut batch = Batch::new();
    for _ in 0..3 {
        batch.push([0; 30_000]);
    }
    assert_eq!(
        said(&wal.commit(&batch).unwrap_err()),
        "a batch of 90048 bytes exceeds the limit of 57304, which follows from `Options::segment_size`: \
         a batch is atomic, so it must fit into one segment. Nothing was submitted: split it, or use \
         larger segments"
    );
    assert_eq!(
        said(&wal.read(lsn.plus(8)).unwrap_err()),
        "no record starts at 48: the log ends at 4096. Use addresses from appending, from tickets, or \
         from reading; they cannot be guessed"
    );
    for _ in 0..60 {
        wal.append([2; 4000]).unwrap();
    }
    wal.release(wal.durable_lsn()).unwrap();
    let first = wal.first_lsn();
    assert_eq!(
        said(&wal.read(lsn).unwrap_err()),
        format!("record {lsn} was released: the log starts at {first}. Read from there")
    );
    let other = options().threads(false).open_on(Arc::new(SimDisk::new())).unwrap();
    other.close().unwrap();
    assert_eq!(said(&other.append(b"x").unwrap_err()), "the log is closed; open it again");
    poisoned(&disk, &wal);
}

fn poisoned(disk: &SimDisk, wal: &Wal) {
    disk.plan(FaultPlan::none().with(Trigger::Nth(Call::Sync, 0), Fault::Os(5)));
    wal.append(b"x").unwrap_err();
    let e = said(Path::new("sim"), &wal.append(b"y").unwrap_err());
    let (before, after) = e.split_once(" failed earlier ").unwrap();
    assert!(before.starts_with("the log is poisoned: fdatasync DIR/"), "{e}");
    assert_eq!(
        after,
        "(Input/output error (os error 5)). What was acknowledged is safe; \
         close the log, find the cause, and open it again"
    );
}
