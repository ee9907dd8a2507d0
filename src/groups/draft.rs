//! Drafts: a group as a batch sees it, that is its state when the batch first touched it plus the changes of the
//! batch.
//!
//! The rules that hold for every protocol are checked here, before anything is staged. Each method either refuses and
//! changes nothing, or changes the draft exactly as the group will change.

use std::sync::Arc;

use super::contents::{Contents, Slot};
use super::error::{Error, Result};
use super::state::{Position, Start};
use super::terms::Terms;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) slot: Arc<Slot>,
    start: Start,
    /// The index after the last one.
    end: u64,
    last: Option<Position>,
    /// Entries from this index on are the batch's own; the terms of those below come from the group itself.
    own_from: u64,
    own_terms: Terms,
    removed: bool,
}

impl Draft {
    pub(crate) fn of(slot: Arc<Slot>, contents: &Contents) -> Draft {
        Draft {
            slot,
            start: contents.root.start,
            end: contents.end_index(),
            last: contents.last(),
            own_from: u64::MAX,
            own_terms: Terms::default(),
            removed: contents.gone,
        }
    }

    fn group(&self) -> u64 {
        self.slot.id
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed
    }

    pub(crate) fn exists(&self) -> Result<()> {
        if self.removed { Err(Error::NoSuchGroup { group: self.group() }) } else { Ok(()) }
    }

    pub(crate) fn end_index(&self) -> u64 {
        self.end
    }

    /// The term at an index from the one before the first to the last. If the group has changed since the batch first
    /// touched it, the answer does not matter, because the batch will be refused when it is submitted.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        let known = [self.start.before(), self.last].into_iter().flatten().find(|known| known.index == index);
        match known {
            Some(known) => Some(known.term),
            None if index < self.start.first || index >= self.end => None,
            None if index >= self.own_from => self.own_terms.get(index),
            None => self.slot.contents.read().term(index),
        }
    }

    /// Checks that entries may be appended from `first` on, replacing existing ones.
    pub(crate) fn check_append(&self, first: u64) -> Result<()> {
        let group = self.group();
        if first < self.start.first {
            return Err(Error::BelowFirst { group, index: first, first: self.start.first });
        }
        if first > self.end {
            return Err(Error::Gap { group, index: first, expected: self.end });
        }
        if first == u64::MAX {
            return Err(Error::IndexExhausted { group, index: first });
        }
        Ok(())
    }

    /// Appends an entry at `index`, after [`Draft::check_append`].
    pub(crate) fn append(&mut self, index: u64, term: u64) -> Result<()> {
        if index < self.end {
            self.cut(index)?;
        }
        self.own_from = self.own_from.min(index);
        self.own_terms.push(index, term);
        self.end = index + 1;
        self.last = Some(Position { index, term });
        Ok(())
    }

    /// Removes entries from `from` on; returns whether there were any.
    pub(crate) fn truncate(&mut self, from: u64) -> Result<bool> {
        let group = self.group();
        if from < self.start.first {
            return Err(Error::BelowFirst { group, index: from, first: self.start.first });
        }
        if from > self.end {
            return Err(Error::Gap { group, index: from, expected: self.end });
        }
        let any = from < self.end;
        if any {
            self.cut(from)?;
        }
        Ok(any)
    }

    fn cut(&mut self, from: u64) -> Result<()> {
        self.last = match from.checked_sub(1) {
            // The group may no longer have that entry if it changed after the batch first touched it.
            Some(index) => match self.term(index) {
                Some(term) => Some(Position { index, term }),
                None => return Err(Error::BatchConflict { group: self.group() }),
            },
            None => None,
        };
        self.end = from;
        self.own_terms.cut_from(from);
        self.own_from = self.own_from.min(from);
        Ok(())
    }

    /// Removes entries up to and including `to`, which may lie beyond the last one; returns whether anything changes.
    pub(crate) fn purge(&mut self, to: Position) -> Result<bool> {
        let (group, Position { index, term }) = (self.group(), to);
        if index < self.start.first {
            return Ok(false);
        }
        if index == u64::MAX {
            return Err(Error::IndexExhausted { group, index });
        }
        match self.term(index) {
            Some(expected) if expected != term => {
                return Err(Error::TermMismatch { group, index, term, expected });
            }
            _ => {}
        }
        self.start = Start::after(Some(to));
        if self.end <= self.start.first {
            self.begin_at(self.start);
        }
        Ok(true)
    }

    /// Restarts the log after this entry.
    pub(crate) fn reset(&mut self, after: Option<Position>) -> Result<()> {
        check_start(self.group(), after)?;
        self.begin_at(Start::after(after));
        Ok(())
    }

    fn begin_at(&mut self, start: Start) {
        self.start = start;
        self.end = start.first;
        self.last = start.before();
        self.own_from = start.first;
        self.own_terms.clear();
    }

    pub(crate) fn remove(&mut self) {
        self.removed = true;
    }
}

/// Checks that a log can begin after this entry.
pub(crate) fn check_start(group: u64, after: Option<Position>) -> Result<()> {
    match after {
        Some(Position { index: u64::MAX, .. }) => Err(Error::IndexExhausted { group, index: u64::MAX }),
        _ => Ok(()),
    }
}
