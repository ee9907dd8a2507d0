//! The catalog: which files are segments of the log, and in which order.
//!
//! A file is part of the log if its header page verifies. The chain is followed from the newest segment back, each
//! header naming its predecessor, to the oldest segment that the superblock says is kept. Files that the chain or the
//! superblock names must exist; files they do not name must not claim to be part of the log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Corruption, CorruptionReason, Error, Result, Witness, WitnessSource};
use crate::format::segment::{Generation, Predecessor, SegmentHeader, parse_file_name};
use crate::format::superblock::{self, Superblock};
use crate::format::{DATA_START, Invalid, PAGE, VERSION, is_zero};
use crate::io::{Access, Disk, File};
use crate::lsn::{Lsn, SegmentId};
use crate::segment::{Segment, Sighting, Window, look_around};

use super::ownership::{First, is_given, is_junk, is_temporary};
use super::verdict::{Facts, Found, Proof, decide};

/// A file with the name of a segment.
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
    first_lsn: Lsn,
    pub(super) generation: std::result::Result<Generation, Invalid>,
    pub(super) header: std::result::Result<SegmentHeader, Invalid>,
    /// Whether it begins like a segment file at all.
    ours: bool,
}

/// A segment of the log, with its header.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) segment: Arc<Segment>,
    pub(crate) header: SegmentHeader,
}

/// A file without a valid header that nevertheless holds blocks of its own generation.
#[derive(Debug)]
pub(crate) struct Stray {
    pub(crate) segment: Arc<Segment>,
    /// Address of the first one, and the address after it.
    pub(crate) block: (Lsn, Lsn),
    /// What its blocks prove.
    pub(crate) witness: Witness,
}

/// The files of a log, classified.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// Oldest first.
    pub(crate) members: Vec<Member>,
    /// Files after the newest segment in which something was written.
    pub(crate) strays: Vec<Stray>,
    /// Files that do not belong to the log and can be reused.
    pub(crate) junk: Vec<String>,
    /// Files that once belonged to the log and have been replaced. They may be removed, but not renamed: under
    /// another name they would still claim to be what they were.
    pub(crate) replaced: Vec<String>,
    /// Unfinished files of an interrupted open.
    pub(crate) temporaries: Vec<String>,
    /// Files that do not belong to the log, whatever their names.
    pub(crate) foreign: Vec<String>,
    /// All numbers up to this one may be taken.
    pub(crate) highest_id: SegmentId,
    /// The directory, for messages.
    pub(super) dir: PathBuf,
}

/// A segment that must exist, and the evidence for it.
struct Promise {
    id: SegmentId,
    /// The file that names it, and the position in that file.
    by: PathBuf,
    at: u64,
    witness: Witness,
}

impl Promise {
    fn of_superblock(disk: &Arc<dyn Disk>, sb: &Superblock, id: SegmentId) -> Self {
        let witness = Witness { source: WitnessSource::Superblock, durable: sb.durable };
        Promise { id, by: disk.path().join(superblock::FILE_NAME), at: 0, witness }
    }

    /// What a segment's header says about the preceding segment.
    fn of_successor(member: &Member) -> Option<Self> {
        let p = member.header.predecessor?;
        let witness = Witness { source: WitnessSource::Successor, durable: p.end };
        Some(Promise { id: p.id, by: member.segment.path.clone(), at: PAGE as u64, witness })
    }

    /// The segment is missing.
    fn broken(self) -> Result<()> {
        let Promise { id, by, at, witness } = self;
        decide(Facts::of_files(Found::Missing))
            .refuse(|| Corruption::missing_segment(id, by, at, witness.durable).witnessed(Some(witness)))
    }
}

/// The names of all segment files.
pub(crate) fn segment_names(disk: &Arc<dyn Disk>) -> Result<Vec<(SegmentId, Lsn, String)>> {
    let names = disk.list().map_err(|e| Error::io("list", disk.path(), e))?;
    let mut found: Vec<_> =
        names.into_iter().filter_map(|n| parse_file_name(&n).map(|(id, lsn)| (id, lsn, n))).collect();
    found.sort();
    Ok(found)
}

