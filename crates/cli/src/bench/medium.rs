//! The storage medium of the files, and whether its syncs are plausible.

use std::fmt;
use std::path::Path;

use super::latency::{Latencies, shown};

/// Below this median a sync is faster than flash can be programmed, and much faster than a disk turns: only memory
/// answers that fast, with or without protection against power loss.
const IMPLAUSIBLE: u64 = 30_000;

/// The file system that a directory is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// Memory, as it reports itself.
    Memory(&'static str),
    /// Another file system, with its name if known.
    Other(Option<&'static str>),
}

impl Medium {
    #[cfg(target_os = "linux")]
    pub(super) fn of(dir: &Path) -> Self {
        #[allow(clippy::unnecessary_cast)] // the field is narrower on some machines
        let kind = rustix::fs::statfs(dir).map(|found| found.f_type as i64);
        match kind {
            Ok(0x0102_1994) => Medium::Memory("tmpfs"),
            Ok(0x8584_58f6) => Medium::Memory("ramfs"),
            Ok(0xef53) => Medium::Other(Some("ext4 (or ext2, ext3)")),
            Ok(0x5846_5342) => Medium::Other(Some("xfs")),
            Ok(0x9123_683e) => Medium::Other(Some("btrfs")),
            Ok(0x2fc1_2fc1) => Medium::Other(Some("zfs")),
            Ok(0xf2f5_2010) => Medium::Other(Some("f2fs")),
            Ok(0x794c_7630) => Medium::Other(Some("overlayfs")),
            Ok(0x6969) => Medium::Other(Some("nfs")),
            Ok(0x0102_1997) => Medium::Other(Some("9p")),
            Ok(0x6573_5546) => Medium::Other(Some("fuse")),
            _ => Medium::Other(None),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn of(_: &Path) -> Self {
        Medium::Other(None)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Medium::Memory(name) => name,
            Medium::Other(name) => name.unwrap_or("an unknown file system"),
        }
    }

    pub(super) fn verdict(self, syncs: &Latencies) -> Verdict {
        let median = syncs.quantile(0.5);
        match self {
            Medium::Memory(_) => Verdict::Memory,
            Medium::Other(_) if median < IMPLAUSIBLE => Verdict::TooFast(median),
            Medium::Other(_) => Verdict::Plausible(median),
        }
    }
}

/// Whether the sync times are plausible. A number proves nothing either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Memory,
    /// The median sync time in nanoseconds.
    TooFast(u64),
    Plausible(u64),
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Verdict::Memory => "memory",
            Verdict::TooFast(_) => "too_fast",
            Verdict::Plausible(_) => "plausible",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Memory => f.write_str(
                "this is memory: nothing on it survives a power loss, and the figures say nothing about a device",
            ),
            Verdict::TooFast(median) => write!(
                f,
                "half of the syncs return within {}, faster than flash can be written. That is fine if the memory that \
                 answers is protected against power loss (a drive with capacitors, a controller with a battery). If you do \
                 not know of one, something between the program and the medium acknowledges data that is not durable: a drive's \
                 cache, a virtual machine, a mount without barriers. No figure tells which; only cutting the power does",
                shown(*median)
            ),
            Verdict::Plausible(median) => write!(
                f,
                "half of the syncs take {} or more, as if something was written. That is plausible, but no proof: only cutting \
                 the power is",
                shown(*median)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_too_fast_is_said_and_memory_is_called_so() {
        let with = |micros| {
            let mut syncs = Latencies::default();
            (0..10).for_each(|_| syncs.add(Duration::from_micros(micros)));
            syncs
        };
        let word = |medium: Medium, micros| medium.verdict(&with(micros)).word();
        assert_eq!(word(Medium::Memory("tmpfs"), 500), "memory");
        assert_eq!(word(Medium::Other(None), 5), "too_fast");
        assert_eq!(word(Medium::Other(Some("xfs")), 60), "plausible");
    }
}
