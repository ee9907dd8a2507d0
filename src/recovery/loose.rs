//! The segments of a log whose chain is broken, each taken separately.
//!
//! [`Catalog`](super::Catalog) refuses at the first contradiction, and [`Prefix`](super::Prefix) ends there. To find
//! *all* damage, or to read whatever can be read, each file is taken at its word: its first page says where it
//! belongs in the log, and any segment that names it as its predecessor says where it ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::{Candidate, open_candidate, segment_names};
use crate::error::{Corruption, CorruptionReason, Error, Result, Witness, WitnessSource};
use crate::format::PAGE;
use crate::format::segment::{Predecessor, SegmentHeader};
use crate::format::superblock::{self, Superblock};
use crate::io::{Access, Disk};
use crate::lsn::{Lsn, SegmentId};
use crate::segment::{Segment, last_block_end};

/// A file that identifies itself.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) segment: Arc<Segment>,
    /// `None` if its header page is damaged.
    pub(crate) header: Option<SegmentHeader>,
    /// Where a later segment says that this one ended.
    pub(crate) sealed: Option<Predecessor>,
    /// The address after its last readable content.
    pub(crate) end: Lsn,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Loose {
    /// In ascending order of number.
    pub(crate) pieces: Vec<Piece>,
    /// Damage in pages and names; the contents of blocks were not examined.
    pub(crate) damage: Vec<Corruption>,
}

impl Loose {
    /// Examines the files. Changes nothing.
    pub(crate) fn read(disk: &Arc<dyn Disk>, sb: &Superblock) -> Result<Loose> {
        let mut loose = Loose { pieces: Vec::new(), damage: Vec::new() };
        let mut candidates: Vec<(SegmentId, Lsn, Candidate)> = Vec::new();
        for (id, first_lsn, name) in segment_names(disk)? {
            if id < sb.oldest {
                continue;
            }
            match open_candidate(disk, sb, id, first_lsn, &name, Access::Read) {
                Ok(candidate) => candidates.push((id, first_lsn, candidate)),
                Err(Error::Corruption(c)) => loose.damage.push(*c),
                Err(e) => return Err(e),
            }
        }
        let promised = promises(sb, &candidates);
        loose.add_missing(disk, &promised, &candidates);
        for (id, first_lsn, candidate) in candidates {
            loose.sort(disk, candidate, first_lsn, promised.get(&id).and_then(|p| p.sealed))?;
        }
        Ok(loose)
    }

    /// Segments that other files name must exist.
    fn add_missing(
        &mut self,
        disk: &Arc<dyn Disk>,
        promised: &BTreeMap<SegmentId, Promised>,
        candidates: &[(SegmentId, Lsn, Candidate)],
    ) {
        for (id, Promised { by, at, sealed }) in promised {
            if candidates.iter().any(|(known, ..)| known == id) {
                continue;
            }
            let lsn = sealed.map_or(Lsn::ZERO, |p| p.end);
            let missing = Corruption::missing_segment(*id, disk.path().join(by), *at, lsn);
            self.damage.push(missing.witnessed(sealed.map(witness)));
        }
    }

    fn sort(
        &mut self,
        disk: &Arc<dyn Disk>,
        candidate: Candidate,
        first_lsn: Lsn,
        sealed: Option<Predecessor>,
    ) -> Result<()> {
        let path = disk.path().join(&candidate.name);
        let header = candidate.header.ok();
        let mut damaged = |offset, reason| {
            let end = sealed.map_or(first_lsn, |p| p.end.max(first_lsn));
            let damage = Corruption::new(&path, offset, first_lsn..end, reason);
            self.damage.push(damage.witnessed(sealed.map(witness)));
        };
        let Ok(generation) = candidate.generation else {
            // A file that nothing names and that identifies nothing is one that was being prepared.
            if header.is_some() || sealed.is_some() {
                damaged(0, CorruptionReason::GenerationPage);
            }
            return Ok(());
        };
        if header.is_none() {
            if sealed.is_none() {
                return Ok(());
            }
            damaged(PAGE as u64, CorruptionReason::SegmentHeader);
        }
        let segment =
            Arc::new(Segment::new(generation, candidate.file, candidate.name, path.clone(), false)?);
        let end = match sealed.filter(|p| (first_lsn..=segment.limit()).contains(&p.end)) {
            Some(p) => p.end,
            None => last_block_end(&segment)?,
        };
        self.pieces.push(Piece { segment, header, sealed, end });
        Ok(())
    }
}

impl Piece {
    /// The digest of the block before the first one, if known.
    pub(crate) fn previous(&self) -> Option<u32> {
        self.header.map(|h| h.previous_digest())
    }
}

pub(crate) fn witness(sealed: Predecessor) -> Witness {
    Witness { source: WitnessSource::Successor, durable: sealed.end }
}

/// Evidence that a segment must exist.
struct Promised {
    /// The file that names it, and the position in that file.
    by: String,
    at: u64,
    /// Where it ended, if it has a successor.
    sealed: Option<Predecessor>,
}

/// The segments that must exist. Of two files with the same predecessor, the one with the higher number replaced the
/// other.
fn promises(sb: &Superblock, candidates: &[(SegmentId, Lsn, Candidate)]) -> BTreeMap<SegmentId, Promised> {
    let mut promised = BTreeMap::new();
    let by = superblock::FILE_NAME.to_owned();
    promised.extend(sb.newest.map(|id| (id, Promised { by, at: 0, sealed: None })));
    for (.., candidate) in candidates {
        let named = candidate.header.as_ref().ok().and_then(|h| h.predecessor);
        if let Some(p) = named.filter(|p| p.id >= sb.oldest) {
            promised.insert(p.id, Promised { by: candidate.name.clone(), at: PAGE as u64, sealed: Some(p) });
        }
    }
    promised
}
