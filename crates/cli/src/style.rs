//! Colours and progress bars, only on a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A heading, bold on a terminal.
pub(crate) fn heading(text: &str) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

/// A problem, red on a terminal.
pub(crate) fn wrong(text: &str) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[31m{text}\x1b[0m") } else { text.to_owned() }
}

/// A progress bar on standard error; none if that is not a terminal.
pub(crate) fn bar(steps: u64, what: &'static str) -> ProgressBar {
    ProgressBar::new(steps).with_message(what)
}

/// Work that finishes within this time shows no bar.
const SOON: Duration = Duration::from_secs(1);

/// A progress bar in bytes on standard error, for work that may take a moment or an hour.
pub(crate) fn late_bytes(what: &'static str) -> ProgressBar {
    late_bytes_on(what, SOON, ProgressDrawTarget::stderr)
}

fn late_bytes_on(
    what: &'static str,
    wait: Duration,
    target: impl FnOnce() -> ProgressDrawTarget + Send + 'static,
) -> ProgressBar {
    let bar = ProgressBar::hidden().with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent} % {bytes} of {total_bytes}") {
        bar.set_style(style);
    }
    // This thread is never joined. A bar that is gone or cleared by then is not drawn.
    let later = bar.downgrade();
    std::thread::spawn(move || {
        std::thread::sleep(wait);
        if let Some(bar) = later.upgrade() {
            bar.set_draw_target(target());
            bar.tick();
        }
    });
    bar
}

/// Like [`bar`], for a command that writes to standard output while it runs: only if that is not a terminal.
pub(crate) fn bar_beside_output(steps: u64, what: &'static str) -> ProgressBar {
    if std::io::stdout().is_terminal() { ProgressBar::hidden() } else { bar(steps, what) }
}

#[cfg(test)]
mod tests {
    use std::io::Result;
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use super::*;

    /// A terminal that records what is written to it.
    #[derive(Clone, Debug, Default)]
    struct TestTerminal(Arc<Mutex<String>>);

    impl TestTerminal {
        fn text(&self) -> String {
            self.0.lock().unwrap().clone()
        }
    }

    impl indicatif::TermLike for TestTerminal {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> Result<()> {
            Ok(())
        }
        fn write_line(&self, s: &str) -> Result<()> {
            self.write_str(s)
        }
        fn write_str(&self, s: &str) -> Result<()> {
            self.0.lock().unwrap().push_str(s);
            Ok(())
        }
        fn clear_line(&self) -> Result<()> {
            Ok(())
        }
        fn flush(&self) -> Result<()> {
            Ok(())
        }
    }

    fn half_done(wait: Duration) -> (ProgressBar, TestTerminal) {
        let terminal = TestTerminal::default();
        let shown_on = terminal.clone();
        let bar = late_bytes_on("verifying", wait, || ProgressDrawTarget::term_like(Box::new(shown_on)));
        bar.set_length(8 << 20);
        bar.set_position(4 << 20);
        (bar, terminal)
    }

    #[test]
    fn what_takes_its_time_shows_how_far_it_is_without_waiting_for_the_next_step() {
        let (_bar, terminal) = half_done(Duration::from_millis(50));
        let start = Instant::now();
        while terminal.text().is_empty() && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let shown = terminal.text();
        assert!(shown.contains("50 %") && shown.contains("4.00 MiB of 8.00 MiB"), "{shown:?}");
    }

    #[test]
    fn what_is_soon_done_shows_nothing() {
        let (bar, terminal) = half_done(Duration::from_secs(3600));
        std::thread::sleep(Duration::from_millis(200));
        bar.inc(1 << 20);
        bar.tick();
        bar.finish_and_clear();
        assert_eq!(terminal.text(), "");
    }

    #[test]
    fn what_is_done_shows_nothing_afterwards() {
        let (bar, terminal) = half_done(Duration::from_millis(50));
        bar.finish_and_clear();
        let (dropped, other_terminal) = half_done(Duration::from_millis(50));
        drop(dropped);
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!((terminal.text(), other_terminal.text()), (String::new(), String::new()));
    }
}
