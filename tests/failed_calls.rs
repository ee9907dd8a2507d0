//! W6 for every call and every kind of failure: nothing is acknowledged after it, every waiter gets an answer, and
//! after reopening the log has what was acknowledged, from the device and not from the page cache.
//!
//! Callers, committer and segment manager run as in a program; the fault occurs at the n-th call of a kind, for every
//! n.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use seawall::io::sim::{Call, CrashStyle, Fault, FaultPlan, SimDisk, SyncFailure, Trigger};
use seawall::{Batch, Error, Lsn, Options, Wal};

const CALLS: u64 = 14;

fn options() -> Options {
    Options::new().segment_size(24 << 10).max_staged_bytes(8 << 10).idle_marker(Duration::from_millis(1))
}

/// What several threads did to one log.
#[derive(Default)]
struct Seen {
    acknowledged: Mutex<BTreeMap<Lsn, Vec<u8>>>,
    /// A caller got the error that the log is poisoned.
    poisoned: AtomicBool,
    /// The oldest record that must still be there.
    kept_from: Mutex<Lsn>,
}

impl Seen {
    /// Records the outcome of one operation, with the value of `told` when it began.
    fn note(&self, told: bool, payload: &[u8], outcome: Result<Lsn, Error>) -> Result<(), String> {
        match outcome {
            Ok(lsn) if told => Err(format!("{lsn} was acknowledged after somebody was told of the failure")),
            Ok(lsn) => {
                self.acknowledged.lock().unwrap().insert(lsn, payload.to_vec());
                Ok(())
            }
            Err(Error::Poisoned { .. }) => {
                self.poisoned.store(true, Ordering::SeqCst);
                Ok(())
            }
            // A segment that cannot be made damages nothing and poisons nothing.
            Err(Error::Io { .. }) => Ok(()),
            Err(e) => Err(format!("another error: {e}")),
        }
    }

    fn told(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }
}

fn one(payload: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.push(payload);
    batch
}

/// Writers that block, one that waits for tickets in reverse, one that polls, one that releases, and a follower.
fn use_it(wal: &Wal, seen: &Seen) -> Result<(), String> {
    let payload = |who: u8, n: u8| vec![who.wrapping_mul(40) ^ n; 300 + usize::from(n) * 150];
    let blocks = |who: u8| {
        for n in 0..8 {
            let (told, payload) = (seen.told(), payload(who, n));
            seen.note(told, &payload, wal.append(&payload))?;
        }
        Ok(())
    };
    let waits = || {
        let (told, payloads) = (seen.told(), (0..6).map(|n| payload(3, n)).collect::<Vec<_>>());
        let tickets: Vec<_> = payloads.iter().map(|p| wal.submit(one(p))).collect();
        for (payload, ticket) in payloads.iter().zip(tickets).rev() {
            seen.note(told, payload, ticket.and_then(seawall::Ticket::wait))?;
        }
        Ok(())
    };
    let polls = || {
        for n in 0..6 {
            let (told, payload) = (seen.told(), payload(4, n));
            seen.note(told, &payload, wal.submit(one(&payload)).and_then(poll_to_the_end))?;
        }
        Ok(())
    };
    let releases = || {
        for _ in 0..4 {
            let oldest = seen.acknowledged.lock().unwrap().keys().nth_back(6).copied();
            if let Some(lsn) = oldest {
                let mut kept_from = seen.kept_from.lock().unwrap();
                *kept_from = lsn.max(*kept_from);
                drop(wal.release(lsn));
            }
            std::thread::yield_now();
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let parts: [Box<dyn FnOnce() -> Result<(), String> + Send>; 5] = [
            Box::new(|| blocks(1)),
            Box::new(|| blocks(2)),
            Box::new(waits),
            Box::new(polls),
            Box::new(releases),
        ];
        let follower = scope.spawn(|| wal.follow(wal.first_lsn()).take(10_000).filter(Result::is_ok).count());
        let parts: Vec<_> = parts.into_iter().map(|part| scope.spawn(part)).collect();
        let done = parts.into_iter().map(|p| p.join().unwrap()).collect::<Result<Vec<()>, String>>();
        drop(wal.close());
        follower.join().unwrap();
        done.map(drop)
    })
}

