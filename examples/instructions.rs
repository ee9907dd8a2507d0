//! Does one thing N times, for counting its cost: `benches/instructions.sh` runs this twice under callgrind and
//! subtracts, which leaves the cost of one; `benches/calls.sh` counts system calls in the same way.
//!
//! `instructions append|read|iterate|open|writers-8|writers-64|writers-256|tickets N`

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use seawall::{Batch, Options, Wal};

const RECORD: [u8; 256] = [0x5a; 256];

fn options() -> Options {
    Options::new().segment_size(16 << 20).idle_marker(Duration::from_secs(3600))
}

fn filled(dir: &std::path::Path, records: usize) -> Wal {
    let wal = options().open(dir).unwrap();
    let mut batch = Batch::new();
    for _ in 0..records {
        batch.push(RECORD);
    }
    wal.commit(&batch).unwrap();
    wal
}

fn run(what: &str, times: usize) -> Option<()> {
    let dir = tempfile::tempdir().unwrap();
    match what {
        "append" => {
            let wal = options().open(dir.path()).unwrap();
            for _ in 0..times {
                wal.append(RECORD).unwrap();
            }
        }
        "read" => {
            let wal = filled(dir.path(), 1000);
            let lsns: Vec<_> = wal.iter().map(|r| r.unwrap().lsn()).collect();
            (0..times).for_each(|n| drop(wal.read(lsns[n * 7 % lsns.len()]).unwrap()));
        }
        "iterate" => assert_eq!(filled(dir.path(), times).iter().flatten().count(), times),
        "open" => {
            filled(dir.path(), 10_000).close().unwrap();
            (0..times).for_each(|_| options().open(dir.path()).unwrap().close().unwrap());
        }
        "tickets" => {
            let wal = options().open(dir.path()).unwrap();
            let (mut batch, mut ahead) = (Batch::new(), VecDeque::new());
            batch.push(RECORD);
            for _ in 0..times {
                ahead.push_back(wal.submit(&batch).unwrap());
                if ahead.len() > 16 << 10 {
                    ahead.pop_front().unwrap().wait().unwrap();
                }
            }
            for ticket in ahead {
                ticket.wait().unwrap();
            }
        }
        _ => {
            writers(&options().open(dir.path()).unwrap(), what.strip_prefix("writers-")?.parse().ok()?, times)
        }
    }
    Some(())
}

/// This many threads, each of which waits for every one of its records.
fn writers(wal: &Wal, threads: usize, times: usize) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..times / threads {
                    wal.append(RECORD).unwrap();
                }
            });
        }
    });
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let times = words.get(1).and_then(|n| n.parse().ok());
    match (words.first(), times) {
        (Some(what), Some(times)) if run(what, times).is_some() => ExitCode::SUCCESS,
        _ => {
            eprintln!("instructions append|read|iterate|open|writers-8|writers-64|writers-256|tickets N");
            ExitCode::from(2)
        }
    }
}
