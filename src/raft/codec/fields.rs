//! HardState, applied index, ConfState and snapshot, as fields of a group's state. See the module above.

use ::raft::eraftpb::ConfState;

use super::conf::{decode_conf, encode_conf};
use crate::groups::bytes::Cursor;
use crate::groups::{ContentProblem, Field, Position, State};
use crate::raft::state::{Fixed, Hard, SnapshotRef};

pub(crate) const HARD: Field = Field::ALL[0];
pub(crate) const APPLIED: Field = Field::ALL[4];
pub(crate) const CONF: Field = Field::ALL[5];
pub(crate) const SNAPSHOT: Field = Field::ALL[8];

/// The value of a field.
pub(crate) struct Value<const N: usize> {
    pub(crate) at: Position,
    pub(crate) bytes: [u8; N],
}

pub(crate) fn hard(hard: &Hard) -> Value<8> {
    Value { at: Position { index: hard.commit, term: hard.term }, bytes: hard.vote.to_le_bytes() }
}

pub(crate) fn snapshot(file: SnapshotRef) -> Value<8> {
    Value { at: file.at, bytes: file.serial.to_le_bytes() }
}

/// Encodes the state of a group. Default values need no field.
pub(crate) fn encode(fixed: &Fixed, conf: &ConfState) -> State {
    let hard = hard(&fixed.hard);
    let mut state = State::new().with(HARD, hard.at, &hard.bytes).with(APPLIED, fixed.applied, &[]).with(
        CONF,
        Position { index: fixed.conf_index, term: 0 },
        &encode_conf(conf),
    );
    if let Some(file) = fixed.snapshot {
        let snapshot = snapshot(file);
        state.set(SNAPSHOT, snapshot.at, &snapshot.bytes);
    }
    state
}

/// Decodes the fields, except the ConfState. `Err` for anything this layer never wrote.
pub(crate) fn decode(state: &State) -> Result<Fixed, ContentProblem> {
    let mut fixed = Fixed::default();
    for (field, at, bytes) in state.fields() {
        match field {
            HARD => fixed.hard = Hard { term: at.term, vote: number(bytes)?, commit: at.index },
            APPLIED => fixed.applied = at,
            CONF => fixed.conf_index = at.index,
            SNAPSHOT => fixed.snapshot = Some(SnapshotRef { at, serial: number(bytes)? }),
            _ => return Err(ContentProblem::Field("field")),
        }
    }
    Ok(fixed)
}

/// Decodes the fields of a group that were checked when the log was opened, and since written only by this layer.
pub(crate) fn fixed_of(state: &State) -> Fixed {
    match decode(state) {
        Ok(fixed) => fixed,
        Err(problem) => unreachable!("a group's fields were checked, and now: {problem}"),
    }
}

/// Like [`fixed_of`], for the ConfState.
pub(crate) fn checked_conf_of(state: &State) -> ConfState {
    match conf_of(state) {
        Ok(conf) => conf,
        Err(problem) => unreachable!("a group's fields were checked, and now: {problem}"),
    }
}

/// The ConfState in the fields.
pub(crate) fn conf_of(state: &State) -> Result<ConfState, ContentProblem> {
    state.get(CONF).map_or_else(|| Ok(ConfState::default()), |(_, bytes)| decode_conf(bytes))
}

/// Checks that the fields are as this layer writes them.
pub(crate) fn check(state: &State) -> Result<Fixed, ContentProblem> {
    let fixed = decode(state)?;
    if state.get(APPLIED).is_some_and(|(_, bytes)| !bytes.is_empty()) {
        return Err(ContentProblem::Trailing);
    }
    if state.get(CONF).is_some_and(|(at, _)| at.term != 0) {
        return Err(ContentProblem::Field("term"));
    }
    conf_of(state)?;
    Ok(fixed)
}

fn number(bytes: &[u8]) -> Result<u64, ContentProblem> {
    let mut cursor = Cursor::new(bytes);
    let number = cursor.u64()?;
    cursor.finish()?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Fixed, ConfState) {
        let mut conf = ConfState::default();
        conf.voters = vec![1, 2, 3];
        let fixed = Fixed {
            hard: Hard { term: 7, vote: 2, commit: 90 },
            applied: Position { index: 80, term: 6 },
            conf_index: 60,
            snapshot: Some(SnapshotRef { at: Position { index: 75, term: 5 }, serial: 11 }),
        };
        (fixed, conf)
    }

    #[test]
    fn a_state_reads_back_as_it_was() {
        let (mut fixed, conf) = sample();
        let state = encode(&fixed, &conf);
        assert_eq!((check(&state), conf_of(&state)), (Ok(fixed), Ok(conf.clone())));
        fixed.snapshot = None;
        assert_eq!(check(&encode(&fixed, &conf)), Ok(fixed));
        assert_eq!(check(&State::new()), Ok(Fixed::default()));
    }

    #[test]
    fn what_this_layer_never_writes_is_refused() {
        let (fixed, conf) = sample();
        let at = Position::default();
        let spoilt =
            [(HARD, &[0; 7][..]), (SNAPSHOT, &[0; 9]), (CONF, &[9]), (APPLIED, &[0]), (Field::ALL[11], &[])];
        for (field, bytes) in spoilt {
            check(&encode(&fixed, &conf).with(field, at, bytes)).unwrap_err();
        }
    }
}
