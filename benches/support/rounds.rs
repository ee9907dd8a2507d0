//! Shared by the benchmarks that alternate rounds and print a table.
#![allow(dead_code)] // each benchmark uses its part

use std::str::FromStr;

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A number given on the command line.
pub fn argument<N: FromStr>(name: &str, default: N) -> N {
    let mut args = std::env::args();
    let given = args.find(|a| a == name).and_then(|_| args.next());
    given.map_or(default, |n| n.parse().unwrap_or_else(|_| panic!("{name} wants a number, not {n}")))
}
