//! The one error type: what happened, what to do about it, and where.

mod caret;

use std::fmt::{self, Write as _};
use std::path::Path;

use tokio_postgres::error::{DbError, ErrorPosition, Severity, SqlState};

use crate::error::caret::point_at;
use crate::escape::escape_path;

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in one paragraph, with the remedy apart.
///
/// The message is a lower-case fragment that names the file, line, column or statement it is about; where the server
/// points into a statement, that line of it follows. The help says what to do next. Branch on [`Error::kind`],
/// [`Error::sqlstate`] and [`Error::location`], never on the text.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    help: Option<String>,
    location: Option<Box<Location>>,
    /// The SQLSTATE, if it is not that of the source.
    sqlstate: Option<Box<str>>,
    /// Whether it is that a connection cannot be opened, and its cause has to be removed: it does not pass by itself.
    is_lasting: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// Where in an input an [`Error`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Location {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1, on which the record begins; `None` when the error is about the whole file.
    pub line: Option<u64>,
    /// The field of the record, from 1; `None` when the error is about the whole record.
    pub column: Option<usize>,
}

impl Location {
    /// Somewhere in `file`.
    pub(crate) fn in_file(file: &str) -> Self {
        Location { file: file.to_owned(), line: None, column: None }
    }

    /// On `line` of `file`, from 1.
    pub(crate) fn on_line(file: &str, line: u64) -> Self {
        Location { line: Some(line), ..Location::in_file(file) }
    }

    /// In this field of the record, from 1.
    pub(crate) fn in_column(self, column: usize) -> Self {
        Location { column: Some(column), ..self }
    }
}

/// The kind of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A flag, an option or an environment variable is invalid, or contradicts another.
    Usage,
    /// `config.toml` is missing, malformed, or has an unknown key or value.
    Config,
    /// An input file is missing, or one of its records does not fit the table.
    Input,
    /// An output file cannot be written.
    Output,
    /// No connection: the server cannot be reached, refuses the login, or closed the connection.
    Connect,
    /// The embedded server cannot be found, initialised or started.
    Launch,
    /// Another process is working on the same import.
    InUse,
    /// The server refused a statement.
    Database,
    /// Ctrl-C or a termination signal.
    Interrupted,
    /// The answer to a COMMIT was lost, and what became of the transaction could not be found out; or a COMMIT failed, and
    /// the servers of foreign tables may have kept their part of it.
    OutcomeUnknown,
}

/// The message of an error as a field of a report; null without an error.
///
/// # Errors
/// As `serializer`.
#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
pub(crate) fn as_text<S: serde::Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => serializer.collect_str(error),
        None => serializer.serialize_none(),
    }
}

