//! Processes of a test's own: children made by `fork`, and the test's program started anew.
#![allow(dead_code)]
#![allow(unsafe_code)] // `fork` and what goes with it

use std::panic::{AssertUnwindSafe, catch_unwind};

/// After so many seconds a child is ended: a handle that waits for a thread which does not exist waits for ever.
const PATIENCE: u32 = 30;

/// Does `work` with `handles` in a forked child, as a program does that inherits them, and waits for its end. The parent
/// has its handles back then.
///
/// # Panics
/// When the child panicked, hung or was killed.
pub fn in_forked_child<H>(handles: H, work: impl FnOnce(H)) -> H {
    let pid = fork_and(handles, work);
    pid.1.wait_for_success();
    pid.0
}

/// As [`in_forked_child`], and goes on beside the child.
pub fn fork_and<H>(handles: H, work: impl FnOnce(H)) -> (H, Child) {
    // SAFETY: the child uses memory as the parent left it. What it may find locked are locks of the harness and of the
    // log; to the first it does not go but when it panics, and the second are what is tested. An alarm ends what hangs.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: no handler is set for the signal, so it ends the process.
        unsafe { libc::alarm(PATIENCE) };
        let code = i32::from(catch_unwind(AssertUnwindSafe(|| work(handles))).is_err());
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(code) };
    }
    (handles, Child(pid))
}

/// A forked child.
pub struct Child(i32);

impl Child {
    pub fn pid(&self) -> i32 {
        self.0
    }

    pub fn kill(&self) {
        // SAFETY: a signal to a child of this process that was not waited for.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }

    /// The status as `waitpid` gives it.
    pub fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: waits for a child of this process, and writes into a variable of ours.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(waited, self.0);
        status
    }

    /// # Panics
    /// When the child did not end well.
    pub fn wait_for_success(self) {
        let status = self.wait();
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
            "the child ended with status {status:#x}{}",
            if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGALRM {
                ": it hung"
            } else {
                ""
            }
        );
    }
}

/// Sends signal 0.
pub fn is_alive(pid: i32) -> bool {
    // SAFETY: sends no signal, only looks.
    unsafe { libc::kill(pid, 0) == 0 }
}

/// Ends a process that this test started through another one.
pub fn kill(pid: i32) {
    // SAFETY: a signal to a process that the test has started.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
