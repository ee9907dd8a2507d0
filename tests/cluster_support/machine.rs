//! The state machine: a hash chain over everything applied. Two of them agree at an index only if they applied the
//! same entries up to there.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use raft::eraftpb::{Entry, Snapshot};
use seawall::io::sim::Rng;

/// A number that identifies an entry. Equal entries have equal numbers everywhere.
pub fn digest(e: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    (e.index, e.term, e.get_entry_type() as i32, &e.data[..], &e.context[..]).hash(&mut hasher);
    hasher.finish()
}

/// The chain's next link.
pub fn chain(hash: u64, digest: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (hash, digest).hash(&mut hasher);
    hasher.finish()
}

/// A replica's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub index: u64,
    pub term: u64,
    pub hash: u64,
}

impl Machine {
    pub fn apply(&mut self, e: &Entry) {
        *self = Machine { index: e.index, term: e.term, hash: chain(self.hash, digest(e)) };
    }

    /// The state as a snapshot's data, of varying length.
    pub fn encode(&self, rng: &mut Rng) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [self.index, self.term, self.hash].iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.resize(24 + rng.below(3000) as usize, 0xa5);
        bytes
    }

    /// The state in a snapshot; `None` if it is not a result of [`Machine::encode`] at its index.
    pub fn restored(snapshot: &Snapshot) -> Option<Machine> {
        let data = snapshot.get_data();
        let number = |at: usize| data.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let machine = Machine { index: number(0)?, term: number(8)?, hash: number(16)? };
        let meta = snapshot.get_metadata();
        ((machine.index, machine.term) == (meta.index, meta.term)).then_some(machine)
    }
}
