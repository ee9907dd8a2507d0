//! Recycled files: only the configured number is kept, a crash anywhere leaves neither an orphan nor a leak, and no
//! byte of an earlier generation is ever read, although all blocks have the same size and lie where others were
//! before.

use std::sync::Arc;
use std::time::Duration;

use seawall::io::sim::{CrashStyle, SimDisk};
use seawall::{Options, Wal};

const SPARES: usize = 2;
/// Superblock, reserve and lock.
const OTHERS: usize = 3;

fn options() -> Options {
    let options = Options::new().segment_size(24 << 10).block_align(4096).spare_segments(SPARES);
    options.threads(false).idle_marker(Duration::from_secs(3600))
}

fn open(disk: &SimDisk) -> Wal {
    options().open_on(Arc::new(disk.clone())).unwrap()
}

/// Every record has one length, and every block has one record.
fn payload(n: u64) -> [u8; 1000] {
    let mut bytes = [0x55; 1000];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes
}

/// The numbers of the records, each of which must be intact and correct, without a gap.
fn numbers(wal: &Wal) -> Vec<u64> {
    let number = |record: seawall::Result<seawall::Record>| {
        let record = record.unwrap();
        let n = u64::from_le_bytes(record.payload()[..8].try_into().unwrap());
        assert_eq!(record.payload(), payload(n));
        n
    };
    let held: Vec<u64> = wal.iter().map(number).collect();
    assert!(held.windows(2).all(|w| w[0] + 1 == w[1]), "{held:?}");
    held
}

/// Appends from `from` to `to`, keeping the newest ten or so.
fn go_on(wal: &Wal, from: u64, to: u64) {
    let mut recent = std::collections::VecDeque::new();
    for n in from..to {
        recent.push_back(wal.append(payload(n)).unwrap());
        if recent.len() > 10 {
            wal.release(recent.pop_front().unwrap()).unwrap();
        }
    }
}

fn segment_files(disk: &SimDisk) -> usize {
    let files = disk.files();
    let segments = files.iter().filter(|f| f.ends_with(".seg")).count();
    assert!(files.len() <= segments + OTHERS, "something was left: {files:?}");
    segments
}

#[test]
fn no_more_files_are_kept_than_the_options_say() {
    let disk = SimDisk::new();
    let wal = open(&disk);
    let mut most = 0;
    for round in 0..20 {
        go_on(&wal, round * 20, round * 20 + 20);
        let stats = wal.stats();
        most = most.max(stats.spare_segments);
        assert!(stats.spare_segments <= SPARES as u64);
        // The log's own, the spares, and the one that is ready.
        assert!(segment_files(&disk) as u64 <= stats.segments + stats.spare_segments + 1);
    }
    assert!(most > 0 && wal.stats().segments_recycled > 10, "{:?}", wal.stats());
}

#[test]
fn a_crash_at_any_call_leaves_no_orphan_and_brings_no_stale_byte_back() {
    let disk = SimDisk::new();
    let wal = open(&disk);
    go_on(&wal, 0, 40);
    assert!(wal.stats().segments_recycled > 2);
    disk.keep_history();
    go_on(&wal, 40, 60);
    let (mut states, mut cut) = (0, 0);
    for call in disk.history() {
        let Some(before) = disk.before(call) else { continue };
        for seed in 0..10 {
            let style = [CrashStyle::LoseAll, CrashStyle::KeepAll].get(seed).copied();
            let left = before.crash(style.unwrap_or(CrashStyle::Chaos(call * 16 + seed as u64)));
            let after = open(&left);
            let held = numbers(&after);
            // Released up to ten before the newest, a segment at a time.
            assert!(held.len() >= 10 && held[0] <= 49, "call {call}: {held:?}");
            states += 1;
            cut += u64::from(!after.recovery().cut.is_empty());
            let next = held.last().unwrap() + 1;
            go_on(&after, next, next + 30);
            assert_eq!(numbers(&after).last(), Some(&(next + 29)));
            let stats = after.stats();
            let files = segment_files(&left) as u64;
            assert!(files <= stats.segments + SPARES as u64 + 1, "call {call}: {files} files, {stats:?}");
        }
    }
    assert!(states > 300 && cut > 10, "{states} states, {cut} with a torn tail");
}
