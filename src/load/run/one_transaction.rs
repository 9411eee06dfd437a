//! One transaction over one connection: all rows or none.

use std::sync::Arc;

use deadpool_postgres::Object;
use tokio_postgres::{Client, GenericClient};

use crate::csv::Files;
use crate::load::chunk::CHUNK_ROWS;
use crate::load::chunk::encoder::{ChunkEncoder, EncodePlan};
use crate::load::chunk::stream::ChunkStream;
use crate::load::options::Mode;
use crate::load::refusal::{RefusalScope, refusal_error};
use crate::load::reject::files::RejectFiles;
use crate::load::reject::orphans::Orphans;
use crate::load::reject::sink::{FileSink, FirstReject, RejectSink};
use crate::load::report::Phases;
use crate::load::run::commit::{Committer, transaction_id};
use crate::load::run::insertion::{Insertion, Rejecting, check_at_end};
use crate::load::run::stop::{Stopped, interrupted};
use crate::load::run::{LoadRun, RowChecks, RunResult};
use crate::load::settings::LoadSettings;
use crate::load::table::constraints::check_constraints;
use crate::load::table::prepare::{PreparedTable, defer_indexes, prepare_table};
use crate::load::table::self_references::DeferredReferences;
use crate::load::totals::LoadTotals;
use crate::postgres::server::SessionPool;
use crate::progress::{Phase, Progress, Total};
use crate::{Error, Result};

/// Load everything in one transaction of `client`; commit it, or roll it back if it is a dry run.
///
/// # Errors
/// At the first row that cannot be loaded, unless rejects are allowed; the transaction is then rolled back.
pub(crate) async fn load(
    run: LoadRun<'_>,
    mut client: Object,
    checks: RowChecks,
) -> Result<RunResult, Stopped> {
    let (settings, progress) = (run.settings, run.progress);
    let failed = |doing| move |error| Error::database(doing, error);
    let committer = Committer::new(&client, run.connections, progress).await;
    let transaction = client.transaction().await.map_err(failed("begin the transaction"))?;
    let mut result = match write(run, &*transaction, checks).await {
        Ok(result) => result,
        Err(stopped) => {
            // Awaited, so that the table is unchanged by the time the error is reported.
            drop(transaction.rollback().await);
            return Err(interrupted(progress, stopped));
        }
    };
    if settings.dry_run {
        transaction.rollback().await.map_err(failed("roll back the dry run"))?;
        return Ok(result);
    }
    let id = transaction_id(&*transaction).await.map_err(|error| interrupted(progress, error.into()))?;
    let rows = result.totals.counts.inserted + result.totals.counts.updated;
    let committer = committer.writing_to(&result.prepared.table);
    let ended = committer.commit(id, rows, transaction.commit()).await?;
    progress.conclude();
    result.transactions.push(ended.timed(client).await);
    Ok(result)
}

/// Do everything between BEGIN and COMMIT.
async fn write(
    run: LoadRun<'_>,
    transaction: &impl GenericClient,
    checks: RowChecks,
) -> Result<RunResult, Stopped> {
    let LoadRun { settings, files, new_table, connections, progress, started, orphans } = run;
    let mut phases = Phases::default();
    let mut prepared = prepare_table(transaction, settings, &files, new_table).await?;
    prepared.empty(transaction).await?;
    let client = transaction.client();
    match checks {
        RowChecks::AtTheEnd => {
            prepared.note_slow_mode(settings, progress);
            prepared.indexes = defer_indexes(client, settings, &prepared, files.inputs()).await?;
        }
        // In a table that references itself, a row may refer to a later one, which is not an error.
        RowChecks::ByRow if settings.max_rejects.allows_any() || !prepared.table.references_itself => {
            check_constraints(client).await?;
        }
        RowChecks::ByRow => {}
    }
    let rejecting = settings.max_rejects.allows_any() && checks == RowChecks::ByRow;
    // A COPY of all rows checks them at its end by itself.
    let references = if prepared.table.references_itself && (rejecting || settings.input.mode != Mode::Copy) {
        DeferredReferences::defer(client, &prepared.table).await?
    } else {
        DeferredReferences::default()
    };
    phases.prepare_seconds = started.elapsed().as_secs_f64();
    let is_repeated = checks == RowChecks::ByRow;
    let phase = if is_repeated { Phase::ReadingAgain } else { Phase::Reading };
    progress.begin(phase, files.inputs().size().map(Total::Bytes));
    let connection = (client, connections);
    let totals = insert_all(connection, settings, checks, &prepared, files, (progress, orphans)).await?;
    if rejecting
        && references.is_any
        && orphans.is_none()
        && let Some(orphans) = Orphans::find(client, &prepared.table, &prepared.mapping).await?
    {
        return Err(Stopped::RetryWithout(orphans));
    }
    phases.write_seconds = started.elapsed().as_secs_f64() - phases.prepare_seconds;
    finish(client, settings, &prepared, (connections, progress)).await?;
    references.restore(client).await?;
    if let Some(new_table) = new_table {
        new_table.replace_old(transaction).await?;
    }
    phases.finish_seconds = started.elapsed().as_secs_f64() - phases.prepare_seconds - phases.write_seconds;
    Ok(RunResult { prepared, totals, phases, transactions: Vec::new(), is_atomic: true, import: None })
}

