//! W4, W7, W9: damage below what is proven durable is refused and named, and not one byte is changed; damage to the
//! unproven tail is cut and reported; no bytes make the log panic or return wrong data.

mod common;
mod damage_support;

use common::open;
use damage_support::{Files, Outcome, Records, disk_of, examine, files_of, segments};
use seawall::error::{CorruptionReason, WitnessSource};
use seawall::format::superblock::Superblock;
use seawall::format::{PAGE, segment};
use seawall::io::sim::{Rng, SimDisk};
use seawall::{Batch, Error, Label, Lsn, Options, SegmentId};

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

#[test]
fn w4_one_superblock_slot_may_go_and_both_may_not() {
    let (files, records) = build(5, true);
    let page = vec![0x55; PAGE];
    for at in [0, PAGE] {
        let mut damaged = files.clone();
        damaged.get_mut("superblock").unwrap()[at..at + PAGE].copy_from_slice(&page);
        assert_eq!(
            examine(&options(), &disk_of(&damaged), &records).unwrap(),
            Outcome::Whole,
            "slot at {at}"
        );
    }
    let mut both = files.clone();
    both.get_mut("superblock").unwrap().fill(0x55);
    assert_eq!(examine(&options(), &disk_of(&both), &records).unwrap(), Outcome::Refused);
    let mut gone = files.clone();
    gone.remove("superblock");
    assert_eq!(examine(&options(), &disk_of(&gone), &records).unwrap(), Outcome::Refused);
}

/// W3: a segment of another log is not only refused, but identified.
#[test]
fn w3_a_segment_of_another_log_is_called_foreign() {
    let (files, _) = build(6, true);
    let (others, _) = build(6, true); // the same content, another log
    for name in segments(&files) {
        let mut foreign = files.clone();
        foreign.insert(name.clone(), others[&name].clone());
        let e = open(&options(), &disk_of(&foreign)).unwrap_err();
        assert!(matches!(e, Error::Foreign { .. }), "{e}");
    }
}

#[test]
fn the_error_names_file_offset_addresses_streams_and_witness() {
    let (files, records) = build(7, false);
    let name = segments(&files).into_iter().nth_back(1).unwrap();
    // The newest segment's first block: the blocks after it prove it.
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
        let outcome = examine(&options(), &disk_of(&d), &records).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_ne!(outcome, Outcome::Cut, "{name}");
    }
}

/// A valid superblock names a future segment as the oldest: the next segment must not get a lower number, or the next
/// open would take it for junk.
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
    // When no numbers are left, that is reported before anything is changed.
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

