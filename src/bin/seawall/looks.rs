//! Looking at a log that a writer may be changing.
//!
//! It may write a block, use a released file again, or remove it between two of our reads. What is really wrong is wrong in
//! the same way the next time; what a writer causes is not.
//!
//! ```text
//!  look ── nothing wrong ──> that is it
//!       ── wrong ── look ── wrong in the same way ──> that is it
//!                        ── wrong in another way ── look ── ...    after LOOKS of them the last one is it
//! ```

use std::time::Duration;

use crate::failure::Failure;

/// So often is looked at most.
const LOOKS: usize = 50;

/// What a writer does between two looks is another thing than it did before.
const PAUSE: Duration = Duration::from_millis(20);

/// Does something with a log that a writer may be changing.
pub(crate) fn beside_a_writer<T>(look: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    until_sure(look, |looked| looked.as_ref().err().cloned())
}

/// Looks until nothing is wrong, or the same as the time before; `fault` tells what is wrong.
pub(crate) fn until_sure<T, F: PartialEq>(mut look: impl FnMut() -> T, fault: impl Fn(&T) -> Option<F>) -> T {
    let mut last = look();
    for _ in 1..LOOKS {
        let Some(before) = fault(&last) else { break };
        std::thread::sleep(PAUSE);
        last = look();
        if fault(&last) == Some(before) {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks that find this, one after the other, and what comes of it with the number of looks.
    fn seen(
        finds: impl Fn(usize) -> Result<&'static str, Failure>,
    ) -> (Result<&'static str, Failure>, usize) {
        let mut looks = 0;
        let found = beside_a_writer(|| {
            looks += 1;
            finds(looks)
        });
        (found, looks)
    }

    fn damaged(at: usize) -> Result<&'static str, Failure> {
        Err(Failure::Damaged(format!("at {at}")))
    }

    #[test]
    fn what_is_whole_is_looked_at_once() {
        assert_eq!(seen(|_| Ok("whole")), (Ok("whole"), 1));
    }

    #[test]
    fn what_is_wrong_in_another_way_each_time_is_not_wrong_when_it_is_whole_at_last() {
        for wrong in [1, 2, 7, LOOKS - 1] {
            let finds = |n| if n > wrong { Ok("whole") } else { damaged(n) };
            assert_eq!(seen(finds), (Ok("whole"), wrong + 1));
        }
    }

    #[test]
    fn what_is_wrong_in_the_same_way_twice_is_wrong() {
        assert_eq!(seen(|_| damaged(1)), (damaged(1), 2));
        // What came before does not count, and what would come is not awaited.
        let finds = |n| if n < 5 { damaged(n) } else { damaged(5) };
        assert_eq!(seen(finds), (damaged(5), 6));
        // The same words are not the same thing: one says that the log is damaged, the other that nobody could look.
        let undone = || Err(Failure::Undone("at 1".to_owned()));
        assert_eq!(seen(|n| if n % 2 == 0 { undone() } else { damaged(1) }), (undone(), LOOKS));
        // Nor is it the same when another fault lies between.
        assert_eq!(seen(|n| if n < 10 { damaged(n % 2) } else { Ok("whole") }), (Ok("whole"), 10));
    }

    #[test]
    fn what_never_stays_the_same_is_reported_as_it_was_last() {
        assert_eq!(seen(damaged), (damaged(LOOKS), LOOKS));
    }
}
