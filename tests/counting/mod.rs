//! A counting allocator: how many bytes are allocated, now and at most.
//!
//! The memory usage of the process says less, because an allocator keeps freed memory.
#![allow(dead_code, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator, except two counters, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(), Ordering::Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Number of bytes allocated.
pub fn allocated() -> usize {
    NOW.load(Ordering::Relaxed)
}

/// The maximum by which that rose during the call.
pub fn peak_of(what: impl FnOnce()) -> usize {
    let before = allocated();
    PEAK.store(before, Ordering::Relaxed);
    what();
    PEAK.load(Ordering::Relaxed) - before
}
