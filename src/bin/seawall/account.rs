//! What lies in which segment, and whose it is: one pass over the headers of all records.

use std::collections::BTreeMap;

use seawall::{Batch, LogView, RecordHead, SegmentReader};

use crate::failure::Failure;

/// The groups of the log, when it is a Raft log.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
pub(crate) type Groups = seawall::raft::RaftView;

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
pub(crate) enum Groups {}

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

/// The groups; none when the records do not add up to groups, as in a log that is not Raft's.
#[cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
pub(crate) fn groups(log: &LogView) -> Result<Groups, Failure> {
    Ok(Groups::of(log)?)
}

#[cfg(not(any(feature = "raft-protobuf", feature = "raft-prost")))]
pub(crate) fn groups(_: &LogView) -> Result<Groups, Failure> {
    Err(Failure::Undone("this build has no Raft layer".to_owned()))
}

/// The groups of a log that is Raft's. Others may have none either way: their records have no labels, as none of Raft's is
/// without one, or they do not add up to groups.
pub(crate) fn groups_if_any(log: &LogView) -> Option<Groups> {
    let first = log.segments().iter().find_map(|segment| segment.heads().next());
    let labelled = !first.is_some_and(|head| head.is_ok_and(|head| head.label.is_none()));
    if labelled { groups(log).ok() } else { None }
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
        Some(g) if g.is_live(head) && Groups::is_relocated(head) => Fate::Relocated,
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

/// All segments of the log.
pub(crate) fn segments(log: &LogView, groups: Option<&Groups>) -> Result<Vec<Segment>, Failure> {
    let bar = crate::style::bar(log.segments().len() as u64, "segments");
    let mut all = Vec::with_capacity(log.segments().len());
    for reader in log.segments() {
        all.push(segment(reader, groups)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(all)
}

fn segment(reader: &SegmentReader, groups: Option<&Groups>) -> Result<Segment, Failure> {
    let (blocks, records) = reader.count()?;
    let mut streams: BTreeMap<u64, Part> = BTreeMap::new();
    for head in reader.heads() {
        let head = head?;
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
        blocks,
        records,
        bytes: reader.used_bytes(),
        streams,
    })
}
