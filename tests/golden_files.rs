//! The format is pinned: old bytes are read, and the same input writes the same bytes.
//!
//! The files in `tests/golden/v1/` were written once and are never written again by a test. What is random in a log, its
//! UUID and its salts, is fixed in them through the codecs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)] // outside #[test] functions too

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seawall::format::block::{BLOCK_HEADER, BlockHeader, BlockKind};
use seawall::format::footer::Footer;
use seawall::format::record::{RecordHeader, encode_unsealed, reseal};
use seawall::format::segment::{Life, Predecessor, SegmentHeader, file_name, parse_file_name};
use seawall::format::superblock::{FILE_NAME, Superblock};
use seawall::format::{DATA_START, PAGE, crc32};
use seawall::{Label, LogUuid, Lsn, Options, SegmentId, verify};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn uuid() -> LogUuid {
    LogUuid::from_bytes(*b"seawall-golden-1")
}

struct GoldenBlock {
    kind: BlockKind,
    records: Vec<(Option<Label>, Vec<u8>)>,
}

fn data(records: Vec<(Option<Label>, Vec<u8>)>) -> GoldenBlock {
    GoldenBlock { kind: BlockKind::Data, records }
}

/// What is in the golden log: two segments, the first one sealed.
fn content() -> [Vec<GoldenBlock>; 2] {
    let label = |sequence| Some(Label { kind: 7, stream: 0x0102_0304_0506_0708, sequence, extra: u64::MAX });
    [
        vec![
            data(vec![(None, b"hello".to_vec()), (None, Vec::new())]),
            data(vec![(label(1), vec![0; 700]), (label(2), b"labelled".to_vec())]),
        ],
        vec![
            data(vec![(None, (0..=255).collect())]),
            GoldenBlock { kind: BlockKind::Mark, records: Vec::new() },
        ],
    ]
}

/// The golden log's files, written by the codecs alone.
fn write() -> BTreeMap<String, Vec<u8>> {
    let align = 512u32;
    let mut files = BTreeMap::new();
    let (mut first, mut predecessor, mut digest) = (Lsn::ZERO, None, 0);
    for (n, blocks) in content().into_iter().enumerate() {
        let id = SegmentId::new(n as u64 + 1);
        let salt = 0x5a17 + n as u64;
        let life = Life {
            uuid: uuid(),
            id,
            salt,
            first_lsn: first,
            capacity: 8192,
            block_align: align,
            recycled: false,
        };
        let identity = life.identity();
        let header = SegmentHeader { id, first_lsn: first, salt, predecessor, durable: first };
        let mut bytes = life.encode().to_vec();
        bytes.extend_from_slice(&header.encode(uuid()));
        let (mut lsn, mut records) = (first, 0u64);
        for block in &blocks {
            let mut body = Vec::new();
            for (label, payload) in &block.records {
                encode_unsealed(&mut body, *label, None, &[payload], u32::try_from(payload.len()).unwrap());
            }
            let count = reseal(&mut body, lsn.plus(BLOCK_HEADER as u64), |l| identity.seal(l));
            let header = BlockHeader {
                kind: block.kind,
                lsn,
                durable: lsn,
                body_len: u32::try_from(body.len()).unwrap(),
                records: count,
                previous: digest,
            };
            let encoded = header.encode(&identity);
            digest = BlockHeader::digest(&encoded);
            bytes.extend_from_slice(&encoded);
            bytes.extend_from_slice(&body);
            lsn = lsn.plus(header.padded_len(align));
            bytes.resize(usize::try_from(DATA_START + lsn.distance_from(first).unwrap()).unwrap(), 0);
            records += u64::from(count);
        }
        if n == 0 {
            let footer = Footer {
                id,
                end: lsn,
                digest,
                head_crc: crc32(b"head"),
                head_len: 4,
                body_crc: crc32(b"body!"),
                body_len: 5,
                records,
                blocks: blocks.len() as u64,
            };
            bytes.extend_from_slice(&footer.encode(&identity));
            bytes.extend_from_slice(b"head\0\0\0\0body!");
        } else {
            bytes.resize(usize::try_from(DATA_START).unwrap() + 8192, 0);
        }
        files.insert(file_name(id, first), bytes);
        predecessor = Some(Predecessor { id, end: lsn, digest });
        first = life.first_lsn.plus(8192);
    }
    let superblock = Superblock {
        uuid: uuid(),
        sequence: 9,
        oldest: SegmentId::new(1),
        newest: Some(SegmentId::new(2)),
        durable: predecessor.unwrap().end,
        owner: Some(42),
    };
    files.insert(FILE_NAME.into(), [superblock.encode(), superblock.encode()].concat());
    files
}

