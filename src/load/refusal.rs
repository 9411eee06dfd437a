//! The server's refusals of rows: errors with a remedy, and which of them are about rows at all.

use tokio_postgres::error::{DbError, Severity};

use crate::Error;
use crate::catalog::{Column, Table};
use crate::load::hints;
use crate::sql::fold;

/// The error for a refusal by the server, with a remedy where the server sent no hint.
pub(crate) fn refusal_error(doing: &str, error: tokio_postgres::Error) -> Error {
    with_remedy(Error::database(doing, error))
}

/// `refusal` with a remedy, where the server sent no hint.
pub(crate) fn with_remedy(refusal: Error) -> Error {
    match refusal.sqlstate() {
        // The server's hint names DateStyle even where the value is an interval, or no date at all.
        Some("22007" | "22008") => match quoted_date_hint(&refusal.to_string()) {
            Some(help) if help.contains("--date-style") => refusal.with_help(format!(
                "{help}; or for all loads, with PGOPTIONS='-c datestyle=DMY' for your own server, [server.settings] \
                 DateStyle = \"DMY\" for the embedded one"
            )),
            Some(help) => refusal.with_help(help),
            None => refusal.with_help("correct the value, or leave it empty for NULL"),
        },
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
        Some(code) if code.starts_with("22") => {
            refusal.with_help("correct the value; --max-rejects sets such rows aside")
        }
        _ => refusal,
    }
}

/// The remedy for the date that `message` quotes, in the quotes of any language; `None` if it quotes none that a setting
/// could read, or names the type interval.
fn quoted_date_hint(message: &str) -> Option<String> {
    let is_interval = message.contains("interval");
    let mut quoted = message.split(['"', '\'', '«', '»', '“', '”', '„', '「', '」']);
    quoted.find_map(|value| hints::of_date(value.as_bytes())).filter(|_| !is_interval)
}

/// The column of `table` whose value the server refused with `db`, or the few that it may be; none if the error is not
/// about the value of a column, or does not tell.
///
/// The errors of a COPY name the column. Those of an INSERT name its type at most.
pub(crate) fn refused_columns<'a>(db: &DbError, table: &'a Table) -> Vec<&'a str> {
    const FEW: usize = 3;
    // Apart from those of domains, constraints are about rows.
    if db.column().is_some() || db.constraint().is_some() && db.datatype().is_none() {
        return Vec::new();
    }
    let names = || table.columns.iter().map(|column| column.name.as_str());
    let context = db.where_().unwrap_or_default();
    let copied = context.lines().find_map(|line| line.split_once(&format!("COPY {},", table.name.table)));
    if let Some((_, place)) = copied {
        // "COPY t, line 7, column age: "x"", in any language.
        let place = place.split(": ").next().unwrap_or_default();
        let ends = |name: &&str| place.strip_suffix(name).is_some_and(|rest| rest.ends_with(' '));
        if let Some(name) = names().filter(ends).max_by_key(|name| name.len()) {
            return vec![name];
        }
    }
    let in_message = refused_type(db.message(), db.detail().unwrap_or_default());
    let Some(type_name) = db.datatype().or(in_message.as_deref()) else { return Vec::new() };
    let is_of_type = |column: &&Column| {
        let own = &column.type_name;
        let bare = own.split('(').next().unwrap_or_default();
        let is_domain =
            |name: &str| fold(own.rsplit('.').next().unwrap_or_default()).as_deref() == Some(name);
        own == type_name || bare == type_name || db.datatype().is_some_and(is_domain)
    };
    let columns: Vec<&str> =
        table.columns.iter().filter(is_of_type).map(|column| column.name.as_str()).collect();
    if columns.len() > FEW { Vec::new() } else { columns }
}

/// The type that an error names whose value is not of that type.
fn refused_type(message: &str, detail: &str) -> Option<String> {
    if let Some(limits) = detail.strip_prefix("A field with precision ") {
        let (precision, rest) = limits.split_once(", scale ")?;
        let scale = rest.split(' ').next()?;
        return Some(format!("numeric({precision},{scale})"));
    }
    let (_, after) = message.split_once(" type ").or_else(|| message.split_once(" enum "))?;
    Some(after.split(':').next()?.trim().to_owned())
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
        RefusalScope::of_sqlstate(db.code().code())
    }

    /// As [`RefusalScope::new`], of an error that does not end the session. A server may send any text as its SQLSTATE.
    fn of_sqlstate(code: &str) -> RefusalScope {
        if matches!(code, "55P03" | "XX001" | "XX002") {
            return RefusalScope::Session;
        }
        match code.get(..2).unwrap_or_default() {
            "08" | "25" | "40" | "53" | "57" | "58" | "F0" => RefusalScope::Session,
            "0A" | "42" | "55" | "XX" => RefusalScope::RowIfOthersPass,
            _ => RefusalScope::Row,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_may_be_a_sqlstate() {
        for (code, scope) in [
            ("25P02", RefusalScope::Session),
            ("42501", RefusalScope::RowIfOthersPass),
            ("22P02", RefusalScope::Row),
            ("", RefusalScope::Row),
            ("4", RefusalScope::Row),
            ("é", RefusalScope::Row),
            ("4é", RefusalScope::Row),
        ] {
            assert_eq!(RefusalScope::of_sqlstate(code), scope, "{code}");
        }
    }

    #[test]
    fn only_dates_get_the_remedy_for_dates() {
        let over = "date/time field value out of range:";
        for (message, expected) in [
            (format!("{over} \"31/12/2026\" (SQLSTATE 22008)"), Some("--date-style dmy")),
            (format!("{over} « 31/12/2026 »"), Some("--date-style dmy")),
            (format!("{over} \"1700000000\""), Some("to_timestamp()")),
            (format!("{over} \"2026-02-30\""), None),
            ("interval field value out of range: \"1/1/2026\"".to_owned(), None),
        ] {
            let hint = quoted_date_hint(&message);
            assert_eq!(hint.is_some(), expected.is_some(), "{message}: {hint:?}");
            assert!(expected.is_none_or(|flag| hint.unwrap().contains(flag)), "{message}");
        }
    }

    #[test]
    fn the_type_is_read_out_of_the_servers_messages() {
        for (message, detail, expected) in [
            ("value too long for type character varying(3)", "", Some("character varying(3)")),
            ("invalid input syntax for type ltree: \"a b\"", "", Some("ltree")),
            ("invalid input value for enum mood: \"x\"", "", Some("mood")),
            (
                "numeric field overflow",
                "A field with precision 4, scale 2 must round to an absolute value less than 10^2.",
                Some("numeric(4,2)"),
            ),
            ("division by zero", "", None),
        ] {
            assert_eq!(refused_type(message, detail).as_deref(), expected, "{message}");
        }
    }
}
