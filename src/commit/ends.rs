//! What becomes of the others when a thread that they wait for panics.

/// Held by a thread that others wait for: if it panics, they are told. See [`Pipeline::ends`](super::Pipeline::ends).
pub(super) struct Ends<F: FnMut()> {
    /// What is done then.
    pub(super) panicked: F,
}

impl<F: FnMut()> Drop for Ends<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.panicked)();
        }
    }
}
