//! The ways to run a load, from the first statement to the commit, one per file.

pub(crate) mod autocommit;
pub(crate) mod commit;
pub(crate) mod deadlock;
pub(crate) mod encode_only;
pub(crate) mod import;
pub(crate) mod insertion;
pub(crate) mod one_transaction;
pub(crate) mod parallel_copy;
pub(crate) mod routed_copy;
pub(crate) mod stop;
pub(crate) mod two_phase;

use std::sync::Arc;
use std::time::Instant;

use crate::csv::Files;
use crate::load::reject::orphans::Orphans;
use crate::load::report::{ImportReport, Phases};
use crate::load::run::commit::CommittedTransaction;
use crate::load::settings::LoadSettings;
use crate::load::table::create::NewTable;
use crate::load::table::prepare::PreparedTable;
use crate::load::totals::LoadTotals;
use crate::postgres::server::SessionPool;
use crate::progress::Progress;

/// The inputs of a load that needs a server.
pub(crate) struct LoadRun<'a> {
    pub(crate) settings: &'a LoadSettings,
    pub(crate) files: Files,
    /// The table to create first; `None` to load into an existing or configured one.
    pub(crate) new_table: Option<&'a NewTable>,
    pub(crate) connections: &'a SessionPool,
    pub(crate) progress: &'a Arc<Progress>,
    pub(crate) started: Instant,
    /// Rows known from an earlier try to be rejected.
    pub(crate) orphans: Option<&'a Orphans>,
}

/// The outcome of a load that needs a server.
pub(crate) struct RunResult {
    pub(crate) prepared: PreparedTable,
    pub(crate) totals: LoadTotals,
    /// All but `commit_seconds` and `analyze_seconds`.
    pub(crate) phases: Phases,
    /// The transactions; empty with `--autocommit`, where every row has its own.
    pub(crate) transactions: Vec<CommittedTransaction>,
    /// Whether all rows were committed as one.
    pub(crate) is_atomic: bool,
    /// The import that they are part of.
    pub(crate) import: Option<ImportReport>,
}

/// When the server checks indexes and deferrable constraints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowChecks {
    /// At the end of the load, where that is possible.
    AtTheEnd,
    /// At every row, because a check at the end does not tell which row violates the constraint.
    ByRow,
}