impl Catalog {
    /// Classifies the files of the directory. Changes nothing.
    pub(crate) fn read(disk: &Arc<dyn Disk>, sb: &Superblock, access: Access, mmap: bool) -> Result<Self> {
        let names = segment_names(disk)?;
        let all = disk.list().map_err(|e| Error::io("list", disk.path(), e))?;
        let (temporaries, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|name| is_temporary(name));
        let mut foreign: Vec<_> = others.into_iter().filter(|name| !is_given(name)).collect();
        let mut junk = Vec::new();
        let highest_id = names.last().map_or(SegmentId::default(), |(id, ..)| *id);
        let mut candidates = BTreeMap::new();
        for (id, first_lsn, name) in names {
            if id < sb.oldest {
                let list = if is_junk(disk, &name, sb.uuid) { &mut junk } else { &mut foreign };
                list.push(name);
                continue;
            }
            match open_candidate(disk, sb, id, first_lsn, &name, access) {
                Ok(candidate) => add_candidate(disk, &mut candidates, id, candidate, &mut foreign)?,
                // A link, a FIFO, a socket.
                Err(Error::Io { op: "open", source, .. })
                    if source.kind() == std::io::ErrorKind::InvalidInput =>
                {
                    foreign.push(name);
                }
                Err(e) => return Err(e),
            }
        }
        let mut catalog = Catalog {
            members: Vec::new(),
            strays: Vec::new(),
            junk,
            replaced: Vec::new(),
            temporaries,
            foreign,
            highest_id,
            dir: disk.path().to_owned(),
        };
        check_ready(disk, sb, &candidates)?;
        catalog.follow_chain(disk, sb, &mut candidates, mmap)?;
        catalog.sort_rest(disk, candidates, mmap)?;
        Ok(catalog)
    }

    /// The segments that a successor ends, with what the successor says about their end.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = (&Member, Predecessor)> {
        let pairs = self.members.iter().zip(self.members.iter().skip(1));
        pairs.filter_map(|(member, next)| Some((member, next.header.predecessor?)))
    }

    /// Moves the members out of `candidates`, newest first.
    fn follow_chain(
        &mut self,
        disk: &Arc<dyn Disk>,
        sb: &Superblock,
        candidates: &mut BTreeMap<SegmentId, Candidate>,
        mmap: bool,
    ) -> Result<()> {
        let newest = candidates.iter().rev().find(|(_, c)| c.header.is_ok()).map(|(id, _)| *id);
        let promised = sb.newest.filter(|id| newest.is_none_or(|n| n < *id));
        let mut wanted = promised.or(newest).map(|id| Promise::of_superblock(disk, sb, id));
        while let Some(promise) = wanted.take() {
            let Some(candidate) = candidates.remove(&promise.id) else {
                promise.broken()?;
                break;
            };
            let Some(member) = candidate.into_member(disk, promise.witness, mmap)? else { break };
            if let Some(later) = self.members.last() {
                check_neighbours(&member, later)?;
            }
            wanted = Promise::of_successor(&member).filter(|promise| promise.id >= sb.oldest);
            self.members.push(member);
        }
        // It has a durable block and is not released, so every chain of this log includes it.
        let is_member = |id: &SegmentId| self.members.iter().any(|m| m.segment.id() == *id);
        if let Some(id) = sb.newest.filter(|id| !is_member(id)) {
            Promise::of_superblock(disk, sb, id).broken()?;
        }
        self.members.reverse();
        self.sealed().for_each(|(member, end)| member.segment.set_end(end.end));
        Ok(())
    }

    /// Whether a member replaced this file. Recovery writes a tail of which nothing is proven into a file with a
    /// higher number and the same predecessor, then removes the old file, which a crash may bring back.
    fn supersedes(&self, id: SegmentId, candidate: &Candidate) -> bool {
        let Ok(header) = candidate.header else { return false };
        self.members.iter().any(|m| m.segment.id() > id && m.header.predecessor == header.predecessor)
    }

    /// The remaining files are not part of the log: they are junk unless they claim to be part of it.
    fn sort_rest(
        &mut self,
        disk: &Arc<dyn Disk>,
        rest: BTreeMap<SegmentId, Candidate>,
        mmap: bool,
    ) -> Result<()> {
        let newest = self.members.last().map(|m| m.segment.id());
        for (id, candidate) in rest {
            if self.supersedes(id, &candidate) {
                self.replaced.push(candidate.name);
                continue;
            }
            if candidate.header.is_ok() {
                overlap(disk, &candidate.name, candidate.first_lsn)?;
            }
            if !candidate.ours {
                self.foreign.push(candidate.name);
                continue;
            }
            let name = candidate.name.clone();
            if let (Ok(generation), true) = (candidate.generation, newest.is_none_or(|n| id > n)) {
                self.strays.extend(find_stray(disk, generation, candidate, mmap)?);
            }
            self.junk.push(name);
        }
        Ok(())
    }
}

