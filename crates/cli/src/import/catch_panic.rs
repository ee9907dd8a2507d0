//! Turns panics of raft-engine, with which it answers some contradictions, into errors without printing anything.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use parking_lot::Mutex;

/// Runs `work`; if it panics on any thread, `Err` has the message. The objects it worked on must not be used again
/// then.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let said = Arc::new(Mutex::new(None));
    let note = Arc::clone(&said);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        note.lock().get_or_insert_with(|| words(info.payload()));
    }));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(before);
    done.map_err(|payload| said.lock().take().unwrap_or_else(|| words(&*payload)))
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_what_it_said() {
        assert_eq!(catch_panic(|| 1), Ok(1));
        assert_eq!(catch_panic(|| assert_eq!(2, 3, "numbers")).unwrap_err().lines().count(), 3);
        let elsewhere =
            catch_panic(|| std::thread::spawn(|| panic!("on {}", "a thread")).join().map_err(drop));
        assert_eq!(elsewhere, Ok(Err(())));
    }
}
