//! Why a load did not come to its end, and what that means for the user.

use tokio_postgres::error::SqlState;

use crate::Error;
use crate::catalog::Table;
use crate::error::ErrorKind;
use crate::load::chunk::stream::ChunkFeed;
use crate::load::options::Mode;
use crate::load::refusal::{is_about_rows, refused};
use crate::load::settings::LoadSettings;
use crate::load::write::outcome::Failed;
use crate::progress::Progress;

/// Why a load did not come to its end.
pub(crate) enum Stopped {
    Error(Error),
    /// Some row is wrong, but this way nobody can tell which: another try, row by row in this mode, will.
    RetryRowByRow(Error, Mode),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Error(error)
    }
}

/// Whatever a transaction `stopped` for when it was cancelled: the cancellation.
pub(crate) fn interrupted(progress: &Progress, stopped: Stopped) -> Stopped {
    if progress.is_cancelled() {
        return Error::interrupted().with_help("nothing was loaded").into();
    }
    stopped
}

/// What a sink's failure means for the load.
pub(crate) fn stopped(
    failed: Failed,
    feed: &ChunkFeed<'_>,
    settings: &LoadSettings,
    table: &Table,
) -> Stopped {
    let mode = settings.input.mode;
    let is_key_twice = failed.code() == Some(&SqlState::CARDINALITY_VIOLATION);
    let (is_about_rows, is_placed) = match &failed {
        Failed::Server { error, rows } => {
            (is_about_rows(error, table), rows.is_some_and(|(first, last)| first == last))
        }
        Failed::Input(error) => (error.kind() == ErrorKind::Input, true),
    };
    let error = explain(failed, feed, settings, table);
    if !is_about_rows {
        Stopped::Error(error)
    } else if settings.max_rejects.allows_any() {
        Stopped::RetryRowByRow(error, mode)
    } else if is_key_twice {
        // Many rows in one statement may not update the same row twice.
        Stopped::RetryRowByRow(error.with_help("a key is in the file twice: use --mode rows"), Mode::Rows)
    } else if !is_placed && mode != Mode::Rows && !table.references_itself {
        Stopped::RetryRowByRow(error, Mode::Rows)
    } else {
        Stopped::Error(error)
    }
}

/// What a sink's failure is for the user: `feed` knows where the rows were.
pub(crate) fn explain(failed: Failed, feed: &ChunkFeed<'_>, settings: &LoadSettings, table: &Table) -> Error {
    match failed {
        Failed::Input(error) => error,
        Failed::Server { error, rows } => {
            let lines = rows.and_then(|(first, last)| feed.locate_range(first, last));
            let lines = lines.unwrap_or_else(|| settings.input.describe());
            let verb = if settings.input.mode == Mode::Copy { "copy" } else { "insert" };
            refused(&format!("{verb} {lines} into {}", table.name), &error)
        }
    }
}
