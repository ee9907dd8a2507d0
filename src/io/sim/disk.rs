//! The simulated directory and files behind the [`Disk`](crate::io::Disk) and [`File`](crate::io::File) traits.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::fault::{Call, Fault, SyncFailure};
use super::inode::Inode;
use super::trace::{Event, With};
use super::{NameChange, SECTOR, SimDisk, World};
use crate::io::{Access, Allocated, Disk, File, Lock};
use crate::size::in_memory;

const EIO: i32 = 5;

impl World {
    /// Records a call, and fails it if the plan says so. Returns faults that the call itself must act on.
    fn call(&mut self, call: Call, name: &Arc<str>, with: With) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let number = self.calls;
        self.calls += 1;
        let fault = self.plan.next(call, number);
        self.trace.push(Event { number, call, name: Arc::clone(name), with, fault });
        if let (Some(history), true) = (&mut self.history, call.changes()) {
            history.insert(number, self.state.clone());
        }
        match fault {
            None => Ok(None),
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::Os(code)) => Err(io::Error::from_raw_os_error(code)),
            Some(Fault::PowerOff) => {
                self.off = true;
                Err(io::Error::from_raw_os_error(EIO))
            }
            Some(fault) => Ok(Some(fault)),
        }
    }

    fn inode(&mut self, at: usize) -> io::Result<&mut Inode> {
        self.state.inodes.get_mut(at).map(Arc::make_mut).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        let state = &self.state;
        state.names.values().filter_map(|i| state.inodes.get(*i)).map(|i| i.cache.len() as u64).sum()
    }

    /// Fails if `more` bytes are not available.
    fn reserve(&self, more: u64) -> io::Result<()> {
        match self.space {
            Some(space) if self.used() + more > space => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn sync_names(&mut self, prefix: &str) {
        let state = &mut self.state;
        let before = state.pending.len();
        state.pending.retain(|c| match c {
            NameChange::Set { name, .. } | NameChange::Remove { name } => !in_dir(name, prefix),
            NameChange::Rename { from, .. } => !in_dir(from, prefix),
        });
        if state.pending.len() < before {
            let durable = Arc::make_mut(&mut state.durable_names);
            durable.retain(|name, _| !in_dir(name, prefix));
            let here = state.names.iter().filter(|(name, _)| in_dir(name, prefix));
            durable.extend(here.map(|(name, at)| (Arc::clone(name), *at)));
        }
    }
}

fn in_dir(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| !rest.contains('/'))
}

impl Disk for SimDisk {
    fn path(&self) -> &Path {
        SimDisk::path(self)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let name = self.key(name)?;
        let mut world = self.world.lock();
        world.call(Call::Create, &name, With::Nothing)?;
        if world.state.names.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let state = &mut world.state;
        let inode = state.inodes.len();
        state.inodes.push(Arc::new(Inode::new(Arc::clone(&name))));
        Arc::make_mut(&mut state.names).insert(Arc::clone(&name), inode);
        state.pending.push(NameChange::Set { name: Arc::clone(&name), inode });
        Ok(self.file(inode, name))
    }

    fn open(&self, name: &str, _access: Access) -> io::Result<Arc<dyn File>> {
        let name = self.key(name)?;
        let mut world = self.world.lock();
        world.call(Call::Open, &name, With::Nothing)?;
        let inode = *world.state.names.get(&name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode, name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.key(from)?, self.key(to)?);
        let mut world = self.world.lock();
        world.call(Call::Rename, &from, With::To(Arc::clone(&to)))?;
        let names = Arc::make_mut(&mut world.state.names);
        let inode = names.remove(&from).ok_or(io::ErrorKind::NotFound)?;
        names.insert(Arc::clone(&to), inode);
        world.inode(inode)?.name = Arc::clone(&to);
        world.state.pending.push(NameChange::Rename { from, to, inode });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let name = self.key(name)?;
        let mut world = self.world.lock();
        world.call(Call::Remove, &name, With::Nothing)?;
        Arc::make_mut(&mut world.state.names).remove(&name).ok_or(io::ErrorKind::NotFound)?;
        world.state.pending.push(NameChange::Remove { name });
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let prefix = self.prefix()?;
        let mut world = self.world.lock();
        world.call(Call::List, &self.here(), With::Nothing)?;
        let here = world.state.names.keys().filter(|n| in_dir(n, &prefix));
        Ok(here.filter_map(|n| n.strip_prefix(prefix.as_str())).map(str::to_owned).collect())
    }

