//! The server's refusals of rows: errors with a remedy, and which of them are about rows at all.

use tokio_postgres::error::Severity;

use crate::Error;

/// The error for a refusal by the server, with a remedy where the server sent no hint.
pub(crate) fn refusal_error(doing: &str, error: tokio_postgres::Error) -> Error {
    with_remedy(Error::database(doing, error))
}

/// `refusal` with a remedy, where the server sent no hint.
fn with_remedy(refusal: Error) -> Error {
    match refusal.sqlstate() {
        Some("22007" | "22008") => refusal.with_help(
            "set the order of day, month and year with --date-style dmy, mdy or ymd; or for all loads, with \
             PGOPTIONS='-c datestyle=DMY' for your own server, [server.settings] DateStyle = \"DMY\" for the embedded one",
        ),
        _ if refusal.help().is_some() => refusal,
        Some("23505") => refusal.with_help(
            "the file contains the key twice, or the table already has it: remove one of the rows, or see \
             --on-conflict and --max-rejects",
        ),
        Some("42P10") => refusal.with_help(
            "--on-conflict needs a primary key or a unique index on exactly these columns: create one, for example \
             with ALTER TABLE … ADD PRIMARY KEY (id)",
        ),
        Some(code) if code.starts_with("23") => refusal
            .with_help("correct the row, or change the constraint it violates; --max-rejects sets such rows aside"),
        _ => refusal,
    }
}

/// What a refusal by the server is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalScope {
    /// A row: the load may succeed without it.
    Row,
    /// A row, provided that others are accepted or its values are refused without the table; otherwise the table, or what
    /// its triggers refer to.
    ///
    /// The statement was prepared before, so that such an error is usually about a value: the syntax of a tsvector, a
    /// label of an ltree, a name in a `regclass`, an unsupported flag in a jsonpath.
    RowIfOthersPass,
    /// The session or the server, as for a lost connection, a deadlock, a full disk or a cancelled statement.
    Session,
}

impl RefusalScope {
    /// Whether the session ended with `error`.
    pub(crate) fn ends_session(error: &tokio_postgres::Error) -> bool {
        error
            .as_db_error()
            .is_none_or(|db| matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic)))
    }

    /// The scope of `error`, by the class of its SQLSTATE (PostgreSQL's appendix A). No class is excluded that a value
    /// can cause.
    pub(crate) fn new(error: &tokio_postgres::Error) -> RefusalScope {
        let Some(db) = error.as_db_error().filter(|_| !Self::ends_session(error)) else {
            return RefusalScope::Session;
        };
        let code = db.code().code();
        if matches!(code, "55P03" | "XX001" | "XX002") {
            return RefusalScope::Session;
        }
        match &code[..2] {
            "08" | "25" | "40" | "53" | "57" | "58" | "F0" => RefusalScope::Session,
            "0A" | "42" | "55" | "XX" => RefusalScope::RowIfOthersPass,
            _ => RefusalScope::Row,
        }
    }
}