impl Error {
    /// An error of `kind`; prefer the named constructors.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
            help: None,
            location: None,
            sqlstate: None,
            is_lasting: false,
            source: None,
        }
    }

    /// [`ErrorKind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Usage, message)
    }

    /// [`ErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Config, message)
    }

    /// [`ErrorKind::Input`].
    pub fn input(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Input, message)
    }

    /// [`ErrorKind::Output`].
    pub fn output(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Output, message)
    }

    /// [`ErrorKind::Connect`].
    pub fn connect(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Connect, message)
    }

    /// [`ErrorKind::Launch`].
    pub fn launch(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Launch, message)
    }

    /// [`ErrorKind::Interrupted`].
    pub fn interrupted() -> Self {
        Error::new(ErrorKind::Interrupted, "interrupted")
    }

    /// An I/O failure on `path`: "failed to {action} {path}: {source}".
    pub fn io(kind: ErrorKind, action: &str, path: &Path, source: std::io::Error) -> Self {
        let message = format!("failed to {action} {}: {source}", escape_path(path));
        let location = (kind == ErrorKind::Input).then(|| Location::in_file(&path.display().to_string()));
        Error { location: location.map(Box::new), ..Error::new(kind, message).with_source(source) }
    }

    /// A failure of the driver or the server in the middle of something ("create table persons").
    ///
    /// The driver displays server errors as "db error", so message, detail, constraint and SQLSTATE are taken out of it
    /// here, and the server's hint becomes the help.
    pub(crate) fn database(doing: &str, source: tokio_postgres::Error) -> Self {
        Error::describe(doing, &source).with_source(source)
    }

    /// As [`Error::database`], without the cause.
    pub(crate) fn describe(doing: &str, source: &tokio_postgres::Error) -> Self {
        if let Some(db) = source.as_db_error() {
            return Error::refused(&format!("failed to {doing}"), None, db);
        }
        let mut message = format!("failed to {doing}: {source}");
        if let Some(cause) = std::error::Error::source(source) {
            let _ = write!(message, ": {cause}");
        }
        if is_about_connection(source) {
            return Error::new(ErrorKind::Connect, message)
                .with_help("the server closed the connection; its log says why");
        }
        Error::new(ErrorKind::Database, message)
    }

    /// The server does not prepare the statement `sql`, which users know as `name`; shows the place that the server
    /// points at.
    pub(crate) fn statement(name: &str, sql: &str, source: tokio_postgres::Error) -> Self {
        match source.as_db_error() {
            Some(db) => Error::refused(&format!("cannot prepare {name}"), Some(sql), db).with_source(source),
            None => Error::database(&format!("prepare {name}"), source),
        }
    }

    /// "{start}: {the server's message}"; `sql` is the statement, if the user knows it.
    fn refused(start: &str, sql: Option<&str>, db: &DbError) -> Self {
        let mut message = format!("{start}: {} (SQLSTATE {}", db.message(), db.code().code());
        if let Some(constraint) = db.constraint() {
            let _ = write!(message, ", constraint {constraint}");
        }
        message.push(')');
        if let Some(detail) = db.detail() {
            let _ = write!(message, "; {}", detail.trim_end_matches('.'));
        }
        if let Some(worker) = db.where_().and_then(worker) {
            let _ = write!(message, "; on the worker {worker}");
        }
        match (db.position(), sql) {
            (Some(ErrorPosition::Original(position)), Some(sql)) => {
                let _ = write!(message, "\n{}", point_at(sql, *position));
            }
            (Some(ErrorPosition::Original(position)), None) => {
                let _ = write!(message, "; at character {position} of the statement");
            }
            // A statement run by a function or a trigger.
            (Some(ErrorPosition::Internal { position, query }), _) => {
                let _ = write!(message, "\n{}", point_at(query, *position));
            }
            (None, _) => {}
        }
        // 57P01 and similar: the server is shutting down, or the session was terminated.
        let kind = if db.code().code().starts_with("57P") { ErrorKind::Connect } else { ErrorKind::Database };
        let error = Error::new(kind, message);
        match db.hint().or_else(|| known_remedy(db.code().code(), db.message())) {
            Some(help) => error.with_help(help),
            None => error,
        }
    }

    /// The same error, with `more` appended to its message.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        // A message with a quoted statement has several lines.
        let separator = if self.message.contains('\n') { "\n" } else { "; " };
        self.message.push_str(separator);
        self.message.push_str(more);
        self
    }

    /// The same error, as one of `kind`.
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same error with its remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error with `more` after its remedy.
    #[must_use]
    pub(crate) fn and_help(self, more: &str) -> Self {
        match self.help() {
            None => self.with_help(more),
            Some(help) if help.contains(more) => self,
            Some(help) => {
                let help = format!("{help}; {more}");
                self.with_help(help)
            }
        }
    }

    /// The same error with the reason that the server gave for ending the session.
    #[must_use]
    pub(crate) fn with_last_words(self, code: &str, message: &str) -> Self {
        let error = self.and(&format!("the server ended the session: {message} (SQLSTATE {code})"));
        let help = pooler_help(code, message).map(str::to_owned);
        // A refusal, rather than the loss of a server.
        let kind = if code == SqlState::PROTOCOL_VIOLATION.code() { ErrorKind::Database } else { error.kind };
        Error { kind, help, ..error }.with_sqlstate(code)
    }

    /// The same error with its cause.
    #[must_use]
    pub(crate) fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The connection was closed by the server while this program was `doing` something else ("wait for input").
    pub(crate) fn closed(doing: &str) -> Self {
        Error::connect(format!("failed to {doing}: {ConnectionClosed}"))
            .with_help("the server closed the connection; its log says why")
            .with_source(ConnectionClosed)
    }

    /// Whether the error is that a connection is closed, which does not tell why.
    pub(crate) fn is_about_closed_connection(&self) -> bool {
        let Some(source) = &self.source else { return false };
        source.is::<ConnectionClosed>() || source.downcast_ref().is_some_and(is_about_connection)
    }

    /// Whether the error is that the session ended, with a reason or without.
    pub(crate) fn is_about_ended_session(&self) -> bool {
        let db = self.source.as_ref().and_then(|source| source.downcast_ref::<tokio_postgres::Error>());
        let severity = db.and_then(|error| error.as_db_error()?.parsed_severity());
        self.is_about_closed_connection() || matches!(severity, Some(Severity::Fatal | Severity::Panic))
    }

    /// The same error with the SQLSTATE `code`.
    #[must_use]
    pub(crate) fn with_sqlstate(mut self, code: impl Into<Box<str>>) -> Self {
        self.sqlstate = Some(code.into());
        self
    }

    /// The same error, of a connection that cannot be opened, for a cause that does not pass by itself.
    #[must_use]
    pub(crate) fn lasting(self) -> Self {
        Error { is_lasting: true, ..self }
    }

    /// Whether it is that a connection cannot be opened, for a cause that does not pass by itself.
    pub(crate) fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// The same error with the place of the record or field it is about.
    #[must_use]
    pub(crate) fn at(mut self, location: Location) -> Self {
        self.location = Some(Box::new(location));
        self
    }

    /// Where in the input the error is, if it is about a file, a record or a field.
    pub fn location(&self) -> Option<&Location> {
        self.location.as_deref()
    }

    /// The server's SQLSTATE, five characters listed in appendix A of PostgreSQL's documentation; `None` when the error
    /// is not the server's.
    pub fn sqlstate(&self) -> Option<&str> {
        let of_source = || {
            let driver: &tokio_postgres::Error = self.source.as_ref()?.downcast_ref()?;
            driver.code().map(SqlState::code)
        };
        self.sqlstate.as_deref().or_else(of_source)
    }

    /// The kind of error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it, if there is a known remedy.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// The server closed the connection while nothing was sent over it.
