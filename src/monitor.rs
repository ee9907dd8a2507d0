//! What a log knows about its own health, noted by the threads that do the work, and the reporting of calls that
//! hang.
//!
//! Each party that calls the disk makes one call at a time and has a [`Caller`], which notes the call before it is
//! made and after it has returned. A thread that hangs in a call cannot report it, so another thread watches.
//!
//! ```text
//!  who can hang                           Caller        who watches
//!  the flush, by a caller's thread        flush         the committer
//!  the flush, by the committer            flush         the manager
//!  the manager: the next segment, footers  background    the committer
//!  the thread that writes the superblock  superblock    the committer, or the manager
//!  a caller that releases segments        release       the committer, or the manager
//! ```
//!
//! The manager is the segment manager's thread.
//!
//! **Who watches, and when.** Committer and manager sleep without limit while the log is idle. A thread that begins
//! something that may hang wakes one of them, unless one is already watching with a timeout; so not every flush wakes
//! it. From then on, until the log is idle again, that thread sleeps no longer than until the next call would be
//! overdue ([`Monitor::next_look`]). If both hang, callers of [`Wal::health`](crate::Wal::health) watch.
//!
//! **Invariants.** The locks here are held for a few instructions, never during a disk call. The exception is
//! `telling`, which is held while the observer is called and taken only by reporters. So for each call, the hang is
//! reported before the return, each once, and neither under a lock that the log's work needs.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::health::{DiskCall, Health};
use crate::observe::Observed;
use crate::options::Checked;
use crate::stats::Counters;
use crate::trace::event;

/// A call is not reported and does not make the log busy before it has lasted this long, whatever the options say:
/// watchers do not check more often.
const LEAST: Duration = Duration::from_millis(5);

/// A party that calls the disk, one call at a time.
#[derive(Debug)]
pub(crate) struct Caller {
    call: Mutex<Noted>,
    /// `Noted::returned` is not empty.
    returned: AtomicBool,
}

/// The call under way, or the last one.
#[derive(Debug)]
struct Noted {
    op: &'static str,
    file: Arc<Path>,
    /// `None` once it has returned.
    since: Option<Instant>,
    /// The hang was reported.
    told: bool,
    /// Calls reported as hanging that have returned; the return is still to be reported.
    returned: Vec<DiskCall>,
}

impl Noted {
    /// The call, if it has not returned.
    fn under_way(&self) -> Option<DiskCall> {
        let since = self.since?;
        Some(DiskCall { op: self.op, file: Arc::clone(&self.file), since, lasts: since.elapsed() })
    }
}

impl Default for Caller {
    fn default() -> Self {
        let file = Path::new("").into();
        let noted = Noted { op: "", file, since: None, told: false, returned: Vec::new() };
        Caller { call: Mutex::new(noted), returned: AtomicBool::new(false) }
    }
}

impl Caller {
    /// Makes a call and notes it while it lasts. Its error names call and file.
    pub(crate) fn call<T>(
        &self,
        op: &'static str,
        file: &Path,
        call: impl FnOnce() -> io::Result<T>,
    ) -> Result<T> {
        let _noted = self.begin(op, file, Instant::now());
        call().map_err(|e| Error::io(op, file, e))
    }

    /// Notes the start of a call; it ends when the guard is dropped.
    pub(crate) fn begin(&self, op: &'static str, file: &Path, now: Instant) -> InCall<'_> {
        let mut noted = self.call.lock();
        // Compared as bytes: comparing path components would take longer than everything else here.
        if noted.file.as_os_str() != file.as_os_str() {
            noted.file = file.into();
        }
        (noted.op, noted.since) = (op, Some(now));
        drop(noted);
        InCall(self)
    }

    fn end(&self, noted: &mut Noted) {
        if std::mem::take(&mut noted.told)
            && let Some(call) = noted.under_way()
        {
            noted.returned.push(call);
            self.returned.store(true, Ordering::Release);
        }
        noted.since = None;
    }

    /// Returns the call if it hangs and was not reported yet: the caller must report it.
    fn claim(&self, limit: Duration) -> Option<DiskCall> {
        let mut noted = self.call.lock();
        if noted.told {
            return None;
        }
        let call = noted.under_way().filter(|call| call.lasts >= limit)?;
        noted.told = true;
        Some(call)
    }

    /// Start of a call whose hang was not reported yet.
    fn untold_since(&self) -> Option<Instant> {
        let noted = self.call.lock();
        noted.since.filter(|_| !noted.told)
    }

    fn take_returned(&self) -> Vec<DiskCall> {
        let mut noted = self.call.lock();
        self.returned.store(false, Ordering::Relaxed);
        std::mem::take(&mut noted.returned)
    }
}

/// A call that is under way.
pub(crate) struct InCall<'a>(&'a Caller);

impl InCall<'_> {
    /// The call has returned and another one on the same file begins.
    pub(crate) fn then(&mut self, op: &'static str, now: Instant) {
        let mut noted = self.0.call.lock();
        self.0.end(&mut noted);
        (noted.op, noted.since) = (op, Some(now));
    }
}

