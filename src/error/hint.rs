//! Advice for the person on call about system failures with a usual cause.

use std::io;

/// The operation that found no log.
pub(crate) const FIND_LOG: &str = "find a log in";
/// The operation that failed to open the directory.
pub(crate) const OPEN_DIRECTORY: &str = "open directory";
/// The operation that failed to make names durable.
pub(crate) const SYNC_NAMES: &str = "fsync directory";

// The same on all systems that this crate supports.
const EIO: i32 = 5;
const EINVAL: i32 = 22;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOLCK: i32 = 37;

/// Text to append to the system's message; empty if there is nothing to add.
pub(super) fn of(op: &str, e: &io::Error) -> &'static str {
    match e.raw_os_error() {
        Some(EMFILE) => {
            return " (nothing is damaged: raise this process's limit on open files, `ulimit -n`; a log keeps one open for \
                    each segment)";
        }
        Some(ENFILE) => {
            return " (nothing is damaged: the system's limit on open files, `fs.file-max`, is reached; a log keeps one open \
                    for each segment)";
        }
        Some(ENOLCK) => {
            return " (the file system provides no locks; NFS needs its lock service. Keep logs on a local \
                    file system)";
        }
        Some(EIO) => {
            return " (the device failed: check the system log, and copy what can be read to another device)";
        }
        Some(EINVAL) if op == SYNC_NAMES => {
            return " (this file system cannot make names durable, so no guarantee can be given on it: use another one)";
        }
        _ => {}
    }
    of_kind(op, e)
}

fn of_kind(op: &str, e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::StorageFull => " (nothing is damaged: free space, or release records, and try again)",
        io::ErrorKind::QuotaExceeded => {
            " (nothing is damaged: the quota is used up. Raise it, free space, or release records, and try again)"
        }
        io::ErrorKind::FileTooLarge => {
            " (nothing is damaged: the file would exceed the limit of this process, `ulimit -f`, or of the file system. \
             Raise the limit, or use smaller segments: `Options::segment_size`)"
        }
        io::ErrorKind::PermissionDenied => {
            " (the process must be able to read and write this directory and all files in it)"
        }
        io::ErrorKind::NotADirectory => " (a log is a directory; this is a file, or a link)",
        io::ErrorKind::IsADirectory => " (this is a directory with the name of a log file: move it away)",
        io::ErrorKind::InvalidInput if e.raw_os_error().is_none() => {
            " (a link, FIFO, socket or device has a name that the log uses: move it away)"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            " (a log is opened for writing; `verify` does not need that. A file system that became read-only on its own has \
             met an error: check the system log)"
        }
        io::ErrorKind::StaleNetworkFileHandle => {
            " (the file system disappeared under the open log, as an NFS export may: mount it again and reopen the log)"
        }
        io::ErrorKind::NotFound if op == FIND_LOG => {
            " (this directory holds no log: check the path, or set `Options::create_if_missing`)"
        }
        io::ErrorKind::NotFound if op == OPEN_DIRECTORY => {
            " (check the path, or set `Options::create_if_missing`)"
        }
        io::ErrorKind::NotFound if op == "create" => {
            " (the log's directory was removed while the log was open)"
        }
        io::ErrorKind::WouldBlock if op == "start a thread for" => {
            " (raise the limit on threads: `ulimit -u`, or `pids.max` of the control group)"
        }
        _ => "",
    }
}
