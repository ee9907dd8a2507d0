//! Bytes that the log handed out never change, whatever happens to the file they came from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use seawall::{Options, Result, SegmentId, SegmentReader, Summarizer, Summary, Wal};

/// Summaries that tell their segment.
struct Telling;

fn body_of(id: SegmentId) -> Vec<u8> {
    id.get().to_le_bytes().repeat(4096)
}

impl Summarizer for Telling {
    fn summarize(&self, segment: &SegmentReader) -> Result<Summary> {
        Ok(Summary { head: b"head".to_vec().into(), body: body_of(segment.id()).into() })
    }

    fn sealed(&self, _: SegmentId, _: &Summary) {}
}

fn fill(wal: &Wal, rounds: usize) {
    for _ in 0..rounds {
        wal.append([7u8; 9000]).unwrap();
    }
}

/// Footers are written in the background.
fn await_footers(wal: &Wal) {
    let begun = Instant::now();
    while wal.segments().iter().rev().skip(1).any(|segment| segment.footer_bytes == 0) {
        assert!(begun.elapsed() < Duration::from_secs(60), "a footer is not written: {:?}", wal.segments());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_summary_outlives_the_segment_and_the_next_lives_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().segment_size(32 << 10).spare_segments(2);
    let disk = options.disk(dir.path()).unwrap();
    let wal = options.open_with_summarizer(disk, Arc::new(Telling)).unwrap();
    let mut held = Vec::new();
    for _ in 0..20 {
        fill(&wal, 6);
        await_footers(&wal);
        let sealed = wal.segments().into_iter().filter(|s| s.sealed);
        held.extend(sealed.filter_map(|s| wal.summary(s.id).unwrap().map(|summary| (s.id, summary.body))));
        wal.release(wal.durable_lsn()).unwrap();
    }
    assert!(held.len() > 10, "{} summaries were held", held.len());
    for (id, body) in &held {
        assert!(body[..] == body_of(*id)[..], "the summary of segment {id} changed");
    }
    // The control: files that are not held are recycled.
    drop(held);
    for _ in 0..10 {
        fill(&wal, 6);
        wal.release(wal.durable_lsn()).unwrap();
    }
    assert!(wal.stats().segments_recycled > 0, "{:?}", wal.stats());
}
