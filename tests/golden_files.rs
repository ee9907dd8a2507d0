//! The format is pinned: old bytes can be read, and the same input writes the same bytes.
//!
//! The files in `tests/golden/` were written once, and no test writes them again: `v1`, and `v1-encoded`, where
//! codecs encoded some of the payloads. The random parts of a log, its UUID and its salts, are fixed in them through
//! the codecs.

mod codec_support;

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use seawall::format::block::{BLOCK_HEADER, BlockHeader, BlockKind};
use seawall::format::footer::Footer;
use seawall::format::record::{RecordHeader, encode_unsealed, reseal};
use seawall::format::segment::{Generation, Predecessor, SegmentHeader, file_name, parse_file_name};
use seawall::format::superblock::{FILE_NAME, Superblock};
use seawall::format::{DATA_START, PAGE, crc32};
use seawall::{Error, Label, LogUuid, Lsn, Options, SegmentId, verify};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn uuid() -> LogUuid {
    LogUuid::from_bytes(*b"seawall-golden-1")
}

struct GoldenBlock {
    kind: BlockKind,
    records: Vec<GoldenRecord>,
}

struct GoldenRecord {
    label: Option<Label>,
    codec: u16,
    /// As it is stored.
    payload: Vec<u8>,
}

fn data(records: Vec<(Option<Label>, Vec<u8>)>) -> GoldenBlock {
    let plain = |(label, payload)| GoldenRecord { label, codec: 0, payload };
    GoldenBlock { kind: BlockKind::Data, records: records.into_iter().map(plain).collect() }
}

/// The content of the golden log: two segments, the first one sealed.
fn content() -> [Vec<GoldenBlock>; 2] {
    let label = |sequence| Some(Label { kind: 7, stream: 0x0102_0304_0506_0708, sequence, extra: u64::MAX });
    [
        vec![
            data(vec![(None, b"hello".to_vec()), (None, Vec::new())]),
            data(vec![(label(1), vec![0; 700]), (label(2), b"labelled".to_vec())]),
        ],
        vec![
            data(vec![(None, (0..=255).collect())]),
            GoldenBlock { kind: BlockKind::Marker, records: Vec::new() },
        ],
    ]
}

/// An LZ4 block of sixteen bytes: one literal, a match of 250 bytes one byte back, and five literals.
const LZ4_OF_256: &[u8] = b"\0\x01\0\0\x1fz\x01\0\xe7\x50zzzzz";

/// The content of the golden log with codecs: a record stored unchanged, one encoded by LZ4, one by codec 300 of
/// `codec_support`.
fn encoded_content() -> [Vec<GoldenBlock>; 1] {
    let label = Some(Label { kind: 7, stream: 1, sequence: 2, extra: 3 });
    let hidden: Vec<u8> = b"hidden".iter().map(|b| b ^ 0x5a).collect();
    let records = vec![
        GoldenRecord { label: None, codec: 0, payload: b"as given".to_vec() },
        GoldenRecord { label: None, codec: 1, payload: LZ4_OF_256.to_vec() },
        GoldenRecord { label, codec: 300, payload: [&b"xor!\x5a"[..], &hidden].concat() },
    ];
    let marker = GoldenBlock { kind: BlockKind::Marker, records: Vec::new() };
    [vec![GoldenBlock { kind: BlockKind::Data, records }, marker]]
}

/// Each golden log: its directory, and its files.
fn logs() -> [(PathBuf, BTreeMap<String, Vec<u8>>); 2] {
    [(golden("v1"), write(content())), (golden("v1-encoded"), write(encoded_content()))]
}

