//! W4, W7, W9: damage below what is proven durable is refused and named, and not one byte is changed; damage to the
//! unproven tail is cut and reported; no bytes make the log panic or show something wrong.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // outside #[test] functions too

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::open;
use seawall::error::{CorruptionReason, WitnessSource};
use seawall::format::superblock::Superblock;
use seawall::format::{PAGE, segment};
use seawall::io::Disk;
use seawall::io::sim::{Rng, SimDisk};
use seawall::{Batch, Error, Label, Lsn, Options, SegmentId, TailPolicy, verify_on};

type Files = BTreeMap<String, Vec<u8>>;
type Records = Vec<(Lsn, Vec<u8>)>;

fn options() -> Options {
    common::options().segment_size(16 << 10).block_align(512)
}

/// A log of a few segments, and what is in it. Closed, all of it is proven; not closed, the newest block is not.
fn build(seed: u64, closed: bool) -> (Files, Records) {
    let disk = SimDisk::new();
    let wal = open(&options(), &disk).unwrap();
    let mut rng = Rng::new(seed);
    let mut records = Vec::new();
    for n in 0..14u64 {
        let mut batch = Batch::new();
        let mut pushed = Vec::new();
        for m in 0..2u64 {
            let len = usize::try_from(rng.below(900)).unwrap();
            // Payloads full of zeros are payloads.
            let payload = vec![if m == 0 { 0 } else { u8::try_from(n).unwrap() }; len];
            let label = Label { kind: 1, stream: 40 + m, sequence: n, extra: 0 };
            pushed.push((batch.push_labelled(label, &[&payload]), payload));
        }
        let first = wal.commit(&batch).unwrap();
        records.extend(pushed.into_iter().map(|(o, p)| (o.from_first(first), p)));
    }
    if closed {
        wal.close().unwrap();
    }
    (files_of(&disk), records)
}

fn files_of(disk: &SimDisk) -> Files {
    disk.files().into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
}

fn disk_of(files: &Files) -> SimDisk {
    let disk = SimDisk::new();
    for (name, bytes) in files {
        disk.put(name, bytes.clone());
    }
    disk
}

fn segments(files: &Files) -> Vec<String> {
    files.keys().filter(|n| n.ends_with(".seg")).cloned().collect()
}

/// What became of a damaged log.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing of the content is hit.
    Whole,
    /// Refused at open, and nothing changed.
    Refused,
    /// Opened; a record that is hit says so when it is read.
    Unreadable,
    /// Opened without its last records, and reported.
    Cut,
}

fn examine(files: &Files, records: &Records) -> Result<Outcome, String> {
    let disk = disk_of(files);
    let wal = match open(&options(), &disk) {
        Ok(wal) => wal,
        Err(Error::Corruption(_) | Error::Foreign { .. } | Error::UnsupportedVersion { .. }) => {
            return if files_of(&disk) == *files {
                Ok(Outcome::Refused)
            } else {
                Err("refused and changed".into())
            };
        }
        Err(e) => return Err(format!("{e}")),
    };
    let mut unreadable = false;
    let mut seen = 0;
    for (lsn, payload) in records {
        match wal.read(*lsn) {
            Ok(record) if record.payload() == &payload[..] => seen += 1,
            Ok(_) => return Err(format!("another payload at {lsn}")),
            Err(Error::Corruption(_)) => unreadable = true,
            Err(Error::NotFound { .. }) if !wal.recovery().cut.is_empty() => {}
            Err(e) => return Err(format!("{lsn}: {e}")),
        }
    }
    let mut iterated = 0;
    for record in wal.iter() {
        match record {
            Ok(_) => iterated += 1,
            Err(Error::Corruption(_)) => unreadable = true,
            Err(e) => return Err(format!("iterating: {e}")),
        }
    }
    if unreadable {
        let disk = Arc::new(disk_of(files)) as Arc<dyn Disk>;
        let report = verify_on(&disk).map_err(|e| e.to_string())?;
        return if report.is_ok() { Err("verify sees nothing".into()) } else { Ok(Outcome::Unreadable) };
    }
    match (seen == records.len(), iterated == seen) {
        (true, true) => Ok(Outcome::Whole),
        (false, true) => Ok(Outcome::Cut),
        _ => Err(format!("{seen} read, {iterated} iterated")),
    }
}

