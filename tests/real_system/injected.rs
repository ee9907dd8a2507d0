//! Each system call of the log is made to fail: once, and from some point on, with each error that it may return.
//!
//! `strace -e inject` answers in place of the kernel, so the library is not modified for it. Whatever fails: what was
//! acknowledged is recovered, nothing is left behind, nothing panics or hangs, and messages say what to do.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use seawall::{Lsn, SegmentId, verify};

use crate::child::{self, RECORDS, SEGMENT, number, options, payload};

/// A call and its possible errors. Errors marked `Once` would be retried forever.
struct Case {
    call: &'static str,
    errors: &'static [(&'static str, How)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Once, and from some point on.
    Any,
    /// Only once.
    Once,
    /// Like `Any`, in the long form.
    AnyLong,
}

use How::{Any, AnyLong, Once};

const CASES: &[Case] = &[
    Case {
        call: "openat",
        errors: &[
            ("EACCES", Any),
            ("EMFILE", Any),
            ("EINTR", Once),
            ("ENFILE", AnyLong),
            ("ENOSPC", AnyLong),
            ("EDQUOT", AnyLong),
            ("EROFS", AnyLong),
            ("ENOMEM", AnyLong),
            ("EIO", AnyLong),
        ],
    },
    Case {
        call: "pwrite64",
        errors: &[
            ("EIO", Any),
            ("ENOSPC", Any),
            ("EINTR", Once),
            ("EDQUOT", AnyLong),
            ("EFBIG", AnyLong),
            ("EPERM", AnyLong),
            ("ESTALE", AnyLong),
        ],
    },
    Case { call: "pread64", errors: &[("EIO", Any), ("EINTR", Once), ("ESTALE", AnyLong)] },
    Case {
        call: "fdatasync",
        errors: &[
            ("EIO", Any),
            ("EINTR", Once),
            ("ENOSPC", AnyLong),
            ("EDQUOT", AnyLong),
            ("EROFS", AnyLong),
        ],
    },
    Case {
        call: "fsync",
        errors: &[
            ("EIO", Any),
            ("EINVAL", Any),
            ("EINTR", Once),
            ("ENOSPC", AnyLong),
            ("EDQUOT", AnyLong),
            ("EROFS", AnyLong),
        ],
    },
    Case {
        call: "fallocate",
        errors: &[
            ("EOPNOTSUPP", Any),
            ("ENOSYS", Any),
            ("EINVAL", Any),
            ("ENOSPC", Any),
            ("ENOMEM", Any),
            ("EINTR", Once),
            ("EDQUOT", AnyLong),
            ("EFBIG", AnyLong),
            ("EIO", AnyLong),
            ("EPERM", AnyLong),
        ],
    },
    Case {
        call: "ftruncate",
        errors: &[("EIO", Any), ("EINTR", Once), ("EFBIG", AnyLong), ("EINVAL", AnyLong), ("EPERM", AnyLong)],
    },
    Case {
        call: "renameat,renameat2",
        errors: &[
            ("EIO", Any),
            ("EACCES", AnyLong),
            ("ENOSPC", AnyLong),
            ("EROFS", AnyLong),
            ("EDQUOT", AnyLong),
        ],
    },
    Case {
        call: "unlinkat",
        errors: &[
            ("EBUSY", Any),
            ("EIO", AnyLong),
            ("EACCES", AnyLong),
            ("EROFS", AnyLong),
            ("EPERM", AnyLong),
        ],
    },
    Case {
        call: "mmap",
        errors: &[
            ("ENOMEM", Any),
            ("ENODEV", Any),
            ("EACCES", AnyLong),
            ("EAGAIN", AnyLong),
            ("EPERM", AnyLong),
            ("ENFILE", AnyLong),
        ],
    },
    Case { call: "flock", errors: &[("ENOLCK", Any), ("EAGAIN", Any), ("EINTR", Once), ("ENOSYS", AnyLong)] },
    Case {
        call: "getdents64",
        errors: &[("EIO", Any), ("EINTR", Once), ("ENOENT", AnyLong), ("EBADF", AnyLong)],
    },
    Case {
        call: "statx,fstat,newfstatat",
        errors: &[("EIO", Any), ("ENOMEM", AnyLong), ("EACCES", AnyLong)],
    },
];

