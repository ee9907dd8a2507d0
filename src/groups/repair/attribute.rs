//! Attributes damage: where it lies, and whether the affected groups can be determined.
//!
//! | damage in | affected groups known from | consequence |
//! |---|---|---|
//! | an ended segment with a good footer | the footer's summary | the groups that need a record there are dropped |
//! | an ended segment without one | unknown | refused |
//! | the newest segment | unknown: it has no footer yet | refused |
//! | a footer alone | its segment's records | refused: have it rewritten first |
//! | a page that identifies a segment, or a missing segment | unknown | refused |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::error::Result;
use super::super::summary::SegmentSummary;
use crate::error::{Corruption, CorruptionReason, Error as LogError, RepairProblem, Result as LogResult};
use crate::io::Disk;
use crate::{LogView, SegmentReader};

/// The log and its damaged segments, each of which has a good footer.
pub(super) fn damaged_segments(
    disk: &Arc<dyn Disk>,
    view: LogResult<LogView>,
    problems: &[Corruption],
) -> Result<(LogView, Vec<SegmentReader>)> {
    let view = match view {
        Ok(view) => view,
        // Without a superblock not even the identity of the log is known.
        Err(LogError::Corruption(c)) if c.reason != CorruptionReason::Superblock => {
            return refuse(&c.file, RepairProblem::BrokenChain);
        }
        Err(e) => return Err(e.into()),
    };
    let path = |segment: &SegmentReader| disk.path().join(segment.file_name());
    let newest: Option<PathBuf> = view.segments().last().map(path);
    // Damage for which an open refuses is never in a segment with a good footer, because an open does not read those.
    if let Some(c) = view.damage() {
        return refuse(&c.file, problem_of(c, newest.as_deref()));
    }
    let mut damaged: Vec<SegmentReader> = Vec::new();
    for problem in problems {
        let segment = view.segments().iter().find(|s| path(s) == problem.file && newest != Some(path(s)));
        match segment {
            Some(s) if problem.reason != CorruptionReason::Footer && has_good_footer(s) => {
                damaged.push(s.clone());
            }
            _ => return refuse(&problem.file, problem_of(problem, newest.as_deref())),
        }
    }
    damaged.dedup_by_key(|s| s.id());
    Ok((view, damaged))
}

fn has_good_footer(segment: &SegmentReader) -> bool {
    segment.summary().is_some_and(|summary| SegmentSummary::decode(segment.id(), &summary).is_ok())
}

fn problem_of(c: &Corruption, newest: Option<&Path>) -> RepairProblem {
    match c.reason {
        CorruptionReason::MissingSegment
        | CorruptionReason::SegmentChain
        | CorruptionReason::SegmentHeader
        | CorruptionReason::GenerationPage => RepairProblem::BrokenChain,
        CorruptionReason::Footer => RepairProblem::DamagedFooter,
        _ if newest == Some(c.file.as_path()) => RepairProblem::NewestSegment,
        CorruptionReason::MissingTail => RepairProblem::BrokenChain,
        _ => RepairProblem::NoFooter,
    }
}

fn refuse<T>(path: &Path, problem: RepairProblem) -> Result<T> {
    Err(LogError::Repair { path: path.to_owned(), problem }.into())
}