impl Drop for InCall<'_> {
    fn drop(&mut self) {
        self.0.end(&mut self.0.call.lock());
    }
}

/// What is known about the health of one log.
#[derive(Debug)]
pub(crate) struct Monitor {
    /// The owner of the flush.
    pub(crate) flush: Caller,
    /// The segment manager, or the thread that does its work where the log has no threads.
    pub(crate) background: Caller,
    /// The thread that holds the superblock.
    superblock: Arc<Caller>,
    /// A caller that releases segments.
    pub(crate) release: Caller,
    /// Number of other parties at work that may hang: the committer while it flushes, the segment manager, callers
    /// that release segments.
    working: AtomicUsize,
    oldest_write: Mutex<Option<Instant>>,
    poison: OnceLock<Error>,
    full: Mutex<Option<Error>>,
    /// Duration from which a call hangs.
    limit: Duration,
    telling: Mutex<()>,
    observed: Observed,
    counters: Arc<Counters>,
}

/// Marks a party as working until dropped.
pub(crate) struct AtWork<'a>(&'a AtomicUsize);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Monitor {
    pub(crate) fn new(options: &Checked, counters: Arc<Counters>, superblock: Arc<Caller>) -> Self {
        Monitor {
            flush: Caller::default(),
            background: Caller::default(),
            superblock,
            release: Caller::default(),
            working: AtomicUsize::new(0),
            oldest_write: Mutex::new(None),
            poison: OnceLock::new(),
            full: Mutex::new(None),
            limit: options.slow_sync.max(LEAST),
            telling: Mutex::new(()),
            observed: options.observed.clone(),
            counters,
        }
    }

    fn callers(&self) -> [&Caller; 4] {
        [&self.flush, &self.background, &*self.superblock, &self.release]
    }

