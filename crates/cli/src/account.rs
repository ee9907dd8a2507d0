//! What lies in which segment, and whose it is: one pass over the headers of all records.

use std::collections::BTreeMap;
use std::path::Path;

use seawall::error::Corruption;
use seawall::groups::{Error as GroupError, GroupView, LABEL_KINDS};
use seawall::repair::Layer;
use seawall::{Batch, Error, LogView, RecordHead, SegmentReader};

use crate::failure::Failure;

/// Who keeps records in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Groups of Raft.
    Raft,
    /// Groups of another protocol, or of none.
    Groups,
    /// A program, directly.
    Records,
}

/// The groups of the log: Raft's, or others', of whose protocol nothing is known.
pub(crate) enum Groups {
    #[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
    Raft(seawall::raft::RaftView),
    Plain(GroupView),
}

impl Groups {
    /// The ids, ascending.
    pub(crate) fn ids(&self) -> Vec<u64> {
        match self {
            #[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
            Groups::Raft(view) => view.groups(),
            Groups::Plain(view) => view.groups(),
        }
    }

    fn is_live(&self, head: &RecordHead) -> bool {
        match self {
            #[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
            Groups::Raft(view) => view.is_live(head),
            Groups::Plain(view) => view.is_live(head),
        }
    }
}

/// What one stream has in one segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) live: u64,
    /// Of the live bytes, those that were written again.
    pub(crate) relocated: u64,
}

impl Part {
    pub(crate) fn add(&mut self, other: Part) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.live += other.live;
        self.relocated += other.relocated;
    }
}

/// What one segment holds.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: String,
    pub(crate) id: u64,
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) blocks: u64,
    pub(crate) records: u64,
    /// Of the file, up to the last block's end.
    pub(crate) bytes: u64,
    /// By stream; records without a label belong to none.
    pub(crate) streams: BTreeMap<u64, Part>,
}

impl Segment {
    pub(crate) fn live(&self) -> u64 {
        self.streams.values().map(|p| p.live).sum()
    }

    pub(crate) fn relocated(&self) -> u64 {
        self.streams.values().map(|p| p.relocated).sum()
    }

    /// What no group needs, block headers and padding included.
    pub(crate) fn dead(&self) -> u64 {
        (self.end - self.first).saturating_sub(self.live())
    }
}

/// Who keeps records in the log of this directory. A Raft log has a place for snapshots from its first opening on; one that has
/// lost it is known by its records.
pub(crate) fn kind(dir: &Path, log: &LogView) -> Kind {
    if files_of_raft(dir).is_some() {
        return Kind::Raft;
    }
    let is_of_a_group = |segment: &SegmentReader| {
        let first = segment.salvage().find_map(Result::ok).and_then(|head| head.label);
        first.is_some_and(|label| LABEL_KINDS.contains(&label.kind))
    };
    match log.segments().iter().any(is_of_a_group) {
        true if has_groups_of_raft(log) => Kind::Raft,
        true => Kind::Groups,
        false => Kind::Records,
    }
}

/// What a Raft log in this directory keeps beside its segments, if it has a place for that.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
pub(crate) fn files_of_raft(dir: &Path) -> Option<Layer> {
    Some(seawall::raft::repair::files_beside_the_log()).filter(|files| dir.join(&files.directory).is_dir())
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
pub(crate) fn files_of_raft(_: &Path) -> Option<Layer> {
    None
}

#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
fn has_groups_of_raft(log: &LogView) -> bool {
    use seawall::raft::{Error as RaftError, RaftView};
    let is_foreign = |e: &RaftError| matches!(e, RaftError::Content { .. });
    RaftView::salvage(log)
        .is_ok_and(|(view, wrong)| !view.groups().is_empty() && !wrong.iter().any(is_foreign))
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
fn has_groups_of_raft(_: &LogView) -> bool {
    false
}

/// The groups past what is damaged, if the log has groups, and what is wrong with them.
pub(crate) fn groups(kind: Kind, log: &LogView) -> Result<(Option<Groups>, Vec<String>), Failure> {
    match kind {
        Kind::Raft => groups_of_raft(log),
        Kind::Groups => {
            let (groups, wrong) = GroupView::salvage(log)?;
            // Damage is told where the segments are gone through.
            let told = |e: &&GroupError| !matches!(e, GroupError::Log(Error::Corruption(_)));
            let wrong = wrong.iter().filter(told).map(ToString::to_string).collect();
            Ok((Some(Groups::Plain(groups)), wrong))
        }
        Kind::Records => Ok((None, Vec::new())),
    }
}

#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
fn groups_of_raft(log: &LogView) -> Result<(Option<Groups>, Vec<String>), Failure> {
    use seawall::raft::{Error as RaftError, RaftView};
    let (groups, wrong) = RaftView::salvage(log)?;
    let told = |e: &&RaftError| !matches!(e, RaftError::Log(Error::Corruption(_)));
    Ok((Some(Groups::Raft(groups)), wrong.iter().filter(told).map(ToString::to_string).collect()))
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
fn groups_of_raft(_: &LogView) -> Result<(Option<Groups>, Vec<String>), Failure> {
    Ok((None, Vec::new()))
}

/// How a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Live,
    Relocated,
    Dead,
}

pub(crate) fn fate(groups: Option<&Groups>, head: &RecordHead) -> Fate {
    match groups {
        Some(g) if g.is_live(head) && GroupView::is_relocated(head) => Fate::Relocated,
        Some(g) if g.is_live(head) => Fate::Live,
        Some(_) => Fate::Dead,
        // Without groups, all that was not released is live.
        None => Fate::Live,
    }
}

pub(crate) fn size(head: &RecordHead) -> u64 {
    Batch::record_size(u64::from(head.payload_len), head.label.is_some())
}

/// All segments of the log, and what is damaged: why an open refuses the log, and where headers do not verify. Payloads are not
/// read.
pub(crate) fn segments(
    log: &LogView,
    groups: Option<&Groups>,
) -> Result<(Vec<Segment>, Vec<Corruption>), Failure> {
    let bar = crate::style::bar(log.segments().len() as u64, "segments");
    let mut all = Vec::with_capacity(log.segments().len());
    let mut damage: Vec<Corruption> = log.damage().into_iter().cloned().collect();
    for reader in log.segments() {
        all.push(segment(reader, groups, &mut damage)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((all, damage))
}

fn segment(
    reader: &SegmentReader,
    groups: Option<&Groups>,
    damage: &mut Vec<Corruption>,
) -> Result<Segment, Failure> {
    let mut streams: BTreeMap<u64, Part> = BTreeMap::new();
    let (mut heads, mut records) = (reader.salvage(), 0);
    for head in heads.by_ref() {
        let head = match head {
            Ok(head) => head,
            Err(Error::Corruption(c)) => {
                if !damage.iter().any(|d| d.file == c.file && d.lsns.start == c.lsns.start) {
                    damage.push(*c);
                }
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        records += 1;
        let Some(label) = head.label else { continue };
        let (bytes, fate) = (size(&head), fate(groups, &head));
        streams.entry(label.stream).or_default().add(Part {
            records: 1,
            bytes,
            live: if fate == Fate::Dead { 0 } else { bytes },
            relocated: if fate == Fate::Relocated { bytes } else { 0 },
        });
    }
    Ok(Segment {
        file: reader.file_name().to_owned(),
        id: reader.id().get(),
        first: reader.first_lsn().get(),
        end: reader.end_lsn().get(),
        blocks: heads.blocks(),
        records,
        bytes: reader.used_bytes(),
        streams,
    })
}
