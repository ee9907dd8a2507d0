//! One pass over everything.

use std::sync::Arc;

use super::meter::Meter;
use super::report::{SegmentCheck, VerifyReport};
use crate::cores::Cores;
use crate::error::{CorruptionReason, Error, Result, Witness};
use crate::format::segment::Predecessor;
use crate::format::superblock::Superblock;
use crate::io::{Access, Disk};
use crate::lsn::{Lsn, SegmentId};
use crate::options::TailPolicy;
use crate::recovery::{
    Catalog, Look, Loose, Member, Piece, is_given, proven_by, scan_sealed, survey, walk, witness,
};
use crate::report::Cut;
use crate::retry::{Fault as _, Place};
use crate::segment::{Segment, SuperblockFile, last_block_end, load_footer};

/// Reads everything and reports all that is wrong. A concurrent writer's changes may look wrong.
pub(super) fn check(disk: &Arc<dyn Disk>, meter: &mut Meter<'_>) -> Result<VerifyReport> {
    let mut report = VerifyReport::empty();
    report.foreign = foreign(disk)?;
    let sb = match SuperblockFile::read(disk) {
        Ok(sb) => sb,
        Err(Error::Corruption(c)) => {
            report.add(*c);
            if let Some(sb) = crate::recovery::assumed(disk)? {
                report.uuid = Some(sb.uuid);
                one_by_one(disk, &sb, &mut report, meter)?;
            }
            return Ok(report);
        }
        Err(e) => return Err(e),
    };
    let mut report = VerifyReport { foreign: report.foreign, ..check_under(disk, &sb, meter)? };
    forget_released(&mut report, SuperblockFile::read(disk)?.oldest);
    Ok(report)
}

/// Like [`check`], for a log with this superblock.
pub(super) fn check_under(
    disk: &Arc<dyn Disk>,
    sb: &Superblock,
    meter: &mut Meter<'_>,
) -> Result<VerifyReport> {
    let mut report = VerifyReport { uuid: Some(sb.uuid), owner: sb.owner, ..VerifyReport::empty() };
    match Catalog::read(disk, sb, Access::Read, false) {
        Ok(catalog) => in_order(&catalog, sb, &mut report, meter)?,
        Err(Error::Corruption(c)) => {
            report.add(*c);
            one_by_one(disk, sb, &mut report, meter)?;
        }
        Err(e) => return Err(e),
    }
    Ok(report)
}

/// What an open would cut now; ended segments are not read.
pub(super) fn cuts_now(disk: &Arc<dyn Disk>) -> Result<Vec<Cut>> {
    let sb = SuperblockFile::read(disk)?;
    let catalog = Catalog::read(disk, &sb, Access::Read, false)?;
    Ok(survey(&catalog, &sb, newest_only())?.into_cuts())
}

fn newest_only() -> Look {
    Look { policy: TailPolicy::Truncate, mmap: false, cores: Cores::available(true), newest_only: true }
}

/// Files in the log's directory with names that the log never uses. Nothing more can be said while segments cannot be
/// told from other files.
fn foreign(disk: &Arc<dyn Disk>) -> Result<Vec<String>> {
    let mut names = disk.list().map_err(|e| Error::io("list", disk.path(), e))?;
    names.retain(|name| !is_given(name));
    names.sort();
    Ok(names)
}

/// A segment released during the pass is no longer part of the log: its file may be in use again.
fn forget_released(report: &mut VerifyReport, oldest: SegmentId) {
    report.problems.retain(|p| Place::of(p).rests_on().is_none_or(|id| id >= oldest));
    report.segments.retain(|s| s.id >= oldest);
    if let Some(first) = report.segments.first() {
        report.first_lsn = first.first_lsn;
    }
}

/// Checks a log whose chain is intact.
fn in_order(
    catalog: &Catalog,
    sb: &Superblock,
    report: &mut VerifyReport,
    meter: &mut Meter<'_>,
) -> Result<()> {
    report.first_lsn = catalog.members.first().map_or(Lsn::ZERO, |m| m.segment.first_lsn());
    report.foreign.clone_from(&catalog.foreign);
    report.foreign.sort();
    let sealed: u64 = catalog.sealed().map(|(member, end)| extent(&member.segment, end.end)).sum();
    // Beyond the last block of the newest segment, the rest is searched for evidence of further blocks.
    let room = catalog.members.last().map_or(0, |m| extent(&m.segment, m.segment.limit()));
    meter.begin(sealed.saturating_add(room));
    for (member, end) in catalog.sealed() {
        check_sealed(member, &end, report)?;
        meter.add(extent(&member.segment, end.end));
    }
    check_newest(catalog, sb, report)?;
    if !catalog.members.is_empty() {
        meter.add(room);
    }
    Ok(())
}

/// The bytes of a segment up to its end.
fn extent(segment: &Segment, end: Lsn) -> u64 {
    end.since(segment.first_lsn())
}

