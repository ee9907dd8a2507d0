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
//! The checksums of chunks and trailer begin with the log's UUID, the serial, and the chunk's number, so a chunk of
//! another place, file or log does not verify.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ::raft::eraftpb::ConfState;
use parking_lot::Mutex;

use super::codec::state::{decode_conf, encode_conf};
use super::codec::{Cursor, Put};
use super::error::{ContentProblem, Result};
use super::state::{EntryId, SnapshotRef};
use crate::error::{Corruption, CorruptionReason, LogUuid};
use crate::io::{Access, Disk, File, copy_first, read_exact_at, write_all_at};
use crate::mutation::{Mutation, mutated};
use crate::{Error, Lsn, StreamRange};

/// The directory's name.
pub(crate) const DIRECTORY: &str = "snapshots";

const MAGIC: &[u8; 8] = b"SEAWSNAP";
const END_MAGIC: &[u8; 8] = b"SEAWSEND";
const VERSION: u32 = 1;
const FIXED: usize = 80;
const CHECKED: usize = 76;
const TRAILER: usize = 20;
const SUFFIX: &str = ".snap";
const TEMPORARY: &str = ".tmp";

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
    chunk: usize,
    next_serial: AtomicU64,
    /// Files to remove, each once the log is durable up to an address.
    obsolete: Mutex<Vec<(String, Lsn)>>,
    /// How many there are that need files which may be obsolete by now.
    keepers: AtomicUsize,
}

/// While this is about, no file is removed.
#[derive(Debug)]
pub(crate) struct Kept<'a>(&'a AtomicUsize);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// A header that verified.
#[derive(Debug)]
struct Header {
    conf: ConfState,
    data_len: u64,
    chunk: u32,
    /// Where the first chunk begins.
    data_at: u64,
}

impl Header {
    /// The whole file's length, as the header announces it.
    fn file_len(&self) -> Option<u64> {
        let sums = self.chunks().checked_mul(4)?;
        self.data_at.checked_add(self.data_len)?.checked_add(sums)?.checked_add(TRAILER as u64)
    }

    fn chunks(&self) -> u64 {
        self.data_len.div_ceil(u64::from(self.chunk).max(1))
    }
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
    pub(crate) fn write(&self, meta: &Meta<'_>, data: &[u8]) -> Result<SnapshotRef> {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        let file = SnapshotRef { at: meta.at, serial };
        let name = name_of(meta.group, file);
        let temporary = format!("{name}{TEMPORARY}");
        match self.write_as(&name, &temporary, meta, serial, data) {
            Ok(()) => Ok(file),
            Err(e) => {
                self.obsolete.lock().extend([(temporary, Lsn::ZERO), (name, Lsn::ZERO)]);
                Err(e.into())
            }
        }
    }

    fn write_as(
        &self,
        name: &str,
        temporary: &str,
        meta: &Meta<'_>,
        serial: u64,
        data: &[u8],
    ) -> Result<(), Error> {
        let failed = |op, name: &str| {
            let path = self.path(name);
            move |e| Error::io(op, path, e)
        };
        let file = self.disk.create(temporary).map_err(failed("create", temporary))?;
        self.write_content(&*file, meta, serial, data).map_err(failed("write", temporary))?;
        if !mutated(Mutation::SnapshotSync) {
            file.sync_all().map_err(failed("fsync", temporary))?;
        }
        self.disk.rename(temporary, name).map_err(failed("rename", temporary))?;
        if mutated(Mutation::SnapshotName) {
            return Ok(());
        }
        self.disk.sync().map_err(failed("fsync", ""))
    }

    fn write_content(&self, file: &dyn File, meta: &Meta<'_>, serial: u64, data: &[u8]) -> io::Result<()> {
        let mut at = 0;
        let mut write = |bytes: &[u8]| {
            write_all_at(file, bytes, at)?;
            at += bytes.len() as u64;
            io::Result::Ok(())
        };
        write(&self.header(meta, serial, data.len()))?;
        let mut sums = Vec::new();
        for (number, chunk) in data.chunks(self.chunk).enumerate() {
            let sum = self.sum(serial, number as u64, chunk).to_le_bytes();
            write(&sum)?;
            write(chunk)?;
            sums.put(&sum);
        }
        let chunks = (sums.len() / 4) as u64;
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.put(END_MAGIC);
        trailer.put_u64(chunks);
        trailer.put_u32(self.sum(serial, chunks, &sums));
        write(&trailer)
    }

