//! Following a log: a second thread reads what becomes durable, and a view reads it from outside, without the lock.
//!
//! `cargo run --release --example follow`

use std::error::Error;

use seawall::{LogView, Lsn, Options, Record, Wal};

const RECORDS: u64 = 2000;

/// Applies records to its own state, here a sum. A follower returns only durable records, so its state never has to
/// be rolled back. It ends when the log is closed.
fn follow(wal: &Wal, from: Lsn) -> Result<(u64, u64), seawall::Error> {
    let (mut sum, mut seen) = (0, 0);
    for record in wal.follow(from) {
        sum += number(&record?);
        seen += 1;
    }
    Ok((sum, seen))
}

fn number(record: &Record) -> u64 {
    record.payload().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let wal = Options::new().segment_size(256 << 10).open(dir.path())?;

    std::thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        // From the beginning, while the log grows.
        let early = scope.spawn(|| follow(&wal, Lsn::ZERO));

        let mut middle = Lsn::ZERO;
        for n in 0..RECORDS {
            let mut batch = wal.batch();
            batch.push([&n.to_le_bytes()[..], &[0; 500]].concat());
            let ticket = wal.submit(&batch)?;
            if n == RECORDS / 2 {
                middle = ticket.lsn();
            }
        }

        // A later one continues where it stopped the last time: an address is all it has to remember.
        let log = &wal;
        let late = scope.spawn(move || follow(log, middle));

        // Another program may read the log at any time, as the tool does: no lock, no change. It sees what is written
        // so far.
        let view = LogView::open(dir.path())?;
        let records = view.segments().iter().flat_map(|segment| segment.heads()).count();
        println!("a view from outside, meanwhile: {records} records in {} segments", view.segments().len());

        wal.close()?;
        let (early, late) = (early.join().map_err(|_| "panicked")??, late.join().map_err(|_| "panicked")??);
        println!("from the beginning: {} records, sum {}", early.1, early.0);
        println!("from LSN {middle}: {} records, sum {}", late.1, late.0);
        assert_eq!(early, ((0..RECORDS).sum(), RECORDS));
        assert_eq!(late, ((RECORDS / 2..RECORDS).sum(), RECORDS / 2));
        Ok(())
    })?;

    // At the end, everything can be read.
    let view = LogView::open(dir.path())?;
    let records = view.segments().iter().flat_map(|segment| segment.heads()).count();
    println!("a view from outside, at the end: {records} records, closed: {}", view.was_closed());
    assert_eq!(records as u64, RECORDS);
    assert!(view.was_closed());
    Ok(())
}