#[derive(Debug)]
struct ConnectionClosed;

impl fmt::Display for ConnectionClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection closed")
    }
}

impl std::error::Error for ConnectionClosed {}

/// The worker, as host and port, that Citus names in the `context` of an error.
pub(crate) fn worker(context: &str) -> Option<&str> {
    let (_, rest) = context.split_once("while executing command on ")?;
    let end = rest.find(|c: char| !(c.is_alphanumeric() || ".:-_[]/".contains(c))).unwrap_or(rest.len());
    Some(&rest[..end]).filter(|worker| !worker.is_empty())
}

/// Whether the connection is closed or broken.
fn is_about_connection(error: &tokio_postgres::Error) -> bool {
    error.is_closed()
        || std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// What to do about errors that users often meet; `None` for any other.
pub(crate) fn known_remedy(code: &str, message: &str) -> Option<&'static str> {
    match code {
        "25006" => Some(
            "the server is a standby, or the session read-only: connect to the primary (target_session_attrs=read-write)",
        ),
        "42501" => Some("a role with the privilege has to GRANT it, or log in as another role"),
        "53100" => Some("free or add space on the server's disk"),
        "53300" => Some("use fewer connections, close idle ones, or raise the server's max_connections"),
        "55P03" => Some(
            "another session holds the lock: wait for it to end, or raise lock_timeout; pg_locks shows it",
        ),
        "57014" if message.contains("statement timeout") => {
            Some("raise statement_timeout: PGOPTIONS='-c statement_timeout=0'")
        }
        _ => pooler_help(code, message),
    }
}

/// What to do about an error that a connection pooler causes, by keeping prepared statements of another connection, or
/// none; `None` for any other error.
fn pooler_help(code: &str, message: &str) -> Option<&'static str> {
    let is_about_names = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT]
        .iter()
        .any(|state| state.code() == code);
    // PgBouncer reports everything as a protocol violation, with a message of its own.
    let says = |text: &str| code == SqlState::PROTOCOL_VIOLATION.code() && message.contains(text);
    if is_about_names || says("prepared statement") {
        Some(
            "connections go through a pooler such as PgBouncer, which does not keep prepared statements; use \
             --prepare never, or --prepare auto, with which poolers are recognised",
        )
    } else if says("statement pooling mode") {
        Some(
            "the pooler pools statements, which rules out transactions; use a pool with pool_mode transaction or session",
        )
    } else if says("no more connections allowed") {
        Some("the pooler accepts no more clients: use fewer --connections, or raise its max_client_conn")
    } else if says("query_wait_timeout") {
        Some("the pooler has no server connection left: use fewer --connections, or raise its pool size")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_is_found_in_the_context() {
        assert_eq!(worker("while executing command on localhost:9701"), Some("localhost:9701"));
        let context = "COPY t, line 2\nwhile executing command on w-1.example.com:5432\nCOPY t, line 9";
        assert_eq!(worker(context), Some("w-1.example.com:5432"));
        assert_eq!(worker("COPY t, line 2"), None);
    }

    #[test]
    fn the_cause_and_the_place_are_kept() {
        let missing = std::io::Error::from_raw_os_error(2);
        let error = Error::io(ErrorKind::Input, "open", Path::new("people.csv"), missing);
        assert_eq!(error.location(), Some(&Location::in_file("people.csv")));
        let cause =
            std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::NotFound));
        assert_eq!(error.sqlstate(), None);
        let error = Error::input("bad").at(Location::on_line("people.csv", 7).in_column(2));
        assert_eq!(error.location().map(|place| (place.line, place.column)), Some((Some(7), Some(2))));
    }
}
