//! A call that hangs is visible while it hangs (W15): in the health, the statistics, and to the observer; and its
//! return is reported. So are a poisoned log and a full disk.

mod gate_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gate_support::{DEADLINE, Gate, HangingDisk};
use parking_lot::Mutex;
use seawall::io::RealDisk;
use seawall::io::sim::{Call, Fault, FaultPlan, SimDisk, SyncFailure, Trigger};
use seawall::{Batch, Condition, DiskCall, Error, Health, Observer, Options, Wal};

/// Time after which a call counts as hanging. Long enough for a busy machine.
const SLOW: Duration = Duration::from_millis(150);

/// What was reported to the observer, and by which thread.
#[derive(Default)]
struct Told {
    lines: Mutex<Vec<(&'static str, DiskCall, String)>>,
    /// Panics when a hanging call is reported.
    quiet: AtomicBool,
}

impl Told {
    fn add(&self, what: &'static str, call: &DiskCall) {
        assert!(!self.quiet.load(Ordering::Relaxed), "{what} {call}");
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        self.lines.lock().push((what, call.clone(), thread));
    }

    /// As `stalled fdatasync`, `resumed fdatasync`, ...
    fn summary(&self) -> Vec<String> {
        self.lines.lock().iter().map(|(what, call, _)| format!("{what} {}", call.op)).collect()
    }
}

impl Observer for Told {
    fn stalled(&self, call: &DiskCall) {
        self.add("stalled", call);
    }
    fn resumed(&self, call: &DiskCall) {
        self.add("resumed", call);
    }
}

struct Stand {
    _dir: tempfile::TempDir,
    gate: Arc<Gate>,
    told: Arc<Told>,
    wal: Wal,
}

impl Drop for Stand {
    fn drop(&mut self) {
        // Otherwise a failed test would wait forever when it closes the log.
        self.gate.open();
    }
}

fn options() -> Options {
    // No marker block comes between, unless a test wants it.
    Options::new().segment_size(64 << 10).slow_sync(SLOW).idle_marker(Duration::from_secs(3600))
}

/// A log at rest: its next segment is ready, and nothing is under way.
fn stand(options: Options) -> Stand {
    let dir = tempfile::tempdir().unwrap();
    let (disk, gate) = HangingDisk::new(Arc::new(RealDisk::open(dir.path()).unwrap()));
    let told = Arc::new(Told::default());
    let wal = options.observer(told.clone()).open_on(disk).unwrap();
    wal.append(b"first").unwrap();
    until("the log is at rest", || wal.stats().segments_prepared == 2 && wal.health().longest_call.is_none());
    Stand { _dir: dir, gate, told, wal }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "{what}: never");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn one(payload: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.push(payload);
    batch
}

/// Opens the gate on drop, also after a failed assertion: the test waits for the thread that hangs.
struct Opens<'a>(&'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl Stand {
    /// Runs something that hangs on another thread, and `look` meanwhile. Then the gate is opened.
    fn beside<T: Send>(&self, hangs: impl FnOnce() -> T + Send, look: impl FnOnce()) -> T {
        std::thread::scope(|scope| {
            let opens = Opens(&self.gate);
            let thread = scope.spawn(hangs);
            look();
            drop(opens);
            thread.join().unwrap()
        })
    }

    /// While `op` hangs on a file whose name contains `file`, everything reports it, once. After it has returned,
    /// that is reported, once. `thread` is the name of the reporting thread, or its prefix.
    fn sees_hanging(&self, op: &str, file: &str, thread: &str) {
        self.is_told(op, file, thread);
        self.is_told_of_the_end(op);
    }

