//! What a directory proves and what a log exposes, determined independently of the engine.

use seawall::format::record::RecordHeader;
use seawall::format::segment::{Generation, file_name};
use seawall::format::{DATA_START, PAGE, crc32};
use seawall::io::sim::SimDisk;
use seawall::{Error, Lsn, Wal};

use super::directory::{Files, files_of};

#[path = "../common/evidence.rs"]
mod proof;

pub use proof::proven;

/// A record as it was written: its address and its payload.
pub type Written = (Lsn, Vec<u8>);

/// What an iterator showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The records, in order.
    pub records: Vec<Written>,
    /// It ended with damage.
    pub damaged: bool,
}

/// Reads a log and compares every record with the bytes in the file.
pub fn show(wal: &Wal, disk: &SimDisk) -> Shown {
    let files = files_of(disk);
    let bytes: usize = files.values().map(Vec::len).sum();
    let mut shown = Shown::default();
    let mut last = None;
    for record in wal.iter() {
        let record = match record {
            Ok(record) => record,
            Err(Error::Corruption(_)) => {
                shown.damaged = true;
                break;
            }
            Err(e) => panic!("the iterator says {e}"),
        };
        assert!(last < Some(record.lsn()), "the iterator goes back from {last:?} to {}", record.lsn());
        assert!(shown.records.len() <= bytes / 16, "more records than there is room for");
        last = Some(record.lsn());
        let raw = raw_record(wal, &files, record.lsn());
        assert_eq!(raw, Some(record.payload()), "record {} is not what the file holds", record.lsn());
        let read = wal.read(record.lsn()).map(|r| r.payload().to_vec());
        assert_eq!(read.ok().as_deref(), Some(record.payload()), "{} iterated and not read", record.lsn());
        shown.records.push((record.lsn(), record.payload().to_vec()));
    }
    shown
}

/// The payload of the record at `lsn`, taken from the file and verified here.
fn raw_record<'a>(wal: &Wal, files: &'a Files, lsn: Lsn) -> Option<&'a [u8]> {
    let segment = wal.segments().into_iter().find(|s| s.first_lsn <= lsn && lsn < s.end_lsn)?;
    let bytes = files.get(&file_name(segment.id, segment.first_lsn))?;
    let generation = Generation::decode(bytes.first_chunk::<PAGE>()?).ok()?;
    let at = usize::try_from(DATA_START + lsn.distance_from(segment.first_lsn)?).ok()?;
    let header = RecordHeader::decode(bytes.get(at..)?, &generation.identity(), lsn).ok()?;
    let start = at + header.header_len();
    let payload = bytes.get(start..start + header.payload_len as usize)?;
    (generation.uuid == wal.uuid() && crc32(payload) == header.payload_crc).then_some(payload)
}
