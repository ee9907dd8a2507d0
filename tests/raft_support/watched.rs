//! A log whose space is monitored.

use raft::eraftpb::Entry;
use seawall::Options;
use seawall::raft::{PurgeReport, RaftOptions};

use super::{Node, SEGMENT, check_space, conf, count_live, hard, options};

/// A log whose space is monitored: purged each time a segment's worth was appended.
pub struct Watched {
    pub node: Node,
    /// The size of a segment.
    segment: u64,
    /// Appended since the last purge, roughly.
    pub since: u64,
    /// The worst of disk - 2 x live, in segments, and the last report.
    worst: f64,
    purges: usize,
    pub last: PurgeReport,
    /// Compares with a count of all records at each n-th purge.
    recount: usize,
}

impl Watched {
    pub fn new() -> Self {
        Watched::with(options(), SEGMENT)
    }

    pub fn with(options: RaftOptions, segment: u64) -> Self {
        Watched {
            node: Node::with(options.wal(Options::new().segment_size(segment))),
            segment,
            since: 0,
            worst: f64::MIN,
            purges: 0,
            last: PurgeReport::default(),
            recount: 16,
        }
    }

    /// Entries of 200 bytes for some groups in one batch, committed or not.
    pub fn append(
        &mut self,
        groups: impl Iterator<Item = u64>,
        from: u64,
        count: u64,
        term: u64,
        commit: bool,
    ) {
        let mut batch = self.node.log().batch();
        let mut staged = 0;
        for id in groups {
            let entries: Vec<Entry> = (from..from + count)
                .map(|index| {
                    let mut e = Entry::default();
                    (e.index, e.term) = (index, term);
                    e.data = vec![id as u8; 200].into();
                    e
                })
                .collect();
            batch.append(id, &entries).unwrap();
            if commit {
                let last = from + count - 1;
                batch.set_hard_state(id, &hard(term, 1, last)).unwrap();
                batch.set_applied(id, last, term).unwrap();
            }
            staged += count * 240 + 104;
            self.since += count * 240;
            // What fits into a segment of this size.
            if staged > self.segment / 3 {
                self.node.log().commit(std::mem::replace(&mut batch, self.node.log().batch())).unwrap();
                staged = 0;
            }
        }
        self.node.log().commit(batch).unwrap();
    }

    /// A small snapshot, and compaction up to it.
    pub fn compact(&mut self, id: u64, index: u64) {
        self.node.group(id).save_snapshot(index, conf(&[1, 2, 3]), b"state").unwrap();
        self.node.compact(id, index);
        self.since += 8192;
    }

    /// Purges when it is due; everything is measured then.
    pub fn tick(&mut self) {
        if self.since < self.segment {
            return;
        }
        self.since = 0;
        self.last = self.node.log().purge().unwrap();
        self.purges += 1;
        let segments = self.quiet_segments();
        let disk: u64 = segments.iter().map(|s| s.file_bytes - s.footer_bytes).sum();
        let live = match self.purges % self.recount {
            0 => count_live(self.node.log()).iter().map(|s| s.1).sum(),
            _ => self.last.live_bytes,
        };
        assert_eq!(live, self.last.live_bytes);
        self.worst = self.worst.max((disk as f64 - 2.0 * live as f64) / self.segment as f64);
        assert!(disk <= 2 * live + 3 * self.segment, "{disk} bytes on disk, {live} live: {:?}", self.last);
    }

    /// The segments, after ended ones were truncated, which happens in the background.
    fn quiet_segments(&self) -> Vec<seawall::SegmentInfo> {
        for _ in 0..500 {
            let segments = self.node.log().wal().segments();
            if segments.iter().all(|s| !s.sealed || s.footer_bytes > 0) {
                return segments;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.node.log().wal().segments()
    }

    /// Ends a scenario; `amplification` is the maximum write cost.
    pub fn done(mut self, name: &str, amplification: f64) {
        self.since = self.segment;
        self.tick();
        let written = self.last.write_amplification();
        println!(
            "{name}: {} purges, appended {} KiB, live {} KiB, disk {} KiB, at most 2 x live + {:.2} segments, \
             {written:.2} bytes relocated for each appended",
            self.purges,
            self.last.total_appended >> 10,
            self.last.live_bytes >> 10,
            self.last.disk_bytes >> 10,
            self.worst,
        );
        assert!(self.purges > 10 && written <= amplification, "{name}: {written}");
        check_space(self.node.log());
        self.node.reopen();
        check_space(self.node.log());
    }
}
