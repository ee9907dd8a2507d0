//! Space accounting: which bytes of the log are live, by segment and by group.
//!
//! Live are the records of the entries from a group's first index to its last, each at its newest place, and one
//! State record per group. Records that change a part of a State do not count: rewriting the State makes all of them
//! superfluous. Everything else in a segment is dead: entries that were purged, overwritten or relocated, old States,
//! removed groups, block headers and padding.
//!
//! ```text
//!  segment 4   |S7 e e e e|x x x x x x|e e|x x|pad|       live: S7, e      dead: the rest
//!               group 7    purged      8   overwritten
//! ```
//!
//! None of this is stored twice: it follows from the groups' positions. A run of positions knows the size of its
//! records, from the batch that wrote them or from the summary in the segment's footer; a run that was cut since
//! reads its records' headers once. A test counts the records of whole logs and compares.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::codec::root::encode_root;
use super::contents::{Contents, Slot};
use super::error::Result;
use crate::{Batch, Label, Lsn, SegmentId, SegmentInfo, SegmentReader, Wal};

/// Space usage of a log. See [`GroupLog::space`](super::GroupLog::space).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Space {
    /// The segments, oldest first.
    pub segments: Vec<SegmentSpace>,
    /// The groups, those with the most live bytes first.
    pub groups: Vec<GroupSpace>,
    /// Bytes of the segment files, without footers.
    pub disk_bytes: u64,
    /// Live bytes, including those submitted and on their way into the next segment.
    pub live_bytes: u64,
    /// Live bytes not yet in a segment: their segment has no durable block.
    pub pending_bytes: u64,
}

/// Space usage of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentSpace {
    /// The segment.
    pub id: SegmentId,
    /// The address of its first byte.
    pub first_lsn: Lsn,
    /// Whether it is complete: nothing is appended to it any more.
    pub sealed: bool,
    /// Bytes of records that some group needs.
    pub live_bytes: u64,
    /// All other bytes up to the end of the last durable block.
    pub dead_bytes: u64,
}

/// Space usage of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSpace {
    /// The group.
    pub group: u64,
    /// Bytes of its entries and its State.
    pub live_bytes: u64,
    /// Their distribution over segments, oldest first.
    pub pins: Vec<(SegmentId, u64)>,
}

/// The account of a log: live bytes by segment and group.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) segments: Vec<SegmentInfo>,
    pub(crate) groups: Vec<GroupLive>,
}

/// The live bytes of one group.
#[derive(Debug)]
pub(crate) struct GroupLive {
    pub(crate) slot: Arc<Slot>,
    /// By number of the segment in the account; numbers beyond the last stand for segments without a durable block.
    pub(super) by_segment: BTreeMap<usize, u64>,
}

impl GroupLive {
    pub(crate) fn bytes(&self) -> u64 {
        self.by_segment.values().sum()
    }
}

/// Computes the size of a group's State when it is rewritten.
pub(crate) struct StateSize {
    /// A batch of the log, because its codec matters.
    batch: Batch,
}

impl StateSize {
    pub(crate) fn in_log(wal: &Wal) -> Self {
        StateSize { batch: wal.batch() }
    }

    pub(crate) fn of(&mut self, contents: &Contents) -> u64 {
        self.batch.clear();
        self.batch.push_labelled(Label::default(), &[&encode_root(&contents.root)]);
        self.batch.size_in_log()
    }
}

/// Looks up how many bytes a record takes.
struct Sizes<'a> {
    wal: &'a Wal,
    segments: &'a [SegmentInfo],
    /// The segment examined last.
    reader: Option<SegmentReader>,
}

impl Sizes<'_> {
    fn size(&mut self, lsn: Lsn) -> Result<u64> {
        if !self.reader.as_ref().is_some_and(|r| (r.first_lsn()..r.end_lsn()).contains(&lsn)) {
            let after = self.segments.partition_point(|s| s.first_lsn <= lsn);
            let segment = after.checked_sub(1).and_then(|n| self.segments.get(n));
            self.reader = match segment.filter(|s| lsn < s.end_lsn) {
                Some(segment) => Some(self.wal.segment_reader(segment.id)?),
                None => None,
            };
        }
        let payload = match &self.reader {
            Some(reader) => u64::from(reader.head(lsn)?.payload_len),
            // Not durable yet.
            None => u64::from(self.wal.read(lsn)?.stored_len()),
        };
        Ok(Batch::record_size(payload, true))
    }
}