/// The errors for which a message gives advice.
const HINTED: &[i32] = &[5, 13, 23, 24, 27, 28, 30, 37, 116, 122];

fn all() -> bool {
    std::env::var("SEAWALL_INJECT").is_ok_and(|v| v == "all")
}

pub fn trials() -> Vec<Trial> {
    let possible = can_inject();
    CASES
        .iter()
        .map(|case| {
            Trial::test(format!("w6_{}_that_fails", case.call.replace(',', "_or_")), || try_case(case))
                .with_ignored_flag(!possible)
        })
        .chain([Trial::test("what_is_acknowledged_falsely_is_found", control).with_ignored_flag(!possible)])
        .collect()
}

fn can_inject() -> bool {
    let injected = ["-f", "-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO:when=1", "true"];
    Command::new("strace").args(injected).output().is_ok_and(|out| out.status.success())
}

fn try_case(case: &Case) -> Result<(), Failed> {
    let places: &[u32] = if all() { &[1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 23] } else { &[1, 2, 5] };
    let (mut runs, mut told) = (0, 0);
    for (error, how) in case.errors {
        if *how == AnyLong && !all() {
            continue;
        }
        for place in places {
            let mut whens = vec![place.to_string()];
            if *how != Once {
                whens.push(format!("{place}+"));
            }
            for when in whens {
                for single in if all() { &[false, true][..] } else { &[false][..] } {
                    let inject = format!("inject={}:error={error}:when={when}", case.call);
                    let seen = run(&inject, case.call, *single)
                        .map_err(|why| format!("{inject} single={single}: {why}"))?;
                    runs += 1;
                    told += usize::from(seen.errors > 0);
                }
            }
        }
    }
    println!("{}: {runs} runs, {told} of them told of an error", case.call);
    Ok(())
}

/// A device that returns `Ok` for a sync that it did not do, and loses the data, is not a failure of the log: the
/// checks must detect it. Here it is simulated by truncating the newest segment's file after the child has ended.
fn control() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let out = strace(dir.path(), "inject=flock:error=EINTR:when=1", "flock", false)?;
    let acknowledged = acknowledged(&out);
    check(dir.path(), &acknowledged)?;
    let log = options().open(dir.path())?;
    let newest = log.segments().last().map(|s| s.id).unwrap_or_default();
    let file = dir.path().join(log.segment_reader(newest)?.file_name());
    log.close()?;
    drop(log);
    std::fs::OpenOptions::new().write(true).open(file)?.set_len(8192)?;
    match check(dir.path(), &acknowledged) {
        Ok(()) => Err("lost records were not missed".into()),
        Err(_) => Ok(()),
    }
}

struct Seen {
    errors: usize,
}

fn run(inject: &str, call: &str, single: bool) -> Result<Seen, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let out = strace(dir.path(), inject, call, single)?;
    if out.contains("WRONG") {
        return Err(format!("a record was read that is not what was written:\n{out}"));
    }
    let errors: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("error ")).collect();
    for said in &errors {
        hinted(said)?;
    }
    check(dir.path(), &acknowledged(&out)).map_err(|e| format!("{e}\n{out}"))?;
    Ok(Seen { errors: errors.len() })
}

fn hinted(said: &str) -> Result<(), String> {
    let code = said.split_once("(os error ").and_then(|(_, rest)| rest.split_once(')')?.0.parse().ok());
    let poisoned = said.starts_with("the log is poisoned");
    let Some((code, rest)) = code.zip(said.split_once("(os error ").map(|(_, rest)| rest)) else {
        return Ok(());
    };
    if HINTED.contains(&code) && !poisoned && !rest.contains(" (") {
        return Err(format!("no hint: {said}"));
    }
    Ok(())
}

