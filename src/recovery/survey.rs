//! Reading what must be read of every segment, and deciding about the newest one's tail. Nothing is changed here.

use std::sync::Arc;

use super::catalog::{Catalog, Member};
use super::scan::{Scan, Stop, scan};
use super::verdict::{Found, Place, Proof, Verdict, decide};
use crate::cores::Cores;
use crate::error::{Corruption, CorruptionReason, Error, Result, Witness, WitnessSource};
use crate::format::segment::{Predecessor, SegmentHeader};
use crate::format::superblock::Superblock;
use crate::lsn::Lsn;
use crate::mutation::{Mutation, mutated};
use crate::options::TailPolicy;
use crate::report::{Cut, Recovery};
use crate::segment::{Segment, Tip, find_streams, load_footer};

/// What reading the log showed. Nothing has been changed yet.
pub(crate) struct Survey {
    pub(super) tip: Tip,
    pub(super) tail: Option<Tail>,
    /// The newest file, when nothing of it is proven and nothing of it can be used.
    pub(super) dropped: Option<String>,
    cuts: Vec<Cut>,
    clean: bool,
    scanned: u64,
    blocks: u64,
    records: u64,
    /// Blocks and records in the newest segment.
    newest: Option<(u64, u64)>,
}

/// The newest segment: where it ends, and what of it must be written again.
pub(super) struct Tail {
    pub(super) segment: Arc<Segment>,
    pub(super) end: Lsn,
    /// The first block that is not proven durable, and the digest of the one before it.
    pub(super) unproven: Option<(Lsn, u32)>,
    /// What the segment's own header says comes before it, when that header is not proven durable either: then what is
    /// written again takes the segment's place.
    pub(super) replaces: Option<SegmentHeader>,
}

impl Survey {
    /// The log ends where the segment before the newest one ended.
    fn drop_newest(&mut self, newest: &Member) {
        self.dropped = Some(newest.segment.name.clone());
        self.tip = match newest.header.predecessor {
            Some(p) => Tip { segment: Some(p.id), end: p.end, digest: p.digest },
            None => Tip { segment: None, end: newest.segment.first_lsn(), digest: 0 },
        };
    }

    /// Where the log ends.
    pub(crate) fn end(&self) -> Lsn {
        self.tip.end
    }

    /// Blocks and records in the newest segment.
    pub(crate) fn newest_counts(&self) -> Option<(u64, u64)> {
        self.newest
    }

    /// Whether the last life closed the log.
    pub(crate) fn was_closed(&self) -> bool {
        self.clean
    }

    /// What has to be cut off.
    pub(crate) fn into_cuts(self) -> Vec<Cut> {
        self.cuts
    }

    pub(crate) fn fill(&self, report: &mut Recovery, catalog: &Catalog) {
        report.clean = self.clean;
        report.segments = catalog.members.len() as u64;
        report.scanned = self.scanned;
        report.blocks = self.blocks;
        report.records = self.records;
        report.cut.clone_from(&self.cuts);
        let mut bytes = 0;
        for member in &catalog.members {
            let end = member.segment.end().unwrap_or(self.tip.end);
            bytes += end.distance_from(member.segment.first_lsn()).unwrap_or(0);
        }
        report.bytes = bytes;
    }
}

/// How a log is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) policy: TailPolicy,
    pub(crate) mmap: bool,
    pub(crate) cores: Cores,
    /// The ended segments were read already, and those with a footer have it.
    pub(crate) newest_only: bool,
}