    fn is_told(&self, op: &str, file: &str, thread: &str) {
        self.gate.await_hanging(1);
        let told = || self.told.lines.lock().len();
        let before = told();
        assert_eq!((before, self.wal.stats().stalls), (0, 0));
        until("the observer is told", || told() == 1);
        let stats = self.wal.stats();
        assert_eq!((stats.stalls, stats.stalls_ended), (1, 0));
        assert!(stats.longest_call >= SLOW);
        {
            let lines = self.told.lines.lock();
            let (what, call, by) = &lines[0];
            assert_eq!((*what, call.op), ("stalled", op));
            assert!(by.starts_with(thread), "told by {by}");
            assert!(call.file.to_string_lossy().contains(file), "{call}");
            assert!(call.lasts >= SLOW && call.since.elapsed() >= call.lasts, "{call}");
        }
        let (first, then) = (self.busy_with(op, file), self.busy_with(op, file));
        assert!(then > first, "it lasts longer and longer");
        // Reported once, however long it lasts.
        std::thread::sleep(3 * SLOW);
        assert_eq!(self.told.summary(), [format!("stalled {op}")]);
        assert!(self.busy_with(op, file) >= 4 * SLOW);
    }

    fn is_told_of_the_end(&self, op: &str) {
        self.gate.open();
        until("the observer is told of the end", || self.told.lines.lock().len() == 2);
        let resumed = self.told.lines.lock()[1].clone();
        assert_eq!((resumed.0, resumed.1.op), ("resumed", op));
        assert!(resumed.1.lasts >= 4 * SLOW, "{}", resumed.1);
        until("nothing hangs", || self.wal.health().longest_call.is_none());
        assert!(self.wal.health().is_healthy());
        let stats = self.wal.stats();
        assert_eq!((stats.stalls, stats.stalls_ended), (1, 1));
    }

    fn busy_after(&self, time: Duration) {
        until("busy", || matches!(self.wal.health().condition(), Condition::Busy(call) if call.lasts > time));
    }

