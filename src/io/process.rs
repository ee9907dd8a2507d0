//! Tells which process a handle belongs to.
//!
//! A child made by `fork(2)` has its parent's memory and descriptors but none of its threads. An inherited handle
//! must do nothing there: its blocks would overwrite those of the parent, its locks may be held by threads that do
//! not exist, and the descriptor of the lock file keeps an `flock` alive after the parent is gone.
//!
//! ```text
//!  parent   token 1 in a page ──fork──> child   the page is cleared: 0; the next token is 2
//!  handle   opened by 1       ──fork──> handle  opened by 1: belongs to another process
//!  lock     descriptor        ──fork──> closed by a handler that runs in the child
//! ```
//!
//! **Detection.** The kernel clears a page marked `MADV_WIPEONFORK` in the child, however the child was made, so the
//! check costs a load and no system call. The child draws its own token at its first check: one higher than the last
//! token of its ancestors, so no inherited handle has it. On a kernel that does not know this advice (before 4.14),
//! each check asks for the process id.
//!
//! **The lock.** An `flock` belongs to the open file that parent and child share. The opener releases it explicitly
//! ([`Lock::release`](super::Lock::release)). So that it also ends with an opener that is killed, a handler
//! registered with `pthread_atfork(3)` closes the descriptor in each child made by `fork(3)`. A child made by a raw
//! `clone(2)` keeps it.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use memmap2::{MmapMut, MmapRaw};
use rustix::mm::{Advice, madvise};

use crate::error::{Error, Result};
use crate::mutation::or_fault;

/// Identifies a process.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    token: u64,
    /// The location of the current process's token; `None` if the token is the process id.
    place: Option<&'static AtomicU64>,
}

impl Process {
    /// The current process.
    #[must_use]
    pub fn current() -> Self {
        match PAGE.get_or_init(Page::new) {
            Some(page) => Process { token: page.token(), place: Some(page.word()) },
            None => Process { token: u64::from(std::process::id()), place: None },
        }
    }

    /// Whether this is the current process.
    #[inline]
    #[must_use]
    pub fn is_current(self) -> bool {
        let now = match self.place {
            Some(place) => place.load(Ordering::Acquire),
            None => u64::from(std::process::id()),
        };
        or_fault!(now == self.token, ForkedChild => true)
    }
}

/// The process that opened a log.
#[derive(Clone, Debug)]
pub struct Opener {
    dir: Arc<Path>,
    process: Process,
}

impl Opener {
    /// The current process, as the opener of the log in `dir`.
    pub(crate) fn of(dir: &Path) -> Self {
        Opener { dir: dir.into(), process: Process::current() }
    }

    /// The log's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the current process opened the log.
    #[inline]
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.process.is_current()
    }

    /// Refuses the use of a handle in another process. Must be called before a lock is taken: the thread that held it
    /// at the time of the fork will not release it here.
    ///
    /// # Errors
    /// [`Error::OtherProcess`].
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.is_here() { Ok(()) } else { Err(Error::OtherProcess { dir: self.dir.to_path_buf() }) }
    }
}

/// `None` on a kernel that cannot clear a page on `fork`.
static PAGE: OnceLock<Option<Page>> = OnceLock::new();

/// The last token drawn by this process or an ancestor. An ordinary word: a child inherits its value.
static LAST: AtomicU64 = AtomicU64::new(0);

/// A page that reads as zeros in a child of the process that wrote it.
struct Page(MmapRaw);

impl Page {
    fn new() -> Option<Self> {
        let map = MmapRaw::from(MmapMut::map_anon(size_of::<AtomicU64>()).ok()?);
        // SAFETY: the range is our own private, anonymous mapping, and nothing else refers to it. The advice changes
        // what a child finds there to zeros, which are a valid `AtomicU64`.
        let marked = unsafe { madvise(map.as_mut_ptr().cast(), map.len(), Advice::LinuxWipeOnFork) };
        marked.ok().map(|()| Page(map))
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: a mapping begins at a page boundary, so it is aligned for the word, and it is large enough; it
        // lives as long as `self`; and it is only accessed through this atomic, or cleared by the kernel before the
        // child has run.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().cast()) }
    }

    fn token(&self) -> u64 {
        match self.word().load(Ordering::Acquire) {
            0 => Page::draw(self.word()),
            token => token,
        }
    }

    #[cold]
    fn draw(word: &AtomicU64) -> u64 {
        let token = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        match word.compare_exchange(0, token, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => token,
            Err(drawn_by_another_thread) => drawn_by_another_thread,
        }
    }
}

/// An open file whose descriptor forked children do not keep.
#[derive(Debug)]
pub(crate) struct NotInherited {
    file: ManuallyDrop<File>,
    slot: &'static Slot,
    process: Process,
}

impl NotInherited {
    /// Closes this file's descriptor in children forked from now on.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        static HANDLER: OnceLock<i32> = OnceLock::new();
        // SAFETY: the handler is a function without arguments that exists forever, and does only what POSIX allows in
        // a child of a multi-threaded program: atomic operations and `close`.
        let failed =
            *HANDLER.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) });
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        let slot = Slot::take(file.as_raw_fd());
        Ok(NotInherited { file: ManuallyDrop::new(file), slot, process: Process::current() })
    }

    /// The file, if the current process opened it.
    pub(crate) fn file(&self) -> Option<&File> {
        self.process.is_current().then_some(&self.file)
    }
}

impl Drop for NotInherited {
    fn drop(&mut self) {
        // In a child the descriptor is already closed, and the number may belong to another file by now.
        if self.process.is_current() {
            self.slot.fd.store(FREE, Ordering::SeqCst);
            // SAFETY: not used again, because the value ends here.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// A descriptor to close in children. Slots are never freed, so the handler can walk them without a lock.
#[derive(Debug)]
struct Slot {
    fd: AtomicI32,
    next: OnceLock<Box<Slot>>,
}

const FREE: i32 = -1;

static SLOTS: Slot = Slot { fd: AtomicI32::new(FREE), next: OnceLock::new() };

impl Slot {
    fn take(fd: i32) -> &'static Slot {
        let mut slot = &SLOTS;
        while slot.fd.compare_exchange(FREE, fd, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            slot =
                slot.next.get_or_init(|| Box::new(Slot { fd: AtomicI32::new(FREE), next: OnceLock::new() }));
        }
        slot
    }
}

extern "C" fn close_in_child() {
    let mut slot = Some(&SLOTS);
    while let Some(here) = slot {
        let fd = here.fd.swap(FREE, Ordering::SeqCst);
        if fd != FREE {
            // SAFETY: the descriptor is the child's own copy. Its owner, a `NotInherited` of the parent, neither uses
            // nor closes it here.
            unsafe { libc::close(fd) };
        }
        slot = here.next.get().map(|next| &**next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_a_cleared_page_is_another_one() {
        assert!(Process::current().is_current());
        let page = Page::new().unwrap();
        let first = page.token();
        assert_eq!(page.token(), first);
        // This is what the kernel does in a child.
        page.word().store(0, Ordering::Relaxed);
        assert!(page.token() > first);
    }

    #[test]
    fn slots_are_used_again() {
        let file = || NotInherited::new(tempfile::tempfile().unwrap()).unwrap();
        let held: Vec<_> = (0..5).map(|_| file()).collect();
        let mut distinct: Vec<_> = held.iter().map(|h| std::ptr::from_ref(h.slot)).collect();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 5);
        drop(held);
        assert!(file().file().is_some());
    }
}
