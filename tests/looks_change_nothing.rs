//! Read-only use changes nothing: no file, no name, no directory, no lock, and not even what a disk's fingerprint
//! does not show, such as a new empty directory.
#![cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use raft::eraftpb::{ConfState, Entry, HardState};
use seawall::io::sim::SimDisk;
use seawall::io::{Access, Disk, File, Lock};
use seawall::raft::RaftOptions;
use seawall::raft::repair::DropPlan;
use seawall::repair::{Choice, Plan};
use seawall::{LogView, Options, verify_on};

/// Counts the calls that change something, or may.
#[derive(Clone, Debug)]
struct Watched {
    inner: Arc<dyn Disk>,
    changes: Arc<AtomicUsize>,
}

impl Watched {
    fn change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Disk for Watched {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.change();
        self.inner.create(name)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        if access == Access::ReadWrite {
            self.change();
        }
        self.inner.open(name, access)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change();
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change();
        self.inner.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn sync(&self) -> io::Result<()> {
        self.change();
        self.inner.sync()
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        self.change();
        Ok(Arc::new(Watched { inner: self.inner.subdir(name)?, ..self.clone() }))
    }

    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(Watched { inner: self.inner.open_dir(name)?, ..self.clone() }))
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        self.change();
        self.inner.lock(name)
    }

    fn free_space(&self) -> io::Result<u64> {
        self.inner.free_space()
    }
}

fn options() -> RaftOptions {
    RaftOptions::new().node_id(3).wal(Options::new().segment_size(32 << 10).threads(false))
}

/// A closed log of one group, with and without a snapshot; and how to look at it and count.
fn logs() -> Vec<(SimDisk, Watched)> {
    [false, true]
        .map(|with_snapshot| {
            let disk = SimDisk::new();
            let log = options().open_on(Arc::new(disk.clone())).unwrap();
            let members = ConfState::from((vec![3], vec![]));
            let group = log.create_group(7, members.clone()).unwrap();
            let mut batch = log.batch();
            batch.append(7, &[Entry { index: 1, term: 1, ..Entry::default() }]).unwrap();
            batch.set_hard_state(7, &HardState { term: 1, commit: 1, ..HardState::default() }).unwrap();
            batch.set_applied(7, 1, 1).unwrap();
            log.commit(batch).unwrap();
            if with_snapshot {
                group.save_snapshot(1, members, b"state").unwrap();
            }
            log.close().unwrap();
            drop((group, log));
            let watched = Watched { inner: Arc::new(disk.clone()), changes: Arc::default() };
            (disk, watched)
        })
        .into()
}

#[test]
fn looks_and_plans_of_repairs_change_nothing() {
    for (sim, watched) in logs() {
        let whole = sim.contents("superblock").unwrap();
        for superblock in [whole.clone(), vec![0x55; whole.len()]] {
            sim.put("superblock", superblock);
            let disk: Arc<dyn Disk> = Arc::new(watched.clone());
            let before = sim.fingerprint();
            let choices = [
                Choice::Cut,
                Choice::RebuildFooters,
                Choice::RebuildSuperblock { owner: None, oldest: None },
            ];
            choices.into_iter().for_each(|choice| drop(Plan::of(&disk, choice)));
            drop((DropPlan::of(&disk, &options()), verify_on(&disk), LogView::open_on(&disk)));
            drop(LogView::open_damaged_on(&disk));
            assert_eq!(watched.changes.load(Ordering::Relaxed), 0);
            assert_eq!(sim.fingerprint(), before);
        }
        // The control: what is carried out is seen.
        let disk: Arc<dyn Disk> = Arc::new(watched.clone());
        Plan::of(&disk, Choice::RebuildSuperblock { owner: Some(3), oldest: None })
            .unwrap()
            .apply(None)
            .unwrap();
        assert!(watched.changes.load(Ordering::Relaxed) > 5);
    }
}