    fn busy_with(&self, op: &str, file: &str) -> Duration {
        match self.wal.health().condition() {
            Condition::Busy(call) => {
                assert_eq!(call.op, op);
                assert!(call.file.to_string_lossy().contains(file), "{call}");
                call.lasts
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn w15_a_sync_that_hangs_under_the_caller_is_told_while_it_does() {
    let stand = stand(options());
    stand.gate.close("fdatasync", ".seg");
    let appended = stand.beside(
        || stand.wal.append(b"hangs"),
        || {
            stand.is_told("fdatasync", ".seg", "seawall-");
            assert!(stand.wal.health().oldest_write.unwrap() >= 4 * SLOW);
            stand.is_told_of_the_end("fdatasync");
        },
    );
    appended.unwrap();
    assert_eq!(stand.wal.health().oldest_write, None, "all is durable");
    assert_eq!(stand.wal.stats().slow_syncs, 1);
}

#[test]
fn w15_a_write_that_hangs_under_the_caller_is_told_while_it_does() {
    let stand = stand(options());
    stand.gate.close("write", ".seg");
    let look = || stand.sees_hanging("write", ".seg", "seawall-");
    stand.beside(|| stand.wal.append(b"hangs"), look).unwrap();
}

#[test]
fn w15_a_sync_that_hangs_with_tickets_outstanding_is_told_by_the_other_thread() {
    let stand = stand(options());
    stand.gate.close("fdatasync", ".seg");
    let ticket = stand.wal.submit(one(b"hangs")).unwrap();
    stand.gate.await_hanging(1);
    let behind = stand.wal.submit(one(b"behind it")).unwrap();
    stand.sees_hanging("fdatasync", ".seg", "seawall-manager");
    ticket.wait().unwrap();
    behind.wait().unwrap();
    assert_eq!(stand.wal.health().oldest_write, None);
}

/// The committer writes the marker block when the log falls idle, and no caller waits for it.
#[test]
fn w15_a_marker_block_that_hangs_is_told() {
    let stand = stand(options().idle_marker(Duration::from_millis(20)));
    let markers = stand.wal.stats().markers;
    until("the first marker block", || stand.wal.stats().markers > markers || markers > 0);
    until("all is quiet", || stand.wal.health().oldest_write.is_none());
    // The append goes through; then the log falls idle.
    stand.wal.append(b"in time").unwrap();
    stand.gate.close("write", ".seg");
    stand.sees_hanging("write", ".seg", "seawall-manager");
}

/// A second hang, after the first marker block, and after the log slept: a sleeping thread is woken to watch.
#[test]
fn w15_each_hang_is_told_anew_also_after_the_log_has_slept() {
    let stand = stand(options().idle_marker(Duration::from_millis(1)));
    for round in 1..=3u64 {
        // Longer than any thread watches after progress resumed.
        until("the log sleeps", || stand.wal.health().oldest_write.is_none());
        std::thread::sleep(3 * SLOW);
        stand.gate.close("fdatasync", ".seg");
        let look = || until("told", || stand.wal.stats().stalls == round);
        stand.beside(|| stand.wal.append(b"hangs"), look).unwrap();
        until("told of the end", || stand.wal.stats().stalls_ended == round);
    }
    let expected: Vec<_> = (0..3).flat_map(|_| ["stalled fdatasync", "resumed fdatasync"]).collect();
    assert_eq!(stand.told.summary(), expected);
}

/// Fills the present segment, so that the next one is taken and the one after it is prepared, with `op` on `file`
/// hanging; `shown` is part of the reported file name.
fn manager_hangs_in(op: &'static str, file: &str, shown: &str) {
    let stand = stand(options());
    stand.gate.close(op, file);
    for _ in 0..5 {
        stand.wal.append([7; 15_000]).unwrap();
    }
    // Commits continue: there is room in the segment that was ready.
    assert_eq!(stand.wal.health().oldest_write, None);
    stand.sees_hanging(op, shown, "seawall-commit");
}

#[test]
fn w15_a_segment_s_preparation_that_hangs_is_told_whichever_call_it_is() {
    // Segment names: the third one is prepared when the second is taken.
    for op in ["create", "allocate", "write", "fsync"] {
        manager_hangs_in(op, "00000000000000000003-", "00000000000000000003-");
    }
    manager_hangs_in("fsync directory", "directory", "");
}

/// The log sleeps, and the next segment could not be made before: the append that needs it begins no flush, so the
/// segment manager wakes the watching thread.
#[test]
fn w15_a_preparation_that_hangs_behind_an_idle_log_is_told() {
    let stand = stand(options().idle_marker(Duration::from_millis(1)));
    stand.gate.let_fail(true);
    stand.gate.close("allocate", ".seg");
    (0..6).for_each(|_| assert!(stand.wal.append([7; 15_000]).is_ok()));
    stand.gate.await_hanging(1);
    stand.gate.open();
    until("it could not be made", || stand.wal.stats().background_errors == 1);
    until("the log sleeps", || stand.wal.health().oldest_write.is_none());
    std::thread::sleep(3 * SLOW);
    stand.told.lines.lock().clear();
    let (before, blocks) = (stand.wal.stats().stalls, stand.wal.stats().blocks);

    stand.gate.let_fail(false);
    stand.gate.close("allocate", ".seg");
    let look = || {
        until("told", || stand.wal.stats().stalls > before && !stand.told.lines.lock().is_empty());
        assert_eq!(stand.wal.stats().blocks, blocks, "no flush came before");
        assert_eq!(stand.told.lines.lock()[0].2, "seawall-commit");
        assert!(stand.wal.health().is_stuck(SLOW));
    };
    stand.beside(|| stand.wal.append([7; 15_000]), look).unwrap();
}

#[test]
fn w15_a_superblock_or_a_footer_that_hangs_is_told() {
    manager_hangs_in("write", "superblock", "superblock");
    manager_hangs_in("fdatasync", "superblock", "superblock");
    manager_hangs_in("fsync", "00000000000000000001-", "00000000000000000001-");
}

#[test]
fn w15_a_commit_that_waits_for_a_segment_that_hangs_is_an_old_write() {
    let stand = stand(options());
    stand.gate.close("fsync", "00000000000000000003-");
    let fill = || (0..9).map(|_| stand.wal.append([7; 15_000])).collect::<Result<Vec<_>, _>>();
    let look = || {
        until("a write waits", || stand.wal.health().oldest_write.is_some_and(|waits| waits > SLOW));
        assert!(stand.wal.health().is_stuck(SLOW));
        stand.busy_after(SLOW);
        stand.busy_with("fsync", "00000000000000000003-");
    };
    stand.beside(fill, look).unwrap();
    assert_eq!(stand.wal.health().oldest_write, None);
    assert!(!stand.wal.health().is_stuck(SLOW));
}

#[test]
fn w15_a_release_that_hangs_is_told() {
    for (op, file, spares) in [("fdatasync", "superblock", 2), ("remove", ".seg", 0)] {
        let stand = stand(options().spare_segments(spares));
        let appended: Vec<_> = (0..12).map(|_| stand.wal.append([7; 15_000]).unwrap()).collect();
        until("footers are written", || {
            stand.wal.stats().segments_sealed == stand.wal.stats().rotations
                && stand.wal.health().longest_call.is_none()
        });
        stand.gate.close(op, file);
        // The committer is woken for it; the segment manager may still be watching, because it has just worked.
        stand
            .beside(|| stand.wal.release(appended[11]), || stand.sees_hanging(op, file, "seawall-"))
            .unwrap();
        assert!(stand.wal.stats().segments_released > 0);
    }
}

/// A call that hangs and then fails has returned, too.
#[test]
fn w15_a_hanging_call_that_fails_is_told_to_have_returned_and_the_log_is_poisoned() {
    let stand = stand(options());
    stand.gate.close("fdatasync", ".seg");
    stand.gate.let_fail(true);
    let look = || until("told", || stand.wal.stats().stalls == 1);
    stand.beside(|| stand.wal.append(b"hangs"), look).unwrap_err();
    assert_eq!(stand.told.summary(), ["stalled fdatasync", "resumed fdatasync"]);
    assert!(poisoned_why(&stand.wal.health()).contains("fdatasync"));
    assert!(stand.wal.health().longest_call.is_none());
}

/// The negative control: quick calls are not reported, however many there are, and nothing is wrong.
#[test]
fn nothing_is_told_of_quick_calls() {
    let stand = stand(options().slow_sync(Duration::from_secs(30)).idle_marker(Duration::from_millis(1)));
    stand.told.quiet.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for n in 0..60u8 {
                    let lsn = match n % 3 {
                        0 => stand.wal.append([n; 3000]).unwrap(),
                        _ => stand.wal.submit(one(&[n; 3000])).unwrap().wait().unwrap(),
                    };
                    if n % 20 == 19 {
                        stand.wal.release(lsn).unwrap();
                    }
                    assert!(stand.wal.health().is_healthy());
                }
            });
        }
    });
    stand.wal.close().unwrap();
    let stats = stand.wal.stats();
    assert!(stats.rotations > 2 && stats.segments_released > 0);
    assert_eq!((stats.stalls, stats.stalls_ended, stats.longest_call), (0, 0, Duration::ZERO));
    assert_eq!(stand.wal.health().oldest_write, None);
}

