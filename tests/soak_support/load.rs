//! The load: a worker has some of the groups, and does to them what a node does over weeks.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use raft::eraftpb::Snapshot;
use seawall::raft::RaftLog;

use super::Fallible;
use super::model::{Member, Stream, members};
use super::verify::{Depth, compare_snapshot, verify};

/// One group in this many lags: it compacts rarely, and so keeps many entries.
const LAGGARDS: u64 = 20;

/// Shared by the workers and the measuring thread.
#[derive(Default)]
pub struct Shared {
    pub stop: AtomicBool,
    pub operations: AtomicU64,
    /// Read-locked by each step; write-locked to pause the load.
    pub going: RwLock<()>,
}

pub struct Worker {
    members: Vec<Member>,
    random: Stream,
}

/// Entries that accumulate before a group compacts.
fn patience(id: u64, random: &mut Stream) -> u64 {
    if id.is_multiple_of(LAGGARDS) { 400 + random.below(1200) } else { 20 + random.below(60) }
}

/// Makes a group that has seen its first term.
fn create(log: &RaftLog, id: u64) -> Fallible<()> {
    log.create_group(id, members())?;
    let mut batch = log.batch();
    batch.set_hard_state(id, &Member::new(id, 0, 0).hard_state())?;
    log.commit(batch)?;
    Ok(())
}

impl Worker {
    /// The worker that has these groups; it creates them.
    pub fn new(log: &RaftLog, ids: impl Iterator<Item = u64>, seed: u64) -> Fallible<Self> {
        let mut worker = Worker { members: Vec::new(), random: Stream::new([seed, 0, 0, 0]) };
        for id in ids {
            create(log, id)?;
            let patience = patience(id, &mut worker.random);
            worker.members.push(Member::new(id, 0, patience));
        }
        // A log that has been in use for long: laggards are anywhere between empty and full.
        for at in 0..worker.members.len() {
            let gathered = worker.random.below(worker.members[at].patience);
            for _ in 0..gathered / 32 {
                worker.write(log, &[at], 32)?;
            }
        }
        Ok(worker)
    }

    /// Works until it is told to stop.
    pub fn work(&mut self, log: &RaftLog, shared: &Shared) -> Fallible<()> {
        let done = self.work_on(log, shared);
        if done.is_err() {
            shared.stop.store(true, Ordering::Release);
        }
        done
    }

