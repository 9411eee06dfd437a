//! One transaction over one connection: all rows or none.

use crate::load::table::can_load::check_can_load;
use std::sync::Arc;

use deadpool_postgres::Object;
use tokio_postgres::{Client, GenericClient};

use crate::csv::{Dialect, Files};
use crate::error::ErrorKind;
use crate::load::chunk::CHUNK_ROWS;
use crate::load::chunk::encoder::{ChunkEncoder, EncodePlan};
use crate::load::chunk::stream::{ChunkFeed, ChunkStream};
use crate::load::options::Mode;
use crate::load::refusal::{is_about_rows, refused};
use crate::load::reject::RejectingLoad;
use crate::load::report::Phases;
use crate::load::run::stop::{Stopped, interrupted, stopped};
use crate::load::run::{LoadRun, RowChecks, RunResult};
use crate::load::settings::LoadSettings;
use crate::load::table::constraints::check_constraints;
use crate::load::table::prepare::{Prepared, defer_indexes, prepare_table};
use crate::load::totals::{LoadTotals, discrepancy};
use crate::load::write::Writer;
use crate::load::write::conflict::resolve_clause;
use crate::load::write::rows::Rows;
use crate::progress::Progress;
use crate::{Error, Result};

/// Load everything in a transaction of `client`, and commit it, or roll it back if it is a dry run.
///
/// # Errors
/// At the first row that the table does not take, unless rejects are allowed; the transaction is then rolled back.
pub(crate) async fn load(
    run: LoadRun<'_>,
    mut client: Object,
    checks: RowChecks,
) -> Result<RunResult, Stopped> {
    let (settings, progress) = (run.settings, run.progress);
    let failed = |doing| move |error| Error::database(doing, &error);
    let transaction = client.transaction().await.map_err(failed("begin the transaction"))?;
    let written = write(run, &*transaction, checks).await;
    match written {
        Ok(_) if settings.dry_run => {
            transaction.rollback().await.map_err(failed("roll back the dry run"))?;
        }
        Ok(_) => transaction.commit().await.map_err(|error| refused("commit the load", &error))?,
        // Awaited, so that the table is as before when the error is read.
        Err(_) => drop(transaction.rollback().await),
    }
    written.map_err(|stopped| interrupted(progress, stopped))
}

/// Everything that is done between BEGIN and COMMIT.
async fn write(
    run: LoadRun<'_>,
    transaction: &impl GenericClient,
    checks: RowChecks,
) -> Result<RunResult, Stopped> {
    let LoadRun { settings, files, new_table, progress, started, .. } = run;
    let mut phases = Phases::default();
    let mut prepared = prepare_table(transaction, settings, &files, new_table).await?;
    prepared.empty(transaction).await?;
    let client = transaction.client();
    match checks {
        RowChecks::AtTheEnd => {
            prepared.indexes = defer_indexes(client, settings, &prepared, files.inputs()).await?;
        }
        // A row of a table that references itself may need a later one, which is no fault.
        RowChecks::ByRow if settings.max_rejects.allows_any() || !prepared.table.references_itself => {
            check_constraints(client).await?;
        }
        RowChecks::ByRow => {}
    }
    phases.prepare_seconds = started.elapsed().as_secs_f64();
    let totals = insert_all(client, settings, checks, &prepared, files, progress).await?;
    phases.write_seconds = started.elapsed().as_secs_f64() - phases.prepare_seconds;
    finish(client, settings, &prepared).await?;
    if let Some(new_table) = new_table {
        new_table.put_in_place(transaction).await?;
    }
    phases.finish_seconds = started.elapsed().as_secs_f64() - phases.prepare_seconds - phases.write_seconds;
    Ok(RunResult { prepared, totals, phases })
}

