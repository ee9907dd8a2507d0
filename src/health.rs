//! The state of a log at one moment: the answer of [`Wal::health`](crate::Wal::health).
//!
//! ```text
//!  facts, several at once                         the most severe one, to match on
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

/// A disk call of the log that has not returned yet or, where stated, one that has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskCall {
    /// The call: "write", "fdatasync", "fsync", "allocate", ..., in the terms of [`Error::Io`].
    pub op: &'static str,
    /// The file or directory it was made on.
    pub file: Arc<Path>,
    /// When it began.
    pub since: Instant,
    /// How long it has lasted; once it has returned, how long it took.
    pub lasts: Duration,
}

impl fmt::Display for DiskCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} for {:?}", self.op, self.file.display(), self.lasts)
    }
}

/// The state of a log at one moment; see [`Wal::health`](crate::Wal::health).
///
/// Several things can be wrong at once, so each has a field; [`Health::condition`] is the most severe of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// Why nothing is acknowledged any more: a write or a sync of the commit path failed. Permanent for this handle.
    pub poisoned: Option<Error>,
    /// Of the calls that have not returned, the one that has lasted longest, however briefly. Commits do not
    /// necessarily wait for it: it may prepare a segment, write a footer or the superblock, or remove a file.
    pub longest_call: Option<DiskCall>,
    /// How long the oldest write that is not yet durable has waited; `None` when everything is durable. Measured from
    /// when it was staged, or from when it found no segment to be staged in. This tells whether commits get through.
    pub oldest_write: Option<Duration>,
    /// The last preparation of a segment failed with this error because the disk or a quota is full, and none has
    /// succeeded since. Space that is already prepared can still be written to. Segments made from the reserve do not
    /// count.
    pub full: Option<Error>,
    /// Number of segments read without a memory mapping although the options ask for one and the disk supports it.
    /// Reading them takes a system call; nothing else differs.
    pub without_mapping: u64,
    /// Duration from which a call makes the log busy.
    pub(crate) slow: Duration,
}

/// The most severe condition of a log.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Condition<'a> {
    /// Nothing is acknowledged any more, for this reason. Reopen the log.
    Poisoned(&'a Error),
    /// This call has not returned for [`Options::slow_sync`](crate::Options::slow_sync) or longer. It may still
    /// return.
    Busy(&'a DiskCall),
    /// No segment can be made: the disk or a quota is full.
    Full(&'a Error),
    /// Number of segments that are read without the mapping that the options ask for.
    WithoutMapping(u64),
    /// Nothing is wrong.
    Healthy,
}

impl Health {
    /// The answer in a process that did not open the log: this handle will never acknowledge anything there.
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

    /// The most severe condition.
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

    /// Whether a write has waited `limit` or longer without becoming durable, or never will become durable. For a
    /// replica that asks this at each tick, the limit is an election timeout.
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

    /// Everything that can be wrong at once, removed one by one, most severe first.
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
