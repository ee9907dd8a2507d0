//! Encoding and decoding: record, block header, checksum.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use seawall::error::LogUuid;
use seawall::format::block::{BlockHeader, BlockKind};
use seawall::format::record::{RecordHeader, encode_unsealed, reseal};
use seawall::format::{Identity, crc32};
use seawall::{Label, Lsn};
use support::{RECORD, payload};

fn identity() -> Identity {
    Identity::new(LogUuid::from_bytes([7; 16]), 1)
}

fn record(c: &mut Criterion) {
    let (identity, lsn, payload) = (identity(), Lsn::new(4096), payload(RECORD, 1));
    let label = Label { kind: 1, stream: 2, sequence: 3, extra: 4 };
    let mut group = c.benchmark_group("codec/record_256");
    group.throughput(Throughput::Bytes(RECORD as u64));
    let mut out = Vec::new();
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            encode_unsealed(&mut out, Some(label), None, &[&payload], RECORD as u32);
            black_box(&out);
        });
    });
    group.bench_function("seal", |b| {
        b.iter(|| black_box(reseal(&mut out, lsn, |l| identity.seal(l))));
    });
    out.clear();
    encode_unsealed(&mut out, Some(label), None, &[&payload], RECORD as u32);
    reseal(&mut out, lsn, |l| identity.seal(l));
    group.bench_function("decode_and_verify", |b| {
        b.iter(|| {
            let header = RecordHeader::decode(black_box(&out), &identity, lsn).unwrap();
            let start = header.header_len();
            black_box(crc32(&out[start..start + header.payload_len as usize]) == header.payload_crc)
        });
    });
    group.finish();
}

fn block(c: &mut Criterion) {
    let (identity, lsn) = (identity(), Lsn::new(4096));
    let header =
        BlockHeader { kind: BlockKind::Data, lsn, durable: lsn, body_len: 4056, records: 9, previous: 5 };
    let encoded = header.encode(&identity);
    let mut group = c.benchmark_group("codec/block_header");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |b| b.iter(|| black_box(&header).encode(&identity)));
    group.bench_function("decode", |b| {
        b.iter(|| BlockHeader::decode(black_box(&encoded), &identity, lsn).unwrap());
    });
    group.finish();
}

fn checksum(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/crc32");
    for size in [64, 256, 4 << 10, 64 << 10] {
        let bytes = payload(size, 1);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| b.iter(|| crc32(black_box(&bytes))));
    }
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = record, block, checksum }
criterion_main!(benches);
