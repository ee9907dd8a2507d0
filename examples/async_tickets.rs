//! Tickets are futures: tasks of an async program await them, and no runtime thread waits for the disk.
//!
//! `cargo run --release --example async_tickets`

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use seawall::{Lsn, Options, Wal};

const CLIENTS: u64 = 64;
const REQUESTS: u64 = 50;

/// The work of a server for one client: each request is answered when it is durable.
///
/// `submit` takes a lock for a moment. It waits only if more is staged than `Options::max_staged_bytes` allows, or if
/// the next segment is not ready; a server that cannot accept that calls it through `spawn_blocking`.
async fn client(wal: Wal, id: u64) -> Result<Vec<Lsn>, seawall::Error> {
    let mut answered = Vec::new();
    for request in 0..REQUESTS {
        let mut batch = wal.batch();
        batch.push((id * REQUESTS + request).to_le_bytes());
        let ticket = wal.submit(&batch)?;
        answered.push(ticket.await?);
    }
    Ok(answered)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let wal = Options::new().open(dir.path())?;

    // Other work for the only thread of this runtime.
    let ticks = Rc::new(Cell::new(0));
    let counter = Rc::clone(&ticks);
    let local = tokio::task::LocalSet::new();
    local.spawn_local(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            counter.set(counter.get() + 1);
        }
    });

    let all = local
        .run_until(async {
            let clients: Vec<_> =
                (0..CLIENTS).map(|id| tokio::task::spawn_local(client(wal.clone(), id))).collect();
            let mut all = Vec::new();
            for (id, client) in (0..).zip(clients) {
                all.push((id, client.await??));
            }
            Ok::<_, Box<dyn Error>>(all)
        })
        .await?;

    // An answered record is on the device, at the address from its ticket.
    let mut records = 0;
    for (id, lsns) in &all {
        for (request, lsn) in (0..).zip(lsns) {
            assert!(*lsn < wal.durable_lsn());
            assert_eq!(wal.read(*lsn)?.payload(), (id * REQUESTS + request).to_le_bytes());
            records += 1;
        }
    }
    let stats = wal.stats();
    println!("{records} requests of {CLIENTS} clients, answered with {} syncs", stats.syncs);
    println!("meanwhile the runtime's only thread handled {} ticks", ticks.get());
    assert_eq!(records, CLIENTS * REQUESTS);
    assert_eq!(stats.records, records);

    // A deadline belongs to the future, not to the record: the batch is flushed whether anyone waits or not.
    let mut batch = wal.batch();
    batch.push(b"no one waits for this one");
    let ticket = wal.submit(&batch)?;
    let lsn = ticket.lsn();
    match tokio::time::timeout(Duration::ZERO, ticket).await {
        Ok(durable) => println!("durable at once, at LSN {}", durable?),
        Err(_) => println!("not durable yet when the deadline passed"),
    }
    wal.close()?; // makes durable what was submitted
    drop(wal);
    let wal = Options::new().open(dir.path())?;
    assert_eq!(wal.read(lsn)?.payload(), b"no one waits for this one");
    Ok(())
}
