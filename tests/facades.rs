//! With the features `metrics` and `tracing`, a log reports its work through those facades, under the documented
//! names.
#![cfg(all(feature = "metrics", feature = "tracing", feature = "sim"))]

mod gate_support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gate_support::{DEADLINE, HangingDisk};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit,
};
use parking_lot::Mutex;
use seawall::io::sim::{Call, CrashStyle, Fault, FaultPlan, SimDisk, SyncFailure, Trigger};
use seawall::{Options, Wal};

/// Interest in a span is determined where it is first reached, so a concurrent test without a subscriber can make it
/// be missed.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A single thread does everything, so that a recorder and a subscriber of this thread see all of it.
fn open(disk: &SimDisk) -> Wal {
    let options = Options::new().segment_size(64 << 10).slow_sync(Duration::ZERO).threads(false);
    options.open_on(Arc::new(disk.clone())).unwrap()
}

fn use_it(wal: &Wal) {
    for n in 0..100u8 {
        let lsn = wal.append(vec![n; 3000]).unwrap();
        if n % 10 == 9 {
            wal.release(lsn).unwrap();
        }
    }
}

#[derive(Default)]
struct Sum {
    sum: AtomicU64,
    count: AtomicU64,
}

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        self.sum.fetch_add(value, Ordering::Relaxed);
    }
    fn absolute(&self, _: u64) {
        panic!("counters here are raised only");
    }
}

impl HistogramFn for Sum {
    fn record(&self, _: f64) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct TestRecorder(Mutex<BTreeMap<String, Arc<Sum>>>);

impl TestRecorder {
    fn entry(&self, key: &Key) -> Arc<Sum> {
        Arc::clone(self.0.lock().entry(key.name().to_owned()).or_default())
    }
    fn sum(&self, name: &str) -> u64 {
        self.0.lock().get(name).map_or(0, |entry| entry.sum.load(Ordering::Relaxed))
    }
    fn count(&self, name: &str) -> u64 {
        self.0.lock().get(name).map_or(0, |entry| entry.count.load(Ordering::Relaxed))
    }
}

/// A recorder for the whole process must be owned.
struct SharedRecorder(Arc<TestRecorder>);

impl metrics::Recorder for SharedRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.0.register_counter(key, metadata)
    }
    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.0.register_gauge(key, metadata)
    }
    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.0.register_histogram(key, metadata)
    }
}

impl metrics::Recorder for TestRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.entry(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("no gauge is documented: {key}")
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.entry(key))
    }
}

#[test]
fn metrics_have_the_documented_names_and_the_values_of_the_statistics() {
    let _alone = ONE_AT_A_TIME.lock();
    let recorder = TestRecorder::default();
    let disk = SimDisk::new();
    let stats = metrics::with_local_recorder(&recorder, || {
        let wal = open(&disk);
        use_it(&wal);
        wal.close().unwrap();
        wal.stats()
    });
    let counters = [
        ("records", stats.records),
        ("batches", stats.batches),
        ("batch_bytes", stats.batch_bytes),
        ("blocks", stats.blocks),
        ("markers", stats.markers),
        ("written_bytes", stats.written_bytes),
        ("syncs", stats.syncs),
        ("slow_syncs", stats.slow_syncs),
        ("rotations", stats.rotations),
        ("segment_waits", stats.segment_waits),
        ("segments_prepared", stats.segments_prepared),
        ("segments_recycled", stats.segments_recycled),
        ("segments_released", stats.segments_released),
        ("segments_sealed", stats.segments_sealed),
    ];
    for (name, value) in counters {
        assert!(value > 0, "{name}");
        assert_eq!(recorder.sum(&format!("seawall_{name}_total")), value, "{name}");
    }
    for name in ["block_bytes", "block_records", "commit_seconds"] {
        assert_eq!(recorder.count(&format!("seawall_{name}")), stats.blocks, "{name}");
    }
    for name in ["write_seconds", "sync_seconds"] {
        assert_eq!(recorder.count(&format!("seawall_{name}")), stats.syncs, "{name}");
    }
}

