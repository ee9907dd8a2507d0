//! Fault injection: what goes wrong, and when.

use std::io;

/// The kinds of calls that a fault can apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// `fdatasync` or `fsync` of a file.
    Sync,
    /// `fsync` of a directory.
    SyncDir,
    /// Creating a file.
    Create,
    /// Opening a file.
    Open,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Changing a file's size, or reserving space.
    Resize,
    /// Listing a directory.
    List,
    /// Querying a file's size.
    Stat,
    /// Taking a lock.
    Lock,
    /// Querying free space.
    Space,
}

impl Call {
    /// Number of kinds.
    const COUNT: usize = 13;

    /// Whether such a call changes the state that a crash can leave.
    #[must_use]
    pub const fn changes(self) -> bool {
        !matches!(self, Call::Read | Call::Open | Call::List | Call::Stat | Call::Lock | Call::Space)
    }

    pub(super) const fn verb(self) -> &'static str {
        match self {
            Call::Read => "read",
            Call::Write => "write",
            Call::Sync => "sync",
            Call::SyncDir => "sync directory",
            Call::Create => "create",
            Call::Open => "open",
            Call::Rename => "rename",
            Call::Remove => "remove",
            Call::Resize => "resize",
            Call::List => "list",
            Call::Stat => "stat",
            Call::Lock => "lock",
            Call::Space => "free space of",
        }
    }
}

/// When a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// At the n-th call of any kind, counted from 0.
    At(u64),
    /// At the n-th call of this kind, counted from 0.
    Nth(Call, u64),
    /// At every call of this kind from the n-th on.
    From(Call, u64),
    /// At every call of any kind from the n-th on: a device that is gone, or a disk that stays full.
    Since(u64),
}

/// The state after a failed sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFailure {
    /// The pages are clean in the cache but not on the device (like ext4): a later sync returns `Ok` and writes
    /// nothing.
    DropsPages,
    /// The pages stay dirty (like btrfs).
    KeepsDirty,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with this error and has no effect.
    Error(io::ErrorKind),
    /// The call fails with this operating system error and has no effect.
    Os(i32),
    /// A write accepts, or a read returns, only half of the bytes; other calls are not affected.
    Short,
    /// A write accepts no bytes.
    Nothing,
    /// A sync fails with `EIO`; other calls are not affected.
    Sync(SyncFailure),
    /// A sync returns `Ok` and does nothing. No honest device does this: it is for negative controls in tests.
    Lie,
    /// The power goes off: this call and all later ones fail and have no effect.
    PowerOff,
}

/// The faults of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    faults: Vec<(Trigger, Fault)>,
    seen: [u64; Call::COUNT],
}

impl FaultPlan {
    /// No faults.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a fault.
    #[must_use]
    pub fn with(mut self, trigger: Trigger, fault: Fault) -> Self {
        self.faults.push((trigger, fault));
        self
    }

    /// The power goes off at call `n`.
    #[must_use]
    pub fn power_off_at(n: u64) -> Self {
        Self::none().with(Trigger::At(n), Fault::PowerOff)
    }

    /// Counts a call, the `total`-th of all; returns its fault, if any.
    pub(super) fn next(&mut self, call: Call, total: u64) -> Option<Fault> {
        let seen = self.seen.get_mut(call as usize)?;
        let n = *seen;
        *seen += 1;
        let hit = |trigger: &Trigger| match *trigger {
            Trigger::At(at) => at == total,
            Trigger::Nth(c, at) => c == call && at == n,
            Trigger::From(c, at) => c == call && n >= at,
            Trigger::Since(at) => total >= at,
        };
        self.faults.iter().find(|(trigger, _)| hit(trigger)).map(|(_, fault)| *fault)
    }
}
