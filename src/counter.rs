//! A counter.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that several threads raise. With the feature `metrics` it is also a counter of that facade.
#[derive(Debug)]
pub(crate) struct Counter {
    value: AtomicU64,
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    name: &'static str,
}

impl Counter {
    pub(crate) const fn named(name: &'static str) -> Self {
        Counter { value: AtomicU64::new(0), name }
    }

    pub(crate) fn add(&self, n: u64) {
        self.value.fetch_add(n, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!(self.name).increment(n);
    }

    pub(crate) fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}
