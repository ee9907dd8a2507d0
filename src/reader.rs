//! Reading the log in order.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::record::record_len;
use crate::lsn::Lsn;
use crate::segment::{Blocks, Record, RecordHead, Segment};
use crate::wal::Wal;

/// The durable records of a log, oldest first. See [`Wal::iter`].
#[derive(Debug)]
pub struct Iter {
    cursor: Cursor,
    failed: bool,
}

/// The durable records of a log as they come. See [`Wal::follow`].
#[derive(Debug)]
pub struct Follow {
    cursor: Cursor,
    failed: bool,
}

/// A place between two records.
#[derive(Debug)]
struct Cursor {
    wal: Wal,
    /// Records below are not asked for.
    from: Lsn,
    /// Where the next block begins; at or below `from` until that was found.
    block: Lsn,
    /// The rest of the present block: the next record, and the end.
    rest: Option<(Lsn, Lsn)>,
}

impl Cursor {
    fn new(wal: Wal, from: Lsn) -> Self {
        // In another process nothing is looked up: the first step says so.
        let found = wal.opener().is_here().then(|| wal.table().find(from)).flatten();
        let block = found.map_or_else(|| wal.first_lsn(), |s| s.first_lsn());
        Cursor { wal, from, block, rest: None }
    }

    /// The next record, or `None` at the end of what is durable.
    fn next(&mut self) -> Result<Option<Record>> {
        self.wal.opener().check()?;
        loop {
            let Some((at, end)) = self.rest.take().filter(|(at, end)| at < end) else {
                if self.next_block()? {
                    continue;
                }
                return Ok(None);
            };
            let segment = self.wal.table().find(at).ok_or_else(|| self.released(at))?;
            if at < self.from {
                let (_, next): (RecordHead, Lsn) = segment.read_head(at, end)?;
                self.rest = Some((next, end));
                continue;
            }
            let record = segment.read_record(at, end, self.wal.decoder())?;
            let size = record_len(u64::from(record.stored_len()), record.label().is_some());
            self.rest = Some((at.plus(size), end));
            return Ok(Some(record));
        }
    }

    /// Goes on to the next block with records. `false` at the end of what is durable.
    fn next_block(&mut self) -> Result<bool> {
        loop {
            let durable = self.wal.durable_lsn();
            if self.block >= durable {
                return Ok(false);
            }
            let segment = self.wal.table().find(self.block).ok_or_else(|| self.released(self.block))?;
            let limit = segment.end().map_or(durable, |end| end.min(durable));
            if self.block >= limit {
                // Between two segments there may be addresses that hold nothing.
                match self.wal.table().after(self.block) {
                    Some(next) => self.block = next.first_lsn(),
                    None => return Ok(false),
                }
                continue;
            }
            let mut blocks = Blocks::new(&segment, self.block, limit);
            let Some(span) = blocks.next() else { return Ok(false) };
            let span = span?;
            self.block = blocks.position();
            if span.records > 0 && span.end > self.from {
                self.rest = Some((span.start, span.end));
                return Ok(true);
            }
        }
    }

    fn released(&self, lsn: Lsn) -> Error {
        Error::Released { lsn, first: self.wal.first_lsn() }
    }
}

/// Reads records here and there, faster than [`Wal::read`] when many of them lie in one segment: it remembers the segment
/// of the last one. See [`Wal::reader`].
#[derive(Debug)]
pub struct Reader {
    wal: Wal,
    last: Option<Arc<Segment>>,
}

impl Reader {
    pub(crate) fn new(wal: Wal) -> Self {
        Reader { wal, last: None }
    }

    /// Says that the record at `lsn` will be read soon. Of another segment than the last one nothing is fetched.
    #[inline]
    pub fn prefetch(&self, lsn: Lsn) {
        if let Some(segment) = self.last.as_ref().filter(|s| s.holds(lsn)) {
            segment.prefetch(lsn);
        }
    }

    /// The record at `lsn`, verified; also one that is submitted and not yet durable.
    ///
    /// A record of the segment that was read last may still be read after it was released.
    ///
    /// # Errors
    /// As [`Wal::read`].
    #[inline]
    pub fn read(&mut self, lsn: Lsn) -> Result<Record> {
        self.wal.opener().check()?;
        let durable = self.wal.durable_lsn();
        if lsn >= durable {
            return self.wal.read(lsn);
        }
        if !self.last.as_ref().is_some_and(|s| s.holds(lsn)) {
            self.last = self.wal.table().find(lsn);
        }
        match &self.last {
            Some(segment) => {
                let limit = segment.end().map_or(durable, |end| end.min(durable));
                segment.read_record(lsn, limit, self.wal.decoder())
            }
            None => self.wal.read(lsn),
        }
    }
}

impl Iter {
    pub(crate) fn new(wal: Wal, from: Lsn) -> Self {
        Iter { cursor: Cursor::new(wal, from), failed: false }
    }
}

impl Iterator for Iter {
    type Item = Result<Record>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.cursor.next();
        self.failed = next.is_err();
        next.transpose()
    }
}

impl Follow {
    pub(crate) fn new(wal: Wal, from: Lsn) -> Self {
        Follow { cursor: Cursor::new(wal, from), failed: false }
    }

    fn wait(&mut self) -> Result<Option<Record>> {
        loop {
            let seen = self.cursor.wal.durable_lsn();
            if let Some(record) = self.cursor.next()? {
                return Ok(Some(record));
            }
            if !self.cursor.wal.wait_durable_beyond(seen)? {
                return self.cursor.next();
            }
        }
    }
}

impl Iterator for Follow {
    type Item = Result<Record>;

    /// Blocks until there is a record. `None` when the log was closed; after an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.wait();
        self.failed = next.is_err();
        next.transpose()
    }
}
