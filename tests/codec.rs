//! Everything that passes through a codec comes back unchanged, however it is read. Without the codec a reader gets
//! an error, and never bytes that were not a payload.

mod codec_support;

use std::num::NonZeroU16;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use codec_support::{XOR, Xor, all, xor};
use proptest::prelude::*;
use seawall::io::sim::{CrashStyle, SimDisk};
use seawall::{Batch, Codec, DecodeError, Error, Label, LogView, Lsn, Options, Wal, verify};

fn options() -> Options {
    Options::new().segment_size(64 << 10).idle_marker(Duration::from_millis(1))
}

fn label(n: usize) -> Label {
    Label { kind: 1, stream: 2, sequence: n as u64, extra: 3 }
}

/// Payloads between noise and monotony, in pieces.
fn payload() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..300);
    let monotony = (any::<u8>(), 0usize..9000).prop_map(|(byte, len)| vec![byte; len]);
    proptest::collection::vec(prop_oneof![noise, monotony], 0..4)
}

/// Every record as given, read in every possible way.
fn check(wal: &Wal, written: &[(Lsn, Vec<u8>)]) {
    let mut reader = wal.reader();
    for (lsn, payload) in written {
        assert_eq!(wal.read(*lsn).unwrap().payload(), payload);
        assert_eq!(reader.read(*lsn).unwrap().into_bytes(), payload);
    }
    let all: Vec<(Lsn, Vec<u8>)> =
        wal.iter().map(|r| r.unwrap()).map(|r| (r.lsn(), r.payload().to_vec())).collect();
    assert_eq!(all, written);
    let followed: Vec<Lsn> = wal.follow(Lsn::ZERO).take(written.len()).map(|r| r.unwrap().lsn()).collect();
    assert!(followed.iter().eq(written.iter().map(|(lsn, _)| lsn)));
}

fn round_trip(codec: &Arc<dyn Codec>, payloads: &[Vec<Vec<u8>>], mapped: bool) {
    let dir = tempfile::tempdir().unwrap();
    let open = || options().mmap(mapped).codec(Arc::clone(codec)).open(dir.path()).unwrap();
    let wal = open();
    let mut written = Vec::new();
    for (n, parts) in payloads.iter().enumerate() {
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let lsn = if n % 3 == 0 {
            wal.append(parts.concat()).unwrap()
        } else {
            let mut batch = wal.batch();
            let record = batch.push_labelled(label(n), &slices);
            let ticket = wal.submit(&batch).unwrap();
            let lsn = ticket.lsn_of(record);
            // Readable once submitted, durable or not.
            assert_eq!(wal.read(lsn).unwrap().payload(), parts.concat());
            assert_eq!(wal.read(lsn).unwrap().label(), Some(label(n)));
            ticket.wait().unwrap();
            lsn
        };
        written.push((lsn, parts.concat()));
    }
    check(&wal, &written);
    drop(wal);
    let wal = open();
    check(&wal, &written);
    wal.close().unwrap();
    assert!(verify(dir.path()).unwrap().is_ok());
    let view = LogView::open(dir.path()).unwrap().decode_with(Arc::clone(codec));
    let viewed: Vec<(Lsn, Vec<u8>)> = view
        .segments()
        .iter()
        .flat_map(|s| s.heads().map(|head| s.read(head.unwrap().lsn).unwrap()))
        .map(|record| (record.lsn(), record.payload().to_vec()))
        .collect();
    assert_eq!(viewed, written);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn what_is_given_is_read_back(
        payloads in proptest::collection::vec(payload(), 1..40),
        mapped in any::<bool>(),
    ) {
        for codec in all() {
            round_trip(&codec, &payloads, mapped);
        }
    }

    #[test]
    fn after_a_crash_what_was_acknowledged_is_read_back(
        payloads in proptest::collection::vec(payload(), 1..20),
        seed in any::<u64>(),
    ) {
        for codec in all() {
            let disk = SimDisk::new();
            let open = |disk: &SimDisk| {
                options().threads(false).codec(Arc::clone(&codec)).open_on(Arc::new(disk.clone())).unwrap()
            };
            let wal = open(&disk);
            let written: Vec<(Lsn, Vec<u8>)> =
                payloads.iter().map(|parts| (wal.append(parts.concat()).unwrap(), parts.concat())).collect();
            drop(wal.submit({ let mut b = wal.batch(); b.push([7; 500]); b }).unwrap());
            let wal = open(&disk.crash(CrashStyle::Chaos(seed)));
            check(&wal, &written);
        }
    }
}

