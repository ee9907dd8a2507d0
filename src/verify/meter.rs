//! Progress of a verification.

/// Progress of [`verify_with`](super::verify_with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// Bytes read.
    pub done: u64,
    /// Bytes to read. Grows when something was found and everything is read once more, to tell damage from what a
    /// running writer is doing.
    pub total: u64,
}

/// Counts the bytes read, over all passes.
pub(super) struct Meter<'a> {
    tell: &'a mut dyn FnMut(VerifyProgress),
    at: VerifyProgress,
}

impl<'a> Meter<'a> {
    pub(super) fn new(tell: &'a mut dyn FnMut(VerifyProgress)) -> Self {
        Meter { tell, at: VerifyProgress::default() }
    }

    /// Starts a pass over this many bytes. What an earlier pass left unread stays unread.
    pub(super) fn begin(&mut self, bytes: u64) {
        self.at.total = self.at.done.saturating_add(bytes);
        (self.tell)(self.at);
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.at.done = self.at.done.saturating_add(bytes);
        (self.tell)(self.at);
    }
}
