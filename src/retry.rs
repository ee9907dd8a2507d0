//! Reading a log that a writer may be changing: tells real faults from apparent ones.
//!
//! A look is many reads, and a writer works between them. It may finish a block that was half read, start a segment
//! that the listing did not show, or release one and reuse its file. So what a look finds may be a contradiction
//! between early and late reads.
//!
//! **What makes a fault certain.** Two consecutive looks found it at the same place, and the segment it rests on is
//! still part of the log after the second.
//!
//! ```text
//!   look ── nothing wrong ──> done
//!        ── wrong at P ──> look ── wrong at P again, and P was not released ──> P is damaged
//!                               ── wrong elsewhere, or P was released ──> look again
//! ```
//!
//! **Why that is sound**, however fast or slow the writer is, and wherever it is stopped:
//!
//! * A writer changes existing parts of the log in one way only: it releases a segment. Everything else it does adds
//!   to the log, and the proof that something exists is written after the thing itself. So if a fault is a
//!   contradiction, an early read came before the thing, and a late read saw the proof. The second look reads the
//!   thing after that proof was seen, so it finds it, and finds nothing wrong at that place.
//! * A released segment's file may change or disappear. The superblock that says so is durable before the file is
//!   touched, and segment numbers only rise. So if a look reads the superblock *after* a fault and finds the segment
//!   still in the log, the file was untouched when the fault was found. This is checked at the end of each look
//!   ([`Fault::rests_on`]).
//! * Only the superblock is written in place. A slot that is being written may read torn while the other one is good.
//!   Reading it handles that itself: two slots count as bad only when both read the same twice.
//!
//! Comparing only the descriptions of two faults would not be enough: a segment's beginning may be half read while it
//! is new, and overwritten when it is old. The second condition tells these apart. A look with the same superblock
//! and listing before and after would be enough too, but beside a writer that rotates all the time there may never be
//! one.
//!
//! If every look finds something else, the result is [`unsettled`], never a fault.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Corruption, CorruptionReason, Error};
use crate::format::segment::parse_file_name;
use crate::io::Disk;
use crate::lsn::SegmentId;
use crate::segment::SuperblockFile;

/// Something wrong that a look found. Two are equal if they concern the same place.
pub trait Fault: PartialEq {
    /// The oldest segment that this fault depends on, if it is about segments. Once that segment is released, the
    /// fault is void.
    fn rests_on(&self) -> Option<SegmentId>;
}

/// The outcome of several looks.
#[derive(Debug)]
pub enum Outcome<T, F> {
    /// Nothing was wrong.
    Intact(T),
    /// The last look and its certain faults; there is at least one.
    Faulty(T, Vec<F>),
    /// Each look found something else.
    Unsettled,
}

/// When to stop looking again: after both limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Minimum number of looks.
    looks: usize,
    /// Minimum time.
    time: Duration,
    /// Pause between two looks, so that the writer can finish what it was doing.
    pause: Duration,
}

/// The default.
pub(crate) const PATIENCE: Patience =
    Patience { looks: 50, time: Duration::from_secs(5), pause: Duration::from_millis(20) };

/// Looks until it is certain what is wrong. See the module's documentation.
pub fn until_certain<T, F: Fault>(
    disk: &Arc<dyn Disk>,
    look: impl FnMut() -> T,
    faults: impl Fn(&T) -> Vec<F>,
) -> Outcome<T, F> {
    let oldest = || SuperblockFile::read(disk).ok().map(|sb| sb.oldest);
    repeat(PATIENCE, oldest, look, faults)
}

fn repeat<T, F: Fault>(
    patience: Patience,
    mut oldest: impl FnMut() -> Option<SegmentId>,
    mut look: impl FnMut() -> T,
    faults: impl Fn(&T) -> Vec<F>,
) -> Outcome<T, F> {
    let (start, mut looks, mut before) = (Instant::now(), 0, Vec::new());
    loop {
        let seen = look();
        let mut found = faults(&seen);
        if found.is_empty() {
            return Outcome::Intact(seen);
        }
        let oldest = oldest();
        // An unreadable superblock releases nothing.
        found.retain(|f| f.rests_on().zip(oldest).is_none_or(|(segment, oldest)| segment >= oldest));
        let again = found.iter().any(|f| before.contains(f));
        if again {
            found.retain(|f| before.contains(f));
            return Outcome::Faulty(seen, found);
        }
        looks += 1;
        if looks >= patience.looks && start.elapsed() >= patience.time {
            return Outcome::Unsettled;
        }
        // Not needed for soundness: it lets a fast writer proceed before a third look.
        if looks > 1 && !found.is_empty() {
            std::thread::sleep(patience.pause);
        }
        before = found;
    }
}

/// It cannot be determined whether the log in `dir` is damaged.
pub fn unsettled(dir: &Path) -> Error {
    let why =
        "a writer changes the log faster than it can be read: try again, or when the writer is less busy";
    Error::io("look at", dir, std::io::Error::new(std::io::ErrorKind::WouldBlock, why))
}

