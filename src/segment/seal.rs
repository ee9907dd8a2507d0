//! Sealing: writes the footer after the last block, once nothing more will be appended.

use std::sync::Arc;

use bytes::Bytes;

use super::{LoadedFooter, Segment, Summary, tell_unmapped};
use crate::error::{CorruptionReason, Error, Result};
use crate::format::footer::{FOOTER_HEADER, Footer};
use crate::format::{align_up, crc32};
use crate::io::mapping::Mapping;
use crate::io::{File, read_full_at, write_all_at};
use crate::lsn::Lsn;
use crate::monitor::Caller;
use crate::size::in_memory;

/// The content of a footer besides the summary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealInput {
    pub(crate) end: Lsn,
    pub(crate) digest: u32,
    pub(crate) records: u64,
    pub(crate) blocks: u64,
}

/// Offset of the footer of a segment that ended at `end`.
fn footer_offset(segment: &Segment, end: Lsn) -> u64 {
    align_up(segment.offset(end), u64::from(segment.generation.block_align))
}

/// Writes the footer with its fixed part last, truncates the file after it, and reads it back.
///
/// The successor must have a durable header and first block: see [`crate::format::footer`].
pub(crate) fn seal(
    segment: &Arc<Segment>,
    input: &SealInput,
    summary: &Summary,
    mmap: bool,
    caller: &Caller,
) -> Result<()> {
    let sealed = write_footer(segment, input, summary, mmap, caller);
    segment.note_file_len();
    sealed
}

fn write_footer(
    segment: &Arc<Segment>,
    input: &SealInput,
    summary: &Summary,
    mmap: bool,
    caller: &Caller,
) -> Result<()> {
    let (file, path) = (&*segment.file, &*segment.path);
    let too_large = |_| Error::io("seal", &segment.path, std::io::ErrorKind::FileTooLarge.into());
    let footer = Footer {
        id: segment.id(),
        end: input.end,
        digest: input.digest,
        head_crc: crc32(&summary.head),
        head_len: u32::try_from(summary.head.len()).map_err(too_large)?,
        body_crc: crc32(&summary.body),
        body_len: summary.body.len() as u64,
        records: input.records,
        blocks: input.blocks,
    };
    let mut bytes = footer.encode(&segment.identity).to_vec();
    bytes.extend_from_slice(&summary.head);
    bytes.resize(in_memory(footer.body_offset()), 0);
    bytes.extend_from_slice(&summary.body);
    let at = footer_offset(segment, input.end);
    // The body is used without verifying its checksum. So the part that makes it a footer is written when the rest is
    // durable; until then there are zeros in its place.
    let (fixed, summary) = bytes.split_at(FOOTER_HEADER);
    let write = |bytes: &[u8], at| caller.call("write footer of", path, || write_all_at(file, bytes, at));
    write(&[0; FOOTER_HEADER], at)?;
    write(summary, at + FOOTER_HEADER as u64)?;
    caller.call("truncate", path, || file.set_len(at + bytes.len() as u64))?;
    caller.call("fsync", path, || file.sync_all())?;
    write(fixed, at)?;
    caller.call("fdatasync", path, || file.sync_data())?;
    match load_footer(segment, input.end, mmap)? {
        Some(loaded) => segment.set_footer(loaded),
        // It was written and synced just now.
        None => return Err(segment.damage(input.end, input.end, CorruptionReason::Footer).into()),
    }
    Ok(())
}

/// Durably invalidates the footer of a segment that ended at `end`: the next open reads the segment whole and writes
/// a new one. Even half of the zeros invalidate it.
pub(crate) fn clear_footer(file: &dyn File, segment: &Segment, end: Lsn) -> Result<()> {
    let io = |op| move |e| Error::io(op, &segment.path, e);
    write_all_at(file, &[0; FOOTER_HEADER], footer_offset(segment, end)).map_err(io("write footer of"))?;
    file.sync_data().map_err(io("fdatasync"))
}

/// The footer of a segment that ended at `end`; `None` if there is none or it does not verify, which costs a scan.
pub(crate) fn load_footer(segment: &Segment, end: Lsn, mmap: bool) -> Result<Option<LoadedFooter>> {
    let io = |op| move |e| Error::io(op, &segment.path, e);
    let at = footer_offset(segment, end);
    let mut fixed = [0u8; FOOTER_HEADER];
    if read_full_at(&*segment.file, &mut fixed, at).map_err(io("read"))? < FOOTER_HEADER {
        return Ok(None);
    }
    let Ok(footer) = Footer::decode(&fixed, &segment.identity, segment.id(), end) else { return Ok(None) };
    let file_len = segment.file.len().map_err(io("stat"))?;
    // The length is authenticated, but the file may have been truncated since.
    if at.saturating_add(footer.total_len()) > file_len {
        return Ok(None);
    }
    let Some(bytes) = footer_bytes(segment, &footer, at, mmap)? else { return Ok(None) };
    let head_end = FOOTER_HEADER + footer.head_len as usize;
    let body_start = in_memory(footer.body_offset());
    if bytes.len() < body_start || bytes.len() < head_end {
        return Ok(None);
    }
    let summary = Summary { head: bytes.slice(FOOTER_HEADER..head_end), body: bytes.slice(body_start..) };
    if crc32(&summary.head) != footer.head_crc {
        return Ok(None);
    }
    Ok(Some(LoadedFooter { footer, summary }))
}

fn footer_bytes(segment: &Segment, footer: &Footer, at: u64, mmap: bool) -> Result<Option<Bytes>> {
    let len = in_memory(footer.total_len());
    if let (true, Some(std)) = (mmap, segment.file.as_std()) {
        match Mapping::new(std, at, len, &segment.uses) {
            Ok(map) => return Ok(Some(map.all())),
            Err(e) => tell_unmapped(&segment.path, &e),
        }
    }
    let mut buf = vec![0; len];
    let got = read_full_at(&*segment.file, &mut buf, at).map_err(|e| Error::io("read", &segment.path, e))?;
    Ok((got == len).then(|| buf.into()))
}
