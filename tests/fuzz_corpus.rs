//! W7: runs the bodies of the fuzz targets over the committed seeds and pseudo-random inputs. A finding of the fuzzer
//! becomes a seed, and so a permanent test.

// `Bytes` under one codec of the raft crate, `Vec<u8>` under the other.
#![allow(clippy::useless_conversion)]

#[path = "fuzz_support/mod.rs"]
mod bodies;

use std::path::PathBuf;

use bodies::TARGETS;
use bodies::seeds::pseudo_random;

fn seeds(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz_seeds").join(target)
}

#[test]
fn every_seed_holds() {
    for (target, run) in TARGETS {
        let mut count = 0;
        for file in std::fs::read_dir(seeds(target)).unwrap() {
            let path = file.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            if let Err(panic) = std::panic::catch_unwind(|| run(&input)) {
                eprintln!("failed on {}", path.display());
                std::panic::resume_unwind(panic);
            }
            count += 1;
        }
        assert!(count >= 12, "{target} has {count} seeds");
    }
}

/// The negative control: a log that lost its last batches, and one that returns other data, are detected.
#[test]
fn a_wrong_log_is_noticed() {
    let log = &bodies::real_log::logs()[0];
    let (older, now) = (&log.versions[1], log.versions.last().unwrap());
    let noticed = |files: &bodies::directory::Files, change: fn(&mut Vec<u8>)| {
        let disk = bodies::directory::disk_of(files);
        let wal = bodies::directory::options().open_on(bodies::directory::shared(&disk)).unwrap();
        let mut found = bodies::evidence::show(&wal, &disk);
        change(&mut found.records[3].1);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            bodies::open_mutated::is_a_prefix(log, &found, &[]);
            bodies::open_mutated::holds_what_is_proven(log, &wal, bodies::evidence::proven(now), &[]);
        }))
        .is_err()
    };
    assert!(!noticed(now, |_| {}));
    assert!(noticed(older, |_| {}), "records that are proven are gone");
    assert!(noticed(now, |payload| payload.push(0)), "a payload was changed");
}

fn random_inputs(target: &str, count: u64) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    for seed in 0..count {
        if let Err(panic) = std::panic::catch_unwind(|| run(&pseudo_random(seed))) {
            eprintln!("failed on the pseudo-random input {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn arbitrary_directories_open_to_what_verifies_or_are_refused() {
    random_inputs("open_arbitrary", 2000);
}

#[test]
fn damaged_logs_open_to_a_correct_prefix_or_are_refused() {
    random_inputs("open_mutated", 1500);
}

#[test]
fn every_decoder_has_one_spelling() {
    random_inputs("decode", 20_000);
}

#[test]
fn verify_agrees_with_open() {
    random_inputs("verify_tool", 1000);
}

#[cfg(feature = "raft")]
#[test]
fn raft_groups_survive_what_happens_to_them() {
    random_inputs("raft_ops", 300);
}

#[cfg(feature = "raft")]
#[test]
fn records_that_claim_to_be_the_raft_layers_do_no_harm() {
    random_inputs("raft_arbitrary", 1000);
}

/// Regenerates the seeds: inputs with different behaviour, as far as that is visible from outside.
#[test]
#[ignore = "writes tests/fuzz_seeds"]
fn make_seeds() {
    for (target, _) in TARGETS {
        let dir = seeds(target);
        std::fs::create_dir_all(&dir).unwrap();
        for (n, input) in
            bodies::seeds::choose(32, 3000, |input| bodies::seeds::outcome(target, input)).iter().enumerate()
        {
            std::fs::write(dir.join(format!("{n:02}")), input).unwrap();
        }
    }
}
