//! The ways to carry a load through, each told from top to bottom in a file of its own.

pub(crate) mod autocommit;
pub(crate) mod encode_only;
pub(crate) mod one_transaction;
pub(crate) mod parallel_copy;
pub(crate) mod stop;

use std::sync::Arc;
use std::time::Instant;

use crate::csv::Files;
use crate::load::report::Phases;
use crate::load::settings::LoadSettings;
use crate::load::table::create::NewTable;
use crate::load::table::prepare::Prepared;
use crate::load::totals::LoadTotals;
use crate::postgres::server::SessionPool;
use crate::progress::Progress;

/// Everything that a way of loading starts from.
pub(crate) struct LoadRun<'a> {
    pub(crate) settings: &'a LoadSettings,
    pub(crate) files: Files,
    /// The table to create first, if the files call for one.
    pub(crate) new_table: Option<&'a NewTable>,
    pub(crate) connections: &'a SessionPool,
    pub(crate) progress: &'a Arc<Progress>,
    pub(crate) started: Instant,
}

/// What a way of loading ends with.
pub(crate) struct RunResult {
    pub(crate) prepared: Prepared,
    pub(crate) totals: LoadTotals,
    /// All but the time of the commit.
    pub(crate) phases: Phases,
}

/// When the server compares rows with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowChecks {
    /// What can wait until the end of the load does: indexes and deferred constraints.
    AtTheEnd,
    /// At every row, because at the end the server does not say which row it was.
    ByRow,
}
