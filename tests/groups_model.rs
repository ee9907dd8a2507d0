//! A log of groups compared with a model: after any operations in any order, with reopens at any point, both have the
//! same content. Indexes begin at 0 or after any entry; logs are truncated without replacement, purged beyond their
//! end, and reset; segments are small, so that purging relocates and releases all the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use seawall::groups::{EntryKind, Error, Field, GroupLog, GroupOptions, GroupView, Position, Space, State};
use seawall::io::sim::SimDisk;
use seawall::{Flush, LogView, Options};

const SEGMENT: u64 = 32 << 10;

fn options(segment: u64) -> GroupOptions {
    let wal = Options::new()
        .segment_size(segment)
        .block_align(512)
        .mmap(false)
        .threads(false)
        .idle_marker(Duration::from_secs(3600));
    GroupOptions::new().wal(wal)
}

fn open(disk: &SimDisk) -> GroupLog {
    options(SEGMENT).open_on(Arc::new(disk.clone())).unwrap()
}

/// The expected state of a group.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    before: Option<Position>,
    entries: Vec<(u64, u8, Vec<u8>)>,
    fields: BTreeMap<Field, (Position, Vec<u8>)>,
}

impl Model {
    fn first(&self) -> u64 {
        self.before.map_or(0, |before| before.index + 1)
    }

    fn end(&self) -> u64 {
        self.first() + self.entries.len() as u64
    }

    fn term(&self, index: u64) -> Option<u64> {
        match self.before {
            Some(before) if before.index == index => Some(before.term),
            _ => self.entries.get(usize::try_from(index.checked_sub(self.first())?).unwrap()).map(|e| e.0),
        }
    }

    fn truncate(&mut self, from: u64) {
        self.entries.truncate(usize::try_from(from - self.first()).unwrap());
    }

