//! What happens to waiters when the thread they wait for panics.

/// Guard of a thread that others wait for: its callback runs if the thread panics. See
/// [`Pipeline::panic_guard`](super::Pipeline::panic_guard).
pub(super) struct PanicGuard<F: FnMut()> {
    /// Called on a panic.
    pub(super) panicked: F,
}

impl<F: FnMut()> Drop for PanicGuard<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.panicked)();
        }
    }
}
