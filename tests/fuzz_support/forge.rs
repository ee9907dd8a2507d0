//! Files with correct checksums and fields chosen by the input.
//!
//! By default the pieces form a valid chain of segments; each decision can replace a correct value by any other. The
//! checksum is computed afterwards, so the engine sees false values with valid checksums.

use seawall::error::LogUuid;
use seawall::format::block::{BLOCK_HEADER, BlockHeader, BlockKind};
use seawall::format::footer::Footer;
use seawall::format::record::{encode_unsealed, reseal};
use seawall::format::segment::{Generation, Predecessor, SegmentHeader, file_name};
use seawall::format::superblock::{FILE_NAME, Superblock};
use seawall::format::{Identity, PAGE, crc32};
use seawall::{Label, Lsn, SegmentId};

use super::cursor::Cursor;
use super::directory::Files;

/// A log being forged.
pub struct Forge {
    uuid: LogUuid,
    files: Files,
    first: SegmentId,
    next: SegmentId,
    /// The end of the chain so far.
    tip: Option<Predecessor>,
    at: Lsn,
    durable: Lsn,
}

/// The generation of the file being forged, and what was written in it.
struct Open {
    generation: Generation,
    identity: Identity,
    data: Vec<u8>,
    end: Lsn,
    digest: u32,
    blocks: u64,
    records: u64,
}

impl Forge {
    /// Nothing yet.
    pub fn new(input: &mut Cursor<'_>) -> Self {
        let first = SegmentId::new(input.or_any(1, Cursor::u64));
        let at = Lsn::new(input.or_any(0, Cursor::u64));
        Forge {
            uuid: LogUuid::from_bytes([7; 16]),
            files: Files::new(),
            first,
            next: first,
            tip: None,
            at,
            durable: at,
        }
    }

    /// The next segment of the chain.
    pub fn segment(&mut self, input: &mut Cursor<'_>) {
        let generation = self.generation(input);
        let header = SegmentHeader {
            id: input.or_any(generation.id, |i| SegmentId::new(i.u64())),
            first_lsn: input.or_any(generation.first_lsn, |i| Lsn::new(i.u64())),
            salt: input.or_any(generation.salt, Cursor::u64),
            predecessor: input.or_any(self.tip, any_predecessor),
            durable: input.or_any(self.durable, |i| Lsn::new(i.u64())),
        };
        let mut open = Open {
            generation,
            identity: generation.identity(),
            data: Vec::new(),
            end: generation.first_lsn,
            digest: header.predecessor.map_or(0, |p| p.digest),
            blocks: 0,
            records: 0,
        };
        for _ in 0..input.below(6) {
            self.durable = open.block(input, self.durable);
        }
        let mut bytes = input.or_any(generation.encode().to_vec(), |_| vec![0; PAGE]);
        bytes.extend(input.or_any(header.encode(self.uuid).to_vec(), |_| vec![0; PAGE]));
        bytes.append(&mut open.data);
        match input.below(4) {
            0 | 1 => open.pad(&mut bytes),
            2 => open.footer(input, &mut bytes),
            _ => bytes.extend(input.blob()),
        }
        if input.seldom() {
            let len = input.index(bytes.len() + 1);
            bytes.truncate(len);
        }
        let name = file_name(
            input.or_any(generation.id, |i| SegmentId::new(i.u64() | 1)),
            input.or_any(generation.first_lsn, |i| Lsn::new(i.u64())),
        );
        self.files.insert(name, bytes);
        self.tip = Some(Predecessor { id: generation.id, end: open.end, digest: open.digest });
        self.next = generation.id.next();
        self.at = input.or_any(open.end, |i| open.end.plus(u64::from(i.u16())));
    }

    fn generation(&self, input: &mut Cursor<'_>) -> Generation {
        let align = match input.below(4) {
            0 | 1 => 512,
            2 => 4096,
            _ => 8,
        };
        Generation {
            uuid: input.or_any(self.uuid, |_| LogUuid::from_bytes([9; 16])),
            id: input.or_any(self.next, |i| SegmentId::new(i.u64())),
            salt: u64::from(input.u8()),
            first_lsn: input.or_any(self.at, |i| Lsn::new(i.u64())),
            capacity: input.or_any(8192, |i| i.u64()),
            block_align: input.or_any(align, Cursor::u32),
            recycled: input.below(4) == 3,
            before: None,
        }
    }

