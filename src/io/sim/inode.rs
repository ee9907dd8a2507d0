//! One file: what reads see, what is on the device, and what may have been written back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::pages::{Pages, SECTOR, Sector, same};

/// A file's bytes.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    /// The name it is known by, for messages.
    pub(super) name: Arc<str>,
    /// What reads see.
    pub(super) cache: Pages,
    /// What is certainly on the device.
    pub(super) device: Pages,
    /// Sectors written but not synced.
    pub(super) pending: BTreeMap<usize, Pending>,
    /// Intermediate sizes since the last sync, without the one on the device and the present one.
    pub(super) sizes: Vec<usize>,
    /// Sectors that cannot be read.
    pub(super) unreadable: BTreeSet<usize>,
}

/// A sector written but not synced. The device may hold any of its versions: the system writes a dirty page back at
/// any time, and a later version may then be lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    /// Versions between the device's and the cache's, oldest first.
    pub(super) older: Vec<Sector>,
    /// A failed sync marked it clean: no later sync writes it.
    pub(super) dropped: bool,
}

impl Inode {
    pub(super) fn new(name: Arc<str>) -> Self {
        Inode {
            name,
            cache: Pages::default(),
            device: Pages::default(),
            pending: BTreeMap::new(),
            sizes: Vec::new(),
            unreadable: BTreeSet::new(),
        }
    }

    /// A file with these bytes, all of them on the device.
    pub(super) fn synced(name: Arc<str>, device: Pages, unreadable: BTreeSet<usize>) -> Self {
        Inode { cache: device.clone(), device, unreadable, ..Inode::new(name) }
    }

    pub(super) fn resized(&self) -> bool {
        self.cache.len() != self.device.len() || !self.sizes.is_empty()
    }

    /// Called when a sector is about to change.
    fn touch(&mut self, sector: usize) {
        let now = self.cache.sector(sector);
        let device = &self.device;
        self.pending
            .entry(sector)
            .and_modify(|p| {
                let known = same(&now, &device.sector(sector)) || p.older.iter().any(|o| same(o, &now));
                if !known {
                    p.older.push(now);
                }
                p.dropped = false;
            })
            .or_default();
    }

    /// Writes bytes within the file.
    pub(super) fn write(&mut self, start: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            (start / SECTOR..=(start + bytes.len() - 1) / SECTOR).for_each(|sector| self.touch(sector));
            self.cache.write(start, bytes);
        }
    }

    pub(super) fn resize(&mut self, len: usize) {
        let old = self.cache.len();
        if len == old {
            return;
        }
        if old != self.device.len() && !self.sizes.contains(&old) {
            self.sizes.push(old);
        }
        // What is cut off reads as zeros if the file grows again. Growing changes no byte of a sector.
        (len / SECTOR..old.div_ceil(SECTOR)).for_each(|sector| self.touch(sector));
        self.cache.resize(len);
    }

    /// A successful sync. What an earlier one dropped is clean and is not written.
    pub(super) fn sync(&mut self) {
        self.device.resize(self.cache.len());
        self.sizes.clear();
        let (cache, device) = (&self.cache, &mut self.device);
        self.pending.retain(|sector, p| {
            if !p.dropped {
                device.set(*sector, cache.sector(*sector));
            }
            p.dropped
        });
    }

    /// A failed sync that leaves the pages clean.
    pub(super) fn drop_pages(&mut self) {
        self.pending.values_mut().for_each(|p| p.dropped = true);
    }

    /// The system reclaims clean pages: what a failed sync dropped is read from the device from now on.
    pub(super) fn evict(&mut self) {
        let (cache, device) = (&mut self.cache, &self.device);
        self.pending.retain(|sector, p| {
            if p.dropped {
                cache.set(*sector, device.sector(*sector));
            }
            !p.dropped
        });
        // A page beyond the end of the device's file comes back whole, and the cache's file may be shorter.
        let len = self.cache.len();
        self.cache.resize(len.next_multiple_of(SECTOR));
        self.cache.resize(len);
    }
}
