//! Events: counted, hashed into a digest that compares two runs, and the latest kept for a report.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::AddAssign;

use raft::eraftpb::Message;

/// Number of events printed with a finding.
const KEPT: usize = 80;

/// The reported part of a message.
#[derive(Clone, Debug, Hash)]
pub struct Envoy {
    group: u64,
    from: u64,
    to: u64,
    kind: i32,
    term: u64,
    index: u64,
    entries: usize,
    reject: bool,
}

impl Envoy {
    pub fn of(group: u64, m: &Message) -> Self {
        Envoy {
            group,
            from: m.from,
            to: m.to,
            kind: m.get_msg_type() as i32,
            term: m.term,
            index: m.index,
            entries: m.entries.len(),
            reject: m.reject,
        }
    }
}

/// One event. Values that differ from run to run for external reasons (contexts of entries, salts) are left out.
#[derive(Clone, Debug, Hash)]
pub enum Event {
    Tick { node: u64 },
    Delivered(Envoy),
    NotTaken { group: u64, to: u64, why: &'static str },
    Sent(Envoy),
    Lost(Envoy),
    Drove { node: u64, waited: bool },
    Leads { group: u64, node: u64, term: u64 },
    Committed { group: u64, node: u64, index: u64, term: u64 },
    Proposed { group: u64, node: u64, index: u64, bytes: usize },
    ChangesConf { group: u64, node: u64, what: String },
    Transfers { group: u64, from: u64, to: u64 },
    Applied { group: u64, node: u64, index: u64 },
    Restored { group: u64, node: u64, index: u64 },
    SavedSnapshot { group: u64, node: u64, index: u64 },
    Compacted { group: u64, node: u64, index: u64 },
    Purged { node: u64, freed: usize, relocated: usize },
    Armed { node: u64, what: String },
    Broken { node: u64, poisoned: bool },
    Down { node: u64, how: String, calls: u64 },
    Up { node: u64 },
    Partition,
    Heal,
}

/// The last events, and a digest of all.
#[derive(Debug, Default)]
pub struct Events {
    hasher: DefaultHasher,
    last: VecDeque<(u64, Event)>,
}

impl Events {
    pub fn note(&mut self, step: u64, event: Event) {
        (step, &event).hash(&mut self.hasher);
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back((step, event));
    }

    pub fn digest(&self) -> u64 {
        self.hasher.finish()
    }

    pub fn last(&self) -> Vec<String> {
        self.last.iter().map(|(step, event)| format!("{step}: {event:?}")).collect()
    }
}

/// The guarantees that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Two leaders in one term of a group.
    ElectionSafety,
    /// Two entries with one index and term, or with different ones before them.
    LogMatching,
    /// A leader without an entry that was committed in a term before its own.
    LeaderCompleteness,
    /// Two nodes that disagree about a committed or applied entry.
    StateMachineSafety,
    /// A message, or a leader's own match, claimed what was not on the disk.
    SaidBeforeDurable,
    /// After a restart something is missing that was promised before.
    Forgotten,
    /// A read was answered with a state older than its request.
    StaleRead,
    /// A proposal's outcome does not match its fate.
    WrongOutcome,
    /// An error that no fault explains.
    Unexplained,
    /// All faults are over, but the groups make no progress.
    NotLive,
    /// A panic in the engine or in raft.
    Panic,
}

impl Kind {
    pub const ALL: [Kind; 11] = [
        Kind::ElectionSafety,
        Kind::LogMatching,
        Kind::LeaderCompleteness,
        Kind::StateMachineSafety,
        Kind::SaidBeforeDurable,
        Kind::Forgotten,
        Kind::StaleRead,
        Kind::WrongOutcome,
        Kind::Unexplained,
        Kind::NotLive,
        Kind::Panic,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Kind::ElectionSafety => "election safety",
            Kind::LogMatching => "log matching",
            Kind::LeaderCompleteness => "leader completeness",
            Kind::StateMachineSafety => "state-machine safety",
            Kind::SaidBeforeDurable => "said before it was durable",
            Kind::Forgotten => "forgotten at a restart",
            Kind::StaleRead => "stale read",
            Kind::WrongOutcome => "wrong outcome of a proposal",
            Kind::Unexplained => "unexplained error",
            Kind::NotLive => "does not go on",
            Kind::Panic => "panic",
        }
    }
}

/// A promise that was broken.
#[derive(Debug)]
pub struct Violation {
    pub kind: Kind,
    pub what: String,
}

impl Violation {
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Violation { kind, what: what.into() }
    }
}

pub type Checked<T = ()> = Result<T, Violation>;

/// A violation, and everything needed to reproduce it.
#[derive(Debug)]
pub struct Finding {
    pub seed: u64,
    pub step: u64,
    pub violation: Violation,
    pub events: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { seed, step, violation, events } = self;
        writeln!(
            f,
            "seed {seed}, step {step}: {:?}: {}; the events before:",
            violation.kind, violation.what
        )?;
        events.iter().try_for_each(|event| writeln!(f, "  {event}"))
    }
}

macro_rules! tally {
    ($($(#[doc = $doc:expr])* $name:ident,)*) => {
        /// What was seen.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct Tally { $($(#[doc = $doc])* pub $name: u64,)* }

        impl AddAssign for Tally {
            fn add_assign(&mut self, o: Self) { $(self.$name += o.$name;)* }
        }

        impl Tally {
            /// Each figure with its name.
            pub fn lines(&self) -> Vec<(&'static str, u64)> { vec![$((stringify!($name), self.$name),)*] }
        }
    };
}

tally! {
    episodes,
    steps,
    /// Leaders: one for each group and term that had one.
    elections,
    /// Entries with a command, counted per node that applied them.
    commands_applied,
    /// Committed entries of all groups.
    entries_committed,
    crashes,
    /// Crashes while a log was being opened.
    crashes_in_recovery,
    kills,
    clean_stops,
    /// Logs ended by a failed write or sync.
    poisonings,
    /// Other failures: a full disk, a snapshot file that cannot be written.
    failures,
    snapshots_saved,
    snapshots_sent,
    snapshots_restored,
    conf_changes,
    transfers,
    purges_that_freed,
    reads_answered,
    partitions,
    messages_delivered,
    messages_lost,
    messages_duplicated,
    /// Outputs whose promises were compared with what the log reports as durable.
    promises_checked,
    /// Outputs that were compared with the disk after a crash that loses everything unsynced.
    promises_checked_by_crash,
}