/// The segment that the superblock names as ready was complete before it was named, and so was the one prepared
/// before it. If such a file is gone or has lost its first page, it may have held acknowledged blocks. Where headers
/// exist, the chain decides.
fn check_ready(
    disk: &Arc<dyn Disk>,
    sb: &Superblock,
    candidates: &BTreeMap<SegmentId, Candidate>,
) -> Result<()> {
    let headed = candidates.iter().rev().find(|(_, c)| c.header.is_ok()).map(|(id, _)| *id);
    let known = headed.max(sb.newest);
    let mut wanted = sb.ready.map(|(id, _)| Promise::of_superblock(disk, sb, id));
    while let Some(promise) = wanted.take().filter(|p| Some(p.id) > known && p.id >= sb.oldest) {
        let Some(candidate) = candidates.get(&promise.id) else { return promise.broken() };
        let path = disk.path().join(&candidate.name);
        let Ok(generation) = candidate.generation else {
            let lsns = candidate.first_lsn..candidate.first_lsn;
            let damaged = Corruption::new(path, 0, lsns, CorruptionReason::GenerationPage);
            return decide(Facts::of_files(Found::Torn)).refuse(|| damaged.witnessed(Some(promise.witness)));
        };
        wanted = generation.before.map(|id| Promise { id, by: path, at: 0, witness: promise.witness });
    }
    Ok(())
}

/// Of two files with the same number, one may be foreign.
fn add_candidate(
    disk: &Arc<dyn Disk>,
    candidates: &mut BTreeMap<SegmentId, Candidate>,
    id: SegmentId,
    candidate: Candidate,
    foreign: &mut Vec<String>,
) -> Result<()> {
    let Some(other) = candidates.remove(&id) else {
        candidates.insert(id, candidate);
        return Ok(());
    };
    if other.ours && candidate.ours {
        overlap(disk, &candidate.name, candidate.first_lsn)?;
    }
    let (own, not) = if other.ours { (other, candidate) } else { (candidate, other) };
    candidates.insert(id, own);
    foreign.push(not.name);
    Ok(())
}

pub(super) fn open_candidate(
    disk: &Arc<dyn Disk>,
    sb: &Superblock,
    id: SegmentId,
    first_lsn: Lsn,
    name: &str,
    access: Access,
) -> Result<Candidate> {
    let path = disk.path().join(name);
    let file = disk.open(name, access).map_err(|e| Error::io("open", &path, e))?;
    let first = First::read(&*file).map_err(|e| Error::io("read", &path, e))?;
    let generation = Generation::decode(&first.generation);
    if let Err(Invalid::Version(found)) = generation {
        return Err(Error::UnsupportedVersion { path, found, supported: VERSION });
    }
    if let Ok(found) = generation.as_ref().map(|l| l.uuid)
        && found != sb.uuid
    {
        return Err(Error::Foreign { path, expected: sb.uuid, found });
    }
    let header = SegmentHeader::decode(&first.header, sb.uuid);
    check_name(disk, sb, &header, (id, first_lsn), name)?;
    // A recycled file still carries its earlier generation until the page of the new one is written: until then the
    // name disagrees.
    let generation = generation
        .and_then(|l| if l.id == id && l.first_lsn == first_lsn { Ok(l) } else { Err(Invalid::Field) });
    let header = header.and_then(|h| {
        // A generation page that does not verify contradicts nothing; that it does not verify is found later.
        let salt_fits = generation.as_ref().ok().is_none_or(|l| l.salt == h.salt);
        let same = h.id == id && h.first_lsn == first_lsn && salt_fits;
        if same { Ok(h) } else { Err(Invalid::Field) }
    });
    Ok(Candidate { name: name.to_owned(), file, first_lsn, generation, header, ours: first.is_ours() })
}

/// A file is recycled only when its segment is below the oldest kept one, so a kept segment has its own name.
fn check_name(
    disk: &Arc<dyn Disk>,
    sb: &Superblock,
    header: &std::result::Result<SegmentHeader, Invalid>,
    named: (SegmentId, Lsn),
    name: &str,
) -> Result<()> {
    match header {
        Ok(h) if (h.id, h.first_lsn) != named && h.id >= sb.oldest => overlap(disk, name, h.first_lsn),
        _ => Ok(()),
    }
}