#[test]
fn the_same_input_writes_the_same_bytes() {
    for (name, bytes) in write() {
        let path = golden().join(&name);
        let pinned = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(pinned.len(), bytes.len(), "{name}");
        let differs = pinned.iter().zip(&bytes).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{name} differs at this byte");
    }
}

#[test]
fn old_bytes_are_read() {
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(golden()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    let report = verify(dir.path()).unwrap();
    assert!(report.is_ok(), "{report}");
    assert_eq!((report.uuid, report.owner), (Some(uuid()), Some(42)));
    let wal = Options::new().open(dir.path()).unwrap();
    assert!(wal.recovery().clean, "{}", wal.recovery());
    let summary = wal.summary(SegmentId::new(1)).unwrap().unwrap();
    assert_eq!((&summary.head[..], &summary.body[..]), (&b"head"[..], &b"body!"[..]));
    let read: Vec<_> = wal.iter().map(|r| r.unwrap()).map(|r| (r.label(), r.payload().to_vec())).collect();
    let written: Vec<_> = content().into_iter().flatten().flat_map(|b| b.records).collect();
    assert_eq!(read, written);
}

/// Byte by byte, what `docs/FORMAT.md` says.
#[test]
fn fields_lie_where_the_document_says() {
    let files = write();
    let first = &files[&file_name(SegmentId::new(1), Lsn::ZERO)];
    let u32_at = |at: usize| u32::from_le_bytes(first[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(first[at..at + 8].try_into().unwrap());
    assert_eq!(&first[4..8], b"SWLF");
    assert_eq!((u32_at(8), u32_at(12)), (1, 512));
    assert_eq!(&first[16..32], b"seawall-golden-1");
    assert_eq!((u64_at(32), u64_at(40), u64_at(48), u64_at(56)), (1, 0x5a17, 0, 8192));
    assert_eq!(u32_at(0), crc32(&first[4..72]));
    assert_eq!(&first[PAGE + 4..PAGE + 8], b"SWSH");
    assert_eq!((u64_at(PAGE + 8), u64_at(PAGE + 24)), (1, 0x5a17));
    // The first block: header, a plain record "hello", an empty one.
    let block = 8192;
    assert_eq!(&first[block + 4..block + 7], b"SB\x01");
    assert_eq!((u64_at(block + 8), u64_at(block + 16)), (0, 0));
    assert_eq!((u32_at(block + 24), u32_at(block + 28), u32_at(block + 32)), (40, 2, 0));
    let record = block + 40;
    assert_eq!((u32_at(record + 4), u32_at(record + 8)), (5, crc32(b"hello")));
    assert_eq!(&first[record + 12..record + 24], b"\x01\0\0\0hello\0\0\0");
    let identity = seawall::format::Identity::new(uuid(), 0x5a17);
    let header = RecordHeader::decode(&first[record..], &identity, Lsn::new(40)).unwrap();
    assert_eq!(u32_at(record), crc32(&first[record + 4..record + 16]) ^ identity.seal(Lsn::new(40)));
    assert_eq!(header.payload_len, 5);
    // The second block follows at the next multiple of 512, and names the first one's checksum.
    assert_eq!(u32_at(block + 512 + 32), u32_at(block));
    assert_eq!(
        parse_file_name("00000000000000000002-0000000000002000.seg"),
        Some((SegmentId::new(2), Lsn::new(8192)))
    );
}

/// Run by hand, once, when a version of the format is made: `cargo test --test golden_files -- --ignored`.
#[test]
#[ignore = "writes the golden files of a new format version; never changes those of a released one"]
fn write_golden_files() {
    std::fs::create_dir_all(golden()).unwrap();
    for (name, bytes) in write() {
        let path = golden().join(name);
        assert!(!path.exists(), "{} is pinned", path.display());
        std::fs::write(path, bytes).unwrap();
    }
}