/// The newest segment's header page and its first block are damaged, its predecessor has no footer, and the
/// superblock is an older one: only the later blocks show that something was there.
#[test]
fn w4_any_block_of_a_segment_without_a_header_is_a_witness() {
    let (mut files, superblock, name) = three_segments();
    let (before, newest) = (name(1), name(2));
    // Its predecessor's footer would show it too.
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

/// The newest segment's last block is damaged, its successor is gone and the superblock is an older one: only the
/// footer after the damage shows that the block was durable.
#[test]
fn w4_a_footer_testifies_to_the_blocks_before_it() {
    let (mut files, superblock, name) = three_segments();
    files.remove(&name(2));
    files.insert("superblock".into(), superblock);
    let (disk, second) = (disk_of(&files), name(1));
    // The last sector of blocks, 16 KiB into the file, where the footer is.
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

/// The newest segment has another number, and the superblock is an older one: a kept segment has its own name.
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

/// A segment without a block has an unusable successor, so the empty one becomes the newest. Evidence that it had a
/// block counts immediately, and not only at the next open, which would refuse what this one accepted.
#[test]
fn w4_what_is_known_of_an_empty_segment_counts_before_its_successor_is_left_out() {
    let (mut files, superblock, name) = three_segments();
    let mut sb = Superblock::decode(superblock.first_chunk::<PAGE>().unwrap()).unwrap();
    // The ready segment has the successor's number.
    files.retain(|file, _| (0..3).any(|n| *file == name(n)));
    let empty = files.get_mut(&name(2)).unwrap();
    empty[2 * PAGE..].fill(0);
    let mut generation = segment::Generation::decode(empty.first_chunk::<PAGE>().unwrap()).unwrap();
    let page = empty[PAGE..].first_chunk::<PAGE>().unwrap();
    let mut header = segment::SegmentHeader::decode(page, sb.uuid).unwrap();
    header.durable = Lsn::ZERO;
    empty[PAGE..2 * PAGE].copy_from_slice(&header.encode(sb.uuid));
    let (id, first) = (generation.id, generation.first_lsn);

    let mut successor = empty.clone();
    generation.id = id.next();
    let digest = header.predecessor.unwrap().digest;
    header.id = generation.id;
    header.predecessor = Some(segment::Predecessor { id, end: first, digest });
    successor[..PAGE].copy_from_slice(&generation.encode());
    successor[PAGE..2 * PAGE].copy_from_slice(&header.encode(sb.uuid));
    files.insert(segment::file_name(generation.id, first), successor);
    let mut files_with = |newest, footer: bool| {
        (sb.newest, sb.ready) = (newest, None);
        files.insert("superblock".into(), [sb.encode(), sb.encode()].concat());
        let mut files = files.clone();
        if !footer {
            files.get_mut(&name(1)).unwrap().truncate(16 << 10);
        }
        files
    };

    for (newest, footer, source) in
        [(None, true, WitnessSource::Footer), (Some(id), false, WitnessSource::Superblock)]
    {
        let files = files_with(newest, footer);
        let disk = disk_of(&files);
        let e = open(&options(), &disk).unwrap_err();
        let Error::Corruption(c) = &e else { panic!("{e}") };
        assert_eq!(c.witness.map(|w| w.source), Some(source), "{c}");
        assert_eq!(c.reason, CorruptionReason::SegmentChain, "{c}");
        assert_eq!(files_of(&disk), files);
    }
    // The control: without such evidence the log opens. Nothing it does then creates such evidence: neither a close,
    // nor a release, nor a backup.
    let files = files_with(None, false);
    let disk = disk_of(&files);
    let wal = open(&options(), &disk).unwrap();
    let end = wal.next_lsn();
    assert_eq!(open(&options(), &disk.kill()).unwrap().next_lsn(), end);
    let copy = SimDisk::new();
    wal.capture().unwrap().copy_to(std::sync::Arc::new(copy.clone())).unwrap().finish().unwrap();
    assert_eq!(open(&options(), &copy).unwrap().next_lsn(), end);
    wal.close().unwrap();
    let wal = open(&options(), &disk).unwrap();
    assert_eq!(wal.next_lsn(), end);
    wal.release(end).unwrap();
    assert_eq!(wal.segments().len(), 1);
    assert_eq!(open(&options(), &disk.kill()).unwrap().next_lsn(), end);
    let lsn = wal.append(b"goes on").unwrap();
    drop(wal);
    assert_eq!(open(&options(), &disk).unwrap().read(lsn).unwrap().payload(), b"goes on");
}

/// The superblock names a segment with a durable block, and the segment after it names no predecessor: only the
/// superblock shows that one is missing.
#[test]
fn w4_a_chain_that_passes_by_the_newest_known_segment_is_refused() {
    let opened = |newest: Option<usize>| {
        let (mut files, superblock, name) = three_segments();
        let mut sb = Superblock::decode(superblock.first_chunk::<PAGE>().unwrap()).unwrap();
        let id = |n| segment::parse_file_name(&name(n)).unwrap().0;
        (sb.oldest, sb.newest, sb.durable, sb.ready) = (id(1), newest.map(id), Lsn::ZERO, None);
        files.insert("superblock".into(), [sb.encode(), sb.encode()].concat());
        files.remove(&name(0));
        files.remove(&name(1));
        let bytes = files.get_mut(&name(2)).unwrap();
        bytes[8192..].fill(0x55);
        let page = bytes[PAGE..].first_chunk::<PAGE>().unwrap();
        let mut header = segment::SegmentHeader::decode(page, sb.uuid).unwrap();
        (header.durable, header.predecessor) = (Lsn::ZERO, None);
        bytes[PAGE..2 * PAGE].copy_from_slice(&header.encode(sb.uuid));
        open(&options(), &disk_of(&files)).map(|_| ())
    };
    let refused = opened(Some(1)).unwrap_err();
    assert!(
        matches!(&refused, Error::Corruption(c) if c.reason == CorruptionReason::MissingSegment),
        "{refused}"
    );
    // The control: only that evidence is missing.
    opened(None).unwrap();
}

/// Everything but the newest segment of a log was released, and that one is unusable and unproven. The cut is
/// reported, and the log continues after the addresses that it has used.
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
    // Killed before it wrote anything; files that are not segments are removed in the background, and may be gone.
    let disk = disk.kill();
    if wal.segments().is_empty() {
        disk.take(&name(2)).unwrap();
    }
    let lsn = open(&options(), &disk).unwrap().append(b"goes on").unwrap();
    assert!(lsn > first);
    assert_eq!(open(&options(), &disk).unwrap().read(lsn).unwrap().payload(), b"goes on");
}
