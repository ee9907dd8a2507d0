//! A log whose records and footers claim to belong to the Raft layer, with arbitrary content: tests its decoders,
//! summaries and replay. Nothing panics, and no allocation is larger than the records.

use std::sync::{Arc, Mutex};

use raft::{GetEntriesContext, Storage};
use seawall::io::sim::SimDisk;
use seawall::raft::{RaftLog, RaftOptions};
use seawall::{Batch, Label, Result, SegmentId, SegmentReader, Summarizer, Summary, Wal};

use super::cursor::Cursor;
use super::directory::{options, shared};

/// The kinds of records that the layer knows.
const KINDS: &[u8] =
    &[0xe1, 0x80, 0xc0, 0xc4, 0xd0, 0xc5, 0xc8, 0xe0, 0xe2, 0xe3, 0xa0, 0x81, 0x82, 0xd1, 0x84];

/// One input.
pub fn run(input: &[u8]) {
    let mut input = Cursor::new(input);
    let disk = SimDisk::new();
    let summaries = Arc::new(Forged(Mutex::default()));
    for _ in 0..input.below(4) {
        let summary = Summary { head: summary_head(&mut input).into(), body: input.blob().into() };
        summaries.0.lock().expect("one thread").push(summary);
    }
    let Ok(wal) = options().owner(1).open_with_summarizer(shared(&disk), summaries) else { return };
    while !input.is_empty() {
        if records(&mut input, &wal).is_err() {
            break;
        }
    }
    drop(wal);
    let log = RaftOptions::new().node_id(1).wal(options()).snapshot_chunk(1000).open_on(shared(&disk));
    if let Ok(log) = log {
        look(&log);
    }
}

/// Gives each sealed segment the next summary of the input, and after that none.
struct Forged(Mutex<Vec<Summary>>);

impl Summarizer for Forged {
    fn summarize(&self, _: &SegmentReader) -> Result<Summary> {
        Ok(self.0.lock().expect("one thread").pop().unwrap_or_default())
    }

    fn sealed(&self, _: SegmentId, _: &Summary) {}
}

/// Half of the heads begin like one, so that the rest of it is looked at.
fn summary_head(input: &mut Cursor<'_>) -> Vec<u8> {
    let mut head = Vec::new();
    if input.below(2) == 0 {
        head.extend_from_slice(&[1, 0, if input.below(2) == 0 { 4 } else { 8 }, 0]);
        head.extend_from_slice(&u32::from(input.below(4)).to_le_bytes());
        head.extend_from_slice(&[0; 8]);
        head.extend_from_slice(&u64::from(input.u16()).to_le_bytes());
    }
    head.extend(input.blob());
    head
}

/// A batch of records.
fn records(input: &mut Cursor<'_>, wal: &Wal) -> Result<()> {
    let mut batch = Batch::new();
    for _ in 0..=input.below(8) {
        let known = KINDS[usize::from(input.u8()) % KINDS.len()];
        let label = Label {
            kind: input.or_any(known, Cursor::u8),
            stream: u64::from(input.below(3)),
            sequence: number(input),
            extra: number(input),
        };
        batch.push_labelled(label, &[&payload(input)]);
    }
    wal.commit(&batch).map(|_| ())
}

fn number(input: &mut Cursor<'_>) -> u64 {
    let small = u64::from(input.below(16));
    input.or_any(small, Cursor::u64)
}

/// A State, a number as HardState and snapshot have one, a list of members, or anything.
fn payload(input: &mut Cursor<'_>) -> Vec<u8> {
    let conf = |input: &mut Cursor<'_>, out: &mut Vec<u8>| {
        out.extend_from_slice(&[1, input.below(2)]);
        for _ in 0..4 {
            let count = input.below(3);
            out.push(input.or_any(count, Cursor::u8));
            (0..count).for_each(|_| out.push(input.u8() & 0x7f));
        }
    };
    let field = |number: u8, input: &mut Cursor<'_>, bytes: &[u8], out: &mut Vec<u8>| {
        let len = bytes.len() as u8;
        out.extend_from_slice(&[number, input.u8() & 0x7f, input.u8() & 0x7f, input.or_any(len, Cursor::u8)]);
        out.extend_from_slice(bytes);
    };
    let mut out = Vec::new();
    match input.below(4) {
        0 => {
            out.push(1);
            (0..2).for_each(|_| out.extend_from_slice(&number(input).to_le_bytes()));
            let fields = input.or_any(7, Cursor::u8);
            let mut members = Vec::new();
            conf(input, &mut members);
            for (n, number, bytes) in [(0, 0, &[0; 8][..]), (1, 4, &[]), (2, 5, &members), (3, 8, &[0; 8])] {
                if fields & (1 << n) != 0 {
                    field(number, input, bytes, &mut out);
                }
            }
        }
        1 => out.extend_from_slice(&number(input).to_le_bytes()),
        2 => conf(input, &mut out),
        _ => return input.blob(),
    }
    out
}

/// Asks for everything that a node asks for; damage is an answer.
fn look(log: &RaftLog) {
    for id in log.groups() {
        let Some(group) = log.group(id) else { panic!("group {id} is listed and not there") };
        let (Ok(first), Ok(last)) = (group.first_index(), group.last_index()) else { continue };
        assert!(last.checked_add(1).is_some_and(|end| first <= end), "group {id}: from {first} to {last}");
        for index in [first - 1, first, last, last.saturating_add(1), 0, u64::MAX] {
            drop(group.term(index));
        }
        let end = last.saturating_add(1).min(first.saturating_add(300));
        if let Ok(entries) = group.entries(first, end, None, GetEntriesContext::empty(false)) {
            for (entry, index) in entries.iter().zip(first..) {
                assert_eq!(entry.index, index, "group {id}");
                assert_eq!(group.term(index).ok(), Some(entry.term), "group {id}, {index}");
            }
        }
        drop(group.initial_state());
        drop(group.snapshot(0, 0));
        drop(group.snapshot_data());
        drop(group.recover());
    }
    drop(log.purge());
}