    fn work_on(&mut self, log: &RaftLog, shared: &Shared) -> Fallible<()> {
        while !shared.stop.load(Ordering::Acquire) {
            let _going = shared.going.read();
            self.step(log)?;
            shared.operations.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn step(&mut self, log: &RaftLog) -> Fallible<()> {
        let at = self.any();
        match self.random.below(1000) {
            0..=2 => self.recreate(log, at),
            3..=9 => self.install(log, at),
            10..=59 => self.overwrite(log, at),
            60..=259 => verify(log, &self.members[at], Depth::Some(self.random.next())),
            260..=264 => {
                compare_snapshot(&log.group(self.members[at].id).ok_or("a group is gone")?, &self.members[at])
            }
            _ => {
                let mut some: Vec<usize> = (0..1 + self.random.below(8)).map(|_| self.any()).collect();
                some.sort_unstable();
                some.dedup();
                let count = 1 + self.random.below(12);
                self.write(log, &some, count)?;
                some.into_iter().try_for_each(|at| self.compact_if_due(log, at))
            }
        }
    }

    fn any(&mut self) -> usize {
        self.random.below(self.members.len() as u64) as usize
    }

    /// Entries for some groups in one batch; most of them are committed at once, and applied.
    fn write(&mut self, log: &RaftLog, some: &[usize], count: u64) -> Fallible<()> {
        let mut batch = log.batch();
        for at in some {
            let open = self.random.below(6);
            let member = &mut self.members[*at];
            let entries = member.append(member.last + 1, count);
            batch.append(member.id, &entries)?;
            member.commit = member.commit.max(member.last.saturating_sub(open));
            batch.set_hard_state(member.id, &member.hard_state())?;
            member.applied = member.commit;
            batch.set_applied(member.id, member.applied, member.term_of(member.applied))?;
        }
        log.commit(batch)?;
        Ok(())
    }

    /// A new leader's entries replace those that are not committed.
    fn overwrite(&mut self, log: &RaftLog, at: usize) -> Fallible<()> {
        let count = 1 + self.random.below(8);
        let member = &mut self.members[at];
        member.term += 1;
        let entries = member.append(member.commit + 1, count);
        let mut batch = log.batch();
        batch.append(member.id, &entries)?;
        batch.set_hard_state(member.id, &member.hard_state())?;
        log.commit(batch)?;
        Ok(())
    }

    /// Saves a snapshot, in one piece or in many, and compacts up to it, less a few entries.
    fn compact_if_due(&mut self, log: &RaftLog, at: usize) -> Fallible<()> {
        let (in_pieces, large, keep) = (self.random.below(3), self.random.below(50), self.random.below(6));
        let patience = patience(self.members[at].id, &mut self.random);
        let member = &mut self.members[at];
        let newest = member.snapshot.map_or(0, |(index, _)| index);
        if member.entries() < member.patience || member.applied <= newest {
            return Ok(());
        }
        let index = member.applied;
        let group = log.group(member.id).ok_or("a group is gone")?;
        // The large ones are several chunks long.
        let length = if large == 0 { 700 << 10 } else { 100 + index % 6000 };
        let mut state = member.state_at(index);
        if in_pieces == 0 || large == 0 {
            let mut sink = group.snapshot_sink(index, &members())?;
            while sink.written() < length {
                let mut piece = vec![0; (length - sink.written()).min(8 << 10) as usize];
                state.fill(&mut piece);
                sink.write_all(&piece)?;
            }
            sink.finish()?;
        } else {
            let mut data = vec![0; length as usize];
            state.fill(&mut data);
            group.save_snapshot(index, members(), data)?;
        }
        member.snapshot = Some((index, length));
        let to = index.saturating_sub(keep).max(member.compacted.0);
        let mut batch = log.batch();
        batch.compact(member.id, to)?;
        log.commit(batch)?;
        if to > member.compacted.0 {
            member.compact(to);
        }
        member.patience = patience;
        Ok(())
    }

    /// A group that was left behind receives a snapshot and continues from there.
    fn install(&mut self, log: &RaftLog, at: usize) -> Fallible<()> {
        let ahead = 1 + self.random.below(500);
        let member = &mut self.members[at];
        let (index, length) = (member.last + ahead, 2000);
        let mut data = vec![0; length as usize];
        member.state_at(index).fill(&mut data);
        let mut snapshot = Snapshot::default();
        snapshot.data = data.into();
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = (index, member.term);
        meta.set_conf_state(members());
        let mut batch = log.batch();
        batch.install_snapshot(member.id, &snapshot)?;
        batch.set_hard_state(member.id, &{
            let mut hs = member.hard_state();
            hs.commit = index;
            hs
        })?;
        log.commit(batch)?;
        member.install(index, length);
        Ok(())
    }

    fn recreate(&mut self, log: &RaftLog, at: usize) -> Fallible<()> {
        let (id, incarnation) = (self.members[at].id, self.members[at].incarnation + 1);
        log.remove_group(id)?;
        create(log, id)?;
        self.members[at] = Member::new(id, incarnation, patience(id, &mut self.random));
        Ok(())
    }

    /// Compares all of the worker's groups with their expected state.
    pub fn verify(&mut self, log: &RaftLog, everything: bool) -> Fallible<()> {
        for member in &self.members {
            let depth = if everything { Depth::Everything } else { Depth::Some(self.random.next()) };
            verify(log, member, depth)?;
        }
        Ok(())
    }
}