fn tally(
    files: &Files,
    records: &Records,
    damages: impl Iterator<Item = (String, Files)>,
) -> BTreeMap<String, u64> {
    let mut tally = BTreeMap::new();
    for (what, damaged) in damages {
        let outcome = examine(&damaged, records).unwrap_or_else(|e| panic!("{what}: {e}"));
        *tally.entry(format!("{outcome:?}")).or_default() += 1;
        assert!(outcome == Outcome::Whole || damaged != *files, "{what}");
    }
    tally
}

/// One bit of every byte, a different one each time.
fn flips<'a>(files: &'a Files, name: &'a str, step: usize) -> impl Iterator<Item = (String, Files)> + 'a {
    let len = files[name].len();
    (0..len).step_by(step).map(move |at| {
        let mut damaged = files.clone();
        damaged.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
        (format!("{name} byte {at}"), damaged)
    })
}

#[test]
fn w4_a_flipped_bit_in_a_closed_log_is_refused_or_found_by_the_reader() {
    let (files, records) = build(1, true);
    let mut total: BTreeMap<String, u64> = BTreeMap::new();
    for name in segments(&files) {
        for (outcome, n) in tally(&files, &records, flips(&files, &name, 1)) {
            *total.entry(outcome).or_default() += n;
        }
    }
    // Everything was proven by the close: nothing may be cut.
    assert_eq!(total.get("Cut"), None, "{total:?}");
    assert!(total["Refused"] > 5000, "{total:?}");
    assert!(total["Unreadable"] > 1000, "{total:?}");
}

#[test]
fn w4_a_flipped_bit_in_a_killed_log_is_cut_only_in_its_newest_block() {
    let (files, records) = build(2, false);
    let newest = segments(&files).into_iter().nth_back(1).unwrap();
    let untouched = open(&options(), &disk_of(&files)).unwrap();
    let last_block = records[records.len() - 2].0;
    drop(untouched);
    for (what, damaged) in flips(&files, &newest, 1) {
        let disk = disk_of(&damaged);
        let outcome = examine(&damaged, &records).unwrap_or_else(|e| panic!("{what}: {e}"));
        if outcome == Outcome::Cut {
            let wal = open(&options(), &disk).unwrap();
            let cut = &wal.recovery().cut[0];
            assert!(cut.lsns.start <= last_block && cut.lsns.start >= cut.proven, "{what}: {cut}");
            let whole = wal.iter().count();
            assert_eq!(whole, records.len() - 2, "{what}: only the newest block's records are gone");
            // The other policy refuses, and changes nothing.
            let disk = disk_of(&damaged);
            let refused = options().tail_policy(TailPolicy::Refuse).open_on(Arc::new(disk.clone()));
            assert!(matches!(refused, Err(Error::Corruption(_))), "{what}");
            assert_eq!(files_of(&disk), damaged, "{what}");
        }
    }
}

#[test]
fn w4_every_sector_lost_swapped_or_doubled_in_a_closed_log() {
    let (files, records) = build(3, true);
    let names = segments(&files);
    let mut damages = Vec::new();
    for name in &names {
        let sectors = files[name].len() / 512;
        for s in 0..sectors {
            let range = s * 512..(s + 1) * 512;
            for fill in [Some(0u8), Some(0xff), None] {
                let mut d = files.clone();
                let bytes = d.get_mut(name).unwrap();
                match fill {
                    Some(fill) => bytes[range.clone()].fill(fill),
                    None => {
                        let mut rng = Rng::new(s as u64);
                        bytes[range.clone()].iter_mut().for_each(|b| *b = rng.draw().to_le_bytes()[0]);
                    }
                }
                damages.push((format!("{name} sector {s} filled with {fill:?}"), d));
            }
            let other = (s * 7 + 3) % sectors;
            let mut doubled = files.clone();
            doubled.get_mut(name).unwrap().copy_within(range.clone(), other * 512);
            damages.push((format!("{name} sector {s} copied over {other}"), doubled));
        }
    }
    let total = tally(&files, &records, damages.into_iter());
    assert_eq!(total.get("Cut"), None, "{total:?}");
    assert!(total["Refused"] > 100, "{total:?}");
}

