//! The benefit of filling a file before it is used: writes with a sync each, into files whose bytes were written
//! before, files whose space was only allocated, files that grow, and files while a background thread fills the next
//! one piece by piece with a sync each. The file system alone, without a log. Rounds alternate; medians.
//!
//! `cargo bench -p seawall --bench filling -- --rounds 5 --millis 1000`

#[path = "support/rounds.rs"]
mod rounds;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use rounds::{argument, median};

/// The default length of a segment.
const FILE: u64 = 64 << 20;
const PIECE: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Filled,
    FilledMeanwhile,
    Allocated,
    Growing,
}

const KINDS: [Kind; 4] = [Kind::Filled, Kind::FilledMeanwhile, Kind::Allocated, Kind::Growing];

fn main() {
    let rounds = argument("--rounds", 3);
    let time = Duration::from_millis(argument("--millis", 500));
    println!(
        "{:>8} {:>16} {:>10} {:>10} {:>9} {:>9} {:>9}",
        "bytes", "file", "writes/s", "to filled", "p50 us", "p99 us", "p99.9 us"
    );
    for size in [4 << 10, 16 << 10, 228 << 10] {
        let mut seen = vec![Vec::new(); KINDS.len()];
        for _ in 0..rounds {
            for (kind, seen) in KINDS.into_iter().zip(&mut seen) {
                seen.push(measure(kind, size, time));
            }
        }
        for (kind, these) in KINDS.into_iter().zip(&seen) {
            let of = |n: usize| median(these.iter().map(|s| s[n]).collect());
            let ratio = median(these.iter().zip(&seen[0]).map(|(s, first)| s[0] / first[0]).collect());
            println!(
                "{size:>8} {:>16} {:>10.0} {ratio:>10.2} {:>9.0} {:>9.0} {:>9.0}",
                format!("{kind:?}"),
                of(0),
                of(1),
                of(2),
                of(3)
            );
        }
    }
}

/// Writes per second, and the time of one in microseconds: the median, and the slowest in a hundred and in a
/// thousand.
fn measure(kind: Kind, size: usize, time: Duration) -> [f64; 4] {
    let dir = tempfile::tempdir().unwrap();
    let bytes = vec![0xa5; size];
    let (send, files) = sync_channel(0);
    std::thread::scope(|scope| {
        // One file is prepared ahead, as in a log; without a background thread, each is made when it is needed.
        let mut made = 0;
        let mut make = {
            let dir = dir.path().to_owned();
            move || {
                made += 1;
                open(&dir.join(made.to_string()), kind)
            }
        };
        let ahead = kind == Kind::FilledMeanwhile;
        if ahead {
            let mut make = make.clone();
            scope.spawn(move || while send.send(make()).is_ok() {});
        }
        let mut next = || if ahead { files.recv().unwrap() } else { make() };
        let (mut file, mut at, mut taken, mut spent) = (next(), 0, Vec::new(), Duration::ZERO);
        while spent < time {
            let begun = Instant::now();
            if at + size as u64 > FILE {
                (file, at) = (next(), 0);
            }
            // Filling before the run is not measured.
            let begun = if kind == Kind::Filled { Instant::now() } else { begun };
            file.write_all_at(&bytes, at).unwrap();
            file.sync_data().unwrap();
            at += size as u64;
            taken.push(begun.elapsed());
            spent += begun.elapsed();
        }
        drop(files);
        taken.sort_unstable();
        let slowest = |share: f64| taken[(taken.len() as f64 * share) as usize].as_secs_f64() * 1e6;
        [taken.len() as f64 / spent.as_secs_f64(), slowest(0.5), slowest(0.99), slowest(0.999)]
    })
}

fn open(path: &PathBuf, kind: Kind) -> File {
    let file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
    if kind != Kind::Growing {
        fs2::FileExt::allocate(&file, FILE).unwrap();
    }
    if matches!(kind, Kind::Filled | Kind::FilledMeanwhile) {
        fill(&file);
    }
    file.sync_all().unwrap();
    sync_names(path.parent().unwrap());
    file
}

fn fill(file: &File) {
    let zeros = vec![0; PIECE];
    for at in (0..FILE).step_by(PIECE) {
        file.write_all_at(&zeros, at).unwrap();
        file.sync_data().unwrap();
    }
}

fn sync_names(dir: &Path) {
    File::open(dir).unwrap().sync_all().unwrap();
}