/// Reads what must be read of every segment and decides about the newest one's tail. Changes nothing on the disk.
pub(crate) fn survey(catalog: &Catalog, sb: &Superblock, look: Look) -> Result<Survey> {
    let policy = look.policy;
    let mut survey = Survey {
        tip: Tip { segment: None, end: Lsn::ZERO, digest: 0 },
        tail: None,
        dropped: None,
        cuts: Vec::new(),
        clean: true,
        scanned: 0,
        blocks: 0,
        records: 0,
        newest: None,
    };
    let super_witness = Witness { source: WitnessSource::Superblock, durable: sb.durable };
    let Some((newest, sealed)) = catalog.members.split_last() else {
        if sb.durable > Lsn::ZERO {
            // A log whose every segment is gone, although something was durable.
            let lsns = Lsn::ZERO..sb.durable;
            let file = crate::format::superblock::FILE_NAME;
            return Err(Corruption::new(file, 0, lsns, CorruptionReason::MissingTail)
                .witnessed(Some(super_witness))
                .into());
        }
        check_strays(catalog, Lsn::ZERO, Lsn::ZERO, policy, &mut survey)?;
        return Ok(survey);
    };
    if !look.newest_only {
        read_sealed(catalog, look, &mut survey)?;
    }
    check_empty(catalog, sb)?;
    let previous = newest.header.predecessor.map_or(0, |p| p.digest);
    let scan = scan(&newest.segment, previous, None, look.cores)?;
    let own = Witness { source: WitnessSource::Successor, durable: newest.header.durable };
    let witness = [Some(own), Some(super_witness), scan.witness, first_block(newest, sealed.last(), sb)]
        .into_iter()
        .flatten()
        .max_by_key(|w| w.durable)
        .unwrap_or(own);
    let witness =
        if mutated(Mutation::Witness) { Witness { durable: Lsn::ZERO, ..witness } } else { witness };
    if let Some(promised) = load_footer(&newest.segment, scan.end, false)? {
        return Err(successor_missing(&newest.segment, promised.footer.end).into());
    }
    judge(newest, &scan, witness, policy, &mut survey)?;
    check_strays(catalog, scan.end, witness.durable, policy, &mut survey)?;

    survey.scanned += 1;
    survey.blocks += scan.blocks;
    survey.records += scan.records;
    survey.newest = Some((scan.blocks, scan.records));
    // Closing moves the superblock's durable LSN to the end of the log; nothing else moves it that far.
    survey.clean = survey.cuts.is_empty() && sb.durable == scan.end;
    let (end, digest) = drop_unproven_mark(&scan, witness.durable);
    let unproven = scan.unproven.iter().find(|(lsn, _)| *lsn >= witness.durable && *lsn < end).copied();
    let proven = header_is_proven(newest, sealed.last(), witness.durable);
    if end == newest.segment.first_lsn() && !proven {
        survey.drop_newest(newest);
        // Rotation leaves addresses out between two segments, and none of them was ever durable.
        if survey.tip.end < witness.durable {
            let lsns = survey.tip.end..witness.durable;
            let header = crate::format::PAGE as u64;
            let (file, reason) = (&newest.segment.path, CorruptionReason::MissingTail);
            return Err(Corruption::new(file, header, lsns, reason).witnessed(Some(witness)).into());
        }
        return Ok(survey);
    }
    survey.tip = Tip { segment: Some(newest.segment.id()), end, digest };
    let replaces = (!proven).then_some(newest.header);
    survey.tail = Some(Tail { segment: Arc::clone(&newest.segment), end, unproven, replaces });
    Ok(survey)
}

/// A footer is written only once a successor is durable: there was one.
fn successor_missing(segment: &Segment, end: Lsn) -> Corruption {
    let witness = Witness { source: WitnessSource::Footer, durable: end };
    segment.damage(end, end, CorruptionReason::MissingSegment).witnessed(Some(witness))
}

/// That a segment's first block was durable: when the superblock names the segment as one that has such a block, or when the
/// segment before it got its footer, which comes after; a file that is cut to its length is on the way to it.
fn first_block(member: &Member, before: Option<&Member>, sb: &Superblock) -> Option<Witness> {
    let durable = member.segment.first_lsn().plus(1);
    let source = if sb.newest == Some(member.segment.id()) {
        WitnessSource::Superblock
    } else if before.is_some_and(|member| was_sealed(&member.segment)) {
        WitnessSource::Footer
    } else {
        return None;
    };
    Some(Witness { source, durable })
}

