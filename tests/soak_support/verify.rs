//! Compares a group in the log with the model.

use std::io::Read as _;

use raft::{GetEntriesContext, Storage as _};
use seawall::raft::{GroupStorage, RaftLog};

use super::Fallible;
use super::model::{Member, Stream};

/// How much is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// A few entries from this offset on.
    Some(u64),
    /// All entries, and the snapshot.
    Everything,
}

pub fn verify(log: &RaftLog, member: &Member, depth: Depth) -> Fallible<()> {
    let group = log.group(member.id).ok_or_else(|| format!("group {} is gone", member.id))?;
    let seen = group.recover();
    let state = (seen.first_index, seen.last_index, seen.commit, seen.term, seen.applied);
    let expected = (member.compacted.0 + 1, member.last, member.commit, member.term, member.applied);
    if state != expected {
        return Err(format!(
            "group {}: first, last, commit, term, applied {state:?}, not {expected:?}",
            member.id
        )
        .into());
    }
    if group.term(member.compacted.0)? != member.compacted.1 {
        return Err(format!("group {}: another term at {}", member.id, member.compacted.0).into());
    }
    let all = member.compacted.0 + 1..member.last + 1;
    match depth {
        Depth::Some(offset) if member.entries() > 0 => {
            let from = all.start + offset % member.entries();
            compare(&group, member, from, all.end.min(from + 16))
        }
        Depth::Some(_) => Ok(()),
        Depth::Everything => {
            for from in all.clone().step_by(256) {
                compare(&group, member, from, all.end.min(from + 256))?;
            }
            compare_snapshot(&group, member)
        }
    }
}

fn compare(group: &GroupStorage, member: &Member, from: u64, to: u64) -> Fallible<()> {
    let entries = group.entries(from, to, None, GetEntriesContext::empty(false))?;
    if entries.len() as u64 != to - from {
        return Err(format!("group {}: {} entries in {from}..{to}", member.id, entries.len()).into());
    }
    match (from..to).zip(&entries).find(|(index, entry)| **entry != member.entry(*index)) {
        Some((index, entry)) => {
            Err(format!("group {}: entry {index} is another one: {entry:?}", member.id).into())
        }
        None => Ok(()),
    }
}

/// Reads a snapshot piece by piece.
pub fn compare_snapshot(group: &GroupStorage, member: &Member) -> Fallible<()> {
    let source = group.snapshot_source()?;
    let found = source.as_ref().map(|source| (source.index(), source.len()));
    if found != member.snapshot {
        return Err(format!("group {}: snapshot {found:?}, not {:?}", member.id, member.snapshot).into());
    }
    let Some(mut source) = source else { return Ok(()) };
    let mut expected: Stream = member.state_at(source.index());
    let (mut seen, mut piece) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    while source.remaining() > 0 {
        let length = source.remaining().min(seen.len() as u64) as usize;
        source.read_exact(&mut seen[..length])?;
        expected.fill(&mut piece[..length]);
        if seen[..length] != piece[..length] {
            return Err(format!("group {}: its snapshot is another one", member.id).into());
        }
    }
    Ok(())
}
