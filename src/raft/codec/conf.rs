//! A ConfState.
//!
//! ```text
//! version u8 = 1 | auto_leave u8 | then four lists, each a count varint and that many varints:
//!                                  voters, learners, voters_outgoing, learners_next
//! ```

use ::raft::eraftpb::ConfState;

use crate::groups::ContentProblem;
use crate::groups::bytes::{Cursor, Put};

const VERSION: u8 = 1;

/// Encodes a ConfState.
pub(crate) fn encode_conf(conf: &ConfState) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    out.put(&[VERSION, u8::from(conf.auto_leave)]);
    for list in [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next] {
        out.put_varint(list.len() as u64);
        list.iter().for_each(|id| out.put_varint(*id));
    }
    out
}

pub(crate) fn decode_conf(bytes: &[u8]) -> Result<ConfState, ContentProblem> {
    let mut cursor = Cursor::new(bytes);
    let version = cursor.u8()?;
    if version != VERSION {
        return Err(ContentProblem::UnknownVersion(u32::from(version)));
    }
    let mut conf = ConfState::default();
    conf.auto_leave = match cursor.u8()? {
        0 => false,
        1 => true,
        _ => return Err(ContentProblem::Field("auto_leave")),
    };
    conf.voters = take_list(&mut cursor)?;
    conf.learners = take_list(&mut cursor)?;
    conf.voters_outgoing = take_list(&mut cursor)?;
    conf.learners_next = take_list(&mut cursor)?;
    cursor.finish()?;
    Ok(conf)
}

fn take_list(cursor: &mut Cursor<'_>) -> Result<Vec<u64>, ContentProblem> {
    // Each takes at least a byte, so the count is safe for an allocation.
    let count = usize::try_from(cursor.varint()?).ok().filter(|count| *count <= cursor.left());
    let mut list = Vec::with_capacity(count.ok_or(ContentProblem::Short)?);
    for _ in 0..list.capacity() {
        list.push(cursor.varint()?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> ConfState {
        let mut conf = ConfState::default();
        conf.voters = vec![1, 2, 300];
        conf.learners = vec![4];
        conf.voters_outgoing = vec![1, 2];
        conf.learners_next = vec![5];
        conf.auto_leave = true;
        conf
    }

    #[test]
    fn the_bytes_of_a_conf_state_never_change() {
        let golden = [1, 1, 3, 1, 2, 0xac, 2, 1, 4, 2, 1, 2, 1, 5];
        assert_eq!(encode_conf(&sample()), golden);
        assert_eq!(decode_conf(&golden).unwrap(), sample());
    }

    #[test]
    fn every_cut_and_every_extension_is_refused() {
        let bytes = encode_conf(&sample());
        for cut in 0..bytes.len() {
            decode_conf(&bytes[..cut]).unwrap_err();
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(decode_conf(&longer), Err(ContentProblem::Trailing));
        let mut newer = bytes;
        newer[0] = 9;
        assert_eq!(decode_conf(&newer), Err(ContentProblem::UnknownVersion(9)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_bytes_never_panic_and_what_decodes_encodes_to_the_same(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            if let Ok(conf) = decode_conf(&bytes) {
                prop_assert_eq!(encode_conf(&conf), bytes);
            }
        }
    }
}
