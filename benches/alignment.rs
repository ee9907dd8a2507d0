//! The cost of aligning blocks to 4096 bytes: throughput, and bytes written per byte of payload, compared with 512
//! and 8, with one writer that waits for each record and with many. Rounds alternate; medians.
//!
//! `cargo bench -p seawall --bench alignment -- --rounds 5 --millis 700`

#[path = "support/rounds.rs"]
mod rounds;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use seawall::Options;

use rounds::{argument, median};

const ALIGNS: [u32; 3] = [4096, 512, 8];

fn main() {
    let rounds = argument("--rounds", 5);
    let millis = Duration::from_millis(argument("--millis", 700));
    println!(
        "{:>8} {:>7} {:>7} {:>12} {:>10} {:>22}",
        "writers", "record", "align", "records/s", "to 4096", "written / payload"
    );
    for writers in [1, 8, 64] {
        for record in [64, 256, 1024] {
            let mut seen = vec![Vec::new(); ALIGNS.len()];
            for _ in 0..rounds {
                for (align, seen) in ALIGNS.into_iter().zip(&mut seen) {
                    seen.push(measure(writers, record, align, millis));
                }
            }
            for (align, these) in ALIGNS.into_iter().zip(&seen) {
                let rate = median(these.iter().map(|s| s.0).collect());
                let ratio = median(these.iter().zip(&seen[0]).map(|(s, first)| s.0 / first.0).collect());
                let written = median(these.iter().map(|s| s.1).collect());
                println!("{writers:>8} {record:>7} {align:>7} {rate:>12.0} {ratio:>10.2} {written:>22.2}");
            }
        }
    }
}

/// Records per second, and bytes written per byte of payload.
fn measure(writers: u64, record: usize, align: u32, time: Duration) -> (f64, f64) {
    let dir = tempfile::tempdir().unwrap();
    let wal = Options::new().block_align(align).open(dir.path()).unwrap();
    let payload = vec![0x5a; record];
    let (stop, appended) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    wal.append(&payload).unwrap();
                    appended.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    let appended = appended.into_inner() as f64;
    let written = wal.stats().written_bytes as f64 / (appended * record as f64);
    (appended / start.elapsed().as_secs_f64(), written)
}
