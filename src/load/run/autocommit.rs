//! `--autocommit`: every row in its own transaction, over one or several connections.

use std::num::NonZero;
use std::sync::Arc;

use deadpool_postgres::Object;
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_postgres_sync_batching::Lane;

use crate::catalog::Table;
use crate::csv::Files;
use crate::error::ErrorKind;
use crate::load::chunk::encoder::{ChunkEncoder, EncodePlan};
use crate::load::chunk::stream::{ChunkFeed, ChunkStream};
use crate::load::mapping::ColumnMapping;
use crate::load::report::Phases;
use crate::load::run::commit::may_have_committed;
use crate::load::run::stop::explain;
use crate::load::run::{LoadRun, RunResult};
use crate::load::settings::LoadSettings;
use crate::load::table::prepare::{PreparedTable, prepare_table};
use crate::load::totals::{LoadTotals, discrepancy};
use crate::load::write::conflict::{ConflictClause, resolve_clause};
use crate::load::write::outcome::RowCounts;
use crate::load::write::rows::RowWriter;
use crate::postgres::server::SessionPool;
use crate::progress::{Phase, Progress, Total, committed_rows};
use crate::{Error, Result};

/// Maximum number of rows in a chunk; small, because the chunks are distributed over the connections.
const CHUNK_ROWS: usize = 64;

/// Prepare the table over `client`, then insert the rows over as many connections as the settings name.
///
/// # Errors
/// At the first row that cannot be loaded; the rows committed by then stay.
pub(crate) async fn load(run: LoadRun<'_>, mut client: Object) -> Result<RunResult> {
    let LoadRun { settings, files, new_table, connections, progress, started, .. } = run;
    let mut phases = Phases::default();
    let failed = |doing| move |error| Error::database(doing, error);
    let transaction = client.transaction().await.map_err(failed("begin a transaction"))?;
    let prepared = prepare_table(&*transaction, settings, &files, new_table).await?;
    transaction.commit().await.map_err(failed("commit the new table"))?;
    prepared.note_slow_mode(settings, progress);
    phases.prepare_seconds = started.elapsed().as_secs_f64();
    // A pool of one connection would otherwise wait for it forever.
    drop(client);
    let totals = insert(settings, connections, &prepared, files, progress).await?;
    phases.write_seconds = started.elapsed().as_secs_f64() - phases.prepare_seconds;
    Ok(RunResult { prepared, totals, phases, transactions: Vec::new(), is_atomic: false, import: None })
}

/// Insert the rows of `files` over connections of `pool`.
async fn insert(
    settings: &LoadSettings,
    pool: &SessionPool,
    prepared: &PreparedTable,
    files: Files,
    progress: &Arc<Progress>,
) -> Result<LoadTotals> {
    let PreparedTable { table, mapping, .. } = prepared;
    if mapping.columns.is_empty() {
        return Ok(LoadTotals::default());
    }
    progress.begin(Phase::Reading, files.inputs().size().map(Total::Bytes));
    // All of them before the first row, so that nothing is committed if one cannot be opened.
    let mut connections = Vec::with_capacity(settings.connections);
    for _ in 0..settings.connections {
        connections.push(pool.get().await?);
    }
    let clause = resolve_clause(&connections[0], settings, prepared).await?;
    // As late as possible, because it is committed.
    empty(&connections[0], prepared).await?;
    if prepared.truncate {
        progress.empty_table();
    }
    let skips = clause.as_ref().is_some_and(|clause| !clause.updates);
    let plan = EncodePlan::new(&settings.input, CHUNK_ROWS, false);
    let stream = Arc::new(ChunkStream::start(ChunkEncoder::new(files, Arc::clone(mapping), plan), progress));
    let mut workers = tokio::task::JoinSet::new();
    for client in connections {
        let lane = pool.lane_of(&client).await;
        let worker = Worker {
            client,
            lane,
            settings: settings.clone(),
            table: table.clone(),
            mapping: Arc::clone(mapping),
            clause: clause.clone(),
            progress: Arc::clone(progress),
        };
        let stream = Arc::clone(&stream);
        workers.spawn(async move { worker.insert(&stream).await });
    }
    let (mut totals, mut first_error) = (LoadTotals::default(), None);
    while let Some(worker) = workers.join_next().await {
        let WorkerResult { counts, rows, outcome } =
            worker.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        totals.counts += counts;
        totals.read += rows;
        totals.encoded += rows;
        first_error = first_error.or(outcome.err());
    }
    if first_error.is_none() {
        totals.encoder = stream.summary().await;
        if skips {
            totals.skipped = totals.read - totals.counts.inserted;
        }
    }
    let discrepancy = discrepancy(&totals, settings).map(|text| Error::new(ErrorKind::Database, text));
    match first_error.or(discrepancy) {
        Some(_) if progress.is_cancelled() => {
            Err(with_remaining_rows(Error::interrupted(), None, prepared, progress))
        }
        Some(error) => Err(with_remaining_rows(error, Some(settings), prepared, progress)),
        None => Ok(totals),
    }
}

