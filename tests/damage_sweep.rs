//! W4, W7, W9: a log of a few segments is damaged in every possible way. Damage to proven data is refused and named,
//! or detected by a read, and not one byte is changed; an unproven tail is cut and reported; wrong data is never
//! returned.
//!
//! `cargo test --test damage_sweep -- --nocapture` prints the results for each kind of damage. *Cut* is the one
//! undecidable case: the newest block, with nothing to prove that it was durable, damaged after it was acknowledged.
//! *Unseen* is the same where the damage also looks like a place that was never written.

mod common;
mod damage_support;

use damage_support::ways;
use damage_support::{Counts, Damage, Left, Sample, disk_of, examine, print_head, print_row, tally, tight};

type Way = fn(&Sample) -> Vec<Damage>;

const WAYS: [(&str, Way); 7] = [
    ("every bit flipped", ways::bits),
    ("cut at every byte, at every block elsewhere", ways::truncations),
    ("every sector lost, filled, swapped, doubled", ways::sectors),
    ("blocks swapped, doubled, of another log", ways::moved_blocks),
    ("segments gone, swapped, renamed, foreign", ways::moved_segments),
    ("a file as it was earlier", ways::rolled_back),
    ("superblock slots, singly and together", ways::superblocks),
];

#[test]
fn w4_w7_w9_damage_is_refused_or_found_or_cut_where_nothing_is_proven() {
    print_head();
    let mut total = Counts::default();
    for left in [Left::Closed, Left::Killed] {
        let sample = Sample::new(left);
        let base = disk_of(&sample.files);
        for (n, (what, way)) in WAYS.into_iter().enumerate() {
            let damages = way(&sample);
            let counts = tally(&base, &damages, |disk| examine(&tight(), disk, &sample.records));
            print_row(what, &format!("{left:?}"), counts);
            assert!(counts.sum() >= 20 && counts.refused > 0, "{what}: {counts:?}");
            // A close proves everything: then nothing may be cut.
            assert!(left == Left::Killed || counts.cut + counts.unseen == 0, "{what}: {counts:?}");
            // Wrong or missing bytes are not taken for bytes that were never written.
            assert!(n > 1 || counts.unseen == 0, "{what}: {counts:?}");
            total = total.plus(counts);
        }
    }
    print_row("all", "", total);
    #[allow(clippy::cast_precision_loss)] // a share for people
    let share = 100.0 * (total.cut + total.unseen) as f64 / (total.sum() - total.whole) as f64;
    println!("undecidable, of the damage that hit something: {share:.2} %");
    assert!(total.cut > 0 && total.found > 0, "{total:?}");
}
