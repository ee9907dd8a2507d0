//! Processes for tests: children made by `fork`, and new instances of the test program.
#![allow(dead_code)]
#![allow(unsafe_code)] // `fork` and what goes with it

use std::panic::{AssertUnwindSafe, catch_unwind};

/// After this many seconds a child is killed: a handle that waits for a thread that does not exist would wait
/// forever.
const PATIENCE: u32 = 30;

const ALONE: &str = "SEAWALL_TEST_ALONE";

/// Whether this process runs only the test with this name. If not, such a process is started and must succeed: a test
/// that forks, or changes the whole process, cannot run beside others. Their threads may hold a lock at the time of
/// the fork, for example of the standard library, that a child needs to open a log.
pub fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1", "--include-ignored"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && said.contains("1 passed"),
        "{test}, alone: {}\n{said}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    false
}

/// Runs `work` with `handles` in a forked child, like a program that inherits them, and waits for its end. The parent
/// gets its handles back.
///
/// # Panics
/// If the child panicked, hung or was killed.
pub fn in_forked_child<H>(handles: H, work: impl FnOnce(H)) -> H {
    let pid = fork_and(handles, work);
    pid.1.wait_for_success();
    pid.0
}

/// As [`in_forked_child`], and returns while the child runs.
pub fn fork_and<H>(handles: H, work: impl FnOnce(H)) -> (H, Child) {
    // SAFETY: the child uses memory as the parent left it. Locks held at that time belong to the harness or to the
    // log; the child touches the former only when it panics, and the latter are what is tested. An alarm ends a
    // hanging child.
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
    /// If the child did not succeed.
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
    // SAFETY: sends no signal, only checks.
    unsafe { libc::kill(pid, 0) == 0 }
}

/// Ends a process that this test started through another one.
pub fn kill(pid: i32) {
    // SAFETY: a signal to a process that the test has started.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// A limit of this process, as `setrlimit` has it.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    OpenFiles,
    AddressSpace,
    FileSize,
}

impl Limit {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Limit::OpenFiles => libc::RLIMIT_NOFILE,
            Limit::AddressSpace => libc::RLIMIT_AS,
            Limit::FileSize => libc::RLIMIT_FSIZE,
        }
    }

    /// Sets it for this process, as far as it may raise it; returns the previous value.
    pub fn set(self, to: u64) -> u64 {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls get a variable of ours.
        unsafe {
            assert_eq!(libc::getrlimit(self.number(), &raw mut limit), 0);
            let before = limit.rlim_cur;
            limit.rlim_cur = to;
            if to > limit.rlim_max {
                let hard = std::mem::replace(&mut limit.rlim_max, to);
                if libc::setrlimit(self.number(), &raw const limit) != 0 {
                    (limit.rlim_cur, limit.rlim_max) = (hard, hard);
                }
            }
            assert_eq!(libc::setrlimit(self.number(), &raw const limit), 0);
            before
        }
    }
}

/// The address space used by this process in bytes.
pub fn address_space() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

/// A write beyond [`Limit::FileSize`] is an error then, and not the end of the process.
pub fn ignore_file_size_signal() {
    // SAFETY: ignores a signal.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Interrupts this process's system calls every `micros` microseconds, permanently: an empty handler without
/// `SA_RESTART`.
pub fn interrupt_every(micros: i64) {
    extern "C" fn nothing(_: i32) {}
    let every = libc::timeval { tv_sec: 0, tv_usec: micros };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: the handler does nothing, and all structures are ours; zero is a valid `sigaction`.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        assert_eq!(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()), 0);
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
    }
}

/// Gives up root privileges, if this process has them.
pub fn drop_privileges() {
    const NOBODY: u32 = 65_534;
    // SAFETY: changes the privileges of this process, but nothing in its memory.
    unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!(libc::setgid(NOBODY), 0);
            assert_eq!(libc::setuid(NOBODY), 0);
        }
    }
}
