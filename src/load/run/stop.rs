//! Why a load stopped early, and the error that the user sees.

use tokio_postgres::error::SqlState;

use crate::Error;
use crate::catalog::Table;
use crate::error::ErrorKind;
use crate::load::chunk::stream::ChunkFeed;
use crate::load::options::Mode;
use crate::load::refusal::{RefusalScope, refusal_error, refused_columns};
use crate::load::reject::orphans::Orphans;
use crate::load::settings::LoadSettings;
use crate::load::write::outcome::WriteFailure;
use crate::progress::Progress;

/// Why a load stopped early.
pub(crate) enum Stopped {
    /// This error is final.
    Error(Error),
    /// A row is wrong, but the server did not tell which: loading again in this mode, with checks at every row, will.
    RetryRowByRow(Error, Mode),
    /// Rows refer to others of the same table that are missing: loading again without them will succeed.
    RetryWithout(Orphans),
}

impl Stopped {
    /// The error, if it is not worth another try.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Stopped::Error(error) | Stopped::RetryRowByRow(error, _) => error,
            Stopped::RetryWithout(orphans) => orphans.into_error(),
        }
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Error(error)
    }
}

/// Replace `stopped` by the cancellation, if the load was cancelled: other errors are then its consequence.
pub(crate) fn interrupted(progress: &Progress, stopped: Stopped) -> Stopped {
    if progress.is_cancelled() {
        return Error::interrupted().with_help("nothing was loaded").into();
    }
    stopped
}

/// Decide whether a writer's `failure` ends the load, or whether it is worth retrying.
pub(crate) fn stop_or_retry(
    failure: WriteFailure,
    feed: &ChunkFeed<'_>,
    settings: &LoadSettings,
    table: &Table,
) -> Stopped {
    let mode = settings.input.mode;
    let is_duplicate_key = failure.code() == Some(&SqlState::CARDINALITY_VIOLATION);
    let (is_about_rows, is_located) = match &failure {
        WriteFailure::Server { error, rows } => (
            RefusalScope::new(error) != RefusalScope::Session,
            rows.is_some_and(|(first, last)| first == last),
        ),
        WriteFailure::Input(error) => (error.kind() == ErrorKind::Input, true),
    };
    let error = explain(failure, feed, settings, table);
    if !is_about_rows {
        Stopped::Error(error)
    } else if settings.max_rejects.allows_any() {
        Stopped::RetryRowByRow(error, mode)
    } else if is_duplicate_key {
        // A statement cannot update the same row twice.
        let error = error.with_help("a key occurs twice in the file; --mode rows can update a row twice");
        Stopped::RetryRowByRow(error, Mode::Rows)
    } else if !is_located && mode != Mode::Rows && !table.references_itself {
        // Where Citus has the rows, the one at fault is searched for in the same mode.
        let mode = if table.distribution.is_some() { mode } else { Mode::Rows };
        Stopped::RetryRowByRow(error, mode)
    } else {
        Stopped::Error(error)
    }
}

/// The error for a writer's `failure`, with the lines that `feed` knows.
pub(crate) fn explain(
    failure: WriteFailure,
    feed: &ChunkFeed<'_>,
    settings: &LoadSettings,
    table: &Table,
) -> Error {
    match failure {
        WriteFailure::Input(error) => error,
        WriteFailure::Server { error, rows } => {
            let ended = RefusalScope::ends_session(&error);
            // A session that ends does so at any row, through no fault of it.
            let rows = rows.filter(|_| !ended);
            let lines = rows.and_then(|(first, last)| feed.locate_range(first, last));
            let lines = lines.unwrap_or_else(|| settings.input.describe());
            let verb = if settings.input.mode == Mode::Copy { "copy" } else { "insert" };
            let location = rows.and_then(|(first, _)| feed.location(first));
            let columns = error.as_db_error().map(|db| refused_columns(db, table)).unwrap_or_default();
            let refusal = refusal_error(&format!("{verb} {lines} into {}", table.name), error);
            let refusal = match columns[..] {
                [] => refusal,
                _ => refusal.and(&format!("in column {}", columns.join(" or "))),
            };
            match location {
                Some(location) => refusal.at(location),
                None => refusal,
            }
        }
    }
}
