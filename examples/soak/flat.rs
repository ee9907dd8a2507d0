//! Checks that measurements stay flat.
//!
//! A quantity is flat if the median of the last third of the time exceeds that of the middle third by at most a tenth
//! plus an allowance. The first third is left out, because a new log is still filling up.

use crate::SEGMENT;
use crate::sample::Sample;

const MIB: f64 = 1_048_576.0;

/// A quantity that must be flat.
pub(crate) struct Quantity {
    pub(crate) name: &'static str,
    unit: &'static str,
    pub(crate) of: fn(&Sample) -> f64,
    /// The additional allowed rise.
    allowance: f64,
}

#[allow(clippy::cast_precision_loss)] // for people
pub(crate) const QUANTITIES: [Quantity; 6] = [
    Quantity {
        name: "directory",
        unit: "MiB",
        of: |s| s.directory as f64 / MIB,
        allowance: 2.0 * SEGMENT as f64 / MIB,
    },
    Quantity {
        name: "segments",
        unit: "MiB",
        of: |s| s.segments as f64 / MIB,
        allowance: 2.0 * SEGMENT as f64 / MIB,
    },
    Quantity {
        name: "memory",
        unit: "MiB",
        of: |s| s.resident as f64 / MIB,
        allowance: 2.0 * SEGMENT as f64 / MIB,
    },
    Quantity { name: "heap", unit: "MiB", of: |s| s.heap as f64 / MIB, allowance: 2.0 },
    Quantity { name: "file descriptors", unit: "", of: |s| s.descriptors as f64, allowance: 4.0 },
    Quantity { name: "threads", unit: "", of: |s| s.threads as f64, allowance: 0.5 },
];

/// A line about the quantity, and whether it is flat.
pub(crate) fn judge(quantity: &Quantity, samples: &[Sample]) -> (String, bool) {
    let values: Vec<f64> = samples.iter().map(quantity.of).collect();
    let n = values.len();
    let at =
        |percent: usize| values.get((n * percent / 100).min(n.saturating_sub(1))).copied().unwrap_or(0.0);
    let most = values.iter().copied().fold(0.0, f64::max);
    let (middle, last) = (median(&values[n / 3..n * 2 / 3]), median(&values[n * 2 / 3..]));
    let flat = last <= middle * 1.1 + quantity.allowance;
    let line = format!(
        "{:<16} {:>8.1} {:>8.1} {:>8.1} {most:>8.1} {middle:>14.1} {last:>12.1}  {:<4}{}",
        quantity.name,
        at(10),
        at(50),
        at(100),
        quantity.unit,
        if flat { "flat" } else { "NOT FLAT" },
    );
    (line, flat)
}

pub(crate) const HEAD: &str =
    "quantity            at 10%   at 50%  at 100%  maximum  middle third   last third";

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: impl Fn(f64) -> u64) -> Vec<Sample> {
        let at = |n: u32| {
            let heap = of(f64::from(n));
            Sample {
                seconds: f64::from(n),
                directory: 0,
                segments: 0,
                live: 0,
                resident: heap,
                heap,
                descriptors: 10,
                threads: 5,
                operations: 0.0,
            }
        };
        (0..90).map(at).collect()
    }

    #[test]
    fn what_fills_up_and_stays_is_flat_and_what_grows_is_not() {
        let heap = &QUANTITIES[3];
        assert!(judge(heap, &samples(|t| (t.min(20.0) * 3e6) as u64)).1);
        assert!(judge(heap, &samples(|t| (60e6 + (t % 7.0) * 1e6) as u64)).1);
        assert!(!judge(heap, &samples(|t| (60e6 + t * 1e6) as u64)).1);
    }
}