/// Reported by a thread of the log, so both facades are installed for the whole process here.
#[test]
fn a_call_that_hangs_is_told_through_both_facades_while_it_does() {
    let _alone = ONE_AT_A_TIME.lock();
    let (recorder, written) = (Arc::new(TestRecorder::default()), Written::default());
    metrics::set_global_recorder(SharedRecorder(Arc::clone(&recorder))).ok().unwrap();
    tracing::subscriber::set_global_default(written.clone()).unwrap();

    let (disk, gate) = HangingDisk::new(Arc::new(SimDisk::new()));
    let options = Options::new().segment_size(64 << 10).slow_sync(Duration::from_millis(50));
    let wal = options.open_on(disk).unwrap();
    wal.append(b"in time").unwrap();
    assert!(!written.text().contains("hang"), "{}", written.text());
    let told = |counter: &str, event: &str| recorder.sum(counter) > 0 && written.text().contains(event);
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let begun = Instant::now();
        let in_time = || begun.elapsed() < DEADLINE;
        while in_time() && !done() {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !in_time() {
            // Otherwise the log could not be closed.
            gate.open();
            panic!("{what}: never, in\n{}", written.text());
        }
    };
    // Not the superblock's, because then the reporting thread would hang.
    gate.close("fdatasync", ".seg");
    let ticket = wal.submit({
        let mut batch = seawall::Batch::new();
        batch.push(b"hangs");
        batch
    });
    until("told", &|| told("seawall_stalls_total", "WARN a disk call hangs"));
    let before = written.text();
    assert!(recorder.sum("seawall_stalls_ended_total") == 0 && !before.contains("has returned"), "{before}");
    gate.open();
    ticket.unwrap().wait().unwrap();
    until("told", &|| told("seawall_stalls_ended_total", "WARN a hanging disk call has returned"));
    wal.close().unwrap();
    let stats = wal.stats();
    assert_eq!(recorder.sum("seawall_stalls_total"), stats.stalls);
    assert_eq!(recorder.sum("seawall_stalls_ended_total"), stats.stalls_ended);
}

/// Writes spans as `(name`, `)` and events as `level message`.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<(u64, String)>>);

impl Written {
    fn text(&self) -> String {
        self.0.lock().1.clone()
    }
}

impl tracing::Subscriber for Written {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("seawall")
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let mut written = self.0.lock();
        written.0 += 1;
        writeln!(written.1, "new {}", span.metadata().name()).unwrap();
        tracing::span::Id::from_u64(written.0)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        writeln!(self.0.lock().1, "{} {}", event.metadata().level(), message.0).unwrap();
    }
    fn enter(&self, _: &tracing::span::Id) {
        self.0.lock().1.push_str("( ");
    }
    fn exit(&self, _: &tracing::span::Id) {
        self.0.lock().1.push_str(") ");
    }
}

#[test]
fn spans_and_events_are_where_the_documentation_says() {
    let _alone = ONE_AT_A_TIME.lock();
    let written = Written::default();
    let disk = SimDisk::new();
    tracing::subscriber::with_default(written.clone(), || {
        let wal = open(&disk);
        use_it(&wal);
        disk.plan(FaultPlan::none().with(Trigger::From(Call::Sync, 0), Fault::Sync(SyncFailure::KeepsDirty)));
        wal.append(vec![0; 9000]).unwrap_err();
        drop(wal.close());
        drop(wal);
        let torn = (0..50).any(|seed| {
            let wal = open(&disk.crash(CrashStyle::Chaos(seed)));
            !wal.recovery().cut.is_empty()
        });
        assert!(torn);
    });
    let text = written.text();
    for span in ["open", "recovery", "rotation", "prepare", "seal", "release", "close"] {
        assert!(text.contains(&format!("new {span}\n")), "no span {span} in\n{text}");
    }
    let events = [
        "INFO log opened",
        "INFO log closed",
        "WARN slow fdatasync",
        "WARN unproven tail cut",
        "ERROR the log is poisoned",
        "DEBUG segment started",
        "DEBUG segments released",
    ];
    for event in events {
        assert!(text.contains(event), "no event {event} in\n{text}");
    }
    assert_eq!(text.matches("( ").count(), text.matches(") ").count());
}