/// Whether a segment has a footer, or was about to get one: before that a file keeps its full length.
fn was_sealed(segment: &Segment) -> bool {
    segment.footer().is_some() || segment.file_bytes() < segment.offset(segment.limit())
}

/// A segment that its successor says is empty had no durable block. Should that successor be left out, this one is the
/// newest, and the evidence would count against it then.
fn check_empty(catalog: &Catalog, sb: &Superblock) -> Result<()> {
    let mut before = None;
    for (member, end) in catalog.sealed() {
        let first = member.segment.first_lsn();
        if end.end == first
            && let Some(witness) = first_block(member, before, sb)
        {
            let damage = member.segment.damage(first, witness.durable, CorruptionReason::SegmentChain);
            return Err(damage.witnessed(Some(witness)).into());
        }
        before = Some(member);
    }
    Ok(())
}

/// Whether the newest segment's header page is on the device. It goes out with the first block, so it is when that block is
/// proven. And when it is all that is left of a longer log: what came before was released, and a log that forgot where it
/// stood would begin again at 0.
fn header_is_proven(newest: &Member, before: Option<&Member>, durable: Lsn) -> bool {
    let first = newest.segment.first_lsn();
    durable > first || (before.is_none() && first > Lsn::ZERO)
}

/// Where the log ends, and the digest there. A mark at the very end that nothing proves holds nothing: rather than write
/// it again, the log ends before it.
fn drop_unproven_mark(scan: &Scan, proven: Lsn) -> (Lsn, u32) {
    match scan.unproven.back() {
        Some((lsn, previous)) if scan.marked && *lsn >= proven => (*lsn, *previous),
        _ => (scan.end, scan.digest),
    }
}

/// Sealed segments: by their footers, the others whole.
fn read_sealed(catalog: &Catalog, look: Look, survey: &mut Survey) -> Result<()> {
    let mut without = Vec::new();
    for (member, end) in catalog.sealed() {
        match load_footer(&member.segment, end.end, look.mmap)? {
            Some(footer) if footer.footer.digest == end.digest => {
                survey.blocks += footer.footer.blocks;
                survey.records += footer.footer.records;
                member.segment.set_footer(footer);
            }
            // Both verify, and they contradict each other about the segment's last block.
            Some(_) => {
                let contradiction = member.segment.damage(end.end, end.end, CorruptionReason::Footer);
                return Err(contradiction.into());
            }
            None => without.push((member, end)),
        }
    }
    for (blocks, records) in look.cores.map(&without, |(member, end)| scan_sealed(member, end))? {
        survey.scanned += 1;
        survey.blocks += blocks;
        survey.records += records;
    }
    Ok(())
}

/// Everything in a segment that a successor ends must verify, up to that end and to the digest it keeps.
pub(crate) fn scan_sealed(member: &Member, end: &Predecessor) -> Result<(u64, u64)> {
    let segment = &member.segment;
    let previous = member.header.predecessor.map_or(0, |p| p.digest);
    let found = scan(segment, previous, Some(end.end), Cores::ONE)?;
    let reason = match found.stop {
        _ if found.end == end.end && found.digest == end.digest => return Ok((found.blocks, found.records)),
        Stop::Torn(damage) => damage.reason,
        Stop::Unwritten => CorruptionReason::BlockHeader,
        Stop::End if found.end < end.end => CorruptionReason::ShortFile,
        Stop::End => CorruptionReason::BlockChain,
    };
    let witness = Witness { source: WitnessSource::Successor, durable: end.end };
    Err(damaged(segment, &found, reason, end.end, Some(witness))?.into())
}

