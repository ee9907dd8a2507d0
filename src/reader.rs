//! Reading the log in order.

use std::sync::Arc;

use crate::error::Result;
use crate::format::record::record_len;
use crate::log::{Log, durable_end};
use crate::lsn::Lsn;
use crate::segment::{Blocks, Record, RecordHead, Segment};

/// The durable records of a log, oldest first. See [`Wal::iter`](crate::Wal::iter).
#[derive(Debug)]
pub struct Iter {
    cursor: Cursor,
    failed: bool,
}

/// The durable records of a log, as they are written. See [`Wal::follow`](crate::Wal::follow).
#[derive(Debug)]
pub struct Follow {
    cursor: Cursor,
    failed: bool,
}

/// A place between two records.
#[derive(Debug)]
struct Cursor {
    log: Arc<Log>,
    /// Records below this are skipped.
    from: Lsn,
    /// Where the next block begins; at or below `from` until the first record is found.
    block: Lsn,
    /// The rest of the present block: address of the next record, and its end.
    rest: Option<(Lsn, Lsn)>,
}

impl Cursor {
    fn new(log: Arc<Log>, from: Lsn) -> Self {
        // In another process nothing is looked up: the first step returns the error.
        let found = log.opener.is_here().then(|| log.table().find(from)).flatten();
        let block = found.map_or_else(|| log.first_lsn(), |s| s.first_lsn());
        Cursor { log, from, block, rest: None }
    }

    /// The next record, or `None` at the end of what is durable.
    fn next(&mut self) -> Result<Option<Record>> {
        self.log.opener.check()?;
        loop {
            let Some((at, end)) = self.rest.take().filter(|(at, end)| at < end) else {
                if self.next_block()? {
                    continue;
                }
                return Ok(None);
            };
            let segment = self.log.table().find(at).ok_or_else(|| self.log.released(at))?;
            if at < self.from {
                let (_, next): (RecordHead, Lsn) = segment.read_head(at, end)?;
                self.rest = Some((next, end));
                continue;
            }
            let record = segment.read_record(at, end, self.log.decoder())?;
            let size = record_len(u64::from(record.stored_len()), record.label().is_some());
            self.rest = Some((at.plus(size), end));
            return Ok(Some(record));
        }
    }

    /// Advances to the next block with records. `false` at the end of what is durable.
    fn next_block(&mut self) -> Result<bool> {
        loop {
            let durable = self.log.durable_lsn();
            if self.block >= durable {
                return Ok(false);
            }
            let segment = self.log.table().find(self.block).ok_or_else(|| self.log.released(self.block))?;
            let limit = durable_end(&segment, durable);
            if self.block >= limit {
                // There may be unused addresses between two segments.
                match self.log.table().after(self.block) {
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
}

/// Reads scattered records, faster than [`Wal::read`](crate::Wal::read) when many of them lie in one segment: it
/// remembers the segment of the last one. See [`Wal::reader`](crate::Wal::reader).
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    last: Option<Arc<Segment>>,
}

impl Reader {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Reader { log, last: None }
    }

    /// Hints that the record at `lsn` will be read soon. Only the segment read last is prefetched from.
    #[inline]
    pub fn prefetch(&self, lsn: Lsn) {
        if let Some(segment) = self.last.as_ref().filter(|s| s.holds(lsn)) {
            segment.prefetch(lsn);
        }
    }

    /// The record at `lsn`, verified. It may be submitted and not yet durable.
    ///
    /// A record of the segment read last may still be readable after its release.
    ///
    /// # Errors
    /// As [`Wal::read`](crate::Wal::read).
    #[inline]
    pub fn read(&mut self, lsn: Lsn) -> Result<Record> {
        self.log.opener.check()?;
        let durable = self.log.durable_lsn();
        if lsn >= durable {
            return self.log.read(lsn);
        }
        if !self.last.as_ref().is_some_and(|s| s.holds(lsn)) {
            self.last = self.log.table().find(lsn);
        }
        match &self.last {
            Some(segment) => {
                let limit = durable_end(segment, durable);
                segment.read_record(lsn, limit, self.log.decoder())
            }
            None => self.log.read(lsn),
        }
    }
}

impl Iter {
    pub(crate) fn new(log: Arc<Log>, from: Lsn) -> Self {
        Iter { cursor: Cursor::new(log, from), failed: false }
    }
}

impl Iterator for Iter {
    type Item = Result<Record>;

    /// After an error the iteration ends.
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
    pub(crate) fn new(log: Arc<Log>, from: Lsn) -> Self {
        Follow { cursor: Cursor::new(log, from), failed: false }
    }

    fn wait(&mut self) -> Result<Option<Record>> {
        loop {
            let seen = self.cursor.log.durable_lsn();
            if let Some(record) = self.cursor.next()? {
                return Ok(Some(record));
            }
            if !self.cursor.log.pipeline.wait_durable_beyond(seen)? {
                return self.cursor.next();
            }
        }
    }
}

impl Iterator for Follow {
    type Item = Result<Record>;

    /// Blocks until there is a record. `None` when the log was closed; after an error the iteration ends.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.wait();
        self.failed = next.is_err();
        next.transpose()
    }
}