/// A golden log's files, written by this crate's encoders alone.
fn write<const N: usize>(content: [Vec<GoldenBlock>; N]) -> BTreeMap<String, Vec<u8>> {
    let align = 512u32;
    let mut files = BTreeMap::new();
    let (mut first, mut predecessor, mut digest) = (Lsn::ZERO, None::<Predecessor>, 0);
    for (n, blocks) in content.into_iter().enumerate() {
        let id = SegmentId::new(n as u64 + 1);
        let salt = 0x5a17 + n as u64;
        let generation = Generation {
            uuid: uuid(),
            id,
            salt,
            first_lsn: first,
            capacity: 8192,
            block_align: align,
            recycled: false,
            before: predecessor.map(|p| p.id),
        };
        let identity = generation.identity();
        let header = SegmentHeader { id, first_lsn: first, salt, predecessor, durable: first };
        let mut bytes = generation.encode().to_vec();
        bytes.extend_from_slice(&header.encode(uuid()));
        let (mut lsn, mut records) = (first, 0u64);
        for block in &blocks {
            let mut body = Vec::new();
            for GoldenRecord { label, codec, payload } in &block.records {
                let len = u32::try_from(payload.len()).unwrap();
                encode_unsealed(&mut body, *label, NonZeroU16::new(*codec), &[payload], len);
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
        if n + 1 < N {
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
        first = generation.first_lsn.plus(8192);
    }
    let superblock = Superblock {
        uuid: uuid(),
        sequence: 9,
        oldest: SegmentId::new(1),
        newest: Some(SegmentId::new(N as u64)),
        durable: predecessor.unwrap().end,
        owner: Some(42),
        ready: Some((SegmentId::new(N as u64), Lsn::new(8192 * (N as u64 - 1)))),
    };
    files.insert(FILE_NAME.into(), [superblock.encode(), superblock.encode()].concat());
    files
}

#[test]
fn the_same_input_writes_the_same_bytes() {
    for (dir, files) in logs() {
        for (name, bytes) in files {
            let path = dir.join(&name);
            let pinned = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(pinned.len(), bytes.len(), "{name}");
            let differs = pinned.iter().zip(&bytes).position(|(a, b)| a != b);
            assert_eq!(differs, None, "{} differs at this byte", path.display());
        }
    }
}

#[test]
fn old_bytes_are_read() {
    let dir = copy_of("v1");
    let report = verify(dir.path()).unwrap();
    assert!(report.is_ok(), "{report}");
    assert_eq!((report.uuid, report.owner), (Some(uuid()), Some(42)));
    let wal = Options::new().open(dir.path()).unwrap();
    assert!(wal.recovery().clean, "{}", wal.recovery());
    let summary = wal.summary(SegmentId::new(1)).unwrap().unwrap();
    assert_eq!((&summary.head[..], &summary.body[..]), (&b"head"[..], &b"body!"[..]));
    let read: Vec<_> = wal.iter().map(|r| r.unwrap()).map(|r| (r.label(), r.payload().to_vec())).collect();
    let written: Vec<_> =
        content().into_iter().flatten().flat_map(|b| b.records).map(|r| (r.label, r.payload)).collect();
    assert_eq!(read, written);
}

#[test]
fn old_encoded_bytes_are_read() {
    let dir = copy_of("v1-encoded");
    assert!(verify(dir.path()).unwrap().is_ok());
    let mut options = Options::new();
    for codec in codec_support::all() {
        options = options.decode_with(codec);
    }
    let wal = options.open(dir.path()).unwrap();
    let heads: Vec<_> = wal.segment_reader(SegmentId::new(1)).unwrap().heads().map(|h| h.unwrap()).collect();
    assert_eq!(heads.iter().map(|h| h.codec.map_or(0, NonZeroU16::get)).collect::<Vec<_>>(), [0, 1, 300]);
    assert_eq!(wal.read(heads[0].lsn).unwrap().payload(), b"as given");
    match wal.read(heads[1].lsn) {
        Ok(record) => assert_eq!(record.payload(), [b'z'; 256]),
        Err(e) => assert!(cfg!(not(feature = "lz4")) && matches!(e, Error::UnknownCodec { .. }), "{e}"),
    }
    let hidden = wal.read(heads[2].lsn).unwrap();
    assert_eq!((hidden.payload(), hidden.label().unwrap().sequence), (&b"hidden"[..], 2));
}

fn copy_of(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(golden(name)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    dir
}

/// Compares with `docs/FORMAT.md`, byte by byte.
#[test]
fn fields_lie_where_the_document_says() {
    let files = write(content());
    let first = &files[&file_name(SegmentId::new(1), Lsn::ZERO)];
    let u32_at = |at: usize| u32::from_le_bytes(first[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(first[at..at + 8].try_into().unwrap());
    assert_eq!(&first[4..8], b"SWLF");
    assert_eq!((u32_at(8), u32_at(12)), (1, 512));
    assert_eq!(&first[16..32], b"seawall-golden-1");
    assert_eq!((u64_at(32), u64_at(40), u64_at(48), u64_at(56)), (1, 0x5a17, 0, 8192));
    assert_eq!(u32_at(0), crc32(&first[4..80]));
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
    for (dir, files) in logs().into_iter().filter(|(dir, _)| !dir.exists()) {
        std::fs::create_dir_all(&dir).unwrap();
        for (name, bytes) in files {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    }
}
