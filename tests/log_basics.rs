//! The log works as documented on its first page: append, read, iterate, follow, release, reopen.

use std::collections::BTreeMap;
use std::time::Duration;

use seawall::format::segment;
use seawall::{Batch, Error, Label, Lsn, Options};

fn small() -> Options {
    Options::new().segment_size(32 << 10).idle_marker(Duration::from_millis(1))
}

#[test]
fn what_was_appended_is_read_back_in_order_also_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = BTreeMap::new();
    for run in 0..4u32 {
        let wal = small().open(dir.path()).unwrap();
        assert_eq!(wal.recovery().records, written.len() as u64);
        for n in 0..50u32 {
            let payload = vec![u8::try_from(n % 251).unwrap(); (n as usize * 37) % 3000];
            let lsn = wal.append(&payload).unwrap();
            assert!(lsn >= written.keys().last().copied().unwrap_or_default(), "run {run}");
            written.insert(lsn, payload);
        }
        let mut reader = wal.reader();
        for (lsn, payload) in &written {
            assert_eq!(wal.read(*lsn).unwrap().payload(), &payload[..], "{lsn}");
            assert_eq!(reader.read(*lsn).unwrap().payload(), &payload[..], "{lsn}");
        }
        let all: BTreeMap<Lsn, Vec<u8>> =
            wal.iter().map(|r| r.unwrap()).map(|r| (r.lsn(), r.payload().to_vec())).collect();
        assert_eq!(all, written);
        if run % 2 == 0 {
            wal.close().unwrap();
        }
    }
    let wal = small().open(dir.path()).unwrap();
    assert!(wal.segments().len() > 4);
    let middle = *written.keys().nth(100).unwrap();
    let from: Vec<Lsn> = wal.iter_from(middle).map(|r| r.unwrap().lsn()).collect();
    assert_eq!(from, written.range(middle..).map(|(l, _)| *l).collect::<Vec<_>>());
    assert_eq!(wal.iter_from(middle.plus(1)).next().unwrap().unwrap().lsn(), from[1]);
}

#[test]
fn batches_keep_labels_and_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().open(dir.path()).unwrap();
    let label = Label { kind: 2, stream: 7, sequence: 8, extra: 9 };
    let mut batch = Batch::new();
    let a = batch.push(b"plain");
    let b = batch.push_labelled(label, &[b"la", b"belled"]);
    let ticket = wal.submit(&batch).unwrap();
    let (a, b) = (ticket.lsn_of(a), ticket.lsn_of(b));
    // Readable once submitted, durable or not.
    assert_eq!(wal.read(a).unwrap().payload(), b"plain");
    assert_eq!(wal.read(b).unwrap().label(), Some(label));
    assert_eq!(ticket.wait().unwrap(), a);
    assert_eq!(wal.read(b).unwrap().payload(), b"labelled");
    assert_eq!(wal.read(b).unwrap().label(), Some(label));
    assert!(matches!(wal.read(a.plus(8)), Err(Error::NotFound { .. })));
    assert!(matches!(wal.read(wal.next_lsn()), Err(Error::NotFound { .. })));
}

