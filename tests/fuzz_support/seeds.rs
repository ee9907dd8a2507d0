//! The committed seeds: small inputs with much coverage, found by trying many and keeping those with new behaviour.

use seawall::Error;
use seawall::io::sim::Rng;

use super::cursor::Cursor;
use super::directory::{Files, arbitrary, disk_of, options, shared};
use super::open_mutated::damaged;

/// A pseudo-random input, of bytes that are mostly small: those are the plain choices.
pub fn pseudo_random(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let len = 8 + rng.below([24, 96, 400][(seed % 3) as usize]);
    let wild = rng.below(4) == 0;
    let mut byte = || {
        let [byte, kind, ..] = rng.draw().to_le_bytes();
        if wild || kind < 48 { byte } else { byte % 32 }
    };
    (0..len).map(|_| byte()).collect()
}

/// Seeds for a target: those pseudo-random inputs whose run, according to `trace`, differs from all before.
pub fn choose(count: usize, tries: u64, trace: impl Fn(&[u8]) -> Option<String>) -> Vec<Vec<u8>> {
    let mut seen = std::collections::BTreeSet::new();
    let inputs = (0..tries).map(pseudo_random);
    inputs.filter(|input| trace(input).is_some_and(|t| seen.insert(t))).take(count).collect()
}

/// What is visible from outside of an input's behaviour.
pub fn outcome(target: &str, input: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(input);
    match target {
        "open_arbitrary" => Some(of_files(&arbitrary(&mut cursor))),
        "open_mutated" => {
            let (_, files, done) = damaged(&mut cursor);
            Some(format!("{} {}", of_files(&files), done.len().min(3)))
        }
        "verify_tool" => match cursor.below(2) {
            0 => Some(of_files(&arbitrary(&mut cursor))),
            _ => Some(format!("damaged {}", of_files(&damaged(&mut cursor).1))),
        },
        // Which decoder, signed or not, whether there is much to decode.
        "decode" => Some(format!("{} {} {}", cursor.below(7), cursor.below(4) > 0, input.len() > 60)),
        // The first steps, and how far it goes.
        "raft_ops" => Some(format!("{} {} {}", cursor.below(16), cursor.u8() % 3, input.len() / 80)),
        "raft_arbitrary" => Some(format!("{} {}", input.first()? % 4, input.len() / 60)),
        _ => None,
    }
}

/// The result of `open` for these files, without addresses.
fn of_files(files: &Files) -> String {
    match options().open_on(shared(&disk_of(files))) {
        Ok(wal) => {
            let found = wal.recovery();
            let cuts: Vec<_> = found.cut.iter().map(|cut| cut.reason).collect();
            format!("{} {} {} {cuts:?}", found.segments, found.records.min(6), found.rewritten > 0)
        }
        Err(Error::Corruption(c)) => format!("{:?} {}", c.reason, c.witness.is_some()),
        Err(Error::Io { op, .. }) => op.to_owned(),
        Err(other) => other.to_string().split(' ').skip(1).take(2).collect(),
    }
}