/// Check the constraints that were deferred, and rebuild the indexes.
async fn finish(
    client: &Client,
    settings: &LoadSettings,
    prepared: &PreparedTable,
    (connections, progress): (&SessionPool, &Progress),
) -> Result<(), Stopped> {
    let mode = settings.input.mode;
    progress.begin(Phase::CheckingConstraints, None);
    // Otherwise they would be checked by the commit, which a dry run does not reach. While checks are due, the server
    // creates no index. None of them uses those that were dropped: with a trigger, or a foreign key that needs one, all
    // would have stayed.
    check_at_end(client, settings, &prepared.table).await?;
    prepared.indexes.rebuild(client, connections, progress).await.map_err(|error| {
        let is_about_rows = RefusalScope::new(&error) == RefusalScope::Row;
        let refusal = refusal_error(&format!("rebuild the indexes of {}", prepared.table.name), error);
        if !is_about_rows {
            return Stopped::Error(refusal);
        }
        let refusal = refusal.with_help("load with --defer-indexes never: the error then names the row");
        // The error of a COPY names the row with the duplicate key; that of a batch does not. On Citus it is searched for.
        let hides = prepared.hides_refused_row(settings);
        Stopped::RetryRowByRow(refusal, if mode == Mode::Batch && !hides { Mode::Rows } else { mode })
    })
}

/// Write all rows inside a transaction, and check that the server's counts add up to the rows read.
async fn insert_all(
    connection: (&Client, &SessionPool),
    settings: &LoadSettings,
    checks: RowChecks,
    prepared: &PreparedTable,
    files: Files,
    (progress, orphans): (&Arc<Progress>, Option<&Orphans>),
) -> Result<LoadTotals, Stopped> {
    let PreparedTable { table, mapping, .. } = prepared;
    if mapping.columns.is_empty() {
        return Ok(LoadTotals::default());
    }
    // Checked at every row, a row that refers to a later one would be rejected: first try with the checks at the end.
    let first_without_rejecting =
        checks == RowChecks::AtTheEnd && table.references_itself && files.inputs().can_be_read_again();
    let rejecting = settings.max_rejects.allows_any() && !first_without_rejecting;
    let searching = checks == RowChecks::ByRow && prepared.hides_refused_row(settings);
    let is_new = prepared.truncate || prepared.created;
    let insertion =
        Insertion::prepare(connection, settings, prepared, rejecting || searching, is_new).await?;
    let format = files.record_format();
    let plan = EncodePlan::new(&settings.input, CHUNK_ROWS, rejecting || searching);
    let mut sink = if rejecting {
        let files = RejectFiles::create(&settings.rejects, &format.dialect)?;
        Some(FileSink { files, limit: settings.max_rejects, progress: Arc::clone(progress) })
    } else {
        None
    };
    let stream = ChunkStream::start(ChunkEncoder::new(files, Arc::clone(mapping), plan), progress);
    let mut first = searching.then_some(FirstReject { table: &table.name });
    let taker = sink.as_mut().map(|sink| sink as &mut dyn RejectSink);
    let taker = taker.or(first.as_mut().map(|first| first as &mut dyn RejectSink));
    let rejecting = taker.map(|sink| Rejecting { format, orphans, any_accepted: false, sink });
    let written = insertion.insert(&stream, rejecting).await;
    let mut totals = match sink {
        Some(sink) => sink.finish(written)?,
        None => written?,
    };
    totals.encoder = stream.summary().await;
    Ok(totals)
}