    fn header(&self, meta: &Meta<'_>, serial: u64, data_len: usize) -> Vec<u8> {
        let conf = encode_conf(meta.conf);
        let mut out = Vec::with_capacity(FIXED + conf.len());
        out.put(MAGIC);
        out.put_u32(VERSION);
        out.put_len(conf.len());
        out.put(self.uuid.as_bytes());
        for v in [meta.group, meta.at.index, meta.at.term, serial, data_len as u64] {
            out.put_u64(v);
        }
        out.put_len(self.chunk);
        let sum = sum_of(&[&out, &conf]);
        out.put_u32(sum);
        out.put(&conf);
        out
    }

    fn sum(&self, serial: u64, number: u64, bytes: &[u8]) -> u32 {
        sum_of(&[self.uuid.as_bytes(), &serial.to_le_bytes(), &number.to_le_bytes(), bytes])
    }

    /// Whether a snapshot that a record refers to is there, with a header that verifies and the length it announces.
    pub(crate) fn check(&self, group: u64, file: SnapshotRef) -> Result<()> {
        self.open(group, file).map(|_| ())
    }

    /// A snapshot's ConfState and data, all of it verified.
    pub(crate) fn read(&self, group: u64, file: SnapshotRef) -> Result<(ConfState, Vec<u8>)> {
        let (opened, header) = self.open(group, file)?;
        let name = name_of(group, file);
        let damaged = |at: u64| self.corruption(group, file, at, CorruptionReason::Payload);
        let read = |buf: &mut [u8], at: u64| {
            read_exact_at(&*opened, buf, at).map_err(|e| Error::io("read", self.path(&name), e))
        };
        // The file is as long as the header says, so this allocates no more than there is.
        let mut data = vec![0; usize::try_from(header.data_len).map_err(|_| damaged(64))?];
        let (mut sums, mut at) = (Vec::new(), header.data_at);
        for (number, chunk) in data.chunks_mut(header.chunk as usize).enumerate() {
            let mut sum = [0; 4];
            read(&mut sum, at)?;
            read(chunk, at + 4)?;
            let intact = self.sum(file.serial, number as u64, chunk).to_le_bytes() == sum;
            if !intact && !mutated(Mutation::SnapshotChunk) {
                return Err(damaged(at).into());
            }
            sums.put(&sum);
            at += 4 + chunk.len() as u64;
        }
        let mut trailer = [0; TRAILER];
        read(&mut trailer, at)?;
        let mut want = Vec::with_capacity(TRAILER);
        want.put(END_MAGIC);
        want.put_u64(header.chunks());
        want.put_u32(self.sum(file.serial, header.chunks(), &sums));
        if want != trailer {
            return Err(damaged(at).into());
        }
        Ok((header.conf, data))
    }

