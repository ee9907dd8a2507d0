//! What the commit path synchronises with: locks, condition variables, atomics, threads.
//!
//! In a program these are `parking_lot`'s and the standard library's. With `--cfg shuttle` they are those of a scheduler
//! that runs one thread at a time and chooses, at each of these operations, which one: `model` then goes through
//! interleavings that a machine shows once in a year. Nothing on the commit path may block or be woken around this module.

#[cfg(not(shuttle))]
pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(shuttle))]
pub(super) use std::{sync::atomic, thread, thread_local};

#[cfg(shuttle)]
pub(super) use modelled::{Condvar, Mutex, MutexGuard};
#[cfg(shuttle)]
pub(super) use shuttle::{sync::atomic, thread, thread_local};

/// Shuttle's primitives with the interface of `parking_lot`.
#[cfg(shuttle)]
mod modelled {
    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;
    use std::time::Duration;

    use shuttle::rand::Rng as _;
    use shuttle::sync;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    /// `None` only while it is given up for a moment.
    pub(crate) struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        held: Option<sync::MutexGuard<'a, T>>,
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard { mutex: self, held: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)) }
        }
    }

    impl<T> MutexGuard<'_, T> {
        pub(crate) fn unlocked<R>(this: &mut Self, f: impl FnOnce() -> R) -> R {
            this.held = None;
            let result = f();
            this.held = this.mutex.lock().held;
            result
        }
    }

    #[allow(clippy::expect_used)] // only in the model
    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.held.as_ref().expect("the lock is held")
        }
    }

    #[allow(clippy::expect_used)]
    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.held.as_mut().expect("the lock is held")
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(sync::Condvar);

    pub(crate) struct WaitTimeoutResult(bool);

    impl WaitTimeoutResult {
        pub(crate) fn timed_out(&self) -> bool {
            self.0
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Condvar(sync::Condvar::new())
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            if let Some(held) = guard.held.take() {
                guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
            }
        }

        /// There is no time in the model: the wait ends by itself at once, or only when it is notified.
        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) -> WaitTimeoutResult {
            let ends_by_itself = shuttle::rand::thread_rng().gen_bool(0.5);
            if ends_by_itself {
                MutexGuard::unlocked(guard, shuttle::thread::yield_now);
            } else {
                self.wait(guard);
            }
            WaitTimeoutResult(ends_by_itself)
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
