//! Reads what must be read of every segment and decides about the tail of the newest one. Nothing is changed here.

use std::sync::Arc;

use super::catalog::{Catalog, Member};
use super::scan::{Scan, Stop, scan};
use super::verdict::{Facts, Found, Place, Proof, Verdict, decide};
use crate::cores::Cores;
use crate::error::{Corruption, CorruptionReason, Error, Result, Witness, WitnessSource};
use crate::format::PAGE;
use crate::format::segment::{Predecessor, SegmentHeader};
use crate::format::superblock::{self, Superblock};
use crate::lsn::Lsn;
use crate::mutation::or_fault;
use crate::options::TailPolicy;
use crate::report::{Cut, Recovery};
use crate::segment::{Segment, Tip, find_streams, load_footer};
use crate::size::at_most;

/// What reading the log revealed. Nothing has been changed yet.
pub(crate) struct Survey {
    pub(super) tip: Tip,
    pub(super) tail: Option<Tail>,
    /// The newest file, if nothing in it is proven or usable.
    pub(super) dropped: Option<String>,
    cuts: Vec<Cut>,
    clean: bool,
    scanned: u64,
    blocks: u64,
    records: u64,
    /// Blocks and records in the newest segment.
    newest: Option<(u64, u64)>,
}

/// The newest segment: its end, and what must be rewritten.
pub(super) struct Tail {
    pub(super) segment: Arc<Segment>,
    pub(super) end: Lsn,
    /// The first block that is not proven durable, and the digest of the preceding block.
    pub(super) unproven: Option<(Lsn, u32)>,
    /// What the segment's own header names as its predecessor, if that header is not proven durable either: then the
    /// rewritten segment replaces it.
    pub(super) replaces: Option<SegmentHeader>,
}

impl Survey {
    fn nothing() -> Self {
        Survey {
            tip: Tip { segment: None, end: Lsn::ZERO, digest: 0 },
            tail: None,
            dropped: None,
            cuts: Vec::new(),
            clean: true,
            scanned: 0,
            blocks: 0,
            records: 0,
            newest: None,
        }
    }

    fn count_newest(&mut self, scan: &Scan) {
        self.scanned += 1;
        self.blocks += scan.blocks;
        self.records += scan.records;
        self.newest = Some((scan.blocks, scan.records));
    }

    /// Determines where the log ends and what of its newest segment must be rewritten.
    fn settle_end(
        &mut self,
        newest: &Member,
        before: Option<&Member>,
        scan: &Scan,
        witness: Witness,
    ) -> Result<()> {
        let (end, digest) = drop_unproven_marker(scan, witness.durable);
        let proven = header_is_proven(newest, before, witness.durable);
        if end == newest.segment.first_lsn() && !proven {
            return self.drop_newest(newest, witness);
        }
        let unproven = scan.unproven.iter().find(|(lsn, _)| *lsn >= witness.durable && *lsn < end).copied();
        self.tip = Tip { segment: Some(newest.segment.id()), end, digest };
        let replaces = (!proven).then_some(newest.header);
        self.tail = Some(Tail { segment: Arc::clone(&newest.segment), end, unproven, replaces });
        Ok(())
    }

    /// The log ends where the segment before the newest one ended.
    fn drop_newest(&mut self, newest: &Member, witness: Witness) -> Result<()> {
        self.dropped = Some(newest.segment.name.clone());
        self.tip = match newest.header.predecessor {
            Some(p) => Tip { segment: Some(p.id), end: p.end, digest: p.digest },
            None => Tip { segment: None, end: newest.segment.first_lsn(), digest: 0 },
        };
        // Rotation skips addresses between two segments; none of them was ever durable.
        let (end, durable) = (self.tip.end, witness.durable);
        let proof = if end < durable { Proof::Below } else { Proof::Beyond };
        let facts =
            Facts { place: Some(Place::Newest), proof: Some(proof), found: Found::Unwritten, policy: None };
        decide(facts).refuse(|| {
            let reason = CorruptionReason::MissingTail;
            Corruption::new(&newest.segment.path, PAGE as u64, end..durable, reason).witnessed(Some(witness))
        })
    }

    /// Where the log ends.
    pub(crate) fn end(&self) -> Lsn {
        self.tip.end
    }

    /// Blocks and records in the newest segment.
    pub(crate) fn newest_counts(&self) -> Option<(u64, u64)> {
        self.newest
    }

    /// Whether the log was closed cleanly.
    pub(crate) fn was_closed(&self) -> bool {
        self.clean
    }

    /// The pieces to cut off.
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
            // A dropped newest segment begins after the end.
            bytes += end.distance_from(member.segment.first_lsn()).unwrap_or(0);
        }
        report.bytes = bytes;
    }
}