#[test]
fn w4_a_segment_cut_short_or_gone_or_swapped_is_refused() {
    let (files, records) = build(4, true);
    let used: Vec<String> = segments(&files);
    let newest = used.len() - 1; // a spare that was never used, if there is one
    let mut refused = 0;
    for (n, name) in used.iter().enumerate() {
        let mut gone = files.clone();
        let bytes = gone.remove(name).unwrap();
        let outcome = examine(&gone, &records).unwrap();
        if bytes[4096..8192].iter().all(|b| *b == 0) {
            assert_eq!((outcome, n), (Outcome::Whole, newest), "only the unused spare may go");
            continue;
        }
        assert_eq!(outcome, Outcome::Refused, "{name} gone");
        for len in (0..bytes.len()).step_by(97) {
            let mut short = files.clone();
            short.get_mut(name).unwrap().truncate(len);
            let outcome = examine(&short, &records).unwrap_or_else(|e| panic!("{name} cut to {len}: {e}"));
            refused += u32::from(outcome == Outcome::Refused);
            assert_ne!(outcome, Outcome::Cut, "{name} cut to {len}");
        }
        for other in used.iter().filter(|o| *o != name) {
            let mut swapped = files.clone();
            swapped.insert(name.clone(), files[other].clone());
            swapped.insert(other.clone(), bytes.clone());
            let outcome = examine(&swapped, &records).unwrap();
            assert_eq!(outcome, Outcome::Refused, "{name} and {other} swapped");
        }
    }
    assert!(refused > 100);
    let mut all_gone = files.clone();
    all_gone.retain(|name, _| !name.ends_with(".seg"));
    assert_eq!(examine(&all_gone, &records).unwrap(), Outcome::Refused);
}

#[test]
fn w4_one_superblock_slot_may_go_and_both_may_not() {
    let (files, records) = build(5, true);
    for (what, damaged) in flips(&files, "superblock", 1) {
        assert_eq!(examine(&damaged, &records).unwrap(), Outcome::Whole, "{what}");
    }
    let mut both = files.clone();
    both.get_mut("superblock").unwrap().fill(0x55);
    assert_eq!(examine(&both, &records).unwrap(), Outcome::Refused);
    let mut gone = files.clone();
    gone.remove("superblock");
    assert_eq!(examine(&gone, &records).unwrap(), Outcome::Refused);
}

#[test]
fn w3_blocks_and_segments_of_another_log_do_not_verify() {
    let (files, records) = build(6, true);
    let (others, _) = build(6, true); // the same content, another log
    for name in segments(&files) {
        let mut foreign = files.clone();
        foreign.insert(name.clone(), others[&name].clone());
        assert_eq!(examine(&foreign, &records).unwrap(), Outcome::Refused, "{name}");
        let e = open(&options(), &disk_of(&foreign)).unwrap_err();
        assert!(matches!(e, Error::Foreign { .. }), "{e}");
        for start in (8192..files[&name].len().min(others[&name].len()) - 512).step_by(512) {
            let mut block = files.clone();
            block.get_mut(&name).unwrap()[start..start + 512]
                .copy_from_slice(&others[&name][start..start + 512]);
            let outcome = examine(&block, &records).unwrap_or_else(|e| panic!("{name} at {start}: {e}"));
            assert_ne!(outcome, Outcome::Cut, "{name} at {start}");
        }
    }
}

