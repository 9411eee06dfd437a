//! The result of a writer: the server's counts, or the reason why it stopped.

use tokio_postgres::error::SqlState;

use crate::Error;

/// Why a writer stopped.
#[derive(Debug)]
pub(crate) enum WriteFailure {
    /// The input is invalid or cannot be read, or the load was cancelled.
    Input(Error),
    /// The server refused a statement.
    Server {
        /// Its error.
        error: tokio_postgres::Error,
        /// The first and the last row of the feed, from 0, that may be at fault; `None` if any may be.
        rows: Option<(u64, u64)>,
    },
}

impl WriteFailure {
    /// The server's SQLSTATE; `None` if the server did not refuse anything.
    pub(crate) fn code(&self) -> Option<&SqlState> {
        match self {
            WriteFailure::Input(_) => None,
            WriteFailure::Server { error, .. } => error.code(),
        }
    }
}

impl From<Error> for WriteFailure {
    fn from(error: Error) -> Self {
        WriteFailure::Input(error)
    }
}

/// Rows that the server reports as written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowCounts {
    /// Rows inserted.
    pub inserted: u64,
    /// Existing rows updated.
    pub updated: u64,
}

impl std::ops::AddAssign for RowCounts {
    fn add_assign(&mut self, other: RowCounts) {
        self.inserted += other.inserted;
        self.updated += other.updated;
    }
}
