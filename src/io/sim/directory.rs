//! The directories of a simulated machine.
//!
//! A handle refers to a directory, not to its name: while the handle is open, the directory may be renamed and
//! another one may take its name. So a handle holds a number, and the names for it are looked up at each call.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{DirectoryId, NameChange, Names, SimDisk, State, TOP};

impl SimDisk {
    /// Renames a subdirectory, durably, as `rename(2)` does. Open handles continue to work in it.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it does not exist, [`io::ErrorKind::AlreadyExists`] when the new name is
    /// taken.
    pub fn move_directory(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world.lock();
        let here = world.state.prefix(self.directory)?;
        let (from, to) = (format!("{here}{from}/"), format!("{here}{to}/"));
        if world.state.directory(&from).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        if world.state.directory(&to).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.state.rekey(&from, &to);
        Ok(())
    }

    /// Removes a subdirectory with everything in it, durably. Open handles can no longer reach anything by name, but
    /// open files stay usable.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it does not exist.
    pub fn remove_directory(&self, name: &str) -> io::Result<()> {
        let mut world = self.world.lock();
        let gone = format!("{}{name}/", world.state.prefix(self.directory)?);
        if world.state.directory(&gone).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let state = &mut world.state;
        state.directories.retain(|_, prefix| !prefix.starts_with(&gone));
        Arc::make_mut(&mut state.names).retain(|name, _| !name.starts_with(&gone));
        Arc::make_mut(&mut state.durable_names).retain(|name, _| !name.starts_with(&gone));
        state.pending.retain(|change| !change.name().starts_with(&gone));
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The prefix of the keys of this directory's files.
    pub(super) fn prefix(&self) -> io::Result<String> {
        self.world.lock().state.prefix(self.directory)
    }

    /// A handle on a subdirectory, which is created if it is missing and `make` is set.
    pub(super) fn below(&self, name: &str, make: bool) -> io::Result<SimDisk> {
        let mut world = self.world.lock();
        let prefix = format!("{}{name}/", world.state.prefix(self.directory)?);
        let directory = match world.state.directory(&prefix) {
            Some(directory) => directory,
            None if make || world.state.names.keys().any(|key| key.starts_with(&prefix)) => {
                world.state.add_directory(prefix)
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(SimDisk { world: Arc::clone(&self.world), path: self.path.join(name), directory })
    }
}

impl State {
    fn prefix(&self, directory: DirectoryId) -> io::Result<String> {
        match self.directories.get(&directory) {
            Some(prefix) => Ok(prefix.clone()),
            None if directory == TOP => Ok(String::new()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn directory(&self, prefix: &str) -> Option<DirectoryId> {
        self.directories.iter().find(|(_, has)| *has == prefix).map(|(id, _)| *id)
    }

    fn add_directory(&mut self, prefix: String) -> DirectoryId {
        self.directories_made += 1;
        let id = DirectoryId(self.directories_made);
        self.directories.insert(id, prefix);
        id
    }

    /// Replaces the key prefix `from` by `to`.
    fn rekey(&mut self, from: &str, to: &str) {
        let renamed = |name: &Arc<str>| match name.strip_prefix(from) {
            Some(rest) => format!("{to}{rest}").into(),
            None => Arc::clone(name),
        };
        let rekeyed = |names: &Names| names.iter().map(|(name, at)| (renamed(name), *at)).collect::<Names>();
        self.names = Arc::new(rekeyed(&self.names));
        self.durable_names = Arc::new(rekeyed(&self.durable_names));
        for change in &mut self.pending {
            match change {
                NameChange::Set { name, .. } | NameChange::Remove { name } => *name = renamed(name),
                NameChange::Rename { from, to, .. } => (*from, *to) = (renamed(from), renamed(to)),
            }
        }
        for prefix in self.directories.values_mut() {
            if let Some(rest) = prefix.strip_prefix(from) {
                *prefix = format!("{to}{rest}");
            }
        }
    }
}

impl NameChange {
    fn name(&self) -> &str {
        match self {
            NameChange::Set { name, .. } | NameChange::Remove { name } => name,
            NameChange::Rename { from, .. } => from,
        }
    }
}
