//! A simulated disk: volatile and durable content apart, crashes that leave any state POSIX allows, faults at any call.
//!
//! ```text
//!   write, set_len        sync            crash
//!  ---------------> cache -----> device  -------> a new disk: of each sector that was written and not synced,
//!   create, rename,   names -------^               the old bytes, the new ones, a mixture, zeros, or garbage;
//!   remove            directory sync               of each name not synced, the old one or the new one
//! ```
//!
//! A [`SimDisk`] is a handle on a simulated machine's directory. [`SimDisk::crash`] makes the disk that is found after a
//! power failure; [`SimDisk::kill`] the one after the process was killed, when the cache survives. [`SimDisk::plan`]
//! says at which call what goes wrong. With a program that uses one thread, everything follows from the seed.

mod crash;
mod disk;
mod fault;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub use crash::{CrashStyle, Rng};
pub use fault::{Call, Fault, FaultPlan, SyncFailure, Trigger};

/// The unit in which a device keeps or loses what was not synced.
pub const SECTOR: usize = 4096;
/// The unit at which a sector can be torn.
pub const TEAR: usize = 512;

/// A simulated directory, to be used as a [`Disk`](super::Disk).
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
    dir: PathBuf,
    /// The directory's key in the world: "" for the top, else its name and a slash.
    prefix: String,
}

/// One file's bytes, shared with the disks that crashes make of this one until somebody writes.
#[derive(Clone, Debug, Default)]
struct Inode {
    /// What reads see.
    cache: Arc<Vec<u8>>,
    /// What is on the device.
    device: Arc<Vec<u8>>,
    /// Sectors in which the cache is newer.
    dirty: BTreeSet<usize>,
    /// Sectors that a failed sync marked clean although they did not reach the device.
    limbo: BTreeSet<usize>,
    /// The size was changed and not synced.
    resized: bool,
    /// Sectors that cannot be read.
    unreadable: BTreeSet<usize>,
}

/// A change of names that no directory sync has covered.
#[derive(Clone, Debug)]
enum NameChange {
    Set { name: String, inode: usize },
    Remove { name: String },
    Rename { from: String, to: String },
}

/// The machine.
#[derive(Debug, Default)]
struct World {
    inodes: Vec<Inode>,
    /// Names as the running system sees them.
    names: BTreeMap<String, usize>,
    /// Names on the device.
    durable_names: BTreeMap<String, usize>,
    pending: Vec<NameChange>,
    locks: BTreeSet<String>,
    plan: FaultPlan,
    calls: u64,
    trace: Vec<String>,
    /// Bytes that may still be allocated.
    space: Option<u64>,
    /// Everything fails: the power is off.
    off: bool,
}

impl World {
    /// Drops the files that have no name, now or on the device; nobody has them open on a disk that was just made.
    fn forget_unnamed(&mut self) {
        let set = self.pending.iter_mut().filter_map(|change| match change {
            NameChange::Set { inode, .. } => Some(inode),
            _ => None,
        });
        let mut named: Vec<&mut usize> =
            self.names.values_mut().chain(self.durable_names.values_mut()).chain(set).collect();
        let kept: BTreeSet<usize> = named.iter().map(|at| **at).collect();
        for at in &mut named {
            **at = kept.range(..**at).count();
        }
        let mut at = 0..;
        self.inodes.retain(|_| at.next().is_some_and(|at| kept.contains(&at)));
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        SimDisk { world: Arc::default(), dir: PathBuf::from("sim"), prefix: String::new() }
    }

    /// Sets what goes wrong, and counts calls from 0 again.
    pub fn plan(&self, plan: FaultPlan) {
        let mut world = self.world.lock();
        world.plan = plan;
        world.calls = 0;
    }

    /// Calls since the plan was set.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.world.lock().calls
    }

    /// The calls so far, a line each.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.world.lock().trace.clone()
    }

    /// Limits what files may take in all, in bytes.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.world.lock().space = bytes;
    }

    /// The number of sectors that a crash could lose now.
    #[must_use]
    pub fn unsynced_sectors(&self) -> usize {
        let world = self.world.lock();
        world.inodes.iter().map(|i| i.dirty.len() + i.limbo.len()).sum()
    }

    /// The names of all files, those in subdirectories with their directory's name before them.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.world.lock().names.keys().cloned().collect()
    }

    /// A file's bytes as a read would see them.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world.lock();
        world.names.get(name).and_then(|i| world.inodes.get(*i)).map(|i| i.cache.to_vec())
    }

    /// Puts a file there as if it had always been: bytes and name durable.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut world = self.world.lock();
        let inode = world.inodes.len();
        let bytes = Arc::new(bytes);
        world.inodes.push(Inode { cache: Arc::clone(&bytes), device: bytes, ..Inode::default() });
        world.names.insert(name.to_owned(), inode);
        world.durable_names.insert(name.to_owned(), inode);
    }

    /// Takes a file away as if it had never been.
    pub fn take(&self, name: &str) -> Option<Vec<u8>> {
        let mut world = self.world.lock();
        world.durable_names.remove(name);
        let inode = world.names.remove(name)?;
        world.inodes.get(inode).map(|i| i.cache.to_vec())
    }

    /// Makes a sector of a file unreadable: reading it is `EIO`.
    pub fn break_sector(&self, name: &str, sector: usize) {
        let mut world = self.world.lock();
        if let Some(inode) = world.names.get(name).copied()
            && let Some(inode) = world.inodes.get_mut(inode)
        {
            inode.unreadable.insert(sector);
        }
    }

    /// The disk as it is found after the process was killed: the cache survives, locks are gone.
    #[must_use]
    pub fn kill(&self) -> SimDisk {
        let world = self.world.lock();
        let mut next = World {
            inodes: world.inodes.clone(),
            names: world.names.clone(),
            durable_names: world.durable_names.clone(),
            pending: world.pending.clone(),
            space: world.space,
            ..World::default()
        };
        next.forget_unnamed();
        SimDisk { world: Arc::new(Mutex::new(next)), dir: self.dir.clone(), prefix: self.prefix.clone() }
    }

    fn subdir_path(&self, name: &str) -> (PathBuf, String) {
        (self.dir.join(name), format!("{}{name}/", self.prefix))
    }

    fn path(&self) -> &Path {
        &self.dir
    }
}
