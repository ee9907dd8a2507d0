//! Events for `tracing`; without that feature, nothing.
//!
//! Targets: `seawall` for the log, `seawall::node` for the Raft driver, `seawall::raft` for raft's own lines.

/// `event!(level, target: "...", key = value, ..., "message")`.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, target: $target:literal, $($body:tt)+) => { ::tracing::$level!(target: $target, $($body)+) };
    ($level:ident, $($body:tt)+) => { ::tracing::$level!(target: "seawall", $($body)+) };
}

/// Without the feature the fields are type-checked and never evaluated.
#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($level:ident, target: $target:literal, $($key:ident = $value:expr,)* $message:literal) => {
        if false { $(let _ = &$value;)* }
    };
    ($level:ident, $($key:ident = $value:expr,)* $message:literal) => {
        if false { $(let _ = &$value;)* }
    };
}

pub(crate) use event;
