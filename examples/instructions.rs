//! Does one thing N times, for counting the instructions that it takes: `benches/instructions.sh` runs this twice under
//! callgrind and subtracts, so that what is left is the cost of one.
//!
//! `instructions append|read|iterate|open N`

use std::process::ExitCode;
use std::time::Duration;

use seawall::{Batch, Options, Wal};

const RECORD: [u8; 256] = [0x5a; 256];

fn options() -> Options {
    Options::new().segment_size(16 << 20).idle_mark(Duration::from_secs(3600))
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
        _ => return None,
    }
    Some(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let times = words.get(1).and_then(|n| n.parse().ok());
    match (words.first(), times) {
        (Some(what), Some(times)) if run(what, times).is_some() => ExitCode::SUCCESS,
        _ => {
            eprintln!("instructions append|read|iterate|open N");
            ExitCode::from(2)
        }
    }
}
