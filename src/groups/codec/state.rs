//! HardState, ConfState, and the whole State of a group.
//!
//! ```text
//! HardState        0        8        16       24
//!                  | term   | vote   | commit |
//!
//! ConfState        version u8 = 1 | auto_leave u8
//!                  then four lists, each a count u32 and that many u64:
//!                  voters, learners, voters_outgoing, learners_next
//!
//! State   0          1                2          8
//!         | version  | has_snapshot   | reserved | incarnation u64 | HardState (24)
//!         | = 1 u8   | u8             | = 0      |
//!         applied index u64 | applied term u64
//!         compacted index u64 | compacted term u64      (the last entry that is gone; 0, 0 for none)
//!         ConfState's index u64
//!         snapshot index u64 | term u64 | serial u64    (zeros when has_snapshot is 0)
//!         ConfState (to the end)
//! ```

use std::sync::Arc;

use ::raft::eraftpb::ConfState;

use super::{Cursor, Put};
use crate::raft::error::ContentProblem;
use crate::raft::state::{EntryId, FullState, Hard, SnapshotRef};

const VERSION: u8 = 1;

/// The bytes of a HardState.
pub(crate) fn encode_hard(hard: &Hard) -> [u8; 24] {
    let mut out = [0; 24];
    let (term, rest) = out.split_at_mut(8);
    let (vote, commit) = rest.split_at_mut(8);
    term.copy_from_slice(&hard.term.to_le_bytes());
    vote.copy_from_slice(&hard.vote.to_le_bytes());
    commit.copy_from_slice(&hard.commit.to_le_bytes());
    out
}

pub(crate) fn decode_hard(bytes: &[u8]) -> Result<Hard, ContentProblem> {
    let mut cursor = Cursor::new(bytes);
    let hard = take_hard(&mut cursor)?;
    cursor.finish()?;
    Ok(hard)
}

pub(crate) fn take_hard(cursor: &mut Cursor<'_>) -> Result<Hard, ContentProblem> {
    Ok(Hard { term: cursor.u64()?, vote: cursor.u64()?, commit: cursor.u64()? })
}

pub(crate) fn put_id(out: &mut Vec<u8>, id: EntryId) {
    out.put_u64(id.index);
    out.put_u64(id.term);
}

pub(crate) fn take_id(cursor: &mut Cursor<'_>) -> Result<EntryId, ContentProblem> {
    Ok(EntryId { index: cursor.u64()?, term: cursor.u64()? })
}

pub(crate) fn put_snapshot(out: &mut Vec<u8>, snapshot: Option<SnapshotRef>) {
    let snapshot = snapshot.unwrap_or_default();
    put_id(out, snapshot.at);
    out.put_u64(snapshot.serial);
}

pub(crate) fn take_snapshot(cursor: &mut Cursor<'_>) -> Result<SnapshotRef, ContentProblem> {
    Ok(SnapshotRef { at: take_id(cursor)?, serial: cursor.u64()? })
}

/// The bytes of a ConfState.
pub(crate) fn encode_conf(conf: &ConfState) -> Vec<u8> {
    let members =
        conf.voters.len() + conf.learners.len() + conf.voters_outgoing.len() + conf.learners_next.len();
    let mut out = Vec::with_capacity(18 + 8 * members);
    put_conf(&mut out, conf);
    out
}

pub(crate) fn put_conf(out: &mut Vec<u8>, conf: &ConfState) {
    out.put(&[VERSION, u8::from(conf.auto_leave)]);
    out.put_u64_list(&conf.voters);
    out.put_u64_list(&conf.learners);
    out.put_u64_list(&conf.voters_outgoing);
    out.put_u64_list(&conf.learners_next);
}

pub(crate) fn decode_conf(bytes: &[u8]) -> Result<ConfState, ContentProblem> {
    let mut cursor = Cursor::new(bytes);
    check_version(cursor.u8()?)?;
    let mut conf = ConfState::default();
    conf.auto_leave = cursor.flag("auto_leave")?;
    conf.voters = cursor.u64_list()?;
    conf.learners = cursor.u64_list()?;
    conf.voters_outgoing = cursor.u64_list()?;
    conf.learners_next = cursor.u64_list()?;
    cursor.finish()?;
    Ok(conf)
}

/// The bytes of a whole State.
pub(crate) fn encode_state(state: &FullState) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    out.put(&[VERSION, u8::from(state.snapshot.is_some()), 0, 0, 0, 0, 0, 0]);
    out.put_u64(state.incarnation);
    out.put(&encode_hard(&state.hard));
    put_id(&mut out, state.applied);
    put_id(&mut out, state.compacted);
    out.put_u64(state.conf_index);
    put_snapshot(&mut out, state.snapshot);
    put_conf(&mut out, &state.conf);
    out
}

