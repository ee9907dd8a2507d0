//! Sequences of Raft operations with kills, power failures and failing recoveries, compared with `raft_model`.
//!
//! ```text
//!   acknowledged ── submitted ── submitted ── ...     a restart finds one of these states, and none in between
//! ```

use seawall::Options;
use seawall::io::sim::{CrashStyle, FaultPlan, SimDisk};
use seawall::raft::{Error, RaftLog, RaftOptions, Result};

use super::cursor::Cursor;
use super::directory::{options, shared};
use super::raft_model::{Groups, Model, Taken, conf, metadata, observe, save, stage};

/// One input.
pub fn run(input: &[u8]) {
    let mut input = Cursor::new(input);
    let mut node = Node::new();
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        node.step(&mut input);
    }
    // The remaining state must survive as well.
    node.restart(CrashStyle::KeepAll, 0);
}

fn open(disk: &SimDisk) -> Result<RaftLog> {
    // A crash may spoil a whole sector that was being written, so no block may share one with what was acknowledged.
    let wal: Options = options().segment_size(40 << 10).block_align(4096);
    RaftOptions::new().node_id(1).wal(wal).snapshot_chunk(1000).open_on(shared(disk))
}

struct Node {
    disk: SimDisk,
    log: RaftLog,
    /// The states that a restart may find: the last acknowledged one, and those submitted since.
    states: Vec<Groups>,
    /// The power may already be off, and then nothing can be read.
    failing: bool,
}

impl Node {
    fn new() -> Self {
        let disk = SimDisk::new();
        let log = open(&disk).unwrap_or_else(|e| panic!("an empty directory is refused: {e}"));
        Node { disk, log, states: vec![Groups::new()], failing: false }
    }

    fn now(&self) -> Groups {
        self.states.last().cloned().unwrap_or_default()
    }

    /// The operations, and whether they are acknowledged. After a failure the node restarts.
    fn settle(&mut self, state: Groups, taken: Taken, acknowledged: bool) {
        self.states.push(state);
        match taken {
            Ok(()) if acknowledged => drop(self.states.drain(..self.states.len() - 1)),
            Ok(()) => {}
            Err(_) => self.restart(CrashStyle::LoseAll, 0),
        }
        if !self.failing {
            assert!(observe(&self.log) == self.now(), "the log shows something else than was done");
        }
    }

    fn step(&mut self, input: &mut Cursor<'_>) {
        match input.below(16) {
            0..=7 => self.batch(input),
            8 => self.create(input),
            9 => self.remove(input),
            10 | 11 => self.save(input),
            12 => {
                let purged = below(self.log.purge());
                let now = self.now();
                self.settle(now, purged, true);
            }
            13 => self.kill(),
            14 => {
                let style = match input.below(4) {
                    0 => CrashStyle::LoseAll,
                    1 => CrashStyle::KeepAll,
                    _ => CrashStyle::Chaos(u64::from(input.u16())),
                };
                self.restart(style, input.u8());
            }
            // The power fails during one of the next operations.
            _ => {
                self.disk.plan(FaultPlan::power_off_at(u64::from(input.below(40))));
                self.failing = true;
            }
        }
    }

    fn batch(&mut self, input: &mut Cursor<'_>) {
        let mut state = self.now();
        let mut batch = self.log.batch();
        for _ in 0..=input.below(4) {
            let id = u64::from(input.below(3)) + 1;
            let Some(m) = state.get_mut(&id) else { continue };
            if let Err(e) = stage(input, &mut batch, id, m) {
                let now = self.now();
                return self.settle(now, Err(e), false);
            }
        }
        let wait = input.below(4) > 0;
        let ticket = self.log.submit(batch);
        let taken = match (wait, ticket) {
            (true, Ok(ticket)) => ticket.wait().map(|_| ()),
            (_, ticket) => below(ticket),
        };
        self.settle(state, taken, wait);
    }

    fn create(&mut self, input: &mut Cursor<'_>) {
        let id = u64::from(input.below(3)) + 1;
        let mut state = self.now();
        if state.contains_key(&id) {
            assert!(matches!(self.log.create_group(id, conf(1)), Err(Error::GroupExists { .. })));
            let behind = self.log.create_group_behind(id, &metadata((1, 1), 1));
            assert!(matches!(behind, Err(Error::GroupExists { .. })));
            return;
        }
        let choice = input.u8();
        let voters = u64::from(choice % 4) + 1;
        // The plain choice for all values that older seeds have here, so that they keep their meaning.
        if choice >= 200 {
            return self.create_behind(input, id, voters);
        }
        let created = below(self.log.create_group(id, conf(voters)));
        state.insert(id, Model::new(voters));
        self.settle(state, created, true);
    }

    fn create_behind(&mut self, input: &mut Cursor<'_>, id: u64, voters: u64) {
        let at = (u64::from(input.below(64)), u64::from(input.below(4)));
        let created = self.log.create_group_behind(id, &metadata(at, voters));
        if at.0 == 0 {
            assert!(matches!(created, Err(Error::SnapshotOutOfDate { .. })));
            return;
        }
        let mut state = self.now();
        state.insert(id, Model::behind(at, voters));
        self.settle(state, below(created), true);
    }

    fn remove(&mut self, input: &mut Cursor<'_>) {
        let id = u64::from(input.below(3)) + 1;
        let mut state = self.now();
        if state.remove(&id).is_none() {
            assert!(matches!(self.log.remove_group(id), Err(Error::NoSuchGroup { .. })));
            return;
        }
        let removed = below(self.log.remove_group(id));
        self.settle(state, removed, true);
    }

    fn save(&mut self, input: &mut Cursor<'_>) {
        let id = u64::from(input.below(3)) + 1;
        let mut state = self.now();
        let Some(m) = state.get_mut(&id) else { return };
        let saved = save(input, &self.log, id, m);
        // A refusal acknowledges nothing submitted before.
        let acknowledged = state != self.now();
        self.settle(state, saved, acknowledged);
    }

    /// The process dies; the cache survives.
    fn kill(&mut self) {
        let found = self.disk.kill();
        self.reopen(found);
    }

    /// The power fails; when `again` is not 0, it fails again during recovery.
    fn restart(&mut self, style: CrashStyle, again: u8) {
        let mut found = self.disk.crash(style);
        if again > 0 {
            found.plan(FaultPlan::power_off_at(u64::from(again) % 40));
            let opened = open(&found);
            let next = found.crash(CrashStyle::Chaos(u64::from(again)));
            drop(opened);
            found = next;
        }
        self.reopen(found);
    }

    fn reopen(&mut self, found: SimDisk) {
        let log = open(&found).unwrap_or_else(|e| panic!("refused after a crash: {e}"));
        let seen = observe(&log);
        assert!(self.states.contains(&seen), "found {seen:#?}, which is none of {:#?}", self.states);
        *self = Node { disk: found, log, states: vec![seen], failing: false };
    }
}

/// An answer that can only be a failure of the log below.
fn below<T>(answer: Result<T>) -> Taken {
    match answer {
        Ok(_) => Ok(()),
        Err(Error::Log(e)) => Err(e),
        Err(e) => panic!("refused: {e}"),
    }
}