    /// The files, with a superblock that fits them.
    pub fn finish(mut self, input: &mut Cursor<'_>) -> Files {
        let newest = self.tip.map(|tip| tip.id);
        let mut slots = Vec::new();
        for _ in 0..2 {
            let sb = Superblock {
                uuid: self.uuid,
                sequence: input.or_any(3, Cursor::u64),
                oldest: input.or_any(self.first, |i| SegmentId::new(i.u64())),
                newest: if input.below(3) == 0 { newest } else { None },
                durable: match input.below(8) {
                    0..=3 => Lsn::ZERO,
                    4 => Lsn::new(input.u64()),
                    _ => self.durable,
                },
                owner: input.or_any(None, |i| Some(i.u64())),
                ready: None,
            };
            slots.extend(input.or_any(sb.encode().to_vec(), |_| vec![0; PAGE]));
        }
        if !input.seldom() && !self.files.is_empty() {
            self.files.insert(FILE_NAME.to_owned(), slots);
        }
        self.files
    }
}

impl Open {
    /// One more block; says what is durable for the next one.
    fn block(&mut self, input: &mut Cursor<'_>, durable: Lsn) -> Lsn {
        let mut body = Vec::new();
        let count = u32::from(input.below(4));
        for _ in 0..count {
            self.record(input, &mut body);
        }
        let first = self.end.plus(BLOCK_HEADER as u64);
        reseal(&mut body, first, |lsn| self.identity.seal(lsn));
        let header = BlockHeader {
            kind: if count == 0 { BlockKind::Marker } else { BlockKind::Data },
            lsn: input.or_any(self.end, |i| Lsn::new(i.u64())),
            durable: input.or_any(durable, |i| Lsn::new(i.u64())),
            body_len: input.or_any(body.len() as u32, Cursor::u32),
            records: input.or_any(count, Cursor::u32),
            previous: input.or_any(self.digest, Cursor::u32),
        };
        let encoded = header.encode(&self.identity);
        let start = self.data.len();
        self.data.extend_from_slice(&encoded);
        self.data.extend_from_slice(&body);
        let align = self.generation.block_align.clamp(8, 4096) as usize;
        let end = self.data.len().next_multiple_of(align);
        self.data.resize(end, 0);
        if input.seldom() {
            let at = start + input.index(end - start);
            self.data[at] ^= 1 << input.below(8);
        }
        let next = self.end;
        self.end = self.end.plus((end - start) as u64);
        self.digest = BlockHeader::digest(&encoded);
        self.blocks += 1;
        self.records += u64::from(count);
        if input.below(2) == 0 { next } else { durable }
    }

    fn record(&self, input: &mut Cursor<'_>, body: &mut Vec<u8>) {
        let label = (input.below(2) == 1).then(|| Label {
            kind: input.u8(),
            stream: u64::from(input.u8()),
            sequence: u64::from(input.u8()),
            extra: u64::from(input.u8()),
        });
        let len = usize::from(input.below(48));
        let payload = input.take(len).repeat(usize::from(input.below(16)) + 1);
        encode_unsealed(body, label, None, &[&payload], payload.len() as u32);
    }

    /// Zeros up to the capacity, when that is not too much.
    fn pad(&self, bytes: &mut Vec<u8>) {
        let full = 2 * PAGE + self.generation.capacity.min(16 << 10) as usize;
        bytes.resize(full.max(bytes.len()), 0);
    }

    fn footer(&self, input: &mut Cursor<'_>, bytes: &mut Vec<u8>) {
        let (head, body) = (input.blob(), input.blob());
        let footer = Footer {
            id: self.generation.id,
            end: input.or_any(self.end, |i| Lsn::new(i.u64())),
            digest: input.or_any(self.digest, Cursor::u32),
            head_crc: input.or_any(crc32(&head), Cursor::u32),
            head_len: input.or_any(head.len() as u32, Cursor::u32),
            body_crc: input.or_any(crc32(&body), Cursor::u32),
            body_len: input.or_any(body.len() as u64, Cursor::u64),
            records: input.or_any(self.records, Cursor::u64),
            blocks: input.or_any(self.blocks, Cursor::u64),
        };
        bytes.extend_from_slice(&footer.encode(&self.identity));
        bytes.extend_from_slice(&head);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(&body);
    }
}

fn any_predecessor(input: &mut Cursor<'_>) -> Option<Predecessor> {
    let id = input.u8();
    (id != 0).then(|| Predecessor {
        id: SegmentId::new(u64::from(id)),
        end: Lsn::new(input.u64()),
        digest: input.u32(),
    })
}