/// Rebuild the indexes, and check the constraints that were deferred.
async fn finish(client: &Client, settings: &LoadSettings, prepared: &Prepared) -> Result<(), Stopped> {
    let mode = settings.input.mode;
    // Before the deferred constraints, whose checks may need them.
    prepared.indexes.build(client).await.map_err(|error| {
        let refusal = refused(&format!("rebuild the indexes of {}", prepared.table.name), &error);
        if !is_about_rows(&error, &prepared.table) {
            return Stopped::Error(refusal);
        }
        let refusal = refusal.with_help("with --defer-indexes never the server says which row it is");
        // A COPY says which row has a duplicate key; a batch does not.
        Stopped::RetryRowByRow(refusal, if mode == Mode::Batch { Mode::Rows } else { mode })
    })?;
    // They would be reported at the commit only, which a dry run does not reach.
    check_constraints(client).await.map_err(|error| {
        match (settings.max_rejects.allows_any(), prepared.table.references_itself) {
            (true, _) => Stopped::RetryRowByRow(error, mode),
            (false, false) => Stopped::RetryRowByRow(error, Mode::Rows),
            (false, true) => Stopped::Error(error),
        }
    })
}

/// Write everything inside a transaction, and see that the server's counts add up to what was read.
async fn insert_all(
    client: &Client,
    settings: &LoadSettings,
    checks: RowChecks,
    prepared: &Prepared,
    files: Files,
    progress: &Arc<Progress>,
) -> Result<LoadTotals, Stopped> {
    let Prepared { table, targets, .. } = prepared;
    if targets.columns.is_empty() {
        return Ok(LoadTotals::default());
    }
    let clause = resolve_clause(client, settings, prepared).await?;
    let skips = clause.as_ref().is_some_and(|clause| !clause.updates);
    // Rows that refer to rows behind them cannot be judged one by one, so that is left until it has to be.
    let whole_first =
        checks == RowChecks::AtTheEnd && table.references_itself && files.inputs().can_be_read_again();
    let rejecting = settings.max_rejects.allows_any() && !whole_first;
    // Rejecting sets savepoints.
    let freeze = (prepared.truncate || prepared.created) && !table.is_partitioned && !rejecting;
    let names: Vec<&str> = targets.names().collect();
    let row_writer = if rejecting && check_can_load(table, Mode::Rows, &names).is_ok() {
        let depth = settings.pipeline_depth;
        Some(Rows::prepare(client, &table.name, targets, clause.as_ref(), depth).await?)
    } else {
        None
    };
    let mut writer = Writer::prepare(client, settings, &table.name, targets, clause, freeze).await?;
    let dialect = Dialect { encoding: files.encoding(), ..files.format().dialect.clone() };
    let header = files.header().map(|header| header.raw.clone()).unwrap_or_default();
    let plan = EncodePlan { chunk_rows: CHUNK_ROWS, mode: settings.input.mode, rejecting };
    let stream = ChunkStream::start(ChunkEncoder::new(files, Arc::clone(targets), plan), progress);
    let mut outcome = if rejecting {
        let load = RejectingLoad { client, settings, table, targets, dialect, header };
        load.insert(&mut writer, row_writer, &stream).await?
    } else {
        let mut feed = ChunkFeed::stream(&stream);
        let counts = writer.write(client, &mut feed).await;
        let counts = counts.map_err(|failed| stopped(failed, &feed, settings, table))?;
        LoadTotals { read: feed.rows(), encoded: feed.rows(), counts, ..LoadTotals::default() }
    };
    outcome.switches = stream.switches().await;
    if skips {
        outcome.skipped = outcome.read - outcome.rejected - outcome.counts.inserted;
    }
    match discrepancy(&outcome, settings) {
        Some(discrepancy) => {
            let suspects = match table.before_insert_triggers.as_slice() {
                [] => "the table's rules, row security policies and partitions' triggers".to_owned(),
                triggers => format!("its triggers before INSERT: {}", triggers.join(", ")),
            };
            let help = format!("nothing was committed; look at {suspects}");
            Err(Error::new(ErrorKind::Database, discrepancy).with_help(help).into())
        }
        None => Ok(outcome),
    }
}