    fn purge(&mut self, to: Position) {
        if to.index < self.first() {
            return;
        }
        let gone = (to.index + 1 - self.first()).min(self.entries.len() as u64);
        self.entries.drain(..usize::try_from(gone).unwrap());
        self.before = Some(to);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Create { after: Option<(u64, u64)> },
    Remove,
    Append { back: u64, count: u64, term: u64, kind: u8, size: usize },
    Truncate { back: u64 },
    Purge { at: u64, beyond: u64, term: u64 },
    Reset { after: Option<(u64, u64)>, field: u8 },
    Set { field: u8, at: (u64, u64), size: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let position = || proptest::option::of((0u64..40, 0u64..4));
    prop_oneof![
        2 => position().prop_map(|after| Op::Create { after }),
        1 => Just(Op::Remove),
        9 => (0u64..4, 0u64..6, 0u64..4, 0u8..32, 0usize..700)
            .prop_map(|(back, count, term, kind, size)| Op::Append { back, count, term, kind, size }),
        2 => (0u64..6).prop_map(|back| Op::Truncate { back }),
        3 => (0u64..12, 0u64..4, 0u64..4).prop_map(|(at, beyond, term)| Op::Purge { at, beyond, term }),
        1 => (position(), 0u8..12).prop_map(|(after, field)| Op::Reset { after, field }),
        3 => (0u8..12, (0u64..100, 0u64..5), 0usize..60)
            .prop_map(|(field, at, size)| Op::Set { field, at, size }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<(u64, Op)>, bool),
    /// Two concurrent batches that concern the same thing.
    Conflict(u64),
    Purge,
    Reopen,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (proptest::collection::vec((1u64..6, op()), 1..6), any::<bool>())
            .prop_map(|(ops, lazy)| Step::Batch(ops, lazy)),
        2 => (1u64..6).prop_map(Step::Conflict),
        3 => Just(Step::Purge),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ]
}

fn position(at: Option<(u64, u64)>) -> Option<Position> {
    at.map(|(index, term)| Position { index, term })
}

fn bytes(size: usize, seed: u64) -> Vec<u8> {
    (0..size as u64).map(|n| (n.wrapping_mul(31) ^ seed).to_le_bytes()[0]).collect()
}

/// Applies the operations of a batch to the log and the model.
fn batch(log: &GroupLog, models: &mut BTreeMap<u64, Model>, ops: &[(u64, Op)], lazy: bool) {
    let mut after = models.clone();
    let mut batch = log.batch();
    for (id, op) in ops {
        let known = after.get(id).cloned();
        let (first, end) = known.as_ref().map_or((0, 0), |m| (m.first(), m.end()));
        match (op, known) {
            (Op::Create { after: at }, None) => {
                batch.create_group(*id, position(*at), State::new()).unwrap();
                after.insert(*id, Model { before: position(*at), ..Model::default() });
            }
            (Op::Create { after: at }, Some(_)) => {
                let refused = batch.create_group(*id, position(*at), State::new()).unwrap_err();
                assert!(matches!(refused, Error::GroupExists { .. }), "{refused}");
            }
            (_, None) => {
                let refused = batch.remove_group(*id).unwrap_err();
                assert!(matches!(refused, Error::NoSuchGroup { .. }), "{refused}");
            }
            (Op::Remove, Some(_)) => {
                batch.remove_group(*id).unwrap();
                after.remove(id);
            }
            (Op::Append { back, count, term, kind, size }, Some(mut model)) => {
                let from = end.saturating_sub(*back).max(first);
                let mut appender = batch.append(*id, from).unwrap();
                for n in 0..*count {
                    if n == 0 {
                        model.truncate(from);
                    }
                    let payload = bytes(*size, from + n + term);
                    let (head, tail) = payload.split_at(size / 3);
                    let index = appender.push(*term, EntryKind::new(*kind).unwrap(), &[head, tail]).unwrap();
                    assert_eq!(index, from + n);
                    model.entries.push((*term, *kind, payload));
                }
                after.insert(*id, model);
                assert!(matches!(batch.append(*id, end + count + 1), Err(Error::Gap { .. })));
            }
            (Op::Truncate { back }, Some(mut model)) => {
                let from = end.saturating_sub(*back).max(first);
                batch.truncate(*id, from).unwrap();
                model.truncate(from);
                after.insert(*id, model);
                if first > 0 {
                    assert!(matches!(batch.truncate(*id, first - 1), Err(Error::BelowFirst { .. })));
                }
            }
            (Op::Purge { at, beyond, term }, Some(mut model)) => {
                let index = if *at == 0 { end + beyond } else { (first + at - 1).min(end) };
                let to = Position { index, term: model.term(index).unwrap_or(*term) };
                if let Some(true) = model.term(index).map(|_| index >= first) {
                    let other = Position { index, term: to.term + 1 };
                    assert!(matches!(batch.purge(*id, other), Err(Error::TermMismatch { .. })));
                }
                batch.purge(*id, to).unwrap();
                model.purge(to);
                after.insert(*id, model);
            }
            (Op::Reset { after: at, field }, Some(_)) => {
                let (field, value) = (Field::new(*field).unwrap(), Position { index: 7, term: 8 });
                batch.reset(*id, position(*at), State::new().with(field, value, b"reset")).unwrap();
                let fields = BTreeMap::from([(field, (value, b"reset".to_vec()))]);
                after.insert(*id, Model { before: position(*at), entries: Vec::new(), fields });
            }
            (Op::Set { field, at, size }, Some(mut model)) => {
                let (field, at) = (Field::new(*field).unwrap(), Position { index: at.0, term: at.1 });
                let value = bytes(*size, at.index);
                batch.set(*id, field, at, &value).unwrap();
                model.fields.insert(field, (at, value));
                after.insert(*id, model);
            }
        }
    }
    if lazy {
        drop(log.submit_with(batch, Flush::WithNext).unwrap());
    } else {
        log.commit(batch).unwrap();
    }
    *models = after;
}

/// Of two batches built concurrently, the second is refused and leaves nothing.
fn conflict(log: &GroupLog, models: &mut BTreeMap<u64, Model>, id: u64) {
    let Some(model) = models.get_mut(&id) else { return };
    let (field, at) = (Field::ALL[0], Position::default());
    let [first, second] = [b"first", b"later"].map(|value| {
        let mut batch = log.batch();
        batch.set(id, field, at, value).unwrap();
        batch
    });
    log.commit(first).unwrap();
    model.fields.insert(field, (at, b"first".to_vec()));
    let refused = log.commit(second).unwrap_err();
    assert!(matches!(refused, Error::BatchConflict { group } if group == id), "{refused}");
}

/// What the log holds.
fn seen(log: &GroupLog) -> BTreeMap<u64, Model> {
    let of = |id: u64| {
        let group = log.group(id).unwrap();
        let indexes = group.indexes().unwrap();
        let before = indexes
            .start
            .checked_sub(1)
            .map(|index| Position { index, term: group.term(index).unwrap().unwrap() });
        let entries = group.entries(indexes.clone(), u64::MAX).unwrap();
        assert!(entries.iter().map(|e| e.index).eq(indexes.clone()));
        assert!(entries.iter().all(|e| group.term(e.index).unwrap() == Some(e.term)));
        let last = entries.last().map(|e| Position { index: e.index, term: e.term }).or(before);
        assert_eq!(group.last().unwrap(), last);
        let entries = entries.into_iter().map(|e| (e.term, e.kind.get(), e.payload.to_vec())).collect();
        let state = group.state().unwrap();
        let fields = state.fields().map(|(field, at, bytes)| (field, (at, bytes.to_vec()))).collect();
        (id, Model { before, entries, fields })
    };
    log.groups().into_iter().map(of).collect()
}

fn check(log: &GroupLog, disk: &SimDisk, models: &BTreeMap<u64, Model>) {
    assert_eq!(&seen(log), models);
    // What is not durable cannot be seen from outside, and belongs to no segment yet.
    log.commit(log.batch()).unwrap();
    let (space, recounted) = (log.space().unwrap(), log.recount_space().unwrap());
    let live = |s: &Space| s.segments.iter().map(|s| s.live_bytes).collect::<Vec<_>>();
    assert_eq!((&space.groups, live(&space)), (&recounted.groups, live(&recounted)));
    let view = GroupView::of(&LogView::open_on(&(Arc::new(disk.clone()) as _)).unwrap()).unwrap();
    assert_eq!(view.groups(), models.keys().copied().collect::<Vec<_>>());
    for (id, model) in models {
        assert_eq!(view.indexes(*id), Some(model.first()..model.end()));
        let fields = view.state(*id).unwrap().fields().map(|(f, at, b)| (f, (at, b.to_vec())));
        assert_eq!(fields.collect::<BTreeMap<_, _>>(), model.fields);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_holds_what_was_done_to_it(steps in proptest::collection::vec(step(), 1..80)) {
        let mut disk = SimDisk::new();
        let mut log = open(&disk);
        let mut models = BTreeMap::new();
        for step in steps {
            match step {
                Step::Batch(ops, lazy) => batch(&log, &mut models, &ops, lazy),
                Step::Conflict(id) => conflict(&log, &mut models, id),
                Step::Purge => {
                    log.purge().unwrap();
                }
                Step::Reopen => {
                    log.close().unwrap();
                    drop(log);
                    log = open(&disk);
                }
                Step::Kill => {
                    log.commit(log.batch()).unwrap();
                    let killed = disk.kill();
                    drop(log);
                    disk = killed;
                    log = open(&disk);
                }
            }
            prop_assert_eq!(&seen(&log), &models);
        }
        check(&log, &disk, &models);
    }
}

/// The disk holds at most twice the live bytes plus three segments, with many idle streams and a few that are
/// appended to and purged.
#[test]
fn idle_streams_pin_nothing() {
    // Larger segments, because the two pages before the first block are half of a small one.
    const SEGMENT: u64 = 64 << 10;
    let log = options(SEGMENT).open_on(Arc::new(SimDisk::new())).unwrap();
    for id in 0..200 {
        log.create_group(id, None).unwrap();
        drop(log.group(id).unwrap().append(&[bytes(100, id)]).unwrap());
    }
    for round in 0..300u64 {
        let group = log.group(round % 5).unwrap();
        let (indexes, ticket) = group.append(&vec![bytes(300, round); 10]).unwrap();
        ticket.wait().unwrap();
        let mut batch = log.batch();
        batch.purge(group.id(), Position { index: indexes.end - 2, term: 0 }).unwrap();
        log.commit(batch).unwrap();
        let report = log.purge().unwrap();
        assert!(
            report.disk_bytes <= 2 * report.live_bytes + 3 * SEGMENT,
            "{} of {}: {report:?}",
            report.disk_bytes,
            report.live_bytes
        );
    }
    for id in 5..200 {
        assert_eq!(log.group(id).unwrap().entries(0..1, u64::MAX).unwrap()[0].payload, bytes(100, id));
    }
}

#[test]
fn batches_side_by_side_conflict_only_where_they_concern_the_same() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let group = log.create_group(1, None).unwrap();
    group.append(&["a", "b", "c"]).unwrap().1.wait().unwrap();
    let at = Position::default();
    let append = || {
        let mut batch = log.batch();
        batch.append(1, 3).unwrap().push(0, EntryKind::ZERO, &[b"d"]).unwrap();
        batch
    };
    let set = |n: usize| {
        let mut batch = log.batch();
        batch.set(1, Field::ALL[n], at, b"x").unwrap();
        batch
    };
    let purge = || {
        let mut batch = log.batch();
        batch.purge(1, at).unwrap();
        batch
    };
    let reset = || {
        let mut batch = log.batch();
        batch.reset(1, None, State::new()).unwrap();
        batch
    };
    type Make<'a> = &'a dyn Fn() -> seawall::groups::WriteBatch;
    let cases: [(Make<'_>, Make<'_>, bool); 8] = [
        (&append, &|| set(4), false),
        (&append, &|| set(8), false),
        (&append, &purge, false),
        (&append, &|| set(0), true),
        (&purge, &|| set(7), true),
        (&reset, &|| set(8), false),
        (&|| set(8), &reset, true),
        (&append, &reset, true),
    ];
    for (n, (make, before, conflicts)) in cases.into_iter().enumerate() {
        let (batch, other) = (make(), before());
        log.commit(other).unwrap();
        let refused = log.commit(batch).err();
        let conflict = matches!(refused, Some(Error::BatchConflict { group: 1 }));
        assert_eq!((conflict, refused.is_none()), (conflicts, !conflicts), "case {n}");
        // As before.
        let mut batch = log.batch();
        batch.reset(1, None, State::new()).unwrap();
        let mut appender = batch.append(1, 0).unwrap();
        for payload in ["a", "b", "c"] {
            appender.push(0, EntryKind::ZERO, &[payload.as_bytes()]).unwrap();
        }
        log.commit(batch).unwrap();
    }
}