/// A place in a log's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: std::path::PathBuf,
    offset: u64,
    reason: Option<CorruptionReason>,
    /// The segment that is missing there.
    missing: Option<SegmentId>,
}

impl Place {
    /// The place of damage.
    #[must_use]
    pub fn of(c: &Corruption) -> Self {
        Place { file: c.file.clone(), offset: c.offset, reason: Some(c.reason), missing: c.missing }
    }

    /// The place of a failure that a writer may have caused; `None` for any other, which a second look would not
    /// change.
    #[must_use]
    pub fn of_failure(e: &Error) -> Option<Self> {
        let gone = |kind| matches!(kind, std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof);
        match e {
            Error::Corruption(c) => Some(Place::of(c)),
            Error::Io { op, path, source } if *op != crate::error::FIND_LOG && gone(source.kind()) => {
                Some(Place { file: path.clone(), offset: 0, reason: None, missing: None })
            }
            _ => None,
        }
    }
}

impl Fault for Place {
    fn rests_on(&self) -> Option<SegmentId> {
        // Once the missing segment is released, nothing is wrong with the file that names it.
        self.missing.or_else(|| Some(parse_file_name(self.file.file_name()?.to_str()?)?.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASTE: Patience = Patience { looks: 50, time: Duration::ZERO, pause: Duration::ZERO };

    /// A fault at a place, in a segment or not.
    impl Fault for (u64, Option<u64>) {
        fn rests_on(&self) -> Option<SegmentId> {
            self.1.map(SegmentId::new)
        }
    }

    type Found = Vec<(u64, Option<u64>)>;

    /// The outcome of looks that find this, with the oldest segment after each, and their number.
    fn seen(oldest: impl Fn(u64) -> u64, finds: impl Fn(u64) -> Found) -> (Option<Found>, u64) {
        let looks = std::cell::Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            finds(looks.get())
        };
        let released = || Some(SegmentId::new(oldest(looks.get())));
        let found = match repeat(HASTE, released, look, Clone::clone) {
            Outcome::Intact(_) => Some(Vec::new()),
            Outcome::Faulty(_, certain) => Some(certain),
            Outcome::Unsettled => None,
        };
        (found, looks.get())
    }

    #[test]
    fn what_is_whole_is_looked_at_once() {
        assert_eq!(seen(|_| 1, |_| vec![]), (Some(vec![]), 1));
    }

    #[test]
    fn what_two_looks_find_alike_is_so_and_nothing_else() {
        assert_eq!(seen(|_| 1, |_| vec![(1, None)]), (Some(vec![(1, None)]), 2));
        // Earlier looks do not count, and a fault that only one of the two found is not reported.
        let finds = |n| if n < 5 { vec![(n, None)] } else { vec![(n, None), (0, Some(3))] };
        assert_eq!(seen(|_| 1, finds), (Some(vec![(0, Some(3))]), 6));
    }

    #[test]
    fn what_differs_from_look_to_look_is_a_writers_doing() {
        for wrong in [1, 2, 9, 49] {
            let finds = |n| if n > wrong { vec![] } else { vec![(n, None)] };
            assert_eq!(seen(|_| 1, finds), (Some(vec![]), wrong + 1));
        }
        // A fault in every other look is not the same one twice.
        assert_eq!(seen(|_| 1, |n| if n > 8 { vec![] } else { vec![(n % 2, None)] }), (Some(vec![]), 9));
    }

    #[test]
    fn what_is_found_in_a_segment_that_was_released_meanwhile_says_nothing() {
        // The same place twice: half read while it was new, overwritten after it was released.
        let finds = |n| if n > 2 { vec![] } else { vec![(8192, Some(7))] };
        assert_eq!(seen(|n| if n < 2 { 7 } else { 8 }, finds), (Some(vec![]), 3));
        assert_eq!(seen(|_| 7, finds), (Some(vec![(8192, Some(7))]), 2));
        // A writer that releases all the time does not hide damage in what it keeps.
        let finds = |n| vec![(8192, Some(n)), (8192, Some(1000))];
        assert_eq!(seen(|n| n + 1, finds), (Some(vec![(8192, Some(1000))]), 2));
    }

    #[test]
    fn what_never_stays_the_same_nobody_knows() {
        assert_eq!(seen(|_| 1, |n| vec![(n, None)]), (None, 50));
        assert_eq!(seen(|n| n + 1, |n| vec![(0, Some(n))]), (None, 50));
    }

    #[test]
    fn a_place_knows_its_segment() {
        let place =
            |name: &str| Place { file: Path::new("d").join(name), offset: 0, reason: None, missing: None };
        let name = crate::format::segment::file_name(SegmentId::new(12), crate::Lsn::new(4096));
        assert_eq!(place(&name).rests_on(), Some(SegmentId::new(12)));
        assert_eq!(place("superblock").rests_on(), None);
        for named_by in [&name, "superblock"] {
            let missing = Some(SegmentId::new(7));
            assert_eq!(Place { missing, ..place(named_by) }.rests_on(), missing);
        }
    }
}
