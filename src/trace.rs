//! Spans and events for `tracing`; empty without that feature.
//!
//! Spans: `open` with `recovery` in it, `rotation`, `prepare`, `seal`, `release`, `purge`, `close`.
//!
//! Targets: `seawall` for the log, `seawall::groups` for the thread that purges, `seawall::node` for the Raft driver,
//! `seawall::raft` for raft's own lines.

/// `event!(level, target: "...", key = value, ..., "message")`.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, target: $target:literal, $($body:tt)+) => { ::tracing::$level!(target: $target, $($body)+) };
    ($level:ident, $($body:tt)+) => { ::tracing::$level!(target: "seawall", $($body)+) };
}

/// Without the feature the fields are type-checked but never evaluated.
#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($level:ident, target: $target:literal, $($key:ident = $value:expr,)* $message:literal) => {
        if false { $(let _ = &$value;)* }
    };
    ($level:ident, $($key:ident = $value:expr,)* $message:literal) => {
        if false { $(let _ = &$value;)* }
    };
}

/// `let _span = span!(LEVEL, "name", key = value, ...);`: entered until the value is dropped.
#[cfg(feature = "tracing")]
macro_rules! span {
    ($level:ident, $($body:tt)+) => {
        ::tracing::span!(target: "seawall", ::tracing::Level::$level, $($body)+).entered()
    };
}

/// Without the feature the fields are type-checked but never evaluated.
#[cfg(not(feature = "tracing"))]
macro_rules! span {
    ($level:ident, $name:literal $(, $key:ident = $value:expr)*) => {{
        if false { $(let _ = &$value;)* }
        $crate::trace::NoSpan
    }};
}

/// Stands for a span without the feature.
#[cfg(not(feature = "tracing"))]
pub(crate) struct NoSpan;

pub(crate) use {event, span};
