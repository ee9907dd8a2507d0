//! Writing each byte of a new file once, beside the commits that go on meanwhile.
//!
//! A file whose bytes were written once has no metadata left to write when a commit syncs it. Until released files are used
//! again, that costs a byte of zeros for each byte of the log, on the same device.
//!
//! ```text
//!  the segment in use   |=======used=======>                                          |
//!  the next one         |==============filled==============>......................... |
//!                        far enough ahead: small pieces, and a rest after each
//!                        not so far:       large pieces, one after the other
//!                        somebody waits:   no syncs in between
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use super::prepare::Plan;
use crate::error::Result;
use crate::format::DATA_START;
use crate::io::{File, write_all_at};
use crate::lsn::Lsn;
use crate::monitor::Caller;

/// Those who commit while a segment is made ready.
pub(crate) trait Commits {
    /// Everything below is durable.
    fn durable(&self) -> Lsn;

    /// Somebody waits for the segment, or nobody commits any more.
    fn hurry(&self) -> bool;

    /// Leaves the device to them for so long.
    fn rest(&self, time: Duration);
}

/// So many bytes are written at a time, and synced: the device works on a whole segment for tens of milliseconds, and a
/// commit that comes then would wait for all of it.
const PIECE: usize = 1 << 20;

/// So many when there is time: more syncs, and less for a commit to wait for.
const SMALL_PIECE: usize = 256 << 10;

/// A rest is as long as so many pieces take.
const REST: u32 = 3;

/// No rest is longer: when the device stood still for a second, nobody is to wait for three more.
const LONGEST_REST: Duration = Duration::from_millis(5);

/// Writes zeros over the file from `from` to its end.
pub(super) fn fill(
    file: &dyn File,
    path: &Path,
    from: u64,
    plan: &Plan,
    commits: &dyn Commits,
    caller: &Caller,
) -> Result<()> {
    let full = DATA_START + plan.capacity;
    let zeros = vec![0u8; at_most(PIECE, full - from)];
    let mut at = from;
    while at < full {
        let ahead = !commits.hurry() && is_ahead(plan, full - at, commits.durable());
        let begun = Instant::now();
        let piece = at_most(if ahead { SMALL_PIECE } else { PIECE }, full - at);
        let piece = zeros.get(..piece).unwrap_or(&zeros);
        caller.call("write", path, || write_all_at(file, piece, at))?;
        at += piece.len() as u64;
        if at >= full {
            break;
        }
        if !commits.hurry() {
            caller.call("fdatasync", path, || file.sync_data())?;
        }
        if ahead {
            commits.rest((begun.elapsed() * REST).min(LONGEST_REST));
        }
    }
    Ok(())
}

fn at_most(most: usize, left: u64) -> usize {
    usize::try_from(left).unwrap_or(most).min(most)
}

/// Whether so much is filled that commits can have the device for a while: a share twice as large as that of the segment in
/// use that is used, and a little.
fn is_ahead(plan: &Plan, left: u64, durable: Lsn) -> bool {
    let unused = plan.first_lsn.distance_from(durable).unwrap_or(0);
    let used = plan.capacity.saturating_sub(unused);
    let filled = plan.capacity.saturating_sub(left);
    filled >= used.saturating_mul(2).saturating_add(plan.capacity / 16)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::LogUuid;
    use crate::io::Disk as _;
    use crate::io::sim::SimDisk;
    use crate::lsn::SegmentId;
    use crate::segment::Room;

    const CAPACITY: u64 = (4 << 20) - 4096;

    struct Stand {
        durable: Lsn,
        hurry: bool,
        rests: Cell<usize>,
    }

    impl Commits for Stand {
        fn durable(&self) -> Lsn {
            self.durable
        }

        fn hurry(&self) -> bool {
            self.hurry
        }

        fn rest(&self, time: Duration) {
            assert!(Duration::ZERO < time && time <= LONGEST_REST);
            self.rests.set(self.rests.get() + 1);
        }
    }

    /// Fills a file beside a segment of which so much is used; says how long each write was, and how many syncs and rests
    /// there were.
    fn filled(used: u64, hurry: bool) -> (Vec<u64>, usize, usize) {
        let first_lsn = Lsn::new(10 * CAPACITY);
        let plan = Plan {
            uuid: LogUuid::from_bytes([7; 16]),
            id: SegmentId::new(2),
            before: None,
            first_lsn,
            capacity: CAPACITY,
            block_align: 4096,
            salt: 1,
            mmap: false,
            room: Room::Ordinary,
        };
        let disk = SimDisk::new();
        let file = disk.create("next").unwrap();
        let commits =
            Stand { durable: Lsn::new(first_lsn.get() - (CAPACITY - used)), hurry, rests: Cell::new(0) };
        fill(&*file, Path::new("next"), DATA_START, &plan, &commits, &Caller::default()).unwrap();
        let (mut at, mut lens, mut syncs) = (DATA_START, Vec::new(), 0);
        for line in disk.trace() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                [_, "write", len, "bytes", "at", offset, "of", _] => {
                    assert_eq!(offset.parse(), Ok(at), "each byte once, in order");
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
        (lens, syncs, commits.rests.get())
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
