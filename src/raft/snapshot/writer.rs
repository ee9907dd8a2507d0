//! Writes a snapshot file.
//!
//! The header contains the length of the data, so it is written last. Its own length is known from the start, because
//! only the ConfState has a variable length. Until then there is a hole in its place and the file has a temporary
//! name, so it is not mistaken for a snapshot.

use std::sync::Arc;

use crc32fast::Hasher;

use super::super::codec::conf::encode_conf;
use super::super::state::SnapshotRef;
use super::files::{Meta, Snapshots};
use super::header::{self, Header, SUM};
use super::identity::Identity;
use crate::Error;
use crate::io::{File, sync_names, write_all_at};

impl Snapshots {
    /// Writes a snapshot file. When this returns it is durable, but nothing refers to it yet.
    pub(crate) fn write(self: &Arc<Self>, meta: &Meta<'_>, data: &[u8]) -> Result<SnapshotRef, Error> {
        let mut writer = FileWriter::create(self, meta)?;
        writer.take_all(data)?;
        writer.finish()
    }
}

/// An incomplete file. It is removed if dropped.
#[derive(Debug)]
pub(crate) struct FileWriter {
    store: Arc<Snapshots>,
    identity: Identity,
    /// The encoded ConfState.
    conf: Vec<u8>,
    file: Arc<dyn File>,
    /// The chunk being filled.
    chunk: Vec<u8>,
    /// Number of chunks in the file.
    chunks: u64,
    /// Position of the next one.
    at: u64,
    /// Checksum over the checksums of the chunks in the file.
    sums: Hasher,
    written: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    /// A write failed: the content of the file is unknown.
    Failed(Error),
    /// It has its final name, durably.
    Whole,
}

impl FileWriter {
    pub(crate) fn create(store: &Arc<Snapshots>, meta: &Meta<'_>) -> Result<Self, Error> {
        let identity = store.next_identity(meta);
        let name = identity.temporary_name();
        let file = store.disk.create(&name).map_err(|e| Error::io("create", store.path(&name), e))?;
        let conf = encode_conf(meta.conf);
        Ok(FileWriter {
            store: Arc::clone(store),
            identity,
            at: header::data_at(&conf),
            conf,
            file,
            chunk: Vec::new(),
            chunks: 0,
            sums: Hasher::new(),
            written: 0,
            state: State::Open,
        })
    }

    /// Bytes of data written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Takes as many of these bytes as fit into the current chunk, at least one if there are any; returns the number.
    /// After an error it takes no more.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.store.opener.check()?;
        if let State::Failed(e) = &self.state {
            return Err(e.clone());
        }
        if self.chunk.len() >= self.store.chunk
            && let Err(e) = self.write_chunk()
        {
            self.state = State::Failed(e.clone());
            return Err(e);
        }
        let room = self.store.chunk - self.chunk.len();
        let (taken, _) = bytes.split_at(room.min(bytes.len()));
        if self.chunk.capacity() - self.chunk.len() < taken.len() {
            // Grows by doubling, because a small snapshot needs less than a chunk, but never beyond one.
            self.chunk.reserve_exact(taken.len().max(self.chunk.len()).min(room));
        }
        self.chunk.extend_from_slice(taken);
        self.written += taken.len() as u64;
        Ok(taken.len())
    }

    pub(crate) fn take_all(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let taken = self.take(bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Completes the file. When this returns it is durable under its final name, but nothing refers to it yet.
    pub(crate) fn finish(mut self) -> Result<SnapshotRef, Error> {
        self.store.opener.check()?;
        if let State::Failed(e) = &self.state {
            return Err(e.clone());
        }
        if !self.chunk.is_empty() {
            self.write_chunk()?;
        }
        self.write(&header::trailer(&self.identity, self.chunks, &self.sums), self.at)?;
        self.write(&Header::encode(&self.identity, &self.conf, self.written, self.store.chunk), 0)?;
        let (temporary, name) = (self.identity.temporary_name(), self.identity.name());
        let failed = |op, name: &str| {
            let path = self.store.path(name);
            move |e| Error::io(op, path, e)
        };
        self.file.sync_all().map_err(failed("fsync", &temporary))?;
        self.store.disk.rename(&temporary, &name).map_err(failed("rename", &temporary))?;
        sync_names(&*self.store.disk)?;
        self.state = State::Whole;
        Ok(self.identity.file)
    }

    /// Memory allocated for data, in bytes.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.chunk.capacity()
    }

    fn write_chunk(&mut self) -> Result<(), Error> {
        let sum = self.identity.sum(self.chunks, &self.chunk).to_le_bytes();
        self.write(&sum, self.at)?;
        self.write(&self.chunk, self.at + SUM as u64)?;
        self.sums.update(&sum);
        self.at += (SUM + self.chunk.len()) as u64;
        self.chunks += 1;
        self.chunk.clear();
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<(), Error> {
        let failed = |e| Error::io("write", self.store.path(&self.identity.temporary_name()), e);
        write_all_at(&*self.file, bytes, at).map_err(failed)
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if !matches!(self.state, State::Whole) {
            // Whether a failed rename took effect is unknown.
            self.store.abandon([self.identity.temporary_name(), self.identity.name()]);
        }
    }
}
