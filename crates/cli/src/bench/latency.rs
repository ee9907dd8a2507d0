//! Latency histograms with 32 buckets per factor of two, so a percentile is accurate to a thirty-second.

// Writing to a string cannot fail.
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

const STEPS: u64 = 32;

pub(super) const HEADING: &str = "      per s       p50       p99     p99.9       max";

/// Latencies in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    buckets: std::collections::BTreeMap<u64, u64>,
    count: u64,
    longest: u64,
}

/// The bucket of a latency: its highest bit, and the five bits below it.
fn bucket(nanos: u64) -> u64 {
    let nanos = nanos.max(STEPS);
    let power = u64::from(nanos.ilog2());
    power * STEPS + (nanos >> (power - 5)) % STEPS
}

/// The lowest latency of a bucket.
fn floor(bucket: u64) -> u64 {
    let (power, step) = (bucket / STEPS, bucket % STEPS);
    (STEPS + step) << (power - 5)
}

impl Latencies {
    pub(super) fn add(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        *self.buckets.entry(bucket(nanos)).or_default() += 1;
        self.count += 1;
        self.longest = self.longest.max(nanos);
    }

    pub(super) fn merge(&mut self, other: &Latencies) {
        for (at, n) in &other.buckets {
            *self.buckets.entry(*at).or_default() += n;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// The latency in nanoseconds not exceeded by this share of all.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share of a count
        let rank = (share * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (at, n) in &self.buckets {
            seen += n;
            if seen >= rank.max(1) {
                return floor(at + 1).min(self.longest);
            }
        }
        self.longest
    }

    fn per_second(&self, time: Duration) -> f64 {
        if time.is_zero() { 0.0 } else { self.count as f64 / time.as_secs_f64() }
    }

    pub(super) fn line(&self, time: Duration) -> String {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| shown(self.quantile(q)));
        format!("{:>11.0} {p50:>9} {p99:>9} {p999:>9} {:>9}", self.per_second(time), shown(self.longest))
    }

    /// Counts per factor of two, from the shortest to the longest.
    fn powers(&self) -> Vec<(u64, u64)> {
        let mut powers = std::collections::BTreeMap::<u64, u64>::new();
        for (at, n) in &self.buckets {
            *powers.entry(at / STEPS).or_default() += n;
        }
        let (Some(first), Some(last)) = (powers.keys().next(), powers.keys().last()) else {
            return Vec::new();
        };
        (*first..=*last).map(|p| (1 << p, powers.get(&p).copied().unwrap_or(0))).collect()
    }

    /// A bar for each factor of two.
    pub(super) fn plot(&self) -> String {
        const WIDTH: u64 = 50;
        let powers = self.powers();
        let most = powers.iter().map(|(_, n)| *n).max().unwrap_or(1).max(1);
        let mut plot = String::new();
        for (from, n) in powers {
            // Anything present is visible, however small.
            let cells = usize::try_from((n * WIDTH).div_ceil(most)).unwrap_or(0);
            let share = 100.0 * n as f64 / self.count.max(1) as f64;
            writeln!(
                plot,
                "{:>9} to {:<9} {:<50} {share:.3} %",
                shown(from),
                shown(2 * from),
                "█".repeat(cells)
            )
            .unwrap_or_default();
        }
        plot
    }

    pub(super) fn json(&self, name: &str, time: Duration) -> Value {
        json!({
            "name": name, "operations": self.count, "seconds": time.as_secs_f64(), "per_second": self.per_second(time),
            "p50_ns": self.quantile(0.5), "p99_ns": self.quantile(0.99), "p999_ns": self.quantile(0.999),
            "max_ns": self.longest,
            "histogram": self.powers().iter().map(|(from, n)| json!({ "from_ns": from, "to_ns": 2 * from, "count": n })).collect::<Vec<_>>(),
        })
    }
}

/// A time with three significant digits.
pub(super) fn shown(nanos: u64) -> String {
    let digits = |value: f64, unit: &str| match value {
        v if v < 10.0 => format!("{v:.2} {unit}"),
        v if v < 100.0 => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    };
    let nanos = nanos as f64;
    match nanos {
        n if n < 1e3 => digits(n, "ns"),
        n if n < 1e6 => digits(n / 1e3, "µs"),
        n if n < 1e9 => digits(n / 1e6, "ms"),
        n => digits(n / 1e9, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_a_thirty_second() {
        let mut latencies = Latencies::default();
        (1..=100_000u64).for_each(|n| latencies.add(Duration::from_nanos(n * 100)));
        for share in [0.01, 0.5, 0.99, 0.999, 1.0] {
            let (found, exact) = (latencies.quantile(share) as f64, share * 1e7);
            assert!(
                found >= exact * 0.999 && found <= exact * (1.0 + 1.0 / 31.0),
                "{share}: {found} {exact}"
            );
        }
        assert_eq!(latencies.quantile(1.0), 10_000_000);
        assert_eq!(latencies.powers().iter().map(|(_, n)| n).sum::<u64>(), 100_000);
    }

    #[test]
    fn merged_is_as_counted_together() {
        let (mut one, mut two, mut both) = (Latencies::default(), Latencies::default(), Latencies::default());
        for n in 0..1000u64 {
            let latency = Duration::from_nanos(n * n * 37);
            if n % 3 == 0 {
                one.add(latency)
            } else {
                two.add(latency)
            }
            both.add(latency);
        }
        one.merge(&two);
        assert_eq!((one.buckets, one.count, one.longest), (both.buckets, both.count, both.longest));
    }

    #[test]
    fn a_plot_shows_every_factor_of_two_between_the_shortest_and_the_longest() {
        let mut latencies = Latencies::default();
        (0..1000).for_each(|_| latencies.add(Duration::from_micros(100)));
        latencies.add(Duration::from_millis(3));
        let plot = latencies.plot();
        assert_eq!(plot.lines().count(), 6, "{plot}");
        assert!(
            plot.lines().next().unwrap().contains(&"█".repeat(50))
                && plot.lines().last().unwrap().contains("█ ")
        );
        assert_eq!(
            (shown(999), shown(1234), shown(45_678_901)),
            ("999 ns".into(), "1.23 µs".into(), "45.7 ms".into())
        );
    }
}
