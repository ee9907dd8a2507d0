//! The network: every message is delayed, lost or duplicated. Delays differ, so messages overtake each other; some
//! are held back so long that they arrive in another term.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::Message;
use seawall::io::sim::Rng;

/// A message in transit.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub group: u64,
    pub message: Message,
}

/// The fault rates, in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub lost: u64,
    pub duplicated: u64,
    pub late: u64,
}

impl Weather {
    pub const CALM: Weather = Weather { lost: 0, duplicated: 0, late: 0 };

    pub fn of(rng: &mut Rng) -> Self {
        Weather { lost: rng.below(120), duplicated: rng.below(80), late: rng.below(60) }
    }
}

/// Maximum number of messages in transit; beyond it the oldest are lost, as in any buffer.
const ROOM: usize = 600;

#[derive(Debug)]
pub struct Network {
    pub weather: Weather,
    /// Nothing gets from the first to the second.
    cut: BTreeSet<(u64, u64)>,
    /// By the step at which they may arrive, then in the order of sending.
    waiting: BTreeMap<(u64, u64), Envelope>,
    sent: u64,
    pub delivered: u64,
    pub lost: u64,
    pub duplicated: u64,
}

impl Network {
    pub fn new(weather: Weather) -> Self {
        let (cut, waiting) = (BTreeSet::new(), BTreeMap::new());
        Network { weather, cut, waiting, sent: 0, delivered: 0, lost: 0, duplicated: 0 }
    }

    /// Takes a message on.
    pub fn send(&mut self, now: u64, envelope: Envelope, rng: &mut Rng) {
        if self.waiting.len() >= ROOM {
            self.waiting.pop_first();
            self.lost += 1;
        }
        let delay = if rng.below(1000) < self.weather.late { rng.below(400) } else { rng.below(6) };
        self.sent += 1;
        self.waiting.insert((now + delay, self.sent), envelope);
    }

    /// The next due message, and whether it is delivered.
    pub fn next(&mut self, now: u64, rng: &mut Rng) -> Option<(Envelope, bool)> {
        let entry = self.waiting.first_entry().filter(|e| e.key().0 <= now)?;
        let envelope = entry.remove();
        if rng.below(1000) < self.weather.duplicated {
            self.duplicated += 1;
            self.sent += 1;
            self.waiting.insert((now + 1 + rng.below(100), self.sent), envelope.clone());
        }
        let link = (envelope.message.from, envelope.message.to);
        let arrives = !self.cut.contains(&link) && rng.below(1000) >= self.weather.lost;
        if arrives {
            self.delivered += 1
        } else {
            self.lost += 1
        }
        Some((envelope, arrives))
    }

    /// Cuts some of `nodes` off from the others, in both directions or one.
    pub fn part(&mut self, nodes: u64, rng: &mut Rng) {
        let side = rng.draw();
        let of = |id: u64| side >> id & 1;
        let one_way = rng.below(3) == 0;
        let pairs = (1..=nodes).flat_map(|a| (1..=nodes).map(move |b| (a, b)));
        self.cut.extend(pairs.filter(|(a, b)| if one_way { of(*a) > of(*b) } else { of(*a) != of(*b) }));
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Everything in transit may arrive at once.
    pub fn calm_down(&mut self) {
        self.weather = Weather::CALM;
        self.heal();
        self.waiting = std::mem::take(&mut self.waiting).into_iter().map(|((_, n), e)| ((0, n), e)).collect();
    }
}
