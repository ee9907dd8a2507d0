//! Finds snapshot files that are no longer needed and removes them.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::state::SnapshotRef;
use super::files::Snapshots;
use super::identity::serial_in;
use crate::io::sync_names;
use crate::{Error, Lsn};

/// No file is removed while this exists.
#[derive(Debug)]
pub(crate) struct SweepPause<'a>(&'a AtomicUsize);

impl Drop for SweepPause<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Snapshots {
    /// Keeps all present files, even if they become obsolete.
    pub(crate) fn keep(&self) -> SweepPause<'_> {
        // Under the lock of `sweep`: a sweep under way has removed nothing that was still referred to before this.
        let obsolete = self.obsolete.lock();
        self.holders.fetch_add(1, Ordering::Acquire);
        drop(obsolete);
        SweepPause(&self.holders)
    }

    /// A snapshot is no longer needed once everything below `after` is durable.
    pub(crate) fn discard(&self, group: u64, file: SnapshotRef, after: Lsn) {
        if !self.opener.is_here() {
            return;
        }
        self.obsolete.lock().push((self.identity(group, file).name(), after));
    }

    /// Removes files that nothing refers to, if they exist.
    pub(crate) fn abandon(&self, names: impl IntoIterator<Item = String>) {
        if !self.opener.is_here() {
            return;
        }
        self.obsolete.lock().extend(names.into_iter().map(|name| (name, Lsn::ZERO)));
        self.sweep(Lsn::ZERO);
    }

    /// Removes the files that are no longer needed; returns the number left for later.
    ///
    /// A file that cannot be removed does no harm, so that is not an error: it is retried next time and at open.
    pub(crate) fn sweep(&self, durable: Lsn) -> usize {
        if !self.opener.is_here() {
            return 0;
        }
        let mut obsolete = self.obsolete.lock();
        if self.holders.load(Ordering::Acquire) > 0 {
            return obsolete.len();
        }
        obsolete.retain(|(name, after)| {
            let gone = |r: io::Result<()>| r.is_ok() || r.is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
            *after > durable || !gone(self.disk.remove(name))
        });
        obsolete.len()
    }

    /// Removes what no group refers to, and makes sure that no serial is reused.
    pub(crate) fn remove_orphans(&self, referred: &[(u64, SnapshotRef)]) -> Result<(), Error> {
        let failed = |op, name: &str| {
            let path = self.path(name);
            move |e| Error::io(op, path, e)
        };
        let kept: HashSet<String> =
            referred.iter().map(|(g, file)| self.identity(*g, *file).name()).collect();
        let highest = referred.iter().map(|(_, file)| file.serial).max().unwrap_or(0);
        self.next_serial.fetch_max(highest.saturating_add(1), Ordering::Relaxed);
        let mut removed = false;
        for name in self.disk.list().map_err(failed("list", ""))? {
            // Names of another form are foreign.
            let Some(serial) = serial_in(&name) else { continue };
            self.next_serial.fetch_max(serial.saturating_add(1), Ordering::Relaxed);
            if !kept.contains(&name) {
                self.disk.remove(&name).map_err(failed("remove", &name))?;
                removed = true;
            }
        }
        if removed {
            sync_names(&*self.disk)?;
        }
        Ok(())
    }
}
