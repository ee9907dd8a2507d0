//! The log on one page: append, read, submit, iterate, reopen, release.
//!
//! `cargo run --release --example hello_log`

use std::error::Error;

use seawall::{Options, Wal};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;

    // A log is a directory. It is created if it is missing.
    let wal = Wal::open(dir.path())?;

    // One record. When this returns, it is on the device: no crash can undo it.
    let hello = wal.append(b"hello")?;
    println!("\"hello\" is at LSN {hello}");
    assert_eq!(wal.read(hello)?.payload(), b"hello");

    // Records that belong together: after a crash either all of them are there, or none.
    let mut batch = wal.batch();
    let debit = batch.push(b"debit Alice 5");
    let credit = batch.push(b"credit Bob 5");

    // Submitting fixes the order and does not wait. The ticket says when the batch is durable.
    let ticket = wal.submit(&batch)?;
    let (debit, credit) = (ticket.lsn_of(debit), ticket.lsn_of(credit));
    assert_eq!(wal.read(debit)?.payload(), b"debit Alice 5", "readable once it is submitted");
    ticket.wait()?;
    println!("the transfer is at LSN {debit} and {credit}");

    // Close it and reopen it. Addresses do not change.
    wal.close()?;
    drop(wal);
    let wal = Options::new().open(dir.path())?;
    println!("after reopening: {}", wal.recovery());
    let mut found = Vec::new();
    for record in wal.iter() {
        let record = record?;
        println!("  {:>6}  {}", record.lsn().get(), String::from_utf8_lossy(record.payload()));
        found.push(record.payload().to_vec());
    }
    assert_eq!(found, [&b"hello"[..], b"debit Alice 5", b"credit Bob 5"]);

    // What is no longer needed is released, in whole segments.
    wal.release(credit)?;
    println!("{} bytes of files for {} records", wal.stats().disk_bytes, found.len());
    wal.close()?;
    Ok(())
}
