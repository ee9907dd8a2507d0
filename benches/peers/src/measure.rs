//! Rounds, medians, ratios.
//!
//! A round measures every subject once, one after the other; then comes the next round. Drift on a shared machine
//! affects all of them alike, so the ratio within a round says more than the quotient of two medians.

use std::collections::BTreeMap;

/// The measurements of one subject in one setting, one value per round.
#[derive(Clone, Debug, Default)]
pub struct Series(pub Vec<f64>);

impl Series {
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The ratio of this to the other, round by round.
    pub fn over(&self, other: &Series) -> Series {
        Series(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

/// One setting of a workload: the results of every subject.
#[derive(Clone, Debug)]
pub struct Row {
    /// The workload's letter in the list of `--help`.
    pub workload: &'static str,
    /// What varies: writers, sizes.
    pub setting: String,
    pub unit: &'static str,
    /// Whether more is better.
    pub more_is_better: bool,
    pub subjects: BTreeMap<&'static str, Series>,
    /// The order of display.
    pub order: Vec<&'static str>,
}

impl Row {
    pub fn new(
        workload: &'static str,
        setting: impl Into<String>,
        unit: &'static str,
        more_is_better: bool,
    ) -> Row {
        Row {
            workload,
            setting: setting.into(),
            unit,
            more_is_better,
            subjects: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    pub fn add(&mut self, subject: &'static str, value: f64) {
        if !self.order.contains(&subject) {
            self.order.push(subject);
        }
        self.subjects.entry(subject).or_default().0.push(value);
    }
}

/// The value below which the given share of the sorted values lies.
pub fn percentile(sorted: &[u64], share: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let at = (share * last as f64).round() as usize;
    sorted.get(at).copied().unwrap_or(0)
}

/// Many records of one size that have little in common, because some logs compress their input.
pub struct Pool {
    bytes: Vec<u8>,
    size: usize,
}

impl Pool {
    pub fn new(size: usize) -> Pool {
        Pool { bytes: payload(size + (1 << 20), 7), size }
    }

    /// The `n`-th record.
    pub fn record(&self, n: u64) -> &[u8] {
        let at = (n.wrapping_mul(0x9e37_79b9) % (1 << 20)) as usize;
        &self.bytes[at..at + self.size]
    }
}

/// Incompressible bytes.
pub fn payload(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes.extend_from_slice(&x.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
