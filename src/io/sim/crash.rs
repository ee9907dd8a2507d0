//! Crashes: choosing one of the states that POSIX allows.
//!
//! Each unsynced thing has a [`Fate`]. A crash is the list of these fates, so it is data: it can be enumerated, drawn
//! from a seed, and minimised.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::inode::{Inode, Pending};
use super::pages::{Pages, Sector, bytes_of, same, sector_of};
use super::rng::Rng;
use super::{NameChange, Names, SECTOR, SimDisk, State, TEAR};

/// How a crash treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashStyle {
    /// All of it is lost: the device is as last synced.
    LoseAll,
    /// All of it survives.
    KeepAll,
    /// Each unsynced thing, in the order of [`SimDisk::unsynced`], is kept if its bit is set and lost otherwise.
    Subset(u64),
    /// Each thing gets its own random fate from the seed: kept, lost, an older version, torn, zeroed or garbage.
    Chaos(u64),
}

/// The fate of one unsynced thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is as if it had not happened.
    Lost,
    /// It happened.
    Kept,
    /// An intermediate version survives, 0 being the oldest: an earlier write of a sector was written back and the
    /// later one was not, or the file has an intermediate size. Kept if there is no such version.
    Older(u8),
    /// Of the eight pieces of a sector, those whose bit is set are new. For a size or a name: kept.
    Torn(u8),
    /// The sector is all zeros. For a size or a name: lost.
    Zeroed,
    /// The sector is garbage from this seed. For a size or a name: lost.
    Garbage(u64),
}

/// Something that a crash may keep or lose: a sector, a file's size, or a change of names.
#[derive(Clone, Debug)]
pub struct Unsynced {
    what: What,
    older: usize,
    same: bool,
}

#[derive(Clone, Debug)]
enum What {
    Sector { file: Arc<str>, sector: usize },
    Size { file: Arc<str>, from: usize, to: usize },
    Name(NameChange),
}

impl Unsynced {
    /// Whether it is the content of a sector.
    #[must_use]
    pub fn is_sector(&self) -> bool {
        matches!(self.what, What::Sector { .. })
    }

    /// Number of versions between the one on the device and the newest, from which [`Fate::Older`] chooses.
    #[must_use]
    pub fn older(&self) -> usize {
        self.older
    }

    /// Whether the newest version is the one on the device anyway, so that kept and lost are the same.
    #[must_use]
    pub fn same(&self) -> bool {
        self.same
    }
}

impl fmt::Display for Unsynced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Sector { file, sector } => write!(f, "sector {sector} of {file}"),
            What::Size { file, from, to } => write!(f, "size of {file} from {from} to {to}"),
            What::Name(NameChange::Set { name, .. }) => write!(f, "new name {name}"),
            What::Name(NameChange::Remove { name }) => write!(f, "removal of {name}"),
            What::Name(NameChange::Rename { from, to, .. }) => write!(f, "rename of {from} to {to}"),
        }
    }
}

impl SimDisk {
    /// What a crash now may keep or lose: first sectors, then sizes, then name changes, in the order in which
    /// [`SimDisk::crash_as`] takes fates. Files that can no longer have a name are left out.
    #[must_use]
    pub fn unsynced(&self) -> Vec<Unsynced> {
        self.world.lock().state.unsynced()
    }

    /// The number of sectors that a crash could lose now.
    #[must_use]
    pub fn unsynced_sectors(&self) -> usize {
        self.unsynced().iter().filter(|u| u.is_sector()).count()
    }

    /// The disk after a power failure now.
    #[must_use]
    pub fn crash(&self, style: CrashStyle) -> SimDisk {
        self.crash_as(&self.fates(style))
    }

    /// The fates that a style yields here.
    #[must_use]
    pub fn fates(&self, style: CrashStyle) -> Vec<Fate> {
        let all = || self.unsynced().into_iter();
        match style {
            CrashStyle::LoseAll => Vec::new(),
            CrashStyle::KeepAll => all().map(|_| Fate::Kept).collect(),
            CrashStyle::Subset(bits) => {
                let kept = |at: usize| at < 64 && bits >> at & 1 == 1;
                all().enumerate().map(|(at, _)| if kept(at) { Fate::Kept } else { Fate::Lost }).collect()
            }
            CrashStyle::Chaos(seed) => {
                let mut rng = Rng::new(seed);
                all().map(|u| any_fate(&u, &mut rng)).collect()
            }
        }
    }

    /// The disk after a power failure now, with these fates for the unsynced things. If the list is too short, the
    /// rest is lost.
    #[must_use]
    pub fn crash_as(&self, fates: &[Fate]) -> SimDisk {
        let world = self.world.lock();
        self.beside(world.state.crash_as(fates), world.space)
    }
}

fn any_fate(unsynced: &Unsynced, rng: &mut Rng) -> Fate {
    if unsynced.older > 0 && rng.below(3) == 0 {
        return Fate::Older({
            // A fate stores it in a byte.
            let choices = unsynced.older.min(1 + usize::from(u8::MAX));
            rng.below(choices as u64).to_le_bytes()[0]
        });
    }
    match rng.below(if unsynced.is_sector() { 16 } else { 12 }) {
        0..=5 => Fate::Kept,
        6..=11 => Fate::Lost,
        12 | 13 => Fate::Torn(rng.draw().to_le_bytes()[0]),
        14 => Fate::Zeroed,
        _ => Fate::Garbage(rng.draw()),
    }
}

