//! Scans a segment block by block until something does not verify, then looks for evidence after that.

use std::collections::VecDeque;
use std::ops::Range;

use crate::cores::Cores;
use crate::error::{CorruptionReason, Error, Result, Witness, WitnessSource};
use crate::format::Invalid;
use crate::format::block::{BLOCK_HEADER, BlockHeader, BlockKind};
use crate::lsn::Lsn;
use crate::segment::{
    BlockDamage, Segment, Sighting, Window, check_block, look_within, records_end, room_behind,
};
use crate::size::in_memory;

/// What was found where the scan stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The given end, or the end of the file.
    End,
    /// Bytes never written in this generation.
    Unwritten,
    /// Something that does not verify; the position is relative to the stop.
    Torn(BlockDamage),
}

/// The result of a scan.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The address after the last valid block: X of the verdict table.
    pub(crate) end: Lsn,
    pub(crate) stop: Stop,
    /// The end of what was written at and after the stop, as far as can be determined.
    pub(crate) written: Lsn,
    /// The digest of the last valid block.
    pub(crate) digest: u32,
    pub(crate) blocks: u64,
    pub(crate) records: u64,
    /// The best evidence in this segment's blocks.
    pub(crate) witness: Option<Witness>,
    /// The last block is a marker block.
    pub(crate) ends_with_marker: bool,
    /// The blocks that no later block in the scan proves: each with its address and the digest of the block before
    /// it.
    pub(crate) unproven: VecDeque<(Lsn, u32)>,
}

/// Scans a segment from its first block to `end`, or to where nothing verifies. What follows is searched with all
/// allowed cores.
pub(crate) fn scan(segment: &Segment, previous: u32, end: Option<Lsn>, cores: Cores) -> Result<Scan> {
    let io = |e| Error::io("read", &segment.path, e);
    let file_end = segment.file.len().map_err(io)?;
    let mut window =
        Window::new(&*segment.file, file_end.min(segment.offset(end.unwrap_or(segment.limit()))));
    let mut scan = Scan {
        end: segment.first_lsn(),
        stop: Stop::End,
        written: segment.first_lsn(),
        digest: previous,
        blocks: 0,
        records: 0,
        witness: None,
        ends_with_marker: false,
        unproven: VecDeque::new(),
    };
    while scan.end < end.unwrap_or(segment.limit()) {
        match next_block(&mut window, segment, scan.end, scan.digest).map_err(io)? {
            Ok((header, digest)) => scan.accept(&header, digest, segment.generation.block_align),
            Err(stop) => {
                scan.stop = stop;
                break;
            }
        }
    }
    scan.written = scan.end;
    if end.is_none() && scan.stop != Stop::End {
        look_beyond(&mut scan, segment, cores)?;
    }
    if end.is_none() && file_end < segment.offset(segment.limit()) {
        // A file has its full length, durably, before it becomes part of the log, and keeps it until it is sealed.
        scan.tear(segment.limit(), CorruptionReason::ShortFile);
    } else if end.is_none() && scan.blocks == 0 && matches!(scan.stop, Stop::Unwritten | Stop::End) {
        // The header page was written together with the first block.
        scan.tear(scan.end, CorruptionReason::BlockHeader);
    }
    Ok(scan)
}

impl Scan {
    /// What looked unwritten was written after all.
    fn tear(&mut self, written: Lsn, reason: CorruptionReason) {
        self.stop = Stop::Torn(BlockDamage { at: 0, reason });
        self.written = self.written.max(written);
    }

    fn accept(&mut self, header: &BlockHeader, digest: u32, align: u32) {
        self.unproven.push_back((self.end, self.digest));
        self.testify(header);
        self.end = self.end.plus(header.padded_len(align));
        self.digest = digest;
        self.blocks += 1;
        self.records += u64::from(header.records);
        self.ends_with_marker = header.kind == BlockKind::Marker;
    }

    /// Takes the evidence of a valid block.
    fn testify(&mut self, header: &BlockHeader) {
        if self.witness.is_none_or(|w| w.durable < header.durable) {
            self.witness =
                Some(Witness { source: WitnessSource::Block(header.lsn), durable: header.durable });
        }
        while self.unproven.front().is_some_and(|(lsn, _)| *lsn < header.durable) {
            self.unproven.pop_front();
        }
    }
}

type Next = std::result::Result<(BlockHeader, u32), Stop>;

fn next_block(window: &mut Window<'_>, segment: &Segment, at: Lsn, previous: u32) -> std::io::Result<Next> {
    let torn = |at, reason| Ok(Err(Stop::Torn(BlockDamage { at, reason })));
    let offset = segment.offset(at);
    let head = window.get(offset, BLOCK_HEADER)?;
    let Some(head) = head.first_chunk::<BLOCK_HEADER>() else {
        return Ok(Err(if head.is_empty() { Stop::End } else { Stop::Unwritten }));
    };
    let digest = BlockHeader::digest(head);
    let header = match BlockHeader::decode(head, &segment.identity, at) {
        Ok(header) => header,
        Err(Invalid::Unwritten) => return Ok(Err(Stop::Unwritten)),
        // In a recycled file, unwritten places hold bytes of an earlier generation, which cannot be told from damage.
        Err(_) if segment.generation.recycled => return Ok(Err(Stop::Unwritten)),
        Err(_) => return torn(0, CorruptionReason::BlockHeader),
    };
    if header.previous != previous {
        return torn(0, CorruptionReason::BlockChain);
    }
    let len = in_memory(header.padded_len(segment.generation.block_align));
    let bytes = window.get(offset, len)?;
    Ok(match check_block(bytes, &header, &segment.identity) {
        Ok(()) if bytes.len() == len => Ok((header, digest)),
        Ok(()) => {
            Err(Stop::Torn(BlockDamage { at: bytes.len() as u64, reason: CorruptionReason::ShortFile }))
        }
        Err(damage) => Err(Stop::Torn(damage)),
    })
}

