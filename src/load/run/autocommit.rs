//! `--autocommit`: every row in a transaction of its own, over several connections.

use crate::load::report::Phases;
use crate::load::run::LoadRun;
use crate::load::run::RunResult;
use crate::load::table::prepare::prepare_table;
use crate::load::totals::discrepancy;
use std::sync::Arc;

use deadpool_postgres::Object;

use crate::csv::Files;
use crate::error::ErrorKind;
use crate::load::chunk::encoder::{ChunkEncoder, EncodePlan};
use crate::load::chunk::stream::{ChunkFeed, ChunkStream};
use crate::load::run::stop::explain;
use crate::load::settings::LoadSettings;
use crate::load::table::prepare::Prepared;
use crate::load::totals::LoadTotals;
use crate::load::write::conflict::resolve_clause;
use crate::load::write::outcome::Counts;
use crate::load::write::rows::Rows;
use crate::postgres::server::SessionPool;
use crate::progress::Progress;
use crate::{Error, Result};

/// Rows of a chunk; few, because the chunks are shared out among the connections.
const CHUNK_ROWS: usize = 64;

/// Prepare the table over `client`, then insert every row over as many connections as the settings ask for.
///
/// # Errors
/// At the first row that is refused; the rows committed by then stay.
pub(crate) async fn load(run: LoadRun<'_>, mut client: Object) -> Result<RunResult> {
    let LoadRun { settings, files, new_table, connections, progress, started } = run;
    let mut phases = Phases::default();
    let failed = |doing| move |error| Error::database(doing, &error);
    let transaction = client.transaction().await.map_err(failed("begin a transaction"))?;
    let prepared = prepare_table(&*transaction, settings, &files, new_table).await?;
    transaction.commit().await.map_err(failed("commit the new table"))?;
    phases.prepare_seconds = started.elapsed().as_secs_f64();
    // Or a pool of one would wait for it.
    drop(client);
    let totals = insert(settings, connections, &prepared, files, progress).await?;
    phases.write_seconds = started.elapsed().as_secs_f64() - phases.prepare_seconds;
    Ok(RunResult { prepared, totals, phases })
}

async fn insert(
    settings: &LoadSettings,
    pool: &SessionPool,
    prepared: &Prepared,
    files: Files,
    progress: &Arc<Progress>,
) -> Result<LoadTotals> {
    let Prepared { table, targets, .. } = prepared;
    if targets.columns.is_empty() {
        return Ok(LoadTotals::default());
    }
    // All of them before the first row, so that one that cannot be had costs nothing.
    let mut connections = Vec::with_capacity(settings.connections);
    for _ in 0..settings.connections {
        connections.push(pool.get().await?);
    }
    let clause = resolve_clause(&connections[0], settings, prepared).await?;
    // The last thing before the first row, because it is committed.
    prepared.empty(&**connections[0]).await?;
    let skips = clause.as_ref().is_some_and(|clause| !clause.updates);
    let plan = EncodePlan { chunk_rows: CHUNK_ROWS, mode: settings.input.mode, rejecting: false };
    let stream = Arc::new(ChunkStream::start(ChunkEncoder::new(files, Arc::clone(targets), plan), progress));
    let mut workers = tokio::task::JoinSet::new();
    for client in connections {
        let (stream, table, targets) = (Arc::clone(&stream), table.clone(), Arc::clone(targets));
        let (clause, settings) = (clause.clone(), settings.clone());
        workers.spawn(async move {
            let mut feed = ChunkFeed::stream(&stream);
            let rows =
                Rows::prepare(&client, &table.name, &targets, clause.as_ref(), settings.pipeline_depth);
            let (counts, outcome) = match rows.await {
                Ok(mut rows) => rows.insert(&client, &mut feed).await,
                Err(error) => (Counts::default(), Err(error.into())),
            };
            let outcome = outcome.map_err(|failed| explain(failed, &feed, &settings, &table));
            if outcome.is_err() {
                stream.stop();
            }
            (counts, feed.rows(), outcome)
        });
    }
    let (mut outcome, mut first_error) = (LoadTotals::default(), None);
    while let Some(worker) = workers.join_next().await {
        let (counts, rows, ended) =
            worker.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        outcome.counts += counts;
        outcome.read += rows;
        outcome.encoded += rows;
        first_error = first_error.or(ended.err());
    }
    if first_error.is_none() {
        outcome.switches = stream.switches().await;
        if skips {
            outcome.skipped = outcome.read - outcome.counts.inserted;
        }
    }
    let loaded = outcome.counts.inserted + outcome.counts.updated;
    progress.commit(loaded);
    let discrepancy = discrepancy(&outcome, settings).map(|text| Error::new(ErrorKind::Database, text));
    match first_error.or(discrepancy) {
        Some(_) if progress.is_cancelled() => Err(Error::interrupted().and(&stay(prepared, loaded))),
        Some(error) => {
            let error = error.and(&stay(prepared, loaded));
            if loaded == 0 || settings.on_conflict.is_some() {
                return Err(error);
            }
            let rest = "with a key to go by, --on-conflict skip loads the rest";
            let help = error.help().map_or(rest.to_owned(), |help| format!("{help}; {rest}"));
            Err(error.with_help(help))
        }
        None => Ok(outcome),
    }
}

/// What is left behind when a load ends before its time.
fn stay(prepared: &Prepared, loaded: u64) -> String {
    let emptied = if prepared.truncate { "the table was emptied first, and " } else { "" };
    let rows = match loaded {
        0 => "no row was committed".to_owned(),
        1 => "1 row was committed, and stays".to_owned(),
        _ => format!("{loaded} rows were committed, and stay"),
    };
    format!("{emptied}{rows}")
}
