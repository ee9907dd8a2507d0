//! The names that programs outside the crate are compiled against.
#![cfg(any(feature = "raft-protobuf", feature = "raft-prost"))]
#![allow(clippy::let_underscore_must_use)] // types are named, values are not wanted

use raft::Storage;
use raft::eraftpb::{ConfState, Entry, HardState};
use seawall::raft::{GroupStorage, PurgeReport, RaftLog, RaftOptions, WriteBatch};
use seawall::{
    Batch, Error, Lsn, Options, Record, Recovery, Result, Stats, TailPolicy, Ticket, VerifyReport, Wal,
    verify,
};

fn shared<T: Clone + Send + Sync>() {}
fn address<T: Copy + Ord + std::fmt::Display>() {}
fn future<T: Future<Output = Result<Lsn>>>() {}
fn records<T: Iterator<Item = Result<Record>>>(_: &T) {}

#[test]
fn the_log() {
    shared::<Wal>();
    address::<Lsn>();
    future::<Ticket>();
    let dir = tempfile::tempdir().unwrap();
    let wal: Wal = Options::new()
        .segment_size(1 << 20)
        .block_align(4096)
        .max_record_size(1 << 16)
        .tail_policy(TailPolicy::Truncate)
        .open(dir.path())
        .unwrap();
    let lsn: Lsn = wal.append(b"bytes").unwrap();
    let mut batch = Batch::new();
    batch.push(b"bytes");
    let _: Lsn = wal.commit(batch.clone()).unwrap();
    let ticket: Ticket = wal.submit(batch).unwrap();
    let _: (Lsn, bool) = (ticket.lsn(), ticket.is_durable());
    let _: Lsn = ticket.wait().unwrap();
    let record: Record = wal.read(lsn).unwrap();
    let _: (Lsn, &[u8]) = (record.lsn(), record.payload());
    let _: bytes::Bytes = record.into_bytes();
    records(&wal.iter());
    records(&wal.iter_from(lsn));
    records(&wal.follow(lsn));
    let _: (Lsn, Lsn, Lsn) = (wal.first_lsn(), wal.next_lsn(), wal.durable_lsn());
    let _: () = wal.release(lsn).unwrap();
    let _: &Recovery = wal.recovery();
    let _: Stats = wal.stats();
    let _: () = wal.close().unwrap();
    drop(wal);
    let _: VerifyReport = verify(dir.path()).unwrap();
    let again = Wal::open(dir.path()).unwrap();
    match Wal::open(dir.path()) {
        Err(Error::Locked { .. }) => {}
        Err(
            Error::Corruption { .. }
            | Error::Poisoned { .. }
            | Error::UnsupportedVersion { .. }
            | Error::RecordTooLarge { .. }
            | Error::Io { .. },
        )
        | Ok(_) => unreachable!("it is open"),
        Err(e) => unreachable!("{e}"),
    }
    drop(again);
}

#[test]
fn the_raft_layer() {
    fn storage<T: Storage + Clone>(_: &T) {}
    let dir = tempfile::tempdir().unwrap();
    let log: RaftLog = RaftOptions::new().node_id(1).open(dir.path()).unwrap();
    let group: GroupStorage = log.create_group(5, ConfState::from((vec![1], vec![]))).unwrap();
    storage(&group);
    let mut entry = Entry::default();
    (entry.index, entry.term) = (1, 1);
    let mut hs = HardState::default();
    (hs.term, hs.commit) = (1, 1);
    let mut batch: WriteBatch = log.batch();
    batch.append(5, &[entry]).unwrap();
    batch.set_hard_state(5, &hs).unwrap();
    batch.set_applied(5, 1, 1).unwrap();
    batch.set_conf_state(5, 1, &ConfState::from((vec![1], vec![]))).unwrap();
    let _: Lsn = log.commit(batch).unwrap();
    group.save_snapshot(1, ConfState::from((vec![1], vec![])), b"state").unwrap();
    let mut batch = log.batch();
    batch.compact(5, 1).unwrap();
    let ticket: Ticket = log.submit(batch).unwrap();
    ticket.wait().unwrap();
    let _: PurgeReport = log.purge().unwrap();
    let _: (Vec<u64>, Option<GroupStorage>) = (log.groups(), log.group(5));
    let mut batch = log.batch();
    batch.remove_group(5).unwrap();
    log.commit(batch).unwrap();
    drop((group, log));
    RaftLog::open(dir.path()).unwrap();
}
