//! Snapshots: files in the directory `snapshots` beside the log.
//!
//! A snapshot's file is complete and durable, under its own name, before the record that refers to it enters the log;
//! that record is the commit point. A file that no group refers to means nothing and is removed: by the next purge or
//! saved snapshot, or at open.
//!
//! ```text
//!  create <name>.tmp ── write ── fsync ── rename to <name> ── fsync directory ── record committed ── old file removed
//!  \____________________ a crash here leaves an orphan ____________________/ \__ a crash here leaves the old one __/
//! ```
//!
//! The name is `<group>-<index>-<term>-<serial>.snap`, each number 16 hex digits; a serial is never used twice, so no
//! two snapshots of a group share a file. All integers in it are little-endian.
//!
//! ```text
//! header   0 "SEAWSNAP" | 8 version u32 = 1 | 12 ConfState length u32 | 16 log UUID (16)
//!          32 group u64 | 40 index u64 | 48 term u64 | 56 serial u64 | 64 data length u64 | 72 chunk length u32
//!          76 CRC-32 u32 of bytes 0..76 and the ConfState | 80 ConfState
//! chunks   each: CRC-32 u32 | data; all of the chunk length but the last
//! trailer  "SEAWSEND" | number of chunks u64 | CRC-32 u32 of the chunks' checksums
//! ```
//!
//! The header is written last, for only then its data's length is known; the file has its temporary name until after that
//! (`writer`). One writer serves a snapshot that is given at once and one that comes in pieces ([`SnapshotSink`]), and
//! one reader those that are read so ([`SnapshotSource`]); neither holds more than a chunk.
//!
//! The checksums of chunks and trailer begin with the log's UUID, the serial, and the chunk's number, so a chunk of
//! another place, file or log does not verify.

mod copy;
mod header;
mod identity;
mod sink;
mod source;
mod sweep;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ::raft::eraftpb::ConfState;
use parking_lot::Mutex;

use super::state::{EntryId, SnapshotRef};
use crate::error::LogUuid;
use crate::io::Disk;
use crate::{Error, Lsn};
use identity::Identity;
pub use sink::SnapshotSink;
pub use source::SnapshotSource;
pub(crate) use writer::FileWriter;

/// The directory's name.
pub(crate) const DIRECTORY: &str = "snapshots";

/// What a snapshot is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta<'a> {
    pub(crate) group: u64,
    pub(crate) at: EntryId,
    pub(crate) conf: &'a ConfState,
}

/// The snapshot files of one log.
#[derive(Debug)]
pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
    uuid: LogUuid,
    /// How much data stands under one checksum; not 0.
    chunk: usize,
    next_serial: AtomicU64,
    /// Files to remove, each once the log is durable up to an address.
    obsolete: Mutex<Vec<(String, Lsn)>>,
    /// How many there are that need files which may be obsolete by now.
    keepers: AtomicUsize,
}

impl Snapshots {
    pub(crate) fn new(disk: Arc<dyn Disk>, uuid: LogUuid, chunk: usize) -> Self {
        Snapshots {
            disk,
            uuid,
            chunk,
            next_serial: AtomicU64::new(1),
            obsolete: Mutex::new(Vec::new()),
            keepers: AtomicUsize::new(0),
        }
    }

    /// Writes a snapshot's file; when this returns it is durable, and nothing refers to it yet.
    pub(crate) fn write(self: &Arc<Self>, meta: &Meta<'_>, data: &[u8]) -> Result<SnapshotRef, Error> {
        let mut writer = FileWriter::create(self, meta)?;
        writer.take_all(data)?;
        writer.finish()
    }

    /// Opens a snapshot that a record refers to. That its header verifies, and that it has the length announced there, is
    /// known then.
    pub(crate) fn open(&self, group: u64, file: SnapshotRef) -> Result<SnapshotSource, Error> {
        SnapshotSource::open(self, self.identity(group, file))
    }

    /// A snapshot's ConfState and data, all of it verified.
    #[cfg(test)]
    fn read(&self, group: u64, file: SnapshotRef) -> Result<(ConfState, Vec<u8>), Error> {
        let mut source = self.open(group, file)?;
        let data = source.read_rest()?;
        Ok((source.conf_state().clone(), data))
    }

    fn identity(&self, group: u64, file: SnapshotRef) -> Identity {
        Identity { uuid: self.uuid, group, file }
    }

