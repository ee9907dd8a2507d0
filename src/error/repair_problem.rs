//! Why a damaged log cannot be repaired in the chosen way, and what else can be done.

/// Why a repair or an undo is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RepairProblem {
    /// No segment is intact before the first damage.
    #[error(
        "nothing is intact before the first damage, so a cut would leave nothing. \
         Restore this node from a replica or a backup, or start with an empty directory"
    )]
    NothingLeft,
    /// The log has changed since the plan was made.
    #[error("the log has changed since the plan was made; make a new plan")]
    Changed,
    /// The undo directory is not empty.
    #[error("the undo directory is not empty; choose another one")]
    UndoDirInUse,
    /// The undo directory holds no complete copy.
    #[error(
        "there is no manifest of a complete copy: either that repair was already undone, or it ended before it \
         changed anything. There is nothing to undo"
    )]
    NoManifest,
    /// The manifest is damaged.
    #[error(
        "the manifest does not verify, so it cannot be used to restore anything; the copies beside it can be restored by hand"
    )]
    Manifest,
    /// A copy is damaged.
    #[error("the copy is missing or differs from the manifest; recover it, or restore the others by hand")]
    CopyDamaged,
    /// A file that was not copied has changed.
    #[error(
        "the repair did not copy this file, and it was changed or released since: the log cannot be restored as it was. \
         The copies can be restored by hand"
    )]
    ChangedSince,
    /// Single streams cannot be dropped: damage in a segment without a good footer.
    #[error(
        "it is damaged, and has no good footer to tell whose records it holds: single streams (groups) cannot be \
         dropped. Restore this node from a replica or a backup, or give up everything from here on \
         (`seawall repair --cut`)"
    )]
    NoFooter,
    /// Single streams cannot be dropped: damage in the newest segment.
    #[error(
        "it is damaged, and as the newest segment it has no footer yet to tell whose records it holds: \
         single streams (groups) cannot be dropped. Restore this node from a replica or a backup, or give up everything from \
         here on (`seawall repair --cut`)"
    )]
    NewestSegment,
    /// Single streams cannot be dropped before the damaged footer is removed.
    #[error(
        "its footer is damaged, but its records are not: have the footer rewritten first \
         (`seawall repair --rebuild-footers`), then make a new plan"
    )]
    DamagedFooter,
    /// Single streams cannot be dropped: a segment is missing, or cannot be recognised as one.
    #[error(
        "the chain of segments is broken here, and what is missing may belong to any stream: single streams (groups) cannot be dropped. \
         Recover the file, restore this node from a replica or a backup, or give up everything from here on \
         (`seawall repair --cut`)"
    )]
    BrokenChain,
    /// No superblock can be built: no segment is intact enough to say which log it belongs to.
    #[error(
        "no segment says which log it belongs to, so no superblock can be built. \
         Restore this node from a replica or a backup"
    )]
    NoSegment,
    /// No superblock can be built: it is unknown where the log begins.
    #[error(
        "it is a segment of this log, and a segment between it and the newer ones is missing: either the log had released both, \
         or a needed one is lost, and nothing left tells which. Recover the missing one; or, if the log is known to \
         begin later, say with which segment (`seawall repair --rebuild-superblock --oldest`)"
    )]
    OlderSegments,
    /// No superblock can be built: the chain of segments cannot be followed.
    #[error(
        "what comes before it is unknown, because its first pages are damaged, it is missing, or it contradicts another \
         segment: no superblock can be built from a broken chain. Recover the file, restore this node from a replica \
         or a backup, or say which later segment the log begins with (`seawall repair --rebuild-superblock --oldest`)"
    )]
    UnknownBefore,
}