    fn sync(&self) -> io::Result<()> {
        // A removed directory can be synced: nothing in it has a name.
        let prefix = self.prefix().ok();
        let mut world = self.world.lock();
        match world.call(Call::SyncDir, &self.here(), With::Nothing)? {
            Some(Fault::Sync(_)) => Err(io::Error::from_raw_os_error(EIO)),
            Some(Fault::Lie) => Ok(()),
            _ => {
                if let Some(prefix) = prefix {
                    world.sync_names(&prefix);
                }
                Ok(())
            }
        }
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        // Directories are always durable; only names of files can be lost.
        Ok(Arc::new(self.below(name, true)?))
    }

    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        let key = self.key(name)?;
        self.world.lock().call(Call::Open, &key, With::Nothing)?;
        Ok(Arc::new(self.below(name, false)?))
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        let name = self.key(name)?;
        let mut world = self.world.lock();
        world.call(Call::Lock, &name, With::Nothing)?;
        if world.locks.insert(Arc::clone(&name)) {
            Ok(Box::new(SimLock { world: Arc::clone(&self.world), name, held: true }))
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    fn free_space(&self) -> io::Result<u64> {
        let mut world = self.world.lock();
        world.call(Call::Space, &self.here(), With::Nothing)?;
        Ok(world.space.map_or(u64::MAX, |space| space.saturating_sub(world.used())))
    }
}

impl SimDisk {
    fn key(&self, name: &str) -> io::Result<Arc<str>> {
        Ok(format!("{}{name}", self.prefix()?).into())
    }

    /// This directory, for the trace.
    fn here(&self) -> Arc<str> {
        self.path().to_string_lossy().into()
    }

    fn file(&self, inode: usize, name: Arc<str>) -> Arc<dyn File> {
        Arc::new(SimFile { world: Arc::clone(&self.world), inode, name })
    }
}

#[derive(Debug)]
struct SimLock {
    world: Arc<Mutex<World>>,
    name: Arc<str>,
    held: bool,
}

impl Lock for SimLock {
    fn release(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.held) {
            self.world.lock().locks.remove(&self.name);
        }
        Ok(())
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        drop(self.release());
    }
}

#[derive(Debug)]
struct SimFile {
    world: Arc<Mutex<World>>,
    inode: usize,
    name: Arc<str>,
}

impl SimFile {
    /// Makes a call on this file; returns the fault that the call itself must act on, if any.
    fn call(&self, call: Call, with: With) -> io::Result<(MutexGuard<'_, World>, Option<Fault>)> {
        let mut world = self.world.lock();
        let fault = world.call(call, &self.name, with)?;
        Ok((world, fault))
    }

    fn resize(&self, world: &mut World, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let old = world.inode(self.inode)?.cache.len();
        if len > old {
            world.reserve((len - old) as u64)?;
        }
        world.inode(self.inode)?.resize(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut world, fault) = self.call(Call::Sync, With::Nothing)?;
        let inode = world.inode(self.inode)?;
        match fault {
            Some(Fault::Sync(SyncFailure::DropsPages)) => {
                inode.drop_pages();
                Err(io::Error::from_raw_os_error(EIO))
            }
            Some(Fault::Sync(SyncFailure::KeepsDirty)) => Err(io::Error::from_raw_os_error(EIO)),
            Some(Fault::Lie) => Ok(()),
            _ => {
                inode.sync();
                Ok(())
            }
        }
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let with = With::Bytes { len: buf.len(), at: offset };
        let (world, fault) = self.call(Call::Read, with)?;
        let inode = world.state.inodes.get(self.inode).ok_or(io::ErrorKind::NotFound)?;
        let start = in_memory(offset);
        let mut n = buf.len().min(inode.cache.len().saturating_sub(start));
        if n > 0 && inode.unreadable.range(start / SECTOR..=(start + n - 1) / SECTOR).next().is_some() {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if fault == Some(Fault::Short) {
            n = n.div_ceil(2);
        }
        Ok(inode.cache.read(start, buf.split_at_mut(n).0))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let (mut world, fault) = self.call(Call::Write, With::Bytes { len: buf.len(), at: offset })?;
        let take = match fault {
            Some(Fault::Nothing) => 0,
            Some(Fault::Short) => buf.len().div_ceil(2),
            _ => buf.len(),
        };
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start.checked_add(take).ok_or(io::ErrorKind::FileTooLarge)?;
        if take > 0 && end > world.inode(self.inode)?.cache.len() {
            self.resize(&mut world, end as u64)?;
        }
        world.inode(self.inode)?.write(start, buf.split_at(take).0);
        Ok(take)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn len(&self) -> io::Result<u64> {
        let (mut world, _) = self.call(Call::Stat, With::Nothing)?;
        Ok(world.inode(self.inode)?.cache.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut world, _) = self.call(Call::Resize, With::Len(len))?;
        self.resize(&mut world, len)
    }

    fn allocate(&self, len: u64) -> io::Result<Allocated> {
        let (mut world, _) = self.call(Call::Resize, With::Len(len))?;
        let now = world.inode(self.inode)?.cache.len() as u64;
        if len > now {
            self.resize(&mut world, len)?;
        }
        Ok(Allocated::Reserved)
    }

    fn as_std(&self) -> Option<&std::fs::File> {
        None
    }
}
