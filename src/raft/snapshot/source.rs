//! Reads a snapshot chunk by chunk.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use ::raft::eraftpb::ConfState;
use crc32fast::Hasher;

use super::super::error::Error as RaftError;
use super::super::state::SnapshotRef;
use super::files::Snapshots;
use super::header::{self, Header, SUM, TRAILER};
use super::identity::Identity;
use super::opening;
use crate::Error;
use crate::error::CorruptionReason;
use crate::io::Opener;
use crate::io::{File, read_exact_at};
use crate::mutation::or_fault;

impl Snapshots {
    /// Opens a snapshot that a record refers to. This verifies its header and checks its length.
    pub(crate) fn open(&self, group: u64, file: SnapshotRef) -> Result<SnapshotSource, Error> {
        SnapshotSource::open(self, self.identity(group, file))
    }

    /// Reads a snapshot that a record refers to, to its end.
    pub(crate) fn verify(&self, group: u64, file: SnapshotRef) -> Result<(), Error> {
        self.open(group, file)?.verify_rest()
    }

    /// A snapshot's ConfState and data, all of it verified.
    #[cfg(test)]
    pub(super) fn read(&self, group: u64, file: SnapshotRef) -> Result<(ConfState, Vec<u8>), Error> {
        let mut source = self.open(group, file)?;
        let data = source.read_rest()?;
        Ok((source.conf_state().clone(), data))
    }
}

/// Reads a group's snapshot, of any size, with memory for one chunk.
///
/// No byte is returned before the checksum of its chunk was verified, and none of the last chunk before the file is
/// known to be complete. Errors from [`Read::read`] have the [`Error`](super::super::Error) inside
/// (`io::Error::get_ref`): for damage, `Corruption` with the file, the offset, group and index.
///
/// The file is kept open: it can be read to its end even if a newer snapshot replaces it, the group is removed, or
/// the log is closed. Its disk space is freed when the source is dropped.
///
/// ```
/// # use std::io::{Read as _, Write as _};
/// # use raft::eraftpb::{ConfState, Entry, HardState};
/// # use seawall::raft::RaftOptions;
/// # let dir = tempfile::tempdir()?;
/// # let log = RaftOptions::new().node_id(1).open(dir.path())?;
/// # let members = ConfState::from((vec![1], vec![]));
/// # let group = log.create_group(7, members.clone())?;
/// # let mut entry = Entry::default();
/// # (entry.index, entry.term) = (1, 1);
/// # let mut hard = HardState::default();
/// # (hard.term, hard.commit) = (1, 1);
/// # let mut batch = log.batch();
/// # batch.append(7, &[entry])?;
/// # batch.set_hard_state(7, &hard)?;
/// # batch.set_applied(7, 1, 1)?;
/// # log.commit(batch)?;
/// let mut sink = group.snapshot_sink(1, &members)?;
/// sink.write_all(b"the state machine, piece by piece")?;
/// sink.finish()?; // durable
///
/// let mut source = group.snapshot_source()?.ok_or("there is no snapshot")?;
/// assert_eq!((source.index(), source.term(), source.len()), (1, 1, 33));
/// let mut state = Vec::new();
/// source.read_to_end(&mut state)?;
/// assert_eq!(state, b"the state machine, piece by piece");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SnapshotSource {
    opener: Opener,
    identity: Identity,
    directory: PathBuf,
    file: Arc<dyn File>,
    header: Header,
    /// The current chunk, verified; returned from `next` on.
    chunk: Vec<u8>,
    next: usize,
    place: Place,
    position: u64,
    /// The trailer verified: the file is complete.
    whole: bool,
}

/// Progress of reading and verifying the file.
#[derive(Clone)]
struct Place {
    /// Number of chunks so far.
    chunks: u64,
    /// Position of the next one.
    at: u64,
    /// Checksum over their checksums.
    sums: Hasher,
}

