//! The driver's events: those of [`crate::trace`] with a target of their own.

macro_rules! event {
    ($level:ident, $($body:tt)+) => { $crate::trace::event!($level, target: "seawall::node", $($body)+) };
}

pub(super) use event;

/// The destination of raft's own log lines: `tracing` if enabled, otherwise nowhere.
pub(super) fn logger(group: u64) -> slog::Logger {
    #[cfg(feature = "tracing")]
    let root = slog::Logger::root(bridge::ToTracing, slog::o!("group" => group));
    #[cfg(not(feature = "tracing"))]
    let root = slog::Logger::root(slog::Discard, slog::o!("group" => group));
    root
}

#[cfg(feature = "tracing")]
mod bridge {
    use std::fmt::Write as _;

    use slog::{Drain, KV as _, Level, OwnedKVList, Record};

    /// Forwards slog's records as `tracing` events with the target `seawall::raft`.
    pub(super) struct ToTracing;

    #[derive(Default)]
    struct Line(String);

    impl slog::Serializer for Line {
        fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
            write!(self.0, " {key}={value}").map_err(|_| slog::Error::Other)
        }
    }

    impl Drain for ToTracing {
        type Ok = ();
        type Err = slog::Never;

        fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
            let mut line = Line(record.msg().to_string());
            // A key that cannot be formatted is missing from the line, which is still useful.
            let complete =
                record.kv().serialize(record, &mut line).and_then(|()| values.serialize(record, &mut line));
            let line = if complete.is_ok() { line.0 } else { line.0 + " ..." };
            match record.level() {
                Level::Critical | Level::Error => {
                    tracing::error!(target: "seawall::raft", "{line}")
                }
                Level::Warning => tracing::warn!(target: "seawall::raft", "{line}"),
                Level::Info => tracing::info!(target: "seawall::raft", "{line}"),
                Level::Debug => tracing::debug!(target: "seawall::raft", "{line}"),
                Level::Trace => tracing::trace!(target: "seawall::raft", "{line}"),
            }
            Ok(())
        }
    }
}
