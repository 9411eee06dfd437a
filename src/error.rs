//! The one error type, what it prints, and the exit code it ends the process with.

mod caret;

use std::fmt::Write as _;
use std::path::Path;

use tokio_postgres::error::{DbError, ErrorPosition};

use crate::error::caret::point_at;

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in one paragraph, with the remedy apart.
///
/// The message is a lower-case fragment that names the file, line, column or statement it is about, with the line of
/// a statement under it where the server points into one; the help says what to do next. Branch on [`Error::kind`], never on the text.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    help: Option<String>,
}

/// What an [`Error`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line or the environment asks for something that cannot be done.
    Usage,
    /// `config.toml` is missing, malformed or names something unknown.
    Config,
    /// The input file is missing, or a record of it is not what the table takes.
    Input,
    /// An output file cannot be written.
    Output,
    /// No connection: the server is down, refuses the login or is not there.
    Connect,
    /// The server that we start ourselves cannot be found, initialised or started.
    Launch,
    /// The server refused a statement.
    Database,
    /// Ctrl-C or a termination signal.
    Interrupted,
}

/// The message of an error that is part of a report, and null where there is none.
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
        Error { kind, message: message.into(), help: None }
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
    pub fn io(kind: ErrorKind, action: &str, path: &Path, source: &std::io::Error) -> Self {
        Error::new(kind, format!("failed to {action} {}: {source}", path.display()))
    }

    /// A failure of the driver or the server while `doing` something ("create table persons").
    ///
    /// The driver displays server errors as "db error", so message, detail, constraint and SQLSTATE are taken
    /// out of it here, and the server's hint becomes the help.
    pub fn database(doing: &str, source: &tokio_postgres::Error) -> Self {
        let Some(db) = source.as_db_error() else {
            let kind = if source.is_closed() { ErrorKind::Connect } else { ErrorKind::Database };
            let mut message = format!("failed to {doing}: {source}");
            if let Some(cause) = std::error::Error::source(source) {
                let _ = write!(message, ": {cause}");
            }
            let error = Error::new(kind, message);
            return match kind {
                ErrorKind::Connect => error.with_help("the server closed the connection; its log says why"),
                _ => error,
            };
        };
        Error::refused(&format!("failed to {doing}"), None, db)
    }

    /// The server does not prepare the statement `sql`, which users know as `name`; shows the place that it points
    /// at.
    pub fn statement(name: &str, sql: &str, source: &tokio_postgres::Error) -> Self {
        match source.as_db_error() {
            Some(db) => Error::refused(&format!("{name} does not prepare"), Some(sql), db),
            None => Error::database(&format!("prepare {name}"), source),
        }
    }

    /// "{start}: {what the server says}"; `sql` is the statement, if users know it.
    fn refused(start: &str, sql: Option<&str>, db: &DbError) -> Self {
        let mut message = format!("{start}: {} (SQLSTATE {}", db.message(), db.code().code());
        if let Some(constraint) = db.constraint() {
            let _ = write!(message, ", constraint {constraint}");
        }
        message.push(')');
        if let Some(detail) = db.detail() {
            let _ = write!(message, "; {}", detail.trim_end_matches('.'));
        }
        match (db.position(), sql) {
            (Some(ErrorPosition::Original(position)), Some(sql)) => {
                let _ = write!(message, "\n{}", point_at(sql, *position));
            }
            (Some(ErrorPosition::Original(position)), None) => {
                let _ = write!(message, "; at character {position} of the statement");
            }
            // A statement that a function or a trigger of the server runs.
            (Some(ErrorPosition::Internal { position, query }), _) => {
                let _ = write!(message, "\n{}", point_at(query, *position));
            }
            (None, _) => {}
        }
        // 57P01 and its like: the server shuts down, or somebody ended the session.
        let kind = if db.code().code().starts_with("57P") { ErrorKind::Connect } else { ErrorKind::Database };
        let error = Error::new(kind, message);
        match db.hint() {
            Some(hint) => error.with_help(hint),
            None => error,
        }
    }

    /// The same error, with `more` that is true besides.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        // What a server points into has lines of its own.
        let separator = if self.message.contains('\n') { "\n" } else { "; " };
        self.message.push_str(separator);
        self.message.push_str(more);
        self
    }

    /// The same error with its remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What the error is about.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it, when something can be said.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}
