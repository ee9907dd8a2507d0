//! A program can learn what its log does: all sources of information agree, and an observer that panics leaves no one
//! waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use seawall::io::sim::{Call, CrashStyle, Fault, FaultPlan, SimDisk, SyncFailure, Trigger};
use seawall::{Batch, Error, Flushed, Observer, Options, Recovery, SegmentId, Wal};

/// Records everything.
#[derive(Default)]
struct Diary {
    opened: Mutex<Vec<String>>,
    flushed: Mutex<Vec<Flushed>>,
    slow: Mutex<Vec<Duration>>,
    rotated: Mutex<Vec<SegmentId>>,
    prepared: Mutex<Vec<(SegmentId, bool)>>,
    sealed: Mutex<Vec<SegmentId>>,
    released: Mutex<Vec<SegmentId>>,
    errors: Mutex<Vec<(&'static str, String)>>,
    closed: AtomicBool,
}

impl Observer for Diary {
    fn opened(&self, found: &Recovery) {
        self.opened.lock().push(found.to_string());
    }
    fn flushed(&self, flushed: &Flushed) {
        self.flushed.lock().push(*flushed);
    }
    fn slow_sync(&self, took: Duration) {
        self.slow.lock().push(took);
    }
    fn rotated(&self, segment: SegmentId) {
        self.rotated.lock().push(segment);
    }
    fn prepared(&self, segment: SegmentId, recycled: bool) {
        self.prepared.lock().push((segment, recycled));
    }
    fn sealed(&self, segment: SegmentId) {
        self.sealed.lock().push(segment);
    }
    fn released(&self, segment: SegmentId) {
        self.released.lock().push(segment);
    }
    fn poisoned(&self, error: &Error) {
        self.errors.lock().push(("poisoned", error.to_string()));
    }
    fn background_error(&self, error: &Error) {
        self.errors.lock().push(("background", error.to_string()));
    }
    fn closed(&self) {
        assert!(!self.closed.swap(true, Ordering::Relaxed), "told twice");
    }
}

fn options() -> Options {
    Options::new().segment_size(64 << 10).idle_marker(Duration::from_millis(1)).slow_sync(Duration::ZERO)
}

fn one(payload: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.push(payload);
    batch
}

/// Threads append, wait for tickets, and release, over many segments.
fn use_it(wal: &Wal) {
    std::thread::scope(|scope| {
        for n in 0..4u8 {
            scope.spawn(move || {
                for m in 0..40u8 {
                    let lsn = match m % 2 {
                        0 => wal.append(vec![n; 1500]).unwrap(),
                        _ => wal.submit(one(&[m; 900])).unwrap().wait().unwrap(),
                    };
                    if m % 10 == 9 {
                        wal.release(lsn).unwrap();
                    }
                }
            });
        }
    });
}

#[test]
fn the_observer_and_the_statistics_agree() {
    let dir = tempfile::tempdir().unwrap();
    let diary = Arc::new(Diary::default());
    let wal = options().observer(diary.clone()).open(dir.path()).unwrap();
    assert_eq!(*diary.opened.lock(), ["new log"]);
    use_it(&wal);
    assert!(!diary.closed.load(Ordering::Relaxed));
    wal.close().unwrap();
    assert!(diary.closed.load(Ordering::Relaxed));
    let stats = wal.stats();

    let flushed = diary.flushed.lock();
    let (markers, blocks): (Vec<&Flushed>, Vec<&Flushed>) = flushed.iter().partition(|f| f.records == 0);
    assert_eq!((blocks.len() as u64, markers.len() as u64), (stats.blocks, stats.markers));
    assert_eq!(flushed.len() as u64, stats.syncs);
    let records: u64 = blocks.iter().map(|f| u64::from(f.records)).sum();
    assert_eq!((records, stats.records, stats.block_records.sum()), (160, 160, 160));
    assert_eq!(blocks.iter().map(|f| u64::from(f.batches)).sum::<u64>(), stats.batches);
    assert_eq!(flushed.iter().map(|f| f.bytes).sum::<u64>(), stats.written_bytes);
    assert_eq!(flushed.iter().map(|f| f.sync).sum::<Duration>(), stats.sync_time);
    assert!(blocks.iter().all(|f| f.commit >= f.sync + f.write), "{blocks:?}");
    let mut ends: Vec<_> = flushed.iter().map(|f| (f.lsn, f.end)).collect();
    ends.sort_unstable();
    assert!(ends.windows(2).all(|w| w[0].1 <= w[1].0), "blocks overlap: {ends:?}");
    assert_eq!(ends.last().unwrap().1, wal.durable_lsn());

    assert_eq!(diary.slow.lock().len() as u64, stats.slow_syncs);
    assert_eq!(stats.slow_syncs, stats.syncs, "every sync takes zero nanoseconds or longer");
    assert_eq!(diary.rotated.lock().len() as u64, stats.rotations);
    assert!(stats.rotations > 2);
    let prepared = diary.prepared.lock();
    assert_eq!(prepared.len() as u64, stats.segments_prepared);
    assert_eq!(prepared.iter().filter(|(_, recycled)| *recycled).count() as u64, stats.segments_recycled);
    assert!(stats.segments_recycled > 0);
    assert_eq!(diary.sealed.lock().len() as u64, stats.segments_sealed);
    assert_eq!(diary.released.lock().len() as u64, stats.segments_released);
    assert!(stats.segments_released > 0);
    assert!(diary.errors.lock().is_empty());
}

#[test]
fn histograms_hold_each_block_once() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    use_it(&wal);
    let stats = wal.stats();
    for of_blocks in [&stats.block_bytes, &stats.block_records, &stats.commit_times] {
        assert_eq!(of_blocks.count(), stats.blocks);
        assert!(of_blocks.percentile(50.0) <= of_blocks.percentile(100.0));
        assert_eq!(of_blocks.percentile(100.0), of_blocks.max());
    }
    for of_syncs in [&stats.write_times, &stats.sync_times] {
        assert_eq!(of_syncs.count(), stats.syncs);
    }
    assert_eq!(u128::from(stats.sync_times.sum()), stats.sync_time.as_nanos());
    assert_eq!(stats.block_bytes.buckets().iter().map(|b| b.count).sum::<u64>(), stats.blocks);
}

