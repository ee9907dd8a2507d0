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

/// A sign on standard error that something is done; none when that is no terminal.
pub(crate) fn spinner(what: &'static str) -> indicatif::ProgressBar {
    let spinner = indicatif::ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(std::time::Duration::from_millis(200));
    spinner
}

/// As [`bar`], for a command that writes to standard output while it goes on: only where that is no terminal too.
pub(crate) fn bar_beside_output(steps: u64, what: &'static str) -> indicatif::ProgressBar {
    if std::io::stdout().is_terminal() { indicatif::ProgressBar::hidden() } else { bar(steps, what) }
}
