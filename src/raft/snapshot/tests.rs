//! Low-level tests of snapshot files: bytes, damage, and removal.

#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Read as _;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use ::raft::eraftpb::ConfState;

use super::super::state::SnapshotRef;
use super::identity::Identity;
use super::*;
use crate::error::LogUuid;
use crate::groups::Position;
use crate::io::RealDisk;
use crate::io::sim::{Call, Fault, FaultPlan, SimDisk, Trigger};
use crate::{Error, Lsn};

fn store(dir: &tempfile::TempDir, uuid: u8) -> Arc<Snapshots> {
    let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
    Arc::new(Snapshots::new(disk, LogUuid([uuid; 16]), 1000))
}

fn name_of(group: u64, file: SnapshotRef) -> String {
    Identity { uuid: LogUuid([1; 16]), group, file }.name()
}

fn conf() -> ConfState {
    let mut conf = ConfState::default();
    conf.voters = vec![1, 2, 3];
    conf
}

fn write(store: &Arc<Snapshots>, index: u64, data: &[u8]) -> SnapshotRef {
    let conf = conf();
    let meta = Meta { group: 7, at: Position { index, term: 2 }, conf: &conf };
    store.write(&meta, data).unwrap()
}

fn sample() -> Vec<u8> {
    (0..3500u32).map(|n| (n % 251) as u8).collect()
}

#[test]
fn a_snapshot_of_any_size_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir, 1);
    for len in [0, 1, 999, 1000, 1001, 2000, 3500] {
        let data = &sample()[..len];
        let file = write(&store, 5, data);
        assert_eq!(store.read(7, file).unwrap(), (conf(), data.to_vec()));
    }
}

/// A snapshot of group 7 at index 5, term 2, with members 1 to 3 and the data "state", as version 1 has always
/// written it.
#[rustfmt::skip]
const GOLDEN: &[u8] = &[
    b'S', b'E', b'A', b'W', b'S', b'N', b'A', b'P',
    1, 0, 0, 0, 9, 0, 0, 0,        // version, ConfState length
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, // UUID
    7, 0, 0, 0, 0, 0, 0, 0,         // group
    5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, // index, term
    1, 0, 0, 0, 0, 0, 0, 0,         // serial
    5, 0, 0, 0, 0, 0, 0, 0,         // data length
    232, 3, 0, 0,                   // chunk length
    84, 198, 153, 200,              // CRC
    1, 0, 3, 1, 2, 3, 0, 0, 0,
    58, 32, 95, 150,                // CRC
    b's', b't', b'a', b't', b'e',
    b'S', b'E', b'A', b'W', b'S', b'E', b'N', b'D',
    1, 0, 0, 0, 0, 0, 0, 0,         // chunks
    148, 129, 47, 64,               // CRC
];

#[test]
fn the_bytes_of_a_snapshot_never_change() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir, 1);
    let file = write(&store, 5, b"state");
    let name = "0000000000000007-0000000000000005-0000000000000002-0000000000000001.snap";
    assert_eq!(name_of(7, file), name);
    assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), GOLDEN);
}

#[test]
fn every_changed_byte_and_every_cut_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir, 1);
    let file = write(&store, 5, &sample()[..1500]);
    let path = dir.path().join(name_of(7, file));
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        let e = store.read(7, file).unwrap_err();
        let typed = matches!(&e, Error::Corruption(c) if c.file == path);
        let newer = matches!(&e, Error::UnsupportedVersion { .. });
        assert!(typed || newer, "byte {at}: {e}");
    }
    for cut in 0..good.len() {
        std::fs::write(&path, &good[..cut]).unwrap();
        let e = store.open(7, file).unwrap_err();
        assert!(matches!(&e, Error::Corruption(_)), "cut {cut}: {e}");
    }
    std::fs::write(&path, &good).unwrap();
    store.read(7, file).unwrap();
}

#[test]
fn a_snapshot_of_another_log_or_another_name_does_not_verify() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(&dir, 1);
    let file = write(&first, 5, b"state");
    assert!(store(&dir, 2).read(7, file).is_err());
    let other = SnapshotRef { serial: file.serial + 1, ..file };
    std::fs::copy(dir.path().join(name_of(7, file)), dir.path().join(name_of(7, other))).unwrap();
    assert!(first.read(7, other).is_err());
    first.read(7, file).unwrap();
}

#[test]
fn orphans_go_what_is_referred_to_and_what_is_foreign_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir, 1);
    let kept = write(&store, 5, b"kept");
    let orphan = write(&store, 6, b"orphan");
    let temporary = format!("{}.tmp", name_of(7, SnapshotRef { serial: 40, ..kept }));
    std::fs::write(dir.path().join(&temporary), b"half").unwrap();
    std::fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
    store.remove_orphans(&[(7, kept)]).unwrap();
    let mut left = store.disk.list().unwrap();
    left.sort();
    assert_eq!(left, [name_of(7, kept), "notes.txt".to_owned()]);
    assert_ne!(kept, orphan);
    assert_eq!(write(&store, 7, b"next").serial, 41);
}

#[test]
fn an_obsolete_file_stays_until_its_successor_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir, 1);
    let file = write(&store, 5, b"old");
    store.discard(7, file, Lsn::new(100));
    assert_eq!(store.sweep(Lsn::new(99)), 1);
    store.open(7, file).unwrap();
    assert_eq!(store.sweep(Lsn::new(100)), 0);
    assert!(store.open(7, file).is_err());
}

