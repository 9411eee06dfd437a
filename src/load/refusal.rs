//! The server's refusals of rows: errors with a remedy, and which of them are about rows at all.

use crate::Error;
use crate::catalog::Table;

/// The error for a refusal by the server, with a remedy where the server sent no hint.
pub(crate) fn refusal_error(doing: &str, error: tokio_postgres::Error) -> Error {
    with_remedy(Error::database(doing, error))
}

/// `refusal` with a remedy, where the server sent no hint.
fn with_remedy(refusal: Error) -> Error {
    match refusal.sqlstate() {
        Some("22007" | "22008") => refusal.with_help(
            "DateStyle sets the order of day, month and year: PGOPTIONS='-c datestyle=DMY' for your own server, \
             [server.settings] DateStyle = \"DMY\" for the embedded one",
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

/// Whether the load may succeed without some of its rows. PostgreSQL's appendix A lists the classes of SQLSTATE.
pub(crate) fn is_about_rows(error: &tokio_postgres::Error, table: &Table) -> bool {
    let Some(db) = error.as_db_error() else { return false };
    // 42501 may be about the row if a row security policy exists. Since the statement was already prepared, the other
    // codes can only be about a value: the syntax of a tsvector, a malformed or unknown name in a regclass or regproc.
    // PostGIS raises XX000 for a geometry that it cannot parse.
    let code = db.code().code();
    (code == "42501" && table.has_row_security)
        || matches!(code, "42601" | "42602" | "42704" | "42883" | "42P01" | "XX000")
        || !matches!(&code[..2], "08" | "0A" | "25" | "40" | "42" | "53" | "55" | "57" | "58" | "F0" | "XX")
}