#[test]
fn what_an_open_cut_is_told_and_counted() {
    let disk = SimDisk::new();
    let wal = options().open_on(Arc::new(disk.clone())).unwrap();
    wal.append([1; 100]).unwrap();
    assert_eq!((wal.stats().recoveries, wal.stats().cuts), (0, 0), "a new log recovers nothing");
    // The power fails between the write and the sync: of the block anything may be there.
    disk.plan(FaultPlan::none().with(Trigger::From(Call::Sync, 0), Fault::Sync(SyncFailure::KeepsDirty)));
    drop(wal.append([2; 9000]));
    let mut torn = false;
    for seed in 0..50 {
        let diary = Arc::new(Diary::default());
        let crashed = Arc::new(disk.crash(CrashStyle::Chaos(seed)));
        let wal = options().observer(diary.clone()).open_on(crashed).unwrap();
        let (stats, found) = (wal.stats(), wal.recovery().clone());
        assert_eq!(*diary.opened.lock(), [found.to_string()]);
        assert_eq!(stats.recoveries, u64::from(!found.clean));
        assert_eq!(stats.cuts, found.cut.len() as u64);
        assert_eq!(stats.cut_bytes, found.cut.iter().map(|c| c.bytes).sum::<u64>());
        torn |= stats.cuts > 0;
    }
    assert!(torn, "no crash tore the block");
}

#[test]
fn failures_are_told_where_they_happen() {
    let disk = SimDisk::new();
    let diary = Arc::new(Diary::default());
    let wal = options().observer(diary.clone()).threads(false).open_on(Arc::new(disk.clone())).unwrap();
    wal.append([0; 100]).unwrap();
    disk.set_space(Some(0));
    let full = (0..200).find_map(|_| wal.append([0; 3000]).err()).unwrap();
    assert!(full.is_full());
    let told = std::mem::take(&mut *diary.errors.lock());
    assert_eq!(told.len() as u64, wal.stats().background_errors);
    assert!(told.iter().all(|(what, _)| *what == "background") && !told.is_empty(), "{told:?}");

    disk.set_space(None);
    wal.append([0; 3000]).unwrap();
    disk.plan(FaultPlan::none().with(Trigger::From(Call::Sync, 0), Fault::Sync(SyncFailure::DropsPages)));
    wal.append([0; 100]).unwrap_err();
    wal.append([0; 100]).unwrap_err();
    let told = diary.errors.lock();
    let poisoned: Vec<_> = told.iter().filter(|(what, _)| *what == "poisoned").collect();
    assert_eq!(poisoned.len(), 1, "told once: {told:?}");
    assert!(poisoned[0].1.contains("fdatasync"), "{poisoned:?}");
}

