//! The call trace, in a form that is cheap to keep: it is formatted only when read.

use std::fmt;
use std::sync::Arc;

use super::fault::{Call, Fault};

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) number: u64,
    pub(super) call: Call,
    pub(super) name: Arc<str>,
    pub(super) with: With,
    pub(super) fault: Option<Fault>,
}

/// Further details of a call.
#[derive(Clone, Debug)]
pub(super) enum With {
    Nothing,
    Bytes { len: usize, at: u64 },
    Len(u64),
    To(Arc<str>),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { number, call, name, with, fault } = self;
        let verb = call.verb();
        match with {
            With::Nothing => write!(f, "{number}: {verb} {name}"),
            With::Bytes { len, at } => write!(f, "{number}: {verb} {len} bytes at {at} of {name}"),
            With::Len(len) => write!(f, "{number}: {verb} {name} to {len} bytes"),
            With::To(to) => write!(f, "{number}: {verb} {name} to {to}"),
        }?;
        fault.map_or(Ok(()), |fault| write!(f, " -> {fault:?}"))
    }
}
