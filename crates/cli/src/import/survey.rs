//! Reads one group's log once and collects what must be known before anything is written.

use raft::eraftpb::{Entry, EntryType};

use super::decode::known;
use super::reason::Reason;
use super::source::{Source, Unread};
use crate::failure::Failure;

/// Why a group was not read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The group cannot be imported.
    Group(Reason),
    /// Nothing can be imported.
    All(Failure),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Stop::Group(reason)
    }
}

impl From<Unread> for Stop {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Damaged(why) => Stop::All(Failure::Damaged(why)),
            Unread::NotEntry { index, why } => Stop::Group(Reason::NotEntry { index, why }),
        }
    }
}

/// Consecutive entries whose terms never fall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    first: u64,
    next: u64,
    /// The first entry of each term.
    terms: Vec<(u64, u64)>,
    /// The entries that change members, ascending.
    changes: Vec<u64>,
}

impl Log {
    pub(super) fn read(source: &Source, group: u64) -> Result<Log, Stop> {
        let mut log = Log::default();
        let Some((first, last)) = source.span(group) else { return Ok(log) };
        for some in source.entries(group, first..=last) {
            for entry in some? {
                log.push(&entry)?;
            }
        }
        Ok(log)
    }

    /// Adds an entry; raft-engine has checked its index.
    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), Reason> {
        let (index, term) = (entry.index, entry.term);
        known(entry).map_err(|why| Reason::NotEntry { index, why })?;
        let before = self.terms.last().map_or(0, |(_, term)| *term);
        // Terms start at 1.
        if term < before.max(1) {
            return Err(Reason::TermFalls { index, term, before: before.max(1) });
        }
        if term > before {
            self.terms.push((index, term));
        }
        if entry.get_entry_type() != EntryType::EntryNormal {
            self.changes.push(index);
        }
        if self.is_empty() {
            self.first = index;
        }
        self.next = index.saturating_add(1);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// First and last index.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        self.next.checked_sub(1).map(|last| (self.first, last))
    }

    pub(super) fn term(&self, index: u64) -> Option<u64> {
        let (first, last) = self.span()?;
        let run = self.terms.iter().rev().find(|(from, _)| *from <= index);
        run.filter(|_| (first..=last).contains(&index)).map(|(_, term)| *term)
    }

    /// The first entry above `index` that changes members.
    pub(super) fn change_above(&self, index: u64) -> Option<u64> {
        self.changes.iter().copied().find(|change| *change > index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(terms: &[(u64, u64)]) -> Result<Log, Reason> {
        let mut log = Log::default();
        for (index, term) in terms {
            let mut entry = Entry::default();
            entry.index = *index;
            entry.term = *term;
            log.push(&entry)?;
        }
        Ok(log)
    }

    #[test]
    fn terms_are_known_from_first_to_last() {
        let log = log(&[(5, 2), (6, 2), (7, 4)]).unwrap();
        assert_eq!(log.span(), Some((5, 7)));
        let terms: Vec<_> = (4..=8).map(|index| log.term(index)).collect();
        assert_eq!(terms, [None, Some(2), Some(2), Some(4), None]);
        assert_eq!(Log::default().span(), None);
    }

    #[test]
    fn a_falling_term_is_refused_and_so_is_term_0() {
        assert_eq!(log(&[(5, 2), (6, 1)]), Err(Reason::TermFalls { index: 6, term: 1, before: 2 }));
        assert_eq!(log(&[(1, 0)]), Err(Reason::TermFalls { index: 1, term: 0, before: 1 }));
    }
}