    /// Duration from which a call hangs.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Marks a party as working, in calls that come and go. A thread that sleeps without limit must be woken after
    /// this.
    pub(crate) fn at_work(&self) -> AtWork<'_> {
        self.working.fetch_add(1, Ordering::AcqRel);
        AtWork(&self.working)
    }

    /// How long a watcher may sleep before a call may have to be reported; `None` when the log is idle.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        let calls = self.callers().into_iter().filter_map(Caller::untold_since);
        let oldest = calls.min().map(|since| self.limit.saturating_sub(since.elapsed()));
        let work = (self.working.load(Ordering::Acquire) > 0).then_some(self.limit);
        oldest.into_iter().chain(work).min()
    }

    /// Reports each hanging call, once. No lock of the log may be held.
    pub(crate) fn tell_overdue(&self) {
        if self.next_look() != Some(Duration::ZERO) {
            return;
        }
        self.tell_claimed(self.telling.lock());
    }

    /// Like [`Monitor::tell_overdue`], for a caller that only asks, possibly from inside an observer: if another
    /// thread is reporting at this moment, it is left to that thread.
    pub(crate) fn tell_overdue_unless_told(&self) {
        if self.next_look() != Some(Duration::ZERO) {
            return;
        }
        if let Some(in_order) = self.telling.try_lock() {
            self.tell_claimed(in_order);
        }
    }

    fn tell_claimed(&self, _in_order: MutexGuard<'_, ()>) {
        for call in self.callers().into_iter().filter_map(|caller| caller.claim(self.limit)) {
            self.counters.stalls.add(1);
            event!(
                warn,
                call = call.op,
                file = call.file.display().to_string(),
                milliseconds = call.lasts.as_millis(),
                "a disk call hangs"
            );
            self.observed.tell(|o| o.stalled(&call));
        }
    }

    /// Whether there is something for [`Monitor::tell_returned`].
    pub(crate) fn has_returned(&self) -> bool {
        self.callers().into_iter().any(|caller| caller.returned.load(Ordering::Acquire))
    }

    /// Reports the return of each call that had been reported as hanging. No lock of the log may be held.
    pub(crate) fn tell_returned(&self) {
        if !self.has_returned() {
            return;
        }
        let _in_order = self.telling.lock();
        for call in self.callers().into_iter().flat_map(Caller::take_returned) {
            self.counters.stalls_ended.add(1);
            event!(
                warn,
                call = call.op,
                file = call.file.display().to_string(),
                milliseconds = call.lasts.as_millis(),
                "a hanging disk call has returned"
            );
            self.observed.tell(|o| o.resumed(&call));
        }
    }

    /// Notes since when the oldest non-durable write has waited.
    pub(crate) fn note_oldest_write(&self, since: Option<Instant>) {
        *self.oldest_write.lock() = since;
    }

    /// Notes that nothing is acknowledged any more.
    pub(crate) fn note_poison(&self, why: &Error) {
        // The first error stays: it is the cause.
        drop(self.poison.set(why.clone()));
    }

    /// Notes that an ordinary segment was made, or could not be made.
    pub(crate) fn note_segment(&self, failed: Option<&Error>) {
        match failed {
            None => *self.full.lock() = None,
            Some(e) if e.is_full() => *self.full.lock() = Some(e.clone()),
            // This says nothing about space.
            Some(_) => {}
        }
    }

    /// The call under way that has lasted longest.
    pub(crate) fn longest_call(&self) -> Option<DiskCall> {
        let calls = self.callers().into_iter().filter_map(|caller| caller.call.lock().under_way());
        calls.min_by_key(|call| call.since)
    }

    /// Why nothing is acknowledged any more, if so.
    pub(crate) fn poisoned(&self) -> Option<Error> {
        self.poison.get().cloned()
    }

    pub(crate) fn health(&self, without_mapping: u64) -> Health {
        Health {
            poisoned: self.poisoned(),
            longest_call: self.longest_call(),
            oldest_write: self.oldest_write.lock().map(|since| since.elapsed()),
            full: self.full.lock().clone(),
            without_mapping,
            slow: self.limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Observer;
    use crate::options::Options;

    #[derive(Default)]
    struct Told(Mutex<Vec<(&'static str, &'static str)>>);

    impl Observer for Told {
        fn stalled(&self, call: &DiskCall) {
            self.0.lock().push(("stalled", call.op));
        }
        fn resumed(&self, call: &DiskCall) {
            self.0.lock().push(("resumed", call.op));
        }
    }

    fn monitor(limit: Duration) -> (Monitor, Arc<Told>) {
        let told = Arc::new(Told::default());
        let checked = Options::new().slow_sync(limit).observer(told.clone()).check().unwrap();
        (Monitor::new(&checked, Arc::default(), Arc::default()), told)
    }

    const FILE: &str = "a file";

    fn ago(time: Duration) -> Instant {
        Instant::now().checked_sub(time).unwrap()
    }

    #[test]
    fn a_call_that_hangs_is_told_once_and_so_is_its_return() {
        let (monitor, told) = monitor(Duration::from_secs(1));
        let second = Duration::from_secs(1);
        let mut call = monitor.flush.begin("write", Path::new(FILE), ago(2 * second));
        monitor.tell_overdue();
        monitor.tell_overdue();
        assert_eq!(*told.0.lock(), [("stalled", "write")]);
        assert_eq!(monitor.next_look(), None, "a reported call needs no further look");
        call.then("fdatasync", ago(second));
        monitor.tell_returned();
        monitor.tell_overdue();
        drop(call);
        monitor.tell_returned();
        monitor.tell_returned();
        let all =
            [("stalled", "write"), ("resumed", "write"), ("stalled", "fdatasync"), ("resumed", "fdatasync")];
        assert_eq!(*told.0.lock(), all);
        let stats = monitor.counters.read();
        assert_eq!((stats.stalls, stats.stalls_ended), (2, 2));
        assert!(monitor.longest_call().is_none());
    }

    #[test]
    fn a_quick_call_is_told_to_nobody() {
        let (monitor, told) = monitor(Duration::from_secs(60));
        let failed = monitor.background.call("fsync", Path::new(FILE), || {
            monitor.tell_overdue();
            assert!(monitor.next_look().is_some_and(|left| left > Duration::from_secs(30)));
            assert_eq!(monitor.longest_call().map(|call| call.op), Some("fsync"));
            Err::<(), _>(io::ErrorKind::Other.into())
        });
        monitor.tell_returned();
        assert!(matches!(failed, Err(Error::Io { op: "fsync", path, .. }) if path == Path::new(FILE)));
        assert!(
            told.0.lock().is_empty() && monitor.longest_call().is_none() && monitor.next_look().is_none()
        );
    }

    #[test]
    fn one_looks_as_long_as_anybody_works_and_when_the_oldest_call_is_overdue() {
        let (monitor, _) = monitor(Duration::from_secs(60));
        assert_eq!(monitor.next_look(), None);
        let work = monitor.at_work();
        assert_eq!(monitor.next_look(), Some(Duration::from_secs(60)));
        let newer = monitor.release.begin("remove", Path::new(FILE), ago(Duration::from_secs(10)));
        let older = monitor.superblock.begin("write", Path::new(FILE), ago(Duration::from_secs(50)));
        assert!(monitor.next_look().is_some_and(|left| left <= Duration::from_secs(10)));
        assert_eq!(monitor.longest_call().map(|call| call.op), Some("write"));
        drop(older);
        assert!(monitor.next_look().is_some_and(|left| left > Duration::from_secs(40)));
        drop((newer, work));
        assert_eq!(monitor.next_look(), None);
    }

    #[test]
    fn full_stays_until_a_segment_was_made() {
        let (monitor, _) = monitor(Duration::from_secs(1));
        let error = |kind: io::ErrorKind| Error::io("allocate", FILE, kind.into());
        monitor.note_segment(Some(&error(io::ErrorKind::Other)));
        assert!(monitor.health(0).full.is_none());
        monitor.note_segment(Some(&error(io::ErrorKind::StorageFull)));
        monitor.note_segment(Some(&error(io::ErrorKind::Other)));
        assert!(monitor.health(0).full.is_some_and(|e| e.is_full()));
        monitor.note_segment(None);
        assert!(monitor.health(0).is_healthy());
    }
}
