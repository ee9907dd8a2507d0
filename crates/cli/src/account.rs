//! What lies in which segment, and whose it is: one pass over the headers of all records.

use std::collections::BTreeMap;
use std::path::Path;

use seawall::error::Corruption;
use seawall::{Batch, Error, LogView, RecordHead, SegmentReader};

use crate::failure::Failure;

/// The groups of the log: Raft's, or others', of whose protocol nothing is known.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
pub(crate) enum Groups {
    Raft(seawall::raft::RaftView),
    Plain(seawall::groups::GroupView),
}

#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
impl Groups {
    /// The ids, ascending.
    pub(crate) fn ids(&self) -> Vec<u64> {
        match self {
            Groups::Raft(view) => view.groups(),
            Groups::Plain(view) => view.groups(),
        }
    }

    fn is_live(&self, head: &RecordHead) -> bool {
        match self {
            Groups::Raft(view) => view.is_live(head),
            Groups::Plain(view) => view.is_live(head),
        }
    }
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
pub(crate) enum Groups {}

/// Whether this build knows Raft's records.
pub(crate) const HAS_RAFT: bool = cfg!(any(feature = "raft-protobuf", feature = "raft-prost"));

/// Whether there are groups of Raft.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
pub(crate) fn any_of_raft(groups: &Groups) -> bool {
    matches!(groups, Groups::Raft(_)) && !groups.ids().is_empty()
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
pub(crate) fn any_of_raft(_: &Groups) -> bool {
    false
}

/// What a Raft log keeps its snapshots in, beside its segments.
pub(crate) const SNAPSHOTS: &str = "snapshots";

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

/// The groups; none when the records do not add up to groups.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
pub(crate) fn groups(log: &LogView) -> Result<Groups, Failure> {
    use seawall::raft::{Error as RaftError, RaftView};
    match RaftView::of(log) {
        Ok(view) => Ok(Groups::Raft(view)),
        // What is in a group is not of Raft.
        Err(RaftError::Content { .. }) => Ok(Groups::Plain(seawall::groups::GroupView::of(log)?)),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
pub(crate) fn groups(_: &LogView) -> Result<Groups, Failure> {
    Err(Failure::Undone("this build has no Raft layer".to_owned()))
}

/// The groups past what is damaged, and what is wrong with them; Raft's, if the log is.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
pub(crate) fn salvaged(log: &LogView, is_raft: bool) -> Result<(Groups, Vec<String>), Failure> {
    use seawall::groups::{Error as GroupError, GroupView};
    use seawall::raft::{Error as RaftError, RaftView};
    // Damage is told where the segments are gone through.
    let damage = |e: &Error| matches!(e, Error::Corruption(_));
    if is_raft {
        let (groups, wrong) = RaftView::salvage(log)?;
        let told = |e: &&RaftError| !matches!(e, RaftError::Log(e) if damage(e));
        return Ok((Groups::Raft(groups), wrong.iter().filter(told).map(ToString::to_string).collect()));
    }
    let (groups, wrong) = GroupView::salvage(log)?;
    let told = |e: &&GroupError| !matches!(e, GroupError::Log(e) if damage(e));
    Ok((Groups::Plain(groups), wrong.iter().filter(told).map(ToString::to_string).collect()))
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
pub(crate) fn salvaged(_: &LogView, _: bool) -> Result<(Groups, Vec<String>), Failure> {
    Err(Failure::Undone("this build has no Raft layer".to_owned()))
}

/// Whether the log in this directory is Raft's: it has a place for snapshots from its first opening on. One that has lost
/// it is known by its records.
pub(crate) fn is_raft(dir: &Path) -> bool {
    dir.join(SNAPSHOTS).is_dir()
}

/// The groups of a log of groups: one whose first record is of a kind that theirs have. Others may have none, or records that
/// do not add up to groups.
pub(crate) fn groups_if_any(log: &LogView) -> Option<Groups> {
    let first = log.segments().iter().find_map(|segment| segment.heads().next())?;
    let label = first.ok().and_then(|head| head.label)?;
    if label.kind >= 0x80 { groups(log).ok() } else { None }
}

/// How a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Live,
    Relocated,
    Dead,
}

#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
pub(crate) fn fate(groups: Option<&Groups>, head: &RecordHead) -> Fate {
    match groups {
        Some(g) if g.is_live(head) && seawall::groups::GroupView::is_relocated(head) => Fate::Relocated,
        Some(g) if g.is_live(head) => Fate::Live,
        Some(_) => Fate::Dead,
        // Without groups, all that was not released is live.
        None => Fate::Live,
    }
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
pub(crate) fn fate(_: Option<&Groups>, _: &RecordHead) -> Fate {
    Fate::Live
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