/// Where both threads hang, as with the whole device, a caller that asks for the health reports it.
#[test]
fn w15_the_caller_of_health_tells_when_every_thread_hangs() {
    let stand = stand(options());
    stand.gate.close("fdatasync", "");
    let tickets: Vec<_> = (0..5).map(|_| stand.wal.submit(one(&[7; 15_000])).unwrap()).collect();
    stand.gate.await_hanging(2);
    until("both are told", || stand.wal.health().is_stuck(SLOW) && stand.wal.stats().stalls >= 2);
    let told = stand.told.lines.lock().clone();
    assert!(told.iter().all(|(what, ..)| *what == "stalled"), "{told:?}");
    // When the second thread hung, there was no other left to report it.
    let here = std::thread::current().name().unwrap_or_default().to_owned();
    assert!(told.iter().any(|(.., thread)| *thread == here), "{told:?}");
    stand.gate.open();
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
    until("told of the ends", || stand.wal.stats().stalls_ended == stand.wal.stats().stalls);
}

#[test]
fn w15_an_observer_may_ask_for_the_health() {
    #[derive(Default)]
    struct Asks(Mutex<Option<Wal>>, AtomicBool);
    impl Observer for Asks {
        fn stalled(&self, _: &DiskCall) {
            let busy = self.0.lock().as_ref().is_some_and(|wal| !wal.health().is_healthy());
            self.1.store(busy, Ordering::Relaxed);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (disk, gate) = HangingDisk::new(Arc::new(RealDisk::open(dir.path()).unwrap()));
    let asks = Arc::new(Asks::default());
    let wal = options().observer(asks.clone()).open_on(disk).unwrap();
    *asks.0.lock() = Some(wal.clone());
    wal.append(b"first").unwrap();
    gate.close("fdatasync", ".seg");
    let opens = Opens(&gate);
    let ticket = wal.submit(one(b"hangs")).unwrap();
    until("it asked", || asks.1.load(Ordering::Relaxed));
    drop(opens);
    ticket.wait().unwrap();
    // The observer holds the log, and the log the observer.
    asks.0.lock().take();
}

/// Without threads there are no watchers, and the health is just as accurate; asking for it reports.
#[test]
fn a_log_without_threads_has_its_health() {
    let stand = stand(options().threads(false));
    stand.gate.close("fdatasync", ".seg");
    let look = || {
        stand.busy_after(2 * SLOW);
        assert!(stand.wal.health().is_stuck(SLOW));
    };
    stand.beside(|| stand.wal.append(b"hangs"), look).unwrap();
    assert!(stand.wal.health().is_healthy());
    let stats = stand.wal.stats();
    assert_eq!((stats.stalls, stats.stalls_ended), (1, 1));
    assert_eq!(stand.told.summary(), ["stalled fdatasync", "resumed fdatasync"]);
}

fn poisoned_why(health: &Health) -> String {
    match health.condition() {
        Condition::Poisoned(why) => why.to_string(),
        other => panic!("{other}"),
    }
}

#[test]
fn w15_a_poisoned_log_says_so_and_why() {
    for threads in [false, true] {
        let disk = SimDisk::new();
        let wal = options().threads(threads).open_on(Arc::new(disk.clone())).unwrap();
        wal.append(b"first").unwrap();
        assert!(wal.health().is_healthy());
        disk.plan(FaultPlan::none().with(Trigger::From(Call::Sync, 0), Fault::Sync(SyncFailure::DropsPages)));
        let error = wal.append(b"lost").unwrap_err();
        let health = wal.health();
        assert!(poisoned_why(&health).contains("fdatasync"), "{}", health.condition());
        assert!(health.is_stuck(Duration::MAX));
        disk.plan(FaultPlan::none());
        drop(wal.append(b"never"));
        assert!(matches!(error, Error::Io { op: "fdatasync", .. } | Error::Poisoned { .. }), "{error}");
        assert!(poisoned_why(&wal.health()).contains("fdatasync"), "for ever");
        drop(wal.close());
        assert!(poisoned_why(&wal.health()).contains("fdatasync"));
    }
}

#[test]
fn w15_a_full_disk_says_so_until_a_segment_was_made() {
    let disk = SimDisk::new();
    let wal = options().threads(false).open_on(Arc::new(disk.clone())).unwrap();
    wal.append([0; 100]).unwrap();
    disk.set_space(Some(0));
    let full = (0..200).find_map(|_| wal.append([0; 3000]).err()).unwrap();
    assert!(full.is_full());
    match wal.health().condition() {
        Condition::Full(why) => assert!(why.is_full(), "{why}"),
        other => panic!("{other}"),
    }
    assert!(!wal.health().is_stuck(Duration::ZERO), "nothing waits: who asks gets an error");
    // What may use the reserve still works, and the disk is as full as before.
    wal.submit_from_reserve(one(b"frees room")).unwrap().wait().unwrap();
    assert!(matches!(wal.health().condition(), Condition::Full(_)));
    disk.set_space(None);
    assert!(matches!(wal.health().condition(), Condition::Full(_)), "nobody has tried yet");
    (0..200).for_each(|_| drop(wal.append([0; 3000])));
    assert!(wal.health().is_healthy(), "{}", wal.health().condition());
}