/// Copying needs no codec, and copies what is stored.
#[test]
fn a_backup_is_encoded_as_the_log_is() {
    for codec in all() {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let wal = options().codec(Arc::clone(&codec)).open(dir.path()).unwrap();
        let written: Vec<(Lsn, Vec<u8>)> =
            (0..100u8).map(|n| (wal.append([n; 2000]).unwrap(), vec![n; 2000])).collect();
        drop(wal);
        // With a handle that does not have the codec.
        options().open(dir.path()).unwrap().backup(copy.path()).unwrap();
        check(&options().codec(codec).open(copy.path()).unwrap(), &written);
    }
}

const SECRET: &[u8] = b"a secret that must not be read from the disk";

fn secret_log() -> (tempfile::TempDir, Vec<Lsn>) {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().codec(xor(0x33)).open(dir.path()).unwrap();
    let lsns = (0..100).map(|_| wal.append(SECRET.repeat(20)).unwrap()).collect();
    wal.close().unwrap();
    (dir, lsns)
}

#[test]
fn without_the_codec_nothing_is_handed_out() {
    let (dir, lsns) = secret_log();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|w| w == SECRET));
    }
    let wal = options().open(dir.path()).unwrap();
    let errors = [
        wal.read(lsns[3]).unwrap_err(),
        wal.reader().read(lsns[3]).unwrap_err(),
        wal.iter().next().unwrap().unwrap_err(),
        wal.follow(Lsn::ZERO).next().unwrap().unwrap_err(),
        LogView::open(dir.path()).unwrap().segments()[0].read(lsns[0]).unwrap_err(),
    ];
    for e in errors {
        assert!(matches!(e, Error::UnknownCodec { id, .. } if id.get() == XOR), "{e}");
        assert!(e.to_string().contains("Options::codec"), "{e}");
    }
    let head = wal.segment_reader(wal.segments()[0].id).unwrap().head(lsns[0]).unwrap();
    assert_eq!((head.codec, head.payload_len), (NonZeroU16::new(XOR), 880 + 5));
    let stored = wal.segment_reader(wal.segments()[0].id).unwrap().read_stored(lsns[0]).unwrap();
    assert_eq!((stored.codec(), stored.bytes().len()), (head.codec, 880 + 5));
    // Such a log can be appended to, and new records are stored unchanged.
    let plain = wal.append(b"plain").unwrap();
    assert_eq!(wal.read(plain).unwrap().payload(), b"plain");
}

#[test]
fn another_key_is_an_error_that_does_not_blame_the_disk() {
    let (dir, lsns) = secret_log();
    let wal = options().codec(xor(0x34)).open(dir.path()).unwrap();
    let e = wal.read(lsns[0]).unwrap_err();
    assert!(matches!(&e, Error::Undecodable { lsn, id, .. } if *lsn == lsns[0] && id.get() == XOR), "{e}");
    assert!(e.to_string().contains("another key") && e.to_string().contains(".seg"), "{e}");
}

#[test]
fn a_payload_that_would_be_too_long_is_refused() {
    /// Takes its input for the length of the payload.
    struct Bomb;
    impl Codec for Bomb {
        fn id(&self) -> NonZeroU16 {
            NonZeroU16::new(999).unwrap()
        }
        fn encode(&self, payload: &[&[u8]], out: &mut Vec<u8>) -> bool {
            out.extend(payload.concat());
            true
        }
        fn decode(&self, stored: &[u8], _: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
            out.resize(u32::from_le_bytes(stored.try_into().unwrap()) as usize, 0);
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let wal = options().codec(Arc::new(Bomb)).open(dir.path()).unwrap();
    let most = wal.append((16u32 << 20).to_le_bytes()).unwrap();
    let over = wal.append(((16u32 << 20) + 1).to_le_bytes()).unwrap();
    assert_eq!(wal.read(most).unwrap().payload().len(), 16 << 20);
    let e = wal.read(over).unwrap_err();
    assert!(matches!(&e, Error::Undecodable { source: DecodeError::TooLong { .. }, .. }), "{e}");
}

#[test]
fn a_batch_that_did_not_go_through_the_log_s_codec_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = options().codec(xor(1)).open(dir.path()).unwrap();
    let same_number = options().codec(xor(2)).open(other.path()).unwrap();
    let one = |mut batch: Batch| {
        batch.push(SECRET);
        batch
    };
    for batch in [one(Batch::new()), one(Batch::with_capacity(100)), one(same_number.batch())] {
        let end = log.next_lsn();
        let e = log.submit(&batch).unwrap_err();
        assert!(matches!(&e, Error::CodecMismatch { log: Some(_), .. }), "{e}");
        assert!(e.to_string().contains("Wal::batch"), "{e}");
        assert!(matches!(log.commit(&batch), Err(Error::CodecMismatch { .. })));
        assert!(matches!(log.submit_from_reserve(&batch), Err(Error::CodecMismatch { .. })));
        assert_eq!(log.next_lsn(), end);
    }
    // An empty batch is accepted by any log.
    log.commit(Batch::new()).unwrap();
    log.commit(one(log.batch())).unwrap();
    let mut cleared = log.batch();
    cleared.push(b"1");
    cleared.clear();
    log.commit(one(cleared)).unwrap();
    let plain = tempfile::tempdir().unwrap();
    let plain = options().open(plain.path()).unwrap();
    assert!(matches!(
        plain.submit(one(log.batch())),
        Err(Error::CodecMismatch { log: None, batch: Some(_) })
    ));
    plain.commit(one(plain.batch())).unwrap();
    plain.commit(one(Batch::new())).unwrap();
}

#[test]
fn a_log_goes_from_one_codec_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second): (Arc<dyn Codec>, Arc<dyn Codec>) = (xor(1), Arc::new(Xor { id: 301, key: 2 }));
    let runs = [
        options(),
        options().codec(Arc::clone(&first)),
        options().codec(Arc::clone(&second)).decode_with(Arc::clone(&first)),
        options().decode_with(Arc::clone(&first)).decode_with(Arc::clone(&second)),
    ];
    let mut written = Vec::new();
    for (n, options) in runs.iter().enumerate() {
        let wal = options.open(dir.path()).unwrap();
        let payload = format!("run {n}").into_bytes();
        written.push((wal.append(&payload).unwrap(), payload));
        check(&wal, &written);
    }
    let ids: Vec<Option<u16>> = LogView::open(dir.path())
        .unwrap()
        .segments()
        .iter()
        .flat_map(|s| s.heads().map(|head| head.unwrap().codec.map(NonZeroU16::get)))
        .collect();
    assert_eq!(ids, [None, Some(XOR), Some(301), None]);
    // The same codec twice is no contradiction; two with the same number are.
    options().codec(Arc::clone(&first)).decode_with(first).open(dir.path()).unwrap();
    let e = options().codec(xor(1)).decode_with(xor(1)).open(dir.path()).unwrap_err();
    assert!(matches!(e, Error::InvalidOptions { .. }), "{e}");
}