/// Applies the verdict table to the newest segment.
fn judge(
    newest: &Member,
    scan: &Scan,
    witness: Witness,
    policy: TailPolicy,
    survey: &mut Survey,
) -> Result<()> {
    let proof = if scan.end < witness.durable { Proof::Below } else { Proof::Beyond };
    let (found, reason) = match scan.stop {
        Stop::Torn(damage) if damage.reason == CorruptionReason::ShortFile => (Found::Short, damage.reason),
        Stop::Torn(damage) => (Found::Torn, damage.reason),
        Stop::Unwritten | Stop::End => (Found::Unwritten, CorruptionReason::MissingTail),
    };
    let segment = &newest.segment;
    match decide(Place::Newest, proof, found, policy) {
        Verdict::CleanEnd => Ok(()),
        Verdict::Cut => {
            survey.clean = false;
            survey.cuts.push(cut(segment, scan, reason, witness.durable)?);
            Ok(())
        }
        Verdict::Refuse => Err(damaged(segment, scan, reason, witness.durable, Some(witness))?.into()),
        Verdict::RefuseUnproven => Err(damaged(segment, scan, reason, scan.written, None)?.into()),
    }
}

fn cut(segment: &Segment, scan: &Scan, reason: CorruptionReason, proven: Lsn) -> Result<Cut> {
    let end = scan.written.max(scan.end);
    Ok(Cut {
        file: segment.path.clone(),
        offset: segment.offset(scan.end),
        bytes: end.distance_from(scan.end).unwrap_or(0),
        lsns: scan.end..end,
        reason,
        proven,
        streams: streams(segment, scan.end, end)?,
    })
}

fn damaged(
    segment: &Segment,
    scan: &Scan,
    reason: CorruptionReason,
    end: Lsn,
    witness: Option<Witness>,
) -> Result<Corruption> {
    let at = match scan.stop {
        Stop::Torn(damage) => damage.at,
        _ => 0,
    };
    let hit = streams(segment, scan.end, end)?;
    let mut corruption = segment.damage(scan.end, end, reason).witnessed(witness).hitting(hit);
    corruption.offset = corruption.offset.saturating_add(at);
    Ok(corruption)
}

/// The streams that record headers between two addresses name; a bounded look.
pub(super) fn streams(segment: &Segment, from: Lsn, to: Lsn) -> Result<Vec<crate::lsn::StreamRange>> {
    const MOST: usize = 16 << 20;
    let len = usize::try_from(to.distance_from(from).unwrap_or(0)).unwrap_or(MOST).min(MOST);
    let file_len = segment.file.len().map_err(|e| Error::io("stat", &segment.path, e))?;
    let room = usize::try_from(file_len.saturating_sub(segment.offset(from))).unwrap_or(MOST);
    let mut bytes = vec![0; len.min(room)];
    let got = crate::io::read_full_at(&*segment.file, &mut bytes, segment.offset(from))
        .map_err(|e| Error::io("read", &segment.path, e))?;
    bytes.truncate(got);
    Ok(find_streams(&bytes, &segment.identity, from))
}

/// A file without a valid header that holds blocks: torn off with the crash, or damaged below what is proven.
fn check_strays(
    catalog: &Catalog,
    end: Lsn,
    proven: Lsn,
    policy: TailPolicy,
    survey: &mut Survey,
) -> Result<()> {
    for stray in &catalog.strays {
        let (start, block_end) = stray.block;
        let witness = stray.witness;
        let proof = if end < witness.durable { Proof::Below } else { Proof::Beyond };
        let verdict = decide(Place::Newest, proof, Found::Torn, policy);
        let streams = streams(&stray.segment, start, witness.durable.max(block_end))?;
        let (file, offset) = (stray.segment.path.clone(), crate::format::PAGE as u64);
        let reason = CorruptionReason::SegmentHeader;
        if verdict != Verdict::Cut {
            let witness = (verdict == Verdict::Refuse).then_some(witness);
            let lsns = end..witness.map_or(block_end, |w| w.durable);
            return Err(Corruption::new(file, offset, lsns, reason)
                .witnessed(witness)
                .hitting(streams)
                .into());
        }
        let bytes = block_end.distance_from(start).unwrap_or(0);
        survey.cuts.push(Cut { file, offset, bytes, lsns: start..block_end, reason, proven, streams });
    }
    Ok(())
}