/// A store whose files are in memory.
fn simulated() -> (SimDisk, Arc<Snapshots>) {
    let disk = SimDisk::new();
    let store = Snapshots::new(Arc::new(disk.clone()), LogUuid([1; 16]), 100);
    (disk, Arc::new(store))
}

/// Data in pieces of these lengths.
fn pieces(lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut n = 0u32;
    let mut byte = || {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (n >> 24) as u8
    };
    lengths.iter().map(|len| (0..*len).map(|_| byte()).collect()).collect()
}

/// Reads in pieces of these lengths, repeatedly.
fn read_in(source: &mut SnapshotSource, lengths: &[usize]) -> std::io::Result<Vec<u8>> {
    let (mut data, mut lengths) = (Vec::new(), lengths.iter().cycle());
    loop {
        assert_eq!(
            (source.position(), source.remaining()),
            (data.len() as u64, source.len() - source.position())
        );
        let mut piece = vec![0; *lengths.next().unwrap()];
        match source.read(&mut piece)? {
            0 => return Ok(data),
            n => data.extend_from_slice(&piece[..n]),
        }
    }
}

proptest! {
    #[test]
    fn any_pieces_are_the_file_that_one_piece_is(
        writes in vec(0usize..350, 0..8),
        reads in vec(1usize..350, 1..8),
    ) {
        let data = pieces(&writes);
        let (whole, conf) = (data.concat(), conf());
        let (disk, store) = simulated();
        let file = write(&store, 5, &whole);

        let (other_disk, other) = simulated();
        let meta = Meta { group: 7, at: Position { index: 5, term: 2 }, conf: &conf };
        let mut writer = FileWriter::create(&other, &meta).unwrap();
        for piece in &data {
            writer.take_all(piece).unwrap();
        }
        prop_assert_eq!(writer.written(), whole.len() as u64);
        prop_assert_eq!(writer.finish().unwrap(), file);
        prop_assert_eq!(other_disk.files(), disk.files());
        let name = name_of(7, file);
        prop_assert_eq!(other_disk.contents(&name), disk.contents(&name));

        prop_assert_eq!(read_in(&mut other.open(7, file).unwrap(), &reads).unwrap(), whole);
    }
}

/// No byte of a damaged chunk is returned, nor any of the last chunk when the trailer is damaged.
#[test]
fn what_is_damaged_is_noticed_before_it_is_handed_out() {
    for len in [0, 99, 100, 350] {
        let data = pieces(&[len]).concat();
        let (disk, store) = simulated();
        let file = write(&store, 5, &data);
        let name = name_of(7, file);
        let good = disk.contents(&name).unwrap();
        let header = good.len() - 20 - len - 4 * len.div_ceil(100);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            disk.put(&name, &bad);
            let Ok(mut source) = store.open(7, file) else {
                assert!(at < header, "byte {at} is not part of the header");
                continue;
            };
            assert!(at >= header, "byte {at} of the header was accepted");
            let intact = ((at - header) / 104 * 100).min(len.saturating_sub(1) / 100 * 100);
            let mut seen = Vec::new();
            let e = source.read_to_end(&mut seen).unwrap_err();
            assert_eq!(seen, data[..intact], "byte {at} of {}", good.len());
            assert_eq!(e.kind(), std::io::ErrorKind::InvalidData);
            let inside = e.get_ref().and_then(|e| e.downcast_ref::<crate::raft::Error>());
            let Some(crate::raft::Error::Log(Error::Corruption(c))) = inside else { panic!("{e}") };
            assert!(
                c.file.ends_with(&name) && c.offset <= at as u64 && c.offset + 104 > at as u64,
                "{at}: {c}"
            );
            assert!(source.read(&mut [0]).is_err(), "it continues after the damage");
        }
        disk.put(&name, &good);
        assert_eq!(store.read(7, file).unwrap().1, data);
    }
}

#[test]
fn a_read_that_fails_can_be_tried_again() {
    let data = pieces(&[350]).concat();
    let (disk, store) = simulated();
    let file = write(&store, 5, &data);
    // Two per chunk, and one for the trailer.
    for n in 0..9 {
        let mut source = store.open(7, file).unwrap();
        disk.plan(FaultPlan::none().with(Trigger::Nth(Call::Read, n), Fault::Os(5)));
        let (mut seen, mut errors) = (Vec::new(), 0);
        while source.read_to_end(&mut seen).is_err() {
            errors += 1;
        }
        assert_eq!((seen, errors), (data.clone(), 1));
    }
}

#[test]
fn a_small_snapshot_does_not_need_room_for_a_chunk_and_a_large_one_for_no_more_than_that() {
    let (_disk, store) = simulated();
    let conf = conf();
    let mut writer =
        FileWriter::create(&store, &Meta { group: 7, at: Position { index: 5, term: 2 }, conf: &conf })
            .unwrap();
    writer.take_all(&[1; 10]).unwrap();
    assert!(writer.room() < 20, "{}", writer.room());
    for _ in 0..500 {
        writer.take_all(&[1; 7]).unwrap();
        assert!(writer.room() <= 100, "{}", writer.room());
    }
}
