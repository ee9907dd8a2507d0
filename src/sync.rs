//! The synchronisation primitives of the commit path: locks, condition variables, atomics, threads.
//!
//! In a program these are those of `parking_lot` and the standard library. With `--cfg shuttle` they belong to a
//! scheduler that runs one thread at a time and chooses at each operation which one, so `model` explores
//! interleavings that a machine shows once a year. Nothing on the commit path may block or be woken by other means.

#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(shuttle))]
pub(crate) use std::{sync::atomic, thread};

#[cfg(all(target_os = "linux", not(shuttle)))]
use rustix::thread::futex;

#[cfg(shuttle)]
pub(crate) use modelled::{Condvar, Mutex, MutexGuard};
#[cfg(shuttle)]
pub(crate) use shuttle::{sync::atomic, thread};

use atomic::{AtomicU32, Ordering};

/// A word that threads wait on until it changes.
///
/// What was done before a [`Word::store`] is visible to a thread that loads the stored value.
#[derive(Debug, Default)]
pub(crate) struct Word {
    value: AtomicU32,
    #[cfg(any(shuttle, not(target_os = "linux")))]
    queue: queue::Queue,
}

impl Word {
    pub(crate) fn load(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    /// Does not wake anyone.
    pub(crate) fn store(&self, value: u32) {
        self.value.store(value, Ordering::Release);
    }

    /// Stores `new` if the value is `old`; returns whether it was.
    pub(crate) fn replace(&self, old: u32, new: u32) -> bool {
        self.value.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// The kernel's queue, `futex(2)`: waking a hundred threads is one call.
#[cfg(all(target_os = "linux", not(shuttle)))]
impl Word {
    /// Sleeps while the value is `value`. May return early.
    pub(crate) fn wait_while(&self, value: u32) {
        // The value may have changed before the sleep, or a signal may have ended it: the caller checks again in any
        // case.
        let _woken = futex::wait(&self.value, futex::Flags::PRIVATE, value, None);
    }

    pub(crate) fn wake_one(&self) {
        let _woken = futex::wake(&self.value, futex::Flags::PRIVATE, 1);
    }

    pub(crate) fn wake_all(&self) {
        let _woken = futex::wake(&self.value, futex::Flags::PRIVATE, i32::MAX.cast_unsigned());
    }
}

/// On other systems, and in the model: a queue in user space.
#[cfg(any(shuttle, not(target_os = "linux")))]
mod queue {
    use super::{Condvar, Mutex, Word};

    #[derive(Debug, Default)]
    pub(crate) struct Queue {
        lock: Mutex<()>,
        changed: Condvar,
    }

    impl Word {
        /// Sleeps while the value is `value`. May return early.
        pub(crate) fn wait_while(&self, value: u32) {
            let mut lock = self.queue.lock.lock();
            if self.load() == value {
                self.queue.changed.wait(&mut lock);
            }
        }

        pub(crate) fn wake_one(&self) {
            // By now a thread that saw the old value is either in the queue or has not looked yet.
            drop(self.queue.lock.lock());
            self.queue.changed.notify_one();
        }

        pub(crate) fn wake_all(&self) {
            drop(self.queue.lock.lock());
            self.queue.changed.notify_all();
        }
    }
}

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

    /// `None` only while the lock is briefly released.
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

        /// The model has no time: the wait ends at once, or only on notification.
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
