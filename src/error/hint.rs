//! What the person on call can do about a failure of the system that has a usual cause.

use std::io;

/// What was being done when there turned out to be no log.
pub(crate) const FIND_LOG: &str = "find a log in";
/// What was being done when the directory could not be opened.
pub(crate) const OPEN_DIRECTORY: &str = "open directory";
/// What was being done when names could not be made durable.
pub(crate) const SYNC_NAMES: &str = "fsync directory";

// The same on all systems that this crate runs on.
const EIO: i32 = 5;
const EINVAL: i32 = 22;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOLCK: i32 = 37;

/// To be put behind the system's own words; empty where nothing is known that they do not say.
pub(super) fn of(op: &str, e: &io::Error) -> &'static str {
    match e.raw_os_error() {
        Some(EMFILE) => {
            return " (nothing is damaged: raise this process's limit of open files, `ulimit -n`; a log has one open for \
                    each segment)";
        }
        Some(ENFILE) => {
            return " (nothing is damaged: the system's limit of open files is reached, `fs.file-max`; a log has one open \
                    for each segment)";
        }
        Some(ENOLCK) => {
            return " (the file system has no lock to give; over NFS its lock service must run. A log belongs on a local \
                    file system)";
        }
        Some(EIO) => {
            return " (the device failed: look into the system's log, and copy what can be read to another one)";
        }
        Some(EINVAL) if op == SYNC_NAMES => {
            return " (this file system cannot make names durable, so no log can promise anything on it: use another one)";
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
            " (nothing is damaged: the file would be larger than this process, `ulimit -f`, or the file system allows. \
             Raise the limit, or use smaller segments: `Options::segment_size`)"
        }
        io::ErrorKind::PermissionDenied => {
            " (the process needs to read and write this directory and all files in it)"
        }
        io::ErrorKind::NotADirectory => " (a log is a directory; this is a file, or a link)",
        io::ErrorKind::IsADirectory => " (this is a directory, where the log has a file: move it away)",
        io::ErrorKind::InvalidInput if e.raw_os_error().is_none() => {
            " (a link, FIFO, socket or device has a name that the log uses: move it away)"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            " (a log is opened for writing; `verify` reads one without. A file system that became read-only by itself has \
             met an error: look into the system's log)"
        }
        io::ErrorKind::StaleNetworkFileHandle => {
            " (the file system went away under the open log, as an NFS export does: mount it again and open the log again)"
        }
        io::ErrorKind::NotFound if op == FIND_LOG => {
            " (no log is in this directory: check the path, or let `Options::create_if_missing` make one)"
        }
        io::ErrorKind::NotFound if op == OPEN_DIRECTORY => {
            " (check the path, or let `Options::create_if_missing` make it)"
        }
        io::ErrorKind::NotFound if op == "create" => {
            " (the log's directory was removed while the log was open)"
        }
        io::ErrorKind::WouldBlock if op == "start a thread for" => {
            " (raise the limit of threads: `ulimit -u`, or `pids.max` of the control group)"
        }
        _ => "",
    }
}
