//! The terms of a range of entries, as runs: a group has few terms and many entries.

use thin_vec::ThinVec;

/// The beginning of each run of entries with the same term. The owner keeps the range itself and asks only for
/// indexes in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    runs: ThinVec<(u64, u64)>,
}

impl Terms {
    /// Sets the term of the entry after the last one.
    pub(crate) fn push(&mut self, index: u64, term: u64) {
        if self.runs.last().is_none_or(|(_, last)| *last != term) {
            if self.runs.is_empty() {
                self.runs.reserve_exact(1);
            }
            self.runs.push((index, term));
        }
    }

    /// Sets the terms of the entries in `[first, end)` to these runs, the first of which begins at `first`; all
    /// others keep theirs. During replay there may be gaps between entries, where no term is known.
    pub(crate) fn put(&mut self, first: u64, end: u64, runs: &[(u64, u64)]) {
        let after = self.get(end);
        let mut merged = Terms::default();
        for (index, term) in self.runs.iter().filter(|run| run.0 < first).chain(runs) {
            merged.push(*index, *term);
        }
        if let Some(after) = after {
            merged.push(end, after);
        }
        for (index, term) in self.runs.iter().filter(|run| run.0 > end) {
            merged.push(*index, *term);
        }
        *self = merged;
    }

    /// The term at `index`.
    pub(crate) fn get(&self, index: u64) -> Option<u64> {
        let after = self.runs.partition_point(|(first, _)| *first <= index);
        self.runs.get(after.checked_sub(1)?).map(|(_, term)| *term)
    }

    /// The term of the last entry.
    pub(crate) fn last(&self) -> Option<u64> {
        self.runs.last().map(|(_, term)| *term)
    }

    /// Removes `index` and everything after it.
    pub(crate) fn cut_from(&mut self, index: u64) {
        while self.runs.last().is_some_and(|(first, _)| *first >= index) {
            self.runs.pop();
        }
    }

    /// Removes everything before `index`, which is in the range or right after its end.
    pub(crate) fn drop_below(&mut self, index: u64) {
        let gone = self.runs.iter().skip(1).take_while(|(first, _)| *first <= index).count();
        self.runs.drain(..gone);
        if let Some((first, _)) = self.runs.first_mut() {
            *first = index.max(*first);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    /// The runs, each with its first index and its term.
    pub(crate) fn runs(&self) -> impl ExactSizeIterator<Item = (u64, u64)> + '_ {
        self.runs.iter().copied()
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn terms_put_between_others_leave_those_as_they_are() {
        let mut terms = Terms::default();
        terms.put(10, 13, &[(10, 5), (12, 6)]);
        terms.put(4, 6, &[(4, 2)]);
        terms.put(1, 4, &[(1, 1)]);
        terms.put(6, 10, &[(6, 2), (9, 5)]);
        let all: Vec<_> = (1..13).map(|i| terms.get(i).unwrap()).collect();
        assert_eq!(all, [1, 1, 1, 2, 2, 2, 2, 2, 5, 5, 5, 6]);
        assert_eq!(terms.runs().collect::<Vec<_>>(), [(1, 1), (4, 2), (9, 5), (12, 6)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn runs_say_what_a_list_of_terms_says(
            ops in proptest::collection::vec((0u8..4, 0u64..20, 0u64..3), 1..60),
        ) {
            let mut first = 1u64;
            let mut list: Vec<u64> = Vec::new();
            let mut terms = Terms::default();
            for (op, at, rise) in ops {
                let end = first + list.len() as u64;
                match op {
                    0 | 1 => {
                        let term = list.last().copied().unwrap_or(1) + rise / 2;
                        terms.push(end, term);
                        list.push(term);
                    }
                    2 => {
                        let cut = (first + at).min(end);
                        terms.cut_from(cut);
                        list.truncate((cut - first) as usize);
                    }
                    _ => {
                        let to = (first + at / 4).min(end);
                        list.drain(..(to - first) as usize);
                        first = to;
                        terms.drop_below(to);
                        if list.is_empty() {
                            terms.clear();
                        }
                    }
                }
                for (i, want) in list.iter().enumerate() {
                    prop_assert_eq!(terms.get(first + i as u64), Some(*want));
                }
                prop_assert_eq!(terms.get(first - 1), None);
            }
        }
    }
}
