//! Rewrites an unproven tail.
//!
//! Blocks at or above the proven LSN verify, but nothing says that they are on the device: after a killed process
//! they may exist only in the page cache, and so may a clean page after a failed sync. Syncing the file again would
//! prove nothing. So they are copied with their addresses into a fresh segment under a temporary name, which is
//! synced and renamed, and the new name is made durable. Until the rename is durable the old segment counts;
//! afterwards the new one does, and its header ends its predecessor where the copy begins. A crash at any point
//! leaves one or the other.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::TEMPORARY;
use crate::format::block::{BLOCK_HEADER, BlockHeader};
use crate::format::record::reseal;
use crate::format::segment::{Generation, Predecessor, SegmentHeader, file_name};
use crate::format::{DATA_START, Identity, PAGE};
use crate::io::{Access, Disk, File, read_exact_at, sync_names, write_all_at};
use crate::lsn::{Lsn, SegmentId};
use crate::segment::{RESERVE_FILE, Segment, SpacePool, check_block};
use crate::size::in_memory;

/// What to copy, and into what.
pub(crate) struct Rewrite<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) from: &'a Segment,
    /// The first block to copy.
    pub(crate) start: Lsn,
    /// The address after the last one.
    pub(crate) end: Lsn,
    /// The predecessor named in the new segment's header.
    pub(crate) predecessor: Option<Predecessor>,
    /// The digest of the block before the first.
    pub(crate) previous: u32,
    pub(crate) id: SegmentId,
    pub(crate) salt: u64,
    pub(crate) mmap: bool,
}

impl Rewrite<'_> {
    /// Makes the new segment; also returns the digest of its last block. On a full disk it may be made from the
    /// reserve.
    pub(crate) fn run(&self, pool: SpacePool) -> Result<(Arc<Segment>, u32)> {
        let name = file_name(self.id, self.start);
        let temporary = format!("{name}{TEMPORARY}");
        let path = self.disk.path().join(&temporary);
        let io = |op| {
            let path = path.clone();
            move |e| Error::io(op, path, e)
        };
        let need = self.end.since(self.start);
        let generation = Generation {
            uuid: self.from.generation.uuid,
            id: self.id,
            salt: self.salt,
            first_lsn: self.start,
            // Space for the copy and no more: an open should not wait until a whole segment is filled.
            capacity: need,
            block_align: self.from.generation.block_align,
            recycled: false,
            // It gets its name together with a header that identifies it.
            before: None,
        };
        let file = match pool {
            SpacePool::Ordinary => self.disk.create(&temporary).map_err(io("create"))?,
            SpacePool::Reserve => {
                self.disk.rename(RESERVE_FILE, &temporary).map_err(io("rename the reserve to"))?;
                self.disk.open(&temporary, Access::ReadWrite).map_err(io("open"))?
            }
        };
        let digest = match self.fill(&*file, &generation, &path) {
            Ok(digest) => digest,
            Err(e) => {
                // Best effort: the next open removes what remains.
                drop(self.disk.remove(&temporary));
                return Err(e);
            }
        };
        self.disk.rename(&temporary, &name).map_err(io("rename"))?;
        sync_names(&**self.disk)?;
        let file = self.disk.open(&name, Access::ReadWrite).map_err(io("open"))?;
        let path = self.disk.path().join(&name);
        Ok((Arc::new(Segment::new(generation, file, name, path, self.mmap)?), digest))
    }

    fn fill(&self, file: &dyn File, generation: &Generation, path: &Path) -> Result<u32> {
        let io = |op| move |e| Error::io(op, path, e);
        // The reserve may be longer, or too short.
        file.set_len(generation.file_len()).map_err(io("truncate"))?;
        file.allocate(generation.file_len()).map_err(io("allocate"))?;
        let (identity, mut previous, mut at) = (generation.identity(), self.previous, self.start);
        while at < self.end {
            let (mut bytes, header) = self.block(at)?;
            previous = move_block(&mut bytes, header, &self.from.identity, &identity, previous);
            let offset = DATA_START + at.since(self.start);
            write_all_at(file, &bytes, offset).map_err(io("write"))?;
            at = at.plus(bytes.len() as u64);
        }
        let header = SegmentHeader {
            id: generation.id,
            first_lsn: self.start,
            salt: generation.salt,
            predecessor: self.predecessor,
            durable: self.start,
        };
        write_all_at(file, &generation.encode(), 0).map_err(io("write"))?;
        write_all_at(file, &header.encode(generation.uuid), PAGE as u64).map_err(io("write"))?;
        file.sync_all().map_err(io("fsync"))?;
        Ok(previous)
    }

    /// The block at `at`, read and verified a second time.
    fn block(&self, at: Lsn) -> Result<(Vec<u8>, BlockHeader)> {
        let io = |e| Error::io("read", &self.from.path, e);
        let header = self.from.read_block_header(at, self.end)?;
        let len = in_memory(header.padded_len(self.from.generation.block_align));
        let mut bytes = vec![0; len];
        read_exact_at(&*self.from.file, &mut bytes, self.from.offset(at)).map_err(io)?;
        match check_block(&bytes, &header, &self.from.identity) {
            Ok(()) => Ok((bytes, header)),
            Err(damage) => Err(self.from.damage(at, at.plus(damage.at), damage.reason).into()),
        }
    }
}

/// Binds a block to another generation; returns its new digest.
fn move_block(
    bytes: &mut [u8],
    mut header: BlockHeader,
    old: &Identity,
    new: &Identity,
    previous: u32,
) -> u32 {
    header.previous = previous;
    let encoded = header.encode(new);
    let body_end = BLOCK_HEADER + header.body_len as usize;
    // `check_block` verified that all of it is there.
    let (block, _) = bytes.split_at_mut(body_end);
    let (start, body) = block.split_at_mut(BLOCK_HEADER);
    let records = reseal(body, header.lsn.plus(BLOCK_HEADER as u64), |lsn| old.seal(lsn) ^ new.seal(lsn));
    assert!(records == header.records, "{records} of {} records were moved", header.records);
    start.copy_from_slice(&encoded);
    BlockHeader::digest(&encoded)
}
