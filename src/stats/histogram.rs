//! Histograms with fixed bucket bounds.
//!
//! Each doubling has four buckets, so a value is known to within a quarter, whatever its size:
//!
//! ```text
//!  0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8-9 | 10-11 | 12-13 | 14-15 | 16-19 | 20-23 | ...
//! ```
//!
//! Recording takes three relaxed atomic operations and no lock. A snapshot taken while others record may miss values
//! that are being recorded, and nothing else.

use std::sync::atomic::{AtomicU64, Ordering};

/// Each doubling has two to the power of this buckets; each value below that has its own bucket.
const STEP_BITS: u32 = 2;
const STEPS: u64 = 1 << STEP_BITS;
const BUCKETS: usize = (1 << STEP_BITS) * (u64::BITS - STEP_BITS + 1) as usize;

/// The number of the bucket that `value` falls into.
#[allow(clippy::cast_possible_truncation)] // numbers of buckets
const fn bucket_of(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let doubling = value.ilog2() - STEP_BITS;
    // The bits after the leading one.
    let step = (value >> doubling) - STEPS;
    (STEPS + doubling as u64 * STEPS + step) as usize
}

/// The lowest value that falls into bucket `n`.
const fn lowest(n: usize) -> u64 {
    let n = n as u64;
    if n < STEPS { n } else { (STEPS + n % STEPS) << (n / STEPS - 1) }
}

/// The highest value that falls into bucket `n`.
const fn highest(n: usize) -> u64 {
    if n + 1 < BUCKETS { lowest(n + 1) - 1 } else { u64::MAX }
}

/// A histogram that several threads record into.
#[derive(Debug)]
pub(crate) struct Recorder {
    buckets: Box<[AtomicU64; BUCKETS]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder {
            buckets: Box::new([const { AtomicU64::new(0) }; BUCKETS]),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

impl Recorder {
    pub(crate) fn record(&self, value: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Histogram {
        let bucket = |(n, count): (usize, &AtomicU64)| {
            let count = count.load(Ordering::Relaxed);
            (count > 0).then(|| Bucket { from: lowest(n), to: highest(n), count })
        };
        Histogram {
            buckets: self.buckets.iter().enumerate().filter_map(bucket).collect(),
            sum: self.sum.load(Ordering::Relaxed),
            max: self.max.load(Ordering::Relaxed),
        }
    }
}

/// The distribution of values, as a snapshot. The unit is that of its field of [`Stats`](super::Stats).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<Bucket>,
    sum: u64,
    max: u64,
}

/// Number of values in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// The lowest value of the range.
    pub from: u64,
    /// The highest value of the range.
    pub to: u64,
    /// Number of values in it.
    pub count: u64,
}

impl Histogram {
    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.count).sum()
    }

    /// Their sum.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Maximum; 0 if there are no values.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// Mean; 0 if there are no values.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a mean for people
    pub fn mean(&self) -> f64 {
        match self.count() {
            0 => 0.0,
            count => self.sum as f64 / count as f64,
        }
    }

    /// A value that `percent` of the values do not exceed: the end of the bucket that holds the exact one, or
    /// [`max`](Histogram::max) if that is lower. It is never too low, and at most a quarter too high. 0 if there are
    /// no values.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn percentile(&self, percent: f64) -> u64 {
        let count = self.count();
        let rank = ((percent.clamp(0.0, 100.0) / 100.0 * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let reached = self.buckets.iter().find(|bucket| {
            seen += bucket.count;
            seen >= rank
        });
        reached.map_or(0, |bucket| bucket.to.min(self.max))
    }

    /// The non-empty ranges, ascending. The bounds are the same in every snapshot, so two snapshots can be
    /// subtracted.
    #[must_use]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!(lowest(0), 0);
        for n in 0..BUCKETS {
            assert_eq!((bucket_of(lowest(n)), bucket_of(highest(n))), (n, n));
            if n > 0 {
                assert_eq!(highest(n - 1) + 1, lowest(n));
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nothing_recorded_is_nothing_found() {
        let none = Recorder::default().read();
        assert_eq!(none, Histogram::default());
        assert_eq!((none.count(), none.percentile(99.0), none.max()), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn a_percentile_is_at_most_a_quarter_too_high(
            mut values in proptest::collection::vec(0u64..1 << 40, 1..200),
            percent in 0.0f64..=100.0,
        ) {
            let recorder = Recorder::default();
            values.iter().for_each(|v| recorder.record(*v));
            let read = recorder.read();
            values.sort_unstable();
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let rank = ((percent / 100.0 * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            let found = read.percentile(percent);
            prop_assert!(found >= exact && found <= exact + exact / 4, "{found} for {exact}");
            prop_assert_eq!(read.count(), values.len() as u64);
            prop_assert_eq!(read.sum(), values.iter().sum::<u64>());
            prop_assert_eq!(read.max(), values[values.len() - 1]);
        }
    }
}
