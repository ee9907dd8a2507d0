//! How a log is at this moment: what [`Wal::health`](crate::Wal::health) answers.
//!
//! ```text
//!  facts, several at once                         the gravest of them, to match on
//!   poisoned ---------------------------------->  Condition::Poisoned
//!   longest_call, if it lasts slow_sync or more   Condition::Busy
//!   full --------------------------------------->  Condition::Full
//!   without_mapping, if not 0 ------------------>  Condition::WithoutMapping
//!   oldest_write
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;

/// A call of the log to its disk: one that has not returned yet, or, where it says so, one that has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskCall {
    /// Which call: "write", "fdatasync", "fsync", "allocate", ..., by the words of [`Error::Io`].
    pub op: &'static str,
    /// On which file, or on which directory.
    pub file: Arc<Path>,
    /// When it began.
    pub since: Instant,
    /// How long it has lasted; how long it took, once it has returned.
    pub lasts: Duration,
}

impl fmt::Display for DiskCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} for {:?}", self.op, self.file.display(), self.lasts)
    }
}

/// How a log is at this moment: [`Wal::health`](crate::Wal::health).
///
/// Several things can be wrong at once, so each has a field; [`Health::condition`] is the gravest of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// Why nothing is acknowledged any more: a write or a sync of the commit path failed. It stays so for this handle.
    pub poisoned: Option<Error>,
    /// Of the calls that have not returned, the one that has lasted longest, however short that is. Commits need not wait
    /// for it: it may be the preparation of a segment, a footer, the superblock, the removal of a file.
    pub longest_call: Option<DiskCall>,
    /// How long the oldest write has waited that is not durable yet; `None` when all is durable. It counts from when it was
    /// staged, or from when it found no segment to be staged in. This says whether commits get through.
    pub oldest_write: Option<Duration>,
    /// The last preparation of a segment failed with this error because the disk, or a quota on it, is full, and none has
    /// succeeded since. What is still ready can be written to. Segments made of the reserve do not count.
    pub full: Option<Error>,
    /// How many segments are read without a memory mapping, although the options ask for one and the disk has files that can
    /// be mapped. Reading them takes a system call, and is as good otherwise.
    pub without_mapping: u64,
    /// From which duration on a call makes the log busy.
    pub(crate) slow: Duration,
}

/// What is to be said first about a log, gravest first.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Condition<'a> {
    /// Nothing is acknowledged any more, and this is why. Reopen the log.
    Poisoned(&'a Error),
    /// This call has not returned for [`Options::slow_sync`](crate::Options::slow_sync) or longer. It may return yet.
    Busy(&'a DiskCall),
    /// No segment can be made: the disk, or a quota, is full.
    Full(&'a Error),
    /// How many segments are read without the mapping that the options ask for.
    WithoutMapping(u64),
    /// Nothing is wrong.
    Healthy,
}

impl Health {
    /// What a handle answers in a process that did not open the log: nothing will ever be acknowledged by it.
    pub(crate) fn of_another_process(error: Error) -> Self {
        Health {
            poisoned: Some(error),
            longest_call: None,
            oldest_write: None,
            full: None,
            without_mapping: 0,
            slow: Duration::MAX,
        }
    }

    /// The gravest thing that is wrong.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// use seawall::{Condition, Wal};
    ///
    /// let wal = Wal::open(dir.path())?;
    /// match wal.health().condition() {
    ///     Condition::Healthy => {}
    ///     Condition::Busy(call) => eprintln!("{} has not returned for {:?}", call.op, call.lasts),
    ///     Condition::Poisoned(why) => eprintln!("reopen the log: {why}"),
    ///     other => eprintln!("{other}"),
    /// }
    /// # Ok::<(), seawall::Error>(())
    /// ```
    #[must_use]
    pub fn condition(&self) -> Condition<'_> {
        let busy = self.longest_call.as_ref().filter(|call| call.lasts >= self.slow);
        match (&self.poisoned, busy, &self.full) {
            (Some(why), ..) => Condition::Poisoned(why),
            (None, Some(call), _) => Condition::Busy(call),
            (None, None, Some(why)) => Condition::Full(why),
            (None, None, None) if self.without_mapping > 0 => Condition::WithoutMapping(self.without_mapping),
            (None, None, None) => Condition::Healthy,
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        matches!(self.condition(), Condition::Healthy)
    }

    /// Whether a write waits that was not durable `limit` after it came, or will never be: what a Raft node asks at each
    /// tick, its limit an election timeout.
    #[must_use]
    pub fn is_stuck(&self, limit: Duration) -> bool {
        self.poisoned.is_some() || self.oldest_write.is_some_and(|waits| waits > limit)
    }
}

impl fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Poisoned(why) => write!(f, "poisoned: {why}"),
            Condition::Busy(call) => write!(f, "busy: {call}"),
            Condition::Full(why) => write!(f, "full: {why}"),
            Condition::WithoutMapping(segments) => {
                write!(f, "{segments} segments are read without a mapping")
            }
            Condition::Healthy => f.write_str("healthy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that can be wrong at once; taken away one by one, gravest first.
    #[test]
    fn the_gravest_thing_is_said_first() {
        let full = Error::io("allocate", "next", std::io::ErrorKind::StorageFull.into());
        let call = DiskCall {
            op: "fdatasync",
            file: Path::new("segment").into(),
            since: Instant::now(),
            lasts: Duration::from_secs(2),
        };
        let mut health = Health {
            poisoned: Some(full.poison(std::path::Path::new("log"))),
            longest_call: Some(call),
            oldest_write: Some(Duration::from_secs(3)),
            full: Some(full),
            without_mapping: 7,
            slow: Duration::from_secs(2),
        };
        assert!(matches!(health.condition(), Condition::Poisoned(_)));
        assert!(health.is_stuck(Duration::from_secs(9)), "poisoned is stuck");
        health.poisoned = None;
        assert!(matches!(health.condition(), Condition::Busy(call) if call.op == "fdatasync"));
        assert_eq!(health.condition().to_string(), "busy: fdatasync segment for 2s");
        assert!(health.is_stuck(Duration::from_secs(2)) && !health.is_stuck(Duration::from_secs(3)));
        health.slow = Duration::from_secs(3);
        assert!(matches!(health.condition(), Condition::Full(_)), "a call that is not slow is no trouble");
        health.full = None;
        assert!(matches!(health.condition(), Condition::WithoutMapping(7)) && !health.is_healthy());
        health.without_mapping = 0;
        assert!(health.is_healthy());
    }
}