    /// A new snapshot's, with a serial of its own.
    fn next_identity(&self, meta: &Meta<'_>) -> Identity {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        self.identity(meta.group, SnapshotRef { at: meta.at, serial })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crate::io::RealDisk;

    fn store(dir: &tempfile::TempDir, uuid: u8) -> Arc<Snapshots> {
        let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
        Arc::new(Snapshots::new(disk, LogUuid([uuid; 16]), 1000))
    }

    fn name_of(group: u64, file: SnapshotRef) -> String {
        Identity { uuid: LogUuid([1; 16]), group, file }.name()
    }

    fn conf() -> ConfState {
        let mut conf = ConfState::default();
        conf.voters = vec![1, 2, 3];
        conf
    }

    fn write(store: &Arc<Snapshots>, index: u64, data: &[u8]) -> SnapshotRef {
        let conf = conf();
        let meta = Meta { group: 7, at: EntryId { index, term: 2 }, conf: &conf };
        store.write(&meta, data).unwrap()
    }

    fn sample() -> Vec<u8> {
        (0..3500u32).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn a_snapshot_of_any_size_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, 1);
        for len in [0, 1, 999, 1000, 1001, 2000, 3500] {
            let data = &sample()[..len];
            let file = write(&store, 5, data);
            assert_eq!(store.read(7, file).unwrap(), (conf(), data.to_vec()));
        }
    }

    /// A snapshot of group 7 at index 5, term 2, with members 1 to 3 and the data "state", as version 1 has always
    /// written it.
    #[rustfmt::skip]
    const GOLDEN: &[u8] = &[
        b'S', b'E', b'A', b'W', b'S', b'N', b'A', b'P',
        1, 0, 0, 0, 42, 0, 0, 0,        // version, ConfState length
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, // UUID
        7, 0, 0, 0, 0, 0, 0, 0,         // group
        5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, // index, term
        1, 0, 0, 0, 0, 0, 0, 0,         // serial
        5, 0, 0, 0, 0, 0, 0, 0,         // data length
        232, 3, 0, 0,                   // chunk length
        77, 220, 22, 86,                // CRC
        1, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        58, 32, 95, 150,                // CRC
        b's', b't', b'a', b't', b'e',
        b'S', b'E', b'A', b'W', b'S', b'E', b'N', b'D',
        1, 0, 0, 0, 0, 0, 0, 0,         // chunks
        148, 129, 47, 64,               // CRC
    ];

    #[test]
    fn the_bytes_of_a_snapshot_never_change() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, 1);
        let file = write(&store, 5, b"state");
        let name = "0000000000000007-0000000000000005-0000000000000002-0000000000000001.snap";
        assert_eq!(name_of(7, file), name);
        assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), GOLDEN);
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, 1);
        let file = write(&store, 5, &sample()[..1500]);
        let path = dir.path().join(name_of(7, file));
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let e = store.read(7, file).unwrap_err();
            let typed = matches!(&e, Error::Corruption(c) if c.file == path);
            let newer = matches!(&e, Error::UnsupportedVersion { .. });
            assert!(typed || newer, "byte {at}: {e}");
        }
        for cut in 0..good.len() {
            std::fs::write(&path, &good[..cut]).unwrap();
            let e = store.open(7, file).unwrap_err();
            assert!(matches!(&e, Error::Corruption(_)), "cut {cut}: {e}");
        }
        std::fs::write(&path, &good).unwrap();
        store.read(7, file).unwrap();
    }

    #[test]
    fn a_snapshot_of_another_log_or_another_name_does_not_verify() {
        let dir = tempfile::tempdir().unwrap();
        let first = store(&dir, 1);
        let file = write(&first, 5, b"state");
        assert!(store(&dir, 2).read(7, file).is_err());
        let other = SnapshotRef { serial: file.serial + 1, ..file };
        std::fs::copy(dir.path().join(name_of(7, file)), dir.path().join(name_of(7, other))).unwrap();
        assert!(first.read(7, other).is_err());
        first.read(7, file).unwrap();
    }

    #[test]
    fn orphans_go_what_is_referred_to_and_what_is_foreign_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, 1);
        let kept = write(&store, 5, b"kept");
        let orphan = write(&store, 6, b"orphan");
        let temporary = format!("{}.tmp", name_of(7, SnapshotRef { serial: 40, ..kept }));
        std::fs::write(dir.path().join(&temporary), b"half").unwrap();
        std::fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
        store.remove_orphans(&[(7, kept)]).unwrap();
        let mut left = store.disk.list().unwrap();
        left.sort();
        assert_eq!(left, [name_of(7, kept), "notes.txt".to_owned()]);
        assert_ne!(kept, orphan);
        assert_eq!(write(&store, 7, b"next").serial, 41);
    }

    #[test]
    fn an_obsolete_file_stays_until_its_successor_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, 1);
        let file = write(&store, 5, b"old");
        store.discard(7, file, Lsn::new(100));
        assert_eq!(store.sweep(Lsn::new(99)), 1);
        store.open(7, file).unwrap();
        assert_eq!(store.sweep(Lsn::new(100)), 0);
        assert!(store.open(7, file).is_err());
    }
}