#[test]
fn many_threads_and_a_follower_agree() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Options::new().segment_size(256 << 10).open(dir.path()).unwrap();
    let (threads, each) = (8u32, 200u32);
    let followed = {
        let wal = wal.clone();
        std::thread::spawn(move || {
            wal.follow(Lsn::ZERO)
                .map(|r| r.unwrap())
                .take((threads * each) as usize)
                .map(|r| (r.lsn(), r.payload().to_vec()))
                .collect::<BTreeMap<_, _>>()
        })
    };
    let mut acknowledged = BTreeMap::new();
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|t| {
                let wal = &wal;
                scope.spawn(move || {
                    (0..each)
                        .map(|n| {
                            let payload = format!("{t}/{n}").repeat(20).into_bytes();
                            if n % 3 == 0 {
                                let mut b = Batch::new();
                                b.push(&payload);
                                (wal.submit(b).unwrap().wait().unwrap(), payload)
                            } else {
                                (wal.append(&payload).unwrap(), payload)
                            }
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for h in handles {
            acknowledged.extend(h.join().unwrap());
        }
    });
    assert_eq!(acknowledged.len(), (threads * each) as usize);
    assert_eq!(followed.join().unwrap(), acknowledged);
    let stats = wal.stats();
    assert_eq!(stats.records, u64::from(threads * each));
    assert!(stats.rotations > 0, "{stats:?}");
    assert!(stats.blocks <= stats.batches);
    wal.close().unwrap();
    assert!(matches!(wal.append(b"late"), Err(Error::Closed)));
}

#[test]
fn a_follower_ends_with_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().open(dir.path()).unwrap();
    let mut follow = wal.follow(Lsn::ZERO);
    let waiting = std::thread::spawn(move || (follow.next().map(|r| r.unwrap()), follow.next().is_none()));
    std::thread::sleep(Duration::from_millis(20));
    wal.append(b"one").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    wal.close().unwrap();
    let (one, ended) = waiting.join().unwrap();
    assert_eq!(one.unwrap().payload(), b"one");
    assert!(ended);
}

#[test]
fn release_frees_whole_segments_and_their_files_are_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().open(dir.path()).unwrap();
    let mut lsns = Vec::new();
    for _ in 0..10 {
        for _ in 0..20 {
            lsns.push(wal.append(vec![1; 1000]).unwrap());
        }
        wal.release(lsns[lsns.len() - 5]).unwrap();
    }
    assert!(wal.first_lsn() <= lsns[lsns.len() - 5]);
    assert!(wal.first_lsn() > lsns[20]);
    assert!(matches!(wal.read(lsns[0]), Err(Error::Released { .. })));
    assert_eq!(wal.read(*lsns.last().unwrap()).unwrap().payload(), &[1; 1000]);
    let stats = wal.stats();
    assert!(stats.segments_recycled > 0, "{stats:?}");
    assert!(stats.segments < 8, "{stats:?}");
    let first = wal.first_lsn();
    drop(wal);
    let wal = small().open(dir.path()).unwrap();
    assert_eq!(wal.first_lsn(), first);
    let kept: Vec<Lsn> = wal.iter().map(|r| r.unwrap().lsn()).collect();
    assert_eq!(kept, lsns.iter().copied().filter(|l| *l >= first).collect::<Vec<_>>());
}

/// A block left by an earlier generation at the same address and with the same size differs only by the salt.
#[test]
fn each_generation_of_a_file_draws_its_own_salt() {
    let dir = tempfile::tempdir().unwrap();
    let mut salts = BTreeMap::new();
    for _ in 0..3 {
        let wal = small().open(dir.path()).unwrap();
        for n in 0..40 {
            let lsn = wal.append([7; 3000]).unwrap();
            if n % 5 == 0 {
                wal.release(lsn).unwrap();
            }
            for segment in wal.segments() {
                let name = segment::file_name(segment.id, segment.first_lsn);
                let bytes = std::fs::read(dir.path().join(name)).unwrap();
                let generation = segment::Generation::decode(bytes.first_chunk().unwrap()).unwrap();
                salts.insert(segment.id, generation.salt);
            }
        }
        assert!(wal.stats().segments_recycled > 0);
    }
    let distinct: std::collections::BTreeSet<u64> = salts.values().copied().collect();
    assert!(salts.len() > 10 && distinct.len() == salts.len(), "{salts:?}");
}

#[test]
fn bytes_outlive_release_and_close() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().spare_segments(0).open(dir.path()).unwrap();
    let lsn = wal.append(b"kept by its reader").unwrap();
    let bytes = wal.read(lsn).unwrap().into_bytes();
    let mut last = lsn;
    for _ in 0..100 {
        last = wal.append(vec![3; 2000]).unwrap();
    }
    wal.release(last).unwrap();
    assert!(matches!(wal.read(lsn), Err(Error::Released { .. })));
    wal.close().unwrap();
    drop(wal);
    assert_eq!(&bytes[..], b"kept by its reader");
}

#[test]
fn without_mmap_everything_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let options = small().mmap(false);
    let wal = options.open(dir.path()).unwrap();
    let lsns: Vec<Lsn> = (0..100u8).map(|n| wal.append(vec![n; 700]).unwrap()).collect();
    for (n, lsn) in lsns.iter().enumerate() {
        assert_eq!(wal.read(*lsn).unwrap().payload(), &vec![u8::try_from(n).unwrap(); 700][..]);
    }
    assert_eq!(wal.iter().count(), 100);
    drop(wal);
    assert_eq!(options.open(dir.path()).unwrap().iter().count(), 100);
}

