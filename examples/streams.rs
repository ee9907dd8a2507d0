//! A broker's partitions in one log: producers append concurrently, a consumer keeps its cursor in the same log, and
//! consumed messages are freed. Run it twice to see it continue: `cargo run --release --example streams --
//! /tmp/broker`.

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use seawall::Options;
use seawall::groups::{Field, Group, GroupLog, GroupOptions, Position};

type Failure = Box<dyn Error + Send + Sync>;

const PARTITIONS: u64 = 8;
const PRODUCERS: u64 = 4;
const MESSAGES: u64 = 2_000;

/// The position of a partition's consumer: the next index to read. A field of the second set, so that it does not
/// conflict with producers.
const CURSOR: Field = Field::ALL[4];

/// A topic with a fixed number of partitions.
struct Topic {
    log: GroupLog,
    partitions: Vec<Group>,
}

impl Topic {
    fn open(dir: &std::path::Path) -> Result<Topic, Failure> {
        let wal = Options::new().segment_size(4 << 20);
        let log = GroupOptions::new().wal(wal).purge_in_background(4 << 20).open(dir)?;
        let open = |id| log.group(id).map_or_else(|| log.create_group(id, None), Ok);
        let partitions = (0..PARTITIONS).map(open).collect::<Result<_, _>>()?;
        Ok(Topic { log, partitions })
    }

    /// Durably appends a message to the partition of its key; returns its position.
    fn send(&self, key: u64, message: &str) -> Result<(u64, u64), Failure> {
        let number = key % PARTITIONS;
        let partition = self.partitions.get(usize::try_from(number)?).ok_or("no such partition")?;
        let (indexes, ticket) = partition.append(&[message])?;
        ticket.wait()?; // one sync for all that append at this time
        Ok((number, indexes.start))
    }

    /// The next messages of a partition; its cursor moves past them, and they are purged.
    fn receive(&self, partition: &Group, max_bytes: u64) -> Result<Vec<String>, Failure> {
        let cursor = partition.state()?.get(CURSOR).map_or(0, |(at, _)| at.index);
        // Nothing that a crash could undo.
        let entries = partition.entries(cursor..partition.durable_end()?.max(cursor), max_bytes)?;
        let Some(last) = entries.last() else { return Ok(Vec::new()) };
        let mut batch = self.log.batch();
        batch.set(partition.id(), CURSOR, Position { index: last.index + 1, term: 0 }, &[])?;
        batch.purge(partition.id(), Position { index: last.index, term: last.term })?;
        self.log.commit(batch)?;
        Ok(entries.iter().map(|entry| String::from_utf8_lossy(&entry.payload).into_owned()).collect())
    }
}

fn main() -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args().nth(1).map_or_else(|| temporary.path().to_owned(), Into::into);
    let topic = Arc::new(Topic::open(&dir)?);
    for partition in &topic.partitions {
        let (indexes, cursor) =
            (partition.indexes()?, partition.state()?.get(CURSOR).map(|(at, _)| at.index));
        println!(
            "partition {}: {} to {}, consumed up to {}",
            partition.id(),
            indexes.start,
            indexes.end,
            cursor.unwrap_or(0)
        );
    }

    let begun = Instant::now();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let topic = Arc::clone(&topic);
            thread::spawn(move || {
                (0..MESSAGES).try_for_each(|n| topic.send(n, &format!("{producer}: message {n}")).map(|_| ()))
            })
        })
        .collect();
    for producer in producers {
        producer.join().map_err(|_| "a producer panicked")??;
    }
    let stats = topic.log.wal().stats();
    println!(
        "{} messages to {PARTITIONS} partitions, each durable when `send` returned: {:.1} s, {} syncs",
        PRODUCERS * MESSAGES,
        begun.elapsed().as_secs_f64(),
        stats.syncs,
    );

    let mut received = 0;
    for partition in &topic.partitions {
        loop {
            let messages = topic.receive(partition, 64 << 10)?;
            if messages.is_empty() {
                break;
            }
            received += messages.len();
        }
    }
    let report = topic.log.purge()?;
    println!("{received} received; {} live bytes left, {} on the disk", report.live_bytes, report.disk_bytes);
    topic.log.close()?;
    Ok(())
}
