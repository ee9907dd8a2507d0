//! A disk on which chosen calls hang until they are released.

// Each test file uses its part.
#![allow(dead_code)]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use seawall::io::{Access, Allocated, Disk, File, Lock};

/// Longer than anything should take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Which calls hang, and how many do so now.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Calls by this name hang, on files (or the directory) whose name contains this.
    closed: Option<(&'static str, String)>,
    hanging: usize,
    /// Hanging calls fail when they are released.
    fail: bool,
}

impl Gate {
    /// From now on calls by this name hang, on files (or the directory) whose name contains this.
    pub fn close(&self, op: &'static str, file: &str) {
        self.state.lock().closed = Some((op, file.to_owned()));
    }

    /// Releases all calls.
    pub fn open(&self) {
        self.state.lock().closed = None;
        self.changed.notify_all();
    }

    fn pass(&self, op: &str, file: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let hangs = |s: &State| s.closed.as_ref().is_some_and(|(o, f)| *o == op && file.contains(f.as_str()));
        if !hangs(&state) {
            return Ok(());
        }
        state.hanging += 1;
        self.changed.notify_all();
        while hangs(&state) {
            self.changed.wait(&mut state);
        }
        state.hanging -= 1;
        if state.fail { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    /// Whether hanging calls fail when the gate opens.
    pub fn let_fail(&self, fail: bool) {
        self.state.lock().fail = fail;
    }

    /// Returns once this many calls hang.
    pub fn await_hanging(&self, calls: usize) {
        let mut state = self.state.lock();
        while state.hanging < calls {
            assert!(!self.changed.wait_for(&mut state, DEADLINE).timed_out(), "no call hangs");
        }
    }
}

/// A disk whose calls hang at a gate.
#[derive(Debug)]
pub struct HangingDisk {
    disk: Arc<dyn Disk>,
    gate: Arc<Gate>,
}

impl HangingDisk {
    /// The disk, and its gate, which is open.
    pub fn new(disk: Arc<dyn Disk>) -> (Arc<Self>, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        (Arc::new(HangingDisk { disk, gate: Arc::clone(&gate) }), gate)
    }

    fn file(&self, name: &str, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(HangingFile { name: name.to_owned(), file, gate: Arc::clone(&self.gate) })
    }
}

impl Disk for HangingDisk {
    fn path(&self) -> &Path {
        self.disk.path()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.gate.pass("create", name)?;
        self.disk.create(name).map(|file| self.file(name, file))
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.disk.open(name, access).map(|file| self.file(name, file))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.gate.pass("rename", from)?;
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.gate.pass("remove", name)?;
        self.disk.remove(name)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn sync(&self) -> io::Result<()> {
        self.gate.pass("fsync directory", "directory")?;
        self.disk.sync()
    }
    fn subdir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        self.disk.subdir(name)
    }
    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        self.disk.open_dir(name)
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(name)
    }
    fn free_space(&self) -> io::Result<u64> {
        self.disk.free_space()
    }
}

#[derive(Debug)]
struct HangingFile {
    name: String,
    file: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl File for HangingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.gate.pass("write", &self.name)?;
        self.file.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass("fdatasync", &self.name)?;
        self.file.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.gate.pass("fsync", &self.name)?;
        self.file.sync_all()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.gate.pass("truncate", &self.name)?;
        self.file.set_len(len)
    }
    fn allocate(&self, len: u64) -> io::Result<Allocated> {
        self.gate.pass("allocate", &self.name)?;
        self.file.allocate(len)
    }
    fn as_std(&self) -> Option<&std::fs::File> {
        self.file.as_std()
    }
}
