//! What the files of a log prove, determined independently of the engine.

use std::collections::BTreeMap;

use seawall::error::LogUuid;
use seawall::format::block::{BLOCK_HEADER, BlockHeader};
use seawall::format::footer::{FOOTER_HEADER, Footer};
use seawall::format::segment::{Generation, SegmentHeader, parse_file_name};
use seawall::format::superblock::{FILE_NAME, Superblock};
use seawall::format::{DATA_START, PAGE};
use seawall::{Lsn, SegmentId};

/// The valid superblock.
pub fn superblock(files: &BTreeMap<String, Vec<u8>>) -> Option<Superblock> {
    let bytes = files.get(FILE_NAME)?;
    let slots = bytes.chunks(PAGE).take(2);
    slots.filter_map(|slot| Superblock::decode(slot.first_chunk::<PAGE>()?).ok()).max_by_key(|sb| sb.sequence)
}

/// The highest address that anything in these files proves durable.
pub fn proven(files: &BTreeMap<String, Vec<u8>>) -> Lsn {
    let Some(sb) = superblock(files) else { return Lsn::ZERO };
    let mut best = sb.durable;
    for (name, bytes) in files {
        if let Some((id, first)) = parse_file_name(name)
            && id >= sb.oldest
        {
            best = best.max(proven_by_segment(bytes, sb.uuid, id, first));
        }
    }
    best
}

fn proven_by_segment(bytes: &[u8], uuid: LogUuid, id: SegmentId, first: Lsn) -> Lsn {
    let page = |at: usize| bytes.get(at..).and_then(|b| b.first_chunk::<PAGE>());
    let generation = page(0).and_then(|p| Generation::decode(p).ok());
    let Some(generation) = generation.filter(|l| l.uuid == uuid && l.id == id && l.first_lsn == first) else {
        return Lsn::ZERO;
    };
    let mut best = Lsn::ZERO;
    if let Some(header) = page(PAGE).and_then(|p| SegmentHeader::decode(p, uuid).ok())
        && (header.id, header.first_lsn, header.salt) == (id, first, generation.salt)
    {
        best = best.max(header.durable).max(header.predecessor.map_or(Lsn::ZERO, |p| p.end));
    }
    let identity = generation.identity();
    let data = bytes.get(usize::try_from(DATA_START).unwrap_or(usize::MAX)..).unwrap_or_default();
    for at in (0..data.len()).step_by(generation.block_align as usize) {
        let lsn = first.plus(at as u64);
        let rest = &data[at..];
        if (at as u64) < generation.capacity
            && let Some(b) = rest.first_chunk::<BLOCK_HEADER>()
            && let Ok(header) = BlockHeader::decode(b, &identity, lsn)
        {
            best = best.max(header.durable);
        }
        if let Some(b) = rest.first_chunk::<FOOTER_HEADER>()
            && Footer::decode(b, &identity, id, lsn).is_ok()
        {
            best = best.max(lsn);
        }
    }
    best
}
