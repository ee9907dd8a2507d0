//! Several users of one log: each keeps its own index in log order, holds what it needs, and leaves the records of
//! the others alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall::groups::{GroupLog, GroupOptions, Position};
use seawall::{Batch, Error, Flush, Label, Lsn, Options, SubmitOptions, Wal};

fn options() -> Options {
    Options::new().segment_size(64 << 10).block_align(512).idle_marker(Duration::from_secs(3600))
}

/// Why this test's layer refuses a batch.
#[derive(Debug, PartialEq)]
enum Refused {
    Stale,
    Log(String),
}

impl From<Error> for Refused {
    fn from(e: Error) -> Self {
        Refused::Log(e.to_string())
    }
}

#[test]
fn an_index_changes_in_the_order_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    let index: Arc<Mutex<Vec<(Lsn, u64)>>> = Arc::default();
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let (wal, index) = (wal.clone(), Arc::clone(&index));
            scope.spawn(move || {
                for n in 0..200u64 {
                    let value = writer * 1000 + n;
                    let mut batch = Batch::new();
                    let record = batch.push(value.to_le_bytes());
                    let ticket = wal.submit_with(
                        &batch,
                        SubmitOptions::new(),
                        || Ok::<_, Error>(()),
                        |at| {
                            index.lock().unwrap().push((at.lsn_of(record), value));
                        },
                    );
                    ticket.unwrap().wait().unwrap();
                }
            });
        }
    });
    let read: Vec<(Lsn, u64)> = wal
        .iter()
        .map(|record| record.unwrap())
        .map(|record| (record.lsn(), u64::from_le_bytes(record.payload().try_into().unwrap())))
        .collect();
    assert_eq!(read.len(), 800);
    assert_eq!(*index.lock().unwrap(), read);
}

/// A batch refused as the first one of a block, or of a segment, leaves no block without records: an open would take
/// it for damage.
#[test]
fn what_is_not_admitted_leaves_the_log_whole() {
    let refuse = |wal: &Wal| {
        let mut batch = Batch::new();
        batch.push([7; 3000]);
        let refused = wal.submit_with(&batch, SubmitOptions::new(), || Err(Refused::Stale), |_| {});
        assert_eq!(refused.unwrap_err(), Refused::Stale);
    };
    for threads in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let options = options().segment_size(16 << 10).threads(threads);
        let mut records: u64 = 0;
        for run in 0..5u64 {
            let wal = options.open(dir.path()).unwrap();
            assert!(wal.recovery().cut.is_empty(), "{:?}", wal.recovery());
            assert_eq!(wal.iter().filter(Result::is_ok).count() as u64, records, "run {run}");
            refuse(&wal);
            for n in 0..run * 10 {
                wal.append([n as u8; 600]).unwrap();
                records += 1;
                refuse(&wal);
            }
            if run == 4 {
                assert!(wal.segments().len() > 3);
            }
            wal.close().unwrap();
            let report = seawall::verify(dir.path()).unwrap();
            assert!(report.is_ok() && report.torn.is_empty(), "run {run}: {report}");
        }
    }
}

/// The same with concurrent writers: the refused batch may come first in a block that another thread is about to
/// flush.
#[test]
fn what_is_not_admitted_beside_writers_leaves_the_log_whole() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..3u64 {
            let wal = wal.clone();
            scope.spawn(move || {
                for n in 0..300u64 {
                    let mut batch = Batch::new();
                    batch.push((writer * 1000 + n).to_le_bytes());
                    let admit = || if n % 3 == writer { Ok(()) } else { Err(Refused::Stale) };
                    if let Ok(ticket) = wal.submit_with(&batch, SubmitOptions::new(), admit, |_| {}) {
                        ticket.wait().unwrap();
                    }
                }
            });
        }
    });
    wal.close().unwrap();
    drop(wal);
    let wal = options().open(dir.path()).unwrap();
    assert_eq!(wal.iter().filter(Result::is_ok).count(), 300);
}

#[test]
fn what_is_not_admitted_was_never_there() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    let mut batch = Batch::new();
    batch.push(b"refused");
    let refused = wal
        .submit_with(&batch, SubmitOptions::new(), || Err(Refused::Stale), |_| panic!("it has no place"))
        .unwrap_err();
    assert_eq!(refused, Refused::Stale);
    wal.append(b"next").unwrap();
    assert_eq!(wal.iter().map(|r| r.unwrap().into_bytes()).collect::<Vec<_>>(), [&b"next"[..]]);

    wal.close().unwrap();
    let closed = wal.submit_with(&batch, SubmitOptions::new(), || Err(Refused::Stale), |_| {}).unwrap_err();
    assert!(matches!(closed, Refused::Log(_)), "the log has the first word: {closed:?}");
}