/// Empty the table over `client`, if it is to be emptied.
///
/// # Errors
/// When the server refuses, and [`ErrorKind::OutcomeUnknown`] when foreign servers may have emptied their tables all the
/// same.
async fn empty(client: &Client, prepared: &PreparedTable) -> Result<()> {
    let foreign = prepared.table.foreign_tables.as_ref().filter(|_| prepared.truncate);
    let Some(foreign) = foreign else { return prepared.empty(client).await };
    // Apart from its COMMIT, so that what only the COMMIT leaves open is told from what undoes everything.
    let failed = |error| Error::database(&format!("empty {}", prepared.table.name), error);
    client.batch_execute("BEGIN").await.map_err(failed)?;
    if let Err(error) = prepared.empty(client).await {
        client.batch_execute("ROLLBACK").await.ok();
        return Err(error);
    }
    let committed = client.batch_execute("COMMIT").await;
    committed.map_err(|error| may_have_committed(foreign, failed(error)))
}

/// Inserts rows over one connection.
struct Worker {
    client: Object,
    /// The lane of the connection, if it has one.
    lane: Option<Lane>,
    settings: LoadSettings,
    table: Table,
    mapping: Arc<ColumnMapping>,
    clause: Option<ConflictClause>,
    progress: Arc<Progress>,
}

struct WorkerResult {
    /// Rows that the server reports as written, and so as committed.
    counts: RowCounts,
    /// Rows taken from the stream.
    rows: u64,
    outcome: Result<()>,
}

impl Worker {
    /// Insert chunks of `stream` until it ends; at an error, stop the other workers too.
    async fn insert(self, stream: &ChunkStream) -> WorkerResult {
        let Worker { client, lane, settings, table, mapping, clause, progress } = &self;
        let mut feed = ChunkFeed::from_stream(stream);
        let writer =
            RowWriter::prepare(client, &table.name, mapping, clause.as_ref(), settings.pipeline_depth);
        let prepared = match writer.await {
            Ok(writer) => check_commits(client).await.map(|()| writer),
            Err(error) => Err(error),
        };
        let (counts, outcome) = match prepared {
            Ok(writer) => {
                let mut writer = writer.committing(progress).over_lane(lane.clone(), NonZero::<usize>::MIN);
                writer.insert(client, &mut feed).await
            }
            Err(error) => (RowCounts::default(), Err(error.into())),
        };
        let outcome = outcome.map_err(|failure| explain(failure, &feed, settings, table));
        if outcome.is_err() {
            stream.stop();
        }
        WorkerResult { counts, rows: feed.rows(), outcome }
    }
}

/// Check that a statement of `client` commits by itself, once an INSERT is prepared.
///
/// Pgpool-II 4.3 in clustering mode `raw` begins a transaction there by itself, and never ends it. Every row would be
/// reported as written, and all would be rolled back when the connection is closed.
///
/// # Errors
/// When a transaction is open.
async fn check_commits(client: &Client) -> Result<()> {
    // Of a simple query by itself they are the same.
    let query = "SELECT pg_catalog.transaction_timestamp() = pg_catalog.statement_timestamp()";
    let found = client.simple_query(query).await;
    let found = found.map_err(|error| Error::database("look for an open transaction", error))?;
    let is_open = found.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("f"),
        _ => false,
    });
    if !is_open {
        return Ok(());
    }
    let message =
        "rows would not be committed: what passes the connection on has begun a transaction of its own";
    Err(Error::new(ErrorKind::Database, message).with_help(
        "load without --autocommit, connect to the server itself, or, with Pgpool-II, use another backend_clustering_mode \
         than raw",
    ))
}

/// `error`, with the number of rows that stay, and, with `settings`, how to load the others.
fn with_remaining_rows(
    error: Error,
    settings: Option<&LoadSettings>,
    prepared: &PreparedTable,
    progress: &Progress,
) -> Error {
    let (least, more) = (progress.committed(), progress.uncertain());
    let emptied = if prepared.truncate { "the table was emptied first, and " } else { "" };
    let error = error.and(&format!("{emptied}{}", committed_rows(least, more)));
    let error = if more > 0 { error.with_kind(ErrorKind::OutcomeUnknown) } else { error };
    if least + more == 0 || settings.is_none_or(|settings| settings.on_conflict.is_some()) {
        return error;
    }
    let rest = "to load the remaining rows, load again with --on-conflict skip (the table needs a key)";
    let help = error.help().map_or(rest.to_owned(), |help| format!("{help}; {rest}"));
    error.with_help(help)
}