/// Checks every byte of an ended segment, footer included.
fn check_sealed(member: &Member, end: &Predecessor, report: &mut VerifyReport) -> Result<()> {
    let segment = &member.segment;
    let footer = load_footer(segment, end.end, false)?;
    let has_footer = footer.is_some();
    let scanned = scan_sealed(member, end);
    let mut bad_footer = false;
    if let Some(footer) = footer {
        bad_footer = match &scanned {
            Ok((blocks, records)) => !footer.agrees_with(*blocks, *records),
            Err(_) => !footer.is_whole(),
        };
        if footer.footer.digest == end.digest {
            segment.set_footer(footer);
        } else {
            // An open refuses the log for this, whatever else there is.
            report.add(segment.damage(end.end, end.end, CorruptionReason::Footer));
        }
    }
    let (blocks, records) = match scanned {
        Ok(counted) => counted,
        Err(Error::Corruption(first)) => {
            report.add(*first);
            let previous = member.header.previous_digest();
            all_damage(segment, Some(previous), end.end, witness(*end), report)?
        }
        Err(e) => return Err(e),
    };
    if bad_footer {
        report.add(segment.damage(end.end, end.end, CorruptionReason::Footer));
    }
    report.segments.push(segment_check(segment, end.end, (blocks, records), has_footer));
    Ok(())
}

/// What an open would do about the newest segment, and all damage in it.
fn check_newest(catalog: &Catalog, sb: &Superblock, report: &mut VerifyReport) -> Result<()> {
    let newest = catalog.members.last();
    match survey(catalog, sb, newest_only()) {
        Ok(survey) => {
            report.end_lsn = survey.end();
            if let (Some(newest), Some(counted)) = (newest, survey.newest_counts()) {
                report.segments.push(segment_check(&newest.segment, survey.end(), counted, false));
            }
            report.torn = survey.into_cuts();
        }
        Err(Error::Corruption(first)) => {
            let (file, proven) = (first.file.clone(), first.lsns.end);
            let witness = first.witness;
            report.add(*first);
            let Some(newest) = newest else { return Ok(()) };
            let segment = &newest.segment;
            let end = last_block_end(segment)?;
            let previous = newest.header.previous_digest();
            let found = walk(segment, Some(previous), end, witness)?;
            if file == segment.path {
                found.damage.into_iter().filter(|d| d.lsns.start < proven).for_each(|d| report.add(d));
            }
            report.end_lsn = end;
            report.segments.push(segment_check(segment, end, (found.blocks, found.records), false));
        }
        Err(e) => return Err(e),
    }
    Ok(())
}

/// Checks a log whose chain is broken, file by file.
fn one_by_one(
    disk: &Arc<dyn Disk>,
    sb: &Superblock,
    report: &mut VerifyReport,
    meter: &mut Meter<'_>,
) -> Result<()> {
    let loose = Loose::read(disk, sb)?;
    loose.damage.into_iter().for_each(|d| report.add(d));
    meter.begin(loose.pieces.iter().map(|p| extent(&p.segment, p.end)).sum());
    report.first_lsn = loose.pieces.first().map_or(Lsn::ZERO, |p| p.segment.first_lsn());
    for piece in &loose.pieces {
        check_piece(piece, sb, report)?;
        report.end_lsn = report.end_lsn.max(piece.end);
        meter.add(extent(&piece.segment, piece.end));
    }
    Ok(())
}

fn check_piece(piece: &Piece, sb: &Superblock, report: &mut VerifyReport) -> Result<()> {
    let (segment, previous) = (&piece.segment, piece.previous());
    let footer = load_footer(segment, piece.end, false)?;
    let counted = match piece.sealed {
        Some(end) => all_damage(segment, previous, piece.end, witness(end), report)?,
        None => {
            let in_file = proven_by(segment, previous)?;
            let own = piece.header.map_or(Lsn::ZERO, |h| h.durable);
            let proven = in_file.max(own).max(sb.durable);
            let found = walk(segment, previous, piece.end, None)?;
            found.damage.into_iter().filter(|d| d.lsns.start < proven).for_each(|d| report.add(d));
            (found.blocks, found.records)
        }
    };
    report.segments.push(segment_check(segment, piece.end, counted, footer.is_some()));
    Ok(())
}

/// Reports all damage up to `end`; returns the numbers of intact blocks and records.
fn all_damage(
    segment: &Segment,
    previous: Option<u32>,
    end: Lsn,
    witness: Witness,
    report: &mut VerifyReport,
) -> Result<(u64, u64)> {
    let found = walk(segment, previous, end, Some(witness))?;
    found.damage.into_iter().for_each(|d| report.add(d));
    Ok((found.blocks, found.records))
}

fn segment_check(segment: &Segment, end: Lsn, (blocks, records): (u64, u64), footer: bool) -> SegmentCheck {
    SegmentCheck {
        file: segment.name.clone(),
        id: segment.id(),
        first_lsn: segment.first_lsn(),
        end_lsn: end,
        blocks,
        records,
        footer,
    }
}