/// How to look at a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) policy: TailPolicy,
    pub(crate) mmap: bool,
    pub(crate) cores: Cores,
    /// The ended segments were already read, and those with a footer have it.
    pub(crate) newest_only: bool,
}

/// Reads what must be read of every segment and decides about the tail of the newest one. Changes nothing on disk.
pub(crate) fn survey(catalog: &Catalog, sb: &Superblock, look: Look) -> Result<Survey> {
    let mut survey = Survey::nothing();
    let Some((newest, earlier)) = catalog.members.split_last() else {
        no_segment(catalog, sb, look.policy, &mut survey)?;
        return Ok(survey);
    };
    if !look.newest_only {
        read_sealed(catalog, look, &mut survey)?;
    }
    check_empty(catalog, sb)?;
    let before = earlier.last();
    let scan = scan(&newest.segment, newest.header.previous_digest(), None, look.cores)?;
    let witness = best_witness(newest, before, &scan, sb);
    if let Some(promised) = load_footer(&newest.segment, scan.end, false)? {
        successor_missing(&newest.segment, promised.footer.end)?;
    }
    judge(newest, &scan, witness, look.policy, &mut survey)?;
    check_strays(catalog, scan.end, witness.durable, look.policy, &mut survey)?;
    survey.count_newest(&scan);
    // Only a close moves the superblock's durable LSN to the end of the log.
    survey.clean = survey.cuts.is_empty() && sb.durable == scan.end;
    survey.settle_end(newest, before, &scan, witness)?;
    Ok(survey)
}

/// A log without segments: a new one, unless something was durable.
fn no_segment(catalog: &Catalog, sb: &Superblock, policy: TailPolicy, survey: &mut Survey) -> Result<()> {
    let witness = of_superblock(sb);
    decide(Facts::of_newest(Lsn::ZERO, sb.durable, Found::Unwritten, policy)).refuse(|| {
        let reason = CorruptionReason::MissingTail;
        let file = catalog.dir.join(superblock::FILE_NAME);
        Corruption::new(file, 0, Lsn::ZERO..sb.durable, reason).witnessed(Some(witness))
    })?;
    check_strays(catalog, Lsn::ZERO, Lsn::ZERO, policy, survey)
}

fn of_superblock(sb: &Superblock) -> Witness {
    Witness { source: WitnessSource::Superblock, durable: sb.durable }
}

/// The strongest evidence of durability: D of the verdict table.
fn best_witness(newest: &Member, before: Option<&Member>, scan: &Scan, sb: &Superblock) -> Witness {
    let mut best = Witness { source: WitnessSource::Successor, durable: newest.header.durable };
    let others = [Some(of_superblock(sb)), scan.witness, first_block(newest, before, sb)];
    for other in others.into_iter().flatten() {
        if other.durable >= best.durable {
            best = other;
        }
    }
    or_fault!(best, Witness => Witness { durable: Lsn::ZERO, ..best })
}

/// A footer is written only when a successor is durable, so there was one.
fn successor_missing(segment: &Segment, end: Lsn) -> Result<()> {
    let witness = Witness { source: WitnessSource::Footer, durable: end };
    decide(Facts::of_files(Found::Missing))
        .refuse(|| segment.damage(end, end, CorruptionReason::MissingSegment).witnessed(Some(witness)))
}

/// Evidence that a segment's first block was durable: the superblock names the segment as having one, or the
/// preceding segment got its footer, which happens later. A file truncated to its final length is about to get its
/// footer.
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

/// Whether a segment has a footer or was about to get one: before that, a file keeps its full length.
fn was_sealed(segment: &Segment) -> bool {
    segment.footer().is_some() || segment.file_bytes() < segment.offset(segment.limit())
}

/// A segment that its successor says is empty had no durable block. If that successor were left out, this one would
/// be the newest, and the evidence would count against it.
fn check_empty(catalog: &Catalog, sb: &Superblock) -> Result<()> {
    let mut before = None;
    for (member, end) in catalog.sealed() {
        let first = member.segment.first_lsn();
        if end.end == first
            && let Some(witness) = first_block(member, before, sb)
        {
            let damage = member.segment.damage(first, witness.durable, CorruptionReason::SegmentChain);
            decide(Facts::of_files(Found::Overlap)).refuse(|| damage.witnessed(Some(witness)))?;
        }
        before = Some(member);
    }
    Ok(())
}

/// Whether the newest segment's header page is on the device. It is written with the first block, so it is durable if
/// that block is proven. The same holds if it is all that remains of a longer log: what came before was released, and
/// a log that forgot its position would begin again at 0.
fn header_is_proven(newest: &Member, before: Option<&Member>, durable: Lsn) -> bool {
    let first = newest.segment.first_lsn();
    durable > first || (before.is_none() && first > Lsn::ZERO)
}

