//! Many seeds, on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Subject;
use super::sweep::{Finding, Form, Tally, sweep_seed};

/// Sweeps seeds from `first` on until `enough` accepts the number of states; the first finding ends the run.
///
/// Seeds are handed out one by one, and a started seed is finished.
pub fn run<S: Subject>(
    subject: &S,
    form: &Form,
    first: u64,
    enough: impl Fn(u64) -> bool + Sync,
) -> (Tally, Option<Finding>) {
    let (next, seen, stop) = (AtomicU64::new(first), AtomicU64::new(0), AtomicBool::new(false));
    let result = Mutex::new((Tally::default(), None));
    let worker = || {
        while !stop.load(Ordering::Relaxed) && !enough(seen.load(Ordering::Relaxed)) {
            let (tally, finding) = sweep_seed(subject, form, next.fetch_add(1, Ordering::Relaxed));
            seen.fetch_add(tally.states, Ordering::Relaxed);
            stop.fetch_or(finding.is_some(), Ordering::Relaxed);
            let mut result = result.lock().unwrap();
            result.0 += tally;
            result.1 = result.1.take().or(finding);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(worker)));
    });
    result.into_inner().unwrap()
}