impl State {
    /// The files that may have a name after a crash.
    fn reachable(&self) -> BTreeSet<usize> {
        let pending = self.pending.iter().filter_map(|c| match c {
            NameChange::Set { inode, .. } | NameChange::Rename { inode, .. } => Some(*inode),
            NameChange::Remove { .. } => None,
        });
        self.names.values().chain(self.durable_names.values()).copied().chain(pending).collect()
    }

    fn unsynced(&self) -> Vec<Unsynced> {
        let reachable = self.reachable();
        let inodes = || reachable.iter().map(|at| self.inode(*at));
        let sectors =
            inodes().flat_map(|i| i.pending.iter().map(|(sector, p)| unsynced_sector(i, *sector, p)));
        let sizes = inodes().filter(|i| i.resized()).map(|i| Unsynced {
            what: What::Size { file: Arc::clone(&i.name), from: i.device.len(), to: i.cache.len() },
            older: i.sizes.len(),
            same: i.device.len() == i.cache.len(),
        });
        let names =
            self.pending.iter().map(|c| Unsynced { what: What::Name(c.clone()), older: 0, same: false });
        sectors.chain(sizes).chain(names).collect()
    }

    fn crash_as(&self, fates: &[Fate]) -> State {
        let mut fates = fates.iter().copied().chain(std::iter::repeat(Fate::Lost));
        let mut take = || fates.next().unwrap_or(Fate::Lost);
        let reachable = self.reachable();
        let mut devices: BTreeMap<usize, (&Inode, Pages)> = BTreeMap::new();
        for at in reachable {
            let inode = self.inode(at);
            let mut device = inode.device.clone();
            // Space for every sector that may be kept; the size is decided below.
            let largest = inode.sizes.iter().copied().chain([device.len(), inode.cache.len()]).max();
            device.resize(largest.unwrap_or(0));
            for (sector, pending) in &inode.pending {
                let old = inode.device.sector(*sector);
                device.set(*sector, take().of_sector(&old, pending, &inode.cache.sector(*sector)));
            }
            devices.insert(at, (inode, device));
        }
        for (inode, device) in devices.values_mut() {
            let fate = if inode.resized() { take() } else { Fate::Kept };
            device.resize(fate.of_size(inode));
        }
        let mut names = (*self.durable_names).clone();
        for change in &self.pending {
            if take().of_name() {
                change.apply(&mut names);
            }
        }
        State::synced(&names, &devices)
    }

    /// Only what is on the device, without files that have no name.
    fn synced(names: &Names, devices: &BTreeMap<usize, (&Inode, Pages)>) -> State {
        let mut state = State::default();
        let mut moved = BTreeMap::new();
        let mut next = Names::new();
        for (name, at) in names {
            let found = devices.get(at);
            assert!(found.is_some(), "{name} leads to a file that no name led to before the crash");
            let Some((inode, device)) = found else { continue };
            let to = *moved.entry(*at).or_insert_with(|| {
                let inode = Inode::synced(Arc::clone(name), device.clone(), inode.unreadable.clone());
                state.inodes.push(Arc::new(inode));
                state.inodes.len() - 1
            });
            next.insert(Arc::clone(name), to);
        }
        state.names = Arc::new(next);
        state.durable_names = Arc::clone(&state.names);
        state
    }
}

fn unsynced_sector(inode: &Inode, sector: usize, pending: &Pending) -> Unsynced {
    Unsynced {
        what: What::Sector { file: Arc::clone(&inode.name), sector },
        older: pending.older.len(),
        same: same(&inode.device.sector(sector), &inode.cache.sector(sector)),
    }
}

impl Fate {
    fn of_sector(self, old: &Sector, pending: &Pending, new: &Sector) -> Sector {
        match self {
            Fate::Lost => old.clone(),
            Fate::Kept => new.clone(),
            Fate::Older(n) => pending.older.get(usize::from(n)).unwrap_or(new).clone(),
            Fate::Torn(mask) => tear(bytes_of(old), bytes_of(new), mask),
            Fate::Zeroed => None,
            Fate::Garbage(seed) => {
                let mut rng = Rng::new(seed);
                let mut bytes = [0; SECTOR];
                bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|b| *b = rng.draw().to_le_bytes());
                sector_of(&bytes)
            }
        }
    }

    fn of_size(self, inode: &Inode) -> usize {
        match self {
            Fate::Lost | Fate::Zeroed | Fate::Garbage(_) => inode.device.len(),
            Fate::Kept | Fate::Torn(_) => inode.cache.len(),
            Fate::Older(n) => inode.sizes.get(usize::from(n)).copied().unwrap_or(inode.cache.len()),
        }
    }

    fn of_name(self) -> bool {
        !matches!(self, Fate::Lost | Fate::Zeroed | Fate::Garbage(_))
    }
}

fn tear(old: &[u8; SECTOR], new: &[u8; SECTOR], mask: u8) -> Sector {
    let mut bytes = *old;
    for (at, (to, from)) in bytes.chunks_mut(TEAR).zip(new.chunks(TEAR)).enumerate() {
        if mask >> (at % 8) & 1 == 1 {
            to.copy_from_slice(from);
        }
    }
    sector_of(&bytes)
}

impl NameChange {
    /// Each unsynced name change happened or did not, independently; a rename as a whole.
    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Set { name, inode } => {
                names.insert(Arc::clone(name), *inode);
            }
            NameChange::Remove { name } => {
                names.remove(name);
            }
            NameChange::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(Arc::clone(to), *inode);
            }
        }
    }
}