fn lazily(wal: &Wal, payload: &[u8]) -> seawall::Ticket {
    let mut batch = Batch::new();
    batch.push(payload);
    wal.submit_with(&batch, SubmitOptions::new().flush(Flush::WithNext), || Ok::<_, Error>(()), |_| {})
        .unwrap()
}

#[test]
fn what_needs_no_sync_of_its_own_shares_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    wal.append(b"first").unwrap();
    let before = wal.stats().syncs;
    let tickets: Vec<_> = (0..50).map(|n: u8| lazily(&wal, &[n])).collect();
    std::thread::sleep(Duration::from_millis(30));
    assert!(tickets.iter().all(|ticket| !ticket.is_durable()), "somebody made it durable by itself");
    assert_eq!(wal.stats().syncs, before);
    wal.append(b"one that does").unwrap();
    assert!(tickets.iter().all(seawall::Ticket::is_durable));
    assert_eq!(wal.stats().syncs, before + 1);

    // Who wants it durable gets it: by waiting,
    lazily(&wal, b"waited for").wait().unwrap();
    // by awaiting, even if the log's own thread has gone to sleep,
    std::thread::sleep(Duration::from_secs(2));
    let awaited =
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            tokio::time::timeout(Duration::from_secs(60), lazily(&wal, b"awaited")).await
        });
    awaited.expect("it is never flushed").unwrap();
    // and by closing.
    drop(lazily(&wal, b"closed"));
    wal.close().unwrap();
    drop(wal);
    let wal = options().open(dir.path()).unwrap();
    let last = wal.iter().last().unwrap().unwrap();
    assert_eq!(last.payload(), b"closed");
}

fn fill(wal: &Wal, bytes: usize) {
    for _ in 0..bytes / 1000 {
        wal.append([7; 1000]).unwrap();
    }
}

#[test]
fn what_is_held_is_not_released() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    fill(&wal, 200_000);
    let middle = wal.segments()[1].first_lsn.plus(2000);
    let (low, high) = (wal.hold(middle).unwrap(), wal.hold(wal.durable_lsn()).unwrap());
    assert_eq!(wal.lowest_hold(), Some(middle));
    wal.release(wal.durable_lsn()).unwrap();
    assert_eq!(wal.first_lsn(), wal.segments()[0].first_lsn);
    assert!(wal.first_lsn() <= middle && wal.segments()[0].end_lsn > middle, "{:?}", wal.segments());
    let released = wal.hold(Lsn::ZERO).unwrap_err();
    assert!(matches!(released, Error::Released { .. }), "{released}");

    // A hold only moves up; without it, the rest is released.
    low.advance(Lsn::ZERO);
    assert_eq!(low.lsn(), middle);
    drop(low);
    assert_eq!(wal.lowest_hold(), Some(high.lsn()));
    let segments = wal.segments().len();
    wal.release(wal.durable_lsn()).unwrap();
    assert!(wal.segments().len() < segments);
}

/// Records of another user of the log, with and without labels, live beside groups, and outlast their purges when held.
#[test]
fn groups_leave_the_records_of_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let open = || GroupOptions::new().wal(options()).open(dir.path()).unwrap();
    let log = open();
    let group = log.create_group(1, None).unwrap();
    let mut theirs = BTreeMap::new();
    for round in 0..40u64 {
        group.append(&[[1; 2000]]).unwrap().1.wait().unwrap();
        let mut batch = log.wal().batch();
        let label = Label { kind: (round % 128) as u8, stream: 1, sequence: round, extra: 9 };
        batch.push_labelled(label, &[&round.to_le_bytes()]);
        batch.push(b"without a label");
        theirs.insert(log.wal().commit(&batch).unwrap(), round);
    }
    let held = log.wal().hold(*theirs.keys().next().unwrap()).unwrap();
    let purge = |log: &GroupLog| {
        let mut batch = log.batch();
        batch.purge(1, Position { index: 38, term: 0 }).unwrap();
        log.commit(batch).unwrap();
        log.purge().unwrap()
    };
    let report = purge(&log);
    assert_eq!((report.segments_freed, report.held_from), (0, Some(held.lsn())), "{report:?}");
    let check = |log: &GroupLog| {
        for (lsn, round) in &theirs {
            assert_eq!(log.wal().read(*lsn).unwrap().payload(), round.to_le_bytes());
        }
        let group = log.group(1).unwrap();
        assert_eq!(group.entries(group.indexes().unwrap(), u64::MAX).unwrap().len(), 1);
    };
    check(&log);
    drop((held, group));
    log.close().unwrap();
    drop(log);
    let log = open();
    check(&log);
    // The control: what is not held is released.
    assert!(log.purge().unwrap().segments_freed > 0);
    assert!(log.wal().first_lsn() > *theirs.keys().next().unwrap());
}