/// Accounts for the groups one after the other, so it is exact if nothing is written meanwhile.
pub(crate) fn account(wal: &Wal, slots: Vec<Arc<Slot>>) -> Result<Account> {
    let to_come = wal.segments_to_come();
    let segments = wal.segments();
    let mut bounds: Vec<Lsn> = segments.iter().map(|s| s.first_lsn).collect();
    let newest = bounds.last().copied();
    bounds.extend(to_come.into_iter().filter(|first| Some(*first) > newest));
    let mut sizes = Sizes { wal, segments: &segments, reader: None };
    let mut groups = Vec::with_capacity(slots.len());
    for slot in slots {
        let Some(pieces) = pieces_of(&slot, &bounds, &mut sizes)? else { continue };
        let mut by_segment = BTreeMap::new();
        for (lsn, bytes) in pieces {
            let n = bounds.partition_point(|bound| *bound <= lsn).saturating_sub(1);
            *by_segment.entry(n).or_insert(0) += bytes;
        }
        groups.push(GroupLive { slot, by_segment });
    }
    Ok(Account { segments, groups })
}

/// Sizes and positions of a group's records; `None` for a group that is gone. The log is asked for sizes without
/// holding the group's lock: a batch that gets its place holds the log's lock and waits for the group's.
/// lock: a batch that gets its place has the log's own, and waits for that one.
fn pieces_of(slot: &Slot, bounds: &[Lsn], sizes: &mut Sizes<'_>) -> Result<Option<Vec<(Lsn, u64)>>> {
    let mut known: HashMap<Lsn, u64> = HashMap::new();
    loop {
        let mut contents = slot.contents.write();
        if contents.gone {
            return Ok(None);
        }
        match contents.positions.measure(bounds, &|lsn| known.get(&lsn).copied()) {
            Ok(mut pieces) => {
                pieces.extend(contents.record.map(|record| (record.lsn, u64::from(record.bytes))));
                return Ok(Some(pieces));
            }
            Err(unknown) => {
                drop(contents);
                for lsn in unknown {
                    if let Entry::Vacant(size) = known.entry(lsn) {
                        size.insert(sizes.size(lsn)?);
                    }
                }
            }
        }
    }
}

impl Account {
    pub(crate) fn live_bytes(&self) -> u64 {
        self.groups.iter().map(GroupLive::bytes).sum()
    }

    /// The live bytes of segment number `n`.
    pub(crate) fn live_in(&self, n: usize) -> u64 {
        self.groups.iter().filter_map(|group| group.by_segment.get(&n)).sum()
    }

    /// The groups with live bytes in segment number `n`, most first.
    pub(crate) fn holders(&self, n: usize) -> Vec<(&Arc<Slot>, u64)> {
        let held = |group: &GroupLive| group.by_segment.get(&n).copied();
        let mut holders: Vec<_> =
            self.groups.iter().filter_map(|group| Some((&group.slot, held(group)?))).collect();
        holders.sort_unstable_by_key(|(slot, bytes)| (std::cmp::Reverse(*bytes), slot.id));
        holders
    }

    /// The groups with more than `limit` live bytes, most first.
    pub(crate) fn groups_above(&self, limit: u64) -> Vec<GroupSpace> {
        let id = |n: usize| self.segments.get(n).map(|s| s.id);
        let of = |group: &GroupLive| GroupSpace {
            group: group.slot.id,
            live_bytes: group.bytes(),
            pins: group.by_segment.iter().filter_map(|(n, bytes)| Some((id(*n)?, *bytes))).collect(),
        };
        let mut groups: Vec<GroupSpace> =
            self.groups.iter().filter(|group| group.bytes() > limit).map(of).collect();
        groups.sort_unstable_by_key(|group| (std::cmp::Reverse(group.live_bytes), group.group));
        groups
    }

    pub(crate) fn space(&self) -> Space {
        let segments: Vec<SegmentSpace> = self
            .segments
            .iter()
            .enumerate()
            .map(|(n, s)| {
                let live_bytes = self.live_in(n);
                let dead_bytes = span(s).saturating_sub(live_bytes);
                SegmentSpace { id: s.id, first_lsn: s.first_lsn, sealed: s.sealed, live_bytes, dead_bytes }
            })
            .collect();
        let groups = self.groups_above(0);
        let (disk_bytes, live_bytes) = (disk_bytes(&self.segments), self.live_bytes());
        let pending =
            |group: &GroupLive| group.by_segment.range(segments.len()..).map(|(_, bytes)| bytes).sum::<u64>();
        let pending_bytes = self.groups.iter().map(pending).sum();
        Space { segments, groups, disk_bytes, live_bytes, pending_bytes }
    }
}

/// Bytes of log in a segment.
pub(crate) fn span(segment: &SegmentInfo) -> u64 {
    segment.end_lsn.distance_from(segment.first_lsn).unwrap_or(0)
}

/// Size of the segment files without their footers, which are an index: a few bytes per entry and group.
pub(crate) fn disk_bytes(segments: &[SegmentInfo]) -> u64 {
    segments.iter().map(|s| s.file_bytes.saturating_sub(s.footer_bytes)).sum()
}