    fn open(&self, group: u64, file: SnapshotRef) -> Result<(Arc<dyn File>, Header)> {
        let name = name_of(group, file);
        let corrupt = |at, reason| self.corruption(group, file, at, reason);
        let opened = match self.disk.open(&name, Access::Read) {
            Ok(opened) => opened,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(corrupt(0, CorruptionReason::MissingFile).into());
            }
            Err(e) => return Err(Error::io("open", self.path(&name), e).into()),
        };
        let failed = |e| Error::io("read", self.path(&name), e);
        let len = opened.len().map_err(failed)?;
        if len < (FIXED + TRAILER) as u64 {
            return Err(corrupt(len, CorruptionReason::ShortFile).into());
        }
        let mut fixed = [0; FIXED];
        read_exact_at(&*opened, &mut fixed, 0).map_err(failed)?;
        let conf_len =
            self.announced(&name, &fixed)?.filter(|n| u64::from(*n) <= len - (FIXED + TRAILER) as u64);
        let mut conf = vec![0; conf_len.ok_or_else(|| corrupt(0, CorruptionReason::Content))? as usize];
        read_exact_at(&*opened, &mut conf, FIXED as u64).map_err(failed)?;
        let expected = self.expected(group, file);
        let header = parse(&fixed, &conf, &expected).map_err(|_| corrupt(0, CorruptionReason::Content))?;
        if header.file_len() != Some(len) {
            return Err(corrupt(len, CorruptionReason::ShortFile).into());
        }
        Ok((opened, header))
    }

    /// The ConfState's length in a header of a version that this build reads and of this log; none when it is no
    /// header at all.
    fn announced(&self, name: &str, fixed: &[u8]) -> Result<Option<u32>> {
        let fields = || {
            let mut cursor = Cursor::new(fixed);
            let magic = cursor.bytes(8)?;
            let (version, conf_len) = (cursor.u32()?, cursor.u32()?);
            Ok::<_, ContentProblem>((magic == MAGIC, version, conf_len))
        };
        match fields() {
            Ok((true, VERSION, conf_len)) => Ok(Some(conf_len)),
            Ok((true, found, _)) => {
                Err(Error::UnsupportedVersion { path: self.path(name), found, supported: VERSION }.into())
            }
            _ => Ok(None),
        }
    }

    /// The identity that a header must carry: UUID, group, index, term, serial.
    fn expected(&self, group: u64, file: SnapshotRef) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        out.put(self.uuid.as_bytes());
        for v in [group, file.at.index, file.at.term, file.serial] {
            out.put_u64(v);
        }
        out
    }

    /// A snapshot is not needed any more once everything below `after` is durable.
    pub(crate) fn discard(&self, group: u64, file: SnapshotRef, after: Lsn) {
        self.obsolete.lock().push((name_of(group, file), after));
    }

    /// Removes the files that are not needed any more; says how many are left for another time.
    ///
    /// A file that cannot be removed harms nobody, so a failure is no error: it is tried again next time, and at open.
    pub(crate) fn sweep(&self, durable: Lsn) -> usize {
        let mut obsolete = self.obsolete.lock();
        if self.keepers.load(Ordering::Acquire) > 0 {
            return obsolete.len();
        }
        obsolete.retain(|(name, after)| {
            let gone = |r: io::Result<()>| r.is_ok() || r.is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
            *after > durable || !gone(self.disk.remove(name))
        });
        obsolete.len()
    }

    /// Keeps all files that are there now, also those that become obsolete.
    pub(crate) fn keep(&self) -> Kept<'_> {
        // Under the lock of `sweep`: one that is going on has removed nothing that was referred to before this.
        let obsolete = self.obsolete.lock();
        self.keepers.fetch_add(1, Ordering::Acquire);
        drop(obsolete);
        Kept(&self.keepers)
    }

    /// Copies these snapshots, verified, into another directory; says how many bytes. They are durable there then.
    pub(crate) fn copy_to(&self, disk: Arc<dyn Disk>, files: &[(u64, SnapshotRef)]) -> Result<u64> {
        let copy = Snapshots::new(disk, self.uuid, self.chunk);
        let mut bytes = 0;
        for (group, file) in files {
            let name = name_of(*group, *file);
            let (from, header) = self.open(*group, *file)?;
            let failed = |op| {
                let path = copy.path(&name);
                move |e| Error::io(op, path, e)
            };
            let to = copy.disk.create(&name).map_err(failed("create"))?;
            let len = header.file_len().unwrap_or(0);
            copy_first(&*from, &*to, len).map_err(failed("copy into"))?;
            to.sync_all().map_err(failed("fsync"))?;
            self.read(*group, *file)?;
            bytes += len;
        }
        copy.disk.sync().map_err(|e| Error::io("fsync", copy.path(""), e))?;
        Ok(bytes)
    }

    /// Removes what no group refers to, and sees to it that no serial is used again.
    pub(crate) fn remove_orphans(&self, referred: &[(u64, SnapshotRef)]) -> Result<()> {
        let failed = |op, name: &str| {
            let path = self.path(name);
            move |e| Error::io(op, path, e)
        };
        let kept: std::collections::HashSet<String> =
            referred.iter().map(|(g, file)| name_of(*g, *file)).collect();
        let highest = referred.iter().map(|(_, file)| file.serial).max().unwrap_or(0);
        self.next_serial.fetch_max(highest.saturating_add(1), Ordering::Relaxed);
        let mut removed = false;
        for name in self.disk.list().map_err(failed("list", ""))? {
            // Names that are not of this form are somebody else's.
            let Some(serial) = serial_in(&name) else { continue };
            self.next_serial.fetch_max(serial.saturating_add(1), Ordering::Relaxed);
            if !kept.contains(&name) {
                self.disk.remove(&name).map_err(failed("remove", &name))?;
                removed = true;
            }
        }
        if removed {
            self.disk.sync().map_err(failed("fsync", ""))?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    fn corruption(&self, group: u64, file: SnapshotRef, at: u64, reason: CorruptionReason) -> Error {
        let no_lsns = Range::<Lsn>::default();
        let hit = StreamRange { stream: group, first: file.at.index, last: file.at.index };
        Corruption::new(self.path(&name_of(group, file)), at, no_lsns, reason).hitting(vec![hit]).into()
    }
}

fn parse(fixed: &[u8; FIXED], conf: &[u8], expected: &[u8]) -> Result<Header, ContentProblem> {
    let mut cursor = Cursor::new(fixed);
    let checked = cursor.bytes(CHECKED)?;
    if cursor.u32()? != sum_of(&[checked, conf]) {
        return Err(ContentProblem::Field("checksum"));
    }
    let mut cursor = Cursor::new(checked);
    cursor.bytes(16)?;
    if cursor.bytes(expected.len())? != expected {
        return Err(ContentProblem::Field("identity"));
    }
    let (data_len, chunk) = (cursor.u64()?, cursor.u32()?);
    if chunk == 0 {
        return Err(ContentProblem::Field("chunk length"));
    }
    Ok(Header { conf: decode_conf(conf)?, data_len, chunk, data_at: (FIXED + conf.len()) as u64 })
}

fn sum_of(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

fn name_of(group: u64, file: SnapshotRef) -> String {
    let SnapshotRef { at, serial } = file;
    format!("{group:016x}-{:016x}-{:016x}-{serial:016x}{SUFFIX}", at.index, at.term)
}

/// The serial in a snapshot file's name, temporary or not; none for a name of another form.
fn serial_in(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(TEMPORARY).unwrap_or(name).strip_suffix(SUFFIX)?;
    let numbers: Vec<&str> = stem.split('-').collect();
    let well_formed = numbers.iter().all(|n| n.len() == 16 && n.bytes().all(|b| b.is_ascii_hexdigit()));
    match (numbers.as_slice(), well_formed) {
        ([_, _, _, serial], true) => u64::from_str_radix(serial, 16).ok(),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crate::io::RealDisk;
    use crate::raft::error::Error as RaftError;

    fn store(dir: &tempfile::TempDir, uuid: u8) -> Snapshots {
        let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
        Snapshots::new(disk, LogUuid([uuid; 16]), 1000)
    }

    fn conf() -> ConfState {
        let mut conf = ConfState::default();
        conf.voters = vec![1, 2, 3];
        conf
    }

    fn write(store: &Snapshots, index: u64, data: &[u8]) -> SnapshotRef {
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
            let typed = matches!(&e, RaftError::Log(Error::Corruption(c)) if c.file == path);
            let newer = matches!(&e, RaftError::Log(Error::UnsupportedVersion { .. }));
            assert!(typed || newer, "byte {at}: {e}");
        }
        for cut in 0..good.len() {
            std::fs::write(&path, &good[..cut]).unwrap();
            let e = store.check(7, file).unwrap_err();
            assert!(matches!(&e, RaftError::Log(Error::Corruption(_))), "cut {cut}: {e}");
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
        let temporary = format!("{}{TEMPORARY}", name_of(7, SnapshotRef { serial: 40, ..kept }));
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
        store.check(7, file).unwrap();
        assert_eq!(store.sweep(Lsn::new(100)), 0);
        assert!(store.check(7, file).is_err());
    }
}
