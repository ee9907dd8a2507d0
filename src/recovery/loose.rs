//! The segments of a log whose chain is broken, each taken by itself.
//!
//! [`Catalog`](super::Catalog) refuses at the first contradiction, and [`Prefix`](super::Prefix) ends there. Who wants to
//! know *all* that is damaged, or to read whatever can be read, takes each file for what it says it is: its own first page
//! says where it lies in the log, and any other segment that names it as its predecessor says where it ended.

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

/// A file that says what it is.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) segment: Arc<Segment>,
    /// None when its header page is damaged.
    pub(crate) header: Option<SegmentHeader>,
    /// Where a later segment says that this one ended.
    pub(crate) sealed: Option<Predecessor>,
    /// Behind the last thing in it that may be read.
    pub(crate) end: Lsn,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Loose {
    /// By ascending number.
    pub(crate) pieces: Vec<Piece>,
    /// What is wrong with pages and names; what blocks hold was not looked at.
    pub(crate) damage: Vec<Corruption>,
}

impl Loose {
    /// Takes the files apart. Changes nothing.
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

    /// What others name must be there.
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
            // A file that nobody names and that says nothing is one that is being made.
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
    /// The digest of the block before the first one, where it is known.
    pub(crate) fn previous(&self) -> Option<u32> {
        self.header.map(|h| h.previous_digest())
    }
}

pub(crate) fn witness(sealed: Predecessor) -> Witness {
    Witness { source: WitnessSource::Successor, durable: sealed.end }
}

/// What says that a segment must be there.
struct Promised {
    /// The file that names it, and where in it.
    by: String,
    at: u64,
    /// Where it ended, if it has a successor.
    sealed: Option<Predecessor>,
}

/// The segments that must be there. Of two files with one predecessor the one
/// with the higher number was written in the place of the other.
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
