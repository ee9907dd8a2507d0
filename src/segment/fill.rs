//! Writes each byte of a new file once, while commits continue.
//!
//! A file whose bytes were all written once has no metadata left to write when a commit syncs it. Until released
//! files are reused, this costs one byte of zeros for each byte of the log, on the same device.
//!
//! ```text
//!  the segment in use   |=======used=======>                                          |
//!  the next one         |==============filled==============>......................... |
//!                        far enough ahead: small pieces, and a rest after each
//!                        not far enough:   large pieces without rests
//!                        a commit waits:   no syncs in between
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use super::progress::Progress;
use crate::error::Result;
use crate::format::segment::Generation;
use crate::io::{File, PIECE, write_all_at};
use crate::lsn::Lsn;
use crate::monitor::Caller;
use crate::size::at_most;

/// Bytes written and synced at a time. The device needs tens of milliseconds for a whole segment, and a commit
/// arriving then would have to wait for all of it.
const LARGE_PIECE: usize = PIECE;

/// The same when there is time: more syncs, but less for a commit to wait for.
const SMALL_PIECE: usize = 256 << 10;

/// A rest lasts as long as this many pieces take.
const REST: u32 = 3;

/// Maximum rest: if the device stalled for a second, a rest of three more would only add to the delay.
const LONGEST_REST: Duration = Duration::from_millis(5);

/// Writes zeros over the file from `from` to its end while commits continue; `rest` leaves the device to them for the
/// given time.
pub(super) fn fill(
    file: &dyn File,
    path: &Path,
    from: u64,
    generation: &Generation,
    progress: &Progress,
    caller: &Caller,
    mut rest: impl FnMut(Duration),
) -> Result<()> {
    let full = generation.file_len();
    let zeros = vec![0u8; at_most(LARGE_PIECE, full - from)];
    let mut at = from;
    while at < full {
        let ahead = !progress.is_in_a_hurry() && is_ahead(generation, full - at, progress.durable());
        let begun = Instant::now();
        let most = if ahead { SMALL_PIECE } else { LARGE_PIECE };
        let (piece, _) = zeros.split_at(at_most(most.min(zeros.len()), full - at));
        caller.call("write", path, || write_all_at(file, piece, at))?;
        at += piece.len() as u64;
        if at >= full {
            break;
        }
        if !progress.is_in_a_hurry() {
            caller.call("fdatasync", path, || file.sync_data())?;
        }
        if ahead {
            rest((begun.elapsed() * REST).min(LONGEST_REST));
        }
    }
    Ok(())
}

/// Whether enough is filled to leave the device to commits for a while: twice the fraction used of the segment in
/// use, and a little more.
fn is_ahead(generation: &Generation, left: u64, durable: Lsn) -> bool {
    // The segment in use may be larger than this one, and so may have more unused bytes than this one has in total.
    let unused = generation.first_lsn.distance_from(durable).unwrap_or(0);
    let used = generation.capacity.saturating_sub(unused);
    let filled = generation.capacity - left;
    filled >= 2 * used + generation.capacity / 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LogUuid;
    use crate::format::DATA_START;
    use crate::io::Disk as _;
    use crate::io::sim::SimDisk;
    use crate::lsn::SegmentId;

    const CAPACITY: u64 = (4 << 20) - 4096;

    /// Fills a file beside a segment with `used` bytes in use; returns the length of each write, and the numbers of
    /// syncs and rests.
    fn filled(used: u64, hurry: bool) -> (Vec<u64>, usize, usize) {
        let first_lsn = Lsn::new(10 * CAPACITY);
        let generation = Generation {
            uuid: LogUuid::from_bytes([7; 16]),
            id: SegmentId::new(2),
            before: None,
            first_lsn,
            capacity: CAPACITY,
            block_align: 4096,
            salt: 1,
            recycled: false,
        };
        let disk = SimDisk::new();
        let file = disk.create("next").unwrap();
        let progress = Progress::new(Lsn::new(first_lsn.get() - (CAPACITY - used)), true);
        progress.set_hurry(hurry);
        let mut rests = 0;
        let rest = |time| {
            assert!(Duration::ZERO < time && time <= LONGEST_REST);
            rests += 1;
        };
        fill(&*file, Path::new("next"), DATA_START, &generation, &progress, &Caller::default(), rest)
            .unwrap();
        let (mut at, mut lens, mut syncs) = (DATA_START, Vec::new(), 0);
        for line in disk.trace() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                [_, "write", len, "bytes", "at", offset, "of", _] => {
                    assert_eq!(offset.parse(), Ok(at), "each byte once and in order");
                    lens.push(len.parse().unwrap());
                    at += lens.last().unwrap();
                }
                [_, "sync", _] => syncs += 1,
                _ => {}
            }
        }
        assert_eq!(at, DATA_START + CAPACITY);
        let contents = disk.contents("next").unwrap();
        assert!(contents.len() as u64 == at && contents.iter().all(|b| *b == 0));
        (lens, syncs, rests)
    }

    #[test]
    fn pieces_are_small_once_the_file_is_far_enough_ahead_of_the_log() {
        let (large, small) = (PIECE as u64, SMALL_PIECE as u64);
        let rest = |lens: &[u64]| CAPACITY - lens.iter().sum::<u64>();
        // Ahead once a sixteenth is filled: after the first piece.
        let (lens, syncs, rests) = filled(0, false);
        assert_eq!(lens[..2], [large, small]);
        assert!(lens[1..lens.len() - 1].iter().all(|len| *len == small) && rest(&lens) == 0);
        assert_eq!((syncs, rests), (lens.len() - 1, lens.len() - 2));
        // A quarter is used: ahead once nine sixteenths are filled.
        let (lens, syncs, rests) = filled(CAPACITY / 4, false);
        assert_eq!(lens[..4], [large, large, large, small]);
        assert_eq!((syncs, rests), (lens.len() - 1, lens.len() - 4));
        // Half is used: never ahead.
        let (lens, syncs, rests) = filled(CAPACITY / 2, false);
        assert_eq!(lens, [large, large, large, large - 4096]);
        assert_eq!((syncs, rests), (3, 0));
    }

    #[test]
    fn when_somebody_waits_nothing_is_synced_in_between() {
        let (lens, syncs, rests) = filled(0, true);
        assert_eq!((lens.len(), syncs, rests), (4, 0, 0));
    }
}
