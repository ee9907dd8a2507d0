//! Logs on separate file systems: small ones, ones mounted over a log, and newly made ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use seawall::{Options, Wal, verify};

use crate::full_disk_support::{GROUPS, all_entries, compact_and_purge, create, fill, grow, options, save};
use crate::process_support::{drop_privileges, in_forked_child};

pub fn trials() -> Vec<Trial> {
    let mounts = |kind| Mounted::new(kind).is_some();
    let (ext4, tmpfs) = (mounts("ext4"), mounts("tmpfs"));
    let trial = |name: &str, possible: bool, test: fn() -> Result<(), Failed>| {
        Trial::test(name, test).with_ignored_flag(!possible)
    };
    vec![
        trial("a_full_ext4", ext4, || full("ext4")),
        trial("a_full_tmpfs", tmpfs, || full("tmpfs")),
        trial("w14_a_file_system_mounted_over_an_open_log", tmpfs, mounted_over),
        trial("a_backup_onto_a_new_file_system_by_a_user_who_may_not_read_all_of_it", ext4, backup_onto_new),
    ]
}

/// A file system of 8 MiB, in a file or in memory. It is unmounted on drop.
struct Mounted {
    at: PathBuf,
    _dir: tempfile::TempDir,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        assert!(run("umount", &[self.at.to_str().unwrap()]), "{} stays mounted", self.at.display());
    }
}

fn run(command: &str, args: &[&str]) -> bool {
    Command::new(command).args(args).output().is_ok_and(|o| o.status.success())
}

impl Mounted {
    /// `None` where this process may not mount.
    fn new(kind: &str) -> Option<Mounted> {
        let dir = tempfile::tempdir().ok()?;
        let (image, at) = (dir.path().join("image"), dir.path().join("mounted"));
        std::fs::create_dir(&at).ok()?;
        let (from, target) = (image.to_str()?, at.to_str()?);
        let mounted = match kind {
            "ext4" => {
                run("truncate", &["-s", "8M", from])
                    && run("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", from])
                    && run("mount", &["-o", "loop", from, target])
            }
            _ => mount_memory(&at),
        };
        mounted.then_some(Mounted { at, _dir: dir })
    }
}

fn mount_memory(at: &Path) -> bool {
    run("mount", &["-t", "tmpfs", "-o", "size=8m", "tmpfs", at.to_str().unwrap_or_default()])
}

fn full(kind: &str) -> Result<(), Failed> {
    let mounted = Mounted::new(kind).ok_or("it could be mounted a moment ago")?;
    let place = mounted.at.join("log");
    // A snapshot file cannot use the reserve. The next segment and the reserve, which are made in the background, may
    // exist before it.
    std::fs::write(mounted.at.join("something"), vec![1; 768 << 10])?;
    let log = options(256 << 10).open(&place)?;
    create(&log);
    (0..600).for_each(|n| grow(&log, 1 + n % GROUPS).unwrap());
    save(&log);
    fill(&log);
    let seen = all_entries(&log);
    assert!(compact_and_purge(&log) > 0);
    assert!(fill(&log) > 50);
    drop(log);
    // Another file takes the rest.
    drop(std::fs::write(mounted.at.join("ballast"), vec![1; 8 << 20]));
    let log = options(256 << 10).open(&place)?;
    assert!(all_entries(&log)[0].last().unwrap().0 >= seen[0].last().unwrap().0);
    fill(&log);
    std::fs::remove_file(mounted.at.join("something"))?;
    save(&log);
    compact_and_purge(&log);
    assert!(fill(&log) > 50);
    log.close()?;
    assert!(verify(&place)?.is_ok());
    println!("{kind}: {} entries before it was full", seen.iter().map(Vec::len).sum::<usize>());
    Ok(())
}

fn mounted_over() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let small = Options::new().segment_size(64 << 10);
    let wal = small.open(dir.path())?;
    assert!(mount_memory(dir.path()));
    let appended = (0..200u8).try_for_each(|n| wal.append([n; 3000]).map(drop)).and_then(|()| wal.close());
    let over = std::fs::read_dir(dir.path()).map(Iterator::count);
    assert!(run("umount", &[dir.path().to_str().unwrap()]));
    appended?;
    assert_eq!(over?, 0, "something was written into what was mounted over the log");
    assert!(verify(dir.path())?.is_ok());
    assert_eq!(Wal::open(dir.path())?.iter().count(), 200);
    Ok(())
}

fn backup_onto_new() -> Result<(), Failed> {
    let mounted = Mounted::new("ext4").ok_or("it could be mounted a moment ago")?;
    assert!(mounted.at.join("lost+found").is_dir());
    let source = tempfile::tempdir()?;
    for dir in [source.path(), mounted.at.as_path(), mounted.at.parent().unwrap()] {
        std::os::unix::fs::chown(dir, Some(65_534), Some(65_534))?;
    }
    in_forked_child((), |()| {
        drop_privileges();
        assert!(std::fs::read_dir(mounted.at.join("lost+found")).is_err());
        let wal = Options::new().segment_size(64 << 10).open(source.path()).unwrap();
        for n in 0..100u8 {
            wal.append([n; 3000]).unwrap();
        }
        wal.backup(&mounted.at).unwrap();
        wal.close().unwrap();
    });
    assert!(verify(&mounted.at)?.is_ok());
    assert_eq!(Wal::open(&mounted.at)?.iter().count(), 100);
    Ok(())
}
