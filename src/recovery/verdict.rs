//! The verdict about the first position that does not verify: a table.
//!
//! *X* is that position. *D* is the highest LSN that any surviving evidence proves durable: a later block, a footer,
//! a successor's header, the superblock. A read that fails with an I/O error never gets here: the result is that
//! error, not the end of the log. The same holds for a file of a newer version or of another log.
//!
//! Recovery asks here what a finding means and adds where it is: `catalog` for files that are missing or contradict
//! each other, `survey` for their contents.

use crate::error::{Corruption, Result};
use crate::lsn::Lsn;
use crate::options::TailPolicy;

/// The segment that X lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a segment that a successor ends, before that end.
    Sealed,
    /// In the newest segment.
    Newest,
}

/// X relative to D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// X is below D.
    Below,
    /// X is at or above D.
    Beyond,
}

/// What was found at X.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Bytes never written in this generation of the file.
    Unwritten,
    /// Something that was written and is incomplete.
    Torn,
    /// A segment promised by the chain or the superblock is missing.
    Missing,
    /// A segment claims addresses that another one has.
    Overlap,
    /// The file is shorter than before it had a block: no crash shortens a file.
    Short,
}

/// What is known about X. Facts that are unknown or irrelevant are left out; then only rows match that do not ask for
/// them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) place: Option<Place>,
    pub(crate) proof: Option<Proof>,
    pub(crate) found: Found,
    pub(crate) policy: Option<TailPolicy>,
}

impl Facts {
    /// A contradiction between files, whatever they contain.
    pub(crate) const fn of_files(found: Found) -> Self {
        Facts { place: None, proof: None, found, policy: None }
    }

    /// Something found in a segment that a successor ends, below that end.
    pub(crate) const fn of_sealed(found: Found) -> Self {
        Facts { place: Some(Place::Sealed), proof: Some(Proof::Below), found, policy: None }
    }

    /// Something found at X in the newest segment.
    pub(crate) fn of_newest(x: Lsn, proven: Lsn, found: Found, policy: TailPolicy) -> Self {
        let proof = if x < proven { Proof::Below } else { Proof::Beyond };
        Facts { place: Some(Place::Newest), proof: Some(proof), found, policy: Some(policy) }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The log ends here, as it should.
    CleanEnd,
    /// The log ends here; what lies beyond is cut off and reported.
    Cut,
    /// Corruption: refuse and change nothing.
    Refuse,
    /// The evidence does not decide, and the policy is not to guess: refuse and change nothing.
    RefuseUnproven,
}

impl Verdict {
    /// The error with which the log is refused, if it is.
    pub(crate) fn refuse(self, damage: impl FnOnce() -> Corruption) -> Result<()> {
        match self {
            Verdict::CleanEnd | Verdict::Cut => Ok(()),
            Verdict::Refuse | Verdict::RefuseUnproven => Err(damage().into()),
        }
    }
}

struct Row {
    place: Option<Place>,
    proof: Option<Proof>,
    found: Option<Found>,
    policy: Option<TailPolicy>,
    verdict: Verdict,
}

const ANY: Row = Row { place: None, proof: None, found: None, policy: None, verdict: Verdict::Refuse };

/// The first matching row decides; if none matches, the log is refused.
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

/// Looks up the verdict.
pub(crate) fn decide(facts: Facts) -> Verdict {
    fn fits<T: PartialEq>(row: Option<T>, fact: Option<T>) -> bool {
        row.is_none() || row == fact
    }
    TABLE
        .iter()
        .find(|row| {
            fits(row.place, facts.place)
                && fits(row.proof, facts.proof)
                && fits(row.found, Some(facts.found))
                && fits(row.policy, facts.policy)
        })
        .map_or(Verdict::Refuse, |row| row.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: [Found; 5] = [Found::Unwritten, Found::Torn, Found::Missing, Found::Overlap, Found::Short];

    /// Every combination, compared with the rules of the design, written down one by one.
    #[test]
    fn all_combinations() {
        let mut seen = 0;
        for place in [None, Some(Place::Sealed), Some(Place::Newest)] {
            for proof in [None, Some(Proof::Below), Some(Proof::Beyond)] {
                for found in FOUND {
                    for policy in [None, Some(TailPolicy::Truncate), Some(TailPolicy::Refuse)] {
                        let expected = if matches!(found, Found::Missing | Found::Overlap | Found::Short) {
                            // A promised segment is missing, two claim the same LSNs, or a file was cut short.
                            Verdict::Refuse
                        } else if place == Some(Place::Sealed) {
                            // A bad byte in a segment that a successor seals.
                            Verdict::Refuse
                        } else if proof == Some(Proof::Below) {
                            // X below D.
                            Verdict::Refuse
                        } else if place.is_none() || proof.is_none() {
                            // Nothing is given up that is not known to be an unproven tail.
                            Verdict::Refuse
                        } else if found == Found::Unwritten {
                            // Everything verifies, then unwritten or stale bytes.
                            Verdict::CleanEnd
                        } else {
                            // X at or above D: torn tail. The one undecidable case follows the policy.
                            match policy {
                                Some(TailPolicy::Truncate) => Verdict::Cut,
                                Some(TailPolicy::Refuse) => Verdict::RefuseUnproven,
                                None => Verdict::Refuse,
                            }
                        };
                        let facts = Facts { place, proof, found, policy };
                        assert_eq!(decide(facts), expected, "{facts:?}");
                        seen += 1;
                    }
                }
            }
        }
        assert_eq!(seen, 135);
    }

    /// Every row is needed: for each one there is a question of recovery for which it is the first to match.
    #[test]
    fn every_row_is_reached() {
        let mut asked = FOUND.map(Facts::of_files).to_vec();
        asked.extend(FOUND.map(Facts::of_sealed));
        for (x, proven) in [(Lsn::ZERO, Lsn::new(8)), (Lsn::new(8), Lsn::new(8))] {
            for policy in [TailPolicy::Truncate, TailPolicy::Refuse] {
                asked.extend(FOUND.map(|found| Facts::of_newest(x, proven, found, policy)));
            }
        }
        let first = |facts: &Facts| {
            TABLE.iter().position(|row| {
                row.place.is_none_or(|place| Some(place) == facts.place)
                    && row.proof.is_none_or(|proof| Some(proof) == facts.proof)
                    && row.found.is_none_or(|found| found == facts.found)
                    && row.policy.is_none_or(|policy| Some(policy) == facts.policy)
            })
        };
        let reached: std::collections::BTreeSet<_> = asked.iter().filter_map(first).collect();
        assert_eq!(reached.len(), TABLE.len());
    }
}