/// Where the log ends, and the digest there. A marker block at the very end that nothing proves contains nothing:
/// instead of rewriting it, the log ends before it.
fn drop_unproven_marker(scan: &Scan, proven: Lsn) -> (Lsn, u32) {
    match scan.unproven.back() {
        Some((lsn, previous)) if scan.ends_with_marker && *lsn >= proven => (*lsn, *previous),
        _ => (scan.end, scan.digest),
    }
}

/// Reads sealed segments by their footers, the others in full.
fn read_sealed(catalog: &Catalog, look: Look, survey: &mut Survey) -> Result<()> {
    let mut without = Vec::new();
    for (member, end) in catalog.sealed() {
        match load_footer(&member.segment, end.end, look.mmap)? {
            Some(footer) if footer.footer.digest == end.digest => {
                survey.blocks += footer.footer.blocks;
                survey.records += footer.footer.records;
                member.segment.set_footer(footer);
            }
            // Both verify, but they contradict each other about the segment's last block.
            Some(_) => {
                let contradiction = member.segment.damage(end.end, end.end, CorruptionReason::Footer);
                decide(Facts::of_sealed(Found::Torn)).refuse(|| contradiction)?;
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

/// Everything in a segment that a successor ends must verify, up to that end and to the digest in the successor.
pub(crate) fn scan_sealed(member: &Member, end: &Predecessor) -> Result<(u64, u64)> {
    let segment = &member.segment;
    let scan = scan(segment, member.header.previous_digest(), Some(end.end), Cores::ONE)?;
    let (found, reason) = match scan.stop {
        _ if scan.end == end.end && scan.digest == end.digest => return Ok((scan.blocks, scan.records)),
        Stop::Torn(damage) => (Found::Torn, damage.reason),
        Stop::Unwritten => (Found::Unwritten, CorruptionReason::BlockHeader),
        Stop::End if scan.end < end.end => (Found::Short, CorruptionReason::ShortFile),
        Stop::End => (Found::Torn, CorruptionReason::BlockChain),
    };
    let witness = Witness { source: WitnessSource::Successor, durable: end.end };
    let damage = damaged(segment, &scan, reason, end.end, Some(witness))?;
    decide(Facts::of_sealed(found)).refuse(|| damage)?;
    Ok((scan.blocks, scan.records))
}

/// Applies the verdict table to the newest segment.
fn judge(
    newest: &Member,
    scan: &Scan,
    witness: Witness,
    policy: TailPolicy,
    survey: &mut Survey,
) -> Result<()> {
    let (found, reason) = match scan.stop {
        Stop::Torn(damage) if damage.reason == CorruptionReason::ShortFile => (Found::Short, damage.reason),
        Stop::Torn(damage) => (Found::Torn, damage.reason),
        Stop::Unwritten | Stop::End => (Found::Unwritten, CorruptionReason::MissingTail),
    };
    let segment = &newest.segment;
    match decide(Facts::of_newest(scan.end, witness.durable, found, policy)) {
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
        bytes: end.since(scan.end),
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

/// The streams named by record headers between two addresses; a bounded search.
pub(super) fn streams(segment: &Segment, from: Lsn, to: Lsn) -> Result<Vec<crate::lsn::StreamRange>> {
    const MOST: usize = 16 << 20;
    // What is proven may lie before what is damaged: then there is nothing in between.
    let len = at_most(MOST, to.distance_from(from).unwrap_or(0));
    let file_len = segment.file.len().map_err(|e| Error::io("stat", &segment.path, e))?;
    let mut bytes = vec![0; at_most(len, file_len.saturating_sub(segment.offset(from)))];
    let got = crate::io::read_full_at(&*segment.file, &mut bytes, segment.offset(from))
        .map_err(|e| Error::io("read", &segment.path, e))?;
    bytes.truncate(got);
    Ok(find_streams(&bytes, &segment.identity, from))
}

/// A file without a valid header that holds blocks: torn by the crash, or damaged below what is proven.
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
        let verdict = decide(Facts::of_newest(end, witness.durable, Found::Torn, policy));
        let streams = streams(&stray.segment, start, witness.durable.max(block_end))?;
        let (file, offset) = (stray.segment.path.clone(), PAGE as u64);
        let reason = CorruptionReason::SegmentHeader;
        if verdict != Verdict::Cut {
            let witness = (verdict == Verdict::Refuse).then_some(witness);
            let lsns = end..witness.map_or(block_end, |w| w.durable);
            return Err(Corruption::new(file, offset, lsns, reason)
                .witnessed(witness)
                .hitting(streams)
                .into());
        }
        let bytes = block_end.since(start);
        survey.cuts.push(Cut { file, offset, bytes, lsns: start..block_end, reason, proven, streams });
    }
    Ok(())
}
