//! What happens to waiters when the thread they wait for panics.

/// Guard of a thread that others wait for: its callback runs if the thread panics. See
/// [`Pipeline::ends`](super::Pipeline::ends).
pub(super) struct Ends<F: FnMut()> {
    /// Called on a panic.
    pub(super) panicked: F,
}

impl<F: FnMut()> Drop for Ends<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.panicked)();
        }
    }
}