/// Panics in one of its methods once it is armed.
#[derive(Default)]
struct Panics {
    armed: AtomicBool,
    /// On the thread with this name, or on any thread other than the log's own.
    on: Option<&'static str>,
}

impl Panics {
    fn here(&self) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let hit = self.on.map_or(!name.starts_with("seawall-"), |on| name == on);
        if hit && self.armed.load(Ordering::Relaxed) {
            panic!("an observer that panics, as the test wants");
        }
    }
}

impl Observer for Panics {
    fn flushed(&self, _: &Flushed) {
        self.here();
    }
    fn prepared(&self, _: SegmentId, _: bool) {
        self.here();
    }
}

fn panicking(on: Option<&'static str>, options: Options) -> (tempfile::TempDir, Arc<Panics>, Wal) {
    let dir = tempfile::tempdir().unwrap();
    let observer = Arc::new(Panics { on, ..Panics::default() });
    let wal = options.observer(observer.clone()).open(dir.path()).unwrap();
    wal.append(b"before").unwrap();
    observer.armed.store(true, Ordering::Relaxed);
    (dir, observer, wal)
}

/// What `f` returns, unless it hangs.
fn in_time<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(f()));
    receive.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn a_panic_in_a_call_of_the_program_harms_nobody_else() {
    let (dir, observer, wal) = panicking(None, options());
    let append = || std::thread::scope(|scope| scope.spawn(|| wal.append(b"durable all the same")).join());
    // Occasionally the log's own thread flushes, and then nothing panics.
    let appended = (1..=100).find(|_| append().is_err()).unwrap();
    observer.armed.store(false, Ordering::Relaxed);
    in_time(move || {
        wal.append(b"after").unwrap();
        wal.close().unwrap();
    });
    let wal = options().open(dir.path()).unwrap();
    let found: Vec<Vec<u8>> = wal.iter().map(|r| r.unwrap().payload().to_vec()).collect();
    assert_eq!(found.len(), appended + 2);
    assert_eq!((&found[0][..], &found[appended + 1][..]), (&b"before"[..], &b"after"[..]));
    assert!(found[1..=appended].iter().all(|record| record == b"durable all the same"));
}

#[test]
fn a_panic_on_the_log_s_own_thread_is_an_error_for_all_who_wait() {
    for thread in ["seawall-commit", "seawall-manager"] {
        let (_dir, _observer, wal) = panicking(Some(thread), options());
        let log = wal.clone();
        // No caller waits, so the thread flushes; and segments are used up, so the next one is requested.
        let error = in_time(move || (0..).find_map(|_| log.submit(one(&[0; 8000])).err())).unwrap();
        assert!(matches!(&error, Error::Poisoned { .. }), "{error}");
        assert!(error.to_string().contains(thread), "{error}");
        assert!(matches!(wal.append(b"x"), Err(Error::Poisoned { .. })));
        assert!(wal.close().is_err());
    }
}

#[test]
fn a_panic_while_closing_comes_out_of_close_and_the_log_is_closed() {
    let (dir, observer, wal) = panicking(None, options().threads(false));
    drop(wal.submit(one(b"staged")).unwrap());
    let closed = std::thread::scope(|scope| scope.spawn(|| wal.close().is_ok()).join());
    assert!(closed.is_err());
    observer.armed.store(false, Ordering::Relaxed);
    drop(wal);
    options().open(dir.path()).unwrap().append(b"after").unwrap();
}

/// An observer may query the log.
#[test]
fn an_observer_may_look_at_the_log() {
    #[derive(Default)]
    struct Looks {
        wal: Mutex<Option<Wal>>,
        looked: AtomicBool,
    }
    impl Observer for Looks {
        fn flushed(&self, flushed: &Flushed) {
            if let Some(wal) = &*self.wal.lock() {
                assert!(wal.durable_lsn() >= flushed.end);
                assert!(wal.stats().blocks > 0);
                self.looked.store(true, Ordering::Relaxed);
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let looks = Arc::new(Looks::default());
    let wal = options().observer(looks.clone()).open(dir.path()).unwrap();
    *looks.wal.lock() = Some(wal.clone());
    use_it(&wal);
    assert!(looks.looked.load(Ordering::Relaxed));
    *looks.wal.lock() = None;
    wal.close().unwrap();
}