#[test]
fn the_error_names_file_offset_addresses_streams_and_witness() {
    let (files, records) = build(7, false);
    let name = segments(&files).into_iter().nth_back(1).unwrap();
    // The newest segment's first block: the ones behind it prove it.
    let mut damaged = files.clone();
    let bytes = damaged.get_mut(&name).unwrap();
    let at = 8192 + 40 + 40 + 3;
    bytes[at] ^= 0x10;
    let e = open(&options(), &disk_of(&damaged)).unwrap_err();
    let Error::Corruption(c) = &e else { panic!("{e}") };
    assert!(c.file.ends_with(&name));
    assert!(c.offset > 8192 && c.offset <= at as u64, "{c}");
    assert!(matches!(c.reason, CorruptionReason::Payload | CorruptionReason::RecordHeader), "{c}");
    assert!(matches!(c.witness.unwrap().source, WitnessSource::Block(_)), "{c}");
    assert!(c.hit.iter().any(|h| h.stream == 40 || h.stream == 41), "{c}");
    assert!(c.lsns.start < c.lsns.end && c.lsns.end <= records.last().unwrap().0.plus(4096));
    let text = e.to_string();
    for word in ["offset", "LSN", "durable", "stream", "restore"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn w7_a_newer_version_is_unsupported_and_arbitrary_bytes_are_refused() {
    let (files, records) = build(8, true);
    let mut rng = Rng::new(1);
    for _ in 0..300 {
        let mut d = files.clone();
        let names: Vec<String> = d.keys().cloned().collect();
        let name = &names[usize::try_from(rng.below(names.len() as u64)).unwrap()];
        let bytes = d.get_mut(name).unwrap();
        match rng.below(3) {
            0 => *bytes = (0..rng.below(20_000)).map(|_| rng.draw().to_le_bytes()[0]).collect(),
            1 => {
                let cut = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                bytes.drain(..cut);
            }
            _ => {
                for _ in 0..50 {
                    let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                    bytes[at] = rng.draw().to_le_bytes()[0];
                }
            }
        }
        let outcome = examine(&d, &records).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_ne!(outcome, Outcome::Cut, "{name}");
    }
}

/// A superblock that verifies and names a future segment as the oldest: what is written next must not be numbered below
/// it, where the next open would take it for junk.
#[test]
fn w1_what_is_written_into_an_empty_log_is_numbered_from_the_oldest_segment_on() {
    let disk = SimDisk::new();
    drop(open(&options(), &disk).unwrap());
    let mut files = files_of(&disk);
    files.retain(|name, _| name == "superblock");
    let bytes = files.get_mut("superblock").unwrap();
    let mut sb = Superblock::decode(bytes.first_chunk::<PAGE>().unwrap()).unwrap();
    sb.oldest = SegmentId::new(1 << 40);
    *bytes = [sb.encode(), sb.encode()].concat();
    let mut full = files.clone();
    let disk = disk_of(&files);
    let lsn = open(&options(), &disk).unwrap().append(b"acknowledged").unwrap();
    assert_eq!(open(&options(), &disk).unwrap().read(lsn).unwrap().payload(), b"acknowledged");

    // Near the last number the log can be opened, and nothing is acknowledged any more.
    sb.oldest = SegmentId::new(u64::MAX - 100);
    full.insert("superblock".into(), [sb.encode(), sb.encode()].concat());
    let wal = open(&options(), &disk_of(&full)).unwrap();
    let e = wal.append(b"refused").unwrap_err();
    assert!(matches!(e, Error::Exhausted { .. }), "{e}");
    // And when there are no numbers left, that is said before anything is changed.
    sb.oldest = SegmentId::new(u64::MAX - 1);
    full.insert("superblock".into(), [sb.encode(), sb.encode()].concat());
    let disk = disk_of(&full);
    let e = open(&options(), &disk).unwrap_err();
    assert!(matches!(e, Error::Exhausted { .. }), "{e}");
    assert_eq!(files_of(&disk), full);
}

/// A killed log of three full-sized segments, the superblock that it had in the first, and the segments' names.
fn three_segments() -> (Files, Vec<u8>, impl Fn(usize) -> String) {
    let disk = SimDisk::new();
    let wal = open(&options(), &disk).unwrap();
    wal.append(b"first").unwrap();
    let superblock = disk.contents("superblock").unwrap();
    while wal.segments().len() < 3 || wal.next_lsn() < wal.segments()[2].first_lsn.plus(2048) {
        wal.append(vec![7; 300]).unwrap();
    }
    let segments = wal.segments();
    (files_of(&disk), superblock, move |n| segment::file_name(segments[n].id, segments[n].first_lsn))
}

/// The newest segment's header page and its first block are damaged, its predecessor has no footer, and the superblock is an
/// older one: the blocks behind are all that is left to say that something was there.
#[test]
fn w4_any_block_of_a_segment_without_a_header_is_a_witness() {
    let (mut files, superblock, name) = three_segments();
    let (before, newest) = (name(1), name(2));
    // Its predecessor's footer would say so too.
    files.get_mut(&before).unwrap().truncate(16 << 10);
    files.insert("superblock".into(), superblock);
    files.get_mut(&newest).unwrap()[4096..8192 + 512].fill(0);
    let disk = disk_of(&files);
    let e = open(&options(), &disk).unwrap_err();
    let Error::Corruption(c) = &e else { panic!("{e}") };
    assert_eq!(c.reason, CorruptionReason::SegmentHeader, "{c}");
    assert!(c.file.ends_with(&newest), "{c}");
    assert_eq!(files_of(&disk), files);
}

/// The newest segment's last block is damaged, its successor is gone and the superblock is an older one: the footer
/// behind the damage is all that is left to say that the block was durable.
#[test]
fn w4_a_footer_testifies_to_the_blocks_before_it() {
    let (mut files, superblock, name) = three_segments();
    files.remove(&name(2));
    files.insert("superblock".into(), superblock);
    let (disk, second) = (disk_of(&files), name(1));
    // The last sector of blocks, 16 KiB into the file, where the footer stands.
    files.get_mut(&second).unwrap()[(16 << 10) - 512..16 << 10].fill(0x55);
    let damaged = disk_of(&files);
    let e = open(&options(), &disk).unwrap_err();
    assert!(matches!(&e, Error::Corruption(c) if c.reason == CorruptionReason::MissingSegment), "{e}");
    let e = open(&options(), &damaged).unwrap_err();
    let Error::Corruption(c) = &e else { panic!("{e}") };
    assert_eq!(c.witness.unwrap().source, WitnessSource::Footer, "{c}");
    assert!(c.file.ends_with(&second), "{c}");
    assert_eq!(files_of(&damaged), files);
}

/// The newest segment goes by another number, and the superblock is an older one: what is kept has its own name.
#[test]
fn w4_a_segment_under_another_name_is_refused() {
    let (mut files, superblock, name) = three_segments();
    let newest = files.remove(&name(2)).unwrap();
    files.get_mut(&name(1)).unwrap().truncate(16 << 10);
    files.insert("superblock".into(), superblock);
    files.insert(segment::file_name(SegmentId::new(9), Lsn::new(1 << 20)), newest);
    let disk = disk_of(&files);
    let e = open(&options(), &disk).unwrap_err();
    assert!(matches!(&e, Error::Corruption(c) if c.reason == CorruptionReason::SegmentChain), "{e}");
    assert_eq!(files_of(&disk), files);
}

/// All of a log but its newest segment was released, and of that one nothing can be used and nothing is proven. What is
/// cut is reported, and the log goes on behind the addresses that it has used.
#[test]
fn w3_an_emptied_log_does_not_begin_again_at_zero() {
    let (mut files, superblock, name) = three_segments();
    let mut sb = Superblock::decode(superblock.first_chunk::<PAGE>().unwrap()).unwrap();
    let (id, first) = segment::parse_file_name(&name(2)).unwrap();
    (sb.oldest, sb.newest, sb.durable) = (id, None, Lsn::ZERO);
    files.insert("superblock".into(), [sb.encode(), sb.encode()].concat());
    files.remove(&name(0));
    files.remove(&name(1));
    let bytes = files.get_mut(&name(2)).unwrap();
    bytes[8192..].fill(0x55);
    // As if it were a log's first segment.
    let page = bytes[PAGE..].first_chunk::<PAGE>().unwrap();
    let mut header = segment::SegmentHeader::decode(page, sb.uuid).unwrap();
    (header.durable, header.predecessor) = (Lsn::ZERO, None);
    bytes[PAGE..2 * PAGE].copy_from_slice(&header.encode(sb.uuid));
    let disk = disk_of(&files);
    let wal = open(&options(), &disk).unwrap();
    assert_eq!((wal.recovery().cut.len(), wal.next_lsn()), (1, first));
    // Killed before it wrote anything; what is no segment goes at leisure, and may be gone.
    let disk = disk.kill();
    if wal.segments().is_empty() {
        disk.take(&name(2)).unwrap();
    }
    let lsn = open(&options(), &disk).unwrap().append(b"goes on").unwrap();
    assert!(lsn > first);
    assert_eq!(open(&options(), &disk).unwrap().read(lsn).unwrap().payload(), b"goes on");
}