impl Candidate {
    /// The segment that this file must be according to the witness.
    fn into_member(self, disk: &Arc<dyn Disk>, witness: Witness, mmap: bool) -> Result<Option<Member>> {
        let path = disk.path().join(&self.name);
        let (generation, header) = match (self.generation, self.header) {
            (Ok(generation), Ok(header)) => (generation, header),
            (generation, _) => {
                let (offset, reason) = match generation {
                    Err(_) => (0, CorruptionReason::GenerationPage),
                    Ok(_) => (PAGE as u64, CorruptionReason::SegmentHeader),
                };
                let lsns = self.first_lsn..witness.durable.max(self.first_lsn);
                let damage = Corruption::new(&path, offset, lsns, reason).witnessed(Some(witness));
                // A segment named as a predecessor has a durable block.
                let facts = match witness.source {
                    WitnessSource::Successor => Facts::of_sealed(Found::Torn),
                    _ => Facts { proof: Some(Proof::Below), ..Facts::of_files(Found::Torn) },
                };
                decide(facts).refuse(|| damage)?;
                return Ok(None);
            }
        };
        let segment = Segment::new(generation, self.file, self.name, path, mmap)?;
        Ok(Some(Member { segment: Arc::new(segment), header }))
    }
}

/// Whether a segment and the one that names it as its predecessor are consistent. A segment begins where its
/// predecessor ended, if that was when the log was opened; otherwise at the limit of the predecessor. An empty
/// predecessor ended at an open.
pub(super) fn check_neighbours(earlier: &Member, later: &Member) -> Result<()> {
    let Some(p) = later.header.predecessor else { return Ok(()) };
    let fits = p.id < later.segment.id()
        && p.end >= earlier.segment.first_lsn()
        && p.end <= earlier.segment.limit()
        && later.segment.first_lsn() >= p.end
        && later.segment.first_lsn() <= earlier.segment.limit()
        && (p.end > earlier.segment.first_lsn() || later.segment.first_lsn() == p.end);
    if fits {
        return Ok(());
    }
    let at = later.segment.first_lsn();
    let (lsns, reason) = (at.min(p.end)..at.max(p.end), CorruptionReason::SegmentChain);
    decide(Facts::of_files(Found::Overlap))
        .refuse(|| Corruption::new(&later.segment.path, PAGE as u64, lsns, reason))
}

/// Finds blocks or a footer in a file whose header page does not verify: the page was lost in the crash or damaged
/// since. The first block may be damaged as well; anything that verifies counts as evidence.
fn find_stray(
    disk: &Arc<dyn Disk>,
    generation: Generation,
    candidate: Candidate,
    mmap: bool,
) -> Result<Option<Stray>> {
    let path = disk.path().join(&candidate.name);
    let io = |e| Error::io("read", &path, e);
    let end = candidate.file.len().map_err(io)?;
    // Blocks are written from the start. A fresh file that begins with this many zeros was never written to.
    let mut window = Window::new(&*candidate.file, end);
    if !generation.recycled && is_zero(window.get(DATA_START, 1 << 20).map_err(io)?) {
        return Ok(None);
    }
    let (mut first, mut witness) = (None, None::<Witness>);
    look_around(&*candidate.file, &generation, generation.first_lsn, |sighting| {
        let heard = match sighting {
            Sighting::Block(h) => {
                first.get_or_insert((h.lsn, h.lsn.plus(h.padded_len(generation.block_align))));
                Witness { source: WitnessSource::Block(h.lsn), durable: h.durable }
            }
            Sighting::Footer(end) => Witness { source: WitnessSource::Footer, durable: end },
        };
        if witness.is_none_or(|w| w.durable < heard.durable) {
            witness = Some(heard);
        }
    })
    .map_err(io)?;
    let Some(witness) = witness else { return Ok(None) };
    let block = first.unwrap_or((generation.first_lsn, witness.durable));
    let segment = Arc::new(Segment::new(generation, candidate.file, candidate.name, path, mmap)?);
    Ok(Some(Stray { segment, block, witness }))
}

/// A file claims addresses that another one has.
fn overlap(disk: &Arc<dyn Disk>, name: &str, lsn: Lsn) -> Result<()> {
    decide(Facts::of_files(Found::Overlap))
        .refuse(|| Corruption::new(disk.path().join(name), 0, lsn..lsn, CorruptionReason::SegmentChain))
}
