//! Many threads, few syncs: threads that wait at the same time share one. With tickets a single thread achieves the
//! same.
//!
//! `cargo run --release --example group_commit`

use std::error::Error;
use std::time::Instant;

use seawall::{Lsn, Options, Ticket, Wal};

const THREADS: usize = 16;
const EACH: usize = 200;

fn record(n: usize) -> [u8; 100] {
    let mut record = [0; 100];
    record[..8].copy_from_slice(&(n as u64).to_le_bytes());
    record
}

/// Runs some work on the log and prints its cost.
fn measured(
    wal: &Wal,
    what: &str,
    work: impl FnOnce() -> Result<Vec<Lsn>, seawall::Error>,
) -> Result<(Vec<Lsn>, u64), seawall::Error> {
    let (before, start) = (wal.stats(), Instant::now());
    let lsns = work()?;
    let (after, took) = (wal.stats(), start.elapsed());
    let syncs = after.syncs - before.syncs;
    println!("{what}: {} records in {:.0} ms, {syncs} syncs", lsns.len(), took.as_secs_f64() * 1e3);
    Ok((lsns, syncs))
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let wal = Options::new().open(dir.path())?;

    // One thread that waits for each record pays one sync for each.
    let (_, alone) =
        measured(&wal, "one thread, waiting ", || (0..EACH).map(|n| wal.append(record(n))).collect())?;
    assert!(alone >= EACH as u64);

    // Sixteen threads that wait concurrently: during one sync, the records of the others accumulate for the next.
    let (lsns, together) = measured(&wal, "sixteen threads     ", || {
        std::thread::scope(|scope| {
            let append = |thread: usize| {
                let wal = &wal;
                move || {
                    (0..EACH).map(|n| wal.append(record(thread * EACH + n))).collect::<Result<Vec<Lsn>, _>>()
                }
            };
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(append(thread))).collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().map_err(|_| seawall::Error::Closed)??);
            }
            Ok(all)
        })
    })?;
    assert_eq!(lsns.len(), THREADS * EACH);
    println!("  {:.1} records per sync", lsns.len() as f64 / together as f64);

    // One thread with tickets: it submits everything and waits once. Earlier submissions become durable earlier.
    let (lsns, tickets) = measured(&wal, "one thread, tickets ", || {
        let mut last: Option<Ticket> = None;
        let mut lsns = Vec::new();
        for n in 0..THREADS * EACH {
            let mut batch = wal.batch();
            batch.push(record(n));
            let ticket = wal.submit(&batch)?;
            lsns.push(ticket.lsn());
            last = Some(ticket);
        }
        last.map_or(Ok(Lsn::ZERO), Ticket::wait)?;
        Ok(lsns)
    })?;
    println!("  {:.1} records per sync", lsns.len() as f64 / tickets as f64);

    // In the order in which they were submitted, and intact.
    for (n, lsn) in lsns.iter().enumerate() {
        assert_eq!(wal.read(*lsn)?.payload(), record(n));
    }
    let stats = wal.stats();
    println!(
        "blocks have {:.1} records on average, {} at most; half of the commits took up to {} us, 99% up to {} us",
        stats.block_records.mean(),
        stats.block_records.max(),
        stats.commit_times.percentile(50.0) / 1000,
        stats.commit_times.percentile(99.0) / 1000,
    );
    wal.close()?;
    Ok(())
}
