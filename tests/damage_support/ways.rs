//! The ways in which a log is damaged.

use std::ops::Range;

use seawall::format::block::{BLOCK_HEADER, BlockHeader};
use seawall::format::segment::{Generation, file_name, parse_file_name};
use seawall::format::{DATA_START, PAGE};
use seawall::io::sim::Rng;
use seawall::{Lsn, SegmentId};

use super::{Damage, Files, Sample, segments};

fn damage(what: String, changes: impl IntoIterator<Item = (String, Option<Vec<u8>>)>) -> Damage {
    Damage { what, changes: changes.into_iter().collect() }
}

/// A file whose bytes were changed.
fn changed(files: &Files, name: &str, what: String, change: impl FnOnce(&mut Vec<u8>)) -> Damage {
    let mut bytes = files[name].clone();
    change(&mut bytes);
    damage(format!("{name}: {what}"), [(name.to_owned(), Some(bytes))])
}

/// Where a file's bytes have meaning, and so where every bit is flipped: up to the last non-zero byte, without the
/// zeros that fill up a page.
fn meaning(name: &str, bytes: &[u8]) -> Vec<Range<usize>> {
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 9).min(bytes.len());
    match name.ends_with(".seg") {
        true => vec![0..80, PAGE..PAGE + 72, 2 * PAGE..used.max(2 * PAGE)],
        false => vec![0..96, PAGE..PAGE + 96],
    }
}

/// Every bit that has meaning, and a sample of those that do not.
pub fn bits(sample: &Sample) -> Vec<Damage> {
    let mut rng = Rng::new(1);
    let mut all = Vec::new();
    for (name, bytes) in sample.files.iter().filter(|(_, b)| b.len() >= 2 * PAGE) {
        let meant = meaning(name, bytes).into_iter().flat_map(|r| r.start * 8..r.end * 8);
        let rest = (0..300).map(|_| usize::try_from(rng.below(bytes.len() as u64 * 8)).unwrap());
        for bit in meant.chain(rest) {
            all.push(changed(&sample.files, name, format!("bit {bit}"), |b| b[bit / 8] ^= 1 << (bit % 8)));
        }
    }
    all
}

/// The blocks of a segment, as ranges of its file.
pub fn blocks(name: &str, bytes: &[u8]) -> Vec<Range<usize>> {
    let Some((_, first)) = parse_file_name(name) else { return Vec::new() };
    let Ok(generation) = Generation::decode(bytes.first_chunk::<PAGE>().unwrap()) else { return Vec::new() };
    let (identity, mut at, mut all) =
        (generation.identity(), usize::try_from(DATA_START).unwrap(), Vec::new());
    while let Some(head) = bytes.get(at..).and_then(|b| b.first_chunk::<BLOCK_HEADER>()) {
        let lsn = first.plus(at as u64 - DATA_START);
        let Ok(header) = BlockHeader::decode(head, &identity, lsn) else { break };
        let end = at + usize::try_from(header.padded_len(generation.block_align)).unwrap();
        all.push(at..end);
        at = end;
    }
    all
}

/// The newest segment that has blocks.
fn tail(files: &Files) -> String {
    segments(files).into_iter().rfind(|n| !blocks(n, &files[n]).is_empty()).unwrap()
}

/// The last segment truncated at every byte, the others at every block's end.
pub fn truncations(sample: &Sample) -> Vec<Damage> {
    let files = &sample.files;
    let tail = tail(files);
    let mut all = Vec::new();
    for name in segments(files) {
        let len = files[&name].len();
        let ends = blocks(&name, &files[&name]).into_iter().flat_map(|b| [b.start, b.end]);
        let lens: Vec<usize> =
            if name == tail { (0..len).collect() } else { ends.chain([0, PAGE]).collect() };
        let cut = |n: usize| changed(files, &name, format!("cut to {n} bytes"), |b| b.truncate(n));
        all.extend(lens.into_iter().filter(|n| *n < len).map(cut));
    }
    all
}

