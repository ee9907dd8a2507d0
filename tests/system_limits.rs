//! System calls whose results depend on the process around the log: signals, and limits on descriptors, address space
//! and file sizes. Other failures of system calls are covered in `real_system/injected.rs`.

mod process_support;

use process_support::{Limit, address_space, alone, ignore_file_size_signal, interrupt_every};
use seawall::{Error, Options, Wal, verify};

fn options() -> Options {
    Options::new().segment_size(1 << 20).spare_segments(1)
}

fn read_all(wal: &Wal) -> Vec<u8> {
    wal.iter().map(|r| r.unwrap().payload()[0]).collect()
}

#[test]
fn signals_without_restart_interrupt_nothing() {
    if !alone("signals_without_restart_interrupt_nothing") {
        return;
    }
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    interrupt_every(1000);
    let began = std::time::Instant::now();
    let mut rounds = 0u8;
    while rounds < 30 && (rounds < 5 || began.elapsed().as_secs() < 5) {
        let wal = options().open(dir.path().join("made").join("here")).unwrap();
        for n in 0..60u8 {
            wal.append(vec![n; 50_000]).unwrap();
        }
        wal.backup(copies.path().join(rounds.to_string())).unwrap();
        wal.release(wal.durable_lsn()).unwrap();
        assert!(wal.background_error().is_none(), "{:?}", wal.background_error());
        wal.close().unwrap();
        assert!(verify(dir.path().join("made/here")).unwrap().is_ok());
        rounds += 1;
    }
}

#[test]
fn what_cannot_be_mapped_is_read() {
    if !alone("what_cannot_be_mapped_is_read") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let wal = options().open(dir.path()).unwrap();
    wal.append([0; 100_000]).unwrap();
    assert_eq!(wal.stats().without_mapping, 0);
    // Enough for a few segments, and for everything else in the process.
    let before = Limit::AddressSpace.set(address_space() + (12 << 20));
    for n in 1..250u8 {
        wal.append([n; 100_000]).unwrap();
    }
    let unmapped = wal.stats().without_mapping;
    assert!(unmapped > 5, "{unmapped}");
    assert_eq!(read_all(&wal), (0..250).collect::<Vec<u8>>());
    wal.close().unwrap();
    drop(wal);
    let wal = options().open(dir.path()).unwrap();
    assert!(wal.recovery().without_mapping > 5, "{}", wal.recovery());
    assert!(wal.recovery().to_string().contains("could not be mapped"), "{}", wal.recovery());
    assert_eq!(read_all(&wal), (0..250).collect::<Vec<u8>>());
    wal.append([250; 100_000]).unwrap();
    wal.close().unwrap();
    drop(wal);
    // Without the limit, all of that works again.
    Limit::AddressSpace.set(before);
    let wal = options().open(dir.path()).unwrap();
    assert_eq!((wal.recovery().without_mapping, wal.stats().without_mapping), (0, 0));
}

#[test]
fn the_limit_of_open_files_is_named() {
    if !alone("the_limit_of_open_files_is_named") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let small = Options::new().segment_size(16 << 10);
    let wal = small.clone().open(dir.path()).unwrap();
    for n in 0..200u8 {
        wal.append([n; 7000]).unwrap();
    }
    assert!(wal.stats().segments >= 100);
    wal.close().unwrap();
    drop(wal);
    let before = Limit::OpenFiles.set(60);
    let error = small.clone().open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("`ulimit -n`"), "{error}");
    Limit::OpenFiles.set(before);
    let wal = small.open(dir.path()).unwrap();
    assert_eq!(read_all(&wal), (0..200).collect::<Vec<u8>>());
    // An open log reaches the limit at the next file: an error, without damage.
    Limit::OpenFiles.set(100);
    let error = (0..200).find_map(|_| wal.append([7; 7000]).err()).unwrap();
    assert!(error.to_string().contains("`ulimit -n`"), "{error}");
    assert!(!matches!(error, Error::Poisoned { .. }));
    Limit::OpenFiles.set(before);
    wal.append(b"again").unwrap();
}

#[test]
fn the_limit_of_a_files_size_is_named_and_poisons_nothing() {
    if !alone("the_limit_of_a_files_size_is_named_and_poisons_nothing") {
        return;
    }
    ignore_file_size_signal();
    let dir = tempfile::tempdir().unwrap();
    options().open(dir.path()).unwrap().close().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()) {
        if file.extension().is_some_and(|e| e == "seg") || file.ends_with("reserve") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let before = Limit::FileSize.set(500_000);
    let wal = options().open(dir.path()).unwrap();
    let mut written = 0;
    let mut append = || {
        let appended = wal.append([written; 100_000]);
        written += u8::from(appended.is_ok());
        appended
    };
    for _ in 0..5 {
        let error = append().unwrap_err();
        assert!(error.to_string().contains("`ulimit -f`"), "{error}");
        assert!(!error.is_full() && matches!(error, Error::Io { .. }), "{error}");
    }
    Limit::FileSize.set(before);
    for _ in 0..30 {
        append().unwrap();
    }
    assert_eq!(read_all(&wal), (0..written).collect::<Vec<u8>>());
    wal.close().unwrap();
    assert!(verify(dir.path()).unwrap().is_ok());
}

/// `TMPDIR=/dev/shm cargo test --release --test system_limits -- --ignored`: more segments than a process may have
/// mappings. Where fewer files may be open, `SEAWALL_SEGMENTS=18000` after `sysctl vm.max_map_count=8000` does as
/// well.
#[test]
#[ignore = "needs 1.2 GB, a limit of 71,000 open files, and minutes"]
fn seventy_thousand_segments() {
    if !alone("seventy_thousand_segments") {
        return;
    }
    let segments = std::env::var("SEAWALL_SEGMENTS").map_or(70_000, |n| n.parse().unwrap());
    Limit::OpenFiles.set(segments + 1000);
    let allowed = Limit::OpenFiles.set(segments + 1000);
    assert!(allowed > segments, "this process may open no more than {allowed} files");
    let maps: u64 = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let small = Options::new().segment_size(16 << 10).block_align(8);
    let wal = small.clone().open(dir.path()).unwrap();
    // One fits into each.
    for _ in 0..segments {
        wal.append([7; 7000]).unwrap();
    }
    let stats = wal.stats();
    // A segment has a mapping, and one of its footer.
    assert!(stats.without_mapping + maps / 4 * 3 >= segments, "{}", stats.without_mapping);
    // Threads can still be started, and memory allocated.
    std::thread::spawn(|| drop(vec![1u8; 64 << 20])).join().unwrap();
    let records = stats.records;
    wal.close().unwrap();
    drop(wal);
    let began = std::time::Instant::now();
    let wal = small.clone().open(dir.path()).unwrap();
    println!("opened in {:?}: {}", began.elapsed(), wal.recovery());
    assert_eq!(wal.iter().map(|r| r.unwrap().payload().len()).sum::<usize>() as u64, 7000 * records);
    wal.close().unwrap();
    drop(wal);
    Limit::OpenFiles.set(segments / 2);
    let error = small.open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("`ulimit -n`"), "{error}");
}
