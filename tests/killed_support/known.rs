//! The parent's knowledge: for each group, what was acknowledged, and what was requested after that.
//!
//! A line is written before an operation is submitted and another after it was acknowledged. So the state found must
//! be the acknowledged one, or that plus some of the operations in flight, in order; and of two groups written in one
//! batch, both or none.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash as _, Hasher as _};

use seawall::raft::RaftLog;

use super::View;
use super::ops::Op;

/// A number that identifies the state of a group.
pub fn digest(view: Option<&View>) -> u64 {
    let mut hasher = DefaultHasher::new();
    view.hash(&mut hasher);
    hasher.finish()
}

#[derive(Default)]
struct Group {
    acknowledged: Option<View>,
    /// With the number of the batch.
    under_way: VecDeque<(u64, Op)>,
}

#[derive(Default)]
pub struct Known {
    groups: BTreeMap<u64, Group>,
    /// What a child that has just opened the log reports.
    reported: BTreeMap<u64, u64>,
    pub acknowledged: u64,
    pub opened: u64,
    /// Operations that were found although they were never acknowledged.
    pub found_under_way: u64,
    pub by_kind: BTreeMap<String, u64>,
    pub purges_that_freed: u64,
    pub entries_relocated: u64,
}

impl Known {
    /// Processes a line from a child.
    ///
    /// # Panics
    /// If what it found is not what must be there.
    pub fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|w| w.parse::<u64>().ok());
        match (words.first().copied(), number(1), number(2)) {
            (Some("at"), Some(group), Some(digest)) => drop(self.reported.insert(group, digest)),
            (Some("open"), ..) => {
                let found = std::mem::take(&mut self.reported);
                self.opened += 1;
                self.found(&found);
            }
            (Some("do"), Some(batch), Some(group)) => {
                let op = Op::from_words(&words[3..]).unwrap();
                *self.by_kind.entry(words[3].to_owned()).or_default() += 1;
                self.groups.entry(group).or_default().under_way.push_back((batch, op));
            }
            (Some("ack"), Some(group), _) => {
                let group = self.groups.get_mut(&group).unwrap();
                let (_, op) = group.under_way.pop_front().unwrap();
                group.acknowledged = op.apply(group.acknowledged.as_ref());
                self.acknowledged += 1;
            }
            (Some("purged"), Some(freed), Some(relocated)) => {
                self.purges_that_freed += u64::from(freed > 0);
                self.entries_relocated += relocated;
            }
            _ => {}
        }
    }

    /// Compares with a log that was opened after a kill.
    ///
    /// # Panics
    /// If what is there is not what must be there.
    pub fn check(&mut self, log: &RaftLog) {
        let found = |id: u64| (id, digest(log.group(id).map(|g| View::of(&g)).as_ref()));
        let found = log.groups().into_iter().map(found).collect();
        self.found(&found);
    }

    /// The groups as found, by the digests of their views; groups not named did not exist.
    fn found(&mut self, found: &BTreeMap<u64, u64>) {
        let (mut done, mut undone) = (BTreeSet::new(), BTreeSet::new());
        assert!(found.keys().all(|id| self.groups.contains_key(id)), "a group that nobody made: {found:?}");
        for (id, group) in &mut self.groups {
            let is = found.get(id).copied().unwrap_or_else(|| digest(None));
            let mut view = group.acknowledged.clone();
            let mut way = std::mem::take(&mut group.under_way);
            let before = (view.clone(), way.clone());
            while digest(view.as_ref()) != is {
                let Some((batch, op)) = way.pop_front() else {
                    panic!("group {id}: neither what was acknowledged nor what was under way: {before:?}");
                };
                view = op.apply(view.as_ref());
                done.insert(batch);
                self.found_under_way += 1;
            }
            undone.extend(way.into_iter().map(|(batch, _)| batch));
            group.acknowledged = view;
        }
        let torn: Vec<_> = done.intersection(&undone).collect();
        assert!(torn.is_empty(), "half a batch: {torn:?}");
    }
}
