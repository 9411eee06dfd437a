//! Writes the rows of a stream inside a transaction, in any mode.

use tokio_postgres::Client;

use crate::catalog::Table;
use crate::csv::InputFormat;
use crate::error::ErrorKind;
use crate::load::chunk::stream::{ChunkFeed, ChunkStream};
use crate::load::options::Mode;
use crate::load::reject::RejectingLoad;
use crate::load::reject::orphans::Orphans;
use crate::load::reject::sink::RejectSink;
use crate::load::run::stop::{Stopped, stop_or_retry};
use crate::load::settings::LoadSettings;
use crate::load::table::can_load::check_can_load;
use crate::load::table::constraints::check_constraints;
use crate::load::table::prepare::PreparedTable;
use crate::load::table::unchanged::{OthersLock, lock_unchanged};
use crate::load::totals::{LoadTotals, discrepancy};
use crate::load::write::Writer;
use crate::load::write::conflict::resolve_clause;
use crate::load::write::rows::RowWriter;
use crate::postgres::server::SessionPool;
use crate::{Error, Result};

/// A transaction that is ready for its rows.
pub(super) struct Insertion<'a> {
    client: &'a Client,
    settings: &'a LoadSettings,
    prepared: &'a PreparedTable,
    writer: Writer,
    /// Writes single rows where bad ones are isolated.
    row_writer: Option<RowWriter>,
    /// Whether a row is skipped if its key exists.
    skips: bool,
}

/// How bad rows are set aside.
pub(super) struct Rejecting<'a> {
    /// How a record of the input files is written.
    pub(super) format: InputFormat,
    /// Rows known from an earlier try to be rejected.
    pub(super) orphans: Option<&'a Orphans>,
    /// Whether the server has accepted rows of the same files before.
    pub(super) any_accepted: bool,
    /// What takes them.
    pub(super) sink: &'a mut dyn RejectSink,
}

impl<'a> Insertion<'a> {
    /// Prepare to insert into the table over `client`, one of `connections`, which has a transaction open; `rejecting` if bad rows are to be
    /// set aside. `is_new` tells that the transaction has created or emptied the table.
    ///
    /// # Errors
    /// When the table was altered, and when the server refuses the statements, or the key of `--on-conflict`.
    pub(super) async fn prepare(
        (client, connections): (&'a Client, &SessionPool),
        settings: &'a LoadSettings,
        prepared: &'a PreparedTable,
        rejecting: bool,
        is_new: bool,
    ) -> Result<Insertion<'a>> {
        let PreparedTable { table, mapping, .. } = prepared;
        lock_unchanged(client, prepared, OthersLock::Await).await?;
        let clause = resolve_clause(client, settings, prepared).await?;
        let skips = clause.as_ref().is_some_and(|clause| !clause.updates);
        // A COPY under one of the savepoints of rejecting could not freeze its rows, nor can one into the temporary table
        // of --on-conflict.
        let freeze = is_new && table.is_stored && !table.is_partitioned && !rejecting && clause.is_none();
        if settings.input.mode == Mode::Copy {
            let why = if freeze { "is new or emptied" } else { "has rows, or its rows may be rejected" };
            tracing::info!(
                "COPY {} FREEZE, because the table {why}",
                if freeze { "with" } else { "without" }
            );
        }
        let names: Vec<&str> = mapping.names().collect();
        let row_writer = if rejecting && check_can_load(table, Mode::Rows, &names).is_ok() {
            let depth = settings.pipeline_depth;
            Some(RowWriter::prepare(client, &table.name, mapping, clause.as_ref(), depth).await?)
        } else {
            None
        };
        let has_lane = matches!(settings.input.mode, Mode::Rows | Mode::Batch);
        let lane = if has_lane { connections.lane_of(client).await } else { None };
        let writer = Writer::prepare((client, lane), settings, &table.name, mapping, clause, freeze).await?;
        Ok(Insertion { client, settings, prepared, writer, row_writer, skips })
    }

    /// Insert all rows of `stream`, and check that the server's counts add up to the rows read.
    ///
    /// # Errors
    /// At the first row that cannot be loaded, unless bad rows are set aside.
    pub(super) async fn insert(
        self,
        stream: &ChunkStream,
        rejecting: Option<Rejecting<'_>>,
    ) -> Result<LoadTotals, Stopped> {
        let Insertion { client, settings, prepared, mut writer, row_writer, skips } = self;
        let PreparedTable { table, mapping, .. } = prepared;
        let mut totals = if let Some(Rejecting { format, orphans, any_accepted, sink }) = rejecting {
            let load = RejectingLoad { client, settings, table, mapping, format, orphans, any_accepted };
            load.insert(&mut writer, row_writer, stream, sink).await?
        } else {
            let mut feed = ChunkFeed::from_stream(stream);
            let counts = writer.write(client, &mut feed).await;
            let counts = counts.map_err(|failure| stop_or_retry(failure, &feed, settings, table))?;
            LoadTotals { read: feed.rows(), encoded: feed.rows(), counts, ..LoadTotals::default() }
        };
        writer.close().await;
        if skips {
            totals.skipped = totals.read - totals.rejected - totals.counts.inserted;
        }
        check_totals(&totals, settings, table)?;
        Ok(totals)
    }
}

/// Check the rows written so far against the constraints that were deferred, which the commit would do otherwise.
///
/// # Errors
/// When a row violates one, which the server does not name: [`Stopped::RetryRowByRow`] where another try will.
pub(super) async fn check_at_end(
    client: &Client,
    settings: &LoadSettings,
    table: &Table,
) -> Result<(), Stopped> {
    let mode = settings.input.mode;
    check_constraints(client).await.map_err(|error| {
        match (settings.max_rejects.allows_any(), table.references_itself) {
            (true, _) => Stopped::RetryRowByRow(error, mode),
            (false, false) => Stopped::RetryRowByRow(error, Mode::Rows),
            (false, true) => Stopped::Error(error),
        }
    })
}

/// Check that the totals add up.
fn check_totals(totals: &LoadTotals, settings: &LoadSettings, table: &Table) -> Result<()> {
    let Some(discrepancy) = discrepancy(totals, settings) else { return Ok(()) };
    let suspects = match table.before_insert_triggers.as_slice() {
        [] => "the rules and row security policies of the table".to_owned(),
        triggers => format!("the table's BEFORE INSERT triggers: {}", triggers.join(", ")),
    };
    let help = format!("nothing was committed; check {suspects}");
    Err(Error::new(ErrorKind::Database, discrepancy).with_help(help))
}
