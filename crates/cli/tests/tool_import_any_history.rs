//! Whatever a program did with raft-engine within Raft's rules, the imported log has the same content.

mod import_support;

use std::collections::BTreeMap;

use import_support::*;
use proptest::prelude::*;
use raft::Storage as _;
use raft::eraftpb::{ConfState, Entry};

#[derive(Clone, Debug)]
enum Step {
    /// This many entries are cut off, as far as they are not committed, and this many appended, in a term this much
    /// higher.
    Append {
        group: u64,
        cut: u64,
        entries: u64,
        rise: u64,
    },
    /// This many more are committed, and written into the HardState.
    Commit {
        group: u64,
        entries: u64,
    },
    /// This many committed ones are compacted.
    Compact {
        group: u64,
        entries: u64,
    },
    Purge,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let group = 1..4u64;
    prop_oneof![
        4 => (group.clone(), 0..30u64, 1..200u64, 0..3u64)
            .prop_map(|(group, cut, entries, rise)| Step::Append { group, cut, entries, rise }),
        3 => (group.clone(), 0..200u64).prop_map(|(group, entries)| Step::Commit { group, entries }),
        2 => (group, 0..150u64).prop_map(|(group, entries)| Step::Compact { group, entries }),
        1 => Just(Step::Purge),
        1 => Just(Step::Restart),
    ]
}

/// One group as raft sees it.
#[derive(Default)]
struct Model {
    compacted: (u64, u64),
    entries: Vec<Entry>,
    term: u64,
    commit: u64,
}

impl Model {
    fn last(&self) -> u64 {
        self.entries.last().map_or(self.compacted.0, |e| e.index)
    }

    fn append(&mut self, cut: u64, count: u64, rise: u64) -> Vec<Entry> {
        let from = self.last().saturating_sub(cut).max(self.commit) + 1;
        // An entry is only replaced by one of a later term.
        self.term = (self.term + rise).max(1 + if from <= self.last() { self.term } else { 0 });
        self.entries.retain(|e| e.index < from);
        let new = entries(from..=from + count - 1, self.term);
        self.entries.extend_from_slice(&new);
        new
    }

    fn compact(&mut self, count: u64) {
        let to = (self.compacted.0 + count).min(self.commit);
        if let Some(entry) = self.entries.iter().find(|e| e.index == to) {
            self.compacted = (to, entry.term);
        }
        self.entries.retain(|e| e.index > to);
    }
}

fn take(source: &mut Source, groups: &mut BTreeMap<u64, Model>, step: Step) {
    match step {
        Step::Append { group, cut, entries, rise } => {
            let model = groups.entry(group).or_default();
            let new = model.append(cut, entries, rise);
            source.append(group, &new);
            source.put(group, "hs", &hard(model.term, 2, model.commit));
        }
        Step::Commit { group, entries } => {
            let Some(model) = groups.get_mut(&group) else { return };
            model.commit = (model.commit + entries).min(model.last());
            source.put(group, "hs", &hard(model.term, 2, model.commit));
        }
        Step::Compact { group, entries } => {
            let Some(model) = groups.get_mut(&group) else { return };
            model.compact(entries);
            let (index, term) = model.compacted;
            source.put(group, "meta", &metadata(index, term, &[]));
            source.compact(group, index + 1);
        }
        Step::Purge => source.purge(),
        Step::Restart => {
            source.close();
            source.reopen();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_imported_is_what_it_has(steps in proptest::collection::vec(step(), 1..40), compressed: bool) {
        let mut source = Source::compressing(if compressed { 1 << 10 } else { 0 });
        let mut groups = BTreeMap::new();
        take(&mut source, &mut groups, Step::Append { group: 1, cut: 0, entries: 1, rise: 1 });
        for step in steps {
            take(&mut source, &mut groups, step);
        }
        source.close();
        let before = contents(&source.old());
        let log = source.imported(&[&KEYS[..4], &["--voters", "1,2,3"]].concat());
        prop_assert!(contents(&source.old()) == before, "the source changed");
        prop_assert_eq!(log.groups(), groups.keys().copied().collect::<Vec<_>>());
        for (id, model) in &groups {
            let group = log.group(*id).unwrap();
            let got = read(&log, *id);
            let differing = got.iter().zip(&model.entries).find(|(got, want)| got != want);
            prop_assert!(differing.is_none(), "group {}: {:?}", id, differing);
            prop_assert_eq!(got.len(), model.entries.len());
            prop_assert_eq!(group.hard_state(), hard(model.term, 2, model.commit));
            prop_assert_eq!((group.first_index().unwrap(), group.last_index().unwrap()), (model.compacted.0 + 1, model.last()));
            prop_assert_eq!(group.term(model.compacted.0).unwrap(), model.compacted.1);
            prop_assert_eq!(group.conf_state(), ConfState::from((vec![1, 2, 3], vec![])));
        }
    }
}
