//! A simulated disk: separate volatile and durable content, crashes that leave any state POSIX allows, faults at any
//! call.
//!
//! ```text
//!   write, set_len        sync            crash
//!  ---------------> cache -----> device  -------> a new disk: of each sector that was written and not synced,
//!   create, rename,   names -------^               the old bytes, the new ones, some in between, a mixture, zeros,
//!   remove            directory sync               or garbage; of each size and name not synced, the old or the new
//! ```
//!
//! A [`SimDisk`] is a handle on a simulated machine's directory; pass it to a program as its [`Disk`](super::Disk).
//! With a single-threaded program, everything is determined by the seed.
//!
//! * [`SimDisk::plan`] sets which call fails and how: an operating system error, a short write, a failed sync that
//!   drops or keeps its pages, a power failure. [`SimDisk::set_space`] limits its space, [`SimDisk::break_sector`]
//!   makes a sector unreadable.
//! * [`SimDisk::crash`] returns the disk after a power failure; [`SimDisk::kill`] the one after the process was
//!   killed, when the cache survives. [`SimDisk::evict`] drops from the cache what a failed sync left clean.
//! * [`SimDisk::unsynced`] lists what a crash may keep or lose, and [`SimDisk::crash_as`] decides about each item, so
//!   all combinations can be enumerated.
//! * [`SimDisk::keep_history`] makes one run serve for a crash at each of its calls: [`SimDisk::before`] is the disk
//!   as it was then. [`SimDisk::fingerprint`] tells whether a state was seen before.
//! * [`SimDisk::move_directory`] and [`SimDisk::remove_directory`] change what a path leads to; handles opened before
//!   still work in the directory.
//! * [`SimDisk::trace`] lists the calls.
//!
//! # A crash at every call
//!
//! ```
//! use std::sync::Arc;
//! use seawall::io::sim::{CrashStyle, SimDisk};
//! use seawall::{Error, Options, Wal};
//!
//! fn open(disk: &SimDisk) -> Result<Wal, Error> {
//!     // On one thread, so that each run makes the same calls.
//!     Options::new().segment_size(64 << 10).threads(false).open_on(Arc::new(disk.clone()))
//! }
//!
//! let disk = SimDisk::new();
//! disk.keep_history();
//! let wal = open(&disk)?;
//! let mut acknowledged = Vec::new(); // the call before which each record was
//! for n in 0..3u8 {
//!     wal.append([n; 100])?;
//!     acknowledged.push(disk.calls());
//! }
//! for call in disk.history() {
//!     let before = disk.before(call).unwrap();
//!     for style in [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::Chaos(call)] {
//!         let found = open(&before.crash(style))?;
//!         let promised = acknowledged.iter().filter(|at| **at <= call).count();
//!         assert!(found.iter().count() >= promised, "power off before call {call}, {style:?}");
//!     }
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! Assumptions: directories themselves are durable, a rename is atomic, and bytes of a file that were never written
//! read as zeros.

mod crash;
mod directory;
mod disk;
mod fault;
mod inode;
mod pages;
mod rng;
#[cfg(test)]
mod tests;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use inode::Inode;
use pages::{Pages, mix};
use trace::Event;

pub use crash::{CrashStyle, Fate, Unsynced};
pub use fault::{Call, Fault, FaultPlan, SyncFailure, Trigger};
pub use pages::{SECTOR, TEAR};
pub use rng::Rng;

/// A simulated directory, for use as a [`Disk`](super::Disk).
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
    /// The path when the directory was opened.
    path: PathBuf,
    directory: DirectoryId,
}

/// A directory, whatever its present name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DirectoryId(u64);

/// The top directory.
const TOP: DirectoryId = DirectoryId(0);

/// A name change that no directory sync has covered.
#[derive(Clone, Debug)]
enum NameChange {
    Set { name: Arc<str>, inode: usize },
    Remove { name: Arc<str> },
    Rename { from: Arc<str>, to: Arc<str>, inode: usize },
}

type Names = BTreeMap<Arc<str>, usize>;

/// Files and names. Copies share what neither of them changes.
#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Arc<Inode>>,
    /// Names as the running system sees them.
    names: Arc<Names>,
    /// Names on the device.
    durable_names: Arc<Names>,
    pending: Vec<NameChange>,
    /// The subdirectories, and the key prefix of the files in each: the directory's names, each followed by a slash.
    directories: BTreeMap<DirectoryId, String>,
    /// Number of subdirectories ever created.
    directories_made: u64,
}

