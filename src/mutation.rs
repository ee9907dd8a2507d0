//! Deliberate faults, to check that the tests detect them.
//!
//! Most syncs can be suppressed from outside, by a disk that does not pass them on (`tests/common/forgetful.rs`). A
//! fault that only the code itself can make is written beside the correct code:
//!
//! ```text
//! let durable = or_fault!(durable, DurableInBlock => Lsn::ZERO);
//! ```
//!
//! This is `durable`. A build with `--cfg mutation` takes the code after the arrow instead if the environment
//! variable `SEAWALL_MUTATION` has the fault's name; an ordinary build compiles only the correct code. If a fault
//! consists of an additional action, there is no correct code: `or_fault!(Name => more)`.
//!
//! `cargo run --example mutations` makes such a build of the tests, runs for each fault the tests that should detect
//! it, and prints the table in `docs/RELIABILITY.md`. The faults are listed in `examples/mutations/faults.rs`.

/// The correct code, or that of a deliberate fault if the fault is chosen.
#[cfg(not(mutation))]
macro_rules! or_fault {
    ($name:ident => $more:expr) => {};
    ($right:expr, $($name:ident => $wrong:expr),+) => {
        $right
    };
}

/// The correct code, or that of a deliberate fault if the fault is chosen.
#[cfg(mutation)]
macro_rules! or_fault {
    ($name:ident => $more:expr) => {
        if crate::mutation::is_chosen(stringify!($name)) {
            $more
        }
    };
    ($right:expr, $($name:ident => $wrong:expr),+) => {
        $(if crate::mutation::is_chosen(stringify!($name)) { $wrong } else)+ { $right }
    };
}

pub(crate) use or_fault;

/// Whether `SEAWALL_MUTATION` has this fault's name.
#[cfg(mutation)]
pub(crate) fn is_chosen(fault: &str) -> bool {
    chosen().is_some_and(|name| name == fault)
}

#[cfg(mutation)]
fn chosen() -> Option<&'static String> {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("SEAWALL_MUTATION").ok()).as_ref()
}

/// The bytes covered by a header's checksum; one field is left out if `SEAWALL_MUTATION` is `codec:from..to`.
#[cfg(mutation)]
pub(crate) fn covered(codec: &str, bytes: &[u8]) -> Vec<u8> {
    let mut covered = bytes.to_vec();
    let range = chosen()
        .and_then(|name| name.strip_prefix(codec)?.strip_prefix(':')?.split_once(".."))
        .and_then(|(from, to)| Some(from.parse::<usize>().ok()?..to.parse::<usize>().ok()?));
    // Ranges are those of the diagrams; the checksum's own four bytes are not covered.
    if let Some(field) = range.and_then(|r| covered.get_mut(r.start - 4..r.end - 4)) {
        field.fill(0);
    }
    covered
}
