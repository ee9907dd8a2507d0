//! Deliberate faults, to see that the tests would find them.
//!
//! Most syncs can be left out from outside, by a disk that does not pass them on (`tests/common/forgetful.rs`). A fault that
//! only the code itself can make stands beside the right code:
//!
//! ```text
//! let durable = or_fault!(durable, DurableInBlock => Lsn::ZERO);
//! ```
//!
//! This is `durable`. A build with `--cfg mutation` takes the code behind the arrow instead, if the environment variable
//! `SEAWALL_MUTATION` has the fault's name; in an ordinary build nothing but the right code is compiled. Where the fault is to
//! do something more, there is no right code: `or_fault!(Name => more)`.
//!
//! `cargo run --example mutations` makes such a build of the tests, runs for each fault those that are to find it, and prints
//! the table that stands in `docs/RELIABILITY.md`. The faults are listed in `examples/mutations/faults.rs`.

/// The right code, or that of a deliberate fault if the fault is chosen.
#[cfg(not(mutation))]
macro_rules! or_fault {
    ($name:ident => $more:expr) => {};
    ($right:expr, $($name:ident => $wrong:expr),+) => {
        $right
    };
}

/// The right code, or that of a deliberate fault if the fault is chosen.
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

/// The bytes that a header's checksum covers: those of one field left out, if `SEAWALL_MUTATION` is `codec:from..to`.
#[cfg(mutation)]
pub(crate) fn covered(codec: &str, bytes: &[u8]) -> Vec<u8> {
    let mut covered = bytes.to_vec();
    let range = chosen()
        .and_then(|name| name.strip_prefix(codec)?.strip_prefix(':')?.split_once(".."))
        .and_then(|(from, to)| Some(from.parse::<usize>().ok()?..to.parse::<usize>().ok()?));
    // Ranges are those of the diagrams; the checksum's own four bytes are not among what is covered.
    if let Some(field) = range.and_then(|r| covered.get_mut(r.start - 4..r.end - 4)) {
        field.fill(0);
    }
    covered
}
