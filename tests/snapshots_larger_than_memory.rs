//! A snapshot of any length is written and read with memory for one chunk.
//!
//! The allocator counts, so this program has only one test.
#![cfg(feature = "raft")]

mod counting;
mod raft_support;

use std::io::{Read as _, Write as _};

use counting::peak_of;
use raft_support::{conf, entry, hard};
use seawall::Options;
use seawall::raft::RaftOptions;

const CHUNK: usize = 256 << 10;
const PIECES: u32 = 1024;

/// Piece number `n`, of 64 KiB.
fn fill(piece: &mut [u8], n: u32) {
    for (at, word) in (0u32..).zip(piece.chunks_exact_mut(4)) {
        word.copy_from_slice(&(n.wrapping_mul(0x9e37_79b9) ^ at).to_le_bytes());
    }
}

#[test]
fn a_snapshot_of_64_mib_takes_the_memory_of_a_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Options::new().segment_size(1 << 20).threads(false);
    let log = RaftOptions::new().node_id(1).wal(wal).snapshot_chunk(256 << 10).open(dir.path()).unwrap();
    let group = log.create_group(1, conf(&[1])).unwrap();
    let mut batch = log.batch();
    batch.append(1, &[entry(1, 1)]).unwrap();
    batch.set_hard_state(1, &hard(1, 1, 1)).unwrap();
    batch.set_applied(1, 1, 1).unwrap();
    log.commit(batch).unwrap();

    let mut piece = vec![0; 64 << 10];
    let len = u64::from(PIECES) * piece.len() as u64;
    let write = peak_of(|| {
        let mut sink = group.snapshot_sink(1, &conf(&[1])).unwrap();
        for n in 0..PIECES {
            fill(&mut piece, n);
            sink.write_all(&piece).unwrap();
        }
        assert_eq!(sink.written(), len);
        sink.finish().unwrap();
    });
    let mut seen = vec![0; 64 << 10];
    let read = peak_of(|| {
        let mut source = group.snapshot_source().unwrap().unwrap();
        assert_eq!(source.len(), len);
        for n in 0..PIECES {
            source.read_exact(&mut seen).unwrap();
            fill(&mut piece, n);
            assert!(seen == piece, "piece {n}");
        }
        assert_eq!((source.position(), source.remaining(), source.read(&mut seen).unwrap()), (len, 0, 0));
    });
    println!("{len} bytes in chunks of {CHUNK}: {write} bytes of heap to write, {read} to read");
    // A growing buffer may briefly exist twice.
    for used in [write, read] {
        assert!(used < 2 * CHUNK, "{used} bytes of heap");
    }
}
