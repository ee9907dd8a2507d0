//! The intact prefix of a damaged log: the longest run of segments, from the oldest on, in which everything verifies.
//!
//! [`Catalog`](super::Catalog) goes from the newest segment back and refuses at the first contradiction, because it
//! must not lose anything. Here the direction is reversed, and the first contradiction ends the prefix: what follows
//! is what a repair gives up.
//!
//! ```text
//!   oldest ──> ... ──> last, up to its first damage  |  its rest, its successors, whatever else claims addresses
//!   \____________________ members _________________/ | \______________________ beyond ______________________/
//! ```
//!
//! Nothing is changed here.

use std::sync::Arc;

use super::catalog::{Candidate, Member, check_neighbours, open_candidate, segment_names};
use super::scan::scan;
use crate::cores::Cores;
use crate::error::{Error, Result};
use crate::format::segment::Predecessor;
use crate::format::superblock::Superblock;
use crate::io::{Access, Disk};
use crate::lsn::{Lsn, SegmentId};
use crate::segment::{Segment, load_footer, look_around};

/// The state of a kept segment's footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Footing {
    /// It has a footer that agrees with it.
    Good,
    /// It has no footer.
    Missing,
    /// It has a footer with a damaged summary.
    Damaged,
}

/// A segment that is intact up to `end`.
#[derive(Debug)]
pub(crate) struct KeptSegment {
    pub(crate) member: Member,
    pub(crate) end: Lsn,
    pub(crate) footing: Footing,
}

/// A file after the damage that claims to be part of the log.
#[derive(Debug)]
pub(crate) struct Beyond {
    pub(crate) name: String,
    /// `None` if not even its generation page verifies: then nothing in it can be read.
    pub(crate) segment: Option<Arc<Segment>>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// Oldest first; the last one is not empty.
    pub(crate) kept: Vec<KeptSegment>,
    /// By name.
    pub(crate) beyond: Vec<Beyond>,
    /// All numbers up to this one may be taken.
    pub(crate) highest_id: SegmentId,
}

impl Prefix {
    /// Reads and verifies everything that is intact.
    pub(crate) fn read(disk: &Arc<dyn Disk>, sb: &Superblock) -> Result<Self> {
        let mut candidates = Candidates::read(disk, sb)?;
        let mut kept: Vec<KeptSegment> = Vec::new();
        let mut next = candidates.oldest(sb.oldest);
        while let Some(member) = next.take() {
            let successor = candidates.successor(&member);
            let previous = member.header.previous_digest();
            let found = scan(&member.segment, previous, successor.map(|(_, p)| p.end), Cores::ONE)?;
            let whole = successor.filter(|(_, p)| found.end == p.end && found.digest == p.digest);
            let footing = match whole {
                Some((_, p)) => footing(&member, p.end, (found.blocks, found.records))?,
                None => Footing::Missing,
            };
            kept.push(KeptSegment { member, end: found.end, footing });
            next = whole.and_then(|(id, _)| candidates.take(id));
        }
        // A segment may have ended before its first block; as the last one it would hold nothing.
        while let Some(empty) = kept.pop_if(|k| k.end == k.member.segment.first_lsn()) {
            candidates.members.push(empty.member);
        }
        let named = sb.newest.max(sb.ready.map(|(id, _)| id)).unwrap_or_default();
        let highest_id = candidates.highest_id.max(named).max(sb.oldest);
        Ok(Prefix { kept, beyond: candidates.into_beyond(), highest_id })
    }

    /// The end of the intact part.
    pub(crate) fn end(&self) -> Option<Lsn> {
        self.kept.last().map(|k| k.end)
    }
}

fn footing(member: &Member, end: Lsn, counted: (u64, u64)) -> Result<Footing> {
    Ok(match load_footer(&member.segment, end, false)? {
        Some(footer) if footer.agrees_with(counted.0, counted.1) => Footing::Good,
        Some(_) => Footing::Damaged,
        None => Footing::Missing,
    })
}

/// Files not yet assigned a place.
struct Candidates {
    members: Vec<Member>,
    rest: Vec<Beyond>,
    highest_id: SegmentId,
}

impl Candidates {
    fn read(disk: &Arc<dyn Disk>, sb: &Superblock) -> Result<Self> {
        let mut candidates =
            Candidates { members: Vec::new(), rest: Vec::new(), highest_id: SegmentId::default() };
        for (id, first_lsn, name) in segment_names(disk)? {
            candidates.highest_id = candidates.highest_id.max(id);
            if id < sb.oldest {
                continue;
            }
            match open_candidate(disk, sb, id, first_lsn, &name, Access::Read) {
                Ok(candidate) => candidates.sort(disk, candidate)?,
                // Its header is valid but belongs to another name.
                Err(Error::Corruption(_)) => candidates.rest.push(Beyond { name, segment: None }),
                Err(e) => return Err(e),
            }
        }
        Ok(candidates)
    }

    fn sort(&mut self, disk: &Arc<dyn Disk>, candidate: Candidate) -> Result<()> {
        let Candidate { name, file, generation, header, .. } = candidate;
        let Ok(generation) = generation else {
            self.rest.push(Beyond { name, segment: None });
            return Ok(());
        };
        let path = disk.path().join(&name);
        let segment = Arc::new(Segment::new(generation, file, name.clone(), path, false)?);
        match header {
            Ok(header) => self.members.push(Member { segment, header }),
            // An unused spare claims nothing.
            Err(_) if !holds_something(&segment)? => {}
            Err(_) => self.rest.push(Beyond { name, segment: Some(segment) }),
        }
        Ok(())
    }

    /// The first segment of the log. If two files claim to be it, the one with the higher number replaced the other.
    fn oldest(&mut self, oldest: SegmentId) -> Option<Member> {
        let begins = self.members.iter().filter(|m| m.header.predecessor.is_none_or(|p| p.id < oldest));
        let id = begins.map(|m| m.segment.id()).max()?;
        self.take(id)
    }

    /// The segment that claims to follow `member`, and where it says that `member` ends.
    fn successor(&self, member: &Member) -> Option<(SegmentId, Predecessor)> {
        let follows = |m: &&Member| {
            m.header.predecessor.is_some_and(|p| p.id == member.segment.id())
                && check_neighbours(member, m).is_ok()
        };
        let next = self.members.iter().filter(follows).max_by_key(|m| m.segment.id())?;
        next.header.predecessor.map(|p| (next.segment.id(), p))
    }

    fn take(&mut self, id: SegmentId) -> Option<Member> {
        let at = self.members.iter().position(|m| m.segment.id() == id)?;
        Some(self.members.swap_remove(at))
    }

    fn into_beyond(mut self) -> Vec<Beyond> {
        let left = self.members.into_iter().map(|m| m.segment);
        self.rest.extend(left.map(|s| Beyond { name: s.name.clone(), segment: Some(s) }));
        self.rest.sort_by(|a, b| a.name.cmp(&b.name));
        self.rest
    }
}

/// Whether a file without a valid header holds a block or a footer of this generation.
pub(super) fn holds_something(segment: &Segment) -> Result<bool> {
    let mut found = false;
    look_around(&*segment.file, &segment.generation, segment.first_lsn(), |_| found = true)
        .map_err(|e| Error::io("read", &segment.path, e))?;
    Ok(found)
}
