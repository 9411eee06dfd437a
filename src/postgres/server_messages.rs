//! What the server says unasked: warnings, and why it ends a session.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::{AsyncMessage, Connection};
use tokio_postgres_sync_batching::{FatalError, StreamControl};

use crate::Error;
use crate::error::ErrorKind;

/// The largest number of warnings whose text is kept.
const MOST_KEPT: usize = 100;

/// Warnings of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerWarnings {
    /// How many there were.
    pub count: u64,
    /// The messages of the first 100.
    pub messages: Vec<String>,
}

/// The messages that arrived over the connections that share this.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerMessages(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    warnings: ServerWarnings,
    /// Why the server ended sessions, by the process ID that it sent at login.
    last_words: BTreeMap<i32, LastWords>,
}

/// Why the server ended a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastWords {
    /// The SQLSTATE.
    pub(crate) code: String,
    /// The message.
    pub(crate) message: String,
}

impl ServerMessages {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Process the messages of `connection`, whose stream is that of `control`, until it ends, and keep those of the
    /// server.
    pub(crate) async fn drive<S, T>(self, mut connection: Connection<S, T>, control: StreamControl)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => self.keep_notice(&notice),
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!("connection lost: {error}");
                    break;
                }
            }
        }
        // Before the connection is dropped, and whoever uses it learns that it is closed.
        self.keep_last_words(&control);
    }

    /// Keep why the server ended the session of `control`, if it has said so.
    pub(crate) fn keep_last_words(&self, control: &StreamControl) {
        if let Some(FatalError { code, message }) = control.fatal_error() {
            let pid = control.login_pid().unwrap_or_default();
            self.kept().last_words.insert(pid, LastWords { code, message });
        }
    }

    fn keep_notice(&self, notice: &DbError) {
        let is_warning = matches!(notice.parsed_severity(), Some(Severity::Warning));
        // A notice, because the server goes on with another name than the one it was given.
        if !is_warning && *notice.code() != SqlState::NAME_TOO_LONG {
            tracing::debug!("notice from the server: {}", notice.message());
            return;
        }
        let mut message = format!("{} (SQLSTATE {})", notice.message(), notice.code().code());
        for more in [notice.detail(), notice.hint()].into_iter().flatten() {
            let _ = write!(message, "; {}", more.trim_end_matches('.'));
        }
        let ServerWarnings { count, messages } = &mut self.kept().warnings;
        *count += 1;
        if messages.len() < MOST_KEPT {
            tracing::warn!("warning from the server: {message}");
            messages.push(message);
        } else {
            // A trigger may warn of every row.
            tracing::debug!("warning from the server: {message}");
        }
    }

    /// The warnings so far.
    pub(crate) fn warnings(&self) -> ServerWarnings {
        self.kept().warnings.clone()
    }

    /// Why the server ended the session with process ID `pid`; `None` if that is not known, as behind a pooler.
    pub(crate) fn last_words_of(&self, pid: i32) -> Option<LastWords> {
        self.kept().last_words.get(&pid).cloned()
    }

    /// Why the server ended a session; `None` if that is not known, or ambiguous.
    fn last_words(&self) -> Option<LastWords> {
        let kept = self.kept();
        let mut words = kept.last_words.values();
        let first = words.next()?;
        words.all(|other| other == first).then(|| first.clone())
    }

    /// `error`, with the reason that the server gave if the error is that a connection is closed.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match self.last_words() {
            Some(words) if error.kind() == ErrorKind::Connect && error.is_about_closed_connection() => {
                error.with_last_words(&words.code, &words.message)
            }
            _ => error,
        }
    }
}

impl fmt::Display for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}
