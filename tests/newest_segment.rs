//! W4: whatever happens to the newest file at any moment, nothing acknowledged in it is lost silently.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use seawall::format::PAGE;
use seawall::io::Disk;
use seawall::io::sim::SimDisk;
use seawall::{Error, Lsn, Options, TailPolicy, Wal, verify_on};

fn options() -> Options {
    Options::new().segment_size(32 << 10).spare_segments(1).threads(false).mmap(false)
}

fn open(disk: &SimDisk) -> Result<Wal, Error> {
    options().open_on(Arc::new(disk.clone()))
}

/// What happens to a file that was taken away, given its bytes.
type Harm = fn(&SimDisk, &str, Vec<u8>);

const HARMS: &[(&str, Harm)] = &[
    ("is gone", |_, _, _| {}),
    ("is empty", |disk, name, _| disk.put(name, [])),
    ("lost its first two pages", |disk, name, mut bytes| {
        let pages = bytes.len().min(2 * PAGE);
        bytes[..pages].fill(0);
        disk.put(name, bytes);
    }),
    ("has other bytes in its first two pages", |disk, name, mut bytes| {
        let pages = bytes.len().min(2 * PAGE);
        bytes[..pages].fill(0x55);
        disk.put(name, bytes);
    }),
    ("is cut down to its first two pages", |disk, name, mut bytes| {
        bytes.truncate(2 * PAGE);
        disk.put(name, bytes);
    }),
    ("is cut by a sector", |disk, name, mut bytes| {
        bytes.truncate(bytes.len() - PAGE);
        disk.put(name, bytes);
    }),
];

/// A log that appends and releases, and what was acknowledged before each call.
fn run() -> (SimDisk, Vec<(u64, Lsn)>) {
    let disk = SimDisk::new();
    disk.keep_history();
    let wal = open(&disk).unwrap();
    let mut acknowledged = Vec::new();
    for n in 0..40u8 {
        let mut batch = wal.batch();
        batch.push([n; 3000]);
        // A wait only flushes: the work for the rotation is done later.
        let lsn = wal.submit(&batch).unwrap().wait().unwrap();
        acknowledged.push((disk.calls(), lsn));
        if n == 20 {
            wal.release(lsn).unwrap();
        }
    }
    (disk, acknowledged)
}

#[test]
fn w4_a_newest_file_that_is_gone_blank_or_short_is_noticed_at_every_moment() {
    let (disk, acknowledged) = run();
    let (mut refused, mut unharmed) = (0, 0);
    for call in disk.history() {
        let state = disk.before(call).unwrap().kill();
        let held: BTreeSet<Lsn> =
            acknowledged.iter().filter(|(at, _)| *at <= call).map(|(_, lsn)| *lsn).collect();
        let first = open(&state.kill()).map_or(Lsn::MAX, |wal| wal.first_lsn());
        for name in state.files().into_iter().filter(|name| name.ends_with(".seg")) {
            for (what, harm) in HARMS {
                let harmed = state.kill();
                let bytes = harmed.take(&name).unwrap();
                if bytes.len() < 2 * PAGE {
                    continue;
                }
                harm(&harmed, &name, bytes);
                match open(&harmed) {
                    Err(Error::Corruption(_)) => refused += 1,
                    Err(e) => panic!("before call {call} {name} {what}: {e}"),
                    Ok(wal) => {
                        unharmed += 1;
                        let lost = held.iter().find(|lsn| **lsn >= first && wal.read(**lsn).is_err());
                        assert_eq!(
                            lost,
                            None,
                            "before call {call} {name} {what}, and opens as {}",
                            wal.recovery()
                        );
                    }
                }
            }
        }
    }
    assert!(refused > 1000 && unharmed > 100, "{refused} refused, {unharmed} without harm");
}

/// The newest segment's first block was durable when the superblock named the segment as one that has a block.
#[test]
fn w4_a_first_block_that_the_superblock_knows_of_is_missed() {
    let disk = SimDisk::new();
    let wal = open(&disk).unwrap();
    let lsn = wal.append([1; 3000]).unwrap();
    let found = disk.kill();
    let name = found.files().into_iter().filter(|name| name.ends_with(".seg")).min().unwrap();
    let mut bytes = found.take(&name).unwrap();
    bytes[2 * PAGE..].fill(0);
    found.put(&name, bytes);
    let error = open(&found.kill()).unwrap_err();
    assert!(matches!(&error, Error::Corruption(c) if c.lsns.start <= lsn), "{error}");
    let disk: Arc<dyn Disk> = Arc::new(found);
    assert!(!verify_on(&disk).unwrap().is_ok());
}

/// The one undecidable case: the newest block entirely zeroed, right after it was acknowledged, in a file that was
/// filled with zeros. It looks like a place that was never written, under either policy; a marker block ends the
/// uncertainty.
#[test]
fn a_newest_block_that_is_zeroed_whole_looks_as_if_it_had_never_been() {
    let disk = SimDisk::new();
    let wal = open(&disk).unwrap();
    wal.append([1; 3000]).unwrap();
    let lsn = wal.append([2; 3000]).unwrap();
    let zeroed = |disk: &SimDisk| {
        let name = disk.files().into_iter().filter(|name| name.ends_with(".seg")).min().unwrap();
        let mut bytes = disk.take(&name).unwrap();
        let at = 2 * PAGE + usize::try_from(lsn.get()).unwrap() / PAGE * PAGE;
        bytes[at..at + PAGE].fill(0);
        disk.put(&name, bytes);
    };
    let found = disk.kill();
    zeroed(&found);
    for policy in [TailPolicy::Truncate, TailPolicy::Refuse] {
        let wal = options().tail_policy(policy).open_on(Arc::new(found.kill())).unwrap();
        assert!(wal.recovery().cut.is_empty() && wal.read(lsn).is_err());
    }
    wal.close().unwrap();
    let found = disk.kill();
    zeroed(&found);
    assert!(matches!(open(&found), Err(Error::Corruption(_))));
}
