//! The faults, what they break, and the test that should detect each.

/// A test program, and which of its tests are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Suite {
    /// A file of `tests/`, `lib`, or `model`: the unit tests under the model checker.
    pub(crate) program: &'static str,
    pub(crate) filters: &'static [&'static str],
}

/// Where a fault is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Outside: by a disk that does not do what it is asked (`tests/common/forgetful.rs`).
    Disk,
    /// In the code: by the macro `or_fault!`, or by a checksum that omits a field (`src/mutation.rs`).
    Code,
}

/// One fault.
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) place: Place,
    pub(crate) suite: Suite,
}

const fn at(program: &'static str, filters: &'static [&'static str]) -> Suite {
    Suite { program, filters }
}

const POWER: Suite = at("crash_states", &["w1_to_w6_a_crash_or_a_failure_at_every_call_in_other"]);
const SWEEP: Suite = at("crash_states", &["w1_to_w6"]);
const KILLED: Suite = at("crash_states", &["w5_what"]);
const FAILED: Suite = at("failed_writes", &[]);
const CALLS: Suite = at("failed_calls", &[]);
const DAMAGE: Suite = at("damage_sweep", &[]);
const GROUPS: Suite = at("raft_crash_states", &["groups_are_whole"]);
const FOOTER: Suite = at("raft_crashes", &["a_footer_that_a_crash_tore"]);
const BITS: Suite = at("lib", &["format::"]);
const GOLDEN: Suite = at("golden_files", &[]);
const MODEL: Suite = at("model", &["commit::model"]);

/// Faults that a disk can make: name, description, and the suite that detects it.
#[rustfmt::skip]
pub(crate) const ON_THE_DISK: &[(&str, &str, Suite)] = &[
    ("BlockSync", "a commit is acknowledged without `fdatasync`", POWER),
    ("SegmentSync", "a new segment's bytes are not synced", POWER),
    ("SegmentName", "a new segment's name is not synced", POWER),
    ("SuperblockSync", "the superblock is not synced", POWER),
    ("SuperblockName", "a new superblock's name is not synced", POWER),
    ("FooterBody", "a footer's body is not synced before its head", FOOTER),
    ("OpenNames", "an open relies on names that nobody synced", SWEEP),
    ("RewriteSync", "the copy of an unproven tail is not synced", POWER),
    ("RewriteOrder", "the copy gets its name before it is synced", POWER),
    ("RewriteName", "the copy's name is not synced", POWER),
    ("SnapshotSync", "a snapshot's file is not synced", GROUPS),
    ("SnapshotName", "a snapshot's name is not synced", GROUPS),
    ("ReadError", "a read that fails is taken for the end of the file", FAILED),
];

/// Faults that only the code can make. A disk would have to know the log to make them: they change what is written,
/// in which order, or what is believed about it.
#[rustfmt::skip]
pub(crate) const IN_THE_CODE: &[(&str, &str, Suite)] = &[
    ("PublishEarly", "the durable LSN is published before the sync", MODEL),
    ("Poison", "after a failed write or sync the handle continues", CALLS),
    ("PoisonWakesFew", "a failed flush wakes only those who wait for its own block", MODEL),
    ("HandOver", "the flush is kept when nobody waits for the next block", MODEL),
    ("DurableInBlock", "blocks do not say what was durable", at("damage", &[])),
    ("Marker", "no marker block is written when the log falls idle or is closed", at("log_basics", &[])),
    ("Salt", "each generation of a file has the same salt", at("log_basics", &["salt"])),
    ("SuperblockSlot", "a superblock slot that an earlier run may not have synced is taken for safe", SWEEP),
    ("ReadyName", "a segment is used before the superblock names it", at("newest_segment", &["w4_a_newest"])),
    ("ForkedChild", "a handle works in a forked child", at("process_forked", &["w13_every_call_of_an"])),
    ("ReleaseOrder", "released files go before the superblock says so", SWEEP),
    ("Witness", "evidence of durability is not looked at", DAMAGE),
    ("TailRewrite", "an unproven tail is exposed as it is", KILLED),
    ("AppendBehindCut", "a reopened log continues in the file, behind the cut", SWEEP),
    ("Payload", "a payload's checksum is not compared", DAMAGE),
    ("SnapshotChunk", "a chunk's checksum is not compared", at("lib", &["raft::snapshot"])),
    ("Suffix", "the old suffix stays in a footer's index", at("raft_model", &[])),
    ("RelocationOrder", "segments go before what was relocated out of them is durable", GROUPS),
    ("VoteCheck", "a vote may change within a term", at("raft_refuses_bad_operations", &[])),
    ("MessagesEarly", "votes and acknowledgements do not wait for the ticket", at("node_durability", &[])),
];

/// Codec, bytes in its diagram, field, and the suite that detects it. A field that is also compared with an expected
/// value (a magic number, an address, an identity) is detected by the golden files: the same input must write the
/// same bytes.
#[rustfmt::skip]
pub(crate) const FIELDS: &[(&str, &str, &str, Suite)] = &[
    ("block", "4..6", "magic", GOLDEN),
    ("block", "6..7", "kind", GOLDEN),
    ("block", "8..16", "LSN", GOLDEN),
    ("block", "16..24", "durable LSN", BITS),
    ("block", "24..28", "body length", BITS),
    ("block", "28..32", "number of records", BITS),
    ("block", "32..36", "previous digest", BITS),
    ("record", "4..8", "payload length", BITS),
    ("record", "8..12", "payload checksum", BITS),
    ("record", "12..13", "form", GOLDEN),
    ("record", "13..14", "label kind", BITS),
    ("record", "16..24", "label stream", BITS),
    ("record", "24..32", "label sequence", BITS),
    ("record", "32..40", "label extra", BITS),
    ("generation", "8..12", "version", GOLDEN),
    ("generation", "12..16", "block align", GOLDEN),
    ("generation", "16..32", "log UUID", BITS),
    ("generation", "32..40", "segment id", BITS),
    ("generation", "40..48", "salt", BITS),
    ("generation", "48..56", "first LSN", BITS),
    ("generation", "56..64", "capacity", BITS),
    ("generation", "64..65", "earlier generation", BITS),
    ("generation", "72..80", "segment made ready before", BITS),
    ("header", "8..16", "segment id", BITS),
    ("header", "16..24", "first LSN", GOLDEN),
    ("header", "24..32", "salt", GOLDEN),
    ("header", "32..40", "predecessor's id", BITS),
    ("header", "40..48", "predecessor's end", BITS),
    ("header", "48..52", "predecessor's digest", BITS),
    ("header", "56..64", "durable LSN", BITS),
    ("footer", "8..16", "segment id", GOLDEN),
    ("footer", "16..24", "end LSN", GOLDEN),
    ("footer", "24..28", "digest", BITS),
    ("footer", "28..32", "head checksum", BITS),
    ("footer", "32..36", "head length", BITS),
    ("footer", "36..40", "body checksum", BITS),
    ("footer", "40..48", "body length", BITS),
    ("footer", "48..56", "number of records", BITS),
    ("footer", "56..64", "number of blocks", BITS),
    ("superblock", "8..12", "version", GOLDEN),
    ("superblock", "12..16", "owner flag", BITS),
    ("superblock", "16..32", "log UUID", BITS),
    ("superblock", "32..40", "sequence", BITS),
    ("superblock", "40..48", "oldest segment", BITS),
    ("superblock", "48..56", "newest segment", BITS),
    ("superblock", "56..64", "durable LSN", BITS),
    ("superblock", "64..72", "owner", BITS),
    ("superblock", "72..80", "segment made ready", BITS),
    ("superblock", "80..88", "first LSN of the segment made ready", BITS),
];
