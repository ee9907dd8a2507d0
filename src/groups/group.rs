//! The handle on a group.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLockReadGuard;

use super::batch::WriteBatch;
use super::contents::{Contents, Slot};
use super::entries::Entries;
use super::error::{Error, Result};
use super::shared::Shared;
use super::state::{EntryKind, Position, State};
use crate::{Flush, Lsn, Ticket};

/// An entry of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Its kind.
    pub kind: EntryKind,
    /// Its payload, verified; where possible a slice of the mapped file.
    pub payload: Bytes,
}

/// A group of a [`GroupLog`](super::GroupLog).
///
/// A clone is another handle on the same group. Once the group is removed, its handles return [`Error::NoSuchGroup`],
/// even if the id is used again.
#[derive(Clone)]
pub struct Group {
    shared: Shared,
    slot: Arc<Slot>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("id", &self.slot.id)
            .field("dir", &self.shared.store().wal.disk().path())
            .finish()
    }
}

impl Group {
    pub(super) fn new(shared: Shared, slot: Arc<Slot>) -> Group {
        Group { shared, slot }
    }

    /// The group's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.slot.id
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The indexes that have an entry, durable or not.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn indexes(&self) -> Result<Range<u64>> {
        let contents = self.read()?;
        Ok(contents.first_index()..contents.end_index())
    }

    /// The last entry, or the last purged one if there are no entries; `None` in an empty log that begins at 0.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn last(&self) -> Result<Option<Position>> {
        Ok(self.read()?.last())
    }

    /// The term of an entry or of the last purged one; `None` elsewhere.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn term(&self, index: u64) -> Result<Option<u64>> {
        Ok(self.read()?.term(index))
    }

    /// The state of the group, durable or not.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn state(&self) -> Result<State> {
        Ok(self.read()?.root.state.clone())
    }

    /// The index after the last entry that is on the device together with all entries before it.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`].
    pub fn durable_end(&self) -> Result<u64> {
        let durable = self.shared.store().wal.durable_lsn();
        Ok(self.read()?.durable_end(durable))
    }

    /// Appends entries of term 0 and kind 0 at the end in one batch, and returns their indexes. They are readable
    /// when this returns, and durable when the ticket says so. Other threads may append concurrently.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], [`Error::IndexExhausted`]; [`Error::Log`] as for
    /// [`GroupLog::submit`](super::GroupLog::submit).
    pub fn append<P: AsRef<[u8]>>(&self, payloads: &[P]) -> Result<(Range<u64>, Ticket)> {
        loop {
            let mut batch = WriteBatch::new(Arc::clone(self.shared.store()));
            let first = batch.end_index(self.id())?;
            let mut appender = batch.append(self.id(), first)?;
            for payload in payloads {
                appender.push(0, EntryKind::default(), &[payload.as_ref()])?;
            }
            let end = appender.next_index();
            match self.shared.submit(batch, Flush::Now) {
                Ok(ticket) => return Ok((first..end, ticket)),
                // Another thread appended first.
                Err(Error::BatchConflict { .. }) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The entries of `range`, verified: as many as fit into `max_bytes` of payload, but at least one. Entries are
    /// readable as soon as they are submitted, durable or not.
    ///
    /// # Errors
    /// [`Error::BelowFirst`]; [`Error::Gap`] for a range beyond the end; [`Error::NoSuchGroup`]; [`Error::Log`] when
    /// an entry cannot be read.
    pub fn entries(&self, range: Range<u64>, max_bytes: u64) -> Result<Vec<Entry>> {
        let end = {
            let contents = self.read()?;
            let (group, first, end) = (self.id(), contents.first_index(), contents.end_index());
            if range.start < first {
                return Err(Error::BelowFirst { group, index: range.start, first });
            }
            if range.end > end {
                return Err(Error::Gap { group, index: range.end, expected: end });
            }
            range.end
        };
        let (mut entries, mut bytes) = (Vec::new(), 0u64);
        Entries::of(self.shared.store(), &self.slot).read::<Error>(range.start..end, |entry| {
            let payload = entry.record.into_bytes();
            bytes = bytes.saturating_add(payload.len() as u64);
            if bytes > max_bytes && !entries.is_empty() {
                return Ok(ControlFlow::Break(()));
            }
            entries.push(Entry { index: entry.index, term: entry.term, kind: entry.kind, payload });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(entries)
    }

    /// Waits until an entry with this index is durable. `false` if the log was closed first.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; [`Error::Log`] when the log is poisoned.
    pub fn wait_for(&self, index: u64) -> Result<bool> {
        loop {
            let durable = self.shared.store().wal.durable_lsn();
            if self.read()?.durable_end(durable) > index {
                return Ok(true);
            }
            if !self.shared.store().wal.wait_durable_beyond(durable)? {
                return Ok(self.durable_end()? > index);
            }
        }
    }

    fn read(&self) -> Result<RwLockReadGuard<'_, Contents>> {
        self.shared.store().check_opener()?;
        let contents = self.slot.contents.read();
        if contents.gone {
            return Err(Error::NoSuchGroup { group: self.slot.id });
        }
        Ok(contents)
    }
}

impl Contents {
    /// The index after the last entry that lies below `durable` together with all entries before it.
    pub(crate) fn durable_end(&self, durable: Lsn) -> u64 {
        let (first, end) = (self.first_index(), self.end_index());
        if self.reset_lsn.is_some_and(|reset| reset >= durable) {
            return 0;
        }
        // A record lies entirely below or entirely above the durable address. Among entries that stayed where they
        // were appended, addresses rise with the index; the others were durable before they were relocated.
        let (mut lo, mut hi) = (first.max(self.durable_below).min(end), end);
        while lo < hi {
            let middle = lo + (hi - lo) / 2;
            if self.positions.lsn(middle).is_some_and(|lsn| lsn < durable) {
                lo = middle + 1;
            } else {
                hi = middle;
            }
        }
        lo
    }
}
