//! W6: after a failed write or sync nothing is acknowledged any more, every waiter gets the error, and none hangs; an
//! operation that could not even start (because a segment cannot be made) returns an error and damages nothing.

mod common;

use std::io::ErrorKind;
use std::sync::Arc;
use std::task::{Context, Wake};
use std::time::{Duration, Instant};

use common::forgetful::{ForgetfulDisk, Forgotten};
use common::{Oracle, open, options};
use seawall::io::sim::{Call, CrashStyle, Fault, FaultPlan, Rng, SimDisk, SyncFailure, Trigger};
use seawall::{Batch, Error, Options, Wal};

/// With threads: callers, committer and segment manager run as in a program.
fn threaded() -> Options {
    Options::new().segment_size(64 << 10).idle_marker(Duration::from_millis(1))
}

fn open_threaded(disk: &SimDisk) -> Wal {
    threaded().open_on(Arc::new(disk.clone())).unwrap()
}

fn one(payload: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.push(payload);
    batch
}

#[test]
fn w6_one_failed_sync_poisons_all_waiters_and_everything_after() {
    for failure in [SyncFailure::DropsPages, SyncFailure::KeepsDirty] {
        let disk = SimDisk::new();
        let wal = open_threaded(&disk);
        wal.append(b"before").unwrap();
        std::thread::sleep(Duration::from_millis(30)); // the next segment, the superblock and the marker block are done
        disk.plan(FaultPlan::none().with(Trigger::Nth(Call::Sync, 3), Fault::Sync(failure)));
        let start = Instant::now();
        let (mut failed, mut succeeded) = (0, Vec::new());
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..8u8)
                .map(|n| {
                    let wal = &wal;
                    scope.spawn(move || {
                        let mut results = Vec::new();
                        for m in 0..20u8 {
                            let payload = [n, m];
                            results.push(if m % 2 == 0 {
                                wal.append(payload)
                            } else {
                                wal.submit(one(&payload)).and_then(seawall::Ticket::wait)
                            });
                        }
                        results
                    })
                })
                .collect();
            for handle in handles {
                for result in handle.join().unwrap() {
                    match result {
                        Ok(lsn) => succeeded.push(lsn),
                        Err(Error::Poisoned { op, .. }) => {
                            assert_eq!(op, "fdatasync");
                            failed += 1;
                        }
                        Err(e) => panic!("{e}"),
                    }
                }
            }
        });
        assert!(start.elapsed() < Duration::from_secs(20), "a waiter hung");
        assert!(failed >= 8, "every thread runs into it: {failed}");
        assert!(matches!(wal.append(b"x"), Err(Error::Poisoned { .. })));
        assert!(matches!(wal.submit(one(b"x")), Err(Error::Poisoned { .. })));
        assert!(matches!(wal.close(), Err(Error::Poisoned { .. })));
        drop(wal);
        // What was acknowledged is there after a power failure; reopening is the way to continue.
        let wal = open_threaded(&disk.crash(CrashStyle::LoseAll));
        for lsn in succeeded {
            wal.read(lsn).unwrap();
        }
        wal.append(b"after").unwrap();
    }
}

#[test]
fn w6_a_future_gets_the_error_too() {
    let disk = SimDisk::new();
    let wal = open_threaded(&disk);
    wal.append(b"before").unwrap();
    std::thread::sleep(Duration::from_millis(30));
    disk.plan(FaultPlan::none().with(Trigger::From(Call::Sync, 0), Fault::Sync(SyncFailure::DropsPages)));
    let ticket = wal.submit(one(b"x")).unwrap();
    let result = block_on(ticket);
    assert!(matches!(result, Err(Error::Poisoned { .. })), "{result:?}");
}

/// A waker that unparks, the only part of an executor needed here.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let start = Instant::now();
    loop {
        match std::pin::Pin::new(&mut future).poll(&mut cx) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park_timeout(Duration::from_secs(10)),
        }
        assert!(start.elapsed() < Duration::from_secs(10), "the future was not woken");
    }
}

#[test]
fn futures_resolve() {
    let disk = SimDisk::new();
    let wal = open_threaded(&disk);
    let tickets: Vec<_> = (0..100u8).map(|n| wal.submit(one(&[n])).unwrap()).collect();
    for (n, ticket) in tickets.into_iter().enumerate() {
        let lsn = block_on(ticket).unwrap();
        assert_eq!(wal.read(lsn).unwrap().payload(), &[u8::try_from(n).unwrap()]);
    }
}

