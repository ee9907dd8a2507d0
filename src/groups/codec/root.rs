//! The complete State of a group.
//!
//! ```text
//! 0          1                 9                   17
//! | version  | first index u64 | term before it u64 | fields (to the end; see `state`)
//! | = 1 u8   |
//! ```

use super::super::bytes::{Cursor, Put};
use super::super::error::ContentProblem;
use super::super::state::{Root, Start, State};

const VERSION: u8 = 1;

/// Encodes a State.
pub(crate) fn encode_root(root: &Root) -> Vec<u8> {
    let state = root.state.as_bytes();
    let mut out = Vec::with_capacity(17 + state.len());
    out.put(&[VERSION]);
    out.put_u64(root.start.first);
    out.put_u64(root.start.term_before);
    out.put(state);
    out
}

pub(crate) fn decode_root(bytes: &[u8]) -> Result<Root, ContentProblem> {
    let mut cursor = Cursor::new(bytes);
    let version = cursor.u8()?;
    if version != VERSION {
        return Err(ContentProblem::UnknownVersion(u32::from(version)));
    }
    let start = Start { first: cursor.u64()?, term_before: cursor.u64()? };
    if start.first == 0 && start.term_before != 0 {
        return Err(ContentProblem::Field("term"));
    }
    Ok(Root { start, state: State::decode(cursor.rest())? })
}

#[cfg(test)]
mod tests {
    use super::super::super::state::{Field, Position};
    use super::*;

    fn sample() -> Root {
        let at = Position { index: 300, term: 7 };
        Root {
            start: Start { first: 71, term_before: 5 },
            state: State::new().with(Field::ALL[0], at, b"vote").with(
                Field::ALL[4],
                Position::default(),
                b"",
            ),
        }
    }

    /// The bytes of `sample`, as version 1 has always written them.
    #[rustfmt::skip]
    const GOLDEN: &[u8] = &[
        1,                              // version
        71, 0, 0, 0, 0, 0, 0, 0,        // first index
        5, 0, 0, 0, 0, 0, 0, 0,         // term before it
        0, 0xac, 2, 7, 4, b'v', b'o', b't', b'e', // field 0: index, term, length, bytes
        4, 0, 0, 0,                     // field 4
    ];

    #[test]
    fn the_bytes_of_a_state_never_change() {
        assert_eq!(encode_root(&sample()), GOLDEN);
        assert_eq!(decode_root(GOLDEN).unwrap(), sample());
    }

    #[test]
    fn what_is_cut_or_contradicts_itself_is_refused() {
        for cut in 0..17 {
            decode_root(&GOLDEN[..cut]).unwrap_err();
        }
        decode_root(&GOLDEN[..20]).unwrap_err();
        let mut twice = GOLDEN.to_vec();
        twice.extend_from_slice(&[4, 0, 0, 0]);
        decode_root(&twice).unwrap_err();
        let mut newer = GOLDEN.to_vec();
        newer[0] = 9;
        assert_eq!(decode_root(&newer), Err(ContentProblem::UnknownVersion(9)));
        let mut at_zero = GOLDEN.to_vec();
        at_zero[1] = 0;
        assert_eq!(decode_root(&at_zero), Err(ContentProblem::Field("term")));
    }
}
