//! The replicated state: one map in memory per group, and the thread that applies entries to it.
//!
//! Only the log and the snapshots are durable; the map is rebuilt from them at each start.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, PoisonError, RwLock};

use seawall::raft::Apply;

use crate::Fallible;
use crate::node::Event;
use crate::wire::{get_pair, put_pair};

pub(crate) type Map = BTreeMap<String, Arc<[u8]>>;

/// One group's map, shared between the applying thread and readers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine(Arc<RwLock<Map>>);

impl Machine {
    /// The value, if there is one.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<[u8]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// The whole map at this moment; the values are shared, not copied.
    pub(crate) fn copy(&self) -> Map {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the map by a snapshot's.
    pub(crate) fn restore(&self, data: &[u8]) -> Fallible<()> {
        let map = decode(data)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = map;
        Ok(())
    }

    fn apply(&self, apply: &Apply) -> Fallible<()> {
        if let Apply::Snapshot(snapshot) = apply {
            return self.restore(snapshot.get_data());
        }
        for entry in apply.commands() {
            let (key, value) = get_pair(&entry.data)?;
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, value.into());
        }
        Ok(())
    }
}

/// A put in the form of an entry.
pub(crate) fn command(key: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + key.len() + value.len());
    put_pair(&mut out, key, value);
    out
}

/// A snapshot: pairs, each preceded by its length.
pub(crate) fn encode(map: &Map) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in map {
        out.extend_from_slice(&((4 + key.len() + value.len()) as u64).to_le_bytes());
        put_pair(&mut out, key, value);
    }
    out
}

fn decode(mut data: &[u8]) -> Fallible<Map> {
    let mut map = Map::new();
    while let Some((len, rest)) = data.split_first_chunk() {
        let len = usize::try_from(u64::from_le_bytes(*len))?;
        let (pair, rest) = rest.split_at_checked(len).ok_or("a snapshot that is cut off")?;
        let (key, value) = get_pair(pair)?;
        map.insert(key, value.into());
        data = rest;
    }
    Ok(map)
}

/// Work for the applying thread, in order.
pub(crate) enum Job {
    Apply(u64, Apply),
    /// Hand over the map once everything before this is applied.
    Freeze(u64),
}

/// Applies jobs, off the path of ticks and messages, and reports back.
pub(crate) fn run(jobs: &Receiver<Job>, machines: &BTreeMap<u64, Machine>, events: &Sender<Event>) {
    let mut applied: BTreeMap<u64, u64> = BTreeMap::new();
    for job in jobs {
        let event = match job {
            Job::Apply(group, apply) => {
                let (index, _) = apply.last();
                let done = machines.get(&group).map_or(Ok(()), |machine| machine.apply(&apply));
                applied.insert(group, index);
                match done {
                    Ok(()) => Event::Applied { group, index },
                    Err(e) => Event::Fatal { what: format!("group {group}, up to index {index}: {e}") },
                }
            }
            Job::Freeze(group) => {
                let map = machines.get(&group).map(Machine::copy).unwrap_or_default();
                Event::Frozen { group, index: applied.get(&group).copied().unwrap_or(0), map }
            }
        };
        if events.send(event).is_err() {
            return;
        }
    }
}