#[test]
fn w6_a_full_disk_in_a_write_is_an_error_and_no_damage() {
    for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        let mut rng = Rng::new(7);
        let disk = SimDisk::new();
        let mut oracle = Oracle::default();
        let wal = open(&options(), &disk).unwrap();
        oracle.append(&wal, &mut rng).unwrap();
        disk.plan(FaultPlan::none().with(Trigger::Nth(Call::Write, 0), Fault::Error(kind)));
        let e = oracle.append(&wal, &mut rng).unwrap_err();
        assert_eq!(e.io_kind(), Some(kind), "{e}");
        assert!(oracle.append(&wal, &mut rng).is_err());
        drop(wal);
        let wal = open(&options(), &disk.kill()).unwrap();
        oracle.check(&wal).unwrap();
        oracle.append(&wal, &mut rng).unwrap();
    }
}

#[test]
fn a_segment_that_cannot_be_made_is_an_error_that_poisons_nothing() {
    for call in [Call::Create, Call::Resize, Call::SyncDir] {
        let mut rng = Rng::new(3);
        let disk = SimDisk::new();
        let mut oracle = Oracle::default();
        let wal = open(&options(), &disk).unwrap();
        // No segment is there yet: the first append needs one.
        disk.plan(FaultPlan::none().with(Trigger::Nth(call, 0), Fault::Error(ErrorKind::StorageFull)));
        let e = oracle.append(&wal, &mut rng).unwrap_err();
        assert_eq!(e.io_kind(), Some(ErrorKind::StorageFull), "{call:?}: {e}");
        assert!(!matches!(e, Error::Poisoned { .. }), "{call:?}");
        oracle.batches.clear();
        oracle.lsns.clear();
        // There is space again: the same handle continues.
        for _ in 0..20 {
            oracle.append(&wal, &mut rng).unwrap();
        }
        drop(wal);
        let wal = open(&options(), &disk.crash(CrashStyle::LoseAll)).unwrap();
        oracle.check(&wal).unwrap();
    }
}

#[test]
fn a_full_disk_can_be_opened_and_read_and_freed() {
    let mut rng = Rng::new(11);
    let disk = SimDisk::new();
    let mut oracle = Oracle::default();
    let wal = open(&options(), &disk).unwrap();
    disk.set_space(Some(100 << 10));
    let e = loop {
        if let Err(e) = oracle.append(&wal, &mut rng) {
            break e;
        }
    };
    assert_eq!(e.io_kind(), Some(ErrorKind::StorageFull), "{e}");
    oracle.batches.pop();
    oracle.lsns.pop();
    wal.close().unwrap();
    drop(wal);
    let disk = disk.kill();
    let wal = open(&options(), &disk).unwrap();
    oracle.check(&wal).unwrap();
    let newest = oracle.batches.len() - 1;
    oracle.release(&wal, newest).unwrap();
    for _ in 0..10 {
        oracle.append(&wal, &mut rng).unwrap();
        let newest = oracle.batches.len() - 1;
        oracle.release(&wal, newest).unwrap();
    }
    oracle.check(&wal).unwrap();
}

#[test]
fn short_and_interrupted_calls_are_gone_on_with() {
    let mut rng = Rng::new(5);
    let disk = SimDisk::new();
    let mut oracle = Oracle::default();
    disk.plan(FaultPlan::none().with(Trigger::From(Call::Write, 0), Fault::Short));
    let wal = open(&options(), &disk).unwrap();
    for _ in 0..10 {
        oracle.append(&wal, &mut rng).unwrap();
    }
    let mut plan = FaultPlan::none();
    for n in 0..20 {
        plan = plan.with(Trigger::Nth(Call::Write, n * 2), Fault::Error(ErrorKind::Interrupted));
        plan = plan.with(Trigger::Nth(Call::Read, n * 2), Fault::Error(ErrorKind::Interrupted));
    }
    disk.plan(plan);
    for _ in 0..10 {
        oracle.append(&wal, &mut rng).unwrap();
    }
    drop(wal);
    let wal = open(&options(), &disk.crash(CrashStyle::LoseAll)).unwrap();
    oracle.check(&wal).unwrap();
}

#[test]
fn a_write_that_takes_nothing_is_an_error() {
    let mut rng = Rng::new(5);
    let disk = SimDisk::new();
    let mut oracle = Oracle::default();
    let wal = open(&options(), &disk).unwrap();
    oracle.append(&wal, &mut rng).unwrap();
    disk.plan(FaultPlan::none().with(Trigger::From(Call::Write, 0), Fault::Nothing));
    assert_eq!(oracle.append(&wal, &mut rng).unwrap_err().io_kind(), Some(ErrorKind::WriteZero));
}

