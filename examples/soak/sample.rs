//! The measurements taken once a second.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use seawall::raft::RaftLog;

use crate::soak_support::Fallible;
use crate::{SEGMENT, counting};

const PAGE: u64 = 4096;

/// One moment. Sizes are in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    /// Disk usage of all files in the directory: segments, snapshots, spare files, the reserve.
    pub(crate) directory: u64,
    /// Size of the segments, without footers.
    pub(crate) segments: u64,
    pub(crate) live: u64,
    /// Resident memory of the process, mapped segments included.
    pub(crate) resident: u64,
    /// Allocated heap. The allocator holds more, which shows in the line above.
    pub(crate) heap: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// In the preceding second.
    pub(crate) operations: f64,
}

impl Sample {
    /// The bound on the size of the segments.
    pub(crate) fn bound(&self) -> u64 {
        2 * self.live + 3 * SEGMENT
    }
}

/// Takes the measurements. The load is paused; a purge has just been made, and ended segments are truncated to their
/// size.
pub(crate) fn sample(log: &RaftLog, dir: &Path, seconds: f64, operations: f64) -> Fallible<Sample> {
    log.purge()?;
    wait_for_footers(log);
    let space = log.space()?;
    Ok(Sample {
        seconds,
        directory: disk_bytes(dir)?,
        segments: space.disk_bytes,
        live: space.live_bytes,
        resident: resident()?,
        heap: counting::allocated() as u64,
        descriptors: fs::read_dir("/proc/self/fd")?.count() as u64,
        threads: fs::read_dir("/proc/self/task")?.count() as u64,
        operations,
    })
}

/// An ended segment is truncated to its size in the background.
fn wait_for_footers(log: &RaftLog) {
    for _ in 0..200 {
        if log.wal().segments().iter().all(|s| !s.sealed || s.footer_bytes > 0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn disk_bytes(dir: &Path) -> Fallible<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            bytes += disk_bytes(&entry.path())?;
            continue;
        }
        match entry.metadata() {
            Ok(metadata) => bytes += metadata.blocks() * 512,
            // It was recycled meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(bytes)
}

/// Resident memory of the process.
fn resident() -> Fallible<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).ok_or("/proc/self/statm has another form")?;
    Ok(pages.parse::<u64>()? * PAGE)
}

pub(crate) fn to_csv(samples: &[Sample]) -> String {
    let head = "seconds,directory_bytes,segment_bytes,live_bytes,bound_bytes,resident_bytes,heap_bytes,descriptors,threads,\
                operations_per_second";
    let line = |s: &Sample| {
        let sizes =
            [s.directory, s.segments, s.live, s.bound(), s.resident, s.heap, s.descriptors, s.threads];
        let sizes: Vec<String> = sizes.iter().map(u64::to_string).collect();
        format!("{:.1},{},{:.0}", s.seconds, sizes.join(","), s.operations)
    };
    let lines: Vec<String> = std::iter::once(head.to_owned()).chain(samples.iter().map(line)).collect();
    lines.join("\n") + "\n"
}
