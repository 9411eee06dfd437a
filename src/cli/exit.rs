//! The exit codes, all in one place; `--help` and `docs/exit-codes.md` list them.

use postgres_etl::ErrorKind;

/// Done.
pub(crate) const DONE: u8 = 0;

/// The data, a file or the server refused, or a comparison failed.
pub(crate) const FAILED: u8 = 1;

/// Wrong flags or configuration.
pub(crate) const MISUSED: u8 = 2;

/// Loaded, but some rows were set aside.
pub(crate) const LOADED_WITH_REJECTS: u8 = 3;

/// Of `server status`, as of `pg_ctl status`: the server is not running.
pub(crate) const NOT_RUNNING: u8 = 3;

/// No connection, or the embedded server did not start.
pub(crate) const NO_SERVER: u8 = 4;

/// Loaded and committed, but something that follows a commit failed: ANALYZE, waiting for standbys, the receipt, the page,
/// or the report.
pub(crate) const LOADED_BUT: u8 = 5;

/// Whether the rows were committed is not known.
pub(crate) const OUTCOME_UNKNOWN: u8 = 6;

/// Another process is working on the same import.
pub(crate) const IN_USE: u8 = 7;

/// Interrupted by Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Ended by a termination signal.
pub(crate) const TERMINATED: u8 = 143;

/// The exit code for an error of `kind`.
pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage | ErrorKind::Config => MISUSED,
        ErrorKind::Connect | ErrorKind::Launch => NO_SERVER,
        ErrorKind::Interrupted => INTERRUPTED,
        ErrorKind::OutcomeUnknown => OUTCOME_UNKNOWN,
        ErrorKind::InUse => IN_USE,
        _ => FAILED,
    }
}
