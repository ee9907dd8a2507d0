//! The simulated directory and files behind the [`Disk`](crate::io::Disk) and [`File`](crate::io::File) traits.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::fault::{Call, Fault, SyncFailure};
use super::{Inode, NameChange, SECTOR, SimDisk, World};
use crate::io::{Access, Disk, File, Lock};

const EIO: i32 = 5;

impl World {
    /// Counts a call, and fails it when the plan says so. What is left are the faults that a call must act on itself.
    fn call(&mut self, call: Call, what: impl FnOnce() -> String) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let n = self.calls;
        self.calls += 1;
        let fault = self.plan.next(call, n);
        self.trace.push(match fault {
            None => format!("{n}: {}", what()),
            Some(fault) => format!("{n}: {} -> {fault:?}", what()),
        });
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
        self.inodes.get_mut(at).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|i| self.inodes.get(*i)).map(|i| i.cache.len() as u64).sum()
    }

    /// Fails when `more` bytes are not to be had.
    fn reserve(&self, more: u64) -> io::Result<()> {
        match self.space {
            Some(space) if self.used() + more > space => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn sync_names(&mut self, prefix: &str) {
        let (synced, pending): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|c| match c {
                NameChange::Set { name, .. } | NameChange::Remove { name } => in_dir(name, prefix),
                NameChange::Rename { from, .. } => in_dir(from, prefix),
            });
        self.pending = pending;
        if !synced.is_empty() {
            self.durable_names.retain(|name, _| !in_dir(name, prefix));
            let now: Vec<_> =
                self.names.iter().filter(|(n, _)| in_dir(n, prefix)).map(|(n, i)| (n.clone(), *i)).collect();
            self.durable_names.extend(now);
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
        let name = format!("{}{name}", self.prefix);
        let mut world = self.world.lock();
        world.call(Call::Create, || format!("create {name}"))?;
        if world.names.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = world.inodes.len();
        world.inodes.push(Inode::default());
        world.names.insert(name.clone(), inode);
        world.pending.push(NameChange::Set { name: name.clone(), inode });
        Ok(self.file(inode, name))
    }

    fn open(&self, name: &str, _access: Access) -> io::Result<Arc<dyn File>> {
        let name = format!("{}{name}", self.prefix);
        let mut world = self.world.lock();
        world.call(Call::Open, || format!("open {name}"))?;
        let inode = *world.names.get(&name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode, name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (format!("{}{from}", self.prefix), format!("{}{to}", self.prefix));
        let mut world = self.world.lock();
        world.call(Call::Rename, || format!("rename {from} to {to}"))?;
        let inode = world.names.remove(&from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.clone(), inode);
        world.pending.push(NameChange::Rename { from, to });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let name = format!("{}{name}", self.prefix);
        let mut world = self.world.lock();
        world.call(Call::Remove, || format!("remove {name}"))?;
        world.names.remove(&name).ok_or(io::ErrorKind::NotFound)?;
        world.pending.push(NameChange::Remove { name });
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let world = self.world.lock();
        if world.off {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let here = world.names.keys().filter(|n| in_dir(n, &self.prefix));
        Ok(here.filter_map(|n| n.strip_prefix(&self.prefix)).map(str::to_owned).collect())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        let fault = world.call(Call::SyncDir, || format!("sync directory {}", self.dir.display()))?;
        match fault {
            Some(Fault::Sync(_)) => Err(io::Error::from_raw_os_error(EIO)),
            Some(Fault::Lie) => Ok(()),
            _ => {
                world.sync_names(&self.prefix);
                Ok(())
            }
        }
    }

    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        // Directories are there for ever; only the names of files can be lost.
        let (dir, prefix) = self.subdir_path(name);
        Ok(Arc::new(SimDisk { world: Arc::clone(&self.world), dir, prefix }))
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        let name = format!("{}{name}", self.prefix);
        let mut world = self.world.lock();
        if world.locks.insert(name.clone()) {
            Ok(Box::new(SimLock { world: Arc::clone(&self.world), name }))
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    fn free_space(&self) -> io::Result<u64> {
        let world = self.world.lock();
        Ok(world.space.map_or(u64::MAX, |space| space.saturating_sub(world.used())))
    }
}

impl SimDisk {
    fn file(&self, inode: usize, name: String) -> Arc<dyn File> {
        Arc::new(SimFile { world: Arc::clone(&self.world), inode, name })
    }
}

#[derive(Debug)]
struct SimLock {
    world: Arc<Mutex<World>>,
    name: String,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.world.lock().locks.remove(&self.name);
    }
}

#[derive(Debug)]
struct SimFile {
    world: Arc<Mutex<World>>,
    inode: usize,
    name: String,
}

impl SimFile {
    fn resize(&self, world: &mut MutexGuard<'_, World>, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let old = world.inode(self.inode)?.cache.len();
        if len > old {
            world.reserve((len - old) as u64)?;
        }
        let inode = world.inode(self.inode)?;
        if len != old {
            inode.resized = true;
            Arc::make_mut(&mut inode.cache).resize(len, 0);
            // The tail of a cut sector, or of one that grows, changes with the size.
            inode.dirty.insert(len.min(old) / SECTOR);
            inode.dirty.retain(|s| s * SECTOR < len);
            inode.limbo.retain(|s| s * SECTOR < len);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        let fault = world.call(Call::Sync, || format!("sync {}", self.name))?;
        let inode = world.inode(self.inode)?;
        match fault {
            Some(Fault::Sync(SyncFailure::DropsPages)) => {
                let dropped = std::mem::take(&mut inode.dirty);
                inode.limbo.extend(dropped);
                Err(io::Error::from_raw_os_error(EIO))
            }
            Some(Fault::Sync(SyncFailure::KeepsDirty)) => Err(io::Error::from_raw_os_error(EIO)),
            Some(Fault::Lie) => Ok(()),
            _ => {
                let device = Arc::make_mut(&mut inode.device);
                device.resize(inode.cache.len(), 0);
                inode.resized = false;
                for sector in std::mem::take(&mut inode.dirty) {
                    let start = sector * SECTOR;
                    let end = (start + SECTOR).min(inode.cache.len());
                    if let (Some(to), Some(from)) = (device.get_mut(start..end), inode.cache.get(start..end))
                    {
                        to.copy_from_slice(from);
                    }
                }
                Ok(())
            }
        }
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.world.lock();
        world.call(Call::Read, || format!("read {} bytes at {offset} of {}", buf.len(), self.name))?;
        let inode = world.inode(self.inode)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.cache.len());
        let n = buf.len().min(inode.cache.len() - start);
        if n > 0 && inode.unreadable.range(start / SECTOR..=(start + n - 1) / SECTOR).next().is_some() {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if let (Some(to), Some(from)) = (buf.get_mut(..n), inode.cache.get(start..start + n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut world = self.world.lock();
        let fault =
            world.call(Call::Write, || format!("write {} bytes at {offset} of {}", buf.len(), self.name))?;
        let take = match fault {
            Some(Fault::Nothing) => 0,
            Some(Fault::Short) => buf.len().div_ceil(2),
            _ => buf.len(),
        };
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start.checked_add(take).ok_or(io::ErrorKind::FileTooLarge)?;
        if end > world.inode(self.inode)?.cache.len() {
            self.resize(&mut world, end as u64)?;
        }
        let inode = world.inode(self.inode)?;
        if let (Some(to), Some(from)) = (Arc::make_mut(&mut inode.cache).get_mut(start..end), buf.get(..take))
        {
            to.copy_from_slice(from);
            if take > 0 {
                for sector in start / SECTOR..=(end - 1) / SECTOR {
                    inode.dirty.insert(sector);
                    inode.limbo.remove(&sector);
                }
            }
        }
        Ok(take)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn len(&self) -> io::Result<u64> {
        let mut world = self.world.lock();
        Ok(world.inode(self.inode)?.cache.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call(Call::Resize, || format!("set length {len} of {}", self.name))?;
        self.resize(&mut world, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call(Call::Resize, || format!("allocate {len} of {}", self.name))?;
        let now = world.inode(self.inode)?.cache.len() as u64;
        if len > now { self.resize(&mut world, len) } else { Ok(()) }
    }

    fn as_std(&self) -> Option<&std::fs::File> {
        None
    }
}