/// The machine.
#[derive(Debug, Default)]
struct World {
    state: State,
    locks: BTreeSet<Arc<str>>,
    plan: FaultPlan,
    calls: u64,
    trace: Vec<Event>,
    /// The state before each call that changes something, if history is kept.
    history: Option<BTreeMap<u64, State>>,
    /// Bytes that may still be allocated.
    space: Option<u64>,
    /// The power is off: every call fails.
    off: bool,
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
        SimDisk { world: Arc::default(), path: PathBuf::from("sim"), directory: TOP }
    }

    /// Another machine's disk, with the path of this one.
    fn beside(&self, state: State, space: Option<u64>) -> SimDisk {
        let world = Arc::new(Mutex::new(World { state, space, ..World::default() }));
        SimDisk { world, path: self.path.clone(), directory: self.directory }
    }

    /// Sets the fault plan, and restarts the call count at 0.
    pub fn plan(&self, plan: FaultPlan) {
        let mut world = self.world.lock();
        world.plan = plan;
        world.calls = 0;
        world.history.iter_mut().for_each(BTreeMap::clear);
    }

    /// Calls since the plan was set.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.world.lock().calls
    }

    /// The calls so far, one line each.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.world.lock().trace.iter().map(ToString::to_string).collect()
    }

    /// From now on the disk remembers its state before each call that changes something. Setting a plan, which
    /// restarts the call count, clears the history.
    pub fn keep_history(&self) {
        self.world.lock().history = Some(BTreeMap::new());
    }

    /// The calls whose preceding state is remembered: those that change something.
    #[must_use]
    pub fn history(&self) -> Vec<u64> {
        self.world.lock().history.iter().flat_map(|h| h.keys().copied()).collect()
    }

    /// The disk as it was before call `call`, to be crashed or killed: the state that a program leaves if that call
    /// and everything after it fails.
    #[must_use]
    pub fn before(&self, call: u64) -> Option<SimDisk> {
        let world = self.world.lock();
        let state = world.history.as_ref()?.get(&call)?.clone();
        Some(self.beside(state, world.space))
    }

    /// Limits the total size of all files, in bytes.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.world.lock().space = bytes;
    }

    /// The names of all files; in subdirectories, preceded by the directory's name.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.world.lock().state.names.keys().map(|n| n.to_string()).collect()
    }

    /// A file's bytes as a read would see them.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world.lock();
        world.state.named(name).map(|i| i.cache.to_vec())
    }

    /// Puts a file there as if it had always existed: bytes and name durable.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let mut world = self.world.lock();
        let (state, name) = (&mut world.state, Arc::<str>::from(name));
        let at = state.inodes.len();
        let pages = Pages::from_bytes(bytes.as_ref());
        state.inodes.push(Arc::new(Inode::synced(Arc::clone(&name), pages, BTreeSet::new())));
        Arc::make_mut(&mut state.names).insert(Arc::clone(&name), at);
        Arc::make_mut(&mut state.durable_names).insert(name, at);
    }

    /// Removes a file as if it had never existed.
    pub fn take(&self, name: &str) -> Option<Vec<u8>> {
        let mut world = self.world.lock();
        let bytes = world.state.named(name).map(|i| i.cache.to_vec());
        Arc::make_mut(&mut world.state.durable_names).remove(name);
        Arc::make_mut(&mut world.state.names).remove(name);
        bytes
    }

    /// Makes a sector of a file unreadable: reading it returns `EIO`.
    pub fn break_sector(&self, name: &str, sector: usize) {
        let mut world = self.world.lock();
        if let Some(at) = world.state.names.get(name).copied()
            && let Some(inode) = world.state.inodes.get_mut(at)
        {
            Arc::make_mut(inode).unreadable.insert(sector);
        }
    }

    /// The disk after the process was killed: the cache survives, locks are gone.
    #[must_use]
    pub fn kill(&self) -> SimDisk {
        let world = self.world.lock();
        self.beside(world.state.clone(), world.space)
    }

    /// The system drops clean pages from its cache. Pages that a failed sync marked clean are not on the device, so
    /// reads return what is there ([`SyncFailure::DropsPages`]).
    pub fn evict(&self) {
        let mut world = self.world.lock();
        world.state.inodes.iter_mut().for_each(|inode| Arc::make_mut(inode).evict());
    }

    /// A number that distinguishes states of the disk: names, contents, and whether something is unsynced.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let world = self.world.lock();
        let state = &world.state;
        let mut sum = mix(0, state.pending.len() as u64);
        for (name, at) in &*state.names {
            sum = name.bytes().fold(sum, |sum, b| mix(sum, u64::from(b)));
            let inode = state.inode(*at);
            sum = mix(sum, inode.cache.fingerprint());
            if !inode.pending.is_empty() || inode.resized() {
                sum = mix(mix(sum, inode.pending.len() as u64), inode.device.fingerprint());
            }
        }
        sum
    }
}

impl State {
    /// The file with this index.
    ///
    /// **Invariant.** Names and name changes refer to existing files: files are added and never removed.
    fn inode(&self, at: usize) -> &Arc<Inode> {
        assert!(at < self.inodes.len(), "a name leads to file {at} of {}", self.inodes.len());
        #[allow(clippy::indexing_slicing)] // just asserted
        &self.inodes[at]
    }

    fn named(&self, name: &str) -> Option<&Inode> {
        self.names.get(name).map(|at| &**self.inode(*at))
    }
}
