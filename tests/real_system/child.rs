//! The program whose system calls are made to fail. It prints its results and never panics: a failure that ends it is
//! a failure of the log.

use std::path::Path;

use seawall::{Error, Options, Wal};

/// The log's directory; set if this process is the child.
pub const DIR: &str = "SEAWALL_TEST_INJECTED_DIR";
/// Without threads, so that the calls come in a fixed order.
pub const SINGLE: &str = "SEAWALL_TEST_INJECTED_SINGLE";

pub const RECORDS: u64 = 40;
pub const SEGMENT: u64 = 64 << 10;
/// The records that are kept when the log is released.
pub const KEPT: u64 = 6;

pub fn options() -> Options {
    Options::new().segment_size(SEGMENT).spare_segments(1)
}

/// Four of them fill a segment.
pub fn payload(n: u64) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(n).unwrap(); 13_000];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes
}

pub fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

/// Appends, releases, reads and closes; then ends the process.
pub fn run(dir: &Path) -> ! {
    let options = options().threads(std::env::var_os(SINGLE).is_none());
    let code = match options.open(dir) {
        Ok(wal) => {
            work(&wal);
            0
        }
        Err(e) => {
            println!("error {e}");
            3
        }
    };
    std::process::exit(code)
}

fn work(wal: &Wal) {
    let mut lsns = Vec::new();
    'records: for n in 0..RECORDS {
        for _ in 0..4 {
            match wal.append(payload(n)) {
                Ok(lsn) => {
                    println!("ack {n}");
                    lsns.push(lsn);
                    break;
                }
                Err(e) => {
                    println!("error {e}");
                    if matches!(e, Error::Poisoned { .. })
                        || wal.append([]).is_err_and(|e| matches!(e, Error::Poisoned { .. }))
                    {
                        break 'records;
                    }
                }
            }
        }
        if n % 10 == 9 && lsns.len() as u64 > KEPT {
            say(wal.release(lsns[lsns.len() - usize::try_from(KEPT).unwrap()]));
        }
    }
    for record in wal.iter() {
        match record {
            Ok(record) if record.payload().is_empty() => {}
            Ok(record) if record.payload() == payload(number(record.payload())) => {}
            Ok(record) => println!("WRONG {}", record.lsn()),
            Err(e) => println!("error {e}"),
        }
    }
    if let Some(e) = wal.background_error() {
        println!("error {e}");
    }
    say(wal.close());
}

fn say(done: Result<(), Error>) {
    if let Err(e) = done {
        println!("error {e}");
    }
}
