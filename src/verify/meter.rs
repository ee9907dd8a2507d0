//! How far a verification is.

/// How far [`verify_with`](super::verify_with) is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The bytes that were read.
    pub done: u64,
    /// The bytes that are to be read: more than before when something was found and all is read once more, to tell damage
    /// from what a running writer is doing.
    pub total: u64,
}

/// Counts what is read, over all looks.
pub(super) struct Meter<'a> {
    tell: &'a mut dyn FnMut(VerifyProgress),
    at: VerifyProgress,
}

impl<'a> Meter<'a> {
    pub(super) fn new(tell: &'a mut dyn FnMut(VerifyProgress)) -> Self {
        Meter { tell, at: VerifyProgress::default() }
    }

    /// A look at this many bytes begins. What an earlier look left unread stays unread.
    pub(super) fn begin(&mut self, bytes: u64) {
        self.at.total = self.at.done.saturating_add(bytes);
        (self.tell)(self.at);
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.at.done = self.at.done.saturating_add(bytes);
        (self.tell)(self.at);
    }
}