/// Each sector of 512 bytes and of 4 KiB zeroed, filled, made garbage, swapped with others, and copied over another.
pub fn sectors(sample: &Sample) -> Vec<Damage> {
    let files = &sample.files;
    let mut all = Vec::new();
    for (name, bytes) in files.iter().filter(|(_, b)| b.len() >= 2 * PAGE) {
        for size in [512, PAGE] {
            let count = bytes.len() / size;
            for s in 0..count {
                one_sector(files, name, size, s, &mut all);
                for t in (0..count).filter(|t| *t != s) {
                    let (a, b) = (s * size, t * size);
                    let what = format!("sector {s} of {size} copied over {t}");
                    all.push(changed(files, name, what, |bytes| bytes.copy_within(a..a + size, b)));
                    if s < t {
                        all.push(changed(
                            files,
                            name,
                            format!("sectors {s} and {t} of {size} swapped"),
                            |bytes| {
                                let (low, high) = bytes.split_at_mut(b);
                                low[a..a + size].swap_with_slice(&mut high[..size]);
                            },
                        ));
                    }
                }
                foreign_sector(files, name, size, s, &mut all);
            }
        }
    }
    // Where nothing was written, copying nothing changes nothing.
    all.retain(|d| d.changes.iter().any(|(n, b)| b.as_ref() != files.get(n)));
    all
}

fn one_sector(files: &Files, name: &str, size: usize, s: usize, all: &mut Vec<Damage>) {
    let range = s * size..(s + 1) * size;
    for fill in [0u8, 0xff] {
        let what = format!("sector {s} of {size} filled with {fill}");
        all.push(changed(files, name, what, |b| b[range.clone()].fill(fill)));
    }
    let mut rng = Rng::new(s as u64);
    all.push(changed(files, name, format!("sector {s} of {size} is garbage"), |b| {
        b[range].iter_mut().for_each(|b| *b = rng.draw().to_le_bytes()[0]);
    }));
}

/// The sector at the same place of each other file.
fn foreign_sector(files: &Files, name: &str, size: usize, s: usize, all: &mut Vec<Damage>) {
    let range = s * size..(s + 1) * size;
    for (other, theirs) in files.iter().filter(|(n, _)| *n != name) {
        if let Some(theirs) = theirs.get(range.clone()) {
            let what = format!("sector {s} of {size} is that of {other}");
            all.push(changed(files, name, what, |b| b[range.clone()].copy_from_slice(theirs)));
        }
    }
}

/// Valid blocks swapped, doubled, and brought from another log.
pub fn moved_blocks(sample: &Sample) -> Vec<Damage> {
    let files = &sample.files;
    let places: Vec<(String, Range<usize>)> = segments(files)
        .into_iter()
        .flat_map(|n| blocks(&n, &files[&n]).into_iter().map(move |b| (n.clone(), b)))
        .collect();
    let mut all = Vec::new();
    for (name, at) in &places {
        for (other, from) in places.iter().filter(|p| **p != (name.clone(), at.clone())) {
            let block = files[other][from.clone()].to_vec();
            let what = format!("the block at {} is the one at {} of {other}", at.start, from.start);
            let end = (at.start + block.len()).min(files[name].len());
            all.push(changed(files, name, what, |b| {
                b[at.start..end].copy_from_slice(&block[..end - at.start]);
            }));
            all.extend(swapped_blocks(files, (name, at), (other, from)));
        }
        let theirs = sample.other[name][at.clone()].to_vec();
        let what = format!("the block at {} is another log's", at.start);
        all.push(changed(files, name, what, |b| b[at.clone()].copy_from_slice(&theirs)));
    }
    all
}

