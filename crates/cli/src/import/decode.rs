//! Decodes the values under a group's keys, strictly: a value of another format can easily decode to nonsense, and a
//! wrong vote or term makes a node break its promises.

use protobuf::wire_format::WireType;
use protobuf::{CodedInputStream, Message};
use raft::eraftpb::{ConfState, HardState, SnapshotMetadata};

use super::choice::{HardStateFormat, TruncatedStateFormat};

/// A HardState, and the last index stored with it, if any.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) hard: HardState,
    pub(super) last_index: Option<u64>,
}

/// The last compacted entry; index and term 0 if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Boundary {
    pub(super) index: u64,
    pub(super) term: u64,
}

pub(super) fn hard_state(format: HardStateFormat, bytes: &[u8]) -> Result<Stored, String> {
    match format {
        HardStateFormat::Eraftpb => Ok(Stored { hard: eraftpb_hard_state(bytes)?, last_index: None }),
        HardStateFormat::RaftLocalState => {
            let fields = fields(bytes)?;
            let mut stored = Stored { hard: HardState::default(), last_index: Some(0) };
            for field in &fields {
                match field {
                    (1, Value::Bytes(hard)) => stored.hard = eraftpb_hard_state(hard)?,
                    (2, Value::Number(index)) => stored.last_index = Some(*index),
                    (number, _) => return Err(format!("a RaftLocalState has no field {number}")),
                }
            }
            Ok(stored)
        }
    }
}

/// The beginning of the log, and the members stored with it, if any.
pub(super) fn truncated_state(
    format: TruncatedStateFormat,
    bytes: &[u8],
) -> Result<(Boundary, Option<ConfState>), String> {
    let (boundary, members) = match format {
        TruncatedStateFormat::SnapshotMetadata => {
            let mut meta: SnapshotMetadata = message(bytes)?;
            let members = meta.conf_state.take();
            if let Some(members) = &members {
                known(members)?;
            }
            (Boundary { index: meta.index, term: meta.term }, members)
        }
        TruncatedStateFormat::RaftTruncatedState => {
            let mut boundary = Boundary::default();
            for field in &fields(bytes)? {
                match field {
                    (1, Value::Number(index)) => boundary.index = *index,
                    (2, Value::Number(term)) => boundary.term = *term,
                    (number, _) => return Err(format!("a RaftTruncatedState has no field {number}")),
                }
            }
            (boundary, None)
        }
    };
    if (boundary.index == 0) != (boundary.term == 0) {
        return Err(format!(
            "index {} with term {}: either both or none must be 0",
            boundary.index, boundary.term
        ));
    }
    Ok((boundary, members.filter(|m| *m != ConfState::default())))
}

pub(super) fn conf_state(bytes: &[u8]) -> Result<ConfState, String> {
    message(bytes)
}

/// Its three numbers have only one encoding, so a value that does not encode to the same bytes was something else.
fn eraftpb_hard_state(bytes: &[u8]) -> Result<HardState, String> {
    let hard: HardState = message(bytes)?;
    let again = hard.write_to_bytes().map_err(|e| e.to_string())?;
    if again == bytes { Ok(hard) } else { Err("it is not encoded like an eraftpb.HardState".to_owned()) }
}

fn message<M: Message>(bytes: &[u8]) -> Result<M, String> {
    let message = M::parse_from_bytes(bytes).map_err(|e| e.to_string())?;
    known(&message)?;
    Ok(message)
}

/// Unknown fields would be lost, and indicate another format.
pub(super) fn known(message: &impl Message) -> Result<(), String> {
    let unknown = message.get_unknown_fields().fields.as_ref();
    match unknown.and_then(|fields| fields.keys().min()) {
        Some(number) => Err(format!("it has a field {number}, or a value of it, that eraftpb does not have")),
        None => Ok(()),
    }
}

enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// The fields of a message, each at most once.
fn fields(bytes: &[u8]) -> Result<Vec<(u32, Value)>, String> {
    let mut stream = CodedInputStream::from_bytes(bytes);
    let mut all: Vec<(u32, Value)> = Vec::new();
    while !stream.eof().map_err(|e| e.to_string())? {
        let (number, kind) = stream.read_tag_unpack().map_err(|e| e.to_string())?;
        let value = match kind {
            WireType::WireTypeVarint => stream.read_uint64().map(Value::Number),
            WireType::WireTypeLengthDelimited => stream.read_bytes().map(Value::Bytes),
            _ => return Err(format!("field {number} is neither a number nor bytes")),
        };
        if all.iter().any(|(seen, _)| *seen == number) {
            return Err(format!("field {number} occurs twice"));
        }
        all.push((number, value.map_err(|e| e.to_string())?));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hard(term: u64, vote: u64, commit: u64) -> HardState {
        let mut hs = HardState::default();
        hs.term = term;
        hs.vote = vote;
        hs.commit = commit;
        hs
    }

    /// A RaftLocalState, assembled by hand.
    fn local(hs: &HardState, last: u8) -> Vec<u8> {
        let inner = hs.write_to_bytes().unwrap();
        let mut bytes = vec![0x0a, u8::try_from(inner.len()).unwrap()];
        bytes.extend(inner);
        bytes.extend([0x10, last]);
        bytes
    }

    proptest! {
        #[test]
        fn a_hard_state_comes_back(term: u64, vote: u64, commit: u64) {
            let hs = hard(term, vote, commit);
            let stored = hard_state(HardStateFormat::Eraftpb, &hs.write_to_bytes().unwrap()).unwrap();
            prop_assert_eq!(stored, Stored { hard: hs.clone(), last_index: None });
            let stored = hard_state(HardStateFormat::RaftLocalState, &local(&hs, 100)).unwrap();
            prop_assert_eq!(stored, Stored { hard: hs, last_index: Some(100) });
        }

        #[test]
        fn no_bytes_make_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for format in [HardStateFormat::Eraftpb, HardStateFormat::RaftLocalState] {
                drop(hard_state(format, &bytes));
            }
            for format in [TruncatedStateFormat::SnapshotMetadata, TruncatedStateFormat::RaftTruncatedState] {
                drop(truncated_state(format, &bytes));
            }
            drop(conf_state(&bytes));
        }
    }

    #[test]
    fn other_formats_are_refused() {
        let hs = hard(5, 1, 12).write_to_bytes().unwrap();
        let local = local(&hard(5, 1, 12), 12);
        let members = ConfState::from((vec![1, 2, 3], vec![])).write_to_bytes().unwrap();
        hard_state(HardStateFormat::Eraftpb, &local).unwrap_err();
        hard_state(HardStateFormat::Eraftpb, &members).unwrap_err();
        hard_state(HardStateFormat::RaftLocalState, &hs).unwrap_err();
        hard_state(HardStateFormat::RaftLocalState, &members).unwrap_err();
        // A field of a later definition.
        hard_state(HardStateFormat::Eraftpb, &[&hs[..], &[0x20, 7]].concat()).unwrap_err();
        hard_state(HardStateFormat::Eraftpb, &hs[..hs.len() - 1]).unwrap_err();
        truncated_state(TruncatedStateFormat::RaftTruncatedState, &hs).unwrap_err();
        truncated_state(TruncatedStateFormat::SnapshotMetadata, &hs).unwrap_err();
    }

    #[test]
    fn a_boundary_has_index_and_term() {
        let mut meta = SnapshotMetadata::default();
        meta.index = 9;
        meta.term = 4;
        let bytes = meta.write_to_bytes().unwrap();
        let at = Boundary { index: 9, term: 4 };
        let format = TruncatedStateFormat::SnapshotMetadata;
        assert_eq!(truncated_state(format, &bytes), Ok((at, None)));
        let members = ConfState::from((vec![1, 2], vec![3]));
        meta.set_conf_state(members.clone());
        assert_eq!(truncated_state(format, &meta.write_to_bytes().unwrap()), Ok((at, Some(members))));
        let format = TruncatedStateFormat::RaftTruncatedState;
        assert_eq!(truncated_state(format, &[0x08, 9, 0x10, 4]), Ok((at, None)));
        assert_eq!(truncated_state(format, &[]), Ok((Boundary::default(), None)));
        truncated_state(format, &[0x08, 9]).unwrap_err();
        truncated_state(format, &[0x08, 9, 0x08, 9]).unwrap_err();
    }
}
