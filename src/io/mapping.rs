//! Memory mappings of segment files; contains `unsafe` code.
//!
//! A mapping is shared and read-only, made from an open file that this process writes only with `pwrite`; on the
//! supported platforms the two are coherent. It hands out [`Bytes`] that keep the mapping alive, so a record may
//! outlive the log it was read from.
//!
//! Three things could make handed-out bytes change or vanish. Each is prevented at its source:
//!
//! * *rewriting*: within one generation of a file no address is written twice, and readers ask only for addresses
//!   that were completely written before;
//! * *truncation*: a file is shortened only after its last block and footer, where nothing is handed out;
//! * *recycling*: a file starts another generation only when [`Watch::unused`] shows that no one holds a byte of any
//!   of its mappings, the footer's included, or could make another one. Otherwise it is unlinked, and the inode
//!   remains for those who hold bytes of it.

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

/// Counts the users of one generation of a file: the readers that may map it, and its mappings.
#[derive(Debug, Default)]
pub(crate) struct UseCount(Arc<()>);

impl UseCount {
    pub(crate) fn watch(&self) -> Watch {
        Watch(Arc::downgrade(&self.0))
    }
}

/// Tells whether a generation of a file, any of its mappings, or any bytes of them are still held.
#[derive(Clone, Debug)]
pub(crate) struct Watch(Weak<()>);

impl Watch {
    /// For a file that no one has opened.
    pub(crate) fn nobody() -> Self {
        Watch(Weak::new())
    }

    /// Whether all mappings and everything handed out from them are gone.
    pub(crate) fn unused(&self) -> bool {
        self.0.strong_count() == 0
    }
}

struct Owner {
    map: Mmap,
    _generation: Arc<()>,
    _counted: Counted,
}

/// Counts one mapping against the limit per process. The rest of the process needs some too: stacks, memory,
/// libraries.
struct Counted;

/// Current number of mappings.
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

/// Three quarters of the system's limit per process.
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
    /// Any error of the system; a file that is too short; [`io::ErrorKind::OutOfMemory`] before the process has used
    /// up its mappings. A file that cannot be mapped can still be read.
    pub(crate) fn new(file: &File, offset: u64, len: usize, generation: &UseCount) -> io::Result<Self> {
        let end = offset.checked_add(len as u64).ok_or(io::ErrorKind::InvalidInput)?;
        if file.metadata()?.len() < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let counted = Counted::one()?;
        // SAFETY: the range lies within the file, as just checked. The file is private to the log's directory, which
        // is locked; its bytes change under the mapping only where the module's three rules guarantee that no one
        // reads them. Another process that writes to or truncates the files of a locked log breaks those rules; that
        // is documented as out of scope, as with every mapped file.
        let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file)? };
        Ok(Mapping {
            bytes: Bytes::from_owner(Owner {
                map,
                _generation: Arc::clone(&generation.0),
                _counted: counted,
            }),
        })
    }

    /// The bytes from `start` to `end`, borrowed; `None` unless all of them are mapped.
    #[inline]
    pub(crate) fn get(&self, start: usize, end: usize) -> Option<&[u8]> {
        self.bytes.get(start..end)
    }

    /// The bytes from `start` to `end`, which keep the mapping alive; `None` unless all of them are mapped.
    #[inline]
    pub(crate) fn slice(&self, start: usize, end: usize) -> Option<Bytes> {
        (start <= end && end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }

    /// Lets the processor fetch these bytes in the background. Bytes that are not mapped or not in memory are not
    /// fetched.
    #[inline]
    pub(crate) fn prefetch(&self, start: usize, end: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if let Some(bytes) = self.get(start, end) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for line in bytes.chunks(CACHE_LINE) {
                // SAFETY: the instruction is a hint. It faults on no address, and here the address lies within a live
                // slice. It belongs to SSE, which every x86_64 has.
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
