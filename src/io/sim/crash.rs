//! Crashes: choosing one of the states that POSIX allows.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Inode, NameChange, SECTOR, SimDisk, TEAR, World};

/// A small generator of pseudo-random numbers (`SplitMix64`): the same everywhere, from a seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence that follows from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which must not be 0; 0 if it is.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw().checked_rem(n).unwrap_or(0)
    }
}

/// How a crash treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashStyle {
    /// All of it is lost: the device as it was synced.
    LoseAll,
    /// All of it survives.
    KeepAll,
    /// Each unsynced sector, in order, is kept when its bit is set and lost when not; names are kept.
    Subset(u64),
    /// Anything goes, from the seed: kept, lost, torn, zeroed or garbage, each sector and each name by itself.
    Chaos(u64),
}

/// What becomes of one sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    Lose,
    /// Of the pieces a sector can be torn into, those whose bit is set are kept.
    Tear(u8),
    Zero,
    Garbage(u64),
}

impl SimDisk {
    /// The disk as it is found after a power failure now.
    #[must_use]
    pub fn crash(&self, style: CrashStyle) -> SimDisk {
        let world = self.world.lock();
        let mut chooser = Chooser { style, rng: Rng::new(seed_of(style)), at: 0 };
        let inodes: Vec<Inode> = world.inodes.iter().map(|i| crash_inode(i, &mut chooser)).collect();
        let names = crash_names(&world, &mut chooser);
        let mut next =
            World { inodes, durable_names: names.clone(), names, space: world.space, ..World::default() };
        next.forget_unnamed();
        SimDisk { world: Arc::new(Mutex::new(next)), dir: self.dir.clone(), prefix: self.prefix.clone() }
    }
}

const fn seed_of(style: CrashStyle) -> u64 {
    match style {
        CrashStyle::Chaos(seed) => seed,
        _ => 0,
    }
}

struct Chooser {
    style: CrashStyle,
    rng: Rng,
    at: u32,
}

impl Chooser {
    fn sector(&mut self) -> Fate {
        let at = self.at;
        self.at += 1;
        match self.style {
            CrashStyle::LoseAll => Fate::Lose,
            CrashStyle::KeepAll => Fate::Keep,
            CrashStyle::Subset(bits) => {
                if at < 64 && bits >> at & 1 == 1 {
                    Fate::Keep
                } else {
                    Fate::Lose
                }
            }
            CrashStyle::Chaos(_) => match self.rng.below(16) {
                0..=5 => Fate::Keep,
                6..=11 => Fate::Lose,
                12 | 13 => Fate::Tear(self.rng.draw().to_le_bytes()[0]),
                14 => Fate::Zero,
                _ => Fate::Garbage(self.rng.draw()),
            },
        }
    }

    fn keep(&mut self) -> bool {
        match self.style {
            CrashStyle::LoseAll => false,
            CrashStyle::KeepAll | CrashStyle::Subset(_) => true,
            CrashStyle::Chaos(_) => self.rng.below(2) == 0,
        }
    }
}

fn crash_inode(inode: &Inode, chooser: &mut Chooser) -> Inode {
    let mut device = Arc::clone(&inode.device);
    let grown = inode.resized && chooser.keep();
    if grown {
        Arc::make_mut(&mut device).resize(inode.cache.len(), 0);
    }
    for sector in inode.dirty.union(&inode.limbo) {
        let fate = chooser.sector();
        if fate == Fate::Lose {
            continue;
        }
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(inode.cache.len()).min(device.len());
        let (Some(old), Some(new)) =
            (Arc::make_mut(&mut device).get_mut(start..end), inode.cache.get(start..end))
        else {
            continue;
        };
        apply(fate, old, new);
    }
    Inode { cache: Arc::clone(&device), device, unreadable: inode.unreadable.clone(), ..Inode::default() }
}

fn apply(fate: Fate, old: &mut [u8], new: &[u8]) {
    match fate {
        Fate::Lose => {}
        Fate::Keep => old.copy_from_slice(new),
        Fate::Tear(mask) => {
            for (i, (o, n)) in old.chunks_mut(TEAR).zip(new.chunks(TEAR)).enumerate() {
                if mask >> (i % 8) & 1 == 1 {
                    o.copy_from_slice(n);
                }
            }
        }
        Fate::Zero => old.fill(0),
        Fate::Garbage(seed) => {
            let mut rng = Rng::new(seed);
            old.iter_mut().for_each(|b| *b = rng.draw().to_le_bytes()[0]);
        }
    }
}

/// Each change of names that was not synced happened or did not, a rename as a whole.
fn crash_names(world: &World, chooser: &mut Chooser) -> BTreeMap<String, usize> {
    let mut names = world.durable_names.clone();
    for change in &world.pending {
        if !chooser.keep() {
            continue;
        }
        match change {
            NameChange::Set { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Remove { name } => {
                names.remove(name);
            }
            NameChange::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
    names
}
