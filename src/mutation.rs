//! Deliberate faults, to see that the tests would find them.
//!
//! A build with `--cfg mutation` breaks one promise, the one that the environment variable `SEAWALL_MUTATION` names; every
//! other build compiles to the code without it. `cargo run --example mutations` builds the tests so, runs for each fault
//! those that are to find it, and prints the table that stands in `docs/RELIABILITY.md`.

/// What is left out or done wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(mutation), allow(dead_code))]
pub(crate) enum Mutation {
    /// A commit is acknowledged without `fdatasync`.
    BlockSync,
    /// The durable LSN is published before the sync.
    PublishEarly,
    /// After a failed write or sync the handle continues.
    Poison,
    /// A failed flush wakes only those who wait for its own block.
    PoisonWakesFew,
    /// The flush is not handed to a thread that waits for the next block.
    HandOver,
    /// A block's header does not say what was durable.
    DurableInBlock,
    /// No marker block is written when the log falls idle or is closed.
    Marker,
    /// A new segment's bytes are not synced.
    SegmentSync,
    /// A new segment's name is not synced.
    SegmentName,
    /// Each generation of a file has the same salt.
    Salt,
    /// The superblock is not synced.
    SuperblockSync,
    /// A new superblock's name is not synced.
    SuperblockName,
    /// A child made by `fork` is not told from its parent.
    ForkedChild,
    /// A segment is used before the superblock names it.
    ReadyName,
    /// A slot of the superblock that an earlier run may not have synced is taken for safe.
    SuperblockSlot,
    /// A footer's body is not synced before the part that makes it a footer.
    FooterBody,
    /// Released files are touched before the superblock says that they are.
    ReleaseOrder,
    /// An open relies on names that an earlier run may not have synced.
    OpenNames,
    /// Evidence of durability is not looked at.
    Witness,
    /// An unproven tail is exposed as it is.
    TailRewrite,
    /// A reopened log continues in the file, behind the cut, where stale blocks may lie.
    AppendBehindCut,
    /// The copy of an unproven tail is not synced.
    RewriteSync,
    /// The copy gets its name before it is synced.
    RewriteOrder,
    /// The copy's name is not synced.
    RewriteName,
    /// A payload's checksum is not compared.
    Payload,
    /// A read that fails is taken for the end of the file.
    ReadError,
    /// A snapshot's file is not synced.
    SnapshotSync,
    /// A snapshot's name is not synced.
    SnapshotName,
    /// A chunk's checksum is not compared.
    SnapshotChunk,
    /// The old suffix stays when a conflicting one is appended.
    Suffix,
    /// Segments are released before what was relocated out of them is durable.
    RelocationOrder,
    /// A vote may change within a term.
    VoteCheck,
    /// A driver's votes and acknowledgements do not wait for the ticket.
    MessagesEarly,
}

/// Whether this is the fault of this build and run.
#[cfg(not(mutation))]
#[inline(always)]
pub(crate) const fn mutated(_: Mutation) -> bool {
    false
}

/// Whether this is the fault of this build and run.
#[cfg(mutation)]
pub(crate) fn mutated(fault: Mutation) -> bool {
    chosen().is_some_and(|name| *name == format!("{fault:?}"))
}

#[cfg(mutation)]
fn chosen() -> Option<&'static String> {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("SEAWALL_MUTATION").ok()).as_ref()
}

/// The bytes that a header's checksum covers: those of one field left out, if `SEAWALL_MUTATION` is `codec:from..to`.
#[cfg(mutation)]
pub(crate) fn covered(codec: &str, bytes: &[u8]) -> Vec<u8> {
    let mut covered = bytes.to_vec();
    let range = chosen()
        .and_then(|name| name.strip_prefix(codec)?.strip_prefix(':')?.split_once(".."))
        .and_then(|(from, to)| Some(from.parse::<usize>().ok()?..to.parse::<usize>().ok()?));
    // Ranges are those of the diagrams; the checksum's own four bytes are not among what is covered.
    if let Some(field) = range.and_then(|r| covered.get_mut(r.start - 4..r.end - 4)) {
        field.fill(0);
    }
    covered
}