/// All files that the log will have, for `strace` to look at their calls and no others.
fn paths(dir: &Path) -> Vec<PathBuf> {
    let capacity = SEGMENT - 8192;
    let mut paths = vec![dir.to_owned()];
    paths.extend(["superblock", "reserve", "lock"].map(|name| dir.join(name)));
    for id in 1..40 {
        for nth in 0..20 {
            let name = seawall::format::segment::file_name(SegmentId::new(id), Lsn::new(nth * capacity));
            // Each segment is full, or one of its preparations failed and took a number.
            if nth < id && id <= nth + 12 {
                paths.push(dir.join(name));
            }
        }
    }
    paths
}

fn strace(dir: &Path, inject: &str, call: &str, single: bool) -> Result<String, String> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "signal=none",
        "-e",
        &format!("trace={call}"),
        "-e",
        inject,
    ]);
    let dir = dir.canonicalize().map_err(|e| e.to_string())?;
    for path in paths(&dir) {
        command.arg("-P").arg(path);
    }
    command.arg(std::env::current_exe().map_err(|e| e.to_string())?).env(child::DIR, &dir);
    if single {
        command.env(child::SINGLE, "1");
    }
    let mut running =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let (stdout, stderr) = (running.stdout.take(), running.stderr.take());
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.map(|mut out| out.read_to_string(&mut text));
        text
    });
    let began = Instant::now();
    let status = loop {
        match running.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None if began.elapsed() > PATIENCE => {
                running.kill().map_err(|e| e.to_string())?;
                return Err("the program hangs".to_owned());
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let out = reading.join().unwrap_or_default();
    let mut panicked = String::new();
    stderr.map(|mut err| err.read_to_string(&mut panicked));
    match status.code() {
        Some(0 | 3) => Ok(out),
        code => Err(format!("the program ended with {code:?}: {panicked}\n{out}")),
    }
}

fn acknowledged(out: &str) -> BTreeSet<u64> {
    out.lines().filter_map(|line| line.strip_prefix("ack ")?.parse().ok()).collect()
}

/// Everything acknowledged is there, except what was released; everything else was submitted; nothing is left behind.
fn check(dir: &Path, acknowledged: &BTreeSet<u64>) -> Result<(), String> {
    let log = options().open(dir).map_err(|e| format!("the next open: {e}"))?;
    let mut found = BTreeSet::new();
    for record in log.iter() {
        let record = record.map_err(|e| format!("reading: {e}"))?;
        if record.payload().is_empty() {
            continue;
        }
        let n = number(record.payload());
        if record.payload() != payload(n) || n >= RECORDS {
            return Err(format!("a record that was never submitted, at {}", record.lsn()));
        }
        found.insert(n);
    }
    // Releases start with the oldest, and never reach what is kept.
    let first = found.first().copied().unwrap_or(RECORDS);
    let released = acknowledged.iter().filter(|n| **n < first).count() as u64;
    let kept = (acknowledged.len() as u64).min(child::KEPT);
    if acknowledged.len() as u64 - released < kept {
        return Err(format!("{released} of {} acknowledged records are gone", acknowledged.len()));
    }
    if let Some(lost) = acknowledged.iter().find(|n| **n >= first && !found.contains(n)) {
        return Err(format!("record {lost} was acknowledged, and is lost; there are {found:?}"));
    }
    log.append(payload(0)).map_err(|e| format!("it does not go on: {e}"))?;
    log.close().map_err(|e| e.to_string())?;
    let segments = log.segments().len();
    drop(log);
    let names: Vec<String> = std::fs::read_dir(dir)
        .map_err(|e| e.to_string())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    // A spare, and the one that is ready; superblock, lock and reserve.
    if names.len() > segments + 5 {
        return Err(format!("{segments} segments, and left behind: {names:?}"));
    }
    let report = verify(dir).map_err(|e| e.to_string())?;
    if report.is_ok() { Ok(()) } else { Err(report.to_string()) }
}
