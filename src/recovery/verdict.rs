//! What is to be done about the first position that does not verify: a table.
//!
//! *X* is that position. *D* is the highest LSN that any surviving evidence proves durable: a later block, a footer, a
//! successor's header, the superblock. A read that fails with an I/O error never gets here: it is that error, not the
//! end of the log. Neither does a file of a newer version, or of another log.

use crate::options::TailPolicy;

/// Where X lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a segment that a successor ends, before that end.
    Sealed,
    /// In the newest segment.
    Newest,
}

/// How X lies to D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// X is below D.
    Below,
    /// X is at or above D.
    Beyond,
}

/// What is found at X.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Bytes that were never written in this life of the file.
    Unwritten,
    /// Something that was written and is not whole.
    Torn,
    /// A segment that the chain or the superblock promises is not there.
    Missing,
    /// A segment claims addresses that another one has.
    Overlap,
    /// The file is shorter than it was before it had a block: no crash shortens a file.
    Short,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The log ends here, as it should.
    CleanEnd,
    /// The log ends here; what lies beyond is cut off and reported.
    Cut,
    /// Corruption: refuse and change nothing.
    Refuse,
    /// Nothing decides, and the policy is not to guess: refuse and change nothing.
    RefuseUnproven,
}

struct Row {
    place: Option<Place>,
    proof: Option<Proof>,
    found: Option<Found>,
    policy: Option<TailPolicy>,
    verdict: Verdict,
}

const ANY: Row = Row { place: None, proof: None, found: None, policy: None, verdict: Verdict::Refuse };

/// The first row that fits decides; where none fits, the log is refused.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { found: Some(Found::Missing), verdict: Verdict::Refuse, ..ANY },
    Row { found: Some(Found::Overlap), verdict: Verdict::Refuse, ..ANY },
    Row { found: Some(Found::Short), verdict: Verdict::Refuse, ..ANY },
    Row { place: Some(Place::Sealed), verdict: Verdict::Refuse, ..ANY },
    Row { proof: Some(Proof::Below), verdict: Verdict::Refuse, ..ANY },
    Row { place: Some(Place::Newest), proof: Some(Proof::Beyond), found: Some(Found::Unwritten), verdict: Verdict::CleanEnd, ..ANY },
    Row { place: Some(Place::Newest), proof: Some(Proof::Beyond), found: Some(Found::Torn), policy: Some(TailPolicy::Truncate), verdict: Verdict::Cut },
    Row { place: Some(Place::Newest), proof: Some(Proof::Beyond), found: Some(Found::Torn), policy: Some(TailPolicy::Refuse), verdict: Verdict::RefuseUnproven },
];

/// Looks the verdict up.
pub(crate) fn decide(place: Place, proof: Proof, found: Found, policy: TailPolicy) -> Verdict {
    fn fits<T: PartialEq>(row: Option<T>, value: &T) -> bool {
        row.is_none_or(|r| r == *value)
    }
    TABLE
        .iter()
        .find(|row| {
            fits(row.place, &place)
                && fits(row.proof, &proof)
                && fits(row.found, &found)
                && fits(row.policy, &policy)
        })
        .map_or(Verdict::Refuse, |row| row.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination, against the design's sentences written down one by one.
    #[test]
    fn all_combinations() {
        let mut seen = 0;
        for place in [Place::Sealed, Place::Newest] {
            for proof in [Proof::Below, Proof::Beyond] {
                for found in [Found::Unwritten, Found::Torn, Found::Missing, Found::Overlap, Found::Short] {
                    for policy in [TailPolicy::Truncate, TailPolicy::Refuse] {
                        let expected = if matches!(found, Found::Missing | Found::Overlap | Found::Short) {
                            // A promised segment is missing, two claim the same LSNs, or a file was cut short.
                            Verdict::Refuse
                        } else if place == Place::Sealed {
                            // A bad byte in a segment that a successor seals.
                            Verdict::Refuse
                        } else if proof == Proof::Below {
                            // X below D.
                            Verdict::Refuse
                        } else if found == Found::Unwritten {
                            // Everything verifies, then unwritten or stale bytes.
                            Verdict::CleanEnd
                        } else if policy == TailPolicy::Truncate {
                            // X at or above D: torn tail.
                            Verdict::Cut
                        } else {
                            // The one undecidable case follows the policy.
                            Verdict::RefuseUnproven
                        };
                        assert_eq!(
                            decide(place, proof, found, policy),
                            expected,
                            "{place:?} {proof:?} {found:?} {policy:?}"
                        );
                        seen += 1;
                    }
                }
            }
        }
        assert_eq!(seen, 40);
    }
}