#[test]
fn a_directory_sync_that_fails_once_is_not_taken_for_done() {
    let mut rng = Rng::new(9);
    for nth in 0..6 {
        let disk = SimDisk::new();
        let mut oracle = Oracle::default();
        disk.plan(
            FaultPlan::none().with(Trigger::Nth(Call::SyncDir, nth), Fault::Sync(SyncFailure::KeepsDirty)),
        );
        let wal = match open(&options(), &disk) {
            Ok(wal) => wal,
            // The first one is the superblock's, without which there is no log.
            Err(_) => open(&options(), &disk).unwrap(),
        };
        for _ in 0..30 {
            if oracle.append(&wal, &mut rng).is_err() {
                oracle.batches.pop();
                oracle.lsns.pop();
            }
        }
        assert!(oracle.batches.len() >= 29);
        drop(wal);
        let wal = open(&options(), &disk.crash(CrashStyle::LoseAll)).unwrap();
        oracle.check(&wal).unwrap();
    }
}

#[test]
fn a_read_error_is_that_error_and_not_the_end_of_the_log() {
    let mut rng = Rng::new(13);
    let disk = SimDisk::new();
    let mut oracle = Oracle::default();
    let wal = open(&options(), &disk).unwrap();
    for _ in 0..8 {
        oracle.append(&wal, &mut rng).unwrap();
    }
    drop(wal);
    let newest = disk.files().into_iter().filter(|f| f.ends_with(".seg")).nth_back(1).unwrap();
    for sector in 0..4 {
        let disk = disk.kill();
        disk.break_sector(&newest, sector);
        let e = open(&options(), &disk).unwrap_err();
        assert!(matches!(e, Error::Io { .. }), "sector {sector}: {e}");
        // The negative control.
        let shortened = ForgetfulDisk::on(Arc::new(disk.kill()), Forgotten::ReadError);
        let e = options().open_on(shortened).err();
        assert!(!matches!(e, Some(Error::Io { .. })), "sector {sector}: {e:?}");
    }
}

#[test]
fn w12_visible_is_not_durable() {
    let disk = SimDisk::new();
    let wal = open(&options(), &disk).unwrap();
    wal.append(b"first").unwrap();
    let ticket = wal.submit(one(b"second")).unwrap();
    let lsn = ticket.lsn();
    // Readable at once; not durable, not iterated, not acknowledged until its ticket says so.
    assert_eq!(wal.read(lsn).unwrap().payload(), b"second");
    assert!(!ticket.is_durable());
    assert!(wal.durable_lsn() <= lsn);
    assert_eq!(wal.iter().count(), 1);
    let lost = open(&options(), &disk.crash(CrashStyle::LoseAll)).unwrap();
    assert_eq!(lost.iter().count(), 1);
    ticket.wait().unwrap();
    assert_eq!(wal.iter().count(), 2);
    let kept = open(&options(), &disk.crash(CrashStyle::LoseAll)).unwrap();
    assert_eq!(kept.read(lsn).unwrap().payload(), b"second");
}

#[test]
fn a_dropped_ticket_changes_nothing_for_its_batch() {
    let disk = SimDisk::new();
    let wal = open_threaded(&disk);
    for n in 0..50u8 {
        drop(wal.submit(one(&[n])).unwrap());
    }
    let start = Instant::now();
    while wal.iter().count() < 50 {
        assert!(start.elapsed() < Duration::from_secs(10), "nobody flushes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn w11_what_is_staged_is_bounded() {
    let disk = SimDisk::new();
    let wal = Options::new()
        .segment_size(1 << 20)
        .max_staged_bytes(10_000)
        .open_on(Arc::new(disk.clone()))
        .unwrap();
    for _ in 0..200 {
        drop(wal.submit(one(&[7; 1000])).unwrap());
        assert!(wal.stats().staged_bytes <= 10_000);
    }
    wal.submit(Batch::new()).unwrap().wait().unwrap();
    assert_eq!(wal.iter().count(), 200);
}

/// A waker is foreign code. One that panics while its caller's thread flushes, with another block pending, would
/// leave the flush without an owner, and all others waiting forever.
#[test]
fn w6_a_panic_of_whoever_flushes_poisons_the_log_and_leaves_nobody_waiting() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
    }
    let wal = Options::new().segment_size(64 << 10).threads(false).open_on(Arc::new(SimDisk::new())).unwrap();
    let waker = Arc::new(Panics).into();
    let mut ticket = std::pin::pin!(wal.submit(one(&[1; 40_000])).unwrap());
    assert!(ticket.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    // It does not fit into the same block: the first one is flushed, its waker called, and then the second one.
    let flushes = std::panic::AssertUnwindSafe(|| wal.append([2; 40_000]));
    std::panic::catch_unwind(flushes).unwrap_err();
    let e = wal.append(b"afterwards").unwrap_err();
    assert!(matches!(&e, Error::Poisoned { .. }) && e.to_string().contains("panicked"), "{e}");
    assert!(wal.health().poisoned.is_some());
}
