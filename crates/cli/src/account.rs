//! Space accounting: what each segment holds and for whom, from one pass over the headers of all records.

use std::collections::BTreeMap;
use std::path::Path;

use seawall::error::Corruption;
use seawall::groups::{Error as GroupError, GroupView, LABEL_KINDS};
use seawall::repair::Layer;
use seawall::{Batch, Error, LogView, RecordHead, SegmentReader};

use crate::failure::Failure;

/// Who writes the records of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Raft groups.
    Raft,
    /// Groups of another protocol, or of none.
    Groups,
    /// A program, directly.
    Records,
}

/// The groups of the log: Raft's, or those of another protocol, which is not known here.
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
    /// Live bytes that were rewritten.
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

/// The contents of one segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: String,
    pub(crate) id: u64,
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) blocks: u64,
    pub(crate) records: u64,
    /// Bytes of the file, up to the end of the last block.
    pub(crate) bytes: u64,
    /// By stream; records without a label have none.
    pub(crate) streams: BTreeMap<u64, Part>,
}

impl Segment {
    pub(crate) fn live(&self) -> u64 {
        self.streams.values().map(|p| p.live).sum()
    }

    pub(crate) fn relocated(&self) -> u64 {
        self.streams.values().map(|p| p.relocated).sum()
    }

    /// Bytes that no group needs, including block headers and padding.
    pub(crate) fn dead(&self) -> u64 {
        (self.end - self.first).saturating_sub(self.live())
    }
}

/// Determines who writes the records of the log in this directory. A Raft log has a directory for snapshots since it
/// was first opened; if that was lost, the records show it.
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

/// The groups, if the log has any, skipping damage; and their problems.
pub(crate) fn groups(kind: Kind, log: &LogView) -> Result<(Option<Groups>, Vec<String>), Failure> {
    match kind {
        Kind::Raft => groups_of_raft(log),
        Kind::Groups => {
            let (groups, wrong) = GroupView::salvage(log)?;
            // Damage is reported when the segments are read.
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
        // Without groups, everything not released is live.
        None => Fate::Live,
    }
}

pub(crate) fn size(head: &RecordHead) -> u64 {
    Batch::record_size(u64::from(head.payload_len), head.label.is_some())
}

/// All segments of the log, and the damage: why an open refuses the log, and headers that do not verify. Payloads are
/// not read.
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