pub(crate) fn decode_state(bytes: &[u8]) -> Result<FullState, ContentProblem> {
    let mut cursor = Cursor::new(bytes);
    check_version(cursor.u8()?)?;
    let has_snapshot = cursor.flag("has_snapshot")?;
    if cursor.bytes(6)?.iter().any(|b| *b != 0) {
        return Err(ContentProblem::Field("reserved"));
    }
    let incarnation = cursor.u64()?;
    let hard = take_hard(&mut cursor)?;
    let applied = take_id(&mut cursor)?;
    let compacted = take_id(&mut cursor)?;
    let conf_index = cursor.u64()?;
    let snapshot = take_snapshot(&mut cursor)?;
    if !has_snapshot && snapshot != SnapshotRef::default() {
        return Err(ContentProblem::Field("snapshot"));
    }
    Ok(FullState {
        incarnation,
        hard,
        applied,
        compacted,
        conf_index,
        snapshot: has_snapshot.then_some(snapshot),
        conf: Arc::new(decode_conf(cursor.rest())?),
    })
}

fn check_version(found: u8) -> Result<(), ContentProblem> {
    if found == VERSION { Ok(()) } else { Err(ContentProblem::UnknownVersion(u32::from(found))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config() -> ProptestConfig {
        ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
    }

    fn sample() -> FullState {
        let mut conf = ConfState::default();
        conf.voters = vec![1, 2, 3];
        conf.learners = vec![4];
        conf.voters_outgoing = vec![1, 2];
        conf.learners_next = vec![5];
        conf.auto_leave = true;
        FullState {
            incarnation: 3,
            hard: Hard { term: 7, vote: 2, commit: 90 },
            applied: EntryId { index: 80, term: 6 },
            compacted: EntryId { index: 70, term: 5 },
            conf_index: 60,
            snapshot: Some(SnapshotRef { at: EntryId { index: 75, term: 5 }, serial: 11 }),
            conf: Arc::new(conf),
        }
    }

    #[test]
    fn a_state_reads_back_as_it_was() {
        let mut state = sample();
        assert_eq!(decode_state(&encode_state(&state)).unwrap(), state);
        state.snapshot = None;
        assert_eq!(decode_state(&encode_state(&state)).unwrap(), state);
    }

    /// The bytes of `sample`, as version 1 has always written them.
    #[rustfmt::skip]
    const GOLDEN: &[u8] = &[
        1, 1, 0, 0, 0, 0, 0, 0,         // version, has_snapshot
        3, 0, 0, 0, 0, 0, 0, 0,         // incarnation
        7, 0, 0, 0, 0, 0, 0, 0,         // term
        2, 0, 0, 0, 0, 0, 0, 0,         // vote
        90, 0, 0, 0, 0, 0, 0, 0,        // commit
        80, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, // applied
        70, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, // compacted
        60, 0, 0, 0, 0, 0, 0, 0,        // ConfState's index
        75, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, // snapshot
        11, 0, 0, 0, 0, 0, 0, 0,        // serial
        1, 1,                           // ConfState: version, auto_leave
        3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
        1, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
        2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
        1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn the_bytes_of_a_state_never_change() {
        assert_eq!(encode_state(&sample()), GOLDEN);
        assert_eq!(decode_state(GOLDEN).unwrap(), sample());
        assert_eq!(encode_hard(&sample().hard), GOLDEN[16..40]);
    }

    #[test]
    fn every_cut_and_every_extension_is_refused() {
        let bytes = encode_state(&sample());
        for cut in 0..bytes.len() {
            decode_state(&bytes[..cut]).unwrap_err();
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(decode_state(&longer), Err(ContentProblem::Trailing));
        assert_eq!(decode_hard(&[0; 23]), Err(ContentProblem::Short));
        assert_eq!(decode_hard(&[0; 25]), Err(ContentProblem::Trailing));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = encode_state(&sample());
        bytes[0] = 9;
        assert_eq!(decode_state(&bytes), Err(ContentProblem::UnknownVersion(9)));
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn arbitrary_bytes_never_panic_and_what_decodes_encodes_to_the_same(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(state) = decode_state(&bytes) {
                prop_assert_eq!(encode_state(&state), bytes.clone());
            }
            if let Ok(conf) = decode_conf(&bytes) {
                prop_assert_eq!(encode_conf(&conf), bytes);
            }
        }

        #[test]
        fn a_mutated_state_never_panics(at in 0usize..240, byte in any::<u8>()) {
            let mut bytes = encode_state(&sample());
            if let Some(b) = bytes.get_mut(at) {
                *b = byte;
            }
            if let Ok(state) = decode_state(&bytes) {
                prop_assert_eq!(encode_state(&state), bytes);
            }
        }
    }
}
