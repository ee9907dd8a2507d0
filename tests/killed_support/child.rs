//! The process that is killed: threads with their own groups that append, overwrite, save and install snapshots,
//! compact, remove and create groups, and purge, as fast as they can, with a few batches in flight.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use seawall::Ticket;
use seawall::io::sim::Rng;
use seawall::raft::RaftLog;

use super::known::digest;
use super::ops::{MEMBERS, Op};
use super::{View, options};
use crate::raft_support::{conf, state_at};

const THREADS: u64 = 3;
const GROUPS: u64 = 4;

/// More entries than this are compacted.
const LONG: usize = 150;

/// Opens the log, reports what is there, and works until it is killed.
///
/// With `hasty`, it reports something as durable as soon as it is submitted: the negative control.
pub fn run(dir: &Path, seed: u64, hasty: bool) {
    let log = options().open(dir).unwrap();
    let views: BTreeMap<u64, View> =
        log.groups().into_iter().map(|id| (id, View::of(&log.group(id).unwrap()))).collect();
    // The harness prints too, and leaves its line open.
    println!();
    for (id, view) in &views {
        println!("at {id} {}", digest(Some(view)));
    }
    println!("open");
    let batches = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let mine = thread * GROUPS + 1..=thread * GROUPS + GROUPS;
            let views = mine.map(|id| (id, views.get(&id).cloned())).collect();
            let mut worker = Worker {
                log: log.clone(),
                rng: Rng::new(seed * THREADS + thread),
                views,
                waiting: VecDeque::new(),
                batches: &batches,
                hasty,
            };
            scope.spawn(move || {
                loop {
                    worker.step();
                }
            });
        }
    });
}

struct Worker<'a> {
    log: RaftLog,
    rng: Rng,
    views: BTreeMap<u64, Option<View>>,
    /// Batches in flight, and the groups in them.
    waiting: VecDeque<(Ticket, Vec<u64>)>,
    batches: &'a AtomicU64,
    hasty: bool,
}

impl Worker<'_> {
    fn step(&mut self) {
        if self.rng.below(12) == 0 {
            let report = self.log.purge().unwrap();
            println!("purged {} {}", report.segments_freed, report.entries_relocated);
        }
        let one = self.pick();
        let Some(view) = self.views[&one].clone() else { return self.alone(one, Op::Create) };
        let op = self.choose(&view);
        if matches!(op, Op::Remove | Op::Save { .. }) {
            return self.alone(one, op);
        }
        let mut ops = vec![(one, op)];
        let other = self.pick();
        if other != one
            && self.rng.below(2) == 0
            && let Some(view) = self.views[&other].clone()
        {
            let op = self.choose(&view);
            if !matches!(op, Op::Remove | Op::Save { .. }) {
                ops.push((other, op));
            }
        }
        self.together(&ops);
        while self.waiting.len() as u64 > self.rng.below(4) {
            self.acknowledge();
        }
    }

    fn pick(&mut self) -> u64 {
        let at = self.rng.below(self.views.len() as u64) as usize;
        *self.views.keys().nth(at).unwrap()
    }

    /// What could be done to this group next.
    fn choose(&mut self, view: &View) -> Op {
        let rng = &mut self.rng;
        let (last, saved) = (view.last(), view.snapshot.map_or(0, |(index, _)| index));
        let long = view.terms.len() > LONG;
        match rng.below(20) {
            0 if rng.below(4) == 0 => return Op::Remove,
            1 if rng.below(2) == 0 => {
                let (index, more) = (last + 1 + rng.below(20), rng.below(4));
                return Op::Install { index, term: view.term + 1, more };
            }
            2..=4 if view.applied > saved => return Op::Save { index: view.applied },
            n if (n > 16 || long) && saved >= view.first => {
                let index = if long { saved } else { view.first + rng.below(saved + 1 - view.first) };
                return Op::Compact { index };
            }
            _ if long && view.applied > saved => return Op::Save { index: view.applied },
            _ => {}
        }
        let new_term = view.term == 0 || rng.below(6) == 0;
        let (term, vote) = if new_term { (view.term + 1, 1 + rng.below(2)) } else { (view.term, view.vote) };
        // A new leader may replace what is not committed.
        let from = if new_term && last > view.commit {
            view.commit + 1 + rng.below(last - view.commit)
        } else {
            last + 1
        };
        // Or it was only elected so far.
        let to = if new_term && rng.below(3) == 0 { from - 1 } else { from + rng.below(8) };
        let (from, end) = if to < from { (last + 1, last) } else { (from, to) };
        let commit = view.commit + rng.below(end + 1 - view.commit);
        let applied = view.applied + rng.below(commit + 1 - view.applied);
        Op::Append { from, to: end, term, vote, commit, applied }
    }

    /// Reports what is about to be done.
    fn announce(&mut self, ops: &[(u64, Op)]) {
        let batch = self.batches.fetch_add(1, Ordering::Relaxed);
        for (group, op) in ops {
            // One write per line: a killed process leaves no partial lines.
            println!("do {batch} {group} {}", op.to_words());
            let view = self.views.get_mut(group).unwrap();
            *view = op.apply(view.as_ref());
        }
    }

    fn together(&mut self, ops: &[(u64, Op)]) {
        self.announce(ops);
        let mut batch = self.log.batch();
        for (group, op) in ops {
            op.stage(&mut batch, *group, self.views[group].as_ref().unwrap()).unwrap();
        }
        let ticket = self.log.submit(batch).unwrap();
        self.waiting.push_back((ticket, ops.iter().map(|(group, _)| *group).collect()));
    }

    /// Operations that are calls of their own, durable when they return.
    fn alone(&mut self, group: u64, op: Op) {
        while !self.waiting.is_empty() {
            self.acknowledge();
        }
        self.announce(&[(group, op)]);
        match op {
            Op::Create => drop(self.log.create_group(group, conf(MEMBERS)).unwrap()),
            Op::Remove => self.log.remove_group(group).unwrap(),
            Op::Save { index } => {
                self.log.group(group).unwrap().save_snapshot(index, conf(MEMBERS), state_at(index)).unwrap();
            }
            _ => unreachable!("{op:?} goes into a batch"),
        }
        println!("ack {group}");
    }

    fn acknowledge(&mut self) {
        let Some((ticket, groups)) = self.waiting.pop_front() else { return };
        if !self.hasty {
            ticket.wait().unwrap();
        }
        for group in groups {
            println!("ack {group}");
        }
    }
}