fn poll_to_the_end(mut ticket: seawall::Ticket) -> Result<Lsn, Error> {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    loop {
        match std::pin::Pin::new(&mut ticket).poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(done) => return done,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// One run with one fault, checked to its end; a waiter that hangs makes it fail.
fn live(disk: &SimDisk, plan: FaultPlan) -> Result<Seen, String> {
    let (disk, (done, result)) = (disk.clone(), mpsc::channel());
    std::thread::spawn(move || {
        let seen = Seen::default();
        disk.plan(plan);
        let used = match options().open_on(Arc::new(disk)) {
            Ok(wal) => use_it(&wal, &seen),
            Err(_) => Ok(()),
        };
        drop(done.send(used.map(|()| seen)));
    });
    result.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| Err("somebody is left waiting".into()))
}

fn records(wal: &Wal) -> BTreeMap<Lsn, Vec<u8>> {
    wal.iter().map(|r| r.unwrap()).map(|r| (r.lsn(), r.payload().to_vec())).collect()
}

/// Opens what was left: everything acknowledged and not released is there, and on the device.
fn check(found: &SimDisk, seen: &Seen) -> Result<(), String> {
    let open =
        |disk: &SimDisk| options().threads(false).open_on(Arc::new(disk.clone())).map_err(|e| e.to_string());
    let wal = open(found)?;
    let shown = records(&wal);
    let from = *seen.kept_from.lock().unwrap();
    for (lsn, payload) in seen.acknowledged.lock().unwrap().range(from..) {
        if shown.get(lsn) != Some(payload) {
            return Err(format!("{lsn} was acknowledged and is not there"));
        }
    }
    let lost = found.crash(CrashStyle::LoseAll);
    drop(wal);
    if records(&open(&lost)?) == shown { Ok(()) } else { Err("what was shown was not on the device".into()) }
}

fn every_call(call: Call, faults: &[Fault]) {
    let mut poisoned = 0;
    for fault in faults {
        for n in 0..CALLS {
            let disk = SimDisk::new();
            let what = format!("{call:?} {n} with {fault:?}");
            let seen = live(&disk, FaultPlan::none().with(Trigger::Nth(call, n), *fault))
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            poisoned += usize::from(seen.told());
            for found in [disk.kill(), disk.crash(CrashStyle::LoseAll), disk.crash(CrashStyle::Chaos(n))] {
                check(&found, &seen).unwrap_or_else(|e| panic!("{what}: {e}\n{}", disk.trace().join("\n")));
            }
        }
    }
    let on_the_commit_path = matches!(call, Call::Write | Call::Sync);
    assert_eq!(poisoned > 0, on_the_commit_path, "{poisoned} runs were poisoned");
}

const EIO: Fault = Fault::Os(5);
const ENOSPC: Fault = Fault::Error(ErrorKind::StorageFull);
const EDQUOT: Fault = Fault::Error(ErrorKind::QuotaExceeded);

#[test]
fn w6_any_write() {
    every_call(Call::Write, &[EIO, ENOSPC, EDQUOT, Fault::Nothing]);
}

#[test]
fn w6_any_sync() {
    every_call(
        Call::Sync,
        &[Fault::Sync(SyncFailure::DropsPages), Fault::Sync(SyncFailure::KeepsDirty), ENOSPC, EDQUOT],
    );
}

#[test]
fn w6_any_directory_sync() {
    every_call(Call::SyncDir, &[EIO]);
}

#[test]
fn w6_any_file_that_cannot_be_made_sized_renamed_or_removed() {
    for call in [Call::Create, Call::Resize, Call::Rename, Call::Remove] {
        every_call(call, &[EIO, ENOSPC]);
    }
}

/// What a call may do on a healthy system, every time, without any effect.
#[test]
fn short_and_interrupted_calls_are_no_failures() {
    let plans = [
        FaultPlan::none().with(Trigger::From(Call::Write, 0), Fault::Short),
        (0..200).fold(FaultPlan::none(), |plan, n| {
            plan.with(Trigger::Nth(Call::Write, n * 2), Fault::Error(ErrorKind::Interrupted))
                .with(Trigger::Nth(Call::Read, n * 2), Fault::Error(ErrorKind::Interrupted))
        }),
    ];
    for plan in plans {
        let disk = SimDisk::new();
        let seen = live(&disk, plan).unwrap();
        assert!(!seen.told());
        assert_eq!(seen.acknowledged.lock().unwrap().len(), 8 + 8 + 6 + 6);
        check(&disk.crash(CrashStyle::LoseAll), &seen).unwrap();
    }
}