/// Searches everything after the stop for blocks and a footer that are evidence, and for the end of what was written.
fn look_beyond(scan: &mut Scan, segment: &Segment, cores: Cores) -> Result<()> {
    let align = segment.generation.block_align;
    let mut written = None;
    // The block at the stop itself may have a valid header: it is evidence too, and gives its length.
    for (sightings, last) in
        cores.map(&stretches(segment, scan.end, cores), |lsns| seen_within(segment, lsns))?
    {
        written = written.max(last);
        for sighting in sightings {
            match sighting {
                Sighting::Block(header) => {
                    scan.testify(&header);
                    scan.written = scan.written.max(header.lsn.plus(header.padded_len(align)));
                }
                Sighting::Footer(end) => {
                    if scan.witness.is_none_or(|w| w.durable < end) {
                        scan.witness = Some(Witness { source: WitnessSource::Footer, durable: end });
                        scan.written = scan.written.max(end);
                    }
                }
            }
        }
    }
    if segment.generation.recycled {
        scan.written = scan.written.max(records_behind(scan.end, segment)?.unwrap_or(scan.written));
    } else {
        scan.written = scan.written.max(written.unwrap_or(scan.written));
    }
    if scan.stop == Stop::Unwritten && scan.written > scan.end {
        scan.tear(scan.written, CorruptionReason::BlockHeader);
    }
    Ok(())
}

/// Divides what follows `at` into one part for each core, unless there is little to search.
fn stretches(segment: &Segment, at: Lsn, cores: Cores) -> Vec<Range<Lsn>> {
    const LEAST: u64 = 2 << 20;
    let room = room_behind(&segment.generation, at);
    let per = room.div_ceil(cores.get() as u64).max(LEAST);
    let starts = (0..cores.get() as u64).map(|n| n * per).take_while(|start| *start <= room);
    let mut stretches: Vec<_> = starts.map(|start| at.plus(start)..at.plus(start + per)).collect();
    if let Some(last) = stretches.last_mut() {
        last.end = Lsn::MAX;
    }
    stretches
}

type Seen = (Vec<Sighting>, Option<Lsn>);

fn seen_within(segment: &Segment, lsns: &Range<Lsn>) -> Result<Seen> {
    let mut sightings = Vec::new();
    let last = look_within(&*segment.file, &segment.generation, lsns.clone(), |seen| sightings.push(seen))
        .map_err(|e| Error::io("read", &segment.path, e))?;
    Ok((sightings, last))
}

/// The end of the records after `at` that no block header leads to. In a recycled file a damaged block header looks
/// like a remnant of an earlier generation, but the records after it are of this one. A bounded search.
fn records_behind(at: Lsn, segment: &Segment) -> Result<Option<Lsn>> {
    const MOST: usize = 256 << 10;
    let io = |e| Error::io("read", &segment.path, e);
    let mut window = Window::new(&*segment.file, segment.file.len().map_err(io)?);
    let bytes = window.get(segment.offset(at), MOST).map_err(io)?;
    Ok(records_end(bytes.split_at(bytes.len().min(MOST)).0, &segment.identity, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Access, Disk, RealDisk};
    use crate::options::TailPolicy;
    use crate::recovery::Catalog;
    use crate::segment::SuperblockFile;
    use crate::{Options, Wal};
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;

    /// A segment of 16 MiB, full enough that each stretch has blocks, and where those begin.
    fn written(dir: &tempfile::TempDir) -> Vec<Lsn> {
        let options = Options::new().segment_size(16 << 20).tail_policy(TailPolicy::Truncate);
        let log: Wal = options.open(dir.path()).unwrap();
        (0..400).map(|_| log.append(vec![0xa5; 40_000]).unwrap()).collect()
    }

    fn newest(dir: &tempfile::TempDir) -> Arc<Segment> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir.path()).unwrap());
        let superblock = SuperblockFile::read(&disk).unwrap();
        let catalog = Catalog::read(&disk, &superblock, Access::Read, false).unwrap();
        Arc::clone(&catalog.members.last().unwrap().segment)
    }

    #[test]
    fn several_cores_see_behind_the_end_what_one_sees() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = written(&dir);
        let segment = newest(&dir);
        let file = std::fs::OpenOptions::new().write(true).open(&segment.path).unwrap();
        for damaged in [399, 300, 150, 10, 1, 0] {
            file.write_all_at(&[0x55; 64], segment.offset(blocks[damaged])).unwrap();
            let seen = |cores| {
                let scan = scan(&segment, 0, None, cores).unwrap();
                assert!(scan.end < blocks[damaged]);
                format!("{scan:?}")
            };
            let one = seen(Cores::ONE);
            assert!(one.contains("Torn") && one.contains("written"), "{one}");
            for cores in [2, 3, 8] {
                assert_eq!(seen(Cores::of(cores)), one, "{cores} cores, damage at block {damaged}");
            }
        }
    }

    #[test]
    fn stretches_go_from_the_end_to_the_segments_and_adjoin() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = written(&dir);
        let segment = newest(&dir);
        for (at, most) in [(blocks[0], 7), (blocks[0], 3), (blocks[199], 7), (segment.limit(), 7)] {
            let all = stretches(&segment, at, Cores::of(most));
            assert_eq!((all[0].start, all[all.len() - 1].end), (at, Lsn::MAX));
            assert!(all.len() <= most && all.iter().zip(&all[1..]).all(|(a, b)| a.end == b.start));
        }
        assert_eq!(stretches(&segment, blocks[0], Cores::of(7)).len(), 7);
    }
}
