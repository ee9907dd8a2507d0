//! Reading with all cores, if the log may have threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

use crate::error::Error;

/// Number of threads to read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores(usize);

impl Cores {
    /// Only the caller's thread.
    pub(crate) const ONE: Cores = Cores(1);

    #[cfg(test)]
    pub(crate) const fn of(threads: usize) -> Cores {
        Cores(threads)
    }

    /// All available cores, if the log may have threads.
    pub(crate) fn available(threads: bool) -> Cores {
        if !threads {
            return Cores::ONE;
        }
        Cores(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    pub(crate) fn get(self) -> usize {
        self.0
    }

    /// Processes all items in any order; returns the results in item order, or the first error in that order.
    pub(crate) fn map<T: Sync, R: Send, E: From<Error> + Send>(
        self,
        items: &[T],
        each: impl Fn(&T) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        if self == Cores::ONE || items.len() < 2 {
            return items.iter().map(each).collect();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(n) else { return done };
                done.push((n, each(item)));
            }
        };
        let (mut done, panicked) = std::thread::scope(|scope| {
            // If a thread cannot be started, it only takes longer.
            let helpers = (1..self.0.min(items.len())).map(|_| Builder::new().spawn_scoped(scope, work));
            let helpers: Vec<_> = helpers.filter_map(Result::ok).collect();
            let mut done = work();
            let mut panicked = false;
            for helper in helpers {
                match helper.join() {
                    Ok(more) => done.extend(more),
                    Err(_) => panicked = true,
                }
            }
            (done, panicked)
        });
        if panicked {
            let what = "a thread that helped to read the log panicked; the panic's message says why";
            return Err(Error::internal(what).into());
        }
        done.sort_unstable_by_key(|(n, _)| *n);
        done.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_and_so_do_errors() {
        let items: Vec<u32> = (0..40).collect();
        for cores in 1..6 {
            let double = |n: &u32| {
                // Long enough for the other threads to take some items.
                std::thread::sleep(std::time::Duration::from_millis(1));
                Ok::<_, Error>(n * 2)
            };
            let doubled: Vec<_> = items.iter().map(|n| n * 2).collect();
            assert_eq!(Cores(cores).map(&items, double).unwrap(), doubled);
            let odd = |n: &u32| {
                if n % 7 == 3 {
                    Err(Error::io("read", n.to_string(), std::io::ErrorKind::Other.into()))
                } else {
                    Ok(*n)
                }
            };
            let first = Cores(cores).map(&items, odd).unwrap_err();
            assert!(matches!(&first, Error::Io { path, .. } if path.to_str() == Some("3")), "{first}");
        }
        assert!(Cores(3).map(&[], |n: &u32| Ok::<_, Error>(*n)).unwrap().is_empty());
    }

    #[test]
    fn a_thread_that_panics_is_an_error() {
        let caller = std::thread::current().id();
        let each = |_: &u32| -> Result<(), Error> {
            if std::thread::current().id() == caller {
                std::thread::sleep(std::time::Duration::from_millis(20));
                return Ok(());
            }
            std::panic::resume_unwind(Box::new("no message"))
        };
        let result = Cores(2).map(&[1, 2, 3, 4, 5, 6, 7, 8], each);
        assert!(matches!(result, Err(Error::Internal { .. })), "{result:?}");
    }
}