fn swapped_blocks(
    files: &Files,
    (name, at): (&String, &Range<usize>),
    (other, from): (&String, &Range<usize>),
) -> Option<Damage> {
    if (name, at.start) > (other, from.start) || at.len() != from.len() {
        return None;
    }
    let (mine, theirs) = (files[name][at.clone()].to_vec(), files[other][from.clone()].to_vec());
    let what = format!("{name} {at:?} and {other} {from:?} swapped");
    let mut first = files[name].clone();
    first[at.clone()].copy_from_slice(&theirs);
    if name == other {
        first[from.clone()].copy_from_slice(&mine);
        return Some(damage(what, [(name.clone(), Some(first))]));
    }
    let mut second = files[other].clone();
    second[from.clone()].copy_from_slice(&mine);
    Some(damage(what, [(name.clone(), Some(first)), (other.clone(), Some(second))]))
}

/// Segments deleted one by one, in every combination, swapped, renamed, brought from another log.
pub fn moved_segments(sample: &Sample) -> Vec<Damage> {
    let files = &sample.files;
    let names = segments(files);
    let mut all = Vec::new();
    for bits in 1..1u32 << names.len() {
        let gone: Vec<_> = (0..names.len()).filter(|n| bits >> n & 1 == 1).collect();
        let what = format!("segments {gone:?} of {} are gone", names.len());
        all.push(damage(what, gone.iter().map(|n| (names[*n].clone(), None))));
    }
    for (n, name) in names.iter().enumerate() {
        for other in &names[n + 1..] {
            let changes = [(name, other), (other, name)].map(|(a, b)| (a.clone(), Some(files[b].clone())));
            all.push(damage(format!("{name} and {other} swapped"), changes));
        }
        let (id, first) = parse_file_name(name).unwrap();
        let others = [
            (SegmentId::new(id.get() + 100), first),
            (SegmentId::new(id.get() + 100), Lsn::new(first.get() + (1 << 20))),
            (id, Lsn::new(first.get() + 8)),
            (SegmentId::new(0), first),
        ];
        for (id, first) in others {
            let to = file_name(id, first);
            let moved = [(name.clone(), None), (to.clone(), Some(files[name].clone()))];
            all.push(damage(format!("{name} is called {to}"), moved));
            all.push(damage(format!("{name} is also called {to}"), [(to, Some(files[name].clone()))]));
        }
        let theirs = sample.other[name].clone();
        all.push(damage(format!("{name} is another log's"), [(name.clone(), Some(theirs))]));
    }
    all
}

/// Each file as it was at each earlier time, one at a time.
pub fn rolled_back(sample: &Sample) -> Vec<Damage> {
    let mut all = Vec::new();
    for (n, older) in sample.older.iter().enumerate() {
        for (name, bytes) in older.iter().filter(|(name, _)| sample.files.contains_key(*name)) {
            all.push(damage(format!("{name} as it was at time {n}"), [(name.clone(), Some(bytes.clone()))]));
        }
    }
    all
}

/// The superblock's slots, singly and together: zeros, garbage, another log's, an older one; the file gone and short.
pub fn superblocks(sample: &Sample) -> Vec<Damage> {
    const NAME: &str = "superblock";
    let files = &sample.files;
    let garbage: Vec<u8> = (0..PAGE).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let slots = [
        ("zeros", vec![0; PAGE]),
        ("garbage", garbage),
        ("another log's", sample.other[NAME][..PAGE].to_vec()),
        ("an older one", sample.older[0][NAME][..PAGE].to_vec()),
    ];
    let mut all = Vec::new();
    for (what, slot) in &slots {
        for (which, ranges) in [("first", 0..1), ("second", 1..2), ("both", 0..2)] {
            all.push(changed(files, NAME, format!("{which}: {what}"), |b| {
                ranges.for_each(|n| b[n * PAGE..(n + 1) * PAGE].copy_from_slice(slot));
            }));
        }
    }
    all.push(damage("the superblock is gone".into(), [(NAME.into(), None)]));
    for len in (0..2 * PAGE).step_by(64) {
        all.push(changed(files, NAME, format!("cut to {len} bytes"), |b| b.truncate(len)));
    }
    all
}
