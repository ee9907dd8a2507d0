//! Segment files in memory: the only place with `unsafe`.
//!
//! A mapping is shared and read-only, made from an open file that this process writes with `pwrite` alone; on the
//! platforms supported the two are coherent. What is handed out are [`Bytes`] that keep the mapping alive, so a record
//! may outlive the log it was read from.
//!
//! Three things could make handed-out bytes change or vanish, and each is prevented where it would happen:
//!
//! * *written again*: within a generation of a file no address is written twice, and readers ask only for addresses that were
//!   completely written before;
//! * *cut off*: a file is shortened only behind its last block and footer, where nothing is handed out;
//! * *recycled*: a file starts another generation only when [`Watch::unused`] says that nobody holds a byte of any of its
//!   mappings, the footer's included, nor could make another; else it is unlinked, and the inode stays for those who
//!   hold bytes of it.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

#[cfg(all(target_arch = "x86_64", not(miri)))]
const CACHE_LINE: usize = 64;

/// A range of a file in memory.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    bytes: Bytes,
}

/// One generation of a file, held by each reader that may map it and by each of its mappings.
#[derive(Debug, Default)]
pub(crate) struct UseCount(Arc<()>);

impl UseCount {
    pub(crate) fn watch(&self) -> Watch {
        Watch(Arc::downgrade(&self.0))
    }
}

/// Tells whether a generation of a file, any of its mappings, or any bytes of one, is still held.
#[derive(Clone, Debug)]
pub(crate) struct Watch(Weak<()>);

impl Watch {
    /// Of a file that nobody has opened.
    pub(crate) fn nobody() -> Self {
        Watch(Weak::new())
    }

    /// Whether all mappings and all that was handed out of them are gone.
    pub(crate) fn unused(&self) -> bool {
        self.0.strong_count() == 0
    }
}

struct Owner {
    map: Mmap,
    _generation: Arc<()>,
    _counted: Counted,
}

/// One of the mappings that a process may have. The rest of the process needs some too: stacks, memory, libraries.
struct Counted;

/// How many there are.
static MAPPED: AtomicUsize = AtomicUsize::new(0);

impl Counted {
    fn one() -> io::Result<Self> {
        if MAPPED.fetch_add(1, Ordering::Relaxed) < most() {
            return Ok(Counted);
        }
        MAPPED.fetch_sub(1, Ordering::Relaxed);
        Err(io::Error::new(io::ErrorKind::OutOfMemory, "three quarters of `vm.max_map_count` are in use"))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        MAPPED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Three quarters of what the system allows a process.
fn most() -> usize {
    const USUAL: usize = 65_530;
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let told = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        told.and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL) / 4 * 3
    })
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Mapping {
    /// Maps `len` bytes of `file` at `offset`, which must be within the file.
    ///
    /// # Errors
    /// Whatever the system reports; a file that is too short; [`io::ErrorKind::OutOfMemory`] before the process has used up
    /// its mappings. What cannot be mapped can still be read.
    pub(crate) fn new(file: &File, offset: u64, len: usize, generation: &UseCount) -> io::Result<Self> {
        let end = offset.checked_add(len as u64).ok_or(io::ErrorKind::InvalidInput)?;
        if file.metadata()?.len() < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let counted = Counted::one()?;
        // SAFETY: the range lies within the file, as just checked. The file is private to the log's directory, which is
        // locked; its bytes change under the mapping only where the module's three rules say that nobody looks. Another
        // process that writes to or truncates the files of a locked log breaks those rules; that is stated to be out of
        // scope, as with every mapped file.
        let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file)? };
        Ok(Mapping {
            bytes: Bytes::from_owner(Owner {
                map,
                _generation: Arc::clone(&generation.0),
                _counted: counted,
            }),
        })
    }

    /// The bytes from `start` to `end`, borrowed; `None` when they are not all mapped.
    #[inline]
    pub(crate) fn get(&self, start: usize, end: usize) -> Option<&[u8]> {
        self.bytes.get(start..end)
    }

    /// The bytes from `start` to `end`, kept alive by what is returned; `None` when they are not all mapped.
    #[inline]
    pub(crate) fn slice(&self, start: usize, end: usize) -> Option<Bytes> {
        (start <= end && end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }

    /// Lets the processor fetch these bytes while it does something else. What is not mapped, or not in memory, stays
    /// where it is.
    #[inline]
    pub(crate) fn prefetch(&self, start: usize, end: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if let Some(bytes) = self.get(start, end) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for line in bytes.chunks(CACHE_LINE) {
                // SAFETY: the instruction is a hint. It faults on no address, and here it gets one within a live slice; it
                // belongs to SSE, which every x86_64 has.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = (start, end);
    }

    /// All of it.
    pub(crate) fn all(&self) -> Bytes {
        self.bytes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn bytes_outlive_the_mapping_and_the_watch_sees_them() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        let generation = UseCount::default();
        let map = Mapping::new(&file, 4096, 5000, &generation).unwrap();
        let watch = generation.watch();
        let slice = map.slice(10, 20).unwrap();
        assert!(map.slice(10, 5001).is_none());
        assert!(map.get(4999, 5001).is_none());
        drop(map);
        let second = Mapping::new(&file, 0, 10, &generation).unwrap().all();
        drop(generation);
        assert!(!watch.unused());
        assert_eq!(&slice[..], &[7; 10]);
        drop(second);
        assert!(!watch.unused());
        drop(slice);
        assert!(watch.unused());
    }

    #[test]
    fn a_range_beyond_the_file_is_refused() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 100]).unwrap();
        assert!(Mapping::new(&file, 0, 101, &UseCount::default()).is_err());
        assert!(Mapping::new(&file, u64::MAX, 2, &UseCount::default()).is_err());
    }
}
