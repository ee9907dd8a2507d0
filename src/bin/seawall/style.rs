//! Colours and progress, for a terminal only.

use std::io::IsTerminal as _;

/// A heading, bold on a terminal.
pub(crate) fn heading(text: &str) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

/// Something that is wrong, red on a terminal.
pub(crate) fn wrong(text: &str) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[31m{text}\x1b[0m") } else { text.to_owned() }
}

/// A progress bar on standard error; none when that is no terminal.
pub(crate) fn bar(steps: u64, what: &'static str) -> indicatif::ProgressBar {
    indicatif::ProgressBar::new(steps).with_message(what)
}