#[test]
fn limits_are_errors_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().max_record_size(5000).open(dir.path()).unwrap();
    assert!(matches!(wal.append(vec![0; 5001]), Err(Error::RecordTooLarge { size: 5001, max: 5000 })));
    let mut batch = Batch::new();
    for _ in 0..10 {
        batch.push(vec![0; 5000]);
    }
    assert!(matches!(wal.commit(&batch), Err(Error::BatchTooLarge { .. })));
    assert_eq!(wal.iter().count(), 0);
    let lsn = wal.append(vec![0; 5000]).unwrap();
    assert_eq!(wal.read(lsn).unwrap().payload().len(), 5000);
    assert!(matches!(Options::new().segment_size(1000).open(dir.path()), Err(Error::InvalidOptions { .. })));
    assert!(matches!(Options::new().block_align(24).open(dir.path()), Err(Error::InvalidOptions { .. })));
}

#[test]
fn every_block_align_works() {
    for align in [8, 64, 512, 4096] {
        let dir = tempfile::tempdir().unwrap();
        for run in 1..=3u8 {
            // A log written with one alignment continues with another.
            let align = if run == 3 { 4096 } else { align };
            let wal = small().block_align(align).open(dir.path()).unwrap();
            for n in 0..40u8 {
                wal.append(vec![n; 100]).unwrap();
            }
            assert_eq!(wal.iter().filter(|r| r.is_ok()).count(), usize::from(run) * 40, "align {align}");
        }
    }
}

#[test]
fn an_empty_batch_is_as_durable_as_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().open(dir.path()).unwrap();
    assert!(wal.submit(Batch::new()).unwrap().is_durable());
    let mut batch = Batch::new();
    batch.push(b"x");
    let first = wal.submit(batch).unwrap();
    let empty = wal.submit(Batch::new()).unwrap();
    empty.wait().unwrap();
    assert!(first.is_durable());
}

/// W9: bytes that change under an open log are detected by the next read of them, every time, in every way of
/// reading.
#[test]
fn w9_every_read_is_verified() {
    use std::os::unix::fs::FileExt as _;
    for mmap in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let wal = small().mmap(mmap).open(dir.path()).unwrap();
        let lsns: Vec<Lsn> = (0..5u8).map(|n| wal.append(vec![n; 300]).unwrap()).collect();
        let segment = wal.segments()[0];
        let name = format!("{:020}-{:016x}.seg", segment.id.get(), segment.first_lsn.get());
        let file = std::fs::OpenOptions::new().read(true).write(true).open(dir.path().join(name)).unwrap();
        for (what, at) in [("header", 5), ("payload", 16 + 100)] {
            let offset = 8192 + (lsns[2].get() - segment.first_lsn.get()) + at;
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
            for _ in 0..2 {
                let e = wal.read(lsns[2]).unwrap_err();
                assert!(matches!(e, Error::Corruption(_)), "{what}, mmap {mmap}: {e}");
            }
            assert!(wal.iter().any(|r| matches!(r, Err(Error::Corruption(_)))), "{what}, mmap {mmap}");
            for other in [0, 1, 3, 4] {
                wal.read(lsns[other]).unwrap();
            }
            file.write_all_at(&byte, offset).unwrap();
            wal.read(lsns[2]).unwrap();
        }
    }
}

/// A marker block is written when the log falls idle: from then on, damage to the last commit does not count as a
/// torn write.
#[test]
fn an_idle_log_proves_its_last_commit() {
    let dir = tempfile::tempdir().unwrap();
    let wal = small().open(dir.path()).unwrap();
    wal.append(b"first").unwrap();
    let start = std::time::Instant::now();
    while wal.stats().markers == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "no marker block");
        std::thread::sleep(Duration::from_millis(1));
    }
    let segment = wal.segments()[0];
    // A copy of the directory is what a kill would leave: the later close is not in it.
    let copy = tempfile::tempdir().unwrap();
    let mut files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap()).collect();
    // The next segment may be in preparation. A file that names another is copied before that one.
    files.sort_unstable_by_key(|file| file.file_name() != "superblock");
    for file in files {
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    let name = format!("{:020}-{:016x}.seg", segment.id.get(), segment.first_lsn.get());
    let path = copy.path().join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192 + 40 + 16] ^= 1; // the payload of "first"
    std::fs::write(&path, bytes).unwrap();
    let e = small().open(copy.path()).unwrap_err();
    assert!(matches!(e, Error::Corruption(_)), "{e}");
}
