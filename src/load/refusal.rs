//! What the server says of a row that it refuses.

use tokio_postgres::error::SqlState;

use crate::Error;
use crate::catalog::Table;

/// The server's refusal of a row, with a remedy where it gives no hint of its own.
pub(crate) fn refused(doing: &str, error: &tokio_postgres::Error) -> Error {
    let refusal = Error::database(doing, error);
    match error.code().map(SqlState::code) {
        Some("22007" | "22008") => refusal.with_help(
            "the order of day, month and year is the session's DateStyle: PGOPTIONS='-c datestyle=DMY' for a server \
             of yours, [server.settings] DateStyle = \"DMY\" for the one of postgres-etl",
        ),
        _ if refusal.help().is_some() => refusal,
        Some("23505") => refusal.with_help(
            "the key is in the file twice, or in the table already: remove one of the rows, or see --on-conflict \
             and --max-rejects",
        ),
        Some("42P10") => refusal.with_help(
            "--on-conflict goes by a primary key or a unique index over exactly these columns: create one, as with \
             ALTER TABLE … ADD PRIMARY KEY (id)",
        ),
        Some(code) if code.starts_with("23") => refusal
            .with_help("correct the row, or the constraint that it breaks; --max-rejects sets such rows aside"),
        _ => refusal,
    }
}

/// Whether leaving out rows of `table` may help. Classes of SQLSTATE are listed in PostgreSQL's appendix A.
pub(crate) fn is_about_rows(error: &tokio_postgres::Error, table: &Table) -> bool {
    let Some(db) = error.as_db_error() else { return false };
    // Where there is a row security policy, 42501 may be about the row. The others are about a value, because the
    // statement was prepared: a tsvector's syntax, a malformed or unknown name in a regclass or regproc. XX000 is
    // what PostGIS raises for a geometry that it cannot read.
    let code = db.code().code();
    (code == "42501" && table.has_row_security)
        || matches!(code, "42601" | "42602" | "42704" | "42883" | "42P01" | "XX000")
        || !matches!(&code[..2], "08" | "0A" | "25" | "40" | "42" | "53" | "55" | "57" | "58" | "F0" | "XX")
}
