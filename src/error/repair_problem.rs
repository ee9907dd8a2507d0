//! Why a damaged log is not repaired in the way that was chosen, and what else can be done.

/// Why a repair, or its undoing, cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RepairProblem {
    /// No segment is whole before the first damage.
    #[error(
        "nothing is whole before the first damage, so a cut would leave nothing. \
         Restore this node from a replica or a backup, or start with an empty directory"
    )]
    NothingLeft,
    /// The log is not what the plan was made for.
    #[error("the log has changed since it was looked at; look again")]
    Changed,
    /// The directory for the copies holds something.
    #[error("the directory for the copies is not empty; name another one")]
    UndoDirInUse,
    /// No copy was completed there.
    #[error(
        "there is no manifest of a complete copy: either that repair was undone already, or it ended before it \
         changed anything; there is nothing to undo"
    )]
    NoManifest,
    /// The manifest is damaged.
    #[error(
        "the manifest does not verify, so nothing is put back by it; the copies beside it can be put back by hand"
    )]
    Manifest,
    /// A copy is damaged.
    #[error(
        "the copy is missing or not what the manifest says it was; get it back, or put the others back by hand"
    )]
    CopyDamaged,
    /// A file that was not copied is not what it was.
    #[error(
        "it was left alone by the repair, and was changed or released since: the log cannot be given back as it was. \
         The copies can be put back by hand"
    )]
    ChangedSince,
    /// Single groups cannot be dropped: damage in a segment without a good footer.
    #[error(
        "it is damaged, and has no good footer to tell whose records lie there, votes included: single groups cannot be \
         dropped for it. Restore this node from a replica or a backup, or give up everything from here on \
         (`seawall repair --cut`)"
    )]
    NoFooter,
    /// Single groups cannot be dropped: damage in the newest segment.
    #[error(
        "it is damaged, and is the newest segment, which has no footer yet to tell whose records lie there, votes included: \
         single groups cannot be dropped for it. Restore this node from a replica or a backup, or give up everything from \
         here on (`seawall repair --cut`)"
    )]
    NewestSegment,
    /// Single groups cannot be dropped before a damaged footer was taken away.
    #[error(
        "its footer is damaged, and its records are not: have it written anew first (`seawall repair --rebuild-footers`), \
         then look again"
    )]
    DamagedFooter,
    /// Single groups cannot be dropped: a segment is missing, or cannot be told to be one.
    #[error(
        "the chain of segments is broken here, and what is missing may be anybody's: single groups cannot be dropped for it. \
         Get the file back, restore this node from a replica or a backup, or give up everything from here on \
         (`seawall repair --cut`)"
    )]
    BrokenChain,
    /// No superblock can be made: no segment is whole enough to say which log it belongs to.
    #[error(
        "no segment says which log it belongs to, so there is nothing to make a superblock of. \
         Restore this node from a replica or a backup"
    )]
    NoSegment,
    /// No superblock can be made: nobody can tell where the log begins.
    #[error(
        "it is a segment of this log, and one between it and the newer ones is not there: either the log had released both, or \
         one that it needs is lost, and nothing that is left tells which. Get the missing one back; or, if the log is known to \
         begin later, say with which segment (`seawall repair --rebuild-superblock --oldest`)"
    )]
    OlderSegments,
    /// No superblock can be made: the chain of segments cannot be followed.
    #[error(
        "it cannot be told what comes before it, for its first pages are damaged, it is not there, or it contradicts another \
         segment: no superblock can be made of a chain that does not hold. Get the file back, restore this node from a replica \
         or a backup, or say which later segment the log is to begin with (`seawall repair --rebuild-superblock --oldest`)"
    )]
    UnknownBefore,
}