impl fmt::Debug for SnapshotSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotSource")
            .field("group", &self.identity.group)
            .field("index", &self.index())
            .field("term", &self.term())
            .field("len", &self.len())
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl SnapshotSource {
    /// The group that it is a snapshot of.
    #[must_use]
    pub fn group(&self) -> u64 {
        self.identity.group
    }

    /// The index of the last entry in it.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.identity.file.at.index
    }

    /// That entry's term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.identity.file.at.term
    }

    /// The members at that entry.
    #[must_use]
    pub fn conf_state(&self) -> &ConfState {
        &self.header.conf
    }

    /// The length of its data in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.header.data_len
    }

    /// Whether it has no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.len() - self.position
    }

    /// Opens a snapshot's file and verifies its header and length.
    pub(super) fn open(store: &Snapshots, identity: Identity) -> Result<Self, Error> {
        let directory = store.disk.path().to_owned();
        let (file, header) = opening::open(&*store.disk, &identity)?;
        Ok(SnapshotSource {
            opener: store.opener.clone(),
            place: Place { chunks: 0, at: header.data_at, sums: Hasher::new() },
            identity,
            directory,
            file,
            header,
            chunk: Vec::new(),
            next: 0,
            position: 0,
            whole: false,
        })
    }

    /// The next bytes, at most as many as fit; none at the end.
    fn read_some(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        if self.next == self.chunk.len() && !self.whole {
            self.next_chunk()?;
        }
        let verified = self.chunk.get(self.next..).unwrap_or_default();
        let n = verified.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), verified.get(..n)) {
            to.copy_from_slice(from);
        }
        self.next += n;
        self.position += n as u64;
        Ok(n)
    }

    /// All data not read yet.
    pub(in crate::raft) fn read_rest(&mut self) -> Result<Vec<u8>, Error> {
        let mut data = Vec::new();
        self.make_room(&mut data, self.remaining())?;
        let mut rest = data.as_mut_slice();
        loop {
            // One read more than there is data for, if necessary: empty data has a trailer too.
            let n = self.read_some(rest)?;
            rest = rest.get_mut(n..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(data);
            }
        }
    }

    /// Verifies what was not read yet; nothing is left to read then.
    pub(super) fn verify_rest(&mut self) -> Result<(), Error> {
        loop {
            self.position += (self.chunk.len() - self.next) as u64;
            self.next = self.chunk.len();
            if self.whole {
                return Ok(());
            }
            self.next_chunk()?;
        }
    }

    /// The underlying file.
    pub(super) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    pub(super) fn file_len(&self) -> u64 {
        self.header.file_len().unwrap_or(0)
    }

    /// Reads the next chunk and, if it is the last one or there are no chunks, the trailer. If one of them does not
    /// verify, nothing is returned and the position does not change.
    fn next_chunk(&mut self) -> Result<(), Error> {
        self.opener.check()?;
        let mut place = self.place.clone();
        let len = self.remaining().min(u64::from(self.header.chunk));
        let mut chunk = std::mem::take(&mut self.chunk);
        self.next = 0;
        self.make_room(&mut chunk, len)?;
        if len > 0 {
            self.read_chunk(&mut place, &mut chunk)?;
        }
        let whole = place.chunks == self.header.chunks();
        if whole {
            self.read_trailer(&place)?;
        }
        (self.chunk, self.place, self.whole) = (chunk, place, whole);
        Ok(())
    }

    fn read_chunk(&self, place: &mut Place, chunk: &mut [u8]) -> Result<(), Error> {
        let mut sum = [0; SUM];
        self.read_at(&mut sum, place.at)?;
        self.read_at(chunk, place.at + SUM as u64)?;
        let sum_of_chunk = self.identity.sum(place.chunks, chunk).to_le_bytes();
        if or_fault!(sum_of_chunk != sum, SnapshotChunk => false) {
            return Err(self.damaged(place.at));
        }
        place.sums.update(&sum);
        place.chunks += 1;
        place.at += (SUM + chunk.len()) as u64;
        Ok(())
    }

    fn read_trailer(&self, place: &Place) -> Result<(), Error> {
        let mut trailer = [0; TRAILER];
        self.read_at(&mut trailer, place.at)?;
        if header::trailer(&self.identity, place.chunks, &place.sums) != trailer {
            return Err(self.damaged(place.at));
        }
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> Result<(), Error> {
        read_exact_at(&*self.file, buf, at).map_err(|e| self.failed(e))
    }

    /// The file is as long as its header says, so this never requests too much memory.
    fn make_room(&self, bytes: &mut Vec<u8>, len: u64) -> Result<(), Error> {
        let no_room = || self.failed(io::ErrorKind::OutOfMemory.into());
        let len = usize::try_from(len).map_err(|_| no_room())?;
        bytes.try_reserve_exact(len.saturating_sub(bytes.len())).map_err(|_| no_room())?;
        bytes.resize(len, 0);
        Ok(())
    }

    fn failed(&self, e: io::Error) -> Error {
        Error::io("read", self.identity.path(&self.directory), e)
    }

    fn damaged(&self, at: u64) -> Error {
        self.identity.corruption(&self.directory, at, CorruptionReason::Payload)
    }
}

impl Read for SnapshotSource {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.read_some(buf).map_err(|e| RaftError::from(e).into())
    }
}