/// A codec is foreign code: it may call the log.
#[test]
fn a_codec_is_called_under_no_lock() {
    #[derive(Default)]
    struct Asks(OnceLock<Wal>);
    impl Asks {
        fn ask(&self) {
            if let Some(wal) = self.0.get() {
                assert!(wal.next_lsn() >= wal.durable_lsn());
            }
        }
    }
    impl Codec for Asks {
        fn id(&self) -> NonZeroU16 {
            NonZeroU16::new(400).unwrap()
        }
        fn encode(&self, payload: &[&[u8]], out: &mut Vec<u8>) -> bool {
            self.ask();
            out.extend(payload.concat());
            true
        }
        fn decode(&self, stored: &[u8], _: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
            self.ask();
            out.extend_from_slice(stored);
            Ok(())
        }
    }
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let codec = Arc::new(Asks::default());
        let disk = Arc::new(SimDisk::new());
        // Without threads nothing is flushed until a caller waits: the record is read while it is staged.
        let wal = options().threads(false).codec(codec.clone()).open_on(disk).unwrap();
        codec.0.set(wal.clone()).unwrap();
        let mut batch = wal.batch();
        batch.push(b"staged");
        let ticket = wal.submit(&batch).unwrap();
        assert!(!ticket.is_durable());
        assert_eq!(wal.read(ticket.lsn()).unwrap().payload(), b"staged");
        let lsn = ticket.wait().unwrap();
        assert_eq!(wal.read(lsn).unwrap().payload(), b"staged");
        wal.close().unwrap();
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[test]
fn limits_are_on_what_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().max_record_size(1000).codec(xor(1)).open(dir.path()).unwrap();
    let lsn = wal.append([1; 1000]).unwrap();
    let record = wal.read(lsn).unwrap();
    assert_eq!((record.payload().len(), record.stored_len()), (1000, 1005));
    assert!(matches!(wal.append([1; 1001]), Err(Error::RecordTooLarge { size: 1001, max: 1000 })));
}

#[cfg(feature = "lz4")]
#[test]
fn lz4_stores_what_it_cannot_shorten_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let wal = options().codec(Arc::new(seawall::Lz4)).open(dir.path()).unwrap();
    let mut noise = 1u64;
    let noise: Vec<u8> = (0..4000)
        .map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_le_bytes()[3]
        })
        .collect();
    for (payload, shorter) in [(noise.as_slice(), false), (b"short", false), (b"", false), (&[9; 4000], true)]
    {
        let lsn = wal.append(payload).unwrap();
        let head = wal.segment_reader(wal.segments()[0].id).unwrap().head(lsn).unwrap();
        assert_eq!(head.codec.is_some(), shorter);
        assert_eq!((head.payload_len as usize) < payload.len(), shorter);
        assert_eq!(wal.read(lsn).unwrap().payload(), payload);
    }
    let stats = wal.stats();
    assert!(stats.batch_bytes < 4000 + 500, "{stats:?}");
}
