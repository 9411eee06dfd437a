//! How a sink ended, and what the server counted.

use tokio_postgres::error::SqlState;

use crate::Error;

/// Why a sink stopped.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The input is wrong, or cannot be read.
    Input(Error),
    /// The server refused something.
    Server {
        /// What it said.
        error: tokio_postgres::Error,
        /// The rows that it may be about, from 0, the first and the last; `None` if it may be any.
        rows: Option<(u64, u64)>,
    },
}

impl Failed {
    /// The server's SQLSTATE, if it was the server.
    pub(crate) fn code(&self) -> Option<&SqlState> {
        match self {
            Failed::Input(_) => None,
            Failed::Server { error, .. } => error.code(),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Input(error)
    }
}

/// What the server says it did with the rows that it was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// New rows.
    pub inserted: u64,
    /// Rows that were there and got new values.
    pub updated: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.inserted += other.inserted;
        self.updated += other.updated;
    }
}
